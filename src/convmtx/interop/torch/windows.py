"""Converters of functions with windows: convolutions, poolings, padding, normalization, interpolation."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.boundary import EDGE, REFLECT, WRAP, ZERO
from convmtx.construct import conv, conv_transpose
from convmtx.extras import import_extra
from convmtx.geometry.axis import Axis
from convmtx.interop import layers
from convmtx.interop.torch.calls import Call, Converter
from convmtx.interop.values import Value
from convmtx.maps.along_axis import along_axes
from convmtx.maps.linear_map import LinearMap
from convmtx.resizing import torch_axis
from convmtx.typing import Shape

#: Boundary rules by the name that PyTorch's ``mode`` gives them.
_BOUNDARIES = {"constant": ZERO, "reflect": REFLECT, "replicate": EDGE, "circular": WRAP}


def _conv(
    call: Call, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Value:  # fmt: skip
    shape, d = _shape(call, input, weight.ndim - 2), weight.ndim - 2
    pads: Any = padding if isinstance(padding, str) else [(p, p) for p in _each(padding, d)]
    op = conv(
        weight, shape, stride=_each(stride, d), dilation=_each(dilation, d), padding=pads, groups=groups,
        channels="first",
    )  # fmt: skip
    return call.map(input, op, bias)


def _conv_transpose(
    call: Call, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Value:  # fmt: skip
    shape, d = _shape(call, input, weight.ndim - 2), weight.ndim - 2
    op = conv_transpose(
        weight, shape, stride=_each(stride, d), dilation=_each(dilation, d), groups=groups, channels="first",
        padding=[(p, p) for p in _each(padding, d)], output_padding=_each(output_padding, d),
    )  # fmt: skip
    return call.map(input, op, bias)


def _each(value: Any, d: int) -> tuple[int, ...]:
    """Return an option with one number for each axis."""
    numbers = [int(n) for n in value] if isinstance(value, list | tuple) else [int(value)]
    return tuple(numbers * d if len(numbers) == 1 else numbers)


def _shape(call: Call, input: Any, d: int) -> Any:
    """Return the shape (C, *sizes) of a tensor whose batch PyTorch sees too."""
    shape = call.only(input).shape
    if len(shape) != d + 1:
        got = f"input_shape={shape}"
        raise call.refused(got, f"Expected (C, *sizes) with {d} sizes", "Leave the batch out of input_shape")
    return shape


def _average(
    call: Call, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: Any = None,
) -> Value:  # fmt: skip
    d = int(call.name[-2])
    shape = _shape(call, input, d)
    kernel, pads = _each(kernel_size, d), _each(padding, d)
    strides = kernel if stride is None or stride == () else _each(stride, d)
    axes = [
        layers.pooling_axis(Axis(n, k, s), p, p, ceil_mode=ceil_mode)
        for n, k, s, p in zip(shape[1:], kernel, strides, pads, strict=True)
    ]
    counted_pads = pads if count_include_pad else (0,) * d
    counted = [(-p, axis.size + p) for axis, p in zip(axes, counted_pads, strict=True)]
    return call.map(input, layers.average(shape, axes, counted, "first", divisor_override, input.value.like))


def _adaptive_average(call: Call, input: Any, output_size: Any) -> Value:
    d = int(call.name[-2])
    shape = _shape(call, input, d)
    sizes = output_size if isinstance(output_size, list | tuple) else [output_size] * d
    pairs = zip(shape[1:], sizes, strict=True)
    outputs = {axis: n if size is None else int(size) for axis, (n, size) in enumerate(pairs, 1)}
    return call.map(input, layers.adaptive_average(shape, outputs, input.value.like))


def _interpolate(
    call: Call, input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Value:  # fmt: skip
    shape, like = call.only(input).shape, input.value.like
    outputs = tuple(call.computed.shape)[2:]
    method = mode.removeprefix("bi").removeprefix("tri")
    if method == "area":
        return call.map(input, layers.adaptive_average(shape, dict(enumerate(outputs, 1)), like))
    d = len(outputs)
    factors = scale_factor if isinstance(scale_factor, list | tuple) else [scale_factor] * d
    keeps_factors = size is None and not recompute_scale_factor
    matrices = {}
    for axis, (n, out, factor) in enumerate(zip(shape[1:], outputs, factors, strict=True), 1):
        layers.require_small("a matrix of resizing", 600 * max(n, out))
        matrices[axis] = torch_axis(
            n, out, method, align_corners=bool(align_corners), antialias=antialias,
            scale_factor=float(factor) if keeps_factors else None,
            dtype=np.float64 if input.dtype.itemsize == 8 else np.float32, small_image=d == 2 and sum(outputs) <= 128,
        )  # fmt: skip
    return call.map(input, along_axes(shape, matrices, like))


def _pad(call: Call, input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Value:
    shape = call.only(input).shape
    if mode not in _BOUNDARIES:
        raise call.refused(f"mode={mode!r}", f"Expected one of {', '.join(map(repr, _BOUNDARIES))}")
    flat = [int(p) for p in pad]
    pads = [(flat[j], flat[j + 1]) for j in range(0, len(flat), 2)][::-1]  # PyTorch begins with the last axis
    if len(pads) > len(shape):
        if pads[0] != (0, 0):
            raise call.refused(f"pad={tuple(flat)}", "Expected the batch left as it is")
        pads = pads[1:]
    ends = [(0, 0)] * (len(shape) - len(pads)) + pads
    op = layers.pad(shape, ends, _BOUNDARIES[mode], input.value.like)
    return call.only(input).then(layers.fill_pads(op, ends, value or 0, input.value.like))


def _batch_norm(
    call: Call, input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,  # noqa: ARG001
) -> Value:  # fmt: skip
    if training or running_mean is None:
        got = "track_running_stats=False" if running_mean is None else "training=True"
        remedy = "Leave this part out" if running_mean is None else "Call module.eval() first"
        raise call.refused(got, "A map has fixed numbers, not the statistics of each batch", remedy)
    shape = call.only(input).shape
    scale = import_extra("torch", "torch").rsqrt(running_var + eps)
    if weight is not None:
        scale = scale * weight
    offset = -running_mean * scale
    if bias is not None:
        offset = offset + bias
    if len(shape) == 0 or shape[0] != scale.shape[0]:
        got = f"{scale.shape[0]} features with input_shape={shape}"
        raise call.refused(got, "Expected as many channels", "Check input_shape")
    return call.map(input, layers.scale_channels(shape, scale), offset)


def _instance_norm(
    call: Call, input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Value:  # fmt: skip
    if use_input_stats:
        raise call.refused("use_input_stats=True", "It divides by the deviation of its input, which is not affine")
    return _batch_norm(call, input, running_mean, running_var, weight, bias, False, momentum, eps)


def _im2col(call: Call, input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Value:
    shape = _shape(call, input, 2)
    windows = [_each(value, 2) for value in (kernel_size, dilation, padding, stride)]
    return call.map(input, _columns_of_windows(shape, windows, input.value.like))


def _col2im(
    call: Call, input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Value:
    rows = call.only(input).shape[0]
    windows = [_each(value, 2) for value in (kernel_size, dilation, padding, stride)]
    shape = (rows // prod(windows[0]), *_each(output_size, 2))
    return call.map(input, _columns_of_windows(shape, windows, input.value.like).T)


def _columns_of_windows(shape: Shape, windows: list[tuple[int, ...]], like: Any) -> LinearMap:
    """Return the map to all windows of an image: one row for each channel and tap, one column for each window.

    It is a convolution with one filter for each channel and tap, which is 1 at that tap.
    """
    kernel, dilation, padding, stride = windows
    count, taps = shape[0], prod(kernel)
    layers.require_small("a kernel", count * taps * taps * like.dtype.itemsize)
    torch = import_extra("torch", "torch")
    eye = torch.eye(taps, dtype=like.dtype, device=like.device).reshape(taps, 1, *kernel)
    pads: Any = [(p, p) for p in padding]
    op = conv(
        eye.repeat(count, 1, 1, 1), shape, stride=stride, dilation=dilation, padding=pads, groups=count,
        channels="first",
    )  # fmt: skip
    return layers.reshaping(op.out_shape, (count * taps, prod(op.out_shape[1:])), like) @ op


CONVERTERS: dict[str, Converter] = {
    "adaptive_avg_pool1d": _adaptive_average,
    "adaptive_avg_pool2d": _adaptive_average,
    "adaptive_avg_pool3d": _adaptive_average,
    "avg_pool1d": _average,
    "avg_pool2d": _average,
    "avg_pool3d": _average,
    "batch_norm": _batch_norm,
    "col2im": _col2im,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv3d": _conv,
    "conv_transpose1d": _conv_transpose,
    "conv_transpose2d": _conv_transpose,
    "conv_transpose3d": _conv_transpose,
    "im2col": _im2col,
    "instance_norm": _instance_norm,
    "interpolate": _interpolate,
    "pad": _pad,
}
