"""Sparse arrays of PyTorch, JAX and CuPy, and sums and products of sparse matrices that keep gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx._xp import (
    as_like,
    cast,
    is_half,
    is_numpy,
    library,
    like,
    move_axes,
    namespace,
    promote,
    reshape,
    summed_at,
    together,
)
from convmtx.errors import ArgumentTypeError
from convmtx.typing import Array, IntArray, Shape

if TYPE_CHECKING:
    import scipy.sparse

#: Accepted formats of each library. JAX has coordinates only (BCOO), which is what both of its names give.
LIBRARY_FORMATS = {"torch": ("csr", "csc", "coo"), "jax": ("csr", "coo"), "cupy": ("csr", "csc", "coo")}


def build(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    """Return the library's sparse array with these values, which are in row order.

    ``places`` are column indices and row pointers; for JAX they can be rows and columns. For PyTorch's "csc" the values
    are in column order, and the places are row indices and column pointers.
    """
    return {"torch": _torch, "jax": _jax, "cupy": _cupy}[library(values)](format, values, places, shape)


def _torch(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    """Return a sparse tensor of PyTorch; say what to use if PyTorch cannot differentiate it."""
    import torch

    functorch = torch._C._functorch
    if functorch.is_batchedtensor(values):
        expected = "PyTorch maps no sparse tensors"
        raise ArgumentTypeError("torch.func.vmap", expected, "Use to_dense(), or apply the map")
    try:
        return _sparse_tensor(format, values, places, shape)
    except RuntimeError as error:  # PyTorch differentiates few sparse tensors, and has many messages for that
        if not (values.requires_grad or functorch.is_functorch_wrapped_tensor(values)):
            raise
        got = f"format={format!r} of {values.dtype} with gradients"
        expected = f"PyTorch has no such tensor ({str(error).splitlines()[0][:200]})"
        remedy = "Use to_dense(), or apply the map" if format == "coo" else "Use format='coo' or to_dense()"
        raise ArgumentTypeError(got, expected, remedy) from None


#: Whether PyTorch has already warned in this process that compressed tensors are in beta state. It does so once.
_beta_warned = False


def _spend_beta_warning() -> None:
    """Build one tiny compressed tensor with warnings off, because users cannot act on PyTorch's warning.

    PyTorch warns once. So the warning filters, which all threads share, are changed once and not in every call.
    """
    import torch

    global _beta_warned
    if not _beta_warned:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.sparse_csr_tensor([0, 0], [], torch.zeros(0, device="cpu"), (1, 1), device="cpu")
        _beta_warned = True


def _sparse_tensor(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    """Return a sparse tensor of PyTorch in one of its formats."""
    import torch

    columns, pointers = (like(indices.astype(np.int64, copy=False), values) for indices in places)
    if format != "coo":
        _spend_beta_warning()
    if format == "csr":
        return torch.sparse_csr_tensor(pointers, columns, values, shape, check_invariants=False)
    if format == "coo":
        rows = np.repeat(np.arange(shape[0]), np.diff(places[1]))
        at = torch.stack([like(rows, values), columns])
        return torch.sparse_coo_tensor(at, values, shape, is_coalesced=True, check_invariants=False)
    return torch.sparse_csc_tensor(pointers, columns, values, shape, check_invariants=False)


def _by_column(columns: Any, pointers: Any, shape: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Return for entries in column order the number of each in row order, its row, and where each column starts."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.arange(columns.size), columns, pointers), shape=shape).tocsc()
    return matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)


def _jax(_format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    """Return a BCOO array of JAX."""
    from jax.experimental.sparse import BCOO

    xp = namespace(values)
    if isinstance(places[1], np.ndarray):  # columns and row pointers of NumPy, not rows and columns of JAX
        rows = np.repeat(np.arange(shape[0]), np.diff(places[1]))
        places = [rows, places[0]]
    at = xp.stack([xp.asarray(indices) for indices in places], axis=1)
    return BCOO((values, at), shape=shape, indices_sorted=True, unique_indices=True)


def _cupy(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    """Return a sparse matrix of CuPy."""
    from cupyx.scipy import sparse  # type: ignore[import-not-found]

    columns, pointers = (like(indices, values) for indices in places)
    return sparse.csr_matrix((values, columns, pointers), shape=shape).asformat(format)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Sparse matrix whose pattern is in NumPy and whose values are in another library.

    Entries are in row order, and no place occurs twice. Sums, products and transposes work as for SciPy's sparse
    arrays, and the values keep their gradients.
    """

    rows: IntArray
    columns: IntArray
    data: Array
    shape: tuple[int, int]

    @classmethod
    def of(cls, matrix: scipy.sparse.csr_array | Coordinates, other: Array) -> Coordinates:
        """Return a matrix in the library and on the device of another array."""
        if isinstance(matrix, Coordinates):
            return matrix
        return cls(_rows(matrix), matrix.indices.astype(np.int64), like(matrix.data, other), matrix.shape)

    @classmethod
    def numbered(cls, matrix: scipy.sparse.csr_array, values: Array) -> Coordinates:
        """Return the matrix of ``values[m - 1]`` wherever ``matrix`` holds the number m."""
        xp = namespace(values)
        data = xp.take(xp.reshape(values, (-1,)), like(matrix.data - 1, values), axis=0)
        return cls(_rows(matrix), matrix.indices.astype(np.int64), data, matrix.shape)

    @classmethod
    def compress(cls, values: Array, columns: IntArray, pointers: IntArray, width: int) -> Coordinates:
        """Return the matrix of compressed rows, whose columns ascend in each row."""
        rows = np.repeat(np.arange(pointers.size - 1), np.diff(pointers))
        return cls(rows, columns.astype(np.int64, copy=False), values, (pointers.size - 1, width))

    @property
    def T(self) -> Coordinates:
        """Transpose of the matrix."""
        return self._sorted(self.columns, self.rows, self.data, self.shape[::-1])

    def tocsr(self) -> Coordinates:
        """Return the matrix itself, which is in row order already."""
        return self

    def sum_duplicates(self) -> None:
        """Do nothing, because no place occurs twice."""

    def __add__(self, other: Coordinates) -> Coordinates:
        xp, dtype = namespace(self.data), promote(self.data.dtype, other.data.dtype)
        values = xp.concat([cast(self.data, dtype), cast(other.data, dtype)])
        rows, columns = (np.concatenate(pair) for pair in ((self.rows, other.rows), (self.columns, other.columns)))
        return self._sorted(rows, columns, values, self.shape)

    def __matmul__(self, other: Coordinates) -> Coordinates:
        """Return the product: entry (i, j) times every entry of row j of ``other``, added up by place."""
        # Entry m is multiplied by partners[m] entries of other, which begin at starts[m]: with partners [2, 1] and
        # starts [4, 0] the pairs (left, right) are (0, 4), (0, 5) and (1, 0).
        counts = np.bincount(other.rows, minlength=other.shape[0])
        partners = counts[self.columns]
        starts = (np.cumsum(counts) - counts)[self.columns]
        left = np.repeat(np.arange(partners.size), partners)
        right = np.arange(left.size) + np.repeat(starts - (np.cumsum(partners) - partners), partners)
        xp, dtype = namespace(self.data), promote(self.data.dtype, other.data.dtype)
        pairs = ((self.data, left), (other.data, right))
        first, second = (xp.take(cast(values, dtype), like(at, values), axis=0) for values, at in pairs)
        return self._sorted(self.rows[left], other.columns[right], first * second, (self.shape[0], other.shape[1]))

    def __getitem__(self, rows: IntArray) -> Coordinates:
        """Return these rows, in this order."""
        ones = cast(like(np.ones(rows.size), self.data), self.data.dtype)
        return Coordinates(np.arange(rows.size), rows, ones, (rows.size, self.shape[0])) @ self

    def to_library(self, format: str) -> Any:
        """Return the sparse array of the values' own library."""
        pointers = np.concatenate([[0], np.cumsum(np.bincount(self.rows, minlength=self.shape[0]))])
        if format == "csc" and library(self.data) == "torch":
            order, lower, starts = _by_column(self.columns, pointers, self.shape)
            return build(format, self.data[like(order, self.data)], [lower, starts], self.shape)
        return build(format, self.data, [self.columns, pointers], self.shape)

    @staticmethod
    def _sorted(rows: IntArray, columns: IntArray, values: Array, shape: tuple[int, int]) -> Coordinates:
        """Return the matrix of entries in any order; those of one place are added up."""
        places, inverse = np.unique(rows * shape[1] + columns, return_inverse=True)
        summed = summed_at(places.size, like(inverse, values), values)
        return Coordinates(places // shape[1], places % shape[1], summed, shape)


def in_library(array: Array, matrix: Any) -> Any:
    """Return a sparse matrix, SciPy's or coordinates, as one of this array's library."""
    return matrix if is_numpy(array) else Coordinates.of(matrix, array)


def dense_of(matrix: scipy.sparse.csr_array | Coordinates) -> Array:
    """Return a sparse matrix as a dense array of the library of its values."""
    if not isinstance(matrix, Coordinates):
        return matrix.toarray()
    places = like(matrix.rows * matrix.shape[1] + matrix.columns, matrix.data)
    return reshape(summed_at(matrix.shape[0] * matrix.shape[1], places, matrix.data), matrix.shape)


def is_sparse(matrix: Any) -> bool:
    """Whether a matrix is a sparse array of SciPy or `Coordinates`."""
    return isinstance(matrix, Coordinates) or hasattr(matrix, "tocsr")


def as_like_sparse(matrix: Any, other: Array) -> Any:
    """Return a CSR array with entries in the library, on the device and in the type of another array.

    It is a CSR array again if SciPy has sparse arrays of them, and `Coordinates` otherwise.
    """
    data = as_like(matrix.data, other)
    if is_numpy(data) and not is_half(data.dtype):
        return with_data(matrix, data)
    return Coordinates.compress(data, matrix.indices, matrix.indptr, matrix.shape[1])


def with_data(matrix: Any, data: Array) -> Any:
    """Return a matrix of the same pattern with other values; the matrix stays as it is, for a map may hold it."""
    if isinstance(matrix, Coordinates):
        return replace(matrix, data=data)
    changed = copy(matrix)
    changed.data = data
    return changed


def with_columns(matrix: Any, move: Callable[[IntArray], IntArray], width: int) -> Any:
    """Return a sparse matrix of another width with its columns moved by a function, and its rows sorted."""
    shape = (matrix.shape[0], width)
    if isinstance(matrix, Coordinates):
        columns = move(matrix.columns)
        order = np.lexsort((columns, matrix.rows))
        data = namespace(matrix.data).take(matrix.data, like(order, matrix.data), axis=0)
        return Coordinates(matrix.rows, columns[order], data, shape)
    kept = np.int32 if max(matrix.nnz, width) <= np.iinfo(np.int32).max else np.int64
    places = move(matrix.indices.astype(np.int64)).astype(kept), matrix.indptr.astype(kept)
    moved = type(matrix)((matrix.data, *places), shape=shape)
    moved.sort_indices()
    return moved


def stacked(matrices: Sequence[Any], down: bool) -> Any:
    """Return sparse matrices one below the other, or side by side; SciPy's, or coordinates if one of them is."""
    foreign = next((matrix for matrix in matrices if isinstance(matrix, Coordinates)), None)
    if foreign is None:
        from scipy.sparse import hstack, vstack

        return (vstack if down else hstack)(matrices, "csr")
    parts = [Coordinates.of(matrix, foreign.data) for matrix in matrices]
    heights, widths = (np.cumsum([0, *(part.shape[j] for part in parts)]) for j in (0, 1))
    dtype = promote(*(part.data.dtype for part in parts))
    data = namespace(foreign.data).concat([cast(part.data, dtype) for part in parts])
    rows = np.concatenate([part.rows + down * int(top) for part, top in zip(parts, heights, strict=False)])
    columns = np.concatenate([part.columns + (not down) * int(left) for part, left in zip(parts, widths, strict=False)])
    shape = (int(heights[-1]), parts[0].shape[1]) if down else (parts[0].shape[0], int(widths[-1]))
    order = np.lexsort((columns, rows))
    return Coordinates(rows[order], columns[order], namespace(data).take(data, like(order, data), axis=0), shape)


def kronecker(first: Any, second: Any) -> Any:
    """Return the Kronecker product of two sparse matrices, in row order."""
    if not (isinstance(first, Coordinates) or isinstance(second, Coordinates)):
        from scipy.sparse import kron

        product = kron(first, second, "csr")
        product.sort_indices()
        return product.astype(promote(first.dtype, second.dtype), copy=False)  # without entries SciPy has float64
    other = first.data if isinstance(first, Coordinates) else second.data
    first, second = Coordinates.of(first, other), Coordinates.of(second, other)
    left, right = (a.reshape(-1) for a in np.indices((first.rows.size, second.rows.size)))
    rows = first.rows[left] * second.shape[0] + second.rows[right]
    columns = first.columns[left] * second.shape[1] + second.columns[right]
    order = np.lexsort((columns, rows))
    xp, dtype = namespace(other), promote(first.data.dtype, second.data.dtype)
    pairs = ((first.data, left), (second.data, right))
    one, two = (xp.take(cast(values, dtype), like(at[order], values), axis=0) for values, at in pairs)
    shape = (first.shape[0] * second.shape[0], first.shape[1] * second.shape[1])
    return Coordinates(rows[order], columns[order], one * two, shape)


def times(matrix: Any, x: Array, shape: Shape) -> Array:
    """Return a sparse matrix times the flattened arrays of a batch x (B, ...), as arrays of a shape.

    SciPy multiplies arrays of NumPy. For other libraries each entry is multiplied by the number in its column, and the
    products of a row are added up.
    """
    size = x.shape[0]
    columns = reshape(x, (size, matrix.shape[1]))
    if is_numpy(x) and not isinstance(matrix, Coordinates):
        dtype = promote(matrix.dtype, x.dtype)
        columns = cast(columns, np.dtype(np.float32)) if is_half(columns.dtype) else columns  # which SciPy lacks
        y = (matrix @ columns[0])[None] if size == 1 else (matrix @ columns.T).T
        return cast(y.reshape(size, *shape), dtype)
    matrix = Coordinates.of(matrix, x)
    data, columns = together(matrix.data, columns)
    xp, dtype = namespace(data), promote(data.dtype, columns.dtype)
    read = xp.take(cast(columns, dtype), like(matrix.columns, data), axis=1) * cast(data, dtype)
    y = summed_at((matrix.shape[0], size), like(matrix.rows, data), move_axes(read, 1, 0))
    return reshape(move_axes(y, 1, 0), (size, *shape))


def narrow(matrix: scipy.sparse.csr_array | Coordinates) -> tuple[Any, IntArray]:
    """Return the matrix without its empty columns, and the numbers of the columns that are left."""
    if isinstance(matrix, Coordinates):
        kept, columns = np.unique(matrix.columns, return_inverse=True)
        return replace(matrix, columns=columns, shape=(matrix.shape[0], kept.size)), kept
    kept, columns = np.unique(matrix.indices, return_inverse=True)
    columns = columns.astype(matrix.indices.dtype)
    narrow = type(matrix)((matrix.data, columns, matrix.indptr), shape=(matrix.shape[0], kept.size))
    return narrow, kept.astype(np.int64)


def _rows(matrix: scipy.sparse.csr_array) -> IntArray:
    """Return the row of each entry; the matrix is sorted first."""
    matrix.sort_indices()
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
