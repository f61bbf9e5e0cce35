"""PyTorch's modules as affine maps, and maps as modules of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np

from convmtx._xp import as_numpy, library
from convmtx.arguments import per_axis
from convmtx.boundary import EDGE, REFLECT, WRAP, ZERO, Boundary
from convmtx.construct import conv, conv_transpose
from convmtx.errors import UnsupportedError, door, with_article
from convmtx.extras import import_extra
from convmtx.geometry import resolve
from convmtx.geometry.axis import Axis
from convmtx.interop import layers
from convmtx.maps.affine import Affine
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.matrices import by_matrix
from convmtx.typing import PerAxis, Shape

#: Boundary rules by the name that PyTorch's ``padding_mode`` gives them.
_BOUNDARIES = {"zeros": ZERO, "reflect": REFLECT, "replicate": EDGE, "circular": WRAP}
#: Remedies for hooks by which older functions of PyTorch change weights, by the file in torch.nn.utils of the hook.
_REMOVERS = {
    "weight_norm": "Call torch.nn.utils.remove_weight_norm(module), or use torch.nn.utils.parametrizations",
    "spectral_norm": "Call torch.nn.utils.remove_spectral_norm(module), or use torch.nn.utils.parametrizations",
    "prune": "Call torch.nn.utils.prune.remove(module, 'weight') for each pruned tensor",
}


@door("from_torch")
def from_torch(module: Any, input_shape: PerAxis) -> Affine:
    """Return the affine map ``y = A x + b`` that a PyTorch module computes.

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
        ``.op`` holds the module's weights, ``.offset`` the bias, both as tensors. Layers without weights get tensors
        of the type and on the device of the module's first weight or statistic. If the whole module has none, they are
        of PyTorch's default type and on the CPU.

    Raises
    ------
    UnsupportedError
        If the module is not one of those listed, or if one of its options or a hook changes what it computes. The
        message names the module, option or hook. This is a ValueError.
    ValueError
        If the input shape does not fit.
    ImportError
        Without the extra ``torch``.

    Notes
    -----
    Gradients flow through the map to the module's parameters, but the map keeps the numbers that they have now. After a
    step of an optimizer, convert the module again.
    """
    nn = import_extra("torch", "torch").nn
    if not isinstance(module, nn.Module):
        raise UnsupportedError(
            f"{with_article(type(module).__name__)}", "Expected a torch.nn.Module", "Pass the layer itself"
        )
    return _convert(nn, module, resolve.shape("input_shape", input_shape), _empty_like(module))


def _empty_like(module: Any) -> Any:
    """Return an empty tensor of the device and type of a module's first weight or statistic."""
    torch = import_extra("torch", "torch")
    for tensor in (*module.parameters(), *module.buffers()):
        if (tensor.is_floating_point() or tensor.is_complex()) and not torch.nn.parameter.is_lazy(tensor):
            return tensor.detach().new_empty(0)
    return torch.empty(0)


def _convert(nn: Any, module: Any, shape: Shape, like: Any) -> Affine:
    name, kind = type(module).__name__, type(module)
    if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
        raise UnsupportedError(f"module {name}", "It has no weights yet", "Run it once on an input")
    _refuse_hooks(nn, module)
    for tensor in module.parameters(recurse=False):
        if tensor.is_floating_point() and tensor.itemsize < 2:
            raise UnsupportedError(f"{name} of {tensor.dtype}", "PyTorch does no arithmetic in it", "Cast the module")
    if hasattr(module, "parametrizations"):  # PyTorch made a subclass for this module, whose weights are computed
        kind = kind.__mro__[1]
    convert = _CONVERTERS.get(kind.__name__)
    # A user's subclass may compute anything, so the class must be PyTorch's own and not only have its name.
    if convert is None or kind is not getattr(nn, kind.__name__, None):
        raise UnsupportedError(f"module {name}", "Expected a linear layer that from_torch lists", "Convert its parts")
    return convert(module, shape, like)


def _refuse_hooks(nn: Any, module: Any) -> None:
    """Refuse a module with hooks or with methods of its own, which may compute something that its class does not."""
    name = type(module).__name__
    replaced = [attribute for attribute in vars(module) if callable(getattr(type(module), attribute, None))]
    if replaced:
        got = f"{name} with a {replaced[0]} of its own"
        raise UnsupportedError(got, "It may compute anything", "Remove it, or make it a layer")
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        for hook in getattr(module, hooks).values():
            remedy = _REMOVERS.get(type(hook).__module__.removeprefix("torch.nn.utils."), "Remove the hooks")
            raise UnsupportedError(f"{name} has {hooks}", "Hooks may compute anything", remedy)
        if getattr(nn.modules.module, f"_global{hooks}"):
            got = f"torch.nn.modules.module has _global{hooks}"
            raise UnsupportedError(got, "They change what every module does", "Remove these hooks")


def module_of(op: LinearMap) -> Any:
    """Return a map as a `torch.nn.Module`; the kernel of a convolution is its parameter, other maps have none."""
    return _module_class()(op if op._takes_every_library else by_matrix(op))


