"""Quadratic steps of constrained solves: by transforms of a circle that holds the input, or by any map's own solves."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np

from convmtx.boundary import WRAP, ZERO, Boundary
from convmtx.geometry import Axis, Geometry
from convmtx.maps.combined import Product
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.padding import pad
from convmtx.maps.stacks import Stacked
from convmtx.solves.factors import Factors
from convmtx.solves.methods.conjugate import ConjugateGradients
from convmtx.solves.methods.iterated import Iterative
from convmtx.solves.problem import Problem
from convmtx.solves.select import Solver
from convmtx.structure import Blocks, find_blocks
from convmtx.structure.double import lone_entries
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, IntArray, Shape

#: Fraction of its first residual to which a step by conjugate gradients brings it, and the most steps for that. Each
#: begins at the last solution, so that residuals fall with the iteration around them.
REDUCTION, MOST_STEPS = 1e-2, 200


class Space(Protocol):
    """Arrays X with the images ``G_j X`` of all terms, and the least squares of these.

    The image of a term is an array whose first axis counts the maps of the term.
    """

    shape: Shape
    method: str
    #: Real type of its arrays.
    dtype: np.dtype[Any]

    @property
    def single(self) -> Space | None:
        """The space in single precision, in which steps take half as long; None if they would not."""

    def images(self, x: AnyArray) -> list[AnyArray]:
        """Return ``G_j X`` for all terms."""

    def adjoint(self, ys: Sequence[AnyArray]) -> AnyArray:
        """Return the sum of ``G_j^H y_j``."""

    def solve(self, targets: Sequence[AnyArray], rhos: Sequence[float], x: AnyArray) -> tuple[AnyArray, list[AnyArray]]:
        """Return the X that minimizes ``sum rho_j |G_j X - target_j|^2``, and its images.

        The last target and rho are those of X itself. x is an estimate of X.
        """


@dataclass(frozen=True)
class Ring:
    """Circle around an axis: position ``first`` of the continued input stands at its index 0."""

    size: int
    first: int
    boundary: Boundary


@dataclass(frozen=True, eq=False)
class Placed:
    """Map whose outputs are some of a circle's: ``op(x).ravel()[rows] == weights * circle.ravel()[places]``."""

    blocks: Blocks
    rows: IntArray
    places: IntArray
    weights: AnyArray

    @property
    def is_even(self) -> bool:
        """Whether every output of the circle counts, and with one weight."""
        is_whole = self.weights.size == prod(self.blocks.geometry.out_shape)
        return is_whole and bool((self.weights == self.weights[:1]).all())

    def spread(self, values: AnyArray) -> AnyArray:
        """Return values as outputs of the circle, (1, *out_shape), with 0 at those that do not count."""
        circle = np.zeros((1, *self.blocks.geometry.out_shape))
        circle.reshape(-1)[self.places] = values
        return circle


@dataclass(frozen=True, eq=False)
class Frame:
    """Circles on which all convolutions of a problem lie, and the maps of its terms there."""

    rings: tuple[Ring, ...]
    terms: list[list[Placed]]
    #: Map of the continuation of x around the circles; None if they are no longer than x.
    extend: LinearMap | None
    #: Places of x in its continuation by zeros; None for other continuations.
    window: tuple[slice, ...] | None


class Inner(NamedTuple):
    """Convolution whose outputs a map selects and weights, and the maps that do so, the last first."""

    op: ConvOperator
    weights: tuple[LinearMap, ...]


def inner_convolution(op: LinearMap) -> Inner | None:
    """Return the convolution inside a map; that of a map that selects or weights its inputs has one tap."""
    *weights, last = op._chain
    if not isinstance(last, ConvOperator):
        weights = list(op._chain)
        last = ConvOperator(Geometry(tuple(Axis(n, 1) for n in op.in_shape)), np.ones((1,) * len(op.in_shape)), "auto")
    return Inner(last, tuple(weights)) if all(link._has_lone_entries for link in weights) else None


def find_frame(terms: Sequence[Sequence[LinearMap]]) -> Frame | None:
    """Return circles around maps that are convolutions, or weighted outputs of some; None for others."""
    inners = [[inner_convolution(op) for op in maps] for maps in terms]
    closed = [inner for maps in inners for inner in maps if inner is not None]
    if len(closed) < sum(map(len, terms)):
        return None
    geometries = [inner.op.geometry for inner in closed]
    first = geometries[0]
    if any(len(g.axes) != len(first.axes) or g.groups != first.groups for g in geometries):
        return None
    rings = [_ring([g.axes[j] for g in geometries]) for j in range(len(first.axes))]
    around = tuple(ring for ring in rings if ring is not None)
    if len(around) < len(rings):
        return None
    placed = [[_place(inner, around) for inner in maps if inner is not None] for maps in inners]
    window = None
    if all(ring.boundary is ZERO for ring in around):
        places = tuple(
            slice(-ring.first, axis.size - ring.first) for axis, ring in zip(first.axes, around, strict=True)
        )
        window = first.layout.join(slice(None), places)
    return Frame(around, placed, _continuation(first, around), window)


