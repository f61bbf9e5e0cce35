"""Windows of interpolation, and the sparse matrix (outputs, inputs) of one axis that they make.

Positions are measured from the edge of the array: input j covers j to j + 1, and its middle is j + 1/2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.typing import AnyArray, IntArray

#: Bytes for each weight while a matrix is built: its column, distance, weight and the entry of the matrix.
_BYTES_OF_WEIGHT = 48


@dataclass(frozen=True)
class Window:
    """Function of a distance, in inputs, that is 0 beyond a radius."""

    radius: float
    weigh: Callable[[AnyArray], AnyArray]


def _linear(t: AnyArray) -> AnyArray:
    return np.maximum(1 - np.abs(t), 0)


def _cubic(t: AnyArray, a: float) -> AnyArray:
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _mitchell(t: AnyArray) -> AnyArray:
    t = np.abs(t)
    near = (7 / 6 * t - 2) * t * t + 8 / 9
    far = ((-7 / 18 * t + 2) * t - 10 / 3) * t + 16 / 9
    return np.where(t < 1, near, np.where(t < 2, far, 0))


def _lanczos(t: AnyArray, radius: int) -> AnyArray:
    return np.where(np.abs(t) < radius, np.sinc(t) * np.sinc(t / radius), 0)


def _gaussian(t: AnyArray) -> AnyArray:
    return np.where(np.abs(t) < 1.5, np.exp(-2 * t * t), 0)


def _hamming(t: AnyArray) -> AnyArray:
    return np.where(np.abs(t) < 1, np.sinc(t) * (0.54 + 0.46 * np.cos(np.pi * t)), 0)


def _box(t: AnyArray) -> AnyArray:
    return np.where((t > -0.5) & (t <= 0.5), 1.0, 0.0)


LINEAR = Window(1, _linear)
MITCHELL = Window(2, _mitchell)
#: A standard deviation of 1/2, cut off at three of them by the function; the radius is larger, so that its ends, where
#: rounding decides what is read, are beyond.
GAUSSIAN = Window(2, _gaussian)
HAMMING = Window(1, _hamming)
BOX = Window(0.5, _box)


def cubic(a: float) -> Window:
    """Return the cubic convolution window of Keys whose slope at distance 1 is ``a``."""
    return Window(2, partial(_cubic, a=a))


def lanczos(radius: int) -> Window:
    """Return the sinc function, windowed by its own main lobe stretched to a radius."""
    return Window(radius, partial(_lanczos, radius=radius))


def weigh_inputs(size: int, centres: AnyArray, window: Window, stretch: float = 1.0, *, continues: bool = False) -> Any:
    """Return the matrix of interpolation: row i weighs input j by ``window((j + 1/2 - centres[i]) / stretch)``.

    Each row is divided by its sum. If the array ``continues``, its ends are repeated outside; otherwise a window that
    leaves the array has the inputs inside alone. An output whose centre is nan has no entries. Distances are computed
    in the type of the centres.
    """
    from scipy.sparse import csr_array

    dtype = centres.dtype.type
    reach = dtype(window.radius * stretch)
    count = int(np.ceil(2 * reach)) + 1
    memory.require_result("the matrix of an axis", _BYTES_OF_WEIGHT * count * centres.size, "Resize to fewer outputs")
    is_read = ~np.isnan(centres)
    centres = np.where(is_read, centres, 0)[:, None]
    # Pillow rounds so to the first input that a window reads, and the last is where the window ends.
    taps = np.floor(centres - reach + dtype(0.5)).astype(np.int64) + np.arange(count)
    weights = window.weigh((taps.astype(dtype) - centres + dtype(0.5)) * dtype(1 / stretch)).astype(float)
    if not continues:
        weights[(taps < 0) | (taps >= size)] = 0
    totals = weights.sum(axis=1, keepdims=True)
    weights /= np.where(totals == 0, 1, totals)
    weights[~is_read] = 0
    pointers = np.arange(0, taps.size + 1, count)
    matrix = csr_array((weights.ravel(), np.clip(taps, 0, size - 1).ravel(), pointers), shape=(len(centres), size))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def average_inputs(size: int, starts: IntArray, ends: IntArray) -> Any:
    """Return the matrix of the means of inputs from each start to before each end."""
    from scipy.sparse import csr_array

    counts = ends - starts
    pointers = np.concatenate([[0], np.cumsum(counts)])
    memory.require_result("a matrix of means", 32 * int(pointers[-1]), "Resize to fewer outputs")
    columns = np.arange(pointers[-1]) + np.repeat(starts - pointers[:-1], counts)
    return csr_array((np.repeat(1 / counts, counts), columns, pointers), shape=(counts.size, size))


def adaptive_means(size: int, out: int) -> Any:
    """Return the matrix of means over windows from floor(i size / out) to before ceil((i + 1) size / out)."""
    i = np.arange(out)
    return average_inputs(size, i * size // out, -(-(i + 1) * size // out))


def weigh_overlaps(size: int, out: int) -> Any:
    """Return the matrix of means over equal parts of the array, which weigh an input by how much of it is inside."""
    matrix = adaptive_means(size, out)
    # Positions are counted in parts of 1 / out: output i covers i * size to (i + 1) * size, input j covers j * out to
    # (j + 1) * out. Integers, so that an input that is only touched has no weight.
    rows, columns = np.repeat(np.arange(out), np.diff(matrix.indptr)), matrix.indices.astype(np.int64)
    shared = np.minimum((rows + 1) * size, (columns + 1) * out) - np.maximum(rows * size, columns * out)
    matrix.data = shared / size
    return matrix
