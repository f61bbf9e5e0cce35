"""Rates from measured times: the seconds of one unit of each kind of work that explain all times together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from convmtx.costs import Work
from convmtx.rate_file import FURTHEST
from convmtx.typing import AnyArray

#: Weight of the expectation that a rate differs from the usual one by the same factor as all others. A kind that takes
#: a tenth of the time of one run moves as far as this; kinds that no run has follow the others.
STIFFNESS = 0.1
#: Logarithm of measured over predicted times above which a time counts less: another process disturbed it, by half.
USUAL_ERROR = 0.4


class Timed(NamedTuple):
    """Work and measured seconds of a run; ``weight`` says how much it matters that they agree."""

    work: Work
    seconds: float
    weight: float = 1.0


def weigh_runs(works: Sequence[Work], seconds: Sequence[float | None]) -> list[Timed]:
    """Return runs of one case, the fastest with most weight: choices depend on the order of the fastest runs.

    A run without seconds could not be timed, and is left out.
    """
    timed = [(work, taken) for work, taken in zip(works, seconds, strict=True) if taken is not None]
    best = min((taken for _, taken in timed), default=1.0)
    return [Timed(work, taken, (best / taken) ** 0.5) for work, taken in timed]


def fit_rates(runs: Sequence[Timed], usual: Mapping[str, float]) -> dict[str, float]:
    """Fit the rate of every kind of work that is in ``usual``.

    A run with amounts ``a_k`` takes ``t = sum over k of a_k * usual_k * exp(u_k)`` seconds. The ``u_k`` minimize the
    squares of ``log(t / measured)``, large ones damped, and of ``STIFFNESS * (u_k - u)``, where the unknown u is the
    speed of the whole machine. So all rates are positive, and those that nothing is known about scale with the rest.
    """
    from scipy.optimize import least_squares

    kinds = list(usual)
    amounts = np.array([[run.work.get(kind, 0.0) * usual[kind] for kind in kinds] for run in runs], float)
    amounts = amounts.reshape(len(runs), len(kinds))
    logs, weights = np.log([run.seconds for run in runs]), np.array([run.weight for run in runs], float)
    # Rows of the expectation: u_k - u, with u as the last unknown.
    expected = STIFFNESS * np.hstack([np.eye(len(kinds)), -np.ones((len(kinds), 1))])

    def residuals(u: AnyArray) -> AnyArray:
        predicted = amounts @ np.exp(u[:-1])
        return np.concatenate([weights * (np.log(predicted) - logs), expected @ u])

    def slopes(u: AnyArray) -> AnyArray:
        shares = amounts * np.exp(u[:-1])
        shares *= (weights / shares.sum(axis=1))[:, None]
        return np.vstack([np.hstack([shares, np.zeros((len(runs), 1))]), expected])

    furthest = 0.99 * np.log(FURTHEST)
    fit = least_squares(
        residuals, np.zeros(len(kinds) + 1), slopes, (-furthest, furthest), loss="soft_l1", f_scale=USUAL_ERROR
    )
    return {kind: usual[kind] * float(np.exp(u)) for kind, u in zip(kinds, fit.x, strict=False)}
