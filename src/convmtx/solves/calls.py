"""Calls of `solve` and of factorizations: arrays of every library, type and batch, and back."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, floating, is_numpy, is_traced, like, one_of_theirs, require_together
from convmtx._xp.gradients import constants
from convmtx.arguments import flag, integer, number
from convmtx.errors import ArgumentError, SolveError
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.accuracy import ErrorKind
from convmtx.solves.arrays import (
    in_single,
    require_callback,
    require_room,
    require_shape,
    require_start,
    without_extended,
)
from convmtx.solves.gradients import Dependence
from convmtx.solves.problem import Problem
from convmtx.solves.result import WORDS, Request, Result, Verdict, ViewCallback
from convmtx.solves.select import Solvers
from convmtx.solves.solution import Solution
from convmtx.typing import AnyArray, Array


def request_of(rtol: Any, xtol: Any, maxiter: Any, callback: Any, progress: Any, throw: Any) -> Request:
    """Return the request of a caller's arguments, without the start, whose shape depends on b."""
    rtol = number("rtol", rtol, "a number between 0 and 1", "For example 1e-8", fits=lambda rtol: 0 < rtol < 1)
    xtol = number("xtol", xtol, "a number > 0", "For example 1e-3", fits=lambda xtol: xtol > 0)
    if maxiter is not None:
        integer("maxiter", maxiter, 1)
    require_callback(callback)
    flag("progress", progress)
    flag("throw", throw)
    return Request(rtol, xtol, maxiter, None, callback, progress, throw)


def solve_arrays(problem: Problem, b: Any, x0: Any, request: Request, solvers: Solvers) -> Solution:
    """Solve the caller's problem for right-hand sides of any library."""
    call = _Call(problem, b, solvers)
    if x0 is not None:
        request = replace(request, x0=require_start(x0, problem.op, call.batch))
    if request.callback is not None:
        request = replace(request, callback=ViewCallback(request.callback, call.copied))
    return call.solution(request)


class _Call:
    """Right-hand sides of a call, and the library, type and shape that its solution has."""

    def __init__(self, problem: Problem, b: Any, solvers: Solvers) -> None:
        op = problem.op
        right = require_shape("b", b, op.out_shape)
        maps = [m for m in (op, problem.regularizer) if isinstance(m, LinearMap)]
        for one in maps:
            one._in_own_library("b", right)  # refuses an array that the map could not be differentiated with
        self.theirs = [one._reference_array for one in maps]
        for array in self.theirs:
            require_together(array, right)
            right = like(right, array)
        self.batch = tuple(right.shape[: right.ndim - len(op.out_shape)])
        self.shape = self.batch + op.in_shape
        require_room(f"a solution of shape {self.shape}", prod(self.shape))
        self.op, self.right, self.solvers = op, right, solvers
        self.is_damped = problem.damp > 0
        self.dependence = Dependence(problem, right, solvers)

    def outside(self, x: AnyArray) -> Array:
        """Return x, (m, *in_shape) of NumPy, as the caller has it."""
        return like(in_single(x.reshape(self.shape), self.op, self.right), one_of_theirs([self.right, *self.theirs]))

    def copied(self, x: AnyArray) -> Array:
        """Return a copy of x as the caller has it, for callbacks."""
        return self.outside(x.copy())

    def solution(self, request: Request) -> Solution:
        """Solve, or, while JAX traces, return arrays that are computed when the program runs."""
        numbers = self.dependence.numbers
        if any(map(is_traced, numbers)):
            return self._traced(request, *numbers)
        if not self.solvers.differentiable and any(getattr(array, "requires_grad", False) for array in numbers):
            got = "a tensor that requires grad, with bounds or a penalty other than squares"
            raise ArgumentError(got, "Its gradient would be lost", "Pass tensor.detach()")
        result = self._solve(request, *(as_numpy(array) for array in numbers))
        x = self.outside(result.x)
        if not is_numpy(x) and self.solvers.differentiable:
            x = self.dependence.attach(x, self._is_shortest(result.verdict.is_singular))
        facts = result.residual, result.normal_residual, result.accuracy.relative
        residual, normal, error = (lengths.reshape(self.batch)[()] for lengths in facts)
        return Solution(
            x, bool(result.converged.all()), result.method, result.reason, residual, normal, error,
            result.accuracy.kind, result.iterations, result.history, result.condition, result.verdict,
            np.nan if result.gap is None else result.gap.reshape(self.batch)[()], result.checkpoints,
        )  # fmt: skip

    def _solve(self, request: Request, *numbers: AnyArray) -> Result:
        op, b = self.dependence.with_numbers(*numbers)
        flat = without_extended(b).reshape(prod(self.batch), *self.op.out_shape)
        result = self.solvers.of(op).solve(flat, request)
        if request.throw and not result.converged.all():
            raise SolveError(result.reason, "Expected a solution", "Without throw=True x is the best so far")
        return result

    def _is_shortest(self, is_singular: bool) -> bool:
        """Whether the solution is the shortest of many."""
        return not self.is_damped and (is_singular or self.op.shape[0] < self.op.shape[1])

    def _traced(self, request: Request, *numbers: Array) -> Solution:
        def computed(*numbers: AnyArray) -> list[AnyArray]:
            result = self._solve(request, *numbers)
            facts = (result.residual, result.normal_residual, result.converged)
            return [result.x.reshape(self.shape), *(lengths.reshape(self.batch) for lengths in facts)]

        dtype = np.result_type(*(floating(array) for array in numbers if not is_numpy(array)))
        shapes = [self.shape, self.batch, self.batch, self.batch]
        x, residual, normal, converged = constants(computed, numbers, shapes, dtype)
        if self.solvers.differentiable:
            x = self.dependence.attach(x, self._is_shortest(False))
        later = WORDS[Verdict.UNKNOWN]
        kind = ErrorKind.UNKNOWN
        return Solution(x, converged > 0, later, later, residual, normal, np.nan, kind, 0, (), np.nan, Verdict.UNKNOWN)
