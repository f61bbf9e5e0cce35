"""Tangents at an input of functions that are not affine: activations, products of two tensors, max pooling."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.torch.calls import Call, Converter
from convmtx.interop.torch.moving import expanded
from convmtx.interop.values import Value
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.selection import Selection


def tangent(call: Call, *_args: Any, **_options: Any) -> Value:
    """Return the tangent of a function that computes each number from those at the same position of its arguments.

    ``f(v) + f'(v) * (x - v)`` at the numbers v. Where f is linear around v, as ReLU away from 0, it is f itself.
    """
    if not call.at:
        raise call.not_affine()
    if call.options.get("training"):
        raise call.refused("training=True", "It is random, or takes statistics of a batch", "Call module.eval() first")
    call.require_equal_ranks()
    if call.computed.is_complex():
        raise call.refused("complex numbers", "Tangents are taken of real functions", "Leave this part out")
    torch = import_extra("torch", "torch")
    shape = tuple(call.computed.shape)
    is_differentiated = torch.is_grad_enabled() and any(
        isinstance(array, torch.Tensor) and array.requires_grad for array in call.sources
    )
    # Arguments that are broadcast have one slope for each position of the result, not one for all.
    wide = [torch.broadcast_to(tensor.numbers, shape).clone() for tensor in call.followed]
    wide = [numbers if numbers.requires_grad else numbers.requires_grad_() for numbers in wide]
    with torch.enable_grad():
        result = call.called_on(wide, lambda array: array)
        slopes = torch.autograd.grad(result.sum(), wide, create_graph=is_differentiated, allow_unused=True)
    if tuple(result.shape) != shape:
        raise call.not_affine()
    if not is_differentiated:
        result, wide = result.detach(), [numbers.detach() for numbers in wide]
    terms, offset = [], result[0]
    for tensor, slope, numbers in zip(call.followed, slopes, wide, strict=True):
        if slope is not None:
            offset = offset - slope[0] * numbers[0]
            terms.append((expanded(tensor.value, shape[1:]).through(Diagonal(slope[0], shape[1:])), 1))
    if not (bool(torch.isfinite(offset).all()) and terms):
        raise call.refused("an infinite slope or value at x", "It has no tangent there", "Pass another input")
    return Value.total(terms).plus(offset)


def _largest(call: Call, input: Any, *args: Any, **options: Any) -> Value:
    """Return the selection of the entries that max pooling takes."""
    if not call.at:
        raise call.not_affine()
    value = call.only(input)
    functional = import_extra("torch", "torch").nn.functional
    options.pop("return_indices", None)
    largest, indices = getattr(functional, call.name)(input.numbers, *args, **options, return_indices=True)
    flat, picked = input.numbers.flatten(2), indices.flatten(2)
    is_inside = bool(((picked >= 0) & (picked < flat.shape[2])).all())
    if not is_inside or not bool((flat.gather(2, picked) == largest.flatten(2)).all()):
        raise call.refused(
            "windows that lie outside the tensor", "Expected an entry in each window", "Use less padding"
        )
    # An index counts the positions of one channel; channel c begins at c times their number.
    size = prod(value.shape[1:])
    first = size * np.arange(value.shape[0]).reshape(-1, *(1 for _ in value.shape[1:]))
    return value.through(Selection(value.shape, indices[0].cpu().numpy() + first, value.like))


def _extreme(call: Call, input: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """Return the map to the largest or smallest entries along axes, or to the means of several."""
    if not call.at:
        raise call.not_affine()
    value = call.only(input)
    axes = sorted(axis % input.ndim for axis in ([dim] if isinstance(dim, int) else dim or ()))
    if not axes or axes[0] == 0:
        raise call.refused(f"dim={dim}", "Expected axes behind the batch")
    is_taken = (input.numbers == call.function(input.numbers, axes, keepdim=True)).to(value.like.dtype)[0]
    inner = [axis - 1 for axis in axes]
    weights = is_taken / is_taken.sum(inner, keepdim=True)  # as PyTorch's gradients share ties
    op = layers.totals(value.shape, inner, value.like, keeps_axes=keepdim)
    return value.through(op @ Diagonal(weights, value.shape))


def _larger(call: Call, *args: Any, **options: Any) -> Value:
    """Convert ``torch.max(input, other)`` of two tensors, which is `maximum`."""
    torch = import_extra("torch", "torch")
    if len(args) != 2 or options or not isinstance(args[1], torch.Tensor):
        raise call.unknown()
    return tangent(call)


#: Functions that compute each number from those at the same position of their arguments.
_ELEMENTWISE = (
    "abs", "absolute", "atan", "arctan", "celu", "clamp", "clamp_max", "clamp_min", "clip", "cos", "elu", "erf", "exp",
    "expm1", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log", "log1p", "logsigmoid",
    "log_sigmoid", "maximum", "minimum", "mish", "pow", "prelu", "reciprocal", "relu", "relu6", "rrelu", "rsqrt",
    "selu", "sigmoid", "silu", "sin", "softplus", "softshrink", "softsign", "sqrt", "square", "tanh", "tanhshrink",
    "threshold", "_threshold", "__pow__", "__rpow__", "__abs__", "__rdiv__", "__rtruediv__", "fmax", "fmin",
)  # fmt: skip
CONVERTERS: dict[str, Converter] = {
    **dict.fromkeys(_ELEMENTWISE, tangent),
    **{f"{kind}max_pool{d}d": _largest for kind in ("", "adaptive_") for d in (1, 2, 3)},
    **dict.fromkeys(("amax", "amin"), _extreme),
    **dict.fromkeys(("max", "min"), _larger),
}
