"""Solves for kernels: normal equations of windows, whose Gram matrix is quick to compute, refined with true residuals.

Gram matrices square the condition. So a solution is corrected with residuals of the data themselves (Björck, Linear
Algebra Appl. 88/89, 1987), and is as exact as one by QR. Where the condition is too large for that, building the
factors raises `Singular`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod

import numpy as np

from convmtx import costs
from convmtx.maps.combined import Product
from convmtx.maps.kernel_operator import KernelOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.factors import Candidate, Factors, fits_in_memory
from convmtx.solves.methods.definite import Cholesky, Definite, Levinson
from convmtx.solves.methods.design import Design, Kept, Observation, shared, split_outputs
from convmtx.solves.methods.systems import System, coupled_filters
from convmtx.solves.problem import Problem
from convmtx.structure.augmented import Singular
from convmtx.structure.double import lone_entries
from convmtx.structure.precision import EPS
from convmtx.structure.windows import has_toeplitz_gram
from convmtx.typing import AnyArray

#: Corrections of a solution at most. Each gains 4 digits or more.
MOST_CORRECTIONS = 6
#: Length of a correction over that of the one before, up to which it is added.
SHRINKING = 0.5


class RefinedFactors(Factors):
    """Inverses of Hermitian matrices, with which solutions are corrected until rounding ends that."""

    design: Design
    systems: list[System]

    @abstractmethod
    def unseen(self, g: AnyArray) -> AnyArray:
        """Return what of g lies in the null space of the map and the penalty."""

    def _describe(self, thing: str, unknowns: int) -> None:
        """Set the method, the norm and the condition, from the inverses."""
        inverses = [system.inverse for system in self.systems]
        self.method = f"{type(inverses[0]).__name__} factors of normal equations of {unknowns} {thing}"
        high, low = max(i.norm for i in inverses), min(1 / i.inverse_norm for i in inverses)
        self.condition, self.norm = max(high / low, 1.0) ** 0.5, high**0.5

    def _invert(self, g: AnyArray) -> AnyArray:
        """Return what the inverses make of g, (groups, filters, R, ..), before any correction."""
        flat = g.reshape(-1, g.shape[2], prod(g.shape[3:]))
        x = np.empty(flat.shape, np.result_type(flat, self.problem.dtype))
        for system in self.systems:
            x[system.filters] = system.solve(flat[system.filters])
        return x.reshape(g.shape)

    def _refined(self, g: AnyArray, misfit: Callable[[AnyArray], AnyArray]) -> AnyArray:
        """Return the solution for g; ``misfit`` of a solution is what is left of g."""
        x = self._invert(g)
        before = _lengths(x)
        for _ in range(MOST_CORRECTIONS):
            correction = self._invert(misfit(x))
            size = _lengths(correction)
            ratio = float(np.divide(size, before, out=np.zeros_like(size), where=before > 0).max(initial=0.0))
            if not ratio <= SHRINKING:
                break
            x, before = x + correction, size
            if (ratio * size <= EPS * _lengths(x)).all():
                break
        return x


class WindowFactors(RefinedFactors):
    """Cholesky or Levinson factors of ``H = A^H S^H S A + damp^2 R^H R`` for a map A of kernels."""

    def __init__(self, problem: Problem, design: Design) -> None:
        self.problem, self.design = problem, design
        self.systems = list(self._build())
        columns = self.design.windows.columns
        self._describe("taps", max(len(s.filters) if s.joined else 1 for s in self.systems) * columns)

    def _build(self) -> Iterator[System]:
        design, problem = self.design, self.problem
        w, filters, observed = design.windows, design.filters, design.observation
        every = np.arange(w.groups * filters).reshape(w.groups, filters)
        if problem.regularizer is not None:
            yield from self._build_joined()
        elif observed.is_plain and has_toeplitz_gram(design.op._geometry):
            for group, row in enumerate(w.first_row(None)):
                row[0] += problem.damp**2
                yield System(every[group], self._toeplitz(row), False)
        else:
            for group in range(w.groups):
                for some in [every[group]] if observed.is_shared else every[group, :, None]:
                    matrix, size = design.gram(group, int(some[0]) % filters)
                    matrix.reshape(-1)[:: len(matrix) + 1] += problem.damp**2
                    yield System(some, Cholesky(matrix, size), False)

    def _toeplitz(self, row: AnyArray) -> Definite:
        """Return the inverse by Levinson's recursion, or by Cholesky factors if its bound of the condition is large."""
        try:
            return Levinson(row)
        except Singular:
            n_bytes = 3 * row.nbytes * len(row)
            if not fits_in_memory(n_bytes):
                raise
            from scipy.linalg import toeplitz

            return Cholesky(toeplitz(row.conj(), row))

    def _build_joined(self) -> Iterator[System]:
        """Yield the systems with a regularizer, which may join filters."""
        design, problem = self.design, self.problem
        columns = design.windows.columns
        known: dict[int, tuple[AnyArray, float]] = {}
        for filters, penalty in coupled_filters(design, problem):
            total, size = (penalty.conj().T @ penalty).toarray().astype(problem.dtype), 0.0
            for j, filter_ in enumerate(filters):
                group, inner = divmod(int(filter_), design.filters)
                key = group if design.observation.is_shared else int(filter_)
                if key not in known:
                    known = {key: design.gram(group, inner)}
                block = slice(j * columns, (j + 1) * columns)
                total[block, block] += known[key][0]
                size = max(size, known[key][1])
            yield System(filters, Cholesky(total, size), True)

    def _penalty(self, taps: AnyArray) -> AnyArray:
        problem, design = self.problem, self.design
        if problem.regularizer is None:
            return taps * problem.damp**2
        return design.taps(problem.penalty(design.kernels(taps)))

    def _taps(self, target: AnyArray) -> AnyArray:
        """Return the taps for outputs (groups, filters, R, samples, o1..od)."""
        return self._refined(self.design.adjoint(target), lambda taps: self._misfit(target, taps)[1])

    def _misfit(self, target: AnyArray, taps: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return the residual, and that of the normal equations."""
        residual = target - self.design.forward(taps)
        return residual, self.design.adjoint(residual) - self._penalty(taps)

    def solve(self, b: AnyArray) -> AnyArray:
        return self.design.kernels(self._taps(self.design.split(b)))

    def solve_with_residuals(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        target = self.design.split(b)
        taps = self._taps(target)
        residual, normal = (np.sqrt((_lengths(r) ** 2).sum(axis=(0, 1))) for r in self._misfit(target, taps))
        return self.design.kernels(taps), residual, normal

    def normal(self, g: AnyArray) -> AnyArray:
        design = self.design
        target = design.taps(g)

        def misfit(taps: AnyArray) -> AnyArray:
            return target - design.adjoint(design.forward(taps)) - self._penalty(taps)

        return design.kernels(self._refined(target, misfit))

    def image(self, g: AnyArray) -> AnyArray:
        return self.design.joined(self.design.forward(self.design.taps(self.normal(g))))

    def unseen(self, g: AnyArray) -> AnyArray:
        return np.zeros_like(g)


class DualFactors(RefinedFactors):
    """Cholesky factors of ``A A^H + damp^2`` for a map A to fewer outputs than taps: kernels are ``A^H z``."""

    def __init__(self, problem: Problem, design: Design) -> None:
        self.problem, self.design = problem, design
        w = design.windows
        filters = np.arange(w.groups * self.design.filters).reshape(w.groups, -1)
        self.systems = []
        for group, matrix in enumerate(w.transposed.gram(None)):
            matrix.reshape(-1)[:: len(matrix) + 1] += problem.damp**2
            self.systems.append(System(filters[group], Cholesky(matrix.conj()), False))
        self._describe("outputs", w.rows)
        if problem.damp:  # which kernels without outputs have alone
            self.condition = max(self.norm / problem.damp, 1.0)

    def _outputs(self, target: AnyArray) -> AnyArray:
        """Return z for outputs (groups, filters, R, samples, o1..od)."""
        design = self.design

        def misfit(z: AnyArray) -> AnyArray:
            return target - design.forward(design.adjoint(z)) - z * self.problem.damp**2

        return self._refined(target, misfit)

    def solve(self, b: AnyArray) -> AnyArray:
        return self.design.kernels(self.design.adjoint(self._outputs(self.design.split(b))))

    def normal(self, g: AnyArray) -> AnyArray:
        design = self.design
        z = self._outputs(design.forward(design.taps(g)))
        if self.problem.damp:
            return (g - design.kernels(design.adjoint(z))) / self.problem.damp**2
        return design.kernels(design.adjoint(self._outputs(z)))

    def image(self, g: AnyArray) -> AnyArray:
        return self.design.joined(self._outputs(self.design.forward(self.design.taps(g))))

    def unseen(self, g: AnyArray) -> AnyArray:
        if self.problem.damp:
            return np.zeros_like(g)
        z = self._outputs(self.design.forward(self.design.taps(g)))
        return g - self.design.kernels(self.design.adjoint(z))


def by_windows(problem: Problem) -> Iterator[Candidate]:
    """Yield the candidate for a map of kernels, whose outputs may be weighted."""
    *weights, op = problem.op._chain
    if not isinstance(op, KernelOperator) or 0 in op.shape or not all(link._has_lone_entries for link in weights):
        return
    price = price_of(problem, op, observed=bool(weights))
    if price is not None:
        make = partial(_factors, problem, op, weights)
        yield Candidate("windows", "the Gram matrix of windows is quick to compute", price, make)


def price_of(problem: Problem, op: KernelOperator, *, observed: bool) -> costs.Price | None:
    """Return the price of `factorize`; None if the normal equations are singular."""
    g = op._geometry
    rows, columns = op.shape[0] // g.out_channels, prod(a.kernel for a in g.axes) * g.channels_per_group[1]
    plain = problem.regularizer is None and not observed
    if rows < columns and not plain and not problem.damp:
        return None
    joined = 1 if problem.regularizer is None else g.out_channels
    toeplitz = plain and rows >= columns and has_toeplitz_gram(g)
    sides = (columns, rows) if plain and rows < columns else (rows, columns)
    return costs.price_of_windows(*sides, g.groups, joined, problem.dtype, toeplitz=toeplitz)


def factorize(problem: Problem, design: Design) -> RefinedFactors:
    """Return factors of the normal equations of taps, or of outputs if these are fewer."""
    is_wide = design.windows.rows < design.windows.columns and problem.regularizer is None
    return DualFactors(problem, design) if is_wide and design.observation.is_plain else WindowFactors(problem, design)


def _factors(problem: Problem, op: KernelOperator, weights: Sequence[LinearMap]) -> RefinedFactors:
    """Return the factors for outputs that maps of lone entries weight and select."""
    if not weights:
        return factorize(problem, Design(op, Observation()))
    weight = Product(*weights) if len(weights) > 1 else weights[0]
    entries = lone_entries(weight)
    root = np.zeros((1, *op.out_shape), entries.values.dtype)
    root.reshape(-1)[entries.columns] = entries.values
    observation = Observation(shared(split_outputs(op, root)[:, :, 0]))
    return factorize(problem, Design(op, observation, Kept(entries.columns, entries.rows, weight.out_shape)))


def _lengths(arrays: AnyArray) -> AnyArray:
    """Return the norms (groups, filters, R) of arrays (groups, filters, R, ..)."""
    flat = arrays.reshape(*arrays.shape[:3], -1)
    lengths: AnyArray = np.linalg.norm(flat, axis=3)
    return lengths
