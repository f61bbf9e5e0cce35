"""Predicted seconds and bytes of every method, and every limit in seconds.

All rates are seconds on one machine, with BLAS held to a thread; only their ratios decide which method is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.geometry import Axis, Geometry
from convmtx.structure import Blocks
from convmtx.typing import IntArray

#: Seconds below which a direct method is taken without predicting what iterations would take.
QUICK = 2e-3
#: Seconds that a direct method may take after quicker ones found the map singular.
LONGEST = 10.0
#: Seconds that a decomposition may take whose singular values `choose_damp` needs.
LONGEST_SPECTRUM = 60.0
#: Seconds of steps that have to be left before a preconditioner is built: it takes about as long itself.
SETUP = 2e-2

#: Seconds of building any factors, however small.
CALL = 5e-4
#: Complex arithmetic takes so many times longer than real: in matrix products, and in sparse and band factors.
COMPLEX, COMPLEX_LU = 4.0, 3

#: Seconds of an operation in the decomposition of a large matrix, and of a small one; operations are counted as rows
#: times columns times the smaller of both. ``LARGE_WORK`` operations make a matrix large.
LARGE, SMALL, LARGE_WORK = 4e-11, 2e-10, 1e6
#: Operations of a singular value decomposition: of many small matrices, of one dense matrix, and of an axis' factor.
SVD_SMALL, SVD_DENSE, SVD_AXIS = 12, 15, 8
#: Operations of inverting one dense matrix.
INVERSE_DENSE = 3
#: Seconds of each small matrix beside its operations, of each number in a transform, and of each number in vectors.
MATRIX, TRANSFORM, NUMBER = 3e-6, 2e-9, 5e-9

#: Band LU, without and with the augmented system: seconds of a call, and seconds per unknown times the powers 0, 1, 2
#: of half of the bandwidth. Fitted, as is ``SPARSE``, to maps onto outputs like the inputs, of 1 to 3 axes.
BAND = {False: (4e-5, 1.4e-7, 1.4e-8, 9e-11), True: (8e-5, 3.5e-7, 5.5e-8, 9e-11)}
#: Solving with band factors: seconds per unknown and right-hand side, times the powers 0, 1 of half of the bandwidth.
BAND_PER_RHS = 2e-8, 2e-9
#: Sparse LU by number of axes, without and with the augmented system: seconds, and the exponents with which the numbers
#: of positions, of taps and of channels multiply them.
SPARSE = {
    (1, False): (2.0e-8, 1.18, 1.17, 1.84),
    (1, True): (2.0e-7, 1.09, 1.13, 1.68),
    (2, False): (1.0e-8, 1.44, 1.17, 1.60),
    (2, True): (1.5e-7, 1.33, 1.01, 1.69),
    (3, False): (1.4e-10, 2.16, 0.97, 2.53),
    (3, True): (1.6e-9, 2.09, 0.92, 2.26),
}
#: Fraction of the time of sparse factors that a right-hand side takes, and bytes of factors that SuperLU writes in a
#: second, at most.
SPARSE_PER_RHS, WRITTEN = 0.03, 5e8
#: Sparse LU of any map: seconds per unknown squared, seconds per unknown and right-hand side, bytes per unknown.
ANY_SPARSE = 1e-8, 1e-7, 1e3
#: Substitution: seconds and seconds per right-hand side, and bytes, of each entry.
SUBSTITUTION = 2e-7, 1e-8, 64.0

#: Product with a sparse matrix: seconds of a call, and of each entry.
PRODUCT, ENTRY = 1e-5, 5.5e-10
#: Seconds of applying a convolution by its engine, beside the seconds that are predicted for the engine.
ENGINE = 5e-5
#: Seconds per input and output of applying a map that is not a convolution.
ANY_MAP = 1e-7
#: Step of LSMR beside applying the map and its adjoint: seconds, and seconds per input and output.
STEP, STEP_NUMBER = 5e-5, 5e-9


@dataclass(frozen=True)
class Price:
    """Predicted cost of a direct method."""

    #: Seconds of building the factors, and of each right-hand side.
    build: float
    per_rhs: float
    bytes: float

    def seconds(self, n_rhs: int) -> float:
        """Return the seconds for so many right-hand sides."""
        return self.build + n_rhs * self.per_rhs


def sparse_product(entries: int) -> float:
    """Return the seconds of a product with a sparse matrix."""
    return PRODUCT + ENTRY * entries


def lsmr_step(size: int, seconds: float) -> float:
    """Return the seconds of a step of LSMR with a map of ``size`` inputs and outputs that takes ``seconds``."""
    return STEP + STEP_NUMBER * size + 2 * seconds


def dense(rows: int, columns: int, dtype: np.dtype[Any], *, inverted: bool) -> Price:
    """Price of the singular values of a dense matrix, or of its inverse."""
    kind = COMPLEX if dtype.kind == "c" else 1
    work = float(rows) * columns * min(rows, columns)
    build = CALL / 2 + kind * LARGE * work * (INVERSE_DENSE if inverted else SVD_DENSE)
    return Price(build, kind * LARGE * 2 * rows * columns, 16.0 * kind * rows * columns)


def blocks(geometry: Geometry, stacks: Sequence[Blocks], dtype: np.dtype[Any], *, damped: bool) -> Price:
    """Price of a map that falls apart into stacks of equal blocks; axes are split alike in all of them."""
    splits = stacks[0].splits
    kind = COMPLEX if dtype.kind == "c" or any(split.is_fourier for split in splits) else 1.0
    build = CALL / 2 + sum(kind * _stack(stack, damped) for stack in stacks)
    per_rhs = max(split.inputs.slow for split in splits) * TRANSFORM * sum(geometry.shape) * len(stacks)
    per_rhs += NUMBER * sum(kind * stack.count * stack.rows * stack.columns for stack in stacks)
    for split, axis in zip(splits, geometry.axes, strict=True):
        if split.is_factor:
            build += LARGE * SVD_AXIS * max(axis.size, axis.out) * min(axis.size, axis.out) ** 2
            per_rhs += LARGE * 2 * sum(geometry.shape) * axis.size
    return Price(build, per_rhs, float(sum(stack.bytes for stack in stacks)))


def _stack(stack: Blocks, damped: bool) -> float:
    """Return the seconds of decomposing equal blocks, or of inverting them."""
    rows, columns = stack.rows, stack.columns
    if min(rows, columns) == 1:
        return NUMBER * stack.count * rows * columns
    work = rows * columns * min(rows, columns) * (1 if rows == columns and not damped else SVD_SMALL)
    return stack.count * (MATRIX + work * (SMALL if work < LARGE_WORK else LARGE))


def substitution(entries: float) -> Price:
    """Price of solving a triangular matrix."""
    build, per_rhs, size = SUBSTITUTION
    return Price(build * entries, per_rhs * entries, size * entries)


def any_sparse_lu(unknowns: float) -> Price:
    """Price of sparse LU of a map of which nothing but its size is known."""
    build, per_rhs, size = ANY_SPARSE
    return Price(build * unknowns**2, per_rhs * unknowns, size * unknowns)


@lru_cache(maxsize=256)
def lu(geometry: Geometry, augmented: bool, dtype: np.dtype[Any], *, band: bool) -> Price:
    """Price of LU of a convolution's matrix, or of its augmented system, from the geometry alone."""
    passes, kind = 1 + augmented, COMPLEX_LU if dtype.kind == "c" else 1
    if not band:
        positions = max(math.prod(a.size for a in geometry.axes), math.prod(a.out for a in geometry.axes))
        channels = math.sqrt(math.prod(geometry.channels_per_group))
        taps = math.prod(a.kernel for a in geometry.axes)
        rate, *powers = SPARSE[min(len(geometry.axes), 3), augmented]
        build = kind * geometry.groups * rate * math.prod(np.power((positions, taps, channels), powers))
        return Price(CALL + build, passes * SPARSE_PER_RHS * build, WRITTEN * build)
    kl, ku = _bandwidths(geometry, augmented)
    size, half = sum(geometry.shape) if augmented else geometry.shape[1], math.sqrt(kl * (kl + ku) / 2)
    call, *rates = BAND[augmented]
    build = kind * (call + size * sum(rate * half**power for power, rate in enumerate(rates)))
    per_rhs = kind * passes * size * (BAND_PER_RHS[0] + BAND_PER_RHS[1] * half)
    return Price(CALL + build, per_rhs, float(size * (2 * kl + ku + 1) * dtype.itemsize))


