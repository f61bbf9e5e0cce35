"""Solves of maps that are made of maps, by factors of these: each part is solved by the best of its own candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import prod

import numpy as np

from convmtx import costs
from convmtx.maps.kronecker import along_both
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.factors import Candidate, Factors
from convmtx.solves.methods.by_blocks import BlockFactors, SpectralCandidate
from convmtx.solves.methods.coefficients import Coefficients
from convmtx.solves.methods.lu import apply_to_any_dtype
from convmtx.solves.problem import Problem, estimate_norm
from convmtx.structure.augmented import Singular
from convmtx.structure.double import LoneEntries, dense, is_permutation, lone_entries
from convmtx.structure.precision import unit_of
from convmtx.typing import AnyArray

#: Function that lists all candidates for a problem, the fastest first.
Candidates = Callable[[Problem], list[Candidate]]


def by_parts(problem: Problem, candidates: Candidates) -> Iterator[Candidate]:
    """Yield the candidates by the parts of a map; a regularizer would join the parts, except those of a stack."""
    op, damp = problem.op, problem.damp
    if problem.split is not None:
        yield from _by_first_of_stack(problem, problem.split, candidates)
    if problem.regularizer is not None:
        return
    if op._has_lone_entries:
        yield from _by_entries(problem)
    elif len(parts := op._summands) > 1:
        plans = [_plan(problem, part, damp, candidates) for part in parts]
        yield from _candidate("parts", "the map stands in blocks on the diagonal", problem, plans, DirectSumFactors)
    elif len(parts := op._kronecker_factors) > 1:
        yield from _by_kronecker_factors(problem, parts, candidates)
    elif len(parts := op._chain) > 1:
        yield from _by_links(problem, parts, candidates)


@dataclass(frozen=True, eq=False)
class Plan:
    """Candidates for a part of a map, the fastest first, and the number of its right-hand sides for one of the map."""

    candidates: list[Candidate]
    n_rhs: int = 1

    def build(self) -> PartFactors:
        """Build the first factors that do not find the part singular."""
        failed = Singular()
        for candidate in self.candidates:
            if candidate is not self.candidates[0] and candidate.price.build > costs.LONGEST_SOLVE:
                break
            try:
                return PartFactors(candidate.make())
            except Singular as error:
                failed = error
        raise failed


def _plan(problem: Problem, part: LinearMap, damp: float, candidates: Candidates, n_rhs: int = 1) -> Plan:
    """Return the plan for a part of a map."""
    of_part = replace(problem, op=part, damp=damp, scale=1.0, decisions=None).prepare()
    return Plan([candidate for candidate in candidates(of_part) if candidate.fits], n_rhs)


def _candidate(
    name: str, why: str, problem: Problem, plans: list[Plan], factors: Callable[[Problem, list[PartFactors]], Factors]
) -> Iterator[Candidate]:
    """Yield the candidate that builds factors of all parts, if there is a plan for each."""
    if all(plan.candidates for plan in plans):
        price = costs.price_of_parts((plan.candidates[0].price, plan.n_rhs) for plan in plans)
        yield Candidate(name, why, price, lambda: factors(problem, [plan.build() for plan in plans]))


class PartFactors(Factors):
    """Factors of a part as it is: for arrays of any type, and with the scale of its problem taken back."""

    def __init__(self, factors: Factors) -> None:
        self.problem, self.factors, self.scale = factors.problem, factors, factors.problem.scale
        self.method, self.condition, self.n_zero = factors.method, factors.condition, factors.n_zero
        self.norm = factors.norm * self.scale

    def least(self) -> float:
        return self.factors.least() * self.scale

    def solve(self, b: AnyArray) -> AnyArray:
        return self._apply(self.factors.solve, b, self.scale)

    def normal(self, g: AnyArray) -> AnyArray:
        y = self._apply(self.factors.normal, g, self.scale)
        return y if self.scale == 1 else y / self.scale

    def image(self, g: AnyArray) -> AnyArray:
        return self._apply(self.factors.image, g, self.scale)

    def _apply(self, function: Callable[[AnyArray], AnyArray], x: AnyArray, divisor: float) -> AnyArray:
        y = apply_to_any_dtype(function, self.problem.dtype, x)
        return y if divisor == 1 else y / divisor


def _balance(parts: Sequence[LinearMap]) -> Sequence[LinearMap]:
    """Return maps that are multiplied, with all but the first in range: that one takes their powers of two."""
    units = [unit_of(np.array([part._peak()])) for part in parts[1:]]
    if all(unit == 1 for unit in units):
        return parts
    return [parts[0] * prod(units), *(part / unit for part, unit in zip(parts[1:], units, strict=True))]


def _describe(parts: Sequence[Factors]) -> str:
    """Return the methods of parts, equal ones once and at most 3 of them."""
    methods = list(dict.fromkeys(part.method for part in parts))
    return "; ".join(methods[:3]) + ("; ..." if len(methods) > 3 else "")


class DirectSumFactors(Factors):
    """Factors of each map on the diagonal of a matrix."""

    def __init__(self, problem: Problem, parts: list[PartFactors]) -> None:
        self.problem, self.parts, op = problem, parts, problem.op
        self.method = f"{len(parts)} maps on the diagonal ({_describe(parts)})"
        self.norm = max(part.norm for part in parts)
        missing = min(op.shape) - sum(min(part.problem.op.shape) for part in parts)
        if problem.damp:
            low = 0.0 if missing else min(_low(part, problem.damp) for part in parts)
            self.condition = float(np.hypot(self.norm, problem.damp) / np.hypot(low, problem.damp))
            return
        self.n_zero = missing + sum(part.n_zero for part in parts)
        low = min(part.least() for part in parts)
        _require_regular(problem, self.norm, low)
        self.condition = np.inf if self.n_zero else self.norm / low

    def solve(self, b: AnyArray) -> AnyArray:
        return self._apply([part.solve for part in self.parts], b, False, self.problem.op.in_shape)

    def normal(self, g: AnyArray) -> AnyArray:
        return self._apply([part.normal for part in self.parts], g, True, self.problem.op.in_shape)

    def image(self, g: AnyArray) -> AnyArray:
        return self._apply([part.image for part in self.parts], g, True, self.problem.op.out_shape)

    def _apply(
        self, functions: list[Callable[[AnyArray], AnyArray]], x: AnyArray, inputs: bool, shape: tuple[int, ...]
    ) -> AnyArray:
        """Apply a function for each part to its piece of flattened inputs, or outputs."""
        flat, images, first = x.reshape(len(x), prod(x.shape[1:])), [], 0
        for function, part in zip(functions, self.parts, strict=True):
            taken = part.problem.op.in_shape if inputs else part.problem.op.out_shape
            piece = flat[:, first : first + prod(taken)]
            first += prod(taken)
            image = function(piece.reshape(len(x), *taken))
            images.append(image.reshape(len(x), prod(image.shape[1:])))
        return np.concatenate(images, axis=1).reshape(len(x), *shape)


def _low(part: Factors, damp: float) -> float:
    """Return the least singular value of a part, from the condition with the damping."""
    stacked = np.hypot(part.norm, damp) / part.condition
    return float(np.sqrt(max(stacked**2 - damp**2, 0.0)))


def _require_regular(problem: Problem, norm: float, low: float) -> None:
    """Refuse parts of which some singular value counts as zero for the map, though not for the part."""
    if not low > problem.cutoff * norm:
        raise Singular(norm / low if low else np.inf)


def _by_kronecker_factors(problem: Problem, parts: Sequence[LinearMap], candidates: Candidates) -> Iterator[Candidate]:
    """Yield the candidate by solves along the axes of one factor after the other, or by both factors' triplets.

    The pseudo-inverse of a Kronecker product is that of the factors' pseudo-inverses. Damping does not come apart so.
    """
    first, second = parts = _balance(parts)
    why = "the map is a Kronecker product"
    if not problem.damp:
        plans = [
            _plan(problem, first, 0.0, candidates, second.shape[1]),
            _plan(problem, second, 0.0, candidates, first.shape[0]),
        ]
        yield from _candidate("kronecker", why, problem, plans, KroneckerFactors)
        return
    prices = [(costs.price_of_dense(*part.shape, problem.dtype, inverted=False), 1) for part in parts]
    yield SpectralCandidate("kronecker", why, costs.price_of_parts(prices), partial(_triplet_factors, problem, parts))


class KroneckerFactors(Factors):
    """Factors of both maps of a Kronecker product, without damping."""

    def __init__(self, problem: Problem, parts: list[PartFactors]) -> None:
        self.problem, self.parts = problem, parts
        self.method = f"Kronecker product ({_describe(parts)})"
        ranks = [min(part.problem.op.shape) - part.n_zero for part in parts]
        self.n_zero = min(problem.op.shape) - prod(ranks)
        self.norm, low = prod(part.norm for part in parts), prod(part.least() for part in parts)
        _require_regular(problem, self.norm, low)
        self.condition = np.inf if self.n_zero else self.norm / low

    def solve(self, b: AnyArray) -> AnyArray:
        first, second = self.parts
        shapes = first.problem.op.out_shape, second.problem.op.out_shape
        return along_both(first.solve, second.solve, b, shapes).reshape(len(b), *self.problem.op.in_shape)

    def normal(self, g: AnyArray) -> AnyArray:
        first, second = self.parts
        return along_both(first.normal, second.normal, g, self._in_shapes).reshape(g.shape)

    def image(self, g: AnyArray) -> AnyArray:
        first, second = self.parts
        return along_both(first.image, second.image, g, self._in_shapes).reshape(len(g), *self.problem.op.out_shape)

    @property
    def _in_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        first, second = self.parts
        return first.problem.op.in_shape, second.problem.op.in_shape


class KroneckerCoefficients(Coefficients):
    """Coefficients in the Kronecker products of singular vectors of two matrices, in which the map is numbers."""

    copies = 1

    def __init__(self, op: LinearMap, matrices: Sequence[AnyArray]) -> None:
        self.op = op
        decompositions = [np.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
        self.values = np.multiply.outer(*(s for _, s, _ in decompositions)).reshape(-1, 1, 1)
        self.outputs = [u.conj().T for u, _, _ in decompositions]
        self.inputs = [vh for _, _, vh in decompositions]
        self.total = len(self.values)
        self.outputs_complete, self.inputs_complete = self.total == op.shape[0], self.total == op.shape[1]

    @property
    def times(self) -> AnyArray:
        return np.ones(self.total, int)

    def analyse(self, arrays: AnyArray, inputs: bool) -> AnyArray:
        first, second = self.inputs if inputs else self.outputs
        inside = first @ arrays.reshape(len(arrays), first.shape[1], second.shape[1]) @ second.T
        return np.ascontiguousarray(inside.reshape(len(arrays), self.total).T)[:, None]

    def synthesize(self, y: AnyArray, inputs: bool) -> AnyArray:
        first, second = self.inputs if inputs else self.outputs
        inside = y[:, 0].T.reshape(-1, len(first), len(second))
        arrays = first.conj().T @ inside @ second.conj()
        return arrays.reshape(-1, *(self.op.in_shape if inputs else self.op.out_shape))


def _triplet_factors(problem: Problem, parts: Sequence[LinearMap]) -> BlockFactors:
    coefficients = KroneckerCoefficients(problem.op, [dense(part) for part in parts])
    method = " and ".join(f"{rows} x {columns}" for rows, columns in (part.shape for part in parts))
    return BlockFactors(problem, f"singular vectors of {method}", [coefficients], [coefficients.values])


class EntryCoefficients(Coefficients):
    """The entries of arrays that lone entries of a map read and write, in which the map is numbers."""

    copies = 1

    def __init__(self, op: LinearMap, entries: LoneEntries) -> None:
        self.op, self.entries, self.total = op, entries, entries.values.size
        self.outputs_complete, self.inputs_complete = self.total == op.shape[0], self.total == op.shape[1]

    @property
    def times(self) -> AnyArray:
        return np.ones(self.total, int)

    def analyse(self, arrays: AnyArray, inputs: bool) -> AnyArray:
        places = self.entries.columns if inputs else self.entries.rows
        return np.ascontiguousarray(arrays.reshape(len(arrays), -1)[:, places].T)[:, None]

    def synthesize(self, y: AnyArray, inputs: bool) -> AnyArray:
        places, shape = (self.entries.columns, self.op.in_shape) if inputs else (self.entries.rows, self.op.out_shape)
        arrays = np.zeros((y.shape[2], prod(shape)), y.dtype)
        arrays[:, places] = y[:, 0].T
        return arrays.reshape(-1, *shape)


def _by_entries(problem: Problem) -> Iterator[Candidate]:
    """Yield the candidate for a map of lone entries, which is solved by dividing by them."""
    entries = lone_entries(problem.op)
    if entries.values.size:
        price = costs.price_of_entries(entries.values.size)
        yield SpectralCandidate("parts", "entries are alone in their rows and columns", price,
                                partial(_factors_of_entries, problem, entries))  # fmt: skip


def _factors_of_entries(problem: Problem, entries: LoneEntries) -> BlockFactors:
    coefficients, matrices = EntryCoefficients(problem.op, entries), entries.values.reshape(-1, 1, 1)
    return BlockFactors(problem, f"division by {len(matrices)} entries", [coefficients], [matrices])


def _by_links(problem: Problem, links: tuple[LinearMap, ...], candidates: Candidates) -> Iterator[Candidate]:
    """Yield the candidate by solves of one link of a product after the other.

    ``(A B)^+ = B^+ A^+`` if A has full column rank and B full row rank. If all links but one are permutations, the
    product has the singular values of that one, which may be damped and singular.
    """
    cores = [j for j, link in enumerate(links) if not is_permutation(link)]
    if len(cores) > 1:
        inner = {link.shape[1] for link in links[:-1]} | {link.shape[0] for link in links[1:]}
        narrow = min(links[0].shape[0], links[-1].shape[1])
        if problem.damp or len(inner) > 1 or narrow < min(inner):
            return
    core = cores[0] if len(cores) == 1 else None
    damps = [problem.damp if j == core else 0.0 for j in range(len(links))]
    plans = [_plan(problem, link, damp, candidates) for link, damp in zip(_balance(links), damps, strict=True)]
    factors = partial(ProductFactors, core=core)
    yield from _candidate("parts", "the map is a product of maps that are solved in turn", problem, plans, factors)


class ProductFactors(Factors):
    """Factors of all links of a product, the last first: regular ones, or permutations around a core."""

    def __init__(self, problem: Problem, parts: list[PartFactors], core: int | None) -> None:
        self.problem, self.parts, self.core = problem, parts, core
        self.method = f"{len(parts)} maps in turn ({_describe(parts)})"
        if core is not None:
            only = parts[core]
            self.norm, self.condition, self.n_zero = only.norm, only.condition, only.n_zero
            return
        condition = prod(part.condition for part in parts)
        if any(part.n_zero for part in parts) or not condition * problem.cutoff < 1:
            raise Singular(condition)
        self.n_zero = min(problem.op.shape) - parts[0].problem.op.shape[1]
        self.condition = np.inf if self.n_zero else condition
        self.norm = estimate_norm(problem.forward, problem.adjoint, problem.op.in_shape)

    def solve(self, b: AnyArray) -> AnyArray:
        return reduce(lambda x, part: part.solve(x), self.parts, b)

    def image(self, g: AnyArray) -> AnyArray:
        return reduce(lambda x, part: part.image(x), reversed(self.parts), g)

    def normal(self, g: AnyArray) -> AnyArray:
        """Return ``H^+ g``, H from the core on: permutations before it leave H as it is."""
        first, *others = self.parts[self.core or 0 :]
        inside = first.normal(reduce(lambda x, part: part.image(x), reversed(others), g))
        return reduce(lambda x, part: part.solve(x), others, inside)


def _by_first_of_stack(problem: Problem, split: Problem, candidates: Candidates) -> Iterator[Candidate]:
    """Yield what solves the first map of a stack with the others as its penalty; the dense matrix is of all anyway."""
    for candidate in candidates(split):
        if candidate.name != "dense":
            make = partial(_stacked_factors, problem, candidate.make)
            yield Candidate(candidate.name, candidate.why, candidate.price, make)


def _stacked_factors(problem: Problem, make: Callable[[], Factors]) -> Factors:
    return StackedFactors(problem, make())


class StackedFactors(Factors):
    """Factors of maps below each other, by those of one of them that is penalized by the others."""

    def __init__(self, problem: Problem, factors: Factors) -> None:
        self.problem, self.factors = problem, PartFactors(factors)
        self.method, self.n_zero, self.condition = factors.method, factors.n_zero, factors.condition
        self.norm = float(np.hypot(factors.norm, factors.problem.ridge))

    def least(self) -> float:
        return self.factors.least()

    def solve(self, b: AnyArray) -> AnyArray:
        above, below = self.problem.split_right_side(b)
        x = self.factors.solve(above)
        if below is not None:
            x = x + self.factors.normal(self.problem.adjoint(below))
            # The normal equations have the square of the condition; a step of refinement makes up for it.
            x += self.factors.normal(self.problem.adjoint(b - self.problem.forward(x)) - self.problem.penalty(x))
        return x

    def normal(self, g: AnyArray) -> AnyArray:
        return self.factors.normal(g)
