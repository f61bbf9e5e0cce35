"""Assertions for tests of other projects: whether a function, a layer or a matrix is the map that it should be."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, is_numpy
from convmtx.arguments import is_array, number
from convmtx.errors import ArgumentError, ArgumentTypeError, FormTooLargeError, door, with_article
from convmtx.maps.affine import Affine
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.own_maps import eps_of
from convmtx.recognition.comparison import Comparison, compare, entries_differ
from convmtx.recognition.explanations import diagnose
from convmtx.recognition.functions import Box
from convmtx.recognition.matrices import canonical, is_sparse, rows_of_map
from convmtx.recognition.probe import probe
from convmtx.typing import AnyArray

__all__ = ["assert_same_map"]

#: Roundings of an entry for each step of a fast transform, of which there are log2(inputs): 12 for an image of 64x64.
_ROUNDINGS = 16


def assert_same_map(f: Any, op: Any, *, rtol: float | None = None, atol: float = 0.0) -> None:
    """Raise an AssertionError unless ``f`` is the map ``op``, entry by entry.

    Law: it passes if and only if ``abs(a - b) <= atol + rtol * max(abs(b))`` for all entries a of the matrix of f and b
    of that of ``op``. If ``op`` is affine, the same holds for f(0) and the offset.

    The message says how many entries differ, by how much, and where the first ones are: the coordinates of the output,
    of the input and of the tap of the kernel, and both values. If ``op`` is a convolution, it also says what explains
    the difference: column-major order, a flipped kernel, windows shifted by one, another boundary, channels at the
    other end, a transpose, a missing conjugate, a factor, missing rows, or two or three of these.

    Parameters
    ----------
    f : callable, torch.nn.Module, array_like, sparse array, LinearOperator, LinearMap or Affine
        A function takes one array of ``op.in_shape``, of NumPy, PyTorch or JAX, to one of ``op.out_shape``. It is
        compared on random inputs first; only if images differ is its matrix probed, with `convmtx.probe`. A wrong entry
        that is little above the tolerance may pass. A matrix has the shape ``op.shape``, or is a tensor of shape
        ``op.out_shape + op.in_shape``.
    op : LinearMap or Affine
        The map that f should be.
    rtol : float, optional
        Tolerance relative to the largest entry of ``op``, because roundings of transforms are. By default it is 0 if
        both maps are of integers, and otherwise ``16 * eps * log2(N)`` for N inputs, with the eps of the type of fewest
        digits: 4e-14 in double precision and 2e-5 in single precision for an image of 64x64. Pass more for engines that
        round to fewer digits than their type has, such as TF32.
    atol : float
        Absolute tolerance.

    Raises
    ------
    AssertionError
        If f is another map, is not linear, is random, or cannot be called with an array of ``op.in_shape``.
    ValueError, TypeError
        If a tolerance is not a number of at least 0, or ``op`` is not a map.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> from convmtx.testing import assert_same_map
    >>> op = cm.conv([1.0, 2.0, 4.0], 6, padding="same")
    >>> assert_same_map(lambda x: np.correlate(x, [1, 2, 4], "same"), op)
    >>> assert_same_map(lambda x: np.convolve(x, [1, 2, 4], "same"), op)
    Traceback (most recent call last):
    AssertionError: f is not ConvOperator (6,) -> (6,), kernel (3,), float64: 10 entries differ, by at most 3
      output (0,), input (1,), tap (2,): 1.0 instead of 4.0
      output (1,), input (0,), tap (0,): 4.0 instead of 1.0
      output (1,), input (2,), tap (2,): 1.0 instead of 4.0
    f has the matrix with the kernel flipped along axis 0, or the transpose of the matrix (ambiguous: the transpose of
    this map is the map with the flipped kernel)
    """
    __tracebackhide__ = True
    with door("assert_same_map"):
        atol = number("atol", atol, "a number of at least 0", fits=lambda value: value >= 0)
        if rtol is not None:
            rtol = number("rtol", rtol, "a number of at least 0", fits=lambda value: value >= 0)
        expected, offset = _parts("op", op)
        check = _Check(_in_numpy(expected), offset, rtol, atol)
        difference = check.difference(f)
    if difference is not None:
        raise AssertionError(f"f is not {op!r}: {difference}")


def _parts(name: str, op: Any) -> tuple[LinearMap, AnyArray | None]:
    """Return the linear part of a map, and its offset; None if it has none."""
    if isinstance(op, LinearMap):
        return op, None
    if isinstance(op, Affine):
        return op.op, as_numpy(op.offset)
    got = f"{name} is {with_article(type(op).__name__)}"
    raise ArgumentTypeError(got, "Expected a map", "Make one, as with cm.conv or cm.aslinearmap")


def _in_numpy(op: LinearMap) -> LinearMap:
    """Return a map with its numbers in NumPy: a convolution as one, any other by its sparse matrix."""
    if is_numpy(op._reference_array):
        return op
    if isinstance(op, ConvOperator):
        return op.with_kernel(as_numpy(op.kernel))
    op._require_matrix()
    return aslinearmap(rows_of_map(op, "C", None), op.in_shape, op.out_shape)


@dataclass(frozen=True, eq=False)
class _Check:
    """A map that others should be, and tolerances."""

    op: LinearMap
    offset: AnyArray | None
    rtol: float | None
    atol: float

    def difference(self, f: Any) -> str | None:
        """Return what tells f from the map, in words; None if nothing does."""
        try:
            if isinstance(f, LinearMap | Affine):
                return self._of_map(*_parts("f", f))
            if is_sparse(f):
                return self._of_matrix(canonical(f.tocsr()))
            if is_array(f) or isinstance(f, list):
                return self._of_array(as_numpy(f) if is_array(f) else np.asarray(f))
            if hasattr(f, "matvec"):
                return self._of_map(aslinearmap(f, self.op.in_shape, self.op.out_shape), None)
            return self._of_function(f)
        except ArgumentError as error:
            return error.reason

    def _of_map(self, other: LinearMap, offset: AnyArray | None) -> str | None:
        if (other.in_shape, other.out_shape) != (self.op.in_shape, self.op.out_shape):
            return f"f is from {other.in_shape} to {other.out_shape}"
        other._require_matrix()
        return self._of_matrix(rows_of_map(other, "C", None)) or self._of_offset(offset)

    def _of_array(self, array: AnyArray) -> str | None:
        is_tensor = array.shape == self.op.out_shape + self.op.in_shape
        return self._of_matrix(array.reshape(self.op.shape) if is_tensor else array)

    def _of_function(self, f: Any) -> str | None:
        """Compare images of random inputs, and if they differ, the matrix."""
        box = self._box(f)
        if box.out_shape != self.op.out_shape:
            return f"f returns arrays of shape {box.out_shape}"
        inputs, images = box.samples
        expected = as_numpy(self.op(inputs))
        eps = max(map(eps_of, (box.in_dtype, box.dtype, expected.dtype)))
        largest, count = self._size
        # An output is a sum of `count` products, which rounds at most so often.
        allowed = self._tolerance(eps) + eps * count * largest
        distances = np.abs(images - expected)
        if distances.max(initial=0) <= allowed:
            return self._of_offset(box.offset, eps)
        try:
            matrix = rows_of_map(probe(f, box.in_shape, dtype=box.in_dtype), "C", None)
        except FormTooLargeError:  # its matrix does not fit: outputs tell less, but something
            output = np.unravel_index(int(np.argmax(distances.max(axis=0))), box.out_shape)
            return f"images of random inputs differ by up to {distances.max():.3g}, in output {_plain(output)}"
        return self._of_matrix(matrix, eps) or self._of_offset(box.offset, eps)

    def _box(self, f: Any) -> Box:
        """Return f as a function of the inputs that show most of it: integers and complex numbers if it takes them."""
        kind = {"i": np.dtype(np.int64), "u": np.dtype(np.int64), "c": self.op.dtype}.get(self.op.dtype.kind)
        if kind is not None:
            try:
                return Box(f, self.op.in_shape, dtype=kind)
            except ArgumentError:
                pass
        return Box(f, self.op.in_shape)

    def _of_matrix(self, matrix: Any, eps: float | None = None) -> str | None:
        if tuple(matrix.shape) != self.op.shape:
            explanation = self._explained(matrix, self.atol) if matrix.ndim == 2 else ""
            return f"its matrix has shape {tuple(matrix.shape)}, not {self.op.shape}{explanation}"
        tolerance = self._tolerance(max(map(eps_of, (matrix.dtype, self.op.dtype))) if eps is None else eps)
        comparison = compare(matrix, self.op, atol=tolerance)
        return _described(comparison) + self._explained(matrix, tolerance) if comparison.count else None

    def _explained(self, matrix: Any, tolerance: float) -> str:
        diagnosis = diagnose(matrix, self.op, atol=tolerance) if isinstance(self.op, ConvOperator) else None
        return "" if diagnosis is None else f"\nf has {diagnosis}"

    def _of_offset(self, offset: AnyArray | None, eps: float | None = None) -> str | None:
        """Compare f(0) with the offset of the map."""
        theirs, ours = (np.zeros(self.op.out_shape) if part is None else part for part in (offset, self.offset))
        eps = max(map(eps_of, (theirs.dtype, ours.dtype))) if eps is None else eps
        rtol = self._relative(eps) if self.rtol is None else self.rtol
        differs = ~(np.abs(theirs - ours) <= self.atol + rtol * np.abs(ours).max(initial=0))
        if not differs.any():
            return None
        output = _plain(np.unravel_index(int(np.argmax(differs)), ours.shape))
        values = f"{theirs[output]} instead of {ours[output]}"
        return f"f(0) differs from the offset in {differs.sum()} entries, the first is output {output}: {values}"

    def _tolerance(self, eps: float) -> float:
        """Return the largest difference of an entry that counts as rounding."""
        return self.atol + (self._relative(eps) if self.rtol is None else self.rtol) * self._size[0]

    def _relative(self, eps: float) -> float:
        return _ROUNDINGS * eps * log2(max(self.op.shape[1], 2))

    @property
    def _size(self) -> tuple[float, float]:
        """Largest magnitude of an entry, and the mean number of entries in a row."""
        if isinstance(self.op, ConvOperator):
            values, count = self.op.kernel, self.op.nnz
        else:
            self.op._require_matrix()
            matrix = rows_of_map(self.op, "C", None)
            values, count = matrix.data, matrix.nnz
        return float(np.abs(values).max(initial=0)), count / max(self.op.shape[0], 1)


def _described(comparison: Comparison) -> str:
    """Return entries that differ in words, one a line."""
    lines = [f"{entries_differ(comparison.count)}, by at most {comparison.largest:.3g}"]
    return "\n".join([*lines, *(f"  {entry}" for entry in comparison.differs)])


def _plain(place: Any) -> tuple[int, ...]:
    return tuple(int(j) for j in place)
