"""What is made of linear maps: multiples, sums, products, transposes."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx._xp import conjugate, identity_like, is_numpy, moved, one_of_theirs, promoted, together
from convmtx._xp.sparse import Coordinates, narrowed
from convmtx.errors import door
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, Array, Order, RowNumbers, Shape

if TYPE_CHECKING:
    from convmtx.geometry.pattern import Pattern


def _in_library(array: Array, matrix: Any) -> Any:
    """Return a sparse matrix, SciPy's or coordinates, as one of this array's library."""
    return matrix if is_numpy(array) else Coordinates.of(matrix, array)


def _added(first: Array, second: Array) -> Array:
    """Add arrays, NumPy's in the library of the other."""
    first, second = together(first, second)
    return first + second


class Scaled(LinearMap):
    """A number times a map."""

    def __init__(self, op: LinearMap, scalar: Any) -> None:
        vars(self).update(op=op, scalar=scalar)

    op: LinearMap
    scalar: Any

    @property
    def _of(self) -> Array:
        return self.op._of

    @property
    def in_shape(self) -> Shape:
        return self.op.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.op.out_shape

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        if is_numpy(self._of):
            return np.result_type(self.op.dtype, self.scalar)
        return (identity_like(self._of, 1, self.op.dtype) * self.scalar).dtype

    def _apply(self, x: AnyArray) -> AnyArray:
        y: AnyArray = self.op._apply(x) * self.scalar
        return y

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        x: AnyArray = self.op._apply_transposed(y) * self.scalar
        return x

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        matrix = self.op._sparse(order, rows)
        matrix.data = matrix.data * self.scalar
        return matrix

    def _coarse_pattern(self) -> Pattern | None:
        return self.op._coarse_pattern()

    def conj(self) -> LinearMap:
        plain = isinstance(self.scalar, int | float | complex)
        return Scaled(self.op.conj(), self.scalar.conjugate() if plain else conjugate(self.scalar))

    @property
    def T(self) -> LinearMap:
        return Scaled(self.op.T, self.scalar)


class Sum(LinearMap):
    """The sum of maps between the same shapes."""

    def __init__(self, *terms: LinearMap) -> None:
        flat = [each for term in terms for each in (term.terms if isinstance(term, Sum) else (term,))]
        vars(self).update(terms=tuple(flat))

    terms: tuple[LinearMap, ...]

    @cached_property
    def _of(self) -> Array:
        return one_of_theirs([term._of for term in self.terms])

    @property
    def in_shape(self) -> Shape:
        return self.terms[0].in_shape

    @property
    def out_shape(self) -> Shape:
        return self.terms[0].out_shape

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return promoted(*(term.dtype for term in self.terms))

    def _apply(self, x: AnyArray) -> AnyArray:
        return reduce(_added, (term._apply(x) for term in self.terms))

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return reduce(_added, (term._apply_transposed(y) for term in self.terms))

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return reduce(add, (_in_library(self._of, term._sparse(order, rows)) for term in self.terms))

    def conj(self) -> LinearMap:
        return Sum(*(term.conj() for term in self.terms))

    @property
    def T(self) -> LinearMap:
        return Sum(*(term.T for term in self.terms))


class Product(LinearMap):
    """One map after another, the last first: ``Product(a, b)(x) == a(b(x))``."""

    def __init__(self, *factors: LinearMap) -> None:
        flat = [each for factor in factors for each in (factor.factors if isinstance(factor, Product) else (factor,))]
        vars(self).update(factors=tuple(flat))

    factors: tuple[LinearMap, ...]

    @cached_property
    def _of(self) -> Array:
        return one_of_theirs([factor._of for factor in self.factors])

    @property
    def in_shape(self) -> Shape:
        return self.factors[-1].in_shape

    @property
    def out_shape(self) -> Shape:
        return self.factors[0].out_shape

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return promoted(*(factor.dtype for factor in self.factors))

    def _apply(self, x: AnyArray) -> AnyArray:
        return reduce(lambda value, factor: factor._apply(value), reversed(self.factors), x)

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return reduce(lambda value, factor: factor._apply_transposed(value), self.factors, y)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        first, *rest = self.factors
        matrix = _in_library(self._of, first._sparse(order, rows))
        for factor in rest:
            met = None  # rows of the factor that take part
            if rows is not None:
                matrix, met = narrowed(matrix)
            matrix = matrix @ _in_library(self._of, factor._sparse(order, met))
        matrix.sum_duplicates()
        return matrix

    def conj(self) -> LinearMap:
        return Product(*(factor.conj() for factor in self.factors))

    @property
    def T(self) -> LinearMap:
        return Product(*(factor.T for factor in reversed(self.factors)))


class Transposed(LinearMap):
    """The transpose of a map that has no better one; applying it costs what the map costs."""

    def __init__(self, op: LinearMap) -> None:
        vars(self).update(op=op)

    op: LinearMap

    @property
    def _of(self) -> Array:
        return self.op._of

    @property
    def in_shape(self) -> Shape:
        return self.op.out_shape

    @property
    def out_shape(self) -> Shape:
        return self.op.in_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.op.dtype

    def _apply(self, x: AnyArray) -> AnyArray:
        return self.op._apply_transposed(x)

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return self.op._apply(y)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return self.op._sparse_transposed(order, rows)

    def _dense(self, order: Order) -> AnyArray:
        return moved(self.op._dense(order), 1, 0)

    def _coarse_pattern(self) -> Pattern | None:
        found = self.op._coarse_pattern()
        return found and replace(
            found, row_edges=found.column_edges, column_edges=found.row_edges, counts=found.counts.T
        )

    def conj(self) -> LinearMap:
        return Transposed(self.op.conj())

    @property
    def T(self) -> LinearMap:
        return self.op

    # Entries of integers wrap around in the map that is transposed, so in every form and application alike.

    @door("a * op")
    def __mul__(self, scalar: Any) -> LinearMap:
        return Transposed(self.op * scalar)

    @door("op / a")
    def __truediv__(self, scalar: Any) -> LinearMap:
        return Transposed(self.op / scalar)

    @door("op1 - op2")
    def __sub__(self, other: Any) -> LinearMap:
        if not isinstance(other, Transposed):
            return super().__sub__(other)
        self._same_shapes(other)
        return Transposed(self.op - other.op)

    def _negative(self, dtype: Any) -> LinearMap:
        return Transposed(self.op._negative(dtype))

    @property
    def _holds_entries(self) -> bool:
        return self.op._holds_entries
