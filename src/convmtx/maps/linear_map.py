"""Linear maps, and the maps that their algebra makes: multiples, sums, products, transposes and conjugates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx._xp import (
    as_numpy,
    cast,
    conjugate,
    identity_like,
    is_complex,
    is_numpy,
    like,
    move_axes,
    namespace,
    promote,
    together,
)
from convmtx._xp.sparse import Coordinates, narrow, times, with_data
from convmtx.errors import ArgumentTypeError, door, with_article
from convmtx.maps.algebra import Algebra
from convmtx.maps.base import Combination, Wrapper
from convmtx.maps.double import double, double_csr, double_type, require_finite
from convmtx.maps.exports import export
from convmtx.maps.own_maps import peak, require_transpose
from convmtx.maps.parts import Parts
from convmtx.typing import AnyArray, Array, IntArray, Order, RowNumbers, Shape

if TYPE_CHECKING:
    from convmtx.geometry.pattern import Pattern


class LinearMap(Algebra, Parts):
    """A linear map from arrays of ``in_shape`` to arrays of ``out_shape``.

    As a matrix it acts on flattened arrays: ``op.to_dense() @ x.ravel() == op(x).ravel()``. It has what
    `scipy.sparse.linalg` expects of an operator (``shape``, ``dtype``, ``matvec``, ``rmatvec``, ``matmat``,
    ``rmatmat``). NumPy's operators leave it alone, so that ``x @ op`` and ``2 * op`` come here.

    A class of your own defines ``in_shape``, ``out_shape``, ``dtype``, ``_apply`` for a batch of inputs, and
    ``_apply_transposed`` for its transpose. Outputs have the type ``np.result_type(op.dtype, x)``.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> class RunningSum(cm.LinearMap):
    ...     in_shape, out_shape, dtype = (4,), (4,), np.dtype(int)
    ...     def _apply(self, x):
    ...         return np.cumsum(x, axis=1, dtype=np.result_type(self.dtype, x))
    ...     def _apply_transposed(self, y):
    ...         return self._apply(y[:, ::-1])[:, ::-1]
    >>> (RunningSum() - cm.conv([1], 4)).to_dense()
    array([[0, 0, 0, 0],
           [1, 0, 0, 0],
           [1, 1, 0, 0],
           [1, 1, 1, 0]])
    >>> round(cm.norm(RunningSum()).value, 3)
    2.879
    """

    # Questions that every map answers. A class that knows better overrides them.

    def conj(self) -> LinearMap:
        """Return the map whose matrix entries are conjugated."""
        return Conjugated(self) if is_complex(self.dtype) else self

    def _in_double(self) -> LinearMap:
        """Return the map with its numbers in float64 or complex128 of NumPy; refuse inf and nan."""
        if self._is_of_user:
            require_transpose(self)
        return Doubled(self)

    def _peak(self) -> float:
        """Return a number near the largest magnitude of the entries, up to their number in a row; 0 for the zero map.

        It is that of the image of an array of normal numbers. The map is in double precision.
        """
        remedy = "Use a smaller map"
        memory.require_result("an input of the map and its output", 8 * sum(self.shape), remedy)
        return peak(self._image(np.random.default_rng(0).standard_normal((1, *self.in_shape))))

    def _magnitudes(self) -> LinearMap:
        """Return the map whose entries sum the magnitudes of what this map's entries sum, before anything cancels.

        The map is in double precision. Here the entries are taken as they are.
        """
        return self._entrywise(absolute)

    def _picked(self, order: Order, rows: RowNumbers | None) -> IntArray | None:  # noqa: ARG002
        """Return the column of the 1 in each of these rows, for a map that picks entries; None for others."""
        return None

    def _count_roundings(self) -> float:
        """Return how many roundings an entry of the matrix or of an output undergoes, at most: one a number summed."""
        return max(self.shape)

    @property
    def T(self) -> LinearMap:
        """The transpose: ``op.T.to_dense() == op.to_dense().T``."""
        return Transposed(self)

    # Results of the algebra

    def _absolute(self) -> LinearMap:
        return self._entrywise(absolute)

    def _entrywise(self, function: Callable[[Array], Array]) -> LinearMap:
        """Return the map of a function of each entry, which takes 0 to 0."""
        return Entrywise(self, function)

    def _selected(self, key: Any) -> LinearMap:
        return export("select", self.out_shape, key) @ self

    def _scaled(self, number: Any) -> LinearMap:
        return Scaled(self, number)

    def _plus(self, other: LinearMap) -> LinearMap:
        return Sum(self, other)

    def _after(self, other: LinearMap) -> LinearMap:
        return Product(self, other)


#: Number above which a map that it multiplies may have subnormal images.
HUGE = 1e290


class Scaled(Wrapper, LinearMap):
    """A number times a map."""

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
        return reduce(add, (_in_library(self._reference_array, term._sparse(order, rows)) for term in self.terms))

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

    def __init__(self, *factors: LinearMap) -> None:
        parts = (factor.factors if isinstance(factor, Product) else (factor,) for factor in factors)
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
        for factor in (first, *rest) if rows is None else ():
            factor._require_matrix()
        matrix = _in_library(self._reference_array, first._sparse(order, rows))
        for factor in rest:
            taking_part = None  # rows of the factor, of which a few rows of the product need few
            if rows is not None:
                matrix, taking_part = narrow(matrix)
            matrix = matrix @ _in_library(self._reference_array, factor._sparse(order, taking_part))
        matrix.sum_duplicates()
        return with_data(matrix, cast(matrix.data, self.dtype))

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
    def _has_lone_entries(self) -> bool:
        return all(factor._has_lone_entries for factor in reversed(self.factors))


class Transposed(Wrapper, LinearMap):
    """The transpose of a map that has no better one; applying it costs what the map costs."""

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
    def _matrix(self) -> Any:
        self._require_matrix()
        return self._sparse("C", None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_matrix"}

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


def absolute(entries: Array) -> Array:
    """Return the absolute values of an array."""
    return namespace(entries).abs(entries)


def added(arrays: Iterable[Array]) -> Array:
    """Return the sum of arrays, each of which is computed when it is added; NumPy's join the library of the others."""
    total, is_own = None, False
    for array in arrays:
        if total is None:
            total = array
        elif is_own and is_numpy(total) and is_numpy(array) and array.dtype == total.dtype:
            total += array
        else:
            total, array = together(total, array)
            total, is_own = total + array, True  # new memory, and not that of a term
    return total


def _in_library(array: Array, matrix: Any) -> Any:
    """Return a sparse matrix, SciPy's or coordinates, as one of this array's library."""
    return matrix if is_numpy(array) else Coordinates.of(matrix, array)
