"""Bounds of the largest and the smallest singular value of maps without structure, by one Lanczos process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.spectra.certified import Stop
from convmtx.spectra.lanczos import CHECK, Lanczos
from convmtx.spectra.triplets import Gram, dtype_of, taller
from convmtx.typing import AnyArray


@dataclass(frozen=True)
class Bracket:
    """The largest and the smallest of min(M, N) singular values, each from below and above, and the number of steps.

    ``ceiling`` is the upper bound by structure that was used, and ``stopped`` is what ended the steps before the
    tolerance was met, or None.
    """

    largest: tuple[float, float]
    smallest: tuple[float, float]
    ceiling: float
    steps: int
    stopped: Stop | None


@dataclass(frozen=True)
class Ceilings:
    """Upper bounds of the largest singular value by structure: one that is known, and perhaps a closer one.

    The closer one takes long. It is computed after a number of steps, or before the process stops without it.
    """

    known: float = np.inf
    closer: Callable[[], float] | None = None
    after: float = 0.0

    def lowered(self) -> Ceilings:
        """Return the smaller bound alone, computing the closer one if there is one."""
        return self if self.closer is None else Ceilings(min(self.known, self.closer()))


def bracket(op: LinearMap, ceilings: Ceilings, rtol: float, maxiter: int, progress: bool) -> Bracket:
    """Bound the largest singular value to a relative width of ``rtol``, and the smallest as these steps allow.

    Bounds that come from the random start are wrong with probability of at most `FAILURE`.
    """
    tall = taller(op)
    process = Lanczos(Gram(tall), tall.shape[1], dtype_of(op))
    with show_progress(progress, "singular values", maxiter) as bar:
        while True:
            process.advance_until(CHECK, maxiter, bar)
            met = _meets(process, ceilings.known, rtol)
            obstacle = process.obstacle(CHECK, maxiter)
            if not met and (obstacle is not None or process.steps >= ceilings.after):
                ceilings = ceilings.lowered()
                met = _meets(process, ceilings.known, rtol)
            if met or obstacle is not None:
                break
    # The lengths of these two images are true of the map, whatever rounding did to the process.
    coefficients = np.concatenate([process.ritz(end, end)[1] for end in (process.order - 1, 0)], axis=1)
    low, last = (_stretch(tall, v) for v in process.combine(coefficients))
    above, below = process.bounds()
    high = max(low, min(ceilings.known, float(np.sqrt(above))))
    stopped = None if met else obstacle
    return Bracket((low, high), (float(np.sqrt(below)), last), ceilings.known, process.steps, stopped)


def _meets(process: Lanczos, ceiling: float, rtol: float) -> bool:
    """Whether the largest singular value is known to a relative width of ``rtol``."""
    square, above = process.highest()
    high = min(ceiling, float(np.sqrt(above)))
    return high - float(np.sqrt(max(square, 0))) <= rtol * high


def _stretch(op: LinearMap, v: AnyArray) -> float:
    """Return the length of a vector's image over the length of the vector."""
    return float(np.linalg.norm(op.matvec(v)) / np.linalg.norm(v))
