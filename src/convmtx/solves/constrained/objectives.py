"""Objectives of constrained solves: which terms there are, in which space, and with which first rho."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from convmtx.boundary import EDGE, ZERO
from convmtx.geometry import Axis, Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.constrained.spaces import AnyMaps, Circle, Space, find_frame, inner_convolution
from convmtx.solves.constrained.terms import Inputs, LeastSquares, Magnitudes, Term, dot
from convmtx.solves.problem import Problem, estimate_norm
from convmtx.taps import kernel_of
from convmtx.typing import AnyArray, Shape

PenaltyName = Literal["squares", "l1", "tv"]
#: rho of the data over the largest weight, and rho of x over that of the data and the squared norm of the map. Measured
#: for blurs of 9 x 9 on three pictures, with damping from 0.1 to 0.003.
RHO_DATA, RHO_INPUTS = 0.3, 0.03
#: Largest magnitude of numbers whose products with others are in the range of single precision, and of their inverses.
SINGLE = 1e12


@dataclass(frozen=True, eq=False)
class Objective:
    """``h(x) + sum of g(v)`` over terms g of images ``v = G x``, halves of the squares of the law."""

    space: Space
    in_shape: Shape
    inputs: Inputs
    terms: tuple[Term, ...]
    #: rho of terms that stay in the quadratic step, None for those that are split off.
    fixed: tuple[float | None, ...]
    #: First rho of those, and last that of x.
    rhos: tuple[float, ...]
    #: What outputs that read nothing add.
    constant: float

    def in_single(self) -> Objective:
        """Return the objective in single precision, if its space has one and numbers are well inside that range."""
        space, inputs = self.space.single, self.inputs
        weights = [inputs.ridge, inputs.weight, *self.rhos]
        weights += [term.weight for term in self.terms if isinstance(term, Magnitudes)]
        numbers = np.concatenate([inputs.low.ravel(), inputs.high.ravel(), weights])
        sizes = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
        if space is None or sizes.min(initial=1) < 1 / SINGLE or sizes.max(initial=1) > SINGLE:
            return self
        terms = tuple(term.in_single() for term in self.terms)
        return replace(self, space=space, inputs=self.inputs.in_single(), terms=terms)


class Objectives:
    """All that the objectives of one problem share."""

    def __init__(self, problem: Problem, penalty: PenaltyName) -> None:
        self.problem, self.penalty = problem, penalty
        op = problem.op
        self.frame = find_frame(self._maps("valid"))
        self.space: Space = AnyMaps(self._maps("edge")) if self.frame is None else Circle(self.frame)
        self.norm = estimate_norm(op._image, op.T._image, op.in_shape) or 1.0

    def _maps(self, border: Literal["valid", "edge"]) -> list[list[LinearMap]]:
        """Return the maps of the terms: that of the data, and those of the penalty if it is not on x itself."""
        op, regularizer = self.problem.op, self.problem.regularizer
        penalized = [] if regularizer is None else [regularizer]
        if self.penalty == "tv":
            penalized = differences(op, border)
        return [[op], penalized] if penalized else [[op]]

    def objective(self, b: AnyArray, low: AnyArray, high: AnyArray, unit: float) -> Objective:
        """Return the objective for a right-hand side that was divided by the unit."""
        problem, frame = self.problem, self.frame
        weight = problem.damp**2 * problem.scale / unit / 2
        is_plain = problem.regularizer is None and self.penalty != "tv"
        has_maps = len(self._maps("edge")) > 1
        inputs = Inputs(
            low, high,
            ridge=problem.damp**2 if is_plain and self.penalty == "squares" else 0.0,
            weight=weight if is_plain and self.penalty == "l1" else 0.0,
        )  # fmt: skip
        if frame is not None and frame.extend is not None:
            copies = frame.extend._transposed_image(np.ones((1, *frame.extend.out_shape)))[0]
            inputs = replace(inputs, extend=frame.extend, copies=copies)
            if frame.window is not None:
                inputs = replace(inputs, window=frame.window, copies=1.0)
        data, constant = self._data(b)
        terms: list[Term] = [data]
        if has_maps:
            terms.append(self._penalty(weight))
        fixed = tuple(self._fixed_rho(j, term) for j, term in enumerate(terms))
        rhos = self._first_rhos(terms, fixed, data)
        return Objective(self.space, problem.op.in_shape, inputs, tuple(terms), fixed, rhos, constant)

    def _first_rhos(self, terms: list[Term], fixed: tuple[float | None, ...], data: LeastSquares) -> tuple[float, ...]:
        """Return the first rho of each term, and last that of x."""
        top = float(np.max(data.a**2, initial=0)) or 1.0
        of_data = RHO_DATA * top
        of_inputs = RHO_INPUTS * of_data * self.norm**2 / top
        rhos = [of_data if fixed[0] is None else fixed[0]]
        for term, rho in zip(terms[1:], fixed[1:], strict=True):
            split = of_inputs if isinstance(term, Magnitudes) else of_data * self.problem.damp**2
            rhos.append(split if rho is None else rho)
        return (*rhos, of_inputs)

    def _data(self, b: AnyArray) -> tuple[LeastSquares, float]:
        if self.frame is None:
            return LeastSquares(np.ones(()), b[None]), 0.0
        (placed,) = self.frame.terms[0]
        values = b.reshape(-1)
        measured = values[placed.rows]
        return LeastSquares(placed.spread(placed.weights), placed.spread(measured)), max(
            (dot(values, values) - dot(measured, measured)) / 2, 0.0
        )

    def _penalty(self, weight: float) -> Term:
        frame, damp = self.frame, self.problem.damp
        a = np.ones(())
        if frame is not None:
            a = np.concatenate([placed.spread(placed.weights) for placed in frame.terms[1]])
        if self.penalty == "squares":
            return LeastSquares(damp * a, np.zeros(()))
        return Magnitudes(a, weight, grouped=self.penalty == "tv")

    def _fixed_rho(self, j: int, term: Term) -> float | None:
        """Return the rho of least squares that the step itself solves: all outputs of the circles have one weight."""
        if not isinstance(term, LeastSquares):
            return None
        is_whole = self.frame is None or all(placed.is_even for placed in self.frame.terms[j])
        return float(np.max(term.a)) ** 2 or None if is_whole else None


def differences(op: LinearMap, border: Literal["valid", "edge"]) -> list[LinearMap]:
    """Return the maps of forward differences along the spatial axes of a map's inputs.

    The differences past the end are 0 with "edge", and left out with "valid".
    """
    inner = inner_convolution(op)
    g = Geometry(tuple(Axis(n, 1) for n in op.in_shape)) if inner is None else inner.op.geometry
    per_group = g.in_channels // g.groups
    maps: list[LinearMap] = []
    for j, along in enumerate(g.axes):
        if along.size > 1:
            axes = [Axis(axis.size, 1) for axis in g.axes]
            axes[j] = Axis(along.size, 2, hi=int(border == "edge"), boundary=EDGE if border == "edge" else ZERO)
            geometry = Geometry(tuple(axes), g.in_channels, g.in_channels, g.groups, g.layout)
            step = np.array([-1.0, 1.0]).reshape([2 if axis.kernel == 2 else 1 for axis in axes])
            taps = np.multiply.outer(np.tile(np.eye(per_group), (g.groups, 1)), step)
            maps.append(ConvOperator(geometry, kernel_of(geometry, taps), "auto"))
    return maps
