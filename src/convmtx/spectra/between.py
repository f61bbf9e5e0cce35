"""The norm of a convolution between two bounds, without iterations on arrays of its size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convmtx.costs import LANCZOS_WORK, lanczos_step_work
from convmtx.maps.convolution import ConvOperator
from convmtx.spectra import bounds, packets
from convmtx.spectra.certified import Certified, outward
from convmtx.spectra.smaller import smaller
from convmtx.structure.precision import EPS

#: Relative width of the interval above which the norm of a smaller input is computed for a closer one.
_WIDE = 1e-4


def is_long(op: ConvOperator, rtol: float, maxiter: int) -> bool:
    """Whether Lanczos steps would take very long, and bounds by the symbol hold."""
    # For 300 x 300 inputs, 7 x 7 taps and a tolerance of 1e-6, 310 steps were enough.
    steps = min(1 / (3 * rtol**0.5), maxiter, *op.shape)
    work = steps * lanczos_step_work(op.nnz, sum(op.shape))
    return work > LANCZOS_WORK and packets.is_bounded(op.geometry)


def is_direct(op: ConvOperator, rtol: float, maxiter: int) -> bool:
    """Whether bounds without iterations are likely to be as close as wanted, or Lanczos steps would take very long."""
    return packets.nearness(op.geometry) <= rtol or is_long(op, rtol, maxiter)


def between_bounds(op: ConvOperator, rtol: float, norm_of: Callable[[ConvOperator], Certified]) -> Certified:
    """Return the norm of a scaled convolution between a wave packet's and a bound by structure.

    Where a boundary may make the norm larger than the symbol's supremum, ``norm_of`` computes that of a smaller input.
    """
    (low, high), short = packets.interval(op, rtol / 2), packets.borders_alone(op)
    name = "the supremum of the symbol"
    if not packets.is_bounded(op.geometry):
        high, name = bounds.sup(short, rtol / 2), "the supremum of the symbol of the continued input"
    if high > (1 + rtol) * low and (larger := bounds.young(short)) < high:
        high, name = larger, "Schur's test"
    if high > (1 + _WIDE) * low and (near := smaller(op)) is not None:
        part = norm_of(near.op)
        low = max(low, float(np.sqrt(max(part.lower**2 - near.above, 0.0))) * (1 - 4 * EPS))
        if (larger := float(np.sqrt(part.upper**2 + near.below))) < high:
            high, name = larger, f"the norm of {' x '.join(map(str, near.op.in_shape))} inputs ({part.method})"
    high = outward(high, 8)
    is_close = high - low <= rtol * high
    method = f"a wave packet, and {name}" + ("" if is_close else f"; wider than rtol={rtol:g}")
    return Certified(low, "interval", method, low, high, converged=is_close)
