"""Types that public signatures are written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AnyArray",
    "Array",
    "ArrayLike",
    "BoundaryLike",
    "BoundaryName",
    "Channels",
    "EngineName",
    "IntArray",
    "Mode",
    "Order",
    "PaddingLike",
    "PerAxis",
    "RowNumbers",
    "RowsLike",
    "Shape",
    "SparseFormat",
]

AnyArray = NDArray[Any]
#: An array of any library of the array API standard.
Array = Any
IntArray = NDArray[np.int64]
#: Row numbers of a matrix, counted from 0: a range, ascending or descending, or an array in any order.
RowNumbers = range | IntArray
Shape = tuple[int, ...]

PerAxis = int | Sequence[int]
PaddingLike = Literal["valid", "same", "same_lower", "full"] | int | Sequence[int | tuple[int, int]]
BoundaryName = Literal["zero", "wrap", "reflect", "symmetric", "edge", "zeros", "circular", "replicate"]
BoundaryLike = BoundaryName | Sequence[BoundaryName]
Channels = Literal["last", "first"]
EngineName = Literal["auto", "direct", "fft", "separable", "sparse", "torch", "jax", "compiled"]
Mode = Literal["full", "same", "valid"]
Order = Literal["C", "F"]
RowsLike = slice | Sequence[int] | NDArray[Any]
SparseFormat = Literal["csr", "csc", "coo", "bsr", "dia"]
