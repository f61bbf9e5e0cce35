"""Kernels by iteration, where the Gram matrix of windows takes long or does not fit in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convmtx.engines.products import norms
from convmtx.errors import SolveError
from convmtx.maps.foreign import FunctionMap
from convmtx.solves.methods.design import Design
from convmtx.solves.methods.iterated import EXACT, Iterative
from convmtx.solves.methods.lsmr import lsmr
from convmtx.solves.methods.window_preconditioner import MeanCirculant
from convmtx.solves.problem import Problem, stacked_map
from convmtx.solves.result import Request
from convmtx.typing import AnyArray

#: Relative difference up to which a random kernel is the one that was found from its image.
UNIQUE = 1e-6


class IteratedFit(Iterative):
    """LSMR for the observed map ``S A`` of kernels, with the mean circulant of windows as preconditioner."""

    def __init__(self, problem: Problem, design: Design) -> None:
        def forward(x: AnyArray) -> AnyArray:
            return design.joined(design.forward(design.taps(x[None])))[0]

        def adjoint(y: AnyArray) -> AnyArray:
            return design.kernels(design.adjoint(design.split(y[None])))[0]

        op, root = design.op, design.observation.root
        observed = FunctionMap(forward, adjoint, op.in_shape, op.out_shape, problem.dtype)
        super().__init__(replace(problem, op=observed), None)
        self.is_open = False
        if problem.damp or op.shape[0] >= op.shape[1]:  # else it would not lead to the shortest kernel
            scale = 1.0 if root is None else float(np.mean(np.abs(root) ** 2))
            self.preconditioner = MeanCirculant(problem, op, scale)

        if self.preconditioner is not None and not problem.ridge:
            self._require_one_solution()

    def _require_one_solution(self) -> None:
        """Raise if many kernels have the same image: the iteration with a preconditioner would not find the shortest.

        A random kernel, which has a part in every null space, has to be that of its image.
        """
        stacked = stacked_map(self.problem)
        x = np.random.default_rng(0).standard_normal((1, *self.problem.op.in_shape))
        assert self.preconditioner is not None
        run = lsmr(stacked.forward, stacked.adjoint, stacked.forward(x), preconditioner=self.preconditioner.normal)
        left = norms(self._converged(run) - x) / norms(x)
        if left[0] > UNIQUE:
            got = f"many kernels of {self.problem.op.shape[1]} taps have the same outputs, or nearly"
            raise SolveError(got, "Expected a map of full rank", "Pass damp > 0, or fit fewer taps")

    def solve(self, b: AnyArray) -> AnyArray:
        result = self.run(b, Request(EXACT), "")
        if not result.converged.all():
            got = f"the iteration for {self.problem.op.shape[1]} taps did not converge"
            raise SolveError(got, "Expected a well-conditioned map of kernels", "Pass damp > 0, or fit fewer taps")
        return result.x

    def unseen(self, g: AnyArray) -> AnyArray:
        """Return what of g lies in the null space of the map and the penalty."""
        rows, columns = self.problem.op.shape
        if self.problem.damp or rows >= columns:
            return np.zeros_like(g)
        return g - self.solve(self.problem.forward(g))
