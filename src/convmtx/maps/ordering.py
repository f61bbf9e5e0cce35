"""Orders in which arrays are flattened: a matrix that is built in C order, as rows and in the order requested."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convmtx._xp.sparse import with_columns
from convmtx.forms import row_array
from convmtx.typing import IntArray, Order, RowNumbers, Shape


def column_major(shape: Shape) -> IntArray:
    """Return the number in C order of each entry of an array in Fortran order."""
    return np.arange(prod(shape)).reshape(shape).reshape(-1, order="F")


def in_order(
    build: Callable[[IntArray | None], Any], order: Order, rows: RowNumbers | None, in_shape: Shape, out_shape: Shape
) -> Any:
    """Return rows of a sparse matrix, sorted, in the order requested.

    ``build`` returns the rows of these numbers in C order, or all of them for None. Arrays of one axis have one order.
    """
    numbers = None if rows is None else row_array(rows)
    if order == "F" and len(out_shape) > 1:
        outputs = column_major(out_shape)
        numbers = outputs if numbers is None else outputs[numbers]
    matrix = build(numbers)
    if order == "F" and len(in_shape) > 1:
        places = np.empty(prod(in_shape), np.int64)
        places[column_major(in_shape)] = np.arange(places.size)
        matrix = with_columns(matrix, places, places.size)
    return matrix
