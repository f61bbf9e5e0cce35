"""Runs a module on a tensor that knows from which affine function of the input it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakSet

from convmtx.errors import ConvmtxError, UnsupportedError, with_article
from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.torch import arithmetic, moving, piecewise, windows
from convmtx.interop.torch.calls import BATCH, Call, Converter
from convmtx.interop.values import Value
from convmtx.maps.affine import Affine
from convmtx.typing import Shape

#: Converters by the name of the function.
_CONVERTERS: dict[str, Converter] = {
    **windows.CONVERTERS, **arithmetic.CONVERTERS, **moving.CONVERTERS, **piecewise.CONVERTERS,
}  # fmt: skip
#: Functions that read the shape or type of a tensor, and nothing else.
_READING = frozenset((
    "__len__", "dim", "element_size", "get_device", "is_complex", "is_contiguous", "is_floating_point", "ndimension",
    "nelement", "numel", "size", "stride", "is_same_size", "__hash__", "__repr__", "__format__",
))  # fmt: skip
#: Functions that make a constant tensor of a tensor's shape or type.
_CREATING = frozenset((
    "full_like", "new_empty", "new_full", "new_ones", "new_tensor", "new_zeros", "ones_like", "zeros_like",
))  # fmt: skip
#: Attributes that are functions of the tensor.
_ATTRIBUTES = frozenset(("T", "mT", "H", "mH", "data", "real", "imag", "grad"))


def run(module: Any, shape: Shape, like: Any, at: Any) -> Affine:
    """Return the affine map that a module computes; that at an input, of shape (1, *shape), unless it is None."""
    torch = import_extra("torch", "torch")
    start = Value.of_input(shape, like)
    numbers = None if at is None else at.repeat(BATCH, *(1 for _ in shape))
    x = _tensor_class()(start, like.dtype, like.device, numbers)
    try:
        with _kept_state(torch, module):
            y = module(x)
    except ConvmtxError as error:
        raise _placed(module, error) from None
    except RecursionError:
        raise
    except Exception as error:  # whatever the module's own code raises for this input
        reason = f"It fails on inputs of shape {(BATCH, *shape)}: {type(error).__name__}: {error}"
        place = _place(module, error)
        raise UnsupportedError(place, reason, "Check input_shape, which leaves the batch out") from None
    return _output(module, y, x).affine(start)


def _output(module: Any, y: Any, x: Any) -> Value:
    """Return the value of the one tensor that a module returns."""
    if not isinstance(y, type(x)):
        name = type(module).__name__
        is_tensor = hasattr(y, "shape")
        got = f"module {name} returns {'a tensor that does not depend on its input' if is_tensor else _named(y)}"
        raise UnsupportedError(got, "Expected one tensor", "Wrap it in a module that returns the tensor you want")
    value: Value = y.value
    return value


def _named(y: Any) -> str:
    return f"{with_article(type(y).__name__)} of {len(y)}" if hasattr(y, "__len__") else with_article(type(y).__name__)


@contextmanager
def _kept_state(torch: Any, module: Any) -> Iterator[None]:
    """Put back what a module changes of itself when it runs: statistics of batches, power iterations, counters."""
    before = [(buffer, buffer.detach().clone(), buffer._version) for buffer in module.buffers()]
    held = [(vars(part), dict(vars(part)), part._buffers, dict(part._buffers)) for part in module.modules()]
    try:
        yield
    finally:
        for attributes, old, buffers, old_buffers in held:
            for current, earlier in ((attributes, old), (buffers, old_buffers)):
                current.clear()
                current.update(earlier)
        with torch.no_grad():
            for buffer, numbers, version in before:
                if buffer._version != version:
                    buffer.copy_(numbers)


def _placed(module: Any, error: ConvmtxError) -> ConvmtxError:
    """Return an error that names the module in which it was raised."""
    got, expected, remedy = error.args
    return type(error)(f"{got} in {_place(module, error)}", expected, remedy)


def _place(module: Any, error: BaseException) -> str:
    """Return the innermost module in which an error was raised, as its class and its name in the whole."""
    names = {id(part): name for name, part in module.named_modules()}
    place, trace = f"module {type(module).__name__}", error.__traceback__
    while trace is not None:
        part = trace.tb_frame.f_locals.get("self")
        if names.get(id(part)):
            place = f"module {type(part).__name__} ({names[id(part)]})"
        trace = trace.tb_next
    return place


@cache
def _tensor_class() -> Any:
    """Return the class of tensors that are followed; it is made at the first call, for its base class is PyTorch's."""
    torch = import_extra("torch", "torch")

    class Followed(torch.Tensor):  # type: ignore[misc, name-defined]
        """Tensor of a batch, of whose samples only the shape and the `Value` are known, or its numbers too."""

        @staticmethod
        def __new__(cls: Any, value: Value, dtype: Any, device: Any, numbers: Any) -> Any:
            return torch.Tensor._make_wrapper_subclass(cls, (BATCH, *value.shape), dtype=dtype, device=device)

        def __init__(self, value: Value, dtype: Any, device: Any, numbers: Any) -> None:  # noqa: ARG002
            self.value, self.numbers = value, numbers
            #: Tensors that share memory in PyTorch; one of them alone may be changed in place.
            self.sharing = WeakSet([self])

        def __repr__(self) -> str:
            return f"tensor of shape {tuple(self.shape)}"

        def __iter__(self) -> Iterator[Any]:
            return iter(self.unbind(0))

        @classmethod
        def __torch_function__(cls, function: Any, _types: Any, args: Any = (), options: Any = None) -> Any:
            name = _name_of(function)
            if name is None or name in _READING:
                with torch._C.DisableTorchFunctionSubclass():
                    return function(*args, **(options or {}))
            return _follow(cls, name, function, args, options or {})

        @classmethod
        def __torch_dispatch__(cls, function: Any, _types: Any, _args: Any = (), _options: Any = None) -> Any:
            raise Call(str(function), function, (), {}, cls).unknown()

    return Followed


