"""Choice of a method, with the reason: direct methods are compared with each other, and with iteration.

Direct methods predict their seconds from sizes alone, so that a choice is the same on every machine and at all times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from convmtx import memory
from convmtx.costs import LONGEST_SOLVE, QUICK_SOLVE
from convmtx.errors import ArgumentError, FormTooLargeError, SolveError
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.wrapped import Transposed
from convmtx.solves.accuracy import unknown
from convmtx.solves.factors import Candidate, Factors
from convmtx.solves.methods.by_axes import by_axes
from convmtx.solves.methods.by_blocks import by_blocks, by_dense
from convmtx.solves.methods.by_lattices import by_lattices
from convmtx.solves.methods.by_matrix import by_any_lu, by_lu, by_substitution
from convmtx.solves.methods.by_parts import by_parts
from convmtx.solves.methods.by_windows import by_windows
from convmtx.solves.methods.iterated import PATIENCE, Iterative, most_steps, seconds_of_step
from convmtx.solves.problem import KEPT_BYTES, Problem, problem_of
from convmtx.solves.result import Request, Result, Verdict
from convmtx.solves.scaling import Batch
from convmtx.structure.augmented import Singular
from convmtx.typing import AnyArray

#: Take a direct method for one solve if it should take at most as long as so many steps of LSMR.
STEPS = 8
#: Build direct factors for reuse if they and ``MANY`` right-hand sides should take at most as long as so many steps.
REUSED, MANY = 2000, 10
#: Factor by which the best direct method may be exceeded when iterations have been given up as slower.
SLOWER = 10


@dataclass(frozen=True, eq=False)
class Choice:
    """Factors, and the facts that led to them."""

    factors: Factors
    why: str
    #: The last method before that found the map singular, and the condition that it found.
    failed: tuple[str, float] | None = None
    #: Predicted bytes of the factors.
    bytes: float = np.inf

    @property
    def reason(self) -> str:
        """Why these factors were chosen, in words."""
        if self.failed is None:
            return self.why
        name, condition = self.failed
        return f"{name}: singular or ill-conditioned, condition about {condition:.1e}; so {self.why}"

    def run(self, b: AnyArray, request: Request) -> Result:
        """Return the solutions for a request."""
        return self.factors.run(b, request, self.reason)


def candidates(problem: Problem) -> list[Candidate]:
    """Return all direct methods that apply, the fastest for one right-hand side first."""
    return ranked(problem, 1)


def ranked(problem: Problem, n_rhs: int) -> list[Candidate]:
    """Return all direct methods that apply, the fastest for so many right-hand sides first."""
    applicable = _candidates(problem)
    if problem.rcond is not None:
        applicable = [candidate for candidate in applicable if candidate.truncates]
    return sorted(applicable, key=lambda candidate: candidate.price.seconds(n_rhs))


def _candidates(problem: Problem) -> list[Candidate]:
    op = problem.op
    if isinstance(op, ConvOperator):
        return [
            *by_blocks(problem, op),
            *by_axes(problem, op),
            *by_lattices(problem, op, candidates),
            *by_substitution(problem, op),
            *by_lu(problem, op),
            by_dense(problem),
        ]
    if isinstance(op, Transposed) and problem.regularizer is None:
        return [candidate.transposed(problem) for candidate in _candidates(replace(problem, op=op.op))]
    if 0 in op.shape:
        return [by_dense(problem)]
    return [*by_windows(problem), *by_parts(problem, candidates), *by_any_lu(problem), by_dense(problem)]


def choose_by_name(problem: Problem, method: str, n_rhs: int) -> Choice:
    """Return factors by the method of that name; raise if it does not apply or does not fit in memory."""
    if method in ("lsmr", "preconditioned") and problem.rcond is None:
        return Choice(Iterative(problem, method == "preconditioned"), "requested")
    applicable = ranked(problem, n_rhs)
    candidate = next((candidate for candidate in applicable if candidate.name == method), None)
    if candidate is None:
        names = sorted({candidate.name for candidate in applicable} | ({"lsmr"} if problem.rcond is None else set()))
        remedy = f"Use method='auto', or one of {', '.join(names)}"
        raise ArgumentError(f"method={method!r}", "It does not apply to this problem", remedy)
    if not candidate.fits:
        got = f"method={method!r} takes {memory.human(int(candidate.price.bytes))}"
        available = f"Available are {memory.human(memory.available())}"
        raise FormTooLargeError(got, available, "Use method='auto'")
    return Choice(candidate.make(), "requested")


def choose_direct(applicable: list[Candidate], n_rhs: int, limit: float = np.inf) -> Choice | None:
    """Return the first factors within a time limit that fit in memory and do not find the map singular."""
    failed = None
    for candidate in applicable:
        if candidate.price.seconds(n_rhs) > limit:
            break
        if not candidate.fits:
            continue
        try:
            return Choice(candidate.make(), candidate.why, failed, candidate.price.bytes)
        except Singular as error:
            failed = candidate.name, error.condition
    return None


def choose_for_reuse(problem: Problem, method: str) -> Choice:
    """Return factors for right-hand sides that are to come."""
    if method != "auto":
        return choose_by_name(problem, method, MANY)
    if problem.rcond is not None:
        return _choose_truncated(problem, MANY)
    limit = max(QUICK_SOLVE, REUSED * seconds_of_step(problem))
    direct = choose_direct(ranked(problem, MANY), MANY, limit)
    return direct or Choice(Iterative(problem, None), "direct methods would be slower")


def _choose_truncated(problem: Problem, n_rhs: int) -> Choice:
    """Return the fastest factors that know singular values; raise if none fit in memory."""
    choice = choose_direct(ranked(problem, n_rhs), n_rhs)
    if choice is None:
        rows, columns = problem.op.shape
        got = f"rcond with a map of {rows} x {columns}, whose singular values do not fit in memory"
        raise FormTooLargeError(got, "Expected a small map, or one that falls apart", "Use damp in place of rcond")
    return choice


def solve_once(problem: Problem, b: AnyArray, method: str, request: Request) -> Result:
    """Solve for right-hand sides (m, *out_shape), by a method of a name or by the fastest."""
    if method != "auto":
        try:
            return choose_by_name(problem, method, len(b)).run(b, request)
        except Singular as error:
            return _failed(problem, b, method, error.condition)
    if problem.rcond is not None:
        return _choose_truncated(problem, len(b)).run(b, request)
    decision = _decide(problem, len(b))
    if decision.direct is None:
        return _iterate_first(problem, b, request, decision.applicable)
    return decision.direct.run(b, request)


class Decision(NamedTuple):
    """Direct methods that apply for some number of right-hand sides, and the factors of the one that is taken."""

    applicable: list[Candidate]
    #: None if iterations come first.
    direct: Choice | None


def _decide(problem: Problem, n_rhs: int) -> Decision:
    """Choose for one solve of so many right-hand sides, or return what was chosen and kept for small factors."""
    kept = problem.decisions
    if kept is not None and (known := kept.get(n_rhs)):
        return known
    applicable = ranked(problem, n_rhs)
    is_quick = applicable[0].price.seconds(n_rhs) <= QUICK_SOLVE
    limit = QUICK_SOLVE if is_quick else max(QUICK_SOLVE, STEPS * seconds_of_step(problem) * n_rhs)
    direct = choose_direct(applicable, n_rhs, limit)
    decision = Decision(applicable, direct)
    if kept is not None and (direct is None or direct.bytes <= KEPT_BYTES):
        kept.clear()  # those for another number of right-hand sides
        kept[n_rhs] = decision
    return decision


def _iterate_first(problem: Problem, b: AnyArray, request: Request, applicable: list[Candidate]) -> Result:
    """Iterate, unless that turns out to be slower than a direct method."""
    n_rhs = len(b)
    seconds = _fastest(applicable, n_rhs)
    limit = seconds / (seconds_of_step(problem) * n_rhs)
    why = "direct methods would be slower"
    result = Iterative(problem, None).run_within(b, request, why, limit)
    if result is not None and not _goes_on(result, request):
        return result
    direct = choose_direct(applicable, n_rhs, max(SLOWER * seconds, LONGEST_SOLVE))
    if direct is not None:
        before = "would be slower" if result is None else "left x inexact"
        return direct.factors.run(b, request, f"iterations {before}; {direct.reason}")
    if result is not None:
        return result
    result = Iterative(problem, None).run(b, request, "direct methods failed")
    if problem.damp or not result.converged.all():
        return result
    return replace(result, converged=~result.converged, verdict=Verdict.NEAR_SINGULAR)


def _goes_on(result: Result, request: Request) -> bool:
    """Whether a direct method may know x better than the iterations that ended."""
    is_out = result.verdict is Verdict.OUT_OF_STEPS and request.maxiter is None
    return is_out or result.verdict in (Verdict.INEXACT, Verdict.STALLED)


def _fastest(applicable: list[Candidate], n_rhs: int) -> float:
    """Return the predicted seconds of the fastest method that fits in memory; inf if none does."""
    return next((candidate.price.seconds(n_rhs) for candidate in applicable if candidate.fits), np.inf)


def _failed(problem: Problem, b: AnyArray, method: str, condition: float) -> Result:
    """Return a result without a solution: the requested factorization found the map singular."""
    x = np.full((len(b), *problem.op.in_shape), np.nan, np.result_type(b, problem.dtype))
    none = np.full(len(b), np.nan)
    verdict = Verdict.FAILED_DAMPED if problem.damp else Verdict.FAILED
    return Result(x, none, none, np.zeros(len(b), bool), method, "requested", unknown(len(b)), verdict, condition)


def predict_seconds(
    op: LinearMap, n_rhs: int, damp: float, regularizer: LinearMap | None, rtol: float, maxiter: int | None
) -> float:
    """Return the seconds that `solve` with ``method="auto"`` should take at most for so many right-hand sides."""
    problem = problem_of(op, damp, regularizer).prepare()
    direct = _fastest(ranked(problem, n_rhs), n_rhs)
    step = seconds_of_step(problem) * n_rhs
    if direct <= max(QUICK_SOLVE, STEPS * step):
        return direct
    steps = most_steps(problem) if maxiter is None else maxiter
    if clearance := Iterative(problem, None).clearance:  # the rate of convergence is that of conjugate gradients
        steps = min(steps, int(np.log(2 / rtol) / clearance / 2) + 1)
    return min(steps * step, PATIENCE * direct + direct)


class Solver:
    """A prepared problem with a method, and its factors from the first call that needs them."""

    def __init__(self, problem: Problem, method: str, choice: Choice | None = None) -> None:
        self.problem, self.method, self.choice = problem, method, choice

    def chosen(self) -> Choice:
        """Return the factors for reuse, built at the first call; raise if a requested factorization fails."""
        if self.choice is None:
            try:
                self.choice = choose_for_reuse(self.problem, self.method)
            except Singular as error:
                got = f"op is singular or ill-conditioned (condition about {error.condition:.1e})"
                remedy = "Use method='auto', cm.pinv(op), or damp > 0"
                raise SolveError(got, "Expected a map of full rank", remedy) from None
        return self.choice

    def solve(self, b: AnyArray, request: Request) -> Result:
        """Solve for right-hand sides (m, *out_shape) of any scale, with the factors if they are there."""
        if not len(b):
            return empty_result(self.problem, b)
        batch = Batch(self.problem, b, request.x0)
        request = batch.request(request)
        if self.choice is None:
            return batch.result(solve_once(self.problem, batch.values, self.method, request))
        return batch.result(self.choice.run(batch.values, request))


def empty_result(problem: Problem, b: AnyArray) -> Result:
    """Return the result of a batch without right-hand sides."""
    x, none = np.zeros((0, *problem.op.in_shape), np.result_type(b, problem.dtype)), np.zeros(0)
    return Result(x, none, none, none == 0, "none", "an empty batch", unknown(0))


class Solvers:
    """Solvers for the caller's problem with the numbers that its kernel has, which JAX may change between calls.

    ``solver`` is used for all numbers, if it is there.
    """

    #: Whether solutions have the derivatives of least squares.
    differentiable = True

    def __init__(self, problem: Problem, method: str, solver: Solver | None = None) -> None:
        self.problem, self.method, self.solver = problem, method, solver
        self._last: tuple[LinearMap, Solver] | None = None

    def of(self, op: LinearMap) -> Solver:
        """Return the solver for a map; the last one is kept."""
        if self.solver is not None:
            return self.solver
        if self._last is None or not _same_map(self._last[0], op):
            self._last = op, self._build(op)
        return self._last[1]

    def _build(self, op: LinearMap) -> Solver:
        return Solver(self.problem.for_map(op), self.method)


def _same_map(first: LinearMap, second: LinearMap) -> bool:
    """Whether these are one map, or convolutions of one geometry with equal kernels."""
    if first is second:
        return True
    if not (isinstance(first, ConvOperator) and isinstance(second, ConvOperator)):
        return False
    return np.array_equal(first.kernel, second.kernel)
