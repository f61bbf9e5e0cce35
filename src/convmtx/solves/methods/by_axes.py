"""Solves of Kronecker sums: maps and penalties along single axes, as sections that are deconvolved along time only.

With outer products as kernels, ``H = A^H A + damp^2 R^H R`` is a sum of Kronecker products of Gram matrices of axes. On
an axis where at most two of these differ, P and Q, there are vectors V with ``V^H P V = I`` and ``V^H Q V`` diagonal
(Golub, Van Loan, Matrix Computations, 8.7). In these vectors of all axes H is diagonal. For example ``I (x) A^H A +
damp^2 L^H L (x) I``, with the eigenvectors of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from itertools import chain, combinations
from math import prod
from typing import NamedTuple

import numpy as np

from convmtx import costs
from convmtx.geometry import Axis, Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.solves.factors import Candidate, Factors
from convmtx.solves.problem import Problem
from convmtx.structure.augmented import Singular
from convmtx.structure.splits import separate
from convmtx.taps import channels_back, channels_first, taps_of
from convmtx.typing import AnyArray

#: Least eigenvalue of H over the largest, up to which it counts as singular: beyond, refinement does not get it exact.
LEAST = 1e-13
#: Condition of P up to which its Cholesky factor is used.
WELL_CONDITIONED = 1e8


class Line(NamedTuple):
    """Vector of taps along an axis; its Gram matrix is that of the axis' map with these taps."""

    axis: Axis
    taps: bytes
    kind: str

    @property
    def is_identity(self) -> bool:
        """Whether the Gram matrix is the identity."""
        a = self.axis
        return (a.kernel, a.stride, a.input_dilation, a.lo, a.out) == (1, 1, 1, 0, a.size)

    def gram(self) -> AnyArray:
        """Return the Gram matrix, (size, size)."""
        taps = np.frombuffer(self.taps, self.kind).reshape(1, 1, -1)
        matrix = ConvOperator(Geometry((self.axis,)), taps[0, 0], "auto").to_dense()
        return matrix.conj().T @ matrix


#: Lines whose Gram matrices are added, each times a number.
Gram = tuple[tuple[Line, float], ...]


@dataclass(frozen=True)
class Term:
    """A Kronecker product of Gram matrices of all axes, times a number."""

    number: float
    grams: tuple[Gram, ...]


def by_axes(problem: Problem, op: ConvOperator) -> Iterator[Candidate]:
    """Yield the candidate for a map of one channel with a regularizer, if both make a Kronecker sum."""
    sums = _sums(problem, op)
    if sums is None:
        return
    terms = _merge(sums[0] + sums[1])
    if _are_diagonal(terms):
        sizes = [axis.size for axis in op.geometry.axes]
        prices = ((costs.price_of_dense(n, n, problem.dtype, inverted=False), 1) for n in sizes)
        make, joint = partial(AxesFactors, problem, op.geometry, terms), partial(_joint_values, *sums)
        price = costs.price_of_parts(prices)
        yield AxesCandidate("kronecker", "map and penalty are Kronecker products", price, make, joint=joint)


class JointVectors(NamedTuple):
    """Vectors of every axis in which sums of Kronecker products are diagonal, and the values of each sum there."""

    vectors: list[AnyArray]
    values: list[AnyArray]

    def analyse(self, y: AnyArray) -> AnyArray:
        """Return the inner products of arrays, whose last axes these are, with all vectors."""
        for j, vectors in enumerate(self.vectors, -len(self.vectors)):
            y = _along(vectors.conj().T, y, j)
        return y

    def synthesize(self, y: AnyArray) -> AnyArray:
        """Return the arrays with these coefficients."""
        for j, vectors in enumerate(self.vectors, -len(self.vectors)):
            y = _along(vectors, y, j)
        return y


@dataclass(frozen=True)
class AxesCandidate(Candidate):
    """Method that may have vectors in which both ``A^H A`` and ``damp^2 R^H R`` are diagonal, and not only their sum.

    ``joint`` returns these with the values of both, or None.
    """

    joint: Callable[[], JointVectors | None] = lambda: None


def _joint_values(data: list[Term], penalty: list[Term]) -> JointVectors | None:
    """Return the vectors in which two sums are diagonal, or None if they have none or are nearly singular together."""
    data, penalty = _merge(data), _merge(penalty)
    if not _are_diagonal(data + penalty):
        return None
    try:
        joint = _diagonal(data, penalty)
    except Singular:
        return None
    total = np.add(*joint.values)
    return joint if total.min() > LEAST * total.max() else None


def _sums(problem: Problem, op: ConvOperator) -> tuple[list[Term], list[Term]] | None:
    """Return the terms of ``A^H A`` and of ``damp^2 R^H R``, if both are sums of Kronecker products."""
    maps, ridge = problem.penalties
    if problem.regularizer is None or len(op.geometry.axes) < 2:
        return None
    sizes = [axis.size for axis in op.geometry.axes]
    of_parts: list[list[Term]] = []
    for part, weight in ((op, 1.0), *((part, problem.damp**2) for part in maps)):
        if not isinstance(part, ConvOperator) or [axis.size for axis in part.geometry.axes] != sizes:
            return None
        terms = _terms(part, weight)
        if terms is None:
            return None
        of_parts.append(terms)
    if ridge:
        of_parts.append([Term(ridge**2, tuple(((_identity(axis), 1.0),) for axis in op.geometry.axes))])
    data, *penalties = of_parts
    return data, list(chain.from_iterable(penalties))


def _are_diagonal(terms: list[Term]) -> bool:
    """Whether vectors exist in which all terms are diagonal, as far as their number tells."""
    return all(len(grams) <= 2 for grams in _different(terms))


