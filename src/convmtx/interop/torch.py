"""PyTorch's modules as affine maps, and maps as modules."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, is_numpy, library
from convmtx.construct import conv, conv_transpose
from convmtx.errors import UnsupportedError, door
from convmtx.extras import needed
from convmtx.geometry import resolve
from convmtx.geometry.axis import Axis
from convmtx.interop import layers
from convmtx.maps.affine import Affine
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.elementary import by_matrix
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, PerAxis, Shape

_MODES: Any = {"zeros": "zero", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@door("from_torch")
def from_torch(module: Any, input_shape: PerAxis) -> Affine:
    """A PyTorch module as the affine map ``y = A x + b`` that it is.

    Parameters
    ----------
    module : torch.nn.Module
        Conv1d to Conv3d, ConvTranspose1d to 3d, AvgPool1d to 3d, BatchNorm1d to 3d and Dropout in evaluation mode,
        Upsample of mode nearest or nearest-exact, Flatten, ZeroPad, CircularPad, ReflectionPad, ReplicationPad,
        ConstantPad, Identity, Linear, or a Sequential of these, which becomes one map.
    input_shape : tuple of int
        Shape of one input without the batch, ``(C, *sizes)``.

    Returns
    -------
    Affine
        ``.op`` holds the module's weights, ``.offset`` the bias, both as tensors. Layers without weights have tensors
        of the type and on the device of the module's first weight or statistic; where the whole module has none, of
        PyTorch's default type on the CPU.

    Raises
    ------
    UnsupportedError
        Where the module, a mode of it or a hook on it is no such map; the message names it. A ValueError.
    ValueError
        Where the input shape does not fit.
    ImportError
        Without the extra ``torch``.

    Notes
    -----
    The map is a snapshot: gradients flow through it to the module's parameters, but it keeps the numbers that they
    had. After a step of an optimizer make it again.
    """
    nn = needed("torch", "torch").nn
    if not isinstance(module, nn.Module):
        raise UnsupportedError(f"a {type(module).__name__}", "Wanted a torch.nn.Module", "Pass the layer itself")
    return _converted(nn, module, resolve.shape("input_shape", input_shape), _numbers(module))


def _numbers(module: Any) -> Any:
    """An empty tensor of the device and type of the module's numbers, as layers without any are to have them."""
    torch = needed("torch", "torch")
    for tensor in (*module.parameters(), *module.buffers()):
        if (tensor.is_floating_point() or tensor.is_complex()) and not torch.nn.parameter.is_lazy(tensor):
            return tensor.detach().new_empty(0)
    return torch.empty(0)


def _converted(nn: Any, module: Any, shape: Shape, like: Any) -> Affine:
    name, kind = type(module).__name__, type(module)
    if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
        raise UnsupportedError(f"module {name}", "It has no weights yet", "Run it once on an input")
    _refuse_hooks(nn, module)
    for tensor in module.parameters(recurse=False):
        if tensor.is_floating_point() and tensor.itemsize < 2:
            raise UnsupportedError(f"{name} of {tensor.dtype}", "PyTorch does no arithmetic in it", "Cast the module")
    if hasattr(module, "parametrizations"):  # PyTorch made a class of its own, with weights that are computed
        kind = kind.__mro__[1]
    for names, convert in _CONVERTERS.items():
        if kind in [getattr(nn, each, None) for each in names.split()]:
            return convert(module, shape, like)
    raise UnsupportedError(f"module {name}", "Wanted a linear layer that from_torch lists", "Convert its parts")


def _refuse_hooks(nn: Any, module: Any) -> None:
    """Whatever makes a module do something else than its class says."""
    name = type(module).__name__
    replaced = [each for each in vars(module) if callable(getattr(type(module), each, None))]
    if replaced:
        got = f"{name} with a {replaced[0]} of its own"
        raise UnsupportedError(got, "What it does is not known", "Remove it, or make it a layer")
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        for hook in getattr(module, hooks).values():
            remedy = _REMOVERS.get(type(hook).__module__.removeprefix("torch.nn.utils."), "Remove the hooks")
            raise UnsupportedError(f"{name} has {hooks}", "What hooks do is not known", remedy)
        if getattr(nn.modules.module, f"_global{hooks}"):
            got = f"torch.nn.modules.module has _global{hooks}"
            raise UnsupportedError(got, "They change what every module does", "Remove these hooks")


#: How what PyTorch's older functions do to weights is made undone, by the module that the hook is of.
_REMOVERS = {
    "weight_norm": "Call torch.nn.utils.remove_weight_norm(module), or use torch.nn.utils.parametrizations",
    "spectral_norm": "Call torch.nn.utils.remove_spectral_norm(module), or use torch.nn.utils.parametrizations",
    "prune": "Call torch.nn.utils.prune.remove(module, 'weight') for each pruned tensor",
}


