"""Orders in which arrays are flattened: a matrix that is built in C order, as rows and in the order requested."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from convmtx._xp.sparse import with_columns
from convmtx.forms import row_array
from convmtx.typing import IntArray, Order, RowNumbers, Shape


def renumbered(shape: Shape, numbers: IntArray, before: Order, after: Order) -> IntArray:
    """Return the numbers in another order of the entries of an array that have these numbers in one order."""
    if before == after or len(shape) < 2 or not numbers.size:
        return numbers
    return np.ravel_multi_index(np.unravel_index(numbers, shape, before), shape, order=after)


def in_order(
    build: Callable[[RowNumbers | None], Any], order: Order, rows: RowNumbers | None, in_shape: Shape, out_shape: Shape
) -> Any:
    """Return rows of a sparse matrix, sorted, in the order requested.

    ``build`` returns the rows of these numbers in C order, or all of them for None. Arrays of one axis have one order.
    """
    if order == "F" and len(out_shape) > 1:
        rows = renumbered(out_shape, row_array(range(prod(out_shape)) if rows is None else rows), "F", "C")
    matrix = build(rows)
    if order == "F" and len(in_shape) > 1:
        move = partial(renumbered, in_shape, before="C", after="F")
        matrix = with_columns(matrix, move, prod(in_shape))
    return matrix
