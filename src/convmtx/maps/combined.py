"""Multiples, sums and products of maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, reduce
from itertools import pairwise
from operator import add, matmul
from typing import Any

import numpy as np

from convmtx._xp import (
    cast,
    conjugate,
    identity_like,
    is_numpy,
    promote,
)
from convmtx._xp.sparse import in_library, with_data
from convmtx.forms import row_array
from convmtx.maps.base import Combination, Wrapper
from convmtx.maps.double import double
from convmtx.maps.exports import register
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.ordering import in_order
from convmtx.maps.rows import Rows
from convmtx.maps.sums import added
from convmtx.typing import AnyArray, Order, RowNumbers, Shape

#: Number above which a map that it multiplies may have subnormal images.
HUGE = 1e290


class Scaled(Wrapper, LinearMap):
    """A number times a map."""

    _takes_chunks = True

    def __init__(self, op: LinearMap, scalar: Any) -> None:
        self.op, self.scalar = op, scalar

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        if is_numpy(self._reference_array):
            return np.result_type(self.op.dtype, self.scalar)
        return (identity_like(self._reference_array, 1, self.op.dtype) * self.scalar).dtype

    def _apply(self, x: AnyArray) -> AnyArray:
        return self._times(self.op._image, x)

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return self._times(self.op._transposed_image, y)

    def _times(self, apply: Callable[[AnyArray], AnyArray], x: AnyArray) -> AnyArray:
        """Apply a function times the number, of which half multiplies the input if the number is huge.

        Images of a map of 1e-310 are 1e-310, with 13 of 16 digits left, before 1e310 multiplies them. Those of 1e155
        times the input are 1e-155, with all digits.
        """
        if not isinstance(self.scalar, float) or not HUGE < abs(self.scalar) < np.inf:
            return apply(x) * self.scalar
        before = 2.0 ** (int(np.frexp(self.scalar)[1]) // 2)
        return apply(x * before) * (self.scalar / before)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        matrix = self.op._sparse(order, rows)
        return with_data(matrix, matrix.data * self.scalar)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return self.T._sparse(order, rows)

    def conj(self) -> LinearMap:
        plain = isinstance(self.scalar, int | float | complex)
        return Scaled(self.op.conj(), self.scalar.conjugate() if plain else conjugate(self.scalar))

    @property
    def T(self) -> LinearMap:
        return Scaled(self.op.T, self.scalar)

    def _in_double(self) -> LinearMap:
        number = self.scalar if hasattr(self.scalar, "dtype") else np.asarray(self.scalar)
        return Scaled(self.op._in_double(), double(number, "the number")[()])

    def _magnitudes(self) -> LinearMap:
        return Scaled(self.op._magnitudes(), abs(self.scalar))

    def _count_roundings(self) -> float:
        return 2 + self.op._count_roundings()

    @property
    def _chain(self) -> tuple[LinearMap, ...]:
        return self._first_scaled(self.op._chain)

    @property
    def _kronecker_factors(self) -> tuple[LinearMap, ...]:
        return self._first_scaled(self.op._kronecker_factors)

    @property
    def _summands(self) -> tuple[LinearMap, ...]:
        return self._all_scaled(self.op._summands)

    @property
    def _stack(self) -> tuple[LinearMap, ...]:
        return self._all_scaled(self.op._stack)

    def _first_scaled(self, parts: tuple[LinearMap, ...]) -> tuple[LinearMap, ...]:
        """Return parts that are multiplied with each other, the first times the number."""
        return (parts[0] * self.scalar, *parts[1:]) if len(parts) > 1 else self._alone

    def _all_scaled(self, parts: tuple[LinearMap, ...]) -> tuple[LinearMap, ...]:
        """Return parts that stand side by side, all times the number."""
        return tuple(part * self.scalar for part in parts) if len(parts) > 1 else self._alone


class Sum(Combination, LinearMap):
    """The sum of maps between the same shapes."""

    _takes_chunks = True

    def __init__(self, *terms: LinearMap) -> None:
        parts = (term.terms if type(term) is Sum else (term,) for term in terms)
        #: Maps that are added; the terms of a sum among them instead of the sum.
        self.terms: tuple[LinearMap, ...] = tuple(part for some in parts for part in some)

    @property
    def _parts(self) -> tuple[LinearMap, ...]:
        return self.terms

    @property
    def in_shape(self) -> Shape:
        return self.terms[0].in_shape

    @property
    def out_shape(self) -> Shape:
        return self.terms[0].out_shape

    def _apply(self, x: AnyArray) -> AnyArray:
        return added(term._image(x) for term in self.terms)

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return added(term._transposed_image(y) for term in self.terms)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return reduce(add, (in_library(self._reference_array, term._sparse(order, rows)) for term in self.terms))

    def _carry(self, rows: Rows) -> Rows:
        return Rows.total([term._carry(rows) for term in self.terms])

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return self.T._sparse(order, rows)

    def conj(self) -> LinearMap:
        return Sum(*(term.conj() for term in self.terms))

    @property
    def T(self) -> LinearMap:
        return Sum(*(term.T for term in self.terms))

    def _in_double(self) -> LinearMap:
        return Sum(*(term._in_double() for term in self.terms))

    def _magnitudes(self) -> LinearMap:
        return Sum(*(term._magnitudes() for term in self.terms))


class Product(Combination, LinearMap):
    """One map after another, the last first: ``Product(a, b)(x) == a(b(x))``."""

    _takes_chunks = True

    def __init__(self, *factors: LinearMap) -> None:
        parts = (factor.factors if type(factor) is Product else (factor,) for factor in factors)
        #: Maps that are applied, the last first; the factors of a product among them instead of the product.
        self.factors: tuple[LinearMap, ...] = tuple(part for some in parts for part in some)

    @property
    def _parts(self) -> tuple[LinearMap, ...]:
        return self.factors

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        counting = [factor.dtype for factor in self.factors if not factor._keeps_type]
        return promote(*counting) if counting else super().dtype

    @property
    def in_shape(self) -> Shape:
        return self.factors[-1].in_shape

    @property
    def out_shape(self) -> Shape:
        return self.factors[0].out_shape

    def _apply(self, x: AnyArray) -> AnyArray:
        return reduce(lambda value, factor: factor._image(value), reversed(self.factors), x)

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return reduce(lambda value, factor: factor._transposed_image(value), self.factors, y)

    def _count_stored(self) -> int | None:
        return None

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        first, *rest = self.factors
        while rest and (picked := first._picked(order, rows)) is not None:  # rows of the next factor
            rows = picked
            first, *rest = rest
        if rows is None:
            for factor in (first, *rest):
                factor._require_matrix()
            factors = (in_library(self._reference_array, factor._sparse(order, None)) for factor in (first, *rest))
            matrix = reduce(matmul, factors)
        else:

            def build(numbers: RowNumbers | None) -> Any:
                picked = Rows(
                    first.out_shape, self._reference_array, row_array(range(0) if numbers is None else numbers)
                )
                return reduce(lambda carried, factor: factor._carry(carried), (first, *rest), picked).matrix()

            matrix = in_order(build, order, rows, self.in_shape, first.out_shape)
        matrix.sum_duplicates()
        return with_data(matrix, cast(matrix.data, self.dtype))

    def _carry(self, rows: Rows) -> Rows:
        return reduce(lambda carried, factor: factor._carry(carried), self.factors, rows)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return self.T._sparse(order, rows)

    def conj(self) -> LinearMap:
        return Product(*(factor.conj() for factor in self.factors))

    @property
    def T(self) -> LinearMap:
        return Product(*(factor.T for factor in reversed(self.factors)))

    def _in_double(self) -> LinearMap:
        return Product(*(factor._in_double() for factor in self.factors))

    def _magnitudes(self) -> LinearMap:
        return Product(*(factor._magnitudes() for factor in self.factors))

    @property
    def _chain(self) -> tuple[LinearMap, ...]:
        return tuple(link for factor in self.factors for link in factor._chain)

    @property
    def _kronecker_factors(self) -> tuple[LinearMap, ...]:
        """Products of the Kronecker factors of all factors, if these meet in the same shapes."""
        pairs = [factor._kronecker_factors for factor in self.factors]
        if any(len(pair) != 2 for pair in pairs):
            return self._alone
        if any(part.in_shape != other.out_shape for part, other in pairwise(pair[0] for pair in pairs)):
            return self._alone
        columns = [
            [part for part in column if not part._is_identity] or column[:1] for column in zip(*pairs, strict=True)
        ]
        return tuple(Product(*column) if len(column) > 1 else column[0] for column in columns)

    @property
    def _has_lone_entries(self) -> bool:
        return all(factor._has_lone_entries for factor in reversed(self.factors))


register("scaled", Scaled)
register("sum", Sum)
register("product", Product)
