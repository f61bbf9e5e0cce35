"""Matrix of a map that is known by its application alone: the images of unit vectors."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_half
from convmtx.typing import AnyArray, IntArray, Order, Shape

#: Bytes of unit vectors and of their images at a time: enough to apply a map to many at once, and little memory.
BLOCK_BYTES = 1 << 25


def unit_images(
    apply: Callable[[AnyArray], AnyArray],
    in_shape: Shape,
    out_shape: Shape,
    dtype: Any,
    order: Order,
    numbers: IntArray,
) -> Any:
    """Return a CSR array with the flattened image of one unit vector of ``in_shape`` in each row.

    Parameters
    ----------
    apply : callable
        Takes (B, *in_shape) to (B, *out_shape), in NumPy.
    numbers : array of int
        Position of the one in each unit vector, flattened in ``order``.

    Raises
    ------
    MemoryError
        If the entries that are not zero do not fit. Blocks of images are dense, so at most 32 MiB of zeros exist.
    """
    from scipy.sparse import csr_array, vstack

    size, images = prod(in_shape), prod(out_shape)
    dtype = np.dtype(np.float32) if is_half(dtype) else dtype  # SciPy has no sparse array of float16
    step = max(BLOCK_BYTES // (dtype.itemsize * (size + images) or 1), 1)
    blocks, stored = [csr_array((0, images), dtype=dtype)], 0
    for start in range(0, len(numbers), step):
        places = numbers[start : start + step]
        units = np.zeros((len(places), size), dtype)
        units[np.arange(len(places)), places] = 1
        rows = _flat(apply(_unflat(units, in_shape, order)), images, order)
        blocks.append(csr_array(rows))
        stored += blocks[-1].data.nbytes + blocks[-1].indices.nbytes
        memory.require_result("the matrix of this map", stored, "Apply the map itself, op(x)")
    return vstack(blocks, format="csr", dtype=dtype)


def _unflat(rows: AnyArray, shape: Shape, order: Order) -> AnyArray:
    """Return (B, *shape) of rows (B, size) that are flattened in ``order``."""
    if order == "C":
        return rows.reshape(len(rows), *shape)
    return rows.reshape(len(rows), *reversed(shape)).transpose(0, *range(len(shape), 0, -1))


def _flat(arrays: AnyArray, size: int, order: Order) -> AnyArray:
    """Return rows (B, size) of arrays (B, *shape), flattened in ``order``."""
    axes = range(1, arrays.ndim) if order == "C" else range(arrays.ndim - 1, 0, -1)
    return arrays.transpose(0, *axes).reshape(len(arrays), size)
