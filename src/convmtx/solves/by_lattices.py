"""A dilated map of the zero boundary as the maps without dilation that it falls apart into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np

from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.solves.problem import Problem
from convmtx.solves.solution import Factors
from convmtx.solves.way import Way
from convmtx.structure import sublattices
from convmtx.taps import channels_back, channels_first, taps_of
from convmtx.typing import AnyArray

#: For each axis where the outputs and the inputs of a sub-lattice lie.
Places = tuple[tuple[slice, slice], ...]


def by_lattices(problem: Problem, op: ConvOperator, ranked: Callable[[Problem, int], list[Way]]) -> Iterator[Way]:
    """A dilated map of the zero boundary as maps without dilation, each solved in its best way."""
    geometry = op.geometry
    each = [sublattices(axis) if axis.zero_outside else {axis: [(slice(None),) * 2]} for axis in geometry.axes]
    counts = [sum(map(len, parts.values())) for parts in each]
    if problem.regularizer is not None or prod(counts) < 2:
        return
    taps = taps_of(geometry, op.kernel)
    chosen: list[tuple[Way, list[Places]]] = []
    for axes in product(*each):
        part = Geometry(axes, geometry.in_channels, geometry.out_channels, geometry.groups, Layout.FIRST)
        direct = [way for way in ranked(replace(problem, op=ConvOperator(part, taps, "auto")), 1) if way.fits]
        if not direct:
            return
        chosen.append((direct[0], list(product(*(parts[axis] for parts, axis in zip(each, axes, strict=True))))))
    make = sum(way.seconds[0] for way, _ in chosen)
    every = sum(way.seconds[1] * len(places) for way, places in chosen)
    size = sum(way.bytes for way, _ in chosen)
    yield Way("lattices", "the kernel is dilated", (make, every), size, lambda: _Lattices(problem, geometry, chosen))


class _Lattices(Factors):
    """Factors of each sub-lattice, those that are equal made once."""

    def __init__(self, problem: Problem, geometry: Geometry, chosen: list[tuple[Way, list[Places]]]) -> None:
        self.problem, self.geometry = problem, geometry
        self.parts = [(way.make(), places) for way, places in chosen]
        count = sum(len(places) for _, places in chosen)
        self.method = f"{count} sub-lattices ({self.parts[0][0].method})"
        self.norm = max(part.norm for part, _ in self.parts)
        lacking = min(problem.op.shape) - sum(min(part.problem.op.shape) * len(places) for part, places in self.parts)
        if not problem.damp:
            self.missing = lacking + sum(part.missing * len(places) for part, places in self.parts)
        lows = [np.hypot(part.norm, problem.damp) / part.condition for part, _ in self.parts]
        low = problem.damp if lacking or self.missing else min(lows)
        self.condition = float(np.hypot(self.norm, problem.damp) / low) if low else np.inf

    def _apart(
        self, arrays: AnyArray, x: AnyArray, sides: tuple[int, int], solve: Callable[[Factors, AnyArray], AnyArray]
    ) -> AnyArray:
        """What each part finds of its outputs (side 0) or inputs (side 1), written into x in places of another side."""
        y = channels_first(self.geometry, arrays)
        first, second = sides
        for part, places in self.parts:
            several = np.concatenate([y[(slice(None), slice(None), *(each[first] for each in p))] for p in places])
            for p, found in zip(places, np.split(solve(part, several), len(places)), strict=True):
                x[(slice(None), slice(None), *(each[second] for each in p))] = found
        return channels_back(self.geometry, x)

    def _zeros(self, arrays: AnyArray, inputs: bool) -> AnyArray:
        """Zeros for as many inputs or outputs, channels first."""
        g = self.geometry
        shape = (g.in_channels, *(a.size for a in g.axes)) if inputs else (g.out_channels, *(a.out for a in g.axes))
        return np.zeros((len(arrays), *shape), np.result_type(arrays, self.problem.dtype))

    def solve(self, b: AnyArray) -> AnyArray:
        return self._apart(b, self._zeros(b, True), (0, 1), lambda part, some: part.solve(some))

    def image(self, g: AnyArray) -> AnyArray:
        return self._apart(g, self._zeros(g, False), (1, 0), lambda part, some: part.image(some))

    def normal(self, g: AnyArray) -> AnyArray:
        x = self._zeros(g, True)
        if self.problem.damp:
            x += channels_first(self.geometry, g) / self.problem.damp**2  # inputs that nobody reads
        return self._apart(g, x, (1, 1), lambda part, some: part.normal(some))
