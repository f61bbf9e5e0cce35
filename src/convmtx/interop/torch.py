"""PyTorch's modules as affine maps, and maps as modules."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import is_numpy
from convmtx.algebra import LinearMap
from convmtx.construct import conv, conv_transpose
from convmtx.geometry import resolve
from convmtx.geometry.axis import Axis
from convmtx.interop import layers, needed, unsupported
from convmtx.maps import Affine, AlongAxis
from convmtx.operator import ConvOperator
from convmtx.typing import PerAxis, Shape

_CALL = "from_torch"
_MODES: Any = {"zeros": "zero", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


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
        ``.op`` holds the module's own weights, differentiable where they are; ``.offset`` the bias.

    Raises
    ------
    UnsupportedError
        Where the module, a mode of it or a hook on it is no such map; the message names it. A ValueError.
    ValueError
        Where the input shape does not fit.
    ImportError
        Without the extra ``torch``.
    """
    nn = needed(_CALL, "torch", "torch").nn
    shape = resolve.shape(_CALL, "input_shape", input_shape)
    name = type(module).__name__
    if not isinstance(module, nn.Module):
        raise unsupported(_CALL, f"a {name}", "Wanted a torch.nn.Module", "Pass the layer itself")
    hooks = [hook for hook in ("_forward_hooks", "_forward_pre_hooks") if getattr(module, hook)]
    if hooks:
        raise unsupported(_CALL, f"{name} has {hooks[0]}", "What hooks do is not known", "Remove the hooks")
    kind = type(module)
    if hasattr(module, "parametrizations"):  # PyTorch made a class of its own, with weights that are computed
        kind = kind.__mro__[1]
    for names, convert in _CONVERTERS.items():
        if kind in [getattr(nn, each, None) for each in names.split()]:
            return convert(module, shape)
    raise unsupported(_CALL, f"module {name}", "Wanted a linear layer that from_torch lists", "Convert its parts")


def module_of(op: LinearMap) -> Any:
    """A map as a `torch.nn.Module`; of a convolution the kernel is its parameter, other maps have none."""
    torch = needed("to_torch", "torch", "torch")

    class Map(torch.nn.Module):  # type: ignore[misc, name-defined]
        """A map of convmtx."""

        def __init__(self) -> None:
            super().__init__()
            if isinstance(op, ConvOperator):
                given: Any = op.kernel
                kernel = torch.tensor(given) if is_numpy(given) else given.detach().clone()
                floating = kernel.is_floating_point() or kernel.is_complex()
                self.kernel = torch.nn.Parameter(kernel, requires_grad=floating)

        def forward(self, x: Any) -> Any:
            """The outputs of a batch."""
            return op.with_kernel(self.kernel)(x) if isinstance(op, ConvOperator) else op(x)

        def extra_repr(self) -> str:
            """What it prints about itself."""
            return f"{op.in_shape} -> {op.out_shape}"

    return Map()


def _sequential(module: Any, shape: Shape) -> Affine:
    maps: list[Affine] = []
    for part in module:
        maps.append(from_torch(part, maps[-1].out_shape if maps else shape))
    return layers.chained(maps) if maps else layers.affine(layers.identity(shape), None)


def _conv(module: Any, shape: Shape) -> Affine:
    pads: Any = module.padding if isinstance(module.padding, str) else [(p, p) for p in module.padding]
    op = conv(
        module.weight, shape, stride=module.stride, dilation=module.dilation, padding=pads,
        boundary=_MODES[module.padding_mode], groups=module.groups, channels="first",
    )  # fmt: skip
    return layers.affine(op, module.bias)


def _conv_transpose(module: Any, shape: Shape) -> Affine:
    op = conv_transpose(
        module.weight, shape, stride=module.stride, dilation=module.dilation, groups=module.groups,
        padding=[(p, p) for p in module.padding], output_padding=module.output_padding, channels="first",
    )  # fmt: skip
    return layers.affine(op, module.bias)


