"""Base of every linear map: shapes, application to arrays and to columns, and the matrix in each form."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from convmtx import memory
from convmtx._xp import (
    conjugate,
    identity_like,
    is_chunked,
    is_numpy,
    itemsize,
    library,
    like,
    move_axes,
    numeric,
    one_of_theirs,
    promote,
    require_together,
    reshape,
)
from convmtx._xp.sparse import Coordinates
from convmtx.arguments import one_of
from convmtx.errors import ArgumentError, ArgumentTypeError, ImmutableError, door, with_article
from convmtx.forms import FORMATS, check_format, check_storable, convert, require_stored, row_array, row_indices
from convmtx.maps import exports
from convmtx.maps.own_maps import is_of_user, require_output, require_transpose, settle
from convmtx.maps.units import unit_images
from convmtx.typing import AnyArray, Array, ArrayLike, Order, RowNumbers, RowsLike, Shape, SparseFormat

if TYPE_CHECKING:
    import scipy.sparse

    from convmtx.geometry.pattern import Pattern


class _Sealing(ABCMeta):
    """Class of the classes of maps: seals a map once its ``__init__`` has returned."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> None:
        super().__init__(name, bases, namespace, **options)
        is_checked = is_of_user(cls) or any(getattr(base, "_is_of_user", False) for base in bases)
        cls._is_of_user = namespace.get("_is_of_user", is_checked)

    def __call__(cls, *args: Any, **options: Any) -> Any:
        op = super().__call__(*args, **options)
        if cls._is_of_user:
            settle(op)
        op.__dict__["_sealed"] = True
        return op


