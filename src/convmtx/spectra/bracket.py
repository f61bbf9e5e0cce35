"""Bounds of the largest and the smallest singular value of maps without structure, by one Lanczos process."""

from __future__ import annotations

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

    ``stopped`` is what ended the steps before the tolerance was met, or None.
    """

    largest: tuple[float, float]
    smallest: tuple[float, float]
    steps: int
    stopped: Stop | None


def bracket(op: LinearMap, ceiling: float, rtol: float, maxiter: int, progress: bool) -> Bracket:
    """Bound the largest singular value to a relative width of ``rtol``, and the smallest as these steps allow.

    ``ceiling`` is an upper bound that is known already. Bounds that come from the random start are wrong with
    probability of at most `FAILURE`.
    """
    tall = taller(op)
    process = Lanczos(Gram(tall), tall.shape[1], dtype_of(op))
    with show_progress(progress, "singular values", maxiter) as bar:
        while True:
            process.advance_until(CHECK, maxiter, bar)
            above, below = process.bounds()
            high = min(ceiling, float(np.sqrt(above)))
            (square,), first, _ = process.ritz(process.order - 1, process.order - 1)
            met = high - float(np.sqrt(max(square, 0))) <= rtol * high
            stopped = None if met else process.obstacle(CHECK, maxiter)
            if met or stopped is not None:
                # The lengths of these two images are true of the map, whatever rounding did to the process.
                coefficients = np.concatenate([first, process.ritz(0, 0)[1]], axis=1)
                low, last = (_stretch(tall, v) for v in process.combine(coefficients))
                return Bracket((low, max(low, high)), (float(np.sqrt(below)), last), process.steps, stopped)


def _stretch(op: LinearMap, v: AnyArray) -> float:
    """Return the length of a vector's image over the length of the vector."""
    return float(np.linalg.norm(op.matvec(v)) / np.linalg.norm(v))