def _average(module: Any, shape: Shape) -> Affine:
    d = int(type(module).__name__[-2])
    _has_axes(module, shape, d)
    kernel, stride, padding = (
        resolve.per_axis(_CALL, name, getattr(module, name), d, least)
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0))
    )
    axes = []
    for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True):
        outs = (n + 2 * p - k) // s + 1
        if module.ceil_mode:
            outs = -((n + 2 * p - k) // -s) + 1
            outs -= (outs - 1) * s >= n + p  # no window starts in the pad behind
        axes.append(Axis(n, k, s, lo=p, hi=(outs - 1) * s + k - n - p))
    ends = [a.size + (p if module.count_include_pad else 0) for a, p in zip(axes, padding, strict=True)]
    op = layers.averaged(shape, axes, ends, "first", getattr(module, "divisor_override", None), np.float32)
    return layers.affine(op, None)


def _has_axes(module: Any, shape: Shape, d: int) -> None:
    if len(shape) != d + 1:
        got = f"{type(module).__name__} with input_shape={shape}"
        raise unsupported(_CALL, got, f"Wanted (C, *sizes) with {d} sizes", "Leave the batch out of input_shape")


def _batch_norm(module: Any, shape: Shape) -> Affine:
    torch = needed(_CALL, "torch", "torch")
    if module.training or module.running_mean is None:
        got = f"{type(module).__name__} with training={module.training}, running_mean {module.running_mean is not None}"
        raise unsupported(_CALL, got, "Statistics of the batch make it no fixed map", "Call module.eval() first")
    if shape[0] != module.num_features:
        got = f"{module.num_features} features with input_shape={shape}"
        raise unsupported(_CALL, got, "Wanted as many channels", "Check input_shape")
    scale = torch.rsqrt(module.running_var + module.eps)
    if module.weight is not None:
        scale = scale * module.weight
    offset = -module.running_mean * scale
    if module.bias is not None:
        offset = offset + module.bias
    return layers.affine(layers.scaled(shape, scale), offset)


def _dropout(module: Any, shape: Shape) -> Affine:
    if getattr(module, "training", False) and getattr(module, "p", 0):
        got = f"{type(module).__name__} with training=True"
        raise unsupported(_CALL, got, "What is dropped at random is no fixed map", "Call module.eval() first")
    return _identity(module, shape)


def _identity(_module: Any, shape: Shape) -> Affine:
    return layers.affine(layers.identity(shape), None)


def _upsample(module: Any, shape: Shape) -> Affine:
    torch = needed(_CALL, "torch", "torch")
    if module.mode not in ("nearest", "nearest-exact"):
        got = f"Upsample with mode={module.mode!r}"
        raise unsupported(_CALL, got, "Wanted mode 'nearest' or 'nearest-exact'")
    op: LinearMap = layers.identity(shape)
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
        op = layers.enlarged(op.out_shape, 1 + j, index.ravel().numpy().astype(int)) @ op
    return layers.affine(op, None)


def _flatten(module: Any, shape: Shape) -> Affine:
    d = len(shape) + 1
    start, end = module.start_dim % d, module.end_dim % d
    if start < 1 or end < start:
        got = f"Flatten with start_dim={module.start_dim}, end_dim={module.end_dim}"
        raise unsupported(_CALL, got, "Wanted the batch left as it is")
    sizes = (*shape[: start - 1], int(np.prod(shape[start - 1 : end])), *shape[end:])
    return layers.affine(layers.flattened(shape, sizes), None)


def _pad(module: Any, shape: Shape) -> Affine:
    flat = list(module.padding)
    pads = [(flat[j], flat[j + 1]) for j in range(0, len(flat), 2)][::-1]  # the last axis comes first
    _has_axes(module, shape, len(pads))
    name = type(module).__name__
    rule = {"Ci": "wrap", "Re": "edge" if name.startswith("Repl") else "reflect"}.get(name[:2], "zero")
    return layers.filled(layers.padded(shape, [(0, 0), *pads], rule), getattr(module, "value", 0))


def _linear(module: Any, shape: Shape) -> Affine:
    if shape[-1] != module.in_features:
        got = f"Linear of {module.in_features} features with input_shape={shape}"
        raise unsupported(_CALL, got, "Wanted them along the last axis", "Check input_shape, or flatten first")
    return layers.affine(AlongAxis(module.weight, shape, len(shape) - 1), module.bias, -1)


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
