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
from convmtx.interop.torch.calls import Call, Converter
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
    x = _tensor_class()(start, like.dtype, like.device, at)
    try:
        with _kept_buffers(torch, module):
            y = module(x)
    except ConvmtxError as error:
        raise _placed(module, error) from None
    except RecursionError:
        raise
    except Exception as error:  # whatever the module's own code raises for this input
        reason = f"It fails on an input of shape {(1, *shape)}: {type(error).__name__}: {error}"
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
def _kept_buffers(torch: Any, module: Any) -> Iterator[None]:
    """Put buffers back that a module changes when it runs, as statistics of batches and power iterations are."""
    before = [(buffer, buffer.detach().clone(), buffer._version) for buffer in module.buffers()]
    try:
        yield
    finally:
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
        """Tensor with a batch of one, of which only the shape and the `Value` are known, or its numbers too."""

        @staticmethod
        def __new__(cls: Any, value: Value, dtype: Any, device: Any, numbers: Any) -> Any:
            return torch.Tensor._make_wrapper_subclass(cls, (1, *value.shape), dtype=dtype, device=device)

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
        x = args[0]
        layers.require_small("a constant", x.numel() * x.element_size())
        return function(torch.empty(tuple(x.shape), dtype=x.dtype, device=x.device), *args[1:], **options)
    in_place = options.pop("inplace", False)
    if name in _WRITING:
        in_place, function = True, _WRITING[name]
    elif name.endswith("_") and not name.endswith("__"):  # add_, for example, whose result is that of add
        name, in_place = name.rstrip("_"), True
        places = (torch.Tensor, torch, torch.nn.functional)
        function = next((getattr(place, name) for place in places if hasattr(place, name)), function)
    call = Call(name, function, args, options, kind)
    convert = _CONVERTERS.get(name)
    if convert is None:
        raise call.unknown()
    return call.written(convert) if in_place else call.result(convert)


def _set(x: Any, key: Any, new: Any) -> Any:
    """Return a copy of a tensor in which some entries are new."""
    y = x.clone()
    y[key] = new
    return y


#: Functions without effects in place of those that write into their first argument.
_WRITING: dict[str, Callable[..., Any]] = {"__setitem__": _set, "copy_": lambda x, new, *_: new.expand(x.shape).clone()}
