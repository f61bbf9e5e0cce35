"""Double precision: its eps, what counts as zero in it, and powers of two that keep squares in range."""

from __future__ import annotations

from math import frexp, ldexp

import numpy as np

from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray

#: Distance from 1 to the next number of float64: relative, without a unit.
EPS = float(np.finfo(np.float64).eps)
#: Smallest normal number of float64, about 2e-308. Its reciprocal is finite; those of smaller numbers may not be.
TINY = float(np.finfo(np.float64).tiny)


def rank_tolerance(shape: tuple[int, int], largest: float) -> float:
    """Return the number up to which singular values count as zero: ``max(M, N) * eps`` of the largest.

    That is the default of `numpy.linalg.matrix_rank`.
    """
    return max(shape) * EPS * largest


def unit(numbers: AnyArray) -> float:
    """Return a power of two near the largest magnitude, to divide by before anything is squared; 1 if all are zero.

    It is at least the smallest normal number, because dividing by a smaller one may multiply by infinity.
    """
    parts = (numbers.real, numbers.imag) if numbers.dtype.kind == "c" else (numbers,)
    # Two passes that write nothing are faster than one that writes magnitudes, which may overflow.
    peak = float(max(max(part.max(initial=0), -part.min(initial=0)) for part in parts))
    # frexp(6.0) is (0.75, 3), as 6 = 0.75 * 2**3; ldexp(0.5, 3) is 4, the largest power of two up to 6.
    return max(ldexp(0.5, frexp(peak)[1]), TINY) if peak else 1.0


def unit_of(numbers: AnyArray) -> float:
    """Return 1 if squares and sums of the numbers are in range, else a power of two near the largest."""
    nearest = unit(numbers)
    return 1.0 if 1e-60 < nearest < 1e60 else nearest


def scaled(op: LinearMap) -> tuple[LinearMap, float]:
    """Return a map in double precision divided by a power of two, and that number.

    For a convolution it is the `unit` of its kernel.
    Other maps are divided only if squares of their entries would not be in range.

    Real and imaginary parts of the result's taps are below 2 in magnitude and the largest is at least 1, so the Gram
    matrix is in range.
    """
    if not isinstance(op, ConvOperator):
        scale = unit_of(np.array([op._peak()]))
        return (op, 1.0) if scale == 1 else (op / scale, scale)
    scale = unit(op.kernel)
    return op.with_kernel(op.kernel / scale), scale
