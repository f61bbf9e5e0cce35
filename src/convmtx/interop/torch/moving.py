"""Converters of functions that move numbers and compute nothing: shapes, orders of axes, slices, shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.torch.calls import BATCH, Call, Converter
from convmtx.interop.values import Value
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.indexing import steps_of
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.maps.selection import Grid, Selection
from convmtx.typing import Shape


def _identity(call: Call, input: Any, *_args: Any, **_options: Any) -> Value:
    """Convert a function that keeps the numbers, such as one that changes their type or memory."""
    return call.only(input)


def _dropout(call: Call, input: Any, p: float = 0.5, training: bool = True) -> Value:
    if training and p:
        raise call.refused(
            "training=True",
            "A map has fixed numbers, and this function drops some at random",
            "Call module.eval() first",
        )
    return call.only(input)


def _reshaped(call: Call, input: Any, *args: Any, **_options: Any) -> Value:
    torch = import_extra("torch", "torch")
    if any(isinstance(argument, torch.dtype) for argument in args):
        raise call.refused(f"dtype={args[0]}", "It reads the bits of numbers, which is not affine")
    shape, target = call.only(input).shape, _without_batch(call, tuple(call.computed.shape), BATCH)
    return call.map(input, layers.reshaping(shape, target, input.value.like))


def _without_batch(call: Call, shape: Shape, batch: int) -> Shape:
    """Return a shape that PyTorch computed without its batch axis, which has this size."""
    if shape[:1] != (batch,):
        expected = f"Expected the batch left as it is, {BATCH} along the first axis"
        raise call.refused(f"a result of shape {shape}", expected, "Keep the batch axis first")
    return shape[1:]


def _permuted(call: Call, input: Any, *args: Any, **options: Any) -> Value:
    torch = import_extra("torch", "torch")
    shape = call.only(input).shape
    # A tensor whose axes have the sizes 1, 2, 3, ... tells by its sizes where each axis goes.
    numbered = torch.empty(tuple(range(1, len(shape) + 2)), device="meta")
    if input.is_complex() and call.name == "adjoint":
        raise call.refused("complex numbers", "It conjugates, which is not affine")
    order = tuple(call.function(numbered, *args, **options).shape)
    axes = [size - 2 for size in _without_batch(call, order, 1)]
    return call.map(input, Rearranged(shape, axes, like=input.value.like))


def _picked(call: Call, *args: Any, **options: Any) -> Value | list[Value]:
    """Convert a function that picks entries, by what it makes of their numbers."""
    torch = import_extra("torch", "torch")
    value = call.only(args[0])
    if call.name == "__getitem__" and (op := _slices(value, args[1])) is not None:
        return value.through(op)
    moved = call.function(
        _numbers(value), *(a.cpu() if isinstance(a, torch.Tensor) else a for a in args[1:]), **options
    )
    if isinstance(moved, torch.Tensor):
        return value.through(Selection(value.shape, _of_one_sample(call, value, moved).numpy(), value.like))
    parts = [_of_one_sample(call, value, part).numpy() for part in moved]
    return [value.through(Selection(value.shape, part, value.like)) for part in parts]


def _numbers(value: Value) -> Any:
    """Return a batch of tensors whose entries are numbered, over all samples."""
    layers.require_small("the numbers of all entries", 8 * BATCH * prod(value.shape))
    return import_extra("torch", "torch").arange(BATCH * prod(value.shape)).reshape(BATCH, *value.shape)


def _of_one_sample(call: Call, value: Value, numbers: Any) -> Any:
    """Return the numbers of the entries that are picked from the first sample; refuse what mixes samples."""
    _without_batch(call, tuple(numbers.shape), BATCH)
    if not bool((numbers[1:] - prod(value.shape) == numbers[:-1]).all()):
        raise call.refused("samples of the batch exchanged", "Expected each sample by itself")
    return numbers[0]


def _slices(value: Value, key: Any) -> LinearMap | None:
    """Return the map of an index of integers and slices that leaves the batch alone; None for other indices."""
    keys = key if isinstance(key, tuple) else (key,)
    if not keys or not (keys[0] is Ellipsis or (isinstance(keys[0], slice) and keys[0] == slice(None))):
        return None
    rest = keys if keys[0] is Ellipsis else keys[1:]
    if any(isinstance(k, slice) and (k.step or 1) < 0 for k in rest):
        return None
    steps = steps_of(rest, value.shape)
    if steps is None:
        return None
    op: LinearMap = Grid(value.shape, [picked for picked, _ in steps], value.like)
    kept = tuple(len(picked) for picked, is_kept in steps if is_kept)
    return op if kept == op.out_shape else layers.reshaping(op.out_shape, kept, value.like) @ op


def _written(call: Call, input: Any, key: Any, new: Any) -> Value:
    """Convert ``input[key] = new``: zeros where it is written, plus what is written there."""
    torch = import_extra("torch", "torch")
    value, size = input.value, prod(input.value.shape)
    numbers = _numbers(value)[key]
    is_kept = torch.ones(BATCH * size, dtype=torch.bool)
    is_kept[numbers.reshape(-1)] = False
    is_kept = is_kept.reshape(BATCH, size)
    if not bool((is_kept[0] == is_kept[1]).all()):
        raise call.refused("an index of some samples", "Expected the batch left as it is", "Write y[:, ...]")
    kept = is_kept[0].to(value.like.dtype).reshape(value.shape).to(value.like.device)
    rest: Value = value.through(Diagonal(kept, value.shape))
    if not isinstance(new, call.kind):
        array = torch.zeros((BATCH, *value.shape), dtype=value.like.dtype, device=value.like.device)
        array[key] = new
        if not bool((array[0] == array[1]).all()):
            raise call.refused("other numbers for other samples", "Expected the same for all samples of a batch")
        return rest.plus(array[0])
    places = _of_one_sample(call, value, numbers)
    if int(is_kept[0].sum()) != size - places.numel():
        raise call.refused("an index with repetitions", "Expected every entry once", "Index each entry once")
    if new.ndim != places.ndim + 1:
        raise call.refused(f"values of shape {tuple(new.shape)}", "Expected as many axes as the index picks")
    own = expanded(new.value, tuple(places.shape))
    back = Selection(value.shape, places.numpy(), value.like).T
    return Value.total([(rest, 1), (own.through(back), 1)])


def _copied(call: Call, input: Any, new: Any, *_args: Any) -> Value:
    """Convert ``input.copy_(new)``."""
    return _written(call, input, slice(None), new)


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
        tensor.value if isinstance(tensor, call.kind) else Value.constant(_in_batch(call, tensor, rank - 1, like), like)
        for tensor in tensors
    ]
    return values, axis - 1


def _in_batch(call: Call, tensor: Any, rank: int, like: Any) -> Any:
    """Return a constant that is joined with tensors of so many axes."""
    if tensor.ndim != rank + 1:
        raise call.refused(f"a tensor of shape {tuple(tensor.shape)}", "Expected a batch axis too")
    return call.constant(tensor, rank, like)


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
    "to", "type", "type_as",
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
    "copy_": _copied,
    "stack": _stacked,
}