def _bandwidths(geometry: Geometry, augmented: bool) -> tuple[int, int]:
    """Return how far entries lie below and above the diagonal.

    Of the augmented system that is an estimate: outputs crowd a little at the ends of an axis.
    """
    rows, columns = geometry.shape
    below = above = width = 0
    for axis in geometry.axes:
        lower, upper, reach = _reach(axis)
        below, above, width = below * axis.size + lower, above * axis.size + upper, width * axis.size + reach
    per = max(geometry.channels_per_group) - 1
    if augmented:
        half = (width * geometry.in_channels + per) * (rows + columns) // (2 * columns) + per + 1
        return (min(half, rows + columns - 1),) * 2
    if any(axis.out != axis.size for axis in geometry.axes):
        return rows - 1, rows - 1
    low, high = (min(max(side * geometry.in_channels + per, 0), rows - 1) for side in (below, above))
    return low, high


def _reach(axis: Axis) -> tuple[int, int, int]:
    """Return how far outputs read before and after their own place, and from the first to the last input at most."""
    outputs = _typical_outputs(axis)
    read = axis.read(outputs[:, None], np.arange(axis.kernel))
    high = read.max(axis=1)
    low = np.where(read == NOTHING, axis.size, read).min(axis=1)
    reading = high != NOTHING
    outputs, low, high = outputs[reading], low[reading], high[reading]
    if not outputs.size:
        return 0, 0, 0
    return int((outputs - low).max()), int((high - outputs).max()), int((high - low).max())


def _typical_outputs(axis: Axis) -> IntArray:
    """Return the outputs near the border, and a few of those inside, which are all alike."""
    first, last = axis.interior
    outputs = np.arange(axis.out)
    return outputs[(outputs < first + axis.input_dilation) | (outputs >= last - axis.input_dilation)]