def module_of(op: LinearMap) -> Any:
    """Return a map as a `torch.nn.Module`; the kernel of a convolution is its parameter, other maps have none."""
    return _module_class()(op if op._takes_every_library else by_matrix(op))


def _tensor(torch: Any, array: AnyArray) -> Any:
    try:
        return torch.tensor(array)
    except TypeError:
        got, remedy = f"a kernel of {array.dtype}", "Use op.with_kernel(op.kernel.astype(np.float64))"
        raise UnsupportedError(got, "PyTorch has no such type", remedy) from None


@cache
def _module_class() -> Any:
    """The class of such modules: made when first needed, for it is PyTorch's child."""
    torch = needed("torch", "torch")

    class Map(torch.nn.Module):  # type: ignore[misc, name-defined]
        """A map of convmtx."""

        def __init__(self, op: LinearMap) -> None:
            super().__init__()
            self._map = op
            if isinstance(op, ConvOperator):
                given: Any = op.kernel if library(op.kernel) == "torch" else as_numpy(op.kernel)
                kernel = _tensor(torch, given) if is_numpy(given) else given.detach().clone()
                floating = kernel.is_floating_point() or kernel.is_complex()
                self.kernel = torch.nn.Parameter(kernel, requires_grad=floating)
                self._map = op.with_kernel(np.zeros(op.kernel.shape, np.int8))  # the parameter holds the numbers

        def forward(self, x: Any) -> Any:
            """The outputs of a batch."""
            return self._map.with_kernel(self.kernel)(x) if isinstance(self._map, ConvOperator) else self._map(x)

        def extra_repr(self) -> str:
            """What it prints about itself."""
            return f"{self._map.in_shape} -> {self._map.out_shape}"

        def __reduce__(self) -> Any:
            """What makes it again, for nobody can import a class that is made here."""
            return module_of, (self._map,), self.__getstate__()

    return Map


def _sequential(module: Any, shape: Shape, like: Any) -> Affine:
    nn = needed("torch", "torch").nn
    maps: list[Affine] = []
    for part in module:
        maps.append(_converted(nn, part, maps[-1].out_shape if maps else shape, like))
    return layers.chained(maps) if maps else _identity(module, shape, like)


def _conv(module: Any, shape: Shape, _like: Any) -> Affine:
    _has_axes(module, shape, len(module.kernel_size))
    if module.padding_mode not in _MODES:
        got = f"{type(module).__name__} with padding_mode={module.padding_mode!r}"
        raise UnsupportedError(got, f"Wanted one of {', '.join(map(repr, _MODES))}", "Leave this layer out")
    pads: Any = module.padding if isinstance(module.padding, str) else [(p, p) for p in module.padding]
    op = conv(
        module.weight, shape, stride=module.stride, dilation=module.dilation, padding=pads,
        boundary=_MODES[module.padding_mode], groups=module.groups, channels="first",
    )  # fmt: skip
    return layers.affine(op, module.bias)


def _conv_transpose(module: Any, shape: Shape, _like: Any) -> Affine:
    _has_axes(module, shape, len(module.kernel_size))
    op = conv_transpose(
        module.weight, shape, stride=module.stride, dilation=module.dilation, groups=module.groups,
        padding=[(p, p) for p in module.padding], output_padding=module.output_padding, channels="first",
    )  # fmt: skip
    return layers.affine(op, module.bias)


