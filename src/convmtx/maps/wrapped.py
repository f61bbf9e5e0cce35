"""Maps that are another map, seen otherwise: transposed, conjugated, in double precision, or entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx._xp import (
    as_numpy,
    cast,
    conjugate,
    identity_like,
    is_numpy,
    like,
    move_axes,
    promote,
)
from convmtx._xp.sparse import times, with_data
from convmtx.errors import ArgumentTypeError, door, with_article
from convmtx.maps.base import Wrapper
from convmtx.maps.double import double_csr, double_type, require_finite
from convmtx.maps.exports import register
from convmtx.typing import AnyArray, Array, Order, RowNumbers, Shape

if TYPE_CHECKING:
    from convmtx.geometry.pattern import Pattern


from convmtx.maps.linear_map import LinearMap


class Transposed(Wrapper, LinearMap):
    """The transpose of a map that has no better one; applying it costs what the map costs."""

    _takes_chunks = True

    @property
    def in_shape(self) -> Shape:
        return self.op.out_shape

    @property
    def out_shape(self) -> Shape:
        return self.op.in_shape

    @property
    def _keeps_type(self) -> bool:
        return self.op._keeps_type

    def _apply(self, x: AnyArray) -> AnyArray:
        return self.op._transposed_image(x)

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return self.op._image(y)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return self.op._sparse_transposed(order, rows)

    def _dense(self, order: Order) -> AnyArray:
        return move_axes(self.op._dense(order), 1, 0)

    def _coarse_pattern(self) -> Pattern | None:
        pattern = self.op._coarse_pattern()
        return pattern and replace(
            pattern, row_edges=pattern.column_edges, column_edges=pattern.row_edges, counts=pattern.counts.T
        )

    def conj(self) -> LinearMap:
        return Transposed(self.op.conj())

    @property
    def T(self) -> LinearMap:
        return self.op

    def _entrywise(self, function: Callable[[Array], Array]) -> LinearMap:
        return self.op._entrywise(function).T

    def _in_double(self) -> LinearMap:
        return self.op._in_double().T

    def _magnitudes(self) -> LinearMap:
        return self.op._magnitudes().T

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
        self._require_same_shapes(other)
        return Transposed(self.op - other.op)

    def _negative(self, dtype: Any) -> LinearMap:
        return Transposed(self.op._negative(dtype))

    @property
    def _holds_entries(self) -> bool:
        return self.op._holds_entries


class Conjugated(Wrapper, LinearMap):
    """Map of the conjugated entries: conjugates the input and the output of a map that has no better conjugate."""

    _takes_chunks = True

    def _apply(self, x: AnyArray) -> AnyArray:
        return conjugate(self.op._image(conjugate(x)))

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return conjugate(self.op._transposed_image(conjugate(y)))

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        matrix = self.op._sparse(order, rows)
        return with_data(matrix, conjugate(matrix.data))

    def conj(self) -> LinearMap:
        return self.op

    def _in_double(self) -> LinearMap:
        return self.op._in_double().conj()

    def _magnitudes(self) -> LinearMap:
        return self.op._magnitudes()

    def _count_roundings(self) -> float:
        return self.op._count_roundings()


class Doubled(Wrapper, LinearMap):
    """Map of any class in double precision of NumPy; refuses to be applied if inf or nan come out."""

    @property
    def _takes_every_library(self) -> bool:
        return False

    @property
    def _reference_array(self) -> Array:
        return np.empty(0, self.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        return double_type(self.op.dtype)

    def _apply(self, x: AnyArray) -> AnyArray:
        return self._checked(x, self.op._image(like(x, self.op._reference_array)))

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return self._checked(y, self.op._transposed_image(like(y, self.op._reference_array)))

    def _checked(self, x: AnyArray, image: Array) -> AnyArray:
        """Return the image of ``x`` in double precision, if it was computed in that and is finite."""
        name, y = type(self.op).__name__, as_numpy(image)
        if not np.can_cast(x.dtype, y.dtype):  # float32 of float64, which no bound of the results allows for
            got, expected = f"{with_article(name)} takes {x.dtype} to {y.dtype}", "Expected np.result_type(op.dtype, x)"
            raise ArgumentTypeError(got, expected, f"Mend {name}._apply and its transpose")
        if np.isfinite(x).all():
            require_finite(y, f"an output of {with_article(name)}")
        return y.astype(np.result_type(self.dtype, x), copy=False)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return double_csr(self.op._sparse(order, rows), f"the matrix of {with_article(type(self.op).__name__)}")

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return double_csr(
            self.op._sparse_transposed(order, rows), f"the matrix of {with_article(type(self.op).__name__)}"
        )

    def conj(self) -> LinearMap:
        return Doubled(self.op.conj())

    def _in_double(self) -> LinearMap:
        return self


class Entrywise(Wrapper, LinearMap):
    """Map of a function of each entry of a map; it builds the sparse matrix when it is first applied.

    The function takes an array of any library, and 0 to 0.
    """

    _takes_every_library = True

    def __init__(self, op: LinearMap, function: Callable[[Array], Array]) -> None:
        super().__init__(op)
        self.function = function

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return self.function(identity_like(self._reference_array, 1, self.op.dtype)).dtype

    @cached_property
    def _matrix_kept(self) -> Any:
        return self._built()

    @property
    def _matrix(self) -> Any:
        """The sparse matrix; one of tensors or of traced arrays belongs to the call that built it."""
        return self._matrix_kept if is_numpy(self._reference_array) else self._built()

    def _built(self) -> Any:
        self._require_matrix()
        return self._sparse("C", None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_matrix_kept"}

    def _apply(self, x: Array) -> Array:
        return cast(times(self._matrix, x, self.out_shape), promote(self.dtype, x.dtype))

    def _apply_transposed(self, y: Array) -> Array:
        return cast(times(self._matrix.T, y, self.in_shape), promote(self.dtype, y.dtype))

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        matrix = self.op._sparse(order, rows)
        return with_data(matrix, self.function(matrix.data))

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        matrix = self.op._sparse_transposed(order, rows)
        return with_data(matrix, self.function(matrix.data))

    def _in_double(self) -> LinearMap:
        return Entrywise(self.op._in_double(), self.function)


register("transposed", Transposed)
register("conjugated", Conjugated)
register("doubled", Doubled)
register("entrywise", Entrywise)
