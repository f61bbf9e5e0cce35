"""PyTorch's convolutions on NumPy arrays: fast in float32 with many channels."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.engines import direct
from convmtx.engines.parts import Part, reach
from convmtx.engines.rates import Work
from convmtx.errors import MissingExtraError, sentence
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    import torch


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd), both float32, of one to three axes."""
    try:
        import torch
    except ImportError:
        remedy = "Install it, as with pip install convmtx[torch]"
        raise MissingExtraError(sentence("op(x)", "engine='torch'", "Wanted the library torch", remedy)) from None

    groups, filters, _, *sizes = part.kernel.shape

    def stored() -> torch.Tensor:
        return torch.from_numpy(part.kernel.astype(y.dtype).reshape(groups * filters, -1, *sizes))

    kernel = part.keep(("torch", y.dtype), stored)
    padding, reached = [], x
    for j, axis in enumerate(part.axes):
        whole = (axis.out - 1) * axis.stride + axis.span
        if axis.zero_outside and axis.lo >= 0 and whole <= axis.size + 2 * axis.lo < whole + axis.stride:
            padding.append(axis.lo)  # the same at both ends, and so many outputs
        else:
            reached = reach(axis, reached, 3 + j, slice(0, axis.out))
            padding.append(0)
    inputs = np.require(reached.reshape(len(x), -1, *reached.shape[3:]), y.dtype, "W")
    if min(inputs.strides) < 0:
        inputs = np.ascontiguousarray(inputs)
    convolution = getattr(torch.nn.functional, f"conv{len(sizes)}d")
    strides, dilations = [axis.stride for axis in part.axes], [axis.dilation for axis in part.axes]
    with torch.no_grad():
        result = convolution(torch.from_numpy(inputs), kernel, None, strides, padding, dilations, groups)
    y[...] = result.numpy().reshape(y.shape)
    if not np.isfinite(np.add.reduce(y, None)):
        direct.correlate(part, x, y)


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work | None:
    """What filling a part takes; None for what PyTorch does not do, or slowly, as all but float32."""
    if len(part.axes) > 3 or dtype != np.float32:
        return None
    groups, filters, channels, *sizes = part.kernel.shape
    outputs = images * groups * filters * prod(a.out for a in part.axes)
    flops = 2.0 * outputs * channels * prod(sizes)
    inputs = images * groups * channels * prod(a.size for a in part.axes)
    thin = flops / (groups * filters)
    moved = float((inputs + outputs) * dtype.itemsize)
    return {"torch flop f4": flops, "thin torch flop f4": thin, "byte": moved, "torch call": 1}