def _name_of(function: Any) -> str | None:
    """Return the name by which a function is looked up; None for attributes such as the shape."""
    name: str = getattr(function, "__name__", str(function))
    if name == "__get__":
        attribute: str = function.__self__.__name__
        return attribute if attribute in _ATTRIBUTES else None
    if name in ("unfold", "fold") and getattr(function, "__module__", "") == "torch.nn.functional":
        return {"unfold": "im2col", "fold": "col2im"}[name]
    return name.split(".")[0]


def _follow(kind: Any, name: str, function: Any, args: Any, options: dict[str, Any]) -> Any:
    """Return the result of a function of followed tensors, as followed tensors."""
    options = {key: value for key, value in options.items() if key != "_stacklevel"}
    torch = import_extra("torch", "torch")
    if name in _CREATING:
        return _created(kind, function, args, options)
    in_place = options.pop("inplace", False)
    if name in _WRITING:
        in_place, function = True, _WRITING[name]
    elif name.endswith("_") and not name.endswith("__"):  # add_, for example, whose result is that of add
        name, in_place = name.rstrip("_"), True
        places = (torch.Tensor, torch, torch.nn.functional)
        function = next((getattr(place, name) for place in places if hasattr(place, name)), function)
    first = 1 if in_place or name in _SHAPED else 0
    args = [*args[:first], *(_plain(kind, arg, name in _SHAPED) for arg in args[first:])]
    options = {key: _plain(kind, value, name in _SHAPED) for key, value in options.items()}
    call = Call(name, function, args, options, kind)
    if not call.followed:
        return function(*args, **options)
    if name in _COMPARING and call.at:
        return call.computed
    convert = _CONVERTERS.get(name)
    if convert is None:
        raise call.not_affine() if name in _COMPARING else call.unknown()
    return call.written(convert) if in_place else call.result(convert)


def _created(kind: Any, function: Any, args: Any, options: dict[str, Any]) -> Any:
    """Return a new constant; one of a batch is followed, so that it can be written into."""
    torch = import_extra("torch", "torch")
    x = args[0]
    layers.require_small("a constant", x.numel() * x.element_size())
    empty = torch.empty(1, dtype=x.dtype, device=x.device).expand(x.shape)
    result = function(empty, *args[1:], **options)
    if result.shape[:1] != (BATCH,) or not (result.is_floating_point() or result.is_complex()):
        return result
    value = Value.constant(result[0], x.value.like)
    return kind(value, result.dtype, result.device, None if x.numbers is None else result)


def _plain(kind: Any, argument: Any, shape_alone: bool) -> Any:
    """Return a constant that is followed as a plain tensor; of any, only the shape and type if no more is read."""
    torch = import_extra("torch", "torch")
    if isinstance(argument, kind) and argument.value.is_constant:
        return argument.value.offset[None].expand(BATCH, *argument.value.shape)
    if isinstance(argument, kind) and shape_alone:
        return torch.empty(1, dtype=argument.dtype, device=argument.device).expand(argument.shape)
    if type(argument) in (list, tuple):
        return type(argument)(_plain(kind, entry, shape_alone) for entry in argument)
    return argument


def _set(x: Any, key: Any, new: Any) -> Any:
    """Return a copy of a tensor in which some entries are new."""
    y = x.clone()
    y[key] = new
    return y


#: Functions that read the shape and type of further tensors, and not their numbers.
_SHAPED = frozenset(("expand_as", "reshape_as", "to", "type_as", "view_as"))
#: Functions whose results are truth values, which are fixed at an input.
_COMPARING = frozenset((
    "__eq__", "__ge__", "__gt__", "__le__", "__lt__", "__ne__", "eq", "ge", "greater", "greater_equal", "gt",
    "isfinite", "isinf", "isnan", "le", "less", "less_equal", "lt", "ne", "not_equal", "signbit",
))  # fmt: skip
#: Functions without effects in place of those that write into their first argument.
_WRITING: dict[str, Callable[..., Any]] = {"__setitem__": _set, "copy_": lambda x, new, *_: new.expand(x.shape).clone()}
