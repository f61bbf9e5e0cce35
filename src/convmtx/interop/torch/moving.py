"""Converters of functions that move numbers and compute nothing: shapes, orders of axes, slices, shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.torch.calls import Call, Converter
from convmtx.interop.values import Value
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.maps.selection import Selection
from convmtx.typing import Shape


def _identity(call: Call, input: Any, *_args: Any, **_options: Any) -> Value:
    """Convert a function that keeps the numbers, such as one that changes their type or memory."""
    value, result = call.only(input), call.computed()
    if result is not None and not (result.dtype.is_floating_point or result.dtype.is_complex):
        raise call.refused(f"dtype={result.dtype}", "It rounds to integers, which is not affine")
    return value


def _dropout(call: Call, input: Any, p: float = 0.5, training: bool = True) -> Value:
    if training and p:
        raise call.refused(
            "training=True",
            "A map has fixed numbers, and this function drops some at random",
            "Call module.eval() first",
        )
    return call.only(input)


def _reshaped(call: Call, input: Any, *_args: Any, **_options: Any) -> Value:
    shape, target = call.only(input).shape, _without_batch(call, tuple(call.computed().shape))
    return call.map(input, layers.reshaping(shape, target, input.value.like))


def _without_batch(call: Call, shape: Shape) -> Shape:
    """Return a shape that PyTorch computed without its batch axis."""
    if shape[:1] != (1,):
        raise call.refused(
            f"a result of shape {shape}", "Expected the batch left as it is", "Keep the batch axis first"
        )
    return shape[1:]


def _permuted(call: Call, input: Any, *args: Any, **options: Any) -> Value:
    torch = import_extra("torch", "torch")
    shape = call.only(input).shape
    # A tensor whose axes have the sizes 1, 2, 3, ... tells by its sizes where each axis goes.
    numbered = torch.empty(tuple(range(1, len(shape) + 2)), device="meta")
    order = tuple(call.function(numbered, *args, **options).shape)
    axes = [size - 2 for size in _without_batch(call, order)]
    return call.map(input, Rearranged(shape, axes, like=input.value.like))


def _picked(call: Call, *args: Any, **options: Any) -> Value | list[Value]:
    """Convert a function that picks entries, by what it makes of their numbers."""
    torch = import_extra("torch", "torch")
    value = call.only(args[0])
    layers.require_small("the numbers of all entries", 8 * prod(value.shape))
    numbers = torch.arange(prod(value.shape)).reshape(1, *value.shape)
    others = [arg.cpu() if isinstance(arg, torch.Tensor) else arg for arg in args[1:]]
    moved = call.function(numbers, *others, **options)
    if isinstance(moved, torch.Tensor):
        return _selected(call, value, moved)
    return [_selected(call, value, part) for part in moved]


def _selected(call: Call, value: Value, numbers: Any) -> Value:
    _without_batch(call, tuple(numbers.shape))
    layers.require_small("an output", 8 * numbers.numel())
    return value.through(Selection(value.shape, numbers[0].numpy(), value.like))


def _written(call: Call, input: Any, key: Any, new: Any) -> Value:
    """Convert ``input[key] = new``: zeros where it is written, plus what is written there."""
    torch = import_extra("torch", "torch")
    value: Value = input.value
    numbers = torch.arange(prod(value.shape)).reshape(1, *value.shape)[key]
    kept = torch.ones(prod(value.shape), dtype=value.like.dtype)
    kept[numbers.reshape(-1)] = 0
    rest = value.through(Diagonal(kept.reshape(value.shape).to(value.like.device), value.shape))
    if not isinstance(new, call.kind):
        array = torch.zeros((1, *value.shape), dtype=value.like.dtype, device=value.like.device)
        array[key] = new
        return rest.plus(array[0])
    _without_batch(call, tuple(numbers.shape))
    own = expanded(new.value, tuple(numbers.shape[1:]))
    places = Selection(value.shape, numbers[0].numpy(), value.like).T
    return Value.total([(rest, 1), (own.through(places), 1)])


def expanded(value: Value, shape: Shape) -> Value:
    """Return a tensor broadcast to a shape, as in a sum with a larger one."""
    if value.shape == shape:
        return value
    padded = (1,) * (len(shape) - len(value.shape)) + value.shape
    op: LinearMap = layers.reshaping(value.shape, padded, value.like)
    for axis, (size, target) in enumerate(zip(padded, shape, strict=True)):
        if size != target:
            op = layers.take_along(op.out_shape, axis, np.zeros(target, int), value.like) @ op
    return value.through(op)


def _joined(call: Call, tensors: Sequence[Any], dim: int = 0) -> Value:
    return Value.joined(*_parts(call, list(tensors), dim))


def _parts(call: Call, tensors: list[Any], dim: int) -> tuple[list[Value], int]:
    """Return the values of tensors that are joined, constants among them, and the axis behind the batch."""
    rank = max(tensor.ndim for tensor in tensors)
    axis = dim + rank if dim < 0 else dim
    if axis == 0:
        raise call.refused(f"dim={dim}", "It joins samples of a batch", "Join along another axis")
    like = call.followed[0].value.like
    tensors = [tensor for tensor in tensors if tuple(tensor.shape) != (0,)]
    values = [
        tensor.value if isinstance(tensor, call.kind) else Value.constant(call.constant(tensor, rank - 1, like), like)
        for tensor in tensors
    ]
    return values, axis - 1


def _stacked(call: Call, tensors: Sequence[Any], dim: int = 0) -> Value:
    rank = tensors[0].ndim + 1
    axis = dim + rank if dim < 0 else dim
    values, _ = _parts(call, list(tensors), -1)
    if axis == 0:
        raise call.refused(f"dim={dim}", "It joins samples of a batch", "Stack along another axis")
    shape = values[0].shape
    thin = (*shape[: axis - 1], 1, *shape[axis - 1 :])
    op = layers.reshaping(shape, thin, values[0].like)
    return Value.joined([value.through(op) for value in values], axis - 1)


def _joined_by_name(call: Call, tensors: Sequence[Any]) -> Value:
    dim = {"hstack": 1, "dstack": 2, "vstack": 0, "row_stack": 0, "column_stack": 1}[call.name]
    if call.name == "dstack" and tensors[0].ndim == 2:
        return _stacked(call, tensors, 2)
    return _joined(call, tensors, dim)


_IDENTITIES = (
    "alias", "bfloat16", "clone", "contiguous", "cpu", "data", "detach", "double", "float", "half", "positive", "real",
    "requires_grad_", "to", "type", "type_as",
)  # fmt: skip
_RESHAPES = ("flatten", "ravel", "reshape", "reshape_as", "squeeze", "unflatten", "unsqueeze", "view", "view_as")
_PERMUTES = ("T", "adjoint", "mT", "moveaxis", "movedim", "permute", "swapaxes", "swapdims", "t", "transpose")
_PICKING = (
    "__getitem__", "broadcast_to", "channel_shuffle", "chunk", "diagonal", "dsplit", "expand", "expand_as", "flip",
    "fliplr", "flipud", "gather", "hsplit", "index_select", "narrow", "native_channel_shuffle", "pixel_shuffle",
    "pixel_unshuffle", "repeat", "repeat_interleave", "roll", "rot90", "select", "split", "split_with_sizes",
    "take_along_dim", "tensor_split", "tile", "unbind", "unfold", "vsplit",
)  # fmt: skip
CONVERTERS: dict[str, Converter] = {
    **dict.fromkeys(_IDENTITIES, _identity),
    **dict.fromkeys(_RESHAPES, _reshaped),
    **dict.fromkeys(_PERMUTES, _permuted),
    **dict.fromkeys(_PICKING, _picked),
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"), _dropout
    ),
    **dict.fromkeys(("cat", "concat", "concatenate"), _joined),
    **dict.fromkeys(("hstack", "dstack", "vstack", "row_stack", "column_stack"), _joined_by_name),
    "__setitem__": _written,
    "stack": _stacked,
}