def _ring(axes: list[Axis]) -> Ring | None:
    """Return a circle on which no window of these axes comes around to what its output does not read."""
    from scipy.fft import next_fast_len

    outside = [axis for axis in axes if axis.reads_outside]
    rules = {axis.boundary for axis in outside}
    if any(axis.input_dilation > 1 for axis in axes) or len(rules) > 1:
        return None
    size, rule = axes[0].size, next(iter(rules), ZERO)
    if rule is WRAP:  # as often around as no two outputs of a map stand at one place
        around = max(-(-((axis.out - 1) * axis.stride + 1) // size) for axis in axes)
        return Ring(max(around, 1) * size, 0, rule)
    first = min(0, *(axis.reach[0] for axis in axes))
    last = max(size - 1, *(axis.reach[1] for axis in axes))
    length = last - first + 1
    return Ring(size if length == size else next_fast_len(length, real=True), first, rule)


def _place(inner: Inner, rings: Sequence[Ring]) -> Placed:
    """Return the outputs of a map on the circles."""
    geometry, pairs = inner.op.geometry, list(zip(inner.op.geometry.axes, rings, strict=True))
    around = [Axis(ring.size, axis.kernel, dilation=axis.dilation, boundary=WRAP) for axis, ring in pairs]
    circle = replace(geometry, axes=tuple(axis.with_outputs(axis.size) for axis in around))
    (blocks,) = find_blocks(circle, taps_of(geometry, inner.op.kernel))
    starts = [(np.arange(axis.out) * axis.stride - axis.lo - ring.first) % ring.size for axis, ring in pairs]
    open_mesh = np.ix_(*geometry.layout.join(np.arange(geometry.out_channels), tuple(starts)))
    places = np.ravel_multi_index(open_mesh, circle.out_shape).reshape(-1)
    if not inner.weights:
        return Placed(blocks, np.arange(places.size), places, np.ones(places.size))
    entries = lone_entries(inner.weights[0] if len(inner.weights) == 1 else Product(*inner.weights))
    return Placed(blocks, entries.rows, places[entries.columns], entries.values)


def _continuation(geometry: Geometry, rings: Sequence[Ring]) -> LinearMap | None:
    """Return the map that continues an input around the circles, or None if there is nothing to continue."""
    pairs = zip(geometry.axes, rings, strict=True)
    pads = geometry.layout.join(
        (0, 0), tuple((-ring.first, ring.size + ring.first - axis.size) for axis, ring in pairs)
    )
    if not any(any(end) for end in pads):
        return None
    return pad(geometry.in_shape, pads, geometry.layout.join("zero", tuple(ring.boundary.name for ring in rings)))


class Circle:
    """Circles in whose waves all maps are small matrices, so that the quadratic step is two transforms or a few.

    Convolutions of the continued input are parts of convolutions on a circle, whatever their borders, strides and
    weights are (Almeida, Figueiredo, IEEE Trans. Image Process. 22, 2013).
    """

    def __init__(self, frame: Frame) -> None:
        self.terms = [[part.blocks for part in parts] for parts in frame.terms]
        self.matrices = [[blocks.matrices() for blocks in parts] for parts in self.terms]
        self.inputs = self.terms[0][0]
        self.shape = self.inputs.geometry.in_shape
        self.method = f"transforms of circles of {' x '.join(str(ring.size) for ring in frame.rings)}"
        self.dtype: np.dtype[Any] = np.dtype(np.float64)
        self._solved: tuple[tuple[float, ...], AnyArray] | None = None

    @cached_property
    def single(self) -> Circle:
        """The circles with matrices in single precision."""
        single = copy(self)
        single.dtype = np.dtype(np.float32)
        single.matrices = [[matrix.astype(np.complex64) for matrix in stacks] for stacks in self.matrices]
        single._solved = None
        return single

    def images(self, x: AnyArray) -> list[AnyArray]:
        """Return ``G_j X`` for all terms."""
        return self._images(self.inputs.analyse(x[None], True))

    def _images(self, spectrum: AnyArray) -> list[AnyArray]:
        pairs = zip(self.terms, self.matrices, strict=True)
        return [
            _joined([b.synthesize(_times(matrix, spectrum), False) for b, matrix in zip(parts, stacks, strict=True)])
            for parts, stacks in pairs
        ]

    def adjoint(self, ys: Sequence[AnyArray]) -> AnyArray:
        """Return the sum of ``G_j^H y_j``."""
        return self.inputs.synthesize(self._adjoint(ys, [1.0] * len(ys)), True)[0]

    def _adjoint(self, ys: Sequence[AnyArray], rhos: Sequence[float]) -> AnyArray:
        total: AnyArray = np.zeros((), self.dtype)
        for parts, stacks, y, rho in zip(self.terms, self.matrices, ys, rhos, strict=True):
            for j, (blocks, matrix) in enumerate(zip(parts, stacks, strict=True)):
                image = _times(_adjoint_of(matrix), blocks.analyse(y[j : j + 1], False))
                total = total + (image if rho == 1 else rho * image)
        return total

    def solve(self, targets: Sequence[AnyArray], rhos: Sequence[float], x: AnyArray) -> tuple[AnyArray, list[AnyArray]]:  # noqa: ARG002 - it is solved directly
        """Return the X that minimizes ``sum rho_j |G_j X - target_j|^2``, and its images."""
        right = rhos[-1] * self.inputs.analyse(targets[-1][None], True)
        right = right + self._adjoint(targets[:-1], rhos[:-1])
        spectrum = _times(self._inverses(tuple(rhos)), right)
        images = self._images(spectrum)
        return self.inputs.synthesize(spectrum, True)[0], images

    def _inverses(self, rhos: tuple[float, ...]) -> AnyArray:
        """Return the inverses of ``sum rho_j M_j^H M_j + rho``, which are kept until rho changes."""
        if self._solved is None or self._solved[0] != rhos:
            columns = self.inputs.columns
            total = rhos[-1] * np.eye(columns, dtype=self.dtype)[None]
            for rho, stacks in zip(rhos[:-1], self.matrices, strict=True):
                for matrix in stacks:
                    total = total + rho * _times(_adjoint_of(matrix), matrix)
            self._solved = rhos, 1 / total.real if columns == 1 else np.linalg.inv(total)
        return self._solved[1]


class AnyMaps:
    """Maps of any kind: the step by direct factors, or by conjugate gradients that begin where the last ones ended.

    The first term has the rho 1.
    """

    def __init__(self, terms: Sequence[Sequence[LinearMap]]) -> None:
        self.terms = terms
        self.shape = terms[0][0].in_shape
        self.dtype: np.dtype[Any] = np.dtype(np.float64)
        self._kept: tuple[tuple[float, ...], Factors] | None = None
        self.method = "direct factors"

    @property
    def single(self) -> None:
        """None: factors are in double precision."""

    def images(self, x: AnyArray) -> list[AnyArray]:
        """Return ``G_j X`` for all terms."""
        return [_joined([op._image(x[None]) for op in maps]) for maps in self.terms]

    def adjoint(self, ys: Sequence[AnyArray]) -> AnyArray:
        """Return the sum of ``G_j^H y_j``."""
        pairs = (pair for maps, y in zip(self.terms, ys, strict=True) for pair in zip(maps, y, strict=True))
        total: AnyArray = np.zeros(())
        for op, y in pairs:
            total = total + op.T._image(y[None])[0]
        return total

    def solve(self, targets: Sequence[AnyArray], rhos: Sequence[float], x: AnyArray) -> tuple[AnyArray, list[AnyArray]]:
        """Return the X that minimizes ``sum rho_j |G_j X - target_j|^2``, and its images."""
        right = self.adjoint([rho * target for rho, target in zip(rhos[:-1], targets[:-1], strict=True)])
        right = right + rhos[-1] * targets[-1]
        factors = self._factors(tuple(rhos))
        x = self._iterate(right, rhos, x, factors) if isinstance(factors, Iterative) else factors.normal(right[None])[0]
        return x, self.images(x)

    def _factors(self, rhos: tuple[float, ...]) -> Factors:
        """Return the factors for these rhos, which are kept until they change."""
        if self._kept is None or self._kept[0] != rhos:
            (op,), *others = self.terms
            ridge = rhos[-1] ** 0.5
            penalties = [rho**0.5 * op for rho, maps in zip(rhos[1:-1], others, strict=True) for op in maps]
            step = Problem(op, ridge)
            if penalties:
                step = Problem(op, 1.0, Stacked(*penalties, Diagonal(np.array(ridge), self.shape)))
            factors = Solver(step, "auto").chosen().factors
            if isinstance(factors, Iterative):
                factors.build_preconditioner()
                self.method = "conjugate gradients"
            self._kept = rhos, factors
        return self._kept[1]

    def _iterate(self, right: AnyArray, rhos: Sequence[float], x: AnyArray, factors: Iterative) -> AnyArray:
        """Return x after preconditioned conjugate gradients on the normal equations."""

        def product(p: AnyArray) -> AnyArray:
            weighted = [rho * image for rho, image in zip(rhos[:-1], self.images(p[0]), strict=True)]
            return self.adjoint(weighted)[None] + rhos[-1] * p

        inverse = None if factors.preconditioner is None else factors.preconditioner.normal
        run = ConjugateGradients(product, right[None] - product(x[None]), inverse)
        limit = REDUCTION * run.residuals
        while len(run.decreases) < MOST_STEPS and run.residuals > limit:
            run.step()
        return x + run.x[0]


def _joined(images: list[AnyArray]) -> AnyArray:
    return images[0] if len(images) == 1 else np.concatenate(images)


def _adjoint_of(matrices: AnyArray) -> AnyArray:
    return matrices.conj() if matrices.shape[1:] == (1, 1) else matrices.conj().swapaxes(1, 2)


def _times(matrices: AnyArray, vectors: AnyArray) -> AnyArray:
    """Return the products of stacks of matrices; single numbers are multiplied at once."""
    product: AnyArray = matrices * vectors if matrices.shape[1:] == (1, 1) else matrices @ vectors
    return product