def _average(module: Any, shape: Shape, like: Any) -> Affine:
    d = int(type(module).__name__[-2])
    _has_axes(module, shape, d)
    kernel, stride, padding = (
        resolve.per_axis(name, getattr(module, name), d, least)
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0))
    )
    axes = []
    for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True):
        outs = (n + 2 * p - k) // s + 1
        if module.ceil_mode:
            outs = -((n + 2 * p - k) // -s) + 1
            outs -= (outs - 1) * s >= n + p  # no window starts in the pad behind
        axes.append(Axis(n, k, s, lo=p, hi=(outs - 1) * s + k - n - p))
    pads = padding if module.count_include_pad else (0,) * d
    counted = [(-p, a.size + p) for a, p in zip(axes, pads, strict=True)]
    op = layers.averaged(shape, axes, counted, "first", getattr(module, "divisor_override", None), like)
    return layers.affine(op, None)


def _has_axes(module: Any, shape: Shape, d: int) -> None:
    if len(shape) != d + 1:
        got = f"{type(module).__name__} with input_shape={shape}"
        raise UnsupportedError(got, f"Wanted (C, *sizes) with {d} sizes", "Leave the batch out of input_shape")


def _batch_norm(module: Any, shape: Shape, _like: Any) -> Affine:
    torch = needed("torch", "torch")
    if module.training or module.running_mean is None:
        got = f"{type(module).__name__} with training={module.training}, running_mean {module.running_mean is not None}"
        raise UnsupportedError(got, "Statistics of the batch make it no fixed map", "Call module.eval() first")
    d = int(type(module).__name__[-2])
    if (d, len(shape)) != (1, 1):  # of one number a channel too
        _has_axes(module, shape, d)
    if shape[0] != module.num_features:
        got = f"{module.num_features} features with input_shape={shape}"
        raise UnsupportedError(got, "Wanted as many channels", "Check input_shape")
    scale = torch.rsqrt(module.running_var + module.eps)
    if module.weight is not None:
        scale = scale * module.weight
    offset = -module.running_mean * scale
    if module.bias is not None:
        offset = offset + module.bias
    return layers.affine(layers.scaled(shape, scale), offset)


def _dropout(module: Any, shape: Shape, like: Any) -> Affine:
    if getattr(module, "training", False) and getattr(module, "p", 0):
        got = f"{type(module).__name__} with training=True"
        raise UnsupportedError(got, "What is dropped at random is no fixed map", "Call module.eval() first")
    return _identity(module, shape, like)


def _identity(_module: Any, shape: Shape, like: Any) -> Affine:
    return layers.affine(layers.identity(shape, like), None)


def _upsample(module: Any, shape: Shape, like: Any) -> Affine:
    torch = needed("torch", "torch")
    if module.mode not in ("nearest", "nearest-exact"):
        got = f"Upsample with mode={module.mode!r}"
        raise UnsupportedError(got, "Wanted mode 'nearest' or 'nearest-exact'", "Leave this layer out")
    op: LinearMap = layers.identity(shape, like)
    spatial = len(shape) - 1
    for j in range(spatial):
        size, factor = (
            value[j] if isinstance(value, tuple | list) else value for value in (module.size, module.scale_factor)
        )
        places = torch.arange(shape[1 + j], dtype=torch.float32).reshape(1, 1, -1)  # which one PyTorch takes, it says
        index = torch.nn.functional.interpolate(
            places, size=size, scale_factor=None if factor is None else float(factor), mode=module.mode,
            recompute_scale_factor=module.recompute_scale_factor,
        )  # fmt: skip
        op = layers.enlarged(op.out_shape, 1 + j, index.ravel().numpy().astype(int), like) @ op
    return layers.affine(op, None)


def _flatten(module: Any, shape: Shape, like: Any) -> Affine:
    d = len(shape) + 1
    start, end = module.start_dim % d, module.end_dim % d
    if start < 1 or end < start:
        got = f"Flatten with start_dim={module.start_dim}, end_dim={module.end_dim}"
        raise UnsupportedError(got, "Wanted the batch left as it is", "Leave this layer out")
    sizes = (*shape[: start - 1], int(np.prod(shape[start - 1 : end])), *shape[end:])
    return layers.affine(layers.flattened(shape, sizes, like), None)


def _pad(module: Any, shape: Shape, like: Any) -> Affine:
    flat = list(module.padding)
    pads = [(flat[j], flat[j + 1]) for j in range(0, len(flat), 2)][::-1]  # the last axis comes first
    _has_axes(module, shape, len(pads))
    name = type(module).__name__
    rule = {"Ci": "wrap", "Re": "edge" if name.startswith("Repl") else "reflect"}.get(name[:2], "zero")
    ends = [(0, 0), *pads]
    return layers.filled(layers.padded(shape, ends, rule, like), ends, getattr(module, "value", 0), like)


def _linear(module: Any, shape: Shape, _like: Any) -> Affine:
    if shape[-1] != module.in_features:
        got = f"Linear of {module.in_features} features with input_shape={shape}"
        raise UnsupportedError(got, "Wanted them along the last axis", "Check input_shape, or flatten first")
    return layers.affine(layers.along(module.weight, shape, len(shape) - 1), module.bias, -1)


def _each(name: str) -> str:
    return " ".join(f"{name}{d}d" for d in (1, 2, 3))


_CONVERTERS = {
    "Sequential": _sequential,
    _each("Conv"): _conv,
    _each("ConvTranspose"): _conv_transpose,
    _each("AvgPool"): _average,
    _each("BatchNorm"): _batch_norm,
    f"Dropout AlphaDropout FeatureAlphaDropout {_each('Dropout')}": _dropout,
    "Upsample UpsamplingNearest2d": _upsample,
    "Flatten": _flatten,
    " ".join(_each(f"{kind}Pad") for kind in ("Zero", "Circular", "Reflection", "Replication", "Constant")): _pad,
    "Identity": _identity,
    "Linear": _linear,
}
