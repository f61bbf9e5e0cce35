"""Sparse arrays of each library that has them, and sums and products of such."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx._xp import cast, library, like, namespace, promoted, summed_at
from convmtx.errors import ArgumentTypeError
from convmtx.typing import Array, IntArray

if TYPE_CHECKING:
    import scipy.sparse

#: Formats by library. JAX has coordinates only (BCOO), whatever is asked for.
LIBRARY_FORMATS = {"torch": ("csr", "csc", "coo"), "jax": ("csr", "coo"), "cupy": ("csr", "csc", "coo")}


def made(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    """The array with these values, in row order; places are columns and row pointers, or rows and columns for JAX."""
    return {"torch": _torch, "jax": _jax, "cupy": _cupy}[library(values)](format, values, places, shape)


def _torch(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    import torch

    functorch = torch._C._functorch
    if functorch.is_batchedtensor(values):
        wanted = "PyTorch maps no sparse tensors"
        raise ArgumentTypeError("torch.func.vmap", wanted, "Use to_dense(), or apply the map")
    try:
        return _sparse_tensor(format, values, places, shape)
    except RuntimeError as error:  # PyTorch differentiates few of them, and says so in many ways
        if not (values.requires_grad or functorch.is_functorch_wrapped_tensor(values)):
            raise
        got = f"format={format!r} of {values.dtype} with gradients"
        wanted = f"PyTorch has no such tensor ({str(error).splitlines()[0][:200]})"
        remedy = "Use to_dense(), or apply the map" if format == "coo" else "Use format='coo' or to_dense()"
        raise ArgumentTypeError(got, wanted, remedy) from None


#: Whether PyTorch has said of this process that compressed tensors are in beta state, which it does once.
_beta_warned = False


def _spend_beta_warning() -> None:
    """Build one tiny compressed tensor unheard: PyTorch's warning would look like the fault of who asked for a matrix.

    One time is enough, so that the process's filters, which all threads share, are changed once and not in every call.
    """
    import torch

    global _beta_warned
    if not _beta_warned:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.sparse_csr_tensor([0, 0], [], torch.zeros(0, device="cpu"), (1, 1), device="cpu")
        _beta_warned = True


def _sparse_tensor(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    import torch

    columns, pointers = (like(each.astype(np.int64), values) for each in places)
    if format != "coo":
        _spend_beta_warning()
    if format == "csr":
        return torch.sparse_csr_tensor(pointers, columns, values, shape, check_invariants=False)
    if format == "coo":
        rows = np.repeat(np.arange(shape[0]), np.diff(places[1]))
        at = torch.stack([like(rows, values), columns])
        return torch.sparse_coo_tensor(at, values, shape, is_coalesced=True, check_invariants=False)
    order, lower, starts = _by_column(places[0], places[1], shape)
    return torch.sparse_csc_tensor(
        like(starts, values), like(lower, values), values[like(order, values)], shape, check_invariants=False
    )


def _by_column(columns: Any, pointers: Any, shape: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Which entry stands at each place of the columns, its row, and where columns start."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.arange(columns.size), columns, pointers), shape=shape).tocsc()
    return matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)


def _jax(_format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    from jax.experimental.sparse import BCOO

    xp = namespace(values)
    if isinstance(places[1], np.ndarray):  # some rows, worked out in NumPy
        rows = np.repeat(np.arange(shape[0]), np.diff(places[1]))
        places = [rows, places[0]]
    at = xp.stack([xp.asarray(each) for each in places], axis=1)
    return BCOO((values, at), shape=shape, indices_sorted=True, unique_indices=True)


def _cupy(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    from cupyx.scipy import sparse  # type: ignore[import-not-found]

    columns, pointers = (like(each, values) for each in places)
    return sparse.csr_matrix((values, columns, pointers), shape=shape).asformat(format)


@dataclass
class Coordinates:
    """A matrix whose pattern is NumPy's and whose values are another library's, in row order, no place twice.

    It adds, multiplies and transposes as SciPy's sparse arrays do, and the values keep their gradients.
    """

    rows: IntArray
    columns: IntArray
    data: Array
    shape: tuple[int, int]

    @classmethod
    def of(cls, matrix: scipy.sparse.csr_array | Coordinates, other: Array) -> Coordinates:
        """A matrix in the library and on the device of another array."""
        if isinstance(matrix, Coordinates):
            return matrix
        return cls(_rows(matrix), matrix.indices.astype(np.int64), like(matrix.data, other), matrix.shape)

    @classmethod
    def numbered(cls, matrix: scipy.sparse.csr_array, values: Array) -> Coordinates:
        """A matrix that holds the numbers, from 1 on, of the values that stand there."""
        taken = namespace(values).take(namespace(values).reshape(values, (-1,)), like(matrix.data - 1, values), axis=0)
        return cls(_rows(matrix), matrix.indices.astype(np.int64), taken, matrix.shape)

    @classmethod
    def compressed(cls, values: Array, columns: IntArray, pointers: IntArray, width: int) -> Coordinates:
        """Rows one after another, columns ascending in each, with where each row starts."""
        rows = np.repeat(np.arange(pointers.size - 1), np.diff(pointers))
        return cls(rows, columns.astype(np.int64, copy=False), values, (pointers.size - 1, width))

    @property
    def T(self) -> Coordinates:
        """The transpose."""
        return self._sorted(self.columns, self.rows, self.data, self.shape[::-1])

    def tocsr(self) -> Coordinates:
        """Itself: rows come in order."""
        return self

    def sum_duplicates(self) -> None:
        """Nothing: no place is held twice."""

    def __add__(self, other: Coordinates) -> Coordinates:
        xp, dtype = namespace(self.data), promoted(self.data.dtype, other.data.dtype)
        values = xp.concat([cast(self.data, dtype), cast(other.data, dtype)])
        rows, columns = (np.concatenate(pair) for pair in ((self.rows, other.rows), (self.columns, other.columns)))
        return self._sorted(rows, columns, values, self.shape)

    def __matmul__(self, other: Coordinates) -> Coordinates:
        """Every entry times every entry of the row that its column names, those of one place added up."""
        counts = np.bincount(other.rows, minlength=other.shape[0])
        each = counts[self.columns]
        starts = (np.cumsum(counts) - counts)[self.columns]
        left = np.repeat(np.arange(each.size), each)
        right = np.arange(left.size) + np.repeat(starts - (np.cumsum(each) - each), each)
        xp, dtype = namespace(self.data), promoted(self.data.dtype, other.data.dtype)
        pairs = ((self.data, left), (other.data, right))
        first, second = (xp.take(cast(values, dtype), like(at, values), axis=0) for values, at in pairs)
        return self._sorted(self.rows[left], other.columns[right], first * second, (self.shape[0], other.shape[1]))

    def __getitem__(self, rows: IntArray) -> Coordinates:
        """Some rows, in this order."""
        ones = cast(like(np.ones(rows.size), self.data), self.data.dtype)
        return Coordinates(np.arange(rows.size), rows, ones, (rows.size, self.shape[0])) @ self

    def beside(self, column: Array) -> Coordinates:
        """The matrix with one more column."""
        size, width = self.shape
        last = Coordinates(np.arange(size), np.full(size, width), column, (size, width + 1))
        return Coordinates(self.rows, self.columns, self.data, last.shape) + last

    def above(self, row: Array) -> Coordinates:
        """The matrix with one more row."""
        size, width = self.shape
        last = Coordinates(np.full(width, size), np.arange(width), row, (size + 1, width))
        return Coordinates(self.rows, self.columns, self.data, last.shape) + last

    def made(self, format: str) -> Any:
        """The library's own sparse array."""
        pointers = np.concatenate([[0], np.cumsum(np.bincount(self.rows, minlength=self.shape[0]))])
        return made(format, self.data, [self.columns, pointers], self.shape)

    @staticmethod
    def _sorted(rows: IntArray, columns: IntArray, values: Array, shape: tuple[int, int]) -> Coordinates:
        places, inverse = np.unique(rows * shape[1] + columns, return_inverse=True)
        summed = summed_at(places.size, like(inverse, values), values)
        return Coordinates(places // shape[1], places % shape[1], summed, shape)


def narrowed(matrix: scipy.sparse.csr_array | Coordinates) -> tuple[Any, IntArray]:
    """Return the matrix without the columns in which nothing is stored, and the numbers of the others."""
    if isinstance(matrix, Coordinates):
        met, columns = np.unique(matrix.columns, return_inverse=True)
        return replace(matrix, columns=columns, shape=(matrix.shape[0], met.size)), met
    met, columns = np.unique(matrix.indices, return_inverse=True)
    return type(matrix)((matrix.data, columns, matrix.indptr), shape=(matrix.shape[0], met.size)), met.astype(np.int64)


def _rows(matrix: scipy.sparse.csr_array) -> IntArray:
    """Of each entry, in row order, which the matrix is brought into."""
    matrix.sort_indices()
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
