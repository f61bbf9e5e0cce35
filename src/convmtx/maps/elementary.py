"""Linear maps that are no convolutions and stand between them: axes in another order, and a matrix along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import cast, conjugate, frozen, is_numpy, like, moved, namespace, numeric, promoted, reshaped, together
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.forms import row_array
from convmtx.geometry import resolve
from convmtx.maps.composites import Product
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import Array, ArrayLike, Order, PerAxis, RowNumbers, Shape


class Rearranged(LinearMap):
    """The same numbers, their axes in another order and then in another shape. Exact, sparse, and its T the inverse.

    An output has the type of the input; the matrix is of the type and library of ``like``, small integers of NumPy's
    where none is given.
    """

    def __init__(
        self, in_shape: Shape, axes: Sequence[int], out_shape: Shape | None = None, like: Array | None = None
    ) -> None:
        between = tuple(in_shape[a] for a in axes)
        vars(self).update(
            in_shape=in_shape, axes=tuple(axes), between=between, out_shape=between if out_shape is None else out_shape,
            _of=np.empty(0, np.int8) if like is None else like,
        )  # fmt: skip

    in_shape: Shape = ()
    axes: Shape
    between: Shape
    out_shape: Shape = ()
    _of: Array = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._of.dtype

    def _apply(self, x: Array) -> Array:
        return reshaped(moved(x, 0, *(1 + a for a in self.axes)), (x.shape[0], *self.out_shape))

    def _apply_transposed(self, y: Array) -> Array:
        back = [1 + self.axes.index(a) for a in range(len(self.axes))]
        return moved(reshaped(y, (y.shape[0], *self.between)), 0, *back)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        from scipy.sparse import csr_array

        outputs = np.arange(self.shape[0]) if rows is None else row_array(rows)
        numbers = np.ravel_multi_index(np.unravel_index(outputs, self.out_shape, order), self.out_shape)
        places = np.unravel_index(numbers, self.between)
        inputs = tuple(places[self.axes.index(a)] for a in range(len(self.axes)))
        columns = np.ravel_multi_index(inputs, self.in_shape, order=order)
        arrays = (np.ones(outputs.size, np.int8), columns, np.arange(outputs.size + 1))
        matrix = csr_array(arrays, shape=(outputs.size, self.shape[1]))
        if is_numpy(self._of):
            return matrix.astype(self.dtype)
        found = Coordinates.of(matrix, self._of)
        found.data = cast(found.data, self.dtype)
        return found

    def conj(self) -> Rearranged:
        return self

    @property
    def T(self) -> LinearMap:
        back = Rearranged(self.between, [self.axes.index(a) for a in range(len(self.axes))], like=self._of)
        if self.out_shape == self.between:
            return back
        return Product(back, Rearranged(self.out_shape, range(len(self.out_shape)), self.between, like=self._of))


class AlongAxis(LinearMap):
    """A matrix (outputs, inputs) applied along one axis, to everything else alike."""

    def __init__(self, matrix: Array, in_shape: Shape, axis: int) -> None:
        vars(self).update(matrix=frozen(matrix), in_shape=in_shape, axis=axis)

    matrix: Array
    in_shape: Shape = ()
    axis: int

    @property
    def _of(self) -> Array:
        return self.matrix

    @cached_property
    def out_shape(self) -> Shape:
        """The input's shape with another size along the axis."""
        return (*self.in_shape[: self.axis], int(self.matrix.shape[0]), *self.in_shape[self.axis + 1 :])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    def _apply(self, x: Array) -> Array:
        return _times(x, moved(self.matrix, 1, 0), 1 + self.axis)

    def _apply_transposed(self, y: Array) -> Array:
        return _times(y, self.matrix, 1 + self.axis)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        if not is_numpy(self.matrix):
            numbers = np.arange(1, prod(self.matrix.shape) + 1).reshape(self.matrix.shape)
            return Coordinates.numbered(AlongAxis(numbers, self.in_shape, self.axis)._sparse(order, rows), self.matrix)
        from scipy.sparse import csr_array

        faster = prod(self.in_shape[self.axis + 1 :] if order == "C" else self.in_shape[: self.axis])
        outputs, inputs = self.matrix.shape
        wanted = np.arange(self.shape[0]) if rows is None else row_array(rows)
        matrix = csr_array(self.matrix)[wanted // faster % outputs]
        first = wanted // (faster * outputs) * (faster * inputs) + wanted % faster  # column of input 0
        columns = matrix.indices * np.int64(faster) + np.repeat(first, np.diff(matrix.indptr))
        return csr_array((matrix.data, columns, matrix.indptr), shape=(wanted.size, self.shape[1]))

    @property
    def T(self) -> AlongAxis:
        return AlongAxis(moved(self.matrix, 1, 0), self.out_shape, self.axis)

    def conj(self) -> AlongAxis:
        return AlongAxis(conjugate(self.matrix), self.in_shape, self.axis)


def _times(x: Array, matrix: Array, axis: int) -> Array:
    """The vectors along an axis times a matrix from the right."""
    matrix, x = together(matrix, x)
    dtype = promoted(matrix.dtype, x.dtype) if is_numpy(x) else namespace(x).result_type(matrix, x)
    others = [a for a in range(x.ndim) if a != axis]
    y = namespace(x).matmul(moved(cast(x, dtype), *others, axis), cast(matrix, dtype))
    back = [*range(axis), x.ndim - 1, *range(axis, x.ndim - 1)]
    return moved(y, *back)


class Augmented(LinearMap):
    """``[A | b]``: takes an input flattened, with a 1 behind it, to ``A x + b``."""

    def __init__(self, op: LinearMap, offset: Array) -> None:
        vars(self).update(op=op, offset=offset)

    op: LinearMap
    offset: Array

    @property
    def _of(self) -> Array:
        return self.op._of if is_numpy(self.offset) else self.offset

    @property
    def in_shape(self) -> Shape:
        return (self.op.shape[1] + 1,)

    @property
    def out_shape(self) -> Shape:
        return self.op.out_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return promoted(self.op.dtype, self.offset.dtype)

    def _apply(self, x: Array) -> Array:
        offset, x = together(self.offset, x)
        ones = reshaped(x[:, -1:], (-1, *(1 for _ in self.out_shape)))
        return self.op._apply(reshaped(x[:, :-1], (-1, *self.op.in_shape))) + ones * offset

    def _apply_transposed(self, y: Array) -> Array:
        offset, y = together(self.offset, y)
        xp = namespace(y)
        last = xp.sum(reshaped(y * offset, (y.shape[0], -1)), axis=1, keepdims=True)
        first = reshaped(self.op._apply_transposed(y), (y.shape[0], -1))
        dtype = xp.result_type(first, last)
        return xp.concat([cast(first, dtype), cast(last, dtype)], axis=1)

    def _column(self, order: Order) -> Array:
        """The offset, flattened."""
        offset = self.offset if order == "C" else moved(self.offset, *reversed(range(self.offset.ndim)))
        return like(reshaped(offset, (-1,)), self._of)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        matrix, column = self.op._sparse(order, rows), self._column(order)
        if rows is not None:
            column = namespace(column).take(column, like(row_array(rows), column), axis=0)
        if not is_numpy(self._of):
            return Coordinates.of(matrix, self._of).beside(column)
        from scipy.sparse import csr_array, hstack

        return hstack([matrix, csr_array(column[:, None])], format="csr")

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        if rows is None:
            return super()._sparse_transposed(order, rows)
        wanted, column = row_array(rows), self._column(order)
        inside = np.flatnonzero(wanted < self.op.shape[1])
        above = self.op._sparse_transposed(order, wanted[inside])
        places = np.full(wanted.size, inside.size)  # of each row, where the offset is last
        places[inside] = np.arange(inside.size)
        if not is_numpy(self._of):
            return Coordinates.of(above, self._of).above(column)[places]
        from scipy.sparse import csr_array, vstack

        return vstack([above, csr_array(column[None, :])], format="csr")[places]

    def conj(self) -> Augmented:
        return Augmented(self.op.conj(), conjugate(self.offset))


class Affine:
    """``y = A x + b``: a linear map and what is added to it, as layers of neural networks are.

    Attributes
    ----------
    op : LinearMap
        The map A, with all its forms.
    offset : array
        b, of shape ``op.out_shape``; zeros where the layer has no bias.

    Examples
    --------
    >>> import convmtx as cm
    >>> layer = cm.Affine(cm.conv([1, -1], 3), [10, 20])
    >>> layer([1, 2, 4])
    array([ 9, 18])
    >>> layer.augmented().to_dense()
    array([[ 1, -1,  0, 10],
           [ 0,  1, -1, 20]])
    """

    @door("Affine")
    def __init__(self, op: LinearMap, offset: ArrayLike) -> None:
        if not isinstance(op, LinearMap):
            remedy = "Pass A.op, and the offset of both" if isinstance(op, Affine) else "Make one, as with convmtx.conv"
            raise ArgumentTypeError(f"op is {shown(op)}", "Wanted a linear map of convmtx", remedy)
        array = numeric("offset", offset)
        if tuple(array.shape) != op.out_shape:
            got = f"offset has shape {tuple(array.shape)}"
            raise ArgumentError(got, f"Wanted {op.out_shape}, the outputs", "Broadcast it first")
        self.op, self.offset = op, array

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.in_shape} -> {self.out_shape}"

    @property
    def in_shape(self) -> Shape:
        """Shape of one input."""
        return self.op.in_shape

    @property
    def out_shape(self) -> Shape:
        """Shape of one output."""
        return self.op.out_shape

    @door("Affine")
    def __call__(self, x: ArrayLike) -> Array:
        """``op(x) + offset``, of one input or any batch."""
        y = self.op(x)
        y, offset = together(y, self.offset)
        return y + offset

    @door("affine1 @ affine2")
    def __matmul__(self, other: Affine) -> Affine:
        """The other map first, then this one: again one affine map."""
        if not isinstance(other, Affine):
            got, remedy = f"the right one is {shown(other)}", "Use cm.Affine(op, 0 * offset) for a linear map, or A(x)"
            raise ArgumentTypeError(got, "Wanted two affine maps", remedy)
        return Affine(self.op @ other.op, self(other.offset))

    def augmented(self) -> LinearMap:
        """``[A | b]`` as a map of ``(N + 1,)`` vectors, the input flattened and a 1: with all forms."""
        return Augmented(self.op, self.offset)