class BaseMap(metaclass=_Sealing):
    """Base of `LinearMap`, without the algebra: a map from arrays of ``in_shape`` to arrays of ``out_shape``."""

    __array_ufunc__ = None
    #: Whether code outside convmtx applies maps of the class, so that their outputs are checked.
    _is_of_user: ClassVar[bool]
    #: Whether `_apply` and its transpose take arrays of Dask, and these with any batch axes, (*batch, *in_shape).
    _takes_chunks: ClassVar[bool] = False

    def __setattr__(self, name: str, value: object) -> None:
        if "_sealed" not in vars(self):
            object.__setattr__(self, name, value)
            return
        self._refuse_change(f"{type(self).__name__}.{name} was assigned")

    def __delattr__(self, name: str) -> None:
        if "_sealed" not in vars(self):
            object.__delattr__(self, name)
            return
        self._refuse_change(f"{type(self).__name__}.{name} was deleted")

    def _refuse_change(self, got: str) -> NoReturn:
        with door("op"):
            raise ImmutableError(got, "Maps cannot be changed", "Make a new one, as with op.with_kernel(K)")

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.in_shape} -> {self.out_shape}, {self.dtype}"

    def _repr_html_(self) -> str:
        """Return a table of sizes and parts for notebooks, with a small picture of the matrix if that is cheap."""
        from convmtx.maps import notebook  # imported by notebooks alone

        return notebook.html_of_map(self, self._coarse_pattern())

    def _coarse_pattern(self) -> Pattern | None:
        """Return the pattern of the matrix in few cells, or None if it is not known or long to count."""
        return None

    # Shapes

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
    def shape(self) -> tuple[int, int]:
        """Rows and columns (M, N) of the matrix: the sizes of one output and one input."""
        return prod(self.out_shape), prod(self.in_shape)

    @property
    def ndim(self) -> int:
        """2, as for every matrix."""
        return 2

    @property
    def _reference_array(self) -> Array:
        """Array of the library, and on the device, in which forms are made."""
        return np.empty(0, self.dtype)

    @property
    def _takes_every_library(self) -> bool:
        """Whether `_apply` takes arrays of every library, and not only of that of `_reference_array`."""
        return False

    @property
    def _keeps_type(self) -> bool:
        """Whether an output has the type of the input, whatever the type of the matrix."""
        return False

    def _count_stored(self) -> int | None:
        """Return how many entries exist while the sparse matrix is built, at least; None if only that tells."""
        return None

    def _require_matrix(self, format: str = "csr") -> None:
        """Refuse to build the sparse matrix if its entries are known not to fit in memory."""
        stored = self._count_stored()
        if stored is not None:
            require_stored(format, stored, self.shape, self.dtype)

    @cached_property
    def _bytes_of_output(self) -> int:
        """Bytes of one output, at least."""
        return self.shape[0] * itemsize(self._reference_array.dtype)

    # Application

    @abstractmethod
    def _apply(self, x: AnyArray) -> AnyArray:
        """Return the outputs (B, *out_shape) of inputs (B, *in_shape)."""

    @abstractmethod
    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        """Return the transpose of arrays (B, *out_shape), without conjugation, of shape (B, *in_shape)."""

    def _image(self, x: AnyArray) -> AnyArray:
        """Return `_apply` of a batch; that of a user's class is checked.

        An array of Dask may have any batch axes. If the class does not know its chunks, whole images are applied.
        """
        if is_chunked(x) and not self._takes_chunks:
            return self._by_images(x, self.in_shape, self.out_shape, transposed=False)
        y = self._apply(x)
        if self._is_of_user:
            require_output(self, "_apply", y, (x.shape[0], *self.out_shape))
        return y

    def _transposed_image(self, y: AnyArray) -> AnyArray:
        """Return `_apply_transposed` of a batch, as `_image` does."""
        if is_chunked(y) and not self._takes_chunks:
            return self._by_images(y, self.out_shape, self.in_shape, transposed=True)
        x = self._apply_transposed(y)
        if self._is_of_user:
            require_output(self, "_apply_transposed", x, (y.shape[0], *self.in_shape))
        return x

    def _by_images(self, x: Array, in_shape: Shape, out_shape: Shape, transposed: bool) -> Array:
        """Return the map, or its transpose, of an array of Dask whose images are single chunks."""
        from convmtx.engines.dask import by_images

        require_together(self._reference_array, x)
        return by_images(
            partial(_image_of_block, self, transposed), x, in_shape, out_shape, promote(self.dtype, x.dtype)
        )

    def __dask_tokenize__(self) -> Any:
        """Return what makes equal maps equal for Dask, so that equal work is done once: what the map holds."""
        cls = type(self)
        kept = {name for name in vars(self) if isinstance(getattr(cls, name, None), cached_property)}
        state: dict[str, Any] = self.__getstate__() if "__getstate__" in vars(cls) else vars(self)  # type: ignore[assignment]
        return f"{cls.__module__}.{cls.__qualname__}", [(n, v) for n, v in sorted(state.items()) if n not in kept]

    @door("op(x)")
    def __call__(self, x: ArrayLike) -> AnyArray:
        """Apply the map to one input or to any batch of them.

        Parameters
        ----------
        x : array_like
            Shape ``(*batch, *in_shape)``; integers, floats or complex numbers. An array of Dask gives another, of which
            nothing is computed here.

        Returns
        -------
        ndarray
            Shape ``(*batch, *out_shape)``, a new array of dtype ``np.result_type(op.dtype, x)``. Integers wrap
            around as NumPy's do.

        Raises
        ------
        ValueError
            If the last axes of ``x`` are not ``in_shape``.
        TypeError
            If ``x`` is not a numeric array, or of a library that the map does not take.
        """
        array = self._in_own_library("x", numeric("x", x, chunked=True))
        shape, axes, expected = tuple(array.shape), array.ndim - len(self.in_shape), self.in_shape
        if axes < 0 or shape[axes:] != expected:
            raise self._wrong_shape(shape)
        if is_chunked(array):
            return self._image(array)
        batch = shape[:axes]
        size = self._bytes_of_output * prod(batch)
        if size > memory.LARGE and is_numpy(array):
            what = f"an output of shape {batch + self.out_shape}"
            memory.require_result(what, size, "Apply it to fewer or smaller inputs")
        y = self._image(reshape(array, (prod(batch), *expected)))
        return reshape(y, batch + self.out_shape)

    def _wrong_shape(self, shape: Shape) -> ArgumentError:
        """Return the error of an input of a shape that the map does not take."""
        is_flat = shape == (self.shape[1],)
        remedy = "For a flattened array use op @ v" if is_flat else "Batch axes come first"
        expected = f"Expected (*batch, {', '.join(map(str, self.in_shape))})"
        return ArgumentError(f"x has shape {shape}", expected, remedy)

    @door("matvec")
    def matvec(self, v: ArrayLike) -> AnyArray:
        """Return ``A @ v`` for ``v`` of shape (N,) or (N, 1)."""
        return self._columns(v)

    @door("rmatvec")
    def rmatvec(self, v: ArrayLike) -> AnyArray:
        """Return ``A.conj().T @ v`` for ``v`` of shape (M,) or (M, 1)."""
        return self._columns(v, adjoint=True)

    @door("matmat")
    def matmat(self, V: ArrayLike) -> AnyArray:
        """Return ``A @ V`` for ``V`` of shape (N, k)."""
        return self._columns(V)

    @door("rmatmat")
    def rmatmat(self, V: ArrayLike) -> AnyArray:
        """Return ``A.conj().T @ V`` for ``V`` of shape (M, k)."""
        return self._columns(V, adjoint=True)

    def _columns(self, v: ArrayLike, adjoint: bool = False) -> AnyArray:
        """Return the map, or its adjoint, of the columns of ``v``."""
        if type(v) is not np.ndarray and (hasattr(v, "nnz") or hasattr(v, "matvec")):
            got = f"v is {with_article(type(v).__name__)}"
            remedy = "For a SciPy sparse array use op.to_sparse() @ S, for a LinearOperator aslinearoperator(op) @ L"
            raise ArgumentTypeError(got, "Expected an array or another map of convmtx", remedy)
        if not hasattr(v, "__array__") and hasattr(v, "op"):
            got = f"v is {with_article(type(v).__name__)}"
            remedy = "Use op @ A.op for the linear part, or call op(A(x))"
            raise ArgumentTypeError(got, "Expected an array or another map of convmtx", remedy)
        array = self._in_own_library("v", numeric("v", v, chunked=True))
        rows, length = self.shape[::-1] if adjoint else self.shape
        if array.ndim not in (1, 2) or array.shape[0] != length:
            got = f"v has shape {tuple(array.shape)}"
            remedy = "For an array that is not flattened call op(x)"
            raise ArgumentError(got, f"Expected ({length},) or ({length}, k)", remedy)
        batch = array[None, ...] if array.ndim == 1 else move_axes(array, 1, 0)
        if adjoint:
            result = conjugate(self._transposed_image(reshape(conjugate(batch), (batch.shape[0], *self.out_shape))))
        else:
            result = self._image(reshape(batch, (batch.shape[0], *self.in_shape)))
        result = reshape(result, (batch.shape[0], rows))
        if array.ndim == 1:
            return result[0, ...]
        return np.ascontiguousarray(result.T) if is_numpy(result) else move_axes(result, 1, 0)

    def _in_own_library(self, name: str, array: Array) -> Array:
        """Return an argument in the library that `_apply` takes; refuse one of another library."""
        if self._takes_every_library or is_chunked(array):
            return array
        if is_numpy(self._reference_array) and not is_numpy(array):
            expected = f"Maps of class {type(self).__name__} take arrays of NumPy"
            remedy = "Convert it first, or use op.to_torch() for a torch.nn.Module"
            raise ArgumentTypeError(f"{name} is an array of {library(array)}", expected, remedy)
        return like(array, self._reference_array)

    # The matrix, as subclasses make it

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        """Return the matrix, or these rows, in CSR form, or as `Coordinates` if `_reference_array` is not NumPy's.

        A class that does not know its entries inherits this: it applies the map to a unit vector for each column, or
        its transpose for each row in ``rows``.
        """
        if not is_numpy(self._reference_array):
            from scipy.sparse import csr_array

            # Entry j of the dense matrix is numbered j + 1, so that the values keep their gradients.
            numbers = csr_array(np.arange(1, prod(self.shape) + 1).reshape(self.shape))
            numbers = numbers if rows is None else numbers[row_array(rows)]
            return Coordinates.numbered(numbers, self._dense(order))
        images: Callable[..., Any] = unit_images
        if rows is None:
            columns = images(self._image, self.in_shape, self.out_shape, self.dtype, order, np.arange(self.shape[1]))
            return columns.T.tocsr()
        if self._is_of_user:
            require_transpose(self)
        return images(self._transposed_image, self.out_shape, self.in_shape, self.dtype, order, row_array(rows))

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        """Return the transposed matrix, or these rows of it, as `_sparse` does."""
        whole = self._sparse(order, None).T.tocsr()
        return whole if rows is None else whole[row_array(rows)]

    def _dense(self, order: Order) -> Array:
        """Return the dense matrix in the map's own type."""
        if is_numpy(self._reference_array) and self.dtype != np.float16:  # SciPy has no sparse array of float16
            return self._sparse(order, None).toarray()
        n = len(self.in_shape)
        identity = identity_like(self._reference_array, self.shape[1], self.dtype)
        columns = reshape(self._image(reshape(identity, (-1, *self.in_shape))), self.in_shape + self.out_shape)
        ins, outs = tuple(range(n)), tuple(range(n, columns.ndim))
        axes = outs + ins if order == "C" else outs[::-1] + ins[::-1]
        return reshape(move_axes(columns, *axes), self.shape)

    # The matrix, as users see it

    @door("to_dense")
    def to_dense(self, order: Order = "C") -> AnyArray:
        """Return the matrix, of shape (M, N); ``order`` says how inputs and outputs are flattened."""
        check_order(order)
        size = prod(self.shape) * itemsize(self.dtype)
        memory.require("dense", {"dense": size})
        return self._dense(order)

    @door("to_tensor")
    def to_tensor(self) -> AnyArray:
        """Return the tensor W of shape ``out_shape + in_shape``: ``np.tensordot(W, x, x.ndim) == op(x)``.

        Returns
        -------
        ndarray
            A new array of the map's dtype.

        Raises
        ------
        MemoryError
            If it does not fit in memory. Nothing is allocated.

        Examples
        --------
        >>> import convmtx as cm
        >>> cm.conv([[1, 2], [3, 4]], (3, 3)).to_tensor()[1, 0]
        array([[0, 0, 0],
               [1, 2, 0],
               [3, 4, 0]])
        """
        return reshape(self.to_dense(), self.out_shape + self.in_shape)

    @door("to_sparse")
    def to_sparse(
        self, format: SparseFormat = "csr", order: Order = "C", rows: RowsLike | None = None
    ) -> scipy.sparse.sparray:
        """Return the matrix, or the rows requested, as a canonical sparse array of SciPy or of the kernels' library."""
        check_format_name(format)
        check_order(order)
        numbers = None if rows is None else row_indices(rows, self.shape[0])
        if rows is None:
            self._require_matrix(format)
        with memory.refused_as(format, {}):
            if not is_numpy(self._reference_array):
                check_format(self._reference_array, format)
                return self._sparse(order, numbers).to_library(format)
            check_storable(self.dtype)
            return convert(self._sparse(order, numbers), format, {})

    @door("to_torch")
    def to_torch(self) -> Any:
        """Return the map as a `torch.nn.Module`; a convolution's kernel is its parameter. Needs the extra ``torch``."""
        return exports.export("to_torch", self)

    @door("to_onnx")
    def to_onnx(self) -> Any:
        """Return the map as a model of ONNX.

        Returns
        -------
        onnx.ModelProto
            Takes x of shape ``(N, *in_shape)`` to y. A convolution becomes a Conv or ConvTranspose if ONNX has it, a
            product its factors one by one, a permutation Transpose and Reshape, and any other map a MatMul with the
            dense matrix. Maps without numbers of their own are of float32. Kernels of other libraries are copied to
            NumPy.

        Raises
        ------
        UnsupportedError
            If the numbers are not floats of 16 to 64 bits that NumPy has.
        ImportError
            Without the extra ``onnx``.
        """
        return exports.export("to_onnx", self)

    @door("to_dask")
    def to_dask(self, rows: int | Sequence[int] | None = None, order: Order = "C") -> Any:
        """Return the matrix as an array of Dask whose chunks are slabs of rows, each a sparse array in CSR.

        A convolution writes each slab in closed form. So a matrix of any size is there at once, and a task builds its
        own slab alone.

        Parameters
        ----------
        rows : int or sequence of int, optional
            Rows of each slab, or of all slabs one after the other; by default so many that a slab takes about 64 MiB.
        order : {"C", "F"}
            Order in which inputs and outputs are flattened.

        Returns
        -------
        dask.array.Array
            Shape (M, N), with chunks ``scipy.sparse.csr_array`` of int32 or int64 indices.

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid, or the map's numbers are not of NumPy.
        ImportError
            Without the extra ``dask``.

        Examples
        --------
        >>> import convmtx as cm
        >>> W = cm.conv([1.0, 2.0, 3.0], 1002).to_dask(rows=250)
        >>> W.chunks, W.blocks[3].compute().nnz
        (((250, 250, 250, 250), (1002,)), 750)
        >>> y = W.map_blocks(lambda slab: slab.sum(axis=1), drop_axis=1, dtype=float)
        >>> y.compute()[:3].tolist()
        [6.0, 6.0, 6.0]
        """
        check_order(order)
        return exports.export("to_dask", self, rows, order)

    @door("numpy.asarray(op)")
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        """Return the dense matrix to ``np.asarray(op)``, for SciPy functions that take arrays alone."""
        if copy is False:
            raise ArgumentError("copy=False", "The matrix has to be built", "Pass copy=None")
        matrix = self.to_dense()
        if getattr(matrix, "requires_grad", False):
            got = "the matrix of a map whose kernel requires grad"
            expected = "NumPy would lose the gradients"
            raise ArgumentTypeError(got, expected, "Use op.to_dense().detach().numpy()")
        return np.asarray(matrix, dtype=dtype)


