"""Convolutions as linear maps: the class of what `conv` and `conv_transpose` return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import forms
from convmtx._xp import (
    cast,
    conjugate,
    counterpart,
    frozen,
    is_chunked,
    is_complex,
    is_numpy,
    library,
    numeric,
    require_together,
    together,
)
from convmtx.arguments import flag
from convmtx.errors import ArgumentError, ArgumentTypeError, door, with_article
from convmtx.geometry import Geometry, Layout
from convmtx.geometry.compose import product_geometry, sum_geometry
from convmtx.maps.base import check_format_name, check_order
from convmtx.maps.combined import Product
from convmtx.maps.double import double
from convmtx.maps.exports import export
from convmtx.maps.indexing import steps_of
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.scalars import beside, divisor, multiplier
from convmtx.taps import kernel_of, product_taps, sum_taps, taps_of
from convmtx.typing import AnyArray, Array, ArrayLike, EngineName, Order, RowNumbers, RowsLike, Shape, SparseFormat

if TYPE_CHECKING:
    import scipy.sparse

    from convmtx.engines.application import Application
    from convmtx.engines.parts import Plan
    from convmtx.geometry.pattern import Pattern
    from convmtx.maps.explanation import Explanation


def require_made(call: str, geometry: Any, array: Any, remedy: str) -> None:
    """Refuse to make a map of a class from anything but a geometry and an array."""
    if isinstance(geometry, Geometry) and array is not None:
        return
    with door(call):
        got = f"geometry is {with_article(type(geometry).__name__)}"
        if isinstance(geometry, Geometry):
            got = "a geometry without an array"
        raise ArgumentTypeError(got, "Expected a Geometry and an array", remedy)


class ConvOperator(LinearMap):
    """A convolution as a linear map from arrays of ``in_shape`` to arrays of ``out_shape``.

    `convmtx.conv` and `convmtx.conv_transpose` return it. It is immutable, hashable by identity, picklable, safe to
    share between threads, and cheap: no array of the size of the matrix exists until you request a form.

    Law: ``op.to_dense() @ x.ravel() == op(x).ravel()``, and every form holds the same entries exactly:
    kernel values, or sums of them if a boundary folds several taps onto one position.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1, 2, 3], 5)
    >>> op
    ConvOperator (5,) -> (3,), kernel (3,), int64
    >>> op.to_dense()
    array([[1, 2, 3, 0, 0],
           [0, 1, 2, 3, 0],
           [0, 0, 1, 2, 3]])
    """

    _takes_every_library = True
    _takes_chunks = True

    def __init__(self, geometry: Geometry, kernel: Any = None, engine: EngineName = "auto") -> None:
        require_made("ConvOperator", geometry, kernel, "Use convmtx.conv, which makes one")
        self._geometry, self._kernel, self._requested_engine = geometry, kernel, engine

    def __repr__(self) -> str:
        shapes = f"{self.in_shape} -> {self.out_shape}, kernel {tuple(self._kernel.shape)}"
        return f"ConvOperator {shapes}, {self.dtype}"

    def _repr_html_(self) -> str:
        """Return a table of sizes for notebooks, with a small picture of the matrix; quick for a map of any size."""
        from convmtx.maps import notebook  # imported by notebooks alone

        engine = self._requested_engine if is_numpy(self._kernel) else library(self._kernel)
        return notebook.html(self._geometry, self.dtype, engine)

    def _coarse_pattern(self) -> Pattern | None:
        from convmtx.maps import notebook

        return notebook.coarse_pattern(self._geometry)

    @cached_property
    def in_shape(self) -> Shape:
        """Shape of one input."""
        return self._geometry.in_shape

    @cached_property
    def out_shape(self) -> Shape:
        """Shape of one output."""
        return self._geometry.out_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the kernel and so of every matrix entry; integers wrap around as NumPy's do."""
        return self._kernel.dtype

    @property
    def _reference_array(self) -> Array:
        return self._kernel

    @property
    def kernel(self) -> AnyArray:
        """The kernel array from which the map was built: read-only, or a copy in libraries without such arrays."""
        return self._kernel if is_numpy(self._kernel) else frozen(self._kernel)

    @property
    def geometry(self) -> Geometry:
        """Sizes and indices of the map, without values."""
        return self._geometry

    @cached_property
    def nnz(self) -> int:
        """Number of stored entries of the sparse matrix, zeros of the kernel included, from the geometry alone."""
        return self._geometry.nnz

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("_geometry", "_kernel", "_requested_engine", "_sealed")}

    def __deepcopy__(self, _memo: Any) -> ConvOperator:
        """Return the map itself, which cannot change; PyTorch copies no tensors that are computed from others."""
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if is_numpy(self._kernel):
            self._kernel.setflags(write=False)

    @cached_property
    def _kept(self) -> dict[str, Any]:
        """Facts that rooms above keep for their next call with this map, by name; copies of the map have none."""
        return {}

    # Application

    @cached_property
    def _taps(self) -> AnyArray:
        return taps_of(self._geometry, self._kernel)

    @cached_property
    def _application(self) -> Application:
        from convmtx.engines.application import Application  # engines are imported when the first map is applied

        return Application(self._geometry, self._kernel, self._requested_engine)

    @property
    def _plan(self) -> Plan:
        return self._application.plan

    def _apply(self, x: AnyArray) -> AnyArray:
        if is_chunked(x):
            return self._apply_chunks(x, transposed=False)
        return self._application.apply(x)

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        if self._transposed is not None:
            return self._transposed._apply(y)
        if is_chunked(y):
            return self._apply_chunks(y, transposed=True)
        return self._application.apply_transposed(y)

    def _apply_chunks(self, x: AnyArray, transposed: bool) -> AnyArray:
        """Apply the map, or its transpose if that is not a convolution, to an array of Dask."""
        from convmtx.engines import dask
        from convmtx.engines.chunked import ChunkedMap

        require_together(self._kernel, x)
        return dask.apply(ChunkedMap(self._geometry, self._kernel, self._requested_engine, transposed), x)

    @cached_property
    def _transposed(self) -> ConvOperator | None:
        geometry = self._geometry.T
        return None if geometry is None else ConvOperator(geometry, self._kernel, self._requested_engine)

    # Related maps

    @door("with_kernel")
    def with_kernel(self, kernel: ArrayLike) -> ConvOperator:
        """Return the map of the same geometry with another kernel of the same shape.

        Parameters
        ----------
        kernel : array_like
            Shape ``op.kernel.shape``, any numeric dtype; copied.

        Raises
        ------
        ValueError
            If the shape differs.
        TypeError
            If it is not a numeric array.
        """
        array = numeric("kernel", kernel)
        shape, replaced = tuple(array.shape), tuple(self._kernel.shape)
        if shape != replaced:
            got, expected = f"kernel has shape {shape}", f"Expected {replaced}, the shape of the kernel it replaces"
            raise ArgumentError(got, expected, "Make a new operator with convmtx.conv")
        return ConvOperator(self._geometry, frozen(array), self._requested_engine)

    @property
    def T(self) -> LinearMap:
        """The transpose; if it is a convolution, it is a ConvOperator with the same kernel array.

        It is a convolution in two cases: if only zeros are read outside the input (stride and input dilation trade
        places and the kernel is reversed), and on a circle with stride 1.
        """
        return super().T if self._transposed is None else self._transposed

    def conj(self) -> ConvOperator:
        """Return the map whose kernel is conjugated."""
        if not is_complex(self.dtype):
            return self
        return self._conjugated if is_numpy(self._kernel) else self._with(conjugate(self._kernel))

    @cached_property
    def _conjugated(self) -> ConvOperator:
        return self._with(conjugate(self._kernel))

    def _in_double(self) -> ConvOperator:
        kernel = double(self._kernel)
        return self if kernel is self._kernel else self.with_kernel(kernel)

    def _peak(self) -> float:
        return float(np.abs(self._kernel).max(initial=0))

    def _magnitudes(self) -> ConvOperator:
        return self.with_kernel(np.abs(self._kernel))

    def _count_roundings(self) -> float:
        taps_of_a_row = prod(self._kernel.shape) // self._geometry.out_channels
        return 1 + taps_of_a_row

    def _with(self, kernel: AnyArray) -> ConvOperator:
        return ConvOperator(self._geometry, frozen(kernel), self._requested_engine)

    @door("a * op")
    def __mul__(self, scalar: Any) -> ConvOperator:
        number = multiplier(scalar, self._kernel, self.dtype)
        kernel, number = beside(self._kernel, number)
        return self._with(kernel * number)

    @door("op / a")
    def __truediv__(self, scalar: Any) -> ConvOperator:
        number = divisor(scalar, self._kernel, self.dtype)
        kernel, number = beside(self._kernel, number)
        return self._with(kernel / number)

    def _negative(self, dtype: Any) -> ConvOperator:
        return self._with(-cast(self._kernel, counterpart(dtype, self._kernel)))

    def _entrywise(self, function: Callable[[Array], Array]) -> LinearMap:
        if any(axis.may_fold for axis in self._geometry.axes):
            return super()._entrywise(function)
        return self._with(function(self._kernel))

    def _selected(self, key: Any) -> LinearMap:
        ranges = steps_of(key, self.out_shape)
        if ranges is None:
            return super()._selected(key)
        layout, kernel, outputs = self._geometry.layout, self._kernel, [steps for steps, _ in ranges]
        channels = range(1) if layout is Layout.PLAIN else outputs.pop(-1 if layout is Layout.LAST else 0)
        geometry = self._geometry.restricted(tuple(outputs))
        if len(channels) < geometry.out_channels:
            if geometry.groups > 1:
                return super()._selected(key)
            geometry = replace(geometry, out_channels=len(channels))
            kernel = frozen(kernel_of(geometry, self._taps[channels.start : channels.stop : channels.step]))
        op = ConvOperator(geometry, kernel, self._requested_engine)
        shape = tuple(len(steps) for steps, is_kept in ranges if is_kept)
        return op if shape == op.out_shape else export("reshaped", op, op.in_shape, shape)

    @property
    def _holds_entries(self) -> bool:
        return True

    @door("op1 + op2")
    def __add__(self, other: Any) -> LinearMap:
        if isinstance(other, ConvOperator):
            self._require_same_shapes(other)
            if other._geometry == self._geometry:
                first, second = together(self._kernel, other._kernel)
                return self._with(first + second)
            joined = sum_geometry(self._geometry, other._geometry)
            if joined is not None:
                parts = [(self._geometry, self._taps), (other._geometry, other._taps)]
                return ConvOperator(joined, frozen(kernel_of(joined, sum_taps(joined, parts))), self._requested_engine)
        return super().__add__(other)

    def _compose(self, other: LinearMap) -> LinearMap:
        general = super()._compose(other)
        if isinstance(other, Product) and isinstance(first := self._compose(other.factors[0]), ConvOperator):
            return Product(first, *other.factors[1:])
        if not isinstance(other, ConvOperator):
            return general
        joined = product_geometry(self._geometry, other._geometry)
        if joined is None:
            return general
        taps = product_taps(joined, (self._geometry, self._taps), (other._geometry, other._taps))
        return ConvOperator(joined, frozen(kernel_of(joined, taps)), self._requested_engine)

    # Forms

    @door("tensor_view")
    def tensor_view(self) -> AnyArray:
        """Return the tensor of ``to_tensor`` as a read-only strided view: O(kernel + input) memory a channel pair.

        Entry (o, i) depends only on the difference between the two positions, so one array holds all of them: the
        kernel among zeros.

        Raises
        ------
        NotToeplitzError
            If a boundary other than zero or wrap is read, for which there is no such view. This is a ValueError.
        MemoryError
            If the array behind the view does not fit in memory.

        Examples
        --------
        >>> import convmtx as cm
        >>> cm.conv([1, 2], 4, padding="same", boundary="wrap").tensor_view()
        array([[1, 2, 0, 0],
               [0, 1, 2, 0],
               [0, 0, 1, 2],
               [2, 0, 0, 1]])
        """
        return forms.tensor_view(self._geometry, self._kernel)

    @door("to_dense")
    def to_dense(self, order: Order = "C") -> AnyArray:
        """Return the matrix (M, N): ``D @ x.ravel(order) == op(x).ravel(order)``.

        Parameters
        ----------
        order : {"C", "F"}
            Order in which inputs and outputs are flattened: row-major, or column-major as in MATLAB.

        Returns
        -------
        ndarray
            A new array of the kernel's dtype.

        Raises
        ------
        MemoryError
            If it does not fit in memory. Nothing is allocated, and the message names the forms that fit.
        ValueError
            If ``order`` is invalid.

        Examples
        --------
        >>> import convmtx as cm
        >>> cm.conv([1, 10], 3, stride=2, padding=1).to_dense()
        array([[10,  0,  0],
               [ 0,  1, 10]])
        """
        check_order(order)
        return forms.dense_matrix(self._geometry, self._kernel, order)

    @door("to_sparse")
    def to_sparse(
        self, format: SparseFormat = "csr", order: Order = "C", rows: RowsLike | None = None
    ) -> scipy.sparse.sparray:
        """Return the matrix, or some of its rows, as a sparse array of the kernel's library, built in closed form.

        A NumPy kernel gives SciPy's arrays. PyTorch has csr, csc and coo, and warns once that the first two are in
        beta. JAX has its BCOO for both csr and coo.

        Parameters
        ----------
        format : {"csr", "csc", "coo", "bsr", "dia"}
            Format of the result. The blocks of bsr are the channel matrices if channels come last and the rows
            requested are whole blocks. Otherwise they are single entries.
        order : {"C", "F"}
            Order in which inputs and outputs are flattened.
        rows : slice, array of int or mask, optional
            Output rows to build, in this order; no other row is built.

        Returns
        -------
        scipy.sparse.sparray
            Sorted, without duplicates. Zeros in the kernel stay stored, so the pattern depends on the geometry
            alone. Indices are int32 if they fit, otherwise int64.

        Raises
        ------
        MemoryError
            If it does not fit in memory. Nothing is allocated, and the message names the forms that fit.
        ValueError, TypeError, IndexError
            If an argument is invalid, a row does not exist, or the library has no such array: PyTorch has none in
            csr or csc that is complex and differentiated, and none at all under ``torch.func.vmap``.

        Examples
        --------
        >>> import convmtx as cm
        >>> S = cm.conv([1, 2, 3], 5).to_sparse()
        >>> S.nnz, S.indices.tolist()
        (9, [0, 1, 2, 1, 2, 3, 2, 3, 4])
        """
        check_format_name(format)
        check_order(order)
        numbers = None if rows is None else forms.row_indices(rows, self.shape[0])
        return forms.sparse_matrix(self._geometry, self._kernel, format, order, numbers)

    def _count_stored(self) -> int:
        return self._geometry.nnz

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        if not is_numpy(self._kernel):
            return forms.by_coordinates(self._geometry, self._kernel, order, rows)
        return forms.sparse_matrix(self._geometry, forms.storable(self._kernel), "csr", order, rows)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        if rows is None:
            return super()._sparse_transposed(order, rows)
        if not is_numpy(self._kernel):
            return forms.by_coordinates(self._geometry, self._kernel, order, rows, transposed=True)
        return forms.csr_of_rows(self._geometry, forms.storable(self._kernel), order, rows, transposed=True)

    def _dense(self, order: Order) -> AnyArray:
        return self.to_dense(order)

    @door("explain")
    def explain(self, measure: bool = False, *, chunks: Any = None) -> Explanation:
        """Return the geometry, the size of every form, and the engine that applies the map with its reason.

        Parameters
        ----------
        measure : bool
            Also time every engine on one random input: the median of three calls after a first one. Kernels of JAX and
            CuPy, and those of PyTorch on a GPU or in bfloat16, have no engines to compare, so nothing is timed.
        chunks : int, or tuple of int or of tuples of int, optional
            Chunks of an input that is cut, as ``x.chunks`` of Dask has them: also say what each chunk reads beyond
            its own inputs, how many tasks there are, and how much memory one takes. No task runs.

        Returns
        -------
        Explanation
            Plain data that prints as a table. ``engines`` holds predictions for one input of the kernel's type: flops
            of real numbers (2.5 N log2 N for a real transform), bytes copied on the way, and seconds, by the rates that
            ``rates`` names: those of `convmtx.tune`, or without a name those that are shipped.

        Examples
        --------
        >>> import convmtx as cm
        >>> e = cm.conv([1.0, 2.0, 3.0], 1000).explain()
        >>> e.shape, e.nnz, e.bytes["dense"]
        ((998, 1000), 2994, 7984000)
        """
        from convmtx.maps.explanation import explain

        flag("measure", measure)
        return explain(self._geometry, self._application.choose(), measure, chunks)
