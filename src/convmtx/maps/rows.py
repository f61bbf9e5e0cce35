"""Rows of a matrix on their way through maps: first numbers of rows, then a sparse matrix, then dense arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx._xp import as_numpy, has_numbers, is_numpy, reshape
from convmtx._xp.sparse import Coordinates, dense_of, in_library, narrow, with_columns
from convmtx.maps.indexing import picking
from convmtx.maps.sums import added
from convmtx.typing import Array, IntArray, Shape

if TYPE_CHECKING:
    from convmtx.maps.linear_map import LinearMap

#: Part of the entries of some rows from which on they go on as dense arrays, if the product of sparse matrices would
#: take more than so many products of numbers. One takes about 20 times as long there as in a convolution's engine.
_FILLED, _MANY = 0.05, 1 << 18


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of the matrix of the maps behind a tensor, which takes arrays of the tensor's shape.

    One of ``numbers``, ``sparse`` and ``dense`` is not None: rows of the identity, a sparse matrix, or an array of
    shape (rows, *shape).
    """

    shape: Shape
    #: Array of the library in which the matrix is made.
    reference: Array
    numbers: IntArray | None = None
    sparse: Any = None
    dense: Any = None

    @staticmethod
    def total(parts: list[Rows]) -> Rows:
        """Return the sum of rows of several ways through a graph; it is dense if one of them is."""
        first = parts[0]
        if len(parts) == 1:
            return first
        if any(part.dense is not None for part in parts):
            return Rows(first.shape, first.reference, dense=added(part.array() for part in parts))
        return Rows(first.shape, first.reference, sparse=reduce(add, (part.matrix() for part in parts)))

    def times(self, op: LinearMap) -> Rows:
        """Return the rows times the matrix of a map that is not made of others."""
        if self.numbers is not None:
            matrix = in_library(self.reference, op._sparse("C", self.numbers))
        elif self._is_filled(op):
            return replace(self, shape=op.in_shape, sparse=None, dense=op._transposed_image(self.array()))
        else:
            # Few rows of the product need few rows of the map, and have few columns.
            left, taking_part = narrow(self.sparse)
            few, columns = narrow(in_library(self.reference, op._sparse("C", taking_part)))
            matrix = with_columns(left @ few, columns.take, op.shape[1])
        return replace(self, shape=op.in_shape, numbers=None, sparse=matrix)

    def _is_filled(self, op: LinearMap) -> bool:
        """Whether the rows had better be dense when they are multiplied by a map."""
        if self.sparse is None:
            return True
        stored = int(self.sparse.data.shape[0])
        in_a_row = (op._count_stored() or prod(op.shape)) / op.shape[0]
        return stored > _FILLED * prod(self.sparse.shape) and stored * in_a_row > _MANY

    def piece(self, axis: int, first: int, last: int) -> Rows:
        """Return the columns of positions ``first`` to before ``last`` along an axis, counted from the end."""
        key: Any = (..., slice(first, last), *(slice(None),) * (-1 - axis))
        if self.dense is not None:
            cut = self.dense[key]
            return replace(self, shape=tuple(cut.shape[1:]), dense=cut)
        places = np.arange(prod(self.shape)).reshape(self.shape)[key]
        picked = picking(places.reshape(-1), prod(self.shape), np.empty(0, np.int8))
        matrix = self.matrix() @ in_library(self.reference, picked.T.tocsr())
        return replace(self, shape=places.shape, numbers=None, sparse=matrix)

    def array(self) -> Array:
        """Return the rows as an array (rows, *shape)."""
        if self.dense is not None:
            return self.dense
        matrix = self.matrix()
        return reshape(dense_of(matrix), (matrix.shape[0], *self.shape))

    def matrix(self) -> Any:
        """Return the rows as a sparse matrix; of dense rows without zeros, if their numbers can be read."""
        if self.numbers is not None:
            return in_library(self.reference, picking(self.numbers, prod(self.shape), np.empty(0, np.int8)))
        if self.sparse is not None:
            return self.sparse
        from scipy.sparse import csr_array

        flat = reshape(self.dense, (int(self.dense.shape[0]), prod(self.shape)))
        if is_numpy(flat):
            return csr_array(flat)
        kept = as_numpy(flat) != 0 if has_numbers(flat) else np.ones(tuple(flat.shape), bool)
        numbers = csr_array(np.where(kept, np.arange(1, kept.size + 1).reshape(kept.shape), 0))
        return Coordinates.numbered(numbers, flat)
