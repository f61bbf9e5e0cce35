"""A dilated map of the zero boundary as maps without dilation, one for each sub-lattice of positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from convmtx import costs
from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.solves.factors import Candidate, Factors
from convmtx.solves.problem import Problem
from convmtx.structure import sublattices
from convmtx.taps import channels_back, channels_first, taps_of
from convmtx.typing import AnyArray


@dataclass(frozen=True)
class Place:
    """A sub-lattice: a slice of every axis, of the outputs and of the inputs."""

    outputs: tuple[slice, ...]
    inputs: tuple[slice, ...]


class EqualLattices(NamedTuple):
    """Sub-lattices with equal maps, and the candidate that solves one of them."""

    candidate: Candidate
    places: list[Place]


def by_lattices(
    problem: Problem, op: ConvOperator, candidates: Callable[[Problem], list[Candidate]]
) -> Iterator[Candidate]:
    """Yield the candidate by sub-lattices, each of which is solved by the best of its own candidates."""
    geometry = op.geometry
    whole = [(slice(None), slice(None))]
    axes = [sublattices(axis) if axis.zero_outside else {axis: whole} for axis in geometry.axes]
    count = prod(sum(map(len, lattices.values())) for lattices in axes)
    if problem.regularizer is not None or count < 2:
        return
    taps = taps_of(geometry, op.kernel)
    parts: list[EqualLattices] = []
    for chosen in product(*axes):
        smaller = Geometry(chosen, geometry.in_channels, geometry.out_channels, geometry.groups, Layout.FIRST)
        smaller_problem = replace(problem, op=ConvOperator(smaller, taps, "auto"))
        best = next((candidate for candidate in candidates(smaller_problem) if candidate.fits), None)
        if best is None:
            return
        slices = product(*(lattices[axis] for lattices, axis in zip(axes, chosen, strict=True)))
        places = [Place(*zip(*pairs, strict=True)) for pairs in slices]
        parts.append(EqualLattices(best, places))
    price = costs.price_of_parts((part.candidate.price, len(part.places)) for part in parts)
    yield Candidate("lattices", "the kernel is dilated", price, partial(LatticeFactors, problem, geometry, parts))


class LatticeFactors(Factors):
    """Factors of each sub-lattice; sub-lattices with equal maps share them."""

    def __init__(self, problem: Problem, geometry: Geometry, parts: list[EqualLattices]) -> None:
        self.problem, self.geometry = problem, geometry
        self.parts = [(part.candidate.make(), part.places) for part in parts]
        count = sum(len(part.places) for part in parts)
        self.method = f"{count} sub-lattices ({self.parts[0][0].method})"
        self.norm = max(factors.norm for factors, _ in self.parts)
        known = sum(min(factors.problem.op.shape) * len(places) for factors, places in self.parts)
        missing = min(problem.op.shape) - known
        if not problem.damp:
            self.n_zero = missing + sum(factors.n_zero * len(places) for factors, places in self.parts)
        lows = [np.hypot(factors.norm, problem.damp) / factors.condition for factors, _ in self.parts]
        low = problem.damp if missing or self.n_zero else min(lows)
        self.condition = float(np.hypot(self.norm, problem.damp) / low) if low else np.inf

    def solve(self, b: AnyArray) -> AnyArray:
        y, x = channels_first(self.geometry, b), self._zero_inputs(b)
        for factors, places in self.parts:
            solutions = factors.solve(_gather(y, [place.outputs for place in places]))
            _scatter(solutions, x, [place.inputs for place in places])
        return channels_back(self.geometry, x)

    def image(self, g: AnyArray) -> AnyArray:
        x, y = channels_first(self.geometry, g), self._zero_outputs(g)
        for factors, places in self.parts:
            images = factors.image(_gather(x, [place.inputs for place in places]))
            _scatter(images, y, [place.outputs for place in places])
        return channels_back(self.geometry, y)

    def normal(self, g: AnyArray) -> AnyArray:
        y, x = channels_first(self.geometry, g), self._zero_inputs(g)
        if self.problem.damp:  # inputs that no output reads are in no sub-lattice
            x += y / self.problem.damp**2
        for factors, places in self.parts:
            inputs = [place.inputs for place in places]
            _scatter(factors.normal(_gather(y, inputs)), x, inputs)
        return channels_back(self.geometry, x)

    def _zero_inputs(self, arrays: AnyArray) -> AnyArray:
        """Return zeros for as many inputs as there are arrays, channels first."""
        shape = (len(arrays), self.geometry.in_channels, *(axis.size for axis in self.geometry.axes))
        return np.zeros(shape, np.result_type(arrays, self.problem.dtype))

    def _zero_outputs(self, arrays: AnyArray) -> AnyArray:
        """Return zeros for as many outputs as there are arrays, channels first."""
        shape = (len(arrays), self.geometry.out_channels, *(axis.out for axis in self.geometry.axes))
        return np.zeros(shape, np.result_type(arrays, self.problem.dtype))


def _gather(arrays: AnyArray, places: list[tuple[slice, ...]]) -> AnyArray:
    """Return the arrays at each place, one place after the other along the first axis."""
    return np.concatenate([arrays[(slice(None), slice(None), *place)] for place in places])


def _scatter(parts: AnyArray, arrays: AnyArray, places: list[tuple[slice, ...]]) -> None:
    """Write what `_gather` would return into the arrays."""
    for part, place in zip(np.split(parts, len(places)), places, strict=True):
        arrays[(slice(None), slice(None), *place)] = part