@cache
def _module_class() -> Any:
    """Return the class of these modules; it is made at the first call, for its base class is PyTorch's."""
    torch = import_extra("torch", "torch")

    class Map(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Module that applies a map of convmtx."""

        def __init__(self, op: LinearMap) -> None:
            super().__init__()
            self._map = op
            if isinstance(op, ConvOperator):
                kernel = _copy_kernel(torch, op.kernel)
                is_trained = kernel.is_floating_point() or kernel.is_complex()
                self.kernel = torch.nn.Parameter(kernel, requires_grad=is_trained)
                self._map = op.with_kernel(np.zeros(op.kernel.shape, np.int8))  # the parameter holds the numbers

        def forward(self, x: Any) -> Any:
            """Return the outputs of a batch of inputs."""
            return self._map.with_kernel(self.kernel)(x) if isinstance(self._map, ConvOperator) else self._map(x)

        def extra_repr(self) -> str:
            """Return what stands between the parentheses when the module is printed."""
            return f"{self._map.in_shape} -> {self._map.out_shape}"

        def __reduce__(self) -> Any:
            """Return how to make the module again; pickle cannot import a class that is made inside a function."""
            return module_of, (self._map,), self.__getstate__()

    return Map


def _copy_kernel(torch: Any, kernel: Any) -> Any:
    """Return a kernel of any library as a new tensor, on its device if it is one of PyTorch's."""
    if library(kernel) == "torch":
        return kernel.detach().clone()
    array = as_numpy(kernel)
    try:
        return torch.tensor(array)
    except TypeError:
        got, remedy = f"a kernel of {array.dtype}", "Use op.with_kernel(op.kernel.astype(np.float64))"
        raise UnsupportedError(got, "PyTorch has no such type", remedy) from None


def _sequential(module: Any, shape: Shape, like: Any) -> Affine:
    nn = import_extra("torch", "torch").nn
    maps: list[Affine] = []
    for part in module:
        maps.append(_convert(nn, part, maps[-1].out_shape if maps else shape, like))
    return layers.chain(maps) if maps else _identity(module, shape, like)


def _conv(module: Any, shape: Shape, _like: Any) -> Affine:
    _require_axes(module, shape, len(module.kernel_size))
    if module.padding_mode not in _BOUNDARIES:
        got = f"{type(module).__name__} with padding_mode={module.padding_mode!r}"
        raise UnsupportedError(got, f"Expected one of {', '.join(map(repr, _BOUNDARIES))}", "Leave this layer out")
    pads: Any = module.padding if isinstance(module.padding, str) else [(p, p) for p in module.padding]
    rule: Any = _BOUNDARIES[module.padding_mode].name
    op = conv(
        module.weight, shape, stride=module.stride, dilation=module.dilation, padding=pads, boundary=rule,
        groups=module.groups, channels="first",
    )  # fmt: skip
    return layers.add_bias(op, module.bias)


def _conv_transpose(module: Any, shape: Shape, _like: Any) -> Affine:
    _require_axes(module, shape, len(module.kernel_size))
    op = conv_transpose(
        module.weight, shape, stride=module.stride, dilation=module.dilation, groups=module.groups,
        padding=[(p, p) for p in module.padding], output_padding=module.output_padding, channels="first",
    )  # fmt: skip
    return layers.add_bias(op, module.bias)


def _average(module: Any, shape: Shape, like: Any, *, d: int) -> Affine:
    _require_axes(module, shape, d)
    kernel, stride, padding = (
        per_axis(name, getattr(module, name), d, least)
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0))
    )
    axes = [
        layers.pooling_axis(Axis(n, k, s), p, p, ceil_mode=module.ceil_mode)
        for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True)
    ]
    counted_pads = padding if module.count_include_pad else (0,) * d
    counted = [(-p, axis.size + p) for axis, p in zip(axes, counted_pads, strict=True)]
    divisor = getattr(module, "divisor_override", None)  # which AvgPool1d does not have
    return layers.add_bias(layers.average(shape, axes, counted, "first", divisor, like), None)


def _require_axes(module: Any, shape: Shape, d: int) -> None:
    if len(shape) != d + 1:
        got = f"{type(module).__name__} with input_shape={shape}"
        raise UnsupportedError(got, f"Expected (C, *sizes) with {d} sizes", "Leave the batch out of input_shape")


def _batch_norm(module: Any, shape: Shape, _like: Any, *, d: int) -> Affine:
    torch = import_extra("torch", "torch")
    if module.training or module.running_mean is None:
        got = f"{type(module).__name__} with training={module.training}, running_mean {module.running_mean is not None}"
        expected = "A map has fixed numbers, not the statistics of each batch"
        raise UnsupportedError(got, expected, "Call module.eval() first")
    if d != 1 or len(shape) != 1:  # BatchNorm1d takes inputs of one number for each channel too
        _require_axes(module, shape, d)
    if shape[0] != module.num_features:
        got = f"{module.num_features} features with input_shape={shape}"
        raise UnsupportedError(got, "Expected as many channels", "Check input_shape")
    scale = torch.rsqrt(module.running_var + module.eps)
    if module.weight is not None:
        scale = scale * module.weight
    offset = -module.running_mean * scale
    if module.bias is not None:
        offset = offset + module.bias
    return layers.add_bias(layers.scale_channels(shape, scale), offset)


