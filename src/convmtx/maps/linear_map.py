"""Linear maps: what every one answers, and the results of their algebra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_complex, is_numpy, library, namespace
from convmtx.errors import ArgumentTypeError, with_article
from convmtx.maps.algebra import Algebra
from convmtx.maps.exports import export
from convmtx.maps.own_maps import peak, require_transpose
from convmtx.maps.parts import Parts
from convmtx.maps.rows import Rows
from convmtx.typing import Array, IntArray, Order, RowNumbers, Shape


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
        return _kind("conjugated", self) if is_complex(self.dtype) else self

    def _in_double(self) -> LinearMap:
        """Return the map with its numbers in float64 or complex128 of NumPy; refuse inf and nan."""
        if self._is_of_user:
            require_transpose(self)
        return _kind("doubled", self)

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

    def _carry(self, rows: Rows) -> Rows:
        """Return rows of the matrix of the maps behind this one, times its matrix."""
        return rows.times(self)

    def _count_roundings(self) -> float:
        """Return how many roundings an entry of the matrix or of an output undergoes, at most: one a number summed."""
        return max(self.shape)

    @property
    def T(self) -> LinearMap:
        """The transpose: ``op.T.to_dense() == op.to_dense().T``."""
        return _kind("transposed", self)

    # Results of the algebra

    def _absolute(self) -> LinearMap:
        return self._entrywise(absolute)

    def _entrywise(self, function: Callable[[Array], Array]) -> LinearMap:
        """Return the map of a function of each entry, which takes 0 to 0."""
        return _kind("entrywise", self, function)

    def _selected(self, key: Any) -> LinearMap:
        return _kind("select", self.out_shape, key) @ self

    def _scaled(self, number: Any) -> LinearMap:
        return _kind("scaled", self, number)

    def _plus(self, other: LinearMap) -> LinearMap:
        return _kind("sum", self, other)

    def _after(self, other: LinearMap) -> LinearMap:
        return _kind("product", self, other)


class Shaped(LinearMap):
    """Base of maps that hold the shapes of their inputs and outputs."""

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        self._in_shape, self._out_shape = in_shape, out_shape

    @property
    def in_shape(self) -> Shape:
        return self._in_shape

    @property
    def out_shape(self) -> Shape:
        return self._out_shape


def require_numpy_map(op: Any) -> None:
    """Refuse what is not a map with numbers of NumPy, for programs and files that know no other arrays."""
    if not isinstance(op, LinearMap):
        got = f"op is {with_article(type(op).__name__)}"
        remedy = "Pass what cm.conv returns, or, for an affine map, its .op"
        raise ArgumentTypeError(got, "Expected a map of convmtx", remedy)
    if not is_numpy(op._reference_array):
        got = f"a map of {library(op._reference_array)}"
        raise ArgumentTypeError(got, "Expected numbers of NumPy", "Make it with NumPy's kernel")


def _kind(name: str, *arguments: Any) -> LinearMap:
    """Return a map of a kind that is made of maps, from files above this one."""
    op: LinearMap = export(name, *arguments)
    return op


def absolute(entries: Array) -> Array:
    """Return the absolute values of an array."""
    return namespace(entries).abs(entries)
