"""One call of a function of PyTorch with tensors that are followed: its arguments, and its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from convmtx.errors import ConvmtxError, UnsupportedError
from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.values import Value
from convmtx.maps.linear_map import LinearMap

#: Function of a call and of its arguments that returns the value of its result, or those of several results.
Converter: TypeAlias = Callable[..., "Value | list[Value]"]
#: Samples in the batch on which a module is followed. In a batch of one, what mixes samples could not be told apart.
BATCH = 2
#: Names that NumPy gives to options, and PyTorch's names of them.
_OPTIONS = {"axis": "dim", "keepdims": "keepdim"}
#: Functions whose result may be the memory of their argument, so that a change in place would be seen in both.
_VIEWS = frozenset((
    "T", "__getitem__", "broadcast_to", "chunk", "data", "detach", "diagonal", "expand", "expand_as", "flatten", "mT",
    "moveaxis", "movedim", "narrow", "permute", "ravel", "reshape", "reshape_as", "select", "split", "split_with_sizes",
    "squeeze", "swapaxes", "swapdims", "t", "tensor_split", "transpose", "unbind", "unflatten", "unfold", "unsqueeze",
    "view", "view_as", "hsplit", "vsplit", "dsplit", "real", "adjoint",
))  # fmt: skip


class Call:
    """Call of a function, some of whose arguments are tensors that are followed."""

    def __init__(self, name: str, function: Any, args: Sequence[Any], options: dict[str, Any], kind: Any) -> None:
        self.options = {_OPTIONS.get(key, key): value for key, value in options.items()}
        if not args:  # the tensor may be passed by its name too
            args = [self.options.pop(key) for key in ("input", "self") if key in self.options]
        self.name, self.function, self.args, self.kind = name, function, tuple(args), kind

    @property
    def followed(self) -> list[Any]:
        """Tensors among the arguments, also in lists, that are followed."""
        return [arg for arg in _flat((*self.args, *self.options.values())) if isinstance(arg, self.kind)]

    @property
    def sources(self) -> list[Any]:
        """Numbers of the tensors that are followed, and all other arguments."""
        arguments = _flat((*self.args, *self.options.values()))
        return [arg.numbers if isinstance(arg, self.kind) else arg for arg in arguments]

    @property
    def at(self) -> bool:
        """Whether tangents are taken, for which the tensors' numbers are known."""
        return all(tensor.numbers is not None for tensor in self.followed)

    # Errors

    def unknown(self) -> UnsupportedError:
        """Return the error of a function that is not converted."""
        expected = "It is not affine, or not a function that from_torch knows"
        return UnsupportedError(self.name, expected, "Leave this part out, or convert the parts around it")

    def not_affine(self) -> UnsupportedError:
        """Return the error of a function that has a tangent, but is not affine."""
        return UnsupportedError(
            self.name, "It is not affine", "Pass at=x for the affine map around an input, or leave it out"
        )

    def refused(self, got: str, expected: str, remedy: str = "Leave this part out") -> UnsupportedError:
        """Return the error of a function that is not converted with these arguments."""
        return UnsupportedError(f"{self.name} with {got}", expected, remedy)

    # Results

    def result(self, convert: Converter) -> Any:
        """Return the followed tensors of what a converter makes of the call."""
        source = self.followed[0]
        computed = self.computed
        values = self._converted(convert)
        if isinstance(values, Value):
            # A function that returns its very argument has nothing new, and shares its memory.
            return source if self._returns_argument else self._tensor(values, computed, source)
        parts = computed if isinstance(computed, tuple | list) else [None] * len(values)
        return tuple(self._tensor(value, part, source) for value, part in zip(values, parts, strict=True))

    def written(self, convert: Converter) -> Any:
        """Change the first argument in place to what a converter makes of the call."""
        target = self.args[0]
        if not isinstance(target, self.kind):
            got = f"{self.name} into a tensor that does not depend on the input"
            raise UnsupportedError(got, "Expected one that does", "Use torch.cat or torch.stack")
        if len(target.sharing) > 1:
            expected = "Other tensors share its memory, as a slice does"
            raise UnsupportedError(f"{self.name}, which changes a tensor in place", expected, "Write y = f(x) instead")
        computed, value = self.computed, self._converted(convert)
        if not isinstance(value, Value) or value.shape != target.value.shape:
            raise self.refused("a result of another shape", "Expected the shape of the tensor that is changed")
        target.value, target.numbers = value, computed if self.at else None
        return target

    def _converted(self, convert: Converter) -> Value | list[Value]:
        try:
            if "out" in self.options:
                raise self.refused("out=", "Expected a new result", "Use what the function returns")
            return convert(self, *self.args, **self.options)
        except ConvmtxError as error:
            if len(error.args) == 3 and not error.args[0].startswith(self.name):
                got, expected, remedy = error.args
                raise type(error)(f"{self.name}: {got}", expected, remedy) from None
            raise
        except TypeError as error:  # a spelling of the arguments that the converter does not have
            raise self.refused("arguments that from_torch does not know", str(error)) from None

    def called_on(self, tensors: Sequence[Any], constants: Callable[[Any], Any]) -> Any:
        """Return the function of other tensors in place of those that are followed, and of changed constants."""
        torch = import_extra("torch", "torch")
        replacements = iter(tensors)

        def replaced(argument: Any) -> Any:
            if isinstance(argument, self.kind):
                return next(replacements)
            if isinstance(argument, torch.Tensor):
                return constants(argument)
            if type(argument) in (list, tuple):
                return type(argument)(replaced(entry) for entry in argument)
            return argument

        args = [replaced(argument) for argument in self.args]
        return self.function(*args, **{name: replaced(value) for name, value in self.options.items()})

    @cached_property
    def _stand_ins(self) -> list[Any]:
        """Plain tensors in place of those that are followed: with their numbers, or without any."""
        torch = import_extra("torch", "torch")
        if self.at:
            return [tensor.numbers for tensor in self.followed]
        return [torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device="meta") for tensor in self.followed]

    @cached_property
    def computed(self) -> Any:
        """Result that PyTorch computes for this call: with numbers if tangents are taken, otherwise without.

        None if PyTorch needs the numbers for it, as for an index that is a mask.
        """
        try:
            if self.at:
                return self.called_on(self._stand_ins, lambda array: array)
            return self.called_on(self._stand_ins, lambda array: array.detach().to("meta"))
        except NotImplementedError:
            return None
        except Exception as error:
            if not self.at and "meta" in str(error).lower():
                return None
            expected = f"PyTorch says: {error}"
            raise UnsupportedError(f"{self.name} fails", expected, "Check input_shape, without the batch") from None

    @property
    def _returns_argument(self) -> bool:
        return self.computed is not None and self.computed is self._stand_ins[0]

    def _tensor(self, value: Value, computed: Any, source: Any) -> Any:
        """Return a followed tensor, whose shape is checked against that which PyTorch computed."""
        if computed is not None:
            if tuple(computed.shape) != (BATCH, *value.shape):
                got = f"a result of shape {tuple(computed.shape)} for {BATCH} samples"
                raise self.refused(got, "Expected a sample along the first axis", "Keep the batch axis first")
            if not (computed.is_complex() or (computed.is_floating_point() and not source.is_complex())):
                expected = "It rounds, or drops the imaginary part, which is not affine"
                raise self.refused(f"a result of {computed.dtype}", expected)
        dtype = source.dtype if computed is None else computed.dtype
        tensor = self.kind(value, dtype, source.device, computed if self.at else None)
        if self.name in _VIEWS:
            tensor.sharing = source.sharing
            source.sharing.add(tensor)
        return tensor

    # What converters need

    def map(self, tensor: Any, op: LinearMap, offset: Any = None, axis: int = 0) -> Value:
        """Return the value of a map of a tensor, plus a number for each channel."""
        value: Value = tensor.value
        return value.through(op) if offset is None else value.then(layers.add_bias(op, offset, axis))

    def only(self, tensor: Any) -> Value:
        """Return the value of the one tensor that is followed; refuse a call with others."""
        if len(self.followed) > 1 or not isinstance(tensor, self.kind):
            got = f"{len(self.followed)} tensors that depend on the input"
            raise self.refused(got, "Expected one, as the first argument, for otherwise it is not affine")
        value: Value = tensor.value
        return value

    def constant(self, array: Any, rank: int, like: Any) -> Any:
        """Return a number or tensor beside a batch of tensors of so many axes: without the batch axis."""
        torch = import_extra("torch", "torch")
        if not isinstance(array, torch.Tensor):
            dtype = like.dtype.to_complex() if isinstance(array, complex) else like.dtype
            return torch.as_tensor(array, dtype=dtype, device=like.device)
        if array.ndim <= rank:
            return array
        # What was compared, or expanded to the batch of the input, has equal numbers for all samples.
        is_batch = array.ndim == rank + 1 and array.shape[0] == BATCH and bool((array[0] == array[1]).all())
        if array.ndim > rank + 1 or not (array.shape[0] == 1 or is_batch):
            got = f"a tensor of shape {tuple(array.shape)}"
            raise self.refused(got, "Expected the same numbers for all samples of a batch")
        return array[0]

    def require_equal_ranks(self) -> None:
        """Refuse tensors whose batch axes would be broadcast to other axes."""
        if len({tensor.ndim for tensor in self.followed}) > 1:
            shapes = " and ".join(str((BATCH, *tensor.value.shape)) for tensor in self.followed)
            raise self.refused(f"tensors of shapes {shapes}", "Expected equal numbers of axes", "Use keepdim=True")


def _flat(arguments: Sequence[Any]) -> Iterator[Any]:
    """Yield arguments, and the entries of those that are lists."""
    for argument in arguments:
        if type(argument) in (list, tuple):
            yield from _flat(argument)
        elif isinstance(argument, slice):
            yield from (argument.start, argument.stop, argument.step)
        else:
            yield argument
