"""Requests and results of solves, and the words for how a solve ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from convmtx.solves.accuracy import Accuracy, ErrorKind
from convmtx.typing import AnyArray

Callback = Callable[[AnyArray], Any]


@dataclass(frozen=True, eq=False)
class Request:
    """Options of a solve that do not change the problem: where iterations start and stop, and who watches them."""

    rtol: float
    #: Relative error of x up to which a solution has converged, where something is known of it.
    xtol: float = np.inf
    maxiter: int | None = None
    x0: AnyArray | None = None
    callback: Callback | None = None
    progress: bool = False
    throw: bool = False
    #: Where the runs of an earlier solve with constraints stood.
    checkpoints: tuple[Any, ...] | None = None


class Verdict(StrEnum):
    """Ending of a solve, which is equal to its name in lower case."""

    SOLVED = "solved"
    OUT_OF_STEPS = "out of steps"
    STOPPED = "stopped"
    #: Singular values were taken as zero.
    SINGULAR = "singular"
    SINGULAR_AND_OUT_OF_RANGE = "singular and out of range"
    #: A factorization that was requested by name failed: x is nan.
    FAILED = "failed"
    FAILED_DAMPED = "failed damped"
    #: Every direct method failed, and iterations ended.
    NEAR_SINGULAR = "near singular"
    #: A direct method leaves more than the tolerance.
    ROUNDED = "rounded"
    #: Residuals pass, but x may be farther from the minimizer than its own tolerance.
    INEXACT = "inexact"
    #: Iterations do not reach the tolerance.
    STALLED = "stalled"
    #: Iterations ended at a solution that leaves a residual, though the map is not tall.
    OUT_OF_RANGE = "out of range"
    #: Numbers of x are too large for floats.
    BEYOND_RANGE = "beyond range"
    #: JAX solves later, when the program runs.
    UNKNOWN = "unknown"

    @property
    def is_singular(self) -> bool:
        """Whether the map was found singular, and x is the shortest of many solutions."""
        return self in (Verdict.SINGULAR, Verdict.SINGULAR_AND_OUT_OF_RANGE, Verdict.NEAR_SINGULAR)


_ZEROS = (
    "singular: {0.n_zero} of {0.n_values} singular values are taken as 0, for they are at most {0.cutoff:.1e} of "
    "the largest; "
)
_LEAST = "x is the least-squares solution of least norm"
_FAILED = (
    "singular or ill-conditioned (condition about {0.condition:.1e}): method='auto' finds a least-squares solution"
)
#: Reason for each verdict in words, as a format string for the `Result`.
WORDS = {
    Verdict.SOLVED: "{0.why}",
    Verdict.OUT_OF_STEPS: "{0.why}; iterations ran out",
    Verdict.STOPPED: "{0.why}; the callback asked to stop",
    Verdict.SINGULAR: _ZEROS + _LEAST,
    Verdict.SINGULAR_AND_OUT_OF_RANGE: f"{_ZEROS}b is not in the range; {_LEAST}",
    Verdict.FAILED: f"{_FAILED}, and damp > 0 makes it one that is well-conditioned",
    Verdict.FAILED_DAMPED: _FAILED,
    Verdict.NEAR_SINGULAR: (
        "singular or ill-conditioned, as direct methods found: x is near the least-squares solution of least norm"
    ),
    Verdict.ROUNDED: "ill-conditioned (condition about {0.condition:.1e}): rounding leaves a larger normal residual",
    Verdict.INEXACT: "{0.why}; rtol is reached, and x may still be off by {0.largest_error:.1e} of its norm",
    Verdict.STALLED: (
        "ill-conditioned (condition at least {0.condition:.1e}): rounding keeps the normal residual from falling"
    ),
    Verdict.OUT_OF_RANGE: (
        "b is not in the range of op, or op is ill-conditioned (condition at least {0.condition:.1e}): x is near the "
        "least-squares solution; damp > 0 makes one that is well-conditioned"
    ),
    Verdict.BEYOND_RANGE: "numbers of x are beyond the range of floats",
    Verdict.UNKNOWN: "computed when the program runs",
}


@dataclass(frozen=True, eq=False)
class Result:
    """Solutions of m right-hand sides, and the facts about them."""

    #: (m, *in_shape), and numbers (m,).
    x: AnyArray
    residual: AnyArray
    normal_residual: AnyArray
    converged: AnyArray
    #: How it was solved, and why so.
    method: str
    why: str
    #: How far x may be from the minimizer.
    accuracy: Accuracy
    verdict: Verdict = Verdict.SOLVED
    condition: float = np.nan
    iterations: int = 0
    history: tuple[float, ...] = ()
    #: Singular values that were taken as zero, of how many, and up to which fraction of the largest.
    n_zero: int = 0
    n_values: int = 0
    cutoff: float = 0.0
    #: With constraints, (m,): bounds of how far the objective is above its least value, over the objective. None for
    #: other problems.
    gap: AnyArray | None = None
    #: With constraints that were not solved for: where the run of each right-hand side stood.
    checkpoints: tuple[Any, ...] | None = None

    @property
    def reason(self) -> str:
        """Why the method was chosen, or what went wrong."""
        words = WORDS[self.verdict].format(self)
        is_silent = self.verdict is Verdict.SOLVED and self.accuracy.kind is ErrorKind.UNKNOWN and self.gap is None
        return f"{words}; how far x is off is not known" if is_silent and len(self.x) else words

    @property
    def largest_error(self) -> float:
        """Largest error of the batch relative to the size of x; nan if one is unknown."""
        return float(self.accuracy.relative.max(initial=0))


@dataclass(frozen=True, eq=False)
class ViewCallback:
    """Callback that is shown iterates as the caller has them."""

    callback: Callback
    view: Callable[[AnyArray], Any]

    def __call__(self, x: AnyArray) -> Any:
        """Call the callback with the view of x."""
        return self.callback(self.view(x))


def asks_to_stop(callback: Callback, x: AnyArray) -> bool:
    """Call the callback; return whether it asks to stop."""
    try:
        answer = callback(x)
        return isinstance(answer, bool | np.bool_) and bool(answer)
    except StopIteration:
        return True
