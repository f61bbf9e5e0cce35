"""Algebra of linear maps: which sums, multiples and products exist, and the errors of those that do not."""

from __future__ import annotations

from abc import abstractmethod
from math import prod
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
from convmtx.arguments import is_array
from convmtx.errors import ArgumentError, ArgumentTypeError, door, with_article
from convmtx.maps.base import BaseMap
from convmtx.maps.exports import export
from convmtx.maps.scalars import divisor, multiplier, own_library

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

    @door("abs(op)")
    def __abs__(self) -> LinearMap:
        """Return the map of the absolute values of the entries: ``abs(op).to_dense() == np.abs(op.to_dense())``.

        If a boundary adds taps into one entry, it is the absolute value of their sum. The map of a convolution is a
        `ConvOperator` otherwise, and that of other kinds has the absolute values of their weights, or of their sparse
        matrix.
        """
        return self._absolute()

    @abstractmethod
    def _absolute(self) -> LinearMap:
        """Return the map of the absolute values of the entries."""

    @door("op[key]")
    def __getitem__(self, key: Any) -> LinearMap:
        """Return the map to some outputs: ``op[key](x) == op(x)[key]`` for one input x.

        Parameters
        ----------
        key : index
            What NumPy takes between brackets: integers, slices, ``...``, ``None``, masks, arrays of integers, or a
            tuple. It indexes one output, without batch.

        Returns
        -------
        LinearMap
            From arrays of ``in_shape`` to arrays of the shape of ``op(x)[key]``. Its sparse matrix has the chosen rows,
            and no others are built. A crop or a step of a convolution, such as ``op[2:-2, ::2]``, is a `ConvOperator`
            that computes these outputs alone. With other keys, applying computes all outputs and picks some.

        Raises
        ------
        ValueError
            If NumPy has no such index of an array of ``out_shape``.
        """
        return self._selected(key)

    @abstractmethod
    def _selected(self, key: Any) -> LinearMap:
        """Return the map to the outputs that an index of NumPy picks."""

    __iter__ = None  # or Python would try op[0], op[1], ...

    @property
    def H(self) -> LinearMap:
        """The adjoint: ``<op(x), y> == <x, op.H(y)>`` with the inner product that conjugates its first argument."""
        return self.T.conj() if is_complex(self.dtype) else self.T

    def dot(self, other: Any) -> Any:
        """Return ``op @ other``."""
        return self @ other

    def __matmul__(self, other: Any) -> Any:
        """Return ``op @ v`` of a vector or of columns, or the product of two maps or of a map and a sparse matrix."""
        if isinstance(other, Algebra) or is_matrix(other):
            with door("op1 @ op2"):
                return self._compose(_joined(other, None, self.in_shape))
        with door("op @ v"):
            return self._columns(other)

    @door("v @ op")
    def __rmatmul__(self, other: Any) -> Any:
        """Return ``v @ op``: the rows of ``v`` times the matrix."""
        if is_matrix(other):
            return _joined(other, self.out_shape, None)._compose(self)
        array = numeric("v", other, chunked=True)
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
        other = self._term(other)
        if other is NotImplemented:
            return NotImplemented
        self._require_same_shapes(other)
        return self._plus(other)

    def __radd__(self, other: Any) -> LinearMap:
        return self.__add__(other)

    def _term(self, other: Any) -> Any:
        """Return what is added to a map as a map: one already, a sparse matrix, an operator, or a dense matrix."""
        if isinstance(other, Algebra):
            return other
        if is_matrix(other) or (is_array(other) and tuple(other.shape) == self.shape):
            return _joined(other, self.in_shape, self.out_shape)
        return NotImplemented

    @door("op1 - op2")
    def __rsub__(self, other: Any) -> LinearMap:
        other = self._term(other)
        return NotImplemented if other is NotImplemented else other - self

    @door("op1 - op2")
    def __sub__(self, other: Any) -> LinearMap:
        other = self._term(other)
        if other is NotImplemented:
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


def is_matrix(value: Any) -> bool:
    """Whether a value is a sparse matrix or an operator of another library, which is not an array."""
    kind = type(value)
    return not isinstance(value, Algebra) and (
        hasattr(kind, "matvec") or (hasattr(kind, "nnz") and hasattr(kind, "tocsr"))
    )


def _joined(other: Any, in_shape: Any, out_shape: Any) -> LinearMap:
    """Return an operand as a map between these shapes."""
    if isinstance(other, Algebra):
        return other  # type: ignore[return-value]
    expected = [None if shape is None else prod(shape) for shape in (out_shape, in_shape)]
    shape = tuple(other.shape)
    if len(shape) != 2 or any(n is not None and n != size for n, size in zip(expected, shape, strict=True)):
        sizes = ", ".join(letter if n is None else str(n) for n, letter in zip(expected, "MN", strict=True))
        raise ArgumentError(f"a matrix has shape {shape}", f"Expected ({sizes})", "Transpose it, or match the shapes")
    joined: LinearMap = export("aslinearmap", other, in_shape, out_shape)
    return joined
