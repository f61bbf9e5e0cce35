"""Algebra of linear maps: which sums, multiples and products exist, and the errors of those that do not."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from convmtx._xp import (
    counterpart,
    is_complex,
    is_numpy,
    is_unsigned,
    library,
    move_axes,
    numeric,
    promote,
    require_together,
)
from convmtx.errors import ArgumentError, ArgumentTypeError, door, with_article
from convmtx.maps.base import BaseMap
from convmtx.maps.scalars import divisor, multiplier, own_library
from convmtx.typing import AnyArray

if TYPE_CHECKING:  # this is its base class: only types name it here
    from convmtx.maps.linear_map import LinearMap


class Algebra(BaseMap):
    """Base of `LinearMap`: its operators. They check their operands and leave the result to the methods below."""

    @property
    @abstractmethod
    def T(self) -> LinearMap:
        """The transpose: ``op.T.to_dense() == op.to_dense().T``."""

    @abstractmethod
    def conj(self) -> LinearMap:
        """Return the map whose matrix entries are conjugated."""

    @abstractmethod
    def _scaled(self, number: Any) -> LinearMap:
        """Return the multiple ``number * op``."""

    @abstractmethod
    def _plus(self, other: Any) -> LinearMap:
        """Return the sum ``op + other``."""

    @abstractmethod
    def _after(self, other: Any) -> LinearMap:
        """Return the product ``op @ other``."""

    @property
    def H(self) -> LinearMap:
        """The adjoint: ``<op(x), y> == <x, op.H(y)>`` with the inner product that conjugates its first argument."""
        return self.T.conj() if is_complex(self.dtype) else self.T

    def dot(self, other: Any) -> Any:
        """Return ``op @ other``."""
        return self @ other

    def __matmul__(self, other: Any) -> Any:
        """Return ``op @ v`` of a vector or of columns, or the product of two maps."""
        if isinstance(other, Algebra):
            with door("op1 @ op2"):
                return self._compose(other)
        with door("op @ v"):
            return self._columns(other)

    @door("v @ op")
    def __rmatmul__(self, other: Any) -> AnyArray:
        """Return ``v @ op``: the rows of ``v`` times the matrix."""
        array = numeric("v", other)
        if array.ndim != 2:
            return self.T._columns(array)
        return move_axes(self.T._columns(move_axes(array, 1, 0)), 1, 0)

    def _compose(self, other: Any) -> LinearMap:
        """Return ``op @ other``, checked."""
        self._require_together(other)
        if self.in_shape != other.out_shape:
            got = f"the right map makes {other.out_shape} and the left one takes {self.in_shape}"
            raise ArgumentError(got, "Expected equal shapes", "Swap them, or match the shapes")
        return self._after(other)

    @door("a * op")
    def __mul__(self, scalar: Any) -> LinearMap:
        number = multiplier(scalar, self._reference_array, self.dtype)
        return self._scaled(own_library(self._reference_array, number))

    def __rmul__(self, scalar: Any) -> LinearMap:
        return self.__mul__(scalar)

    @door("op / a")
    def __truediv__(self, scalar: Any) -> LinearMap:
        number = own_library(self._reference_array, divisor(scalar, self._reference_array, self.dtype))
        return self._scaled(1 / number)

    @door("-op")
    def __neg__(self) -> LinearMap:
        return self._negative(self.dtype)

    def _negative(self, dtype: Any) -> LinearMap:
        """Return the map of the opposite entries, in ``dtype`` if that is larger than the map's own type.

        Unsigned integers wrap around. That is well defined for the numbers a map holds, and not for sums of them,
        which are other numbers when the map is applied to a larger type.
        """
        if is_unsigned(dtype):
            got, expected = (
                f"{with_article(type(self).__name__)} of {dtype}",
                "Expected a type that has negative numbers",
            )
            raise ArgumentTypeError(got, expected, "Use np.int64(-1) * op for -op")
        wider = is_numpy(self._reference_array) and dtype != self.dtype
        return self._scaled(counterpart(dtype, self._reference_array).type(-1) if wider else -1)

    @property
    def _holds_entries(self) -> bool:
        """Whether the entries of the matrix are numbers that the map holds, or sums of them in their own type."""
        return False

    @door("op1 + op2")
    def __add__(self, other: Any) -> LinearMap:
        if not isinstance(other, Algebra):
            return NotImplemented
        self._require_same_shapes(other)
        return self._plus(other)

    @door("op1 - op2")
    def __sub__(self, other: Any) -> LinearMap:
        if not isinstance(other, Algebra):
            return NotImplemented
        self._require_same_shapes(other)
        dtype = promote(self.dtype, other.dtype)
        difference = self + other._negative(dtype)
        if is_unsigned(dtype) and not difference._holds_entries:
            got, expected = (
                f"{with_article(type(difference).__name__)} of {dtype}",
                "Expected a type that has negative numbers",
            )
            raise ArgumentTypeError(got, expected, "Use op1 + np.int64(-1) * op2")
        return difference

    def _require_same_shapes(self, other: Algebra) -> None:
        """Refuse a map between other shapes, or of another library."""
        self._require_together(other)
        if (self.in_shape, self.out_shape) != (other.in_shape, other.out_shape):
            got = f"{self.in_shape} -> {self.out_shape} and {other.in_shape} -> {other.out_shape}"
            raise ArgumentError(got, "Expected maps between the same shapes", "Match padding and stride")

    def _require_together(self, other: Algebra) -> None:
        """Refuse maps of two libraries; NumPy's join any other if they take its arrays."""
        require_together(self._reference_array, other._reference_array)
        libraries = [library(op._reference_array) for op in (self, other)]
        for op in (self, other):
            if libraries[0] != libraries[1] and not op._takes_every_library:
                got = f"maps of {libraries[0]} and of {libraries[1]}"
                expected = f"Maps of class {type(op).__name__} take arrays of {library(op._reference_array)}"
                raise ArgumentTypeError(got, expected, "Make both of one library")
