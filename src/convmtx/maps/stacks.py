"""Maps side by side: their outputs, their inputs, or both, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import cast, like, namespace, one_of_theirs, promote, reshape
from convmtx._xp.sparse import stacked, with_columns
from convmtx.arguments import integer
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.forms import require_stored, row_array
from convmtx.maps.base import Combination
from convmtx.maps.combined import Product
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.ordering import in_order
from convmtx.maps.rows import Rows
from convmtx.maps.selection import Selection
from convmtx.maps.sums import added
from convmtx.typing import Array, IntArray, Order, RowNumbers, Shape


class Blocks(Combination, LinearMap):
    """Base of maps whose matrices are made of the matrices of other maps."""

    _takes_chunks = True

    def __init__(self, *maps: LinearMap) -> None:
        self.maps = maps

    @property
    def _parts(self) -> tuple[LinearMap, ...]:
        return self.maps

    @cached_property
    def _ends(self) -> IntArray:
        """First row of each map, and the number of all rows."""
        return np.cumsum([0, *(op.shape[0] for op in self.maps)])

    @cached_property
    def _column_ends(self) -> IntArray:
        """First column of each map, and the number of all columns."""
        return np.cumsum([0, *(op.shape[1] for op in self.maps)])

    def _of(self, change: Callable[[LinearMap], LinearMap]) -> LinearMap:
        """Return the same arrangement of other maps."""
        return type(self)(*(change(op) for op in self.maps))

    def conj(self) -> LinearMap:
        return self._of(lambda op: op.conj())

    def _entrywise(self, function: Callable[[Array], Array]) -> LinearMap:
        return self._of(lambda op: op._entrywise(function))

    def _in_double(self) -> LinearMap:
        return self._of(lambda op: op._in_double())

    def _magnitudes(self) -> LinearMap:
        return self._of(lambda op: op._magnitudes())

    def _count_roundings(self) -> float:
        return sum(1 + op._count_roundings() for op in self.maps)

    def _pieces(self, x: Array, ends: IntArray, shapes: Iterable[Shape]) -> list[Array]:
        """Return the pieces of flattened arrays that belong to each map, in its shape."""
        batch = tuple(x.shape[:-1])
        cuts = zip(ends, ends[1:], shapes, strict=False)
        return [reshape(x[..., int(first) : int(last)], batch + shape) for first, last, shape in cuts]

    def _flattened(self, images: list[Array], shapes: Iterable[Shape]) -> Array:
        """Return images, of these shapes behind their batch axes, flattened and one after the other."""
        pairs = zip(images, shapes, strict=True)
        return joined([reshape(y, (*y.shape[: y.ndim - len(shape)], prod(shape))) for y, shape in pairs], -1)


class Stacked(Blocks):
    """Outputs of maps of one input: flattened, one after the other."""

    @property
    def in_shape(self) -> Shape:
        return self.maps[0].in_shape

    @property
    def out_shape(self) -> Shape:
        return (int(self._ends[-1]),)

    def _apply(self, x: Array) -> Array:
        return self._flattened([op._image(x) for op in self.maps], (op.out_shape for op in self.maps))

    def _apply_transposed(self, y: Array) -> Array:
        pieces = self._pieces(y, self._ends, (op.out_shape for op in self.maps))
        return added(op._transposed_image(piece) for op, piece in zip(self.maps, pieces, strict=True))

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        def build(numbers: RowNumbers | None) -> Any:
            return rows_of(self.maps, self._ends, numbers)

        return in_order(build, order, rows, self.in_shape, self.out_shape)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return SideBySide(*(op.T for op in self.maps))._sparse(order, rows)

    @property
    def T(self) -> LinearMap:
        return SideBySide(*(op.T for op in self.maps))

    @property
    def _stack(self) -> tuple[LinearMap, ...]:
        return tuple(part for op in self.maps for part in op._stack)


class SideBySide(Blocks):
    """Sum of maps, each of which takes its own piece of a flattened input."""

    @property
    def in_shape(self) -> Shape:
        return (int(self._column_ends[-1]),)

    @property
    def out_shape(self) -> Shape:
        return self.maps[0].out_shape

    def _apply(self, x: Array) -> Array:
        pieces = self._pieces(x, self._column_ends, (op.in_shape for op in self.maps))
        return added(op._image(piece) for op, piece in zip(self.maps, pieces, strict=True))

    def _apply_transposed(self, y: Array) -> Array:
        return self._flattened([op._transposed_image(y) for op in self.maps], (op.in_shape for op in self.maps))

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        def build(numbers: RowNumbers | None) -> Any:
            return _stacked([op._sparse("C", numbers) for op in self.maps], down=False)

        return in_order(build, order, rows, self.in_shape, self.out_shape)

    @property
    def T(self) -> LinearMap:
        return Stacked(*(op.T for op in self.maps))


class BlockDiagonal(Blocks):
    """Maps that take and make pieces of flattened arrays, each its own."""

    @property
    def in_shape(self) -> Shape:
        return (int(self._column_ends[-1]),)

    @property
    def out_shape(self) -> Shape:
        return (int(self._ends[-1]),)

    def _apply(self, x: Array) -> Array:
        pieces = self._pieces(x, self._column_ends, (op.in_shape for op in self.maps))
        images = [op._image(piece) for op, piece in zip(self.maps, pieces, strict=True)]
        return self._flattened(images, (op.out_shape for op in self.maps))

    def _apply_transposed(self, y: Array) -> Array:
        pieces = self._pieces(y, self._ends, (op.out_shape for op in self.maps))
        images = [op._transposed_image(piece) for op, piece in zip(self.maps, pieces, strict=True)]
        return self._flattened(images, (op.in_shape for op in self.maps))

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        def build(numbers: RowNumbers | None) -> Any:
            return rows_of(self.maps, self._ends, numbers, self._column_ends)

        return in_order(build, order, rows, self.in_shape, self.out_shape)

    @property
    def T(self) -> LinearMap:
        return BlockDiagonal(*(op.T for op in self.maps))

    def _count_roundings(self) -> float:
        return max(op._count_roundings() for op in self.maps)

    @property
    def _summands(self) -> tuple[LinearMap, ...]:
        return tuple(part for op in self.maps for part in op._summands)

    @property
    def _has_lone_entries(self) -> bool:
        return all(op._has_lone_entries for op in self.maps)


class Concatenated(Product):
    """Outputs of maps of one input, joined along an axis: rows of the maps one below the other, in another order."""

    def __init__(self, maps: Sequence[LinearMap], axis: int, places: IntArray) -> None:
        """Take the axis, counted from the end, and where each entry stands among the outputs one after the other."""
        below = Stacked(*maps)
        super().__init__(Selection(below.out_shape, places), below)
        self.maps, self.axis, self.places = tuple(maps), axis, places

    def _apply(self, x: Array) -> Array:
        return joined([op._image(x) for op in self.maps], self.axis)

    def _apply_transposed(self, y: Array) -> Array:
        ends = np.cumsum([0, *(op.out_shape[self.axis] for op in self.maps)]).tolist()
        behind = (slice(None),) * (-1 - self.axis)
        pieces = (y[(..., slice(first, last), *behind)] for first, last in pairwise(ends))
        return added(op._transposed_image(piece) for op, piece in zip(self.maps, pieces, strict=True))

    def _carry(self, rows: Rows) -> Rows:
        ends = np.cumsum([0, *(op.out_shape[self.axis] for op in self.maps)]).tolist()
        pieces = (rows.piece(self.axis, first, last) for first, last in pairwise(ends))
        return Rows.total([op._carry(piece) for op, piece in zip(self.maps, pieces, strict=True)])

    def conj(self) -> Concatenated:
        return Concatenated([op.conj() for op in self.maps], self.axis, self.places)

    @property
    def T(self) -> LinearMap:
        return Separated(self)


class Separated(Product):
    """The transpose of maps joined along an axis: the sum of the transposes of each piece."""

    def __init__(self, joined: Concatenated) -> None:
        super().__init__(*(factor.T for factor in reversed(joined.factors)))
        self.joined = joined

    def _apply(self, x: Array) -> Array:
        return self.joined._apply_transposed(x)

    def _apply_transposed(self, y: Array) -> Array:
        return self.joined._apply(y)

    def conj(self) -> LinearMap:
        return Separated(self.joined.conj())

    @property
    def T(self) -> LinearMap:
        return self.joined


def joined(arrays: list[Array], axis: int) -> Array:
    """Return arrays of one library, or of NumPy and another, joined along an axis in one type."""
    reference = one_of_theirs(arrays)
    arrays = [like(array, reference) for array in arrays]
    dtype = promote(*(array.dtype for array in arrays))
    return namespace(arrays[0]).concat([cast(array, dtype) for array in arrays], axis=axis)


def rows_of(
    maps: tuple[LinearMap, ...], ends: IntArray, numbers: RowNumbers | None, columns: IntArray | None = None
) -> Any:
    """Return rows of maps one below the other, all of them for None; the columns of each begin at ``columns``.

    Consecutive rows are a range of each map's rows, whose matrices are built faster than those of other rows.
    """
    if numbers is None:
        return _stacked([_placed(op, None, columns, j) for j, op in enumerate(maps)], down=True)
    if isinstance(numbers, range) and numbers.step == 1:
        parts = [range(max(numbers.start, a) - a, min(numbers.stop, b) - a) for a, b in pairwise(ends.tolist())]
        return _stacked([_placed(op, parts[j] or range(0), columns, j) for j, op in enumerate(maps)], down=True)
    numbers = row_array(numbers)
    owners = np.searchsorted(ends, numbers, "right") - 1
    order = np.argsort(owners, kind="stable")
    own = [numbers[order[owners[order] == j]] - ends[j] for j in range(len(maps))]
    whole = _stacked([_placed(op, own[j], columns, j) for j, op in enumerate(maps)], down=True)
    back = np.empty(order.size, np.int64)
    back[order] = np.arange(order.size)
    return whole[back]


def _placed(op: LinearMap, numbers: RowNumbers | None, columns: IntArray | None, j: int) -> Any:
    """Return rows of a map, among the columns of all maps if each has its own."""
    matrix = op._sparse("C", numbers)
    return matrix if columns is None else with_columns(matrix, partial(np.add, columns[j]), int(columns[-1]))


def _stacked(matrices: list[Any], down: bool) -> Any:
    """Return sparse matrices one below the other, or side by side, if there is memory for them once more."""
    stored = sum(int(matrix.data.shape[0]) for matrix in matrices)
    rows, columns = ([matrix.shape[j] for matrix in matrices] for j in (0, 1))
    shape = (sum(rows), columns[0]) if down else (rows[0], sum(columns))
    require_stored("csr", stored, shape, promote(*(matrix.data.dtype for matrix in matrices)))
    return stacked(matrices, down)


def _maps(name: str, maps: Any) -> list[LinearMap]:
    """Return a list of maps, matrices or operators as maps of one library."""
    remedy = f"Pass a list, as in cm.{name}([A, B])"
    entries = None if isinstance(maps, LinearMap) or not isinstance(maps, Iterable) else list(maps)
    if not entries:
        raise ArgumentTypeError(f"maps={shown(maps)}", "Expected at least one map", remedy)
    parts = [aslinearmap(entry) for entry in entries]
    for part in parts[1:]:
        parts[0]._require_together(part)
    return parts


def _require_equal(parts: list[LinearMap], attribute: str) -> None:
    """Refuse maps of which this shape differs."""
    shapes = [getattr(part, attribute) for part in parts]
    for j, shape in enumerate(shapes):
        if shape != shapes[0]:
            got = f"maps[0].{attribute} is {shapes[0]} and maps[{j}].{attribute} is {shape}"
            remedy = "Match them, as with cm.aslinearmap(op, in_shape, out_shape)"
            raise ArgumentError(got, "Expected equal shapes", remedy)


@door("vstack")
def vstack(maps: Sequence[Any]) -> LinearMap:
    """Return the maps' matrices one below the other, as a map of one input to all outputs.

    Law: ``op.to_dense() == np.vstack([A.to_dense(), B.to_dense()])``. So the least squares of several misfits are one
    problem, as for ``vstack([blur, 0.1 * laplacian])``.

    Parameters
    ----------
    maps : list of LinearMap
        Maps of one ``in_shape``, or what `aslinearmap` takes.

    Returns
    -------
    LinearMap
        From arrays of the common ``in_shape`` to vectors: the flattened outputs (C order) of the maps, one after the
        other. Applying it applies each map once, and the sparse matrix is joined from those of the maps.

    Raises
    ------
    ValueError
        If the inputs have different shapes.
    TypeError
        If the list is empty, an entry is not a map, or two of them are of different array libraries. (NumPy's maps
        join those of any other library.)

    Examples
    --------
    >>> import convmtx as cm
    >>> D = cm.conv([-1, 1], 3)
    >>> cm.vstack([D, 2 * cm.identity(3, int)]).to_dense()
    array([[-1,  1,  0],
           [ 0, -1,  1],
           [ 2,  0,  0],
           [ 0,  2,  0],
           [ 0,  0,  2]])
    """
    parts = _maps("vstack", maps)
    _require_equal(parts, "in_shape")
    return Stacked(*parts)


@door("hstack")
def hstack(maps: Sequence[Any]) -> LinearMap:
    """Return the maps' matrices side by side: the sum of maps that each take their own piece of the input.

    Law: ``op.to_dense() == np.hstack([A.to_dense(), B.to_dense()])``.

    Parameters
    ----------
    maps : list of LinearMap
        Maps of one ``out_shape``, or what `aslinearmap` takes.

    Returns
    -------
    LinearMap
        From vectors, which are the flattened inputs (C order) of the maps one after the other, to arrays of the common
        ``out_shape``. Applying it applies each map once, and the sparse matrix is joined from those of the maps.

    Raises
    ------
    ValueError
        If the outputs have different shapes.
    TypeError
        If the list is empty, an entry is not a map, or two of them are of different array libraries. (NumPy's maps
        join those of any other library.)

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.hstack([cm.conv([1, 1], 3), [[5], [6]]]).to_dense()
    array([[1, 1, 0, 5],
           [0, 1, 1, 6]])
    """
    parts = _maps("hstack", maps)
    _require_equal(parts, "out_shape")
    return SideBySide(*parts)


@door("block_diag")
def block_diag(maps: Sequence[Any]) -> LinearMap:
    """Return the map that applies each of some maps to its own piece of a flattened input.

    Law: ``op.to_dense() == scipy.linalg.block_diag(A.to_dense(), B.to_dense())``.

    Parameters
    ----------
    maps : list of LinearMap
        Maps between any shapes, or what `aslinearmap` takes.

    Returns
    -------
    LinearMap
        From vectors, which are the flattened inputs (C order) of the maps one after the other, to vectors of their
        flattened outputs. Applying it applies each map once, and the sparse matrix is joined from those of the maps.

    Raises
    ------
    TypeError
        If the list is empty, an entry is not a map, or two of them are of different array libraries. (NumPy's maps
        join those of any other library.)

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.block_diag([cm.conv([1, 2], 3), [[7]]]).to_dense()
    array([[1, 2, 0, 0],
           [0, 1, 2, 0],
           [0, 0, 0, 7]])
    """
    return BlockDiagonal(*_maps("block_diag", maps))


@door("concat")
def concat(maps: Sequence[Any], axis: int = 0) -> LinearMap:
    """Return the map whose output joins the outputs of maps of one input along an axis.

    Law: ``op(x) == np.concatenate([A(x), B(x)], axis)`` for one input x.

    Parameters
    ----------
    maps : list of LinearMap
        Maps of one ``in_shape``, or what `aslinearmap` takes. Only along ``axis`` may the sizes of their outputs
        differ.
    axis : int
        Axis of one output, without the batch; negative ones count from the end.

    Returns
    -------
    LinearMap
        From arrays of the common ``in_shape`` to the joined arrays. Applying it applies each map once.

    Raises
    ------
    ValueError
        If shapes do not fit, or the outputs have no such axis.
    TypeError
        If the list is empty, an entry is not a map, or two of them are of different array libraries. (NumPy's maps
        join those of any other library.)

    Examples
    --------
    >>> import convmtx as cm
    >>> both = cm.concat([cm.conv([[1, 0]], (2, 3)), cm.conv([[0, 1]], (2, 3))], axis=1)
    >>> both([[1, 2, 3], [4, 5, 6]])
    array([[1, 2, 2, 3],
           [4, 5, 5, 6]])
    """
    parts = _maps("concat", maps)
    _require_equal(parts, "in_shape")
    whole = Stacked(*parts)
    number = integer("axis", axis, None)
    memory.require_result("the numbers of all outputs", 16 * whole.shape[0], "Use vstack, which joins them flattened")
    numbers = [
        first + np.arange(part.shape[0]).reshape(part.out_shape)
        for first, part in zip(whole._ends, parts, strict=False)
    ]
    try:
        places = np.concatenate(numbers, number)
    except ValueError:
        shapes = ", ".join(str(part.out_shape) for part in parts)
        expected = "Expected shapes that are equal apart from that axis"
        raise ArgumentError(f"outputs of {shapes} along axis {number}", expected, "Pass another axis") from None
    return Concatenated(parts, number - places.ndim if number >= 0 else number, places)
