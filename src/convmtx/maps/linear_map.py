"""Linear maps between arrays: what all of them can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from convmtx import memory
from convmtx._xp import (
    conjugate,
    counterpart,
    identity_like,
    is_complex,
    is_numpy,
    is_unsigned,
    itemsize,
    moved,
    numeric,
    promoted,
    require_together,
    reshaped,
)
from convmtx.arguments import one_of
from convmtx.errors import ArgumentError, ArgumentTypeError, ImmutableError, door
from convmtx.forms import FORMATS, check_format, check_storable, converted, row_array, row_indices
from convmtx.maps.scalars import divisor, multiplier, own_library
from convmtx.typing import AnyArray, Array, ArrayLike, Order, RowNumbers, RowsLike, Shape, SparseFormat

if TYPE_CHECKING:
    import scipy.sparse

    from convmtx.geometry.pattern import Pattern


class LinearMap(ABC):
    """A linear map from arrays of ``in_shape`` to arrays of ``out_shape``.

    As a matrix it acts on flattened arrays: ``op.to_dense() @ x.ravel() == op(x).ravel()``. It has what
    `scipy.sparse.linalg` asks of an operator (``shape``, ``dtype``, ``matvec``, ``rmatvec``, ``matmat``,
    ``rmatmat``), and NumPy's operators leave it alone, so that ``x @ op`` and ``2 * op`` come here.
    """

    __array_ufunc__ = None

    @door("op")
    def __setattr__(self, name: str, value: object) -> NoReturn:
        got = f"{type(self).__name__}.{name} = ..."
        raise ImmutableError(got, "Maps cannot be changed", "Make a new one, as with op.with_kernel(K)")

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.in_shape} -> {self.out_shape}, {self.dtype}"

    def _repr_html_(self) -> str:
        """What notebooks show: sizes, parts and, where it costs nothing, a small picture of the matrix."""
        from convmtx.maps.notebook import html_of_parts

        parts = [line for name, value in vars(self).items() if name[0] != "_" for line in _told(name, value)]
        return html_of_parts(
            type(self).__name__, self.in_shape, self.out_shape, self.dtype, parts, self._coarse_pattern()
        )

    def _coarse_pattern(self) -> Pattern | None:
        """The pattern of the matrix, where it is known and counted in no time."""
        return None

    @property
    @abstractmethod
    def in_shape(self) -> Shape:
        """Shape of one input."""

    @property
    @abstractmethod
    def out_shape(self) -> Shape:
        """Shape of one output."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type of the matrix entries; an output has ``np.result_type(op.dtype, x)``."""

    @property
    @abstractmethod
    def _of(self) -> Array:
        """An array of the library that forms are made in."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns (M, N) of the matrix: the sizes of one output and one input."""
        return prod(self.out_shape), prod(self.in_shape)

    @property
    def ndim(self) -> int:
        """2, as for every matrix."""
        return 2

    @abstractmethod
    def _apply(self, x: AnyArray) -> AnyArray:
        """(B, *in_shape) to (B, *out_shape)."""

    @abstractmethod
    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        """(B, *out_shape) to (B, *in_shape), without conjugation."""

    @abstractmethod
    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        """The matrix, or these rows, in CSR form, or as `Coordinates` where `_of` is no array of NumPy."""

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        """The transposed matrix, or these rows of it, in the same form."""
        whole = self._sparse(order, None).T.tocsr()
        return whole if rows is None else whole[row_array(rows)]

    @abstractmethod
    def conj(self) -> LinearMap:
        """The map whose matrix entries are conjugated."""

    @property
    def T(self) -> LinearMap:
        """The transpose: ``op.T.to_dense() == op.to_dense().T``."""
        from convmtx.maps import composites

        return composites.Transposed(self)

    @property
    def H(self) -> LinearMap:
        """The adjoint: ``<op(x), y> == <x, op.H(y)>`` with the inner product that conjugates its first argument."""
        return self.T.conj() if is_complex(self.dtype) else self.T

    @door("op(x)")
    def __call__(self, x: ArrayLike) -> AnyArray:
        """Apply the map to one input or to any batch of them.

        Parameters
        ----------
        x : array_like
            Shape ``(*batch, *in_shape)``; integers, floats or complex numbers.

        Returns
        -------
        ndarray
            Shape ``(*batch, *out_shape)``, a new array of dtype ``np.result_type(op.dtype, x)``. Integers wrap
            around as NumPy's do.

        Raises
        ------
        ValueError
            Where the last axes of ``x`` are not ``in_shape``.
        TypeError
            Where ``x`` is no numeric NumPy array.
        """
        array = numeric("x", x)
        d = len(self.in_shape)
        if tuple(array.shape[array.ndim - d :]) != self.in_shape or array.ndim < d:
            remedy = "Batch axes come first"
            if tuple(array.shape) == (self.shape[1],):
                remedy = "For a flattened array use op @ v"
            wanted = f"Wanted (*batch, {', '.join(map(str, self.in_shape))})"
            raise ArgumentError(f"x has shape {tuple(array.shape)}", wanted, remedy)
        batch = tuple(array.shape[: array.ndim - d])
        y = self._apply(reshaped(array, (prod(batch), *self.in_shape)))
        return reshaped(y, batch + self.out_shape)

    @door("matvec")
    def matvec(self, v: ArrayLike) -> AnyArray:
        """``A @ v`` for ``v`` of shape (N,) or (N, 1)."""
        return self._columns(v, 0)

    @door("rmatvec")
    def rmatvec(self, v: ArrayLike) -> AnyArray:
        """``A.conj().T @ v`` for ``v`` of shape (M,) or (M, 1)."""
        return self._columns(v, 1)

    @door("matmat")
    def matmat(self, V: ArrayLike) -> AnyArray:
        """``A @ V`` for ``V`` of shape (N, k)."""
        return self._columns(V, 0)

    @door("rmatmat")
    def rmatmat(self, V: ArrayLike) -> AnyArray:
        """``A.conj().T @ V`` for ``V`` of shape (M, k)."""
        return self._columns(V, 1)

    def dot(self, other: Any) -> Any:
        """``op @ other``."""
        return self @ other

    def _columns(self, v: ArrayLike, side: int) -> AnyArray:
        """Apply to the columns of ``v``: forward for side 0, the adjoint for side 1."""
        if hasattr(v, "nnz") or hasattr(v, "matvec"):
            got = f"v is a {type(v).__name__}"
            remedy = "For a SciPy sparse array use op.to_sparse() @ S, for a LinearOperator aslinearoperator(op) @ L"
            raise ArgumentTypeError(got, "Wanted an array or another map of convmtx", remedy)
        array = numeric("v", v)
        length = self.shape[1 - side]
        if array.ndim not in (1, 2) or array.shape[0] != length:
            got = f"v has shape {tuple(array.shape)}"
            remedy = "For an array that is not flattened call op(x)"
            raise ArgumentError(got, f"Wanted ({length},) or ({length}, k)", remedy)
        batch = array[None, ...] if array.ndim == 1 else moved(array, 1, 0)
        if side == 0:
            result = self._apply(reshaped(batch, (-1, *self.in_shape)))
        else:
            result = conjugate(self._apply_transposed(reshaped(conjugate(batch), (-1, *self.out_shape))))
        result = reshaped(result, (batch.shape[0], self.shape[side]))
        if array.ndim == 1:
            return result[0, ...]
        return np.ascontiguousarray(result.T) if is_numpy(result) else moved(result, 1, 0)

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, LinearMap):
            with door("op1 @ op2"):
                return self._compose(other)
        with door("op @ v"):
            return self._columns(other, 0)

    @door("v @ op")
    def __rmatmul__(self, other: Any) -> AnyArray:
        """``v @ op``: the rows of ``v`` times the matrix."""
        array = numeric("v", other)
        if array.ndim != 2:
            return self.T._columns(array, 0)
        return moved(self.T._columns(moved(array, 1, 0), 0), 1, 0)

    def _compose(self, other: LinearMap) -> LinearMap:
        require_together(self._of, other._of)
        if self.in_shape != other.out_shape:
            got = f"the right map makes {other.out_shape} and the left one takes {self.in_shape}"
            raise ArgumentError(got, "Wanted equal shapes", "Swap them, or match the shapes")
        from convmtx.maps import composites

        return composites.Product(self, other)

    @door("a * op")
    def __mul__(self, scalar: Any) -> LinearMap:
        from convmtx.maps import composites

        number = multiplier(scalar, self._of, self.dtype)
        return composites.Scaled(self, own_library(self._of, number))

    def __rmul__(self, scalar: Any) -> LinearMap:
        return self.__mul__(scalar)

    @door("op / a")
    def __truediv__(self, scalar: Any) -> LinearMap:
        from convmtx.maps import composites

        number = own_library(self._of, divisor(scalar, self._of, self.dtype))
        return composites.Scaled(self, 1 / number)

    @door("-op")
    def __neg__(self) -> LinearMap:
        return self._negative(self.dtype)

    def _negative(self, dtype: Any) -> LinearMap:
        """The map of the opposite entries, in ``dtype`` where that is larger than the map's own type.

        Unsigned integers wrap around. That is well defined for the numbers a map holds, and not for sums of them,
        which are other numbers when the map is applied to a larger type.
        """
        from convmtx.maps import composites

        if is_unsigned(dtype):
            got, wanted = f"a {type(self).__name__} of {dtype}", "Wanted a type that has negative numbers"
            raise ArgumentTypeError(got, wanted, "Use np.int64(-1) * op for -op")
        wider = is_numpy(self._of) and dtype != self.dtype
        return composites.Scaled(self, counterpart(dtype, self._of).type(-1) if wider else -1)

    @property
    def _holds_entries(self) -> bool:
        """Whether the entries of the matrix are numbers that the map holds, or sums of them in their own type."""
        return False

    @door("op1 + op2")
    def __add__(self, other: Any) -> LinearMap:
        if not isinstance(other, LinearMap):
            return NotImplemented
        self._same_shapes(other)
        from convmtx.maps import composites

        return composites.Sum(self, other)

    @door("op1 - op2")
    def __sub__(self, other: Any) -> LinearMap:
        if not isinstance(other, LinearMap):
            return NotImplemented
        self._same_shapes(other)
        dtype = promoted(self.dtype, other.dtype)
        difference = self + other._negative(dtype)
        if is_unsigned(dtype) and not difference._holds_entries:
            got, wanted = f"a {type(difference).__name__} of {dtype}", "Wanted a type that has negative numbers"
            raise ArgumentTypeError(got, wanted, "Use op1 + np.int64(-1) * op2")
        return difference

    def _same_shapes(self, other: LinearMap) -> None:
        require_together(self._of, other._of)
        if (self.in_shape, self.out_shape) != (other.in_shape, other.out_shape):
            got = f"{self.in_shape} -> {self.out_shape} and {other.in_shape} -> {other.out_shape}"
            raise ArgumentError(got, "Wanted maps between the same shapes", "Match padding and stride")

    @door("to_dense")
    def to_dense(self, order: Order = "C") -> AnyArray:
        """The matrix, (M, N); ``order`` is how inputs and outputs are flattened."""
        check_order(order)
        size = prod(self.shape) * itemsize(self.dtype)
        memory.require("dense", {"dense": size})
        return self._dense(order)

    def _dense(self, order: Order) -> Array:
        if is_numpy(self._of) and self.dtype != np.float16:  # which SciPy's sparse arrays do not hold
            return self._sparse(order, None).toarray()
        n = len(self.in_shape)
        identity = identity_like(self._of, self.shape[1], self.dtype)
        columns = reshaped(self._apply(reshaped(identity, (-1, *self.in_shape))), self.in_shape + self.out_shape)
        ins, outs = tuple(range(n)), tuple(range(n, columns.ndim))
        axes = outs + ins if order == "C" else outs[::-1] + ins[::-1]
        return reshaped(moved(columns, *axes), self.shape)

    @door("to_tensor")
    def to_tensor(self) -> AnyArray:
        """The tensor of shape ``out_shape + in_shape``: ``np.tensordot(W, x, x.ndim) == op(x)``."""
        return reshaped(self.to_dense(), self.out_shape + self.in_shape)

    @door("to_sparse")
    def to_sparse(
        self, format: SparseFormat = "csr", order: Order = "C", rows: RowsLike | None = None
    ) -> scipy.sparse.sparray:
        """The matrix, or the rows asked for, as a canonical sparse array: SciPy's, or of the library of its kernels."""
        check_format_name(format)
        check_order(order)
        checked = None if rows is None else row_indices(rows, self.shape[0])
        with memory.refused_as(format, {}):
            if not is_numpy(self._of):
                check_format(self._of, format)
                return self._sparse(order, checked).to_library(format)
            check_storable(self.dtype)
            return converted(self._sparse(order, checked), format, {})

    @door("to_torch")
    def to_torch(self) -> Any:
        """The map as a `torch.nn.Module`; of a convolution the kernel is its parameter. Needs the extra ``torch``."""
        return import_module("convmtx.interop.torch").module_of(self)

    @door("to_onnx")
    def to_onnx(self) -> Any:
        """The map as a model of ONNX.

        Returns
        -------
        onnx.ModelProto
            From x of shape ``(N, *in_shape)`` to y: a Conv or ConvTranspose where there is one, else a MatMul with the
            dense matrix; a product node by node, permutations as Transpose and Reshape, of float32 where nothing else
            gives a type. Kernels of other libraries are copied to NumPy.

        Raises
        ------
        UnsupportedError
            Where the numbers are no floats of 16 to 64 bits that NumPy has.
        ImportError
            Without the extra ``onnx``.
        """
        return import_module("convmtx.interop.onnx_model").model_of(self)

    @door("numpy.asarray(op)")
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        """``np.asarray(op)`` is the dense matrix, for SciPy functions that take arrays only."""
        if copy is False:
            raise ArgumentError("copy=False", "The matrix has to be built", "Pass copy=None")
        matrix = self.to_dense()
        if getattr(matrix, "requires_grad", False):
            got = "the matrix of a map whose kernel requires grad"
            wanted = "NumPy would lose the gradients"
            raise ArgumentTypeError(got, wanted, "Use op.to_dense().detach().numpy()")
        return np.asarray(matrix, dtype=dtype)


def _told(name: str, value: Any) -> list[tuple[str, str]]:
    """What a part of a map is, in a line, or in one for each of several; arrays are told by their shape."""
    if isinstance(value, tuple) and all(isinstance(each, LinearMap) for each in value):
        return [(f"{name}[{j}]", repr(each)) for j, each in enumerate(value)]
    if isinstance(value, LinearMap | int | float | complex | str | np.number):
        return [(name, str(value))]
    if hasattr(value, "dtype"):
        return [(name, f"{tuple(value.shape)}, {value.dtype}")]
    return []


def check_order(order: Any) -> None:
    """``order`` is "C" or "F"."""
    one_of("order", order, ("C", "F"))


def check_format_name(format: Any) -> None:
    """``format`` is one of SciPy's that matrices have."""
    meant = {f"{name}_{kind}": f"Pass format={name!r}" for name in FORMATS for kind in ("array", "matrix")}
    one_of("format", format, FORMATS, meant)