def _diagonal(*sums: list[Term]) -> JointVectors:
    """Return the vectors in which all terms of these sums are diagonal, and the values of each sum."""
    different = _different([term for terms in sums for term in terms])
    bases = [_basis(grams) for grams in different]

    def values_of(term: Term) -> AnyArray:
        along = (values[grams.index(gram)] for gram, grams, (_, values) in
                 zip(term.grams, different, bases, strict=True))  # fmt: skip
        return term.number * reduce(np.multiply.outer, along)

    return JointVectors([vectors for vectors, _ in bases], [reduce(np.add, map(values_of, terms)) for terms in sums])


def _terms(op: ConvOperator, weight: float) -> list[Term] | None:
    """Return a term for each filter of a map of one channel; None if a filter is not an outer product."""
    geometry = op.geometry
    if geometry.in_channels != 1:
        return None
    terms = []
    for filter_taps in taps_of(geometry, op.kernel):
        rest, vectors = filter_taps[None], []
        if not rest.any():
            continue
        for _ in geometry.axes[:-1]:
            vector, rest = separate(rest, 0)
            if vector is None:
                return None
            vectors.append(vector)
        lines, squares = zip(*map(_line, geometry.axes, [*vectors, rest.reshape(-1)]), strict=True)
        terms.append(Term(weight * prod(squares), tuple(((line, 1.0),) for line in lines)))
    return terms


def _line(axis: Axis, vector: AnyArray) -> tuple[Line, float]:
    """Return the line of a vector as one of a unit vector, and its squared length."""
    size = float(np.linalg.norm(vector))
    peak = vector[np.abs(vector).argmax()]
    vector = vector / (size * peak / abs(peak))
    if axis.kernel == 1:
        vector = np.ones(1)
    line = Line(axis, vector.tobytes(), vector.dtype.str)
    return _identity(axis) if line.is_identity else line, size**2


def _identity(axis: Axis) -> Line:
    return Line(Axis(axis.size, 1), np.ones(1).tobytes(), "<f8")


def _merge(terms: list[Term]) -> list[Term]:
    """Return fewer terms: two that differ along one axis are one, with the sum of their Gram matrices there."""
    for first, second in combinations(terms, 2):
        differing = [j for j, pair in enumerate(zip(first.grams, second.grams, strict=True)) if pair[0] != pair[1]]
        if len(differing) > 1:
            continue
        rest = [term for term in terms if term is not first and term is not second]
        if not differing:
            return _merge([*rest, Term(first.number + second.number, first.grams)])
        (j,) = differing
        total: Gram = tuple((line, number * term.number) for term in (first, second) for line, number in term.grams[j])
        return _merge([*rest, Term(1.0, (*first.grams[:j], total, *first.grams[j + 1 :]))])
    return terms


def _different(terms: list[Term]) -> list[list[Gram]]:
    """Return the different Gram matrices along each axis, the identity first."""
    by_axis = [list(dict.fromkeys(grams)) for grams in zip(*(term.grams for term in terms), strict=True)]
    return [sorted(grams, key=_is_multiple, reverse=True) for grams in by_axis]


def _is_multiple(gram: Gram) -> bool:
    """Whether a Gram matrix is a multiple of the identity."""
    return len(gram) == 1 and gram[0][0].is_identity


class AxesFactors(Factors):
    """Vectors of every axis in which H is diagonal, and its values there."""

    def __init__(self, problem: Problem, geometry: Geometry, terms: list[Term]) -> None:
        self.problem, self.geometry = problem, geometry
        self.diagonal = _diagonal(terms)
        (self.values,) = self.diagonal.values
        sizes = self.values.shape
        low, high = float(self.values.min()), float(self.values.max())
        if not low > LEAST * high:
            raise Singular(float(np.sqrt(high / low)) if low > 0 else np.inf)
        self.condition, self.norm = float(np.sqrt(high / low)), float(np.sqrt(high))
        self.method = f"vectors of {len(sizes)} axes in a Kronecker sum of {' x '.join(map(str, sizes))}"

    def normal(self, g: AnyArray) -> AnyArray:
        y = self.diagonal.analyse(channels_first(self.geometry, g))
        return channels_back(self.geometry, self.diagonal.synthesize(y / self.values))

    def solve(self, b: AnyArray) -> AnyArray:
        x = self.normal(self.problem.adjoint(b))
        r = self.problem.adjoint(b - self.problem.forward(x)) - self.problem.penalty(x)
        return x + self.normal(r)


def _basis(grams: list[Gram]) -> tuple[AnyArray, list[AnyArray]]:
    """Return vectors in which at most two Hermitian matrices are diagonal, and the values of each there."""
    matrices = [sum(number * line.gram() for line, number in gram) for gram in grams]
    if len(matrices) == 1:
        values, vectors = np.linalg.eigh(matrices[0])
        return vectors, [np.maximum(values, 0)]
    first, second = matrices
    if _is_multiple(grams[0]):
        values, vectors = np.linalg.eigh(second)
        return vectors, [np.full(len(values), grams[0][0][1]), np.maximum(values, 0)]
    conditions = [np.linalg.cond(matrix) for matrix in matrices]
    if min(conditions) > WELL_CONDITIONED:
        raise Singular(min(conditions) ** 0.5)
    from scipy.linalg import eigh

    swapped = conditions[1] < conditions[0]
    values, vectors = eigh(*(matrices if swapped else (second, first)))
    pair = [np.ones(len(values)), np.maximum(values, 0)]
    return vectors, pair[::-1] if swapped else pair


def _along(matrix: AnyArray, y: AnyArray, axis: int) -> AnyArray:
    """Multiply an axis of arrays by a matrix."""
    return np.moveaxis(np.tensordot(matrix, y, ([1], [axis])), 0, axis)