def _image_of_block(op: BaseMap, transposed: bool, x: AnyArray) -> AnyArray:
    """Return the map, or its transpose, of images (*batch, *shape) of NumPy."""
    in_shape, out_shape = (op.out_shape, op.in_shape) if transposed else (op.in_shape, op.out_shape)
    batch = x.shape[: x.ndim - len(in_shape)]
    apply = op._transposed_image if transposed else op._image
    return apply(x.reshape(-1, *in_shape)).reshape(batch + out_shape)


class Wrapper(BaseMap):
    """Base of maps that are made of one other map, between the same shapes."""

    def __init__(self, op: Any) -> None:
        self.op = op

    @property
    def _takes_every_library(self) -> bool:
        return self.op._takes_every_library

    @property
    def _reference_array(self) -> Array:
        return self.op._reference_array

    @property
    def in_shape(self) -> Shape:
        return self.op.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.op.out_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.op.dtype

    def _coarse_pattern(self) -> Pattern | None:
        return self.op._coarse_pattern()

    def _count_stored(self) -> int | None:
        return self.op._count_stored()

    @property
    def _has_lone_entries(self) -> bool:
        """Whether every row and every column of the matrix has at most one entry, as far as the class knows."""
        return bool(self.op._has_lone_entries)


class Combination(BaseMap):
    """Base of sums and products, which are made of other maps."""

    @property
    @abstractmethod
    def _parts(self) -> tuple[Any, ...]:
        """Terms or factors."""

    @cached_property
    def _takes_every_library(self) -> bool:
        return all(part._takes_every_library for part in self._parts)

    @cached_property
    def _reference_array(self) -> Array:
        return one_of_theirs([part._reference_array for part in self._parts])

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return promote(*(part.dtype for part in self._parts))

    def _count_stored(self) -> int | None:
        counts = [part._count_stored() for part in self._parts]
        return None if None in counts else sum(counts)

    def _count_roundings(self) -> float:
        return sum(1 + part._count_roundings() for part in self._parts)


def check_order(order: Any) -> None:
    """Refuse an ``order`` other than "C" and "F"."""
    one_of("order", order, ("C", "F"))


def check_format_name(format: Any) -> None:
    """Refuse a ``format`` that is not one of SciPy's for matrices."""
    meant = {f"{name}_{kind}": f"Pass format={name!r}" for name in FORMATS for kind in ("array", "matrix")}
    one_of("format", format, FORMATS, meant)
