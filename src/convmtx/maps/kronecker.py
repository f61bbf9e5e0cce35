"""Kronecker products: one map along some axes of an array, another along the other axes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import move_axes, reshape
from convmtx._xp.sparse import kronecker
from convmtx.errors import door
from convmtx.forms import require_stored, row_array
from convmtx.maps.base import Combination
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.ordering import in_order
from convmtx.typing import Array, Order, RowNumbers, Shape


class Kronecker(Combination, LinearMap):
    """The first map along the first axes of an array, the second one along the others."""

    def __init__(self, first: LinearMap, second: LinearMap) -> None:
        self.first, self.second = first, second

    @property
    def _parts(self) -> tuple[LinearMap, ...]:
        return self.first, self.second

    @property
    def in_shape(self) -> Shape:
        return self.first.in_shape + self.second.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.first.out_shape + self.second.out_shape

    def _apply(self, x: Array) -> Array:
        shapes = self.first.in_shape, self.second.in_shape
        return reshape(along_both(self.first._image, self.second._image, x, shapes), (x.shape[0], *self.out_shape))

    def _apply_transposed(self, y: Array) -> Array:
        shapes = self.first.out_shape, self.second.out_shape
        images = along_both(self.first._transposed_image, self.second._transposed_image, y, shapes)
        return reshape(images, (y.shape[0], *self.in_shape))

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        def build(rows: RowNumbers | None) -> Any:
            if rows is None:
                return self._product(self.first._sparse("C", None), self.second._sparse("C", None))
            numbers = row_array(rows)
            # Row r of the product is that of row r // m of the first and r % m of the second, for m rows of the second.
            tops, inverse = np.unique(numbers // self.second.shape[0], return_inverse=True)
            lows, low_inverse = np.unique(numbers % self.second.shape[0], return_inverse=True)
            few = self._product(self.first._sparse("C", tops), self.second._sparse("C", lows))
            return few[inverse * lows.size + low_inverse]

        return in_order(build, order, rows, self.in_shape, self.out_shape)

    def _product(self, first: Any, second: Any) -> Any:
        """Return the Kronecker product of two sparse matrices, if it fits; SciPy makes its coordinates first."""
        shape = first.shape[0] * second.shape[0], first.shape[1] * second.shape[1]
        require_stored("csr", first.data.shape[0] * second.data.shape[0], shape, self.dtype, copies=3)
        return kronecker(first, second)

    def _count_stored(self) -> int | None:
        first, second = self.first._count_stored(), self.second._count_stored()
        return None if first is None or second is None else first * second

    def conj(self) -> LinearMap:
        return Kronecker(self.first.conj(), self.second.conj())

    @property
    def T(self) -> LinearMap:
        return Kronecker(self.first.T, self.second.T)

    def _in_double(self) -> LinearMap:
        return Kronecker(self.first._in_double(), self.second._in_double())

    def _magnitudes(self) -> LinearMap:
        return Kronecker(self.first._magnitudes(), self.second._magnitudes())

    @property
    def _kronecker_factors(self) -> tuple[LinearMap, ...]:
        return self.first, self.second

    @property
    def _has_lone_entries(self) -> bool:
        return self.first._has_lone_entries and self.second._has_lone_entries


def along_both(
    first: Callable[[Array], Array], second: Callable[[Array], Array], x: Array, shapes: tuple[Shape, Shape]
) -> Array:
    """Apply a function of batches along the first axes of arrays, and another one along the others.

    ``shapes`` are those that the functions take. The images are (B, size of the first, size of the second).
    """
    batch, n = int(x.shape[0]), prod(shapes[0])
    images = second(reshape(x, (batch * n, *shapes[1])))
    columns = prod(images.shape[1:])
    by_column = move_axes(reshape(images, (batch, n, columns)), 0, 2, 1)
    images = first(reshape(by_column, (batch * columns, *shapes[0])))
    return move_axes(reshape(images, (batch, columns, prod(images.shape[1:]))), 0, 2, 1)


@door("kron")
def kron(A: Any, B: Any) -> LinearMap:
    """Return the Kronecker product of two maps: A along the first axes of an array, B along the others.

    Law: ``kron(A, B).to_dense() == np.kron(A.to_dense(), B.to_dense())``. So a filter A along the first axis of an
    image and a filter B along the second are one map.

    Parameters
    ----------
    A, B : LinearMap
        Maps between any shapes, or what `aslinearmap` takes.

    Returns
    -------
    LinearMap
        From arrays of ``A.in_shape + B.in_shape`` to arrays of ``A.out_shape + B.out_shape``. Applying it applies B
        once for each input of A, and A once for each output of B, each as one batch.

    Raises
    ------
    TypeError
        If one of them is not a map, or they are of different array libraries. (NumPy's maps join those of any other
        library.)

    Examples
    --------
    >>> import convmtx as cm
    >>> rows, columns = cm.conv([1, 1], 2), cm.conv([-1, 1], 3)
    >>> cm.kron(rows, columns).to_dense()
    array([[-1,  1,  0, -1,  1,  0],
           [ 0, -1,  1,  0, -1,  1]])
    """
    first, second = aslinearmap(A), aslinearmap(B)
    first._require_together(second)
    return Kronecker(first, second)