def _dropout(module: Any, shape: Shape, like: Any) -> Affine:
    if getattr(module, "training", False) and getattr(module, "p", 0):
        got = f"{type(module).__name__} with training=True"
        expected = "A map has fixed numbers, and this layer drops some at random"
        raise UnsupportedError(got, expected, "Call module.eval() first")
    return _identity(module, shape, like)


def _identity(_module: Any, shape: Shape, like: Any) -> Affine:
    return layers.add_bias(layers.identity(shape, like), None)


def _upsample(module: Any, shape: Shape, like: Any) -> Affine:
    torch = import_extra("torch", "torch")
    if module.mode not in ("nearest", "nearest-exact"):
        got = f"Upsample with mode={module.mode!r}"
        raise UnsupportedError(got, "Expected mode 'nearest' or 'nearest-exact'", "Leave this layer out")
    op: LinearMap = layers.identity(shape, like)
    for j in range(len(shape) - 1):
        size, factor = (
            value[j] if isinstance(value, tuple | list) else value for value in (module.size, module.scale_factor)
        )
        # PyTorch rounds positions in single precision. It is applied to 0, 1, 2, ..., so that its outputs name the
        # position that each is taken from: 3 positions enlarged to 5 are 0 0 1 1 2 by "nearest".
        positions = torch.arange(shape[1 + j], dtype=torch.float32).reshape(1, 1, -1)
        index = torch.nn.functional.interpolate(
            positions, size=size, scale_factor=None if factor is None else float(factor), mode=module.mode,
            recompute_scale_factor=module.recompute_scale_factor,
        )  # fmt: skip
        op = layers.take_along(op.out_shape, 1 + j, index.ravel().numpy().astype(int), like) @ op
    return layers.add_bias(op, None)


def _flatten(module: Any, shape: Shape, like: Any) -> Affine:
    rank = len(shape) + 1  # PyTorch counts the batch as axis 0
    start, end = module.start_dim % rank, module.end_dim % rank
    if start < 1 or end < start:
        got = f"Flatten with start_dim={module.start_dim}, end_dim={module.end_dim}"
        raise UnsupportedError(got, "Expected the batch left as it is", "Leave this layer out")
    sizes = (*shape[: start - 1], int(np.prod(shape[start - 1 : end])), *shape[end:])
    return layers.add_bias(layers.reshaping(shape, sizes, like), None)


def _pad(module: Any, shape: Shape, like: Any, *, boundary: Boundary) -> Affine:
    flat = list(module.padding)
    pads = [(flat[j], flat[j + 1]) for j in range(0, len(flat), 2)][::-1]  # PyTorch begins with the last axis
    _require_axes(module, shape, len(pads))
    ends = [(0, 0), *pads]
    return layers.fill_pads(layers.pad(shape, ends, boundary, like), ends, getattr(module, "value", 0), like)


def _linear(module: Any, shape: Shape, _like: Any) -> Affine:
    if shape[-1] != module.in_features:
        got = f"Linear of {module.in_features} features with input_shape={shape}"
        raise UnsupportedError(got, "Expected them along the last axis", "Check input_shape, or flatten first")
    return layers.add_bias(layers.multiply_along(module.weight, shape, len(shape) - 1), module.bias, -1)


#: Converts a module to the map of inputs of a shape. The last argument is an empty tensor of the type and on the device
#: that a layer without weights takes.
_Converter: TypeAlias = Callable[[Any, Shape, Any], Affine]
_DIMENSIONS = (1, 2, 3)
_PADS = {"Zero": ZERO, "Constant": ZERO, "Circular": WRAP, "Reflection": REFLECT, "Replication": EDGE}
#: Converters by the name of the class in `torch.nn`.
_CONVERTERS: dict[str, _Converter] = {
    "Sequential": _sequential,
    "Identity": _identity,
    "Linear": _linear,
    "Flatten": _flatten,
    "Upsample": _upsample,
    "UpsamplingNearest2d": _upsample,
    **dict.fromkeys(("Dropout", "AlphaDropout", "FeatureAlphaDropout"), _dropout),
    **{f"Dropout{d}d": _dropout for d in _DIMENSIONS},
    **{f"Conv{d}d": _conv for d in _DIMENSIONS},
    **{f"ConvTranspose{d}d": _conv_transpose for d in _DIMENSIONS},
    **{f"AvgPool{d}d": partial(_average, d=d) for d in _DIMENSIONS},
    **{f"BatchNorm{d}d": partial(_batch_norm, d=d) for d in _DIMENSIONS},
    **{f"{kind}Pad{d}d": partial(_pad, boundary=rule) for kind, rule in _PADS.items() for d in _DIMENSIONS},
}
