"""Tangents at an input of functions that are not affine: activations, products of two tensors, max pooling."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.extras import import_extra
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
    torch = import_extra("torch", "torch")
    shape = tuple(call.computed().shape)
    # Arguments that are broadcast have one slope for each position of the result, not one for all.
    wide = [torch.broadcast_to(tensor.numbers, shape).clone().requires_grad_() for tensor in call.followed]
    with torch.enable_grad():
        result = call.called_on(wide, lambda array: array.detach())
        slopes = torch.autograd.grad(result.sum(), wide, allow_unused=True)
    if tuple(result.shape) != shape:
        raise call.not_affine()
    terms, offset = [], result.detach()[0]
    for tensor, slope, numbers in zip(call.followed, slopes, wide, strict=True):
        if slope is None:
            continue
        offset = offset - slope[0] * numbers.detach()[0]
        terms.append((expanded(tensor.value, shape[1:]).through(Diagonal(slope[0], shape[1:])), 1))
    return Value.total(terms).plus(offset)


def _largest(call: Call, input: Any, *args: Any, **options: Any) -> Value:
    """Return the selection of the entries that max pooling takes."""
    if not call.at:
        raise call.not_affine()
    value = call.only(input)
    functional = import_extra("torch", "torch").nn.functional
    options.pop("return_indices", None)
    _, indices = getattr(functional, call.name)(input.numbers, *args, **options, return_indices=True)
    # An index counts the positions of one channel; channel c begins at c times their number.
    size = prod(value.shape[1:])
    first = size * np.arange(value.shape[0]).reshape(-1, *(1 for _ in value.shape[1:]))
    return value.through(Selection(value.shape, indices[0].cpu().numpy() + first, value.like))


def _extreme(call: Call, input: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """Return the selection of the largest or smallest entries along one axis."""
    if not call.at:
        raise call.not_affine()
    value, torch = call.only(input), import_extra("torch", "torch")
    axes = [dim] if isinstance(dim, int) else list(dim or ())
    if len(axes) != 1 or axes[0] % input.ndim == 0:
        raise call.refused(f"dim={dim}", "Expected one axis behind the batch")
    arg = torch.argmax if call.name == "amax" else torch.argmin
    index = arg(input.numbers, axes[0], keepdim=True)
    numbers = torch.arange(prod(value.shape), device=index.device).reshape(1, *value.shape)
    places = numbers.gather(axes[0], index)
    places = places if keepdim else places.squeeze(axes[0])
    return value.through(Selection(value.shape, places[0].cpu().numpy(), value.like))


#: Functions that compute each number from those at the same position of their arguments.
_ELEMENTWISE = (
    "abs", "absolute", "atan", "arctan", "celu", "clamp", "clamp_max", "clamp_min", "clip", "cos", "elu", "erf", "exp",
    "expm1", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log", "log1p", "logsigmoid",
    "log_sigmoid", "maximum", "minimum", "mish", "pow", "prelu", "reciprocal", "relu", "relu6", "rrelu", "rsqrt",
    "selu", "sigmoid", "silu", "sin", "softplus", "softshrink", "softsign", "sqrt", "square", "tanh", "tanhshrink",
    "threshold", "__pow__", "__abs__", "fmax", "fmin",
)  # fmt: skip
CONVERTERS: dict[str, Converter] = {
    **dict.fromkeys(_ELEMENTWISE, tangent),
    **{f"{kind}max_pool{d}d": _largest for kind in ("", "adaptive_") for d in (1, 2, 3)},
    **dict.fromkeys(("amax", "amin"), _extreme),
}