@door("permutation")
def permutation(shape: PerAxis, source: str, target: str) -> LinearMap:
    """The map that puts an array's axes in another order, as a matrix of zeros and ones.

    With ``P_in`` and ``P_out`` of input and output, ``P_out @ A @ P_in.T`` is the matrix ``A`` of a map between arrays
    in one order as the matrix between arrays in the other.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array, a size for each letter of ``source``; the batch axis ``N`` may be left out of it.
    source, target : str
        A letter for each axis, such as ``"NCHW"`` and ``"NHWC"``.

    Raises
    ------
    ValueError
        Where the letters are not the same, repeat, or do not fit the shape.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> P = cm.permutation((2, 1, 3), "CHW", "HWC")
    >>> P.out_shape
    (1, 3, 2)
    >>> P @ np.arange(6)
    array([0, 3, 1, 4, 2, 5])
    """
    for name, letters in (("source", source), ("target", target)):
        if not isinstance(letters, str) or len(set(letters)) != len(letters):
            wanted = "Wanted a string with one letter for each axis"
            raise ArgumentError(f"{name}={shown(letters)}", wanted, "Pass a name such as 'NCHW'")
    if set(source) != set(target):
        got = f"source={shown(source)} and target={shown(target)}"
        raise ArgumentError(got, "Wanted the same letters", "Check the spelling")
    sizes = resolve.shape("shape", shape)
    if len(sizes) == len(source) - 1 and "N" in source:
        source, target = source.replace("N", ""), target.replace("N", "")
    if len(sizes) != len(source):
        got = f"shape={sizes} for {shown(source)}"
        raise ArgumentError(got, "Wanted a size for each letter", "Only N may be left out")
    return Rearranged(sizes, [source.index(letter) for letter in target])
