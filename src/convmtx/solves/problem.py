"""The problem that is solved: a map, a penalty, the scale that keeps its numbers in range, and how it is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx import costs, memory, rates
from convmtx.arguments import number
from convmtx.engines.products import norms
from convmtx.engines.select import select
from convmtx.errors import ArgumentError, shown
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.stacks import Stacked
from convmtx.solves.accuracy import Lengths, passes
from convmtx.structure.double import as_map, doubled, size_of_multiple, sparse
from convmtx.structure.precision import rank_tolerance, unit_of
from convmtx.typing import AnyArray, Shape

#: Bytes of a number in double precision.
NUMBER = 8
#: Entries of a matrix up to which a convolution is applied by its sparse matrix, whatever its engine would take: to
#: predict that would take longer than the product. Matrices of more than ``LARGE`` entries are not built.
SMALL, LARGE = 40_000, 5_000_000

#: Entries of a map up to which it keeps the last problem that was solved with it, and bytes of factors: 1 and 2 MiB. A
#: map whose matrix is never built keeps it if it has so few inputs and outputs.
KEPT_ENTRIES, KEPT_BYTES = 1 << 16, 1 << 21

#: Steps of the power method for a norm that is needed within a factor of about 2.
POWERS = 4

#: Function of a batch.
Apply = Callable[[AnyArray], AnyArray]


class Penalties(NamedTuple):
    """Maps below each other that are penalized, and the weight of the penalty on x itself."""

    maps: tuple[LinearMap, ...]
    ridge: float


@dataclass(frozen=True, eq=False)
class Problem:
    """Minimize ``|A x - b|^2 + damp^2 |R x|^2``, and of all such x take the shortest; R is the regularizer, or 1.

    As the caller has it, the maps may be of any array library. `prepare` is in double precision of NumPy, and ``op``
    and ``damp`` are divided by ``scale``.
    """

    op: LinearMap
    damp: float = 0.0
    regularizer: LinearMap | None = None
    scale: float = 1.0
    #: Fraction of the largest singular value up to which singular values count as zero; None for that of rounding.
    rcond: float | None = None
    #: Decisions by the number of right-hand sides, of a problem that its map keeps; None for others.
    decisions: dict[int, Any] | None = None

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers: float64, or complex128 if a map is complex."""
        second = self.op.dtype if self.regularizer is None else self.regularizer.dtype
        return np.dtype(np.result_type(self.op.dtype, second, np.float64))

    @property
    def ridge(self) -> float:
        """Weight of the penalty on x itself: ``damp``, or 0 if a regularizer's output is penalized in its place."""
        return self.damp if self.regularizer is None else 0.0

    @cached_property
    def penalties(self) -> Penalties:
        """The regularizer as maps below each other, times the damping, and what is left of the identity in it."""
        if self.regularizer is None:
            return Penalties((), self.damp)
        sizes = [(part, size_of_multiple(part)) for part in self.regularizer._stack]
        ridge = float(np.hypot.reduce([0.0, *(size for _, size in sizes if size is not None)]))
        return Penalties(tuple(part for part, size in sizes if size is None), self.damp * ridge)

    @cached_property
    def cutoff(self) -> float:
        """Fraction of the norm up to which singular values count as zero: by default that of `numpy.linalg.lstsq`."""
        return rank_tolerance(self.op.shape, 1.0) if self.rcond is None else self.rcond

    @cached_property
    def applied(self) -> Applied:
        """The map in the form that is applied fastest."""
        return fastest_form(self.op)

    @cached_property
    def stack(self) -> tuple[LinearMap, ...]:
        """Maps of which the map is a stack, if one of them can be solved with the others as its penalty; else ()."""
        parts = self.op._stack
        return parts if len(parts) > 1 and any(size_of_multiple(part) is None for part in parts) else ()

    @cached_property
    def known_ridge(self) -> float:
        """Weight of the penalty on x itself, with those of multiples of the identity in a stack or a regularizer."""
        return float(np.hypot(self.penalties.ridge, self._stacked_ridge))

    @cached_property
    def largest_penalty(self) -> float:
        """Estimate of the largest eigenvalue of ``damp^2 R^H R``."""
        if self.regularizer is None:
            return self.damp**2
        apply, adjoint = self.regularizer._image, self.regularizer.H._image
        return (self.damp * estimate_norm(apply, adjoint, self.op.in_shape)) ** 2

    @cached_property
    def _stacked_ridge(self) -> float:
        """Weight of the penalty on x itself by multiples of the identity in a stack."""
        return float(np.hypot.reduce([0.0, *(size_of_multiple(part) or 0.0 for part in self.stack)]))

    @cached_property
    def split(self) -> Problem | None:
        """Problem of the first map of a stack that is not a multiple of the identity, with the others as its penalty.

        ``|[A; R] x - [b; 0]|^2 = |A x - b|^2 + |R x|^2``. It is None if the map is not a stack.
        """
        if not self.stack:
            return None
        first, *rest = (part for part in self.stack if size_of_multiple(part) is None)
        if self.regularizer is not None:
            rest.append(self.damp * self.regularizer)
        ridge = float(np.hypot(self.ridge, self._stacked_ridge))
        if not rest:
            return Problem(first, ridge)
        if ridge:
            rest.append(Diagonal(np.array(ridge), self.op.in_shape))
        return Problem(first, 1.0, rest[0] if len(rest) == 1 else Stacked(*rest))

    def split_right_side(self, b: AnyArray) -> tuple[AnyArray, AnyArray | None]:
        """Return the right-hand sides of `split`, and b with zeros there; None if the rest of b is zero anyway."""
        sizes = np.cumsum([0, *(part.shape[0] for part in self.stack)])
        index = next(j for j, part in enumerate(self.stack) if size_of_multiple(part) is None)
        chosen = slice(int(sizes[index]), int(sizes[index + 1]))
        above = b[:, chosen].reshape(len(b), *self.stack[index].out_shape)
        below = b.copy()
        below[:, chosen] = 0
        return above, below if below.any() else None

    def forward(self, x: AnyArray) -> AnyArray:
        """Return ``A x``: (m, *in_shape) to (m, *out_shape)."""
        return self.applied.forward(x)

    def adjoint(self, y: AnyArray) -> AnyArray:
        """Return ``A^H y``: (m, *out_shape) to (m, *in_shape)."""
        return self.applied.adjoint(y)

    def penalty(self, x: AnyArray) -> AnyArray:
        """Return ``damp^2 R^H R x``, in the array library of x and the maps."""
        if self.regularizer is not None and self.damp:
            x = self.regularizer.H(self.regularizer(x))
        return x * self.damp**2

    def residuals(self, b: AnyArray, x: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return ``|b - A x|`` and ``|A^H (b - A x) - damp^2 R^H R x|`` of each right-hand side."""
        r = b - self.forward(x)
        return norms(r), norms(self._normal_residual(r, x))

    def normal_residual(self, b: AnyArray, x: AnyArray) -> AnyArray:
        """Return ``A^H (b - A x) - damp^2 R^H R x`` of each right-hand side."""
        return self._normal_residual(b - self.forward(x), x)

    def _normal_residual(self, r: AnyArray, x: AnyArray) -> AnyArray:
        s = self.adjoint(r)
        return s - self.penalty(x) if self.damp else s

    def lengths(self, x: AnyArray, residual: AnyArray, normal: AnyArray) -> Lengths:
        """Return the norms of solutions beside those of their residuals."""
        sizes = norms(x)
        if not self.damp:
            return Lengths(sizes, residual, residual, normal)
        penalized = sizes if self.regularizer is None else norms(self.regularizer(x))
        return Lengths(sizes, residual, np.hypot(residual, self.damp * penalized), normal)

    def accepts(self, b: AnyArray, lengths: Lengths, norm: float, rtol: float) -> AnyArray:
        """Return which solutions pass the tests of LSMR with true residuals and room for rounding."""
        reach = norm * lengths.x
        accepted = passes(lengths, reach, norm, rtol)
        if not accepted.all():  # the length of b can only help: leave out a pass over it if that is not necessary
            accepted = passes(lengths, norms(b) + reach, norm, rtol)
        return accepted

    def prepare(self) -> Problem:
        """Return the problem in double precision of NumPy and in range, if the maps make one."""
        op = doubled(self.op)
        rows, columns = op.shape
        thing = f"one right-hand side of {rows} numbers with its solution of {columns}"
        memory.require_result(thing, 2 * NUMBER * (rows + columns), "Solve for a part of it")
        regularizer = self.doubled_regularizer(op)
        scale = unit_of(np.array([op._peak(), self.damp]))
        if scale == 1:
            return Problem(op, self.damp, regularizer, rcond=self.rcond)
        return Problem(op / scale, self.damp / scale, regularizer, scale, self.rcond)

    def for_map(self, op: LinearMap) -> Problem:
        """Return the problem of another map, prepared: the one that the map keeps if nothing else has changed.

        A small map of double precision keeps its last problem, with what was chosen and built for it. So a solve that
        is repeated with another right-hand side begins at once.
        """
        if not isinstance(op, ConvOperator) or self.regularizer is not None:
            return replace(self, op=op).prepare()
        key = self.damp, self.rcond, rates.current()
        last: tuple[Any, Problem] | None = op._kept.get("problem")
        if last is not None and last[0] == key:
            return last[1]
        problem = replace(self, op=op).prepare()
        size = sum(op.shape) if op.nnz > LARGE else op.nnz
        if problem.op is op and size <= KEPT_ENTRIES:
            problem = replace(problem, decisions={})
            op._kept["problem"] = key, problem
        return problem

    def doubled_regularizer(self, op: LinearMap) -> LinearMap | None:
        """Return the regularizer in double precision, for the inputs of the map; raise if it does not fit."""
        if self.regularizer is None:
            return None
        regularizer = doubled(self.regularizer, "regularizer")
        if regularizer.in_shape != op.in_shape:
            got = f"regularizer takes {regularizer.in_shape} and op takes {op.in_shape}"
            remedy = _remedy_for_shape("regularizer", regularizer.in_shape, op.in_shape)
            raise ArgumentError(got, "Expected equal input shapes", remedy)
        if not self.damp:
            got = "a regularizer with damp=0"
            raise ArgumentError(got, "It would have no effect", "Pass damp > 0, or leave it out")
        return regularizer


def problem_of(op: Any, damp: Any = 0.0, regularizer: Any = None, rcond: Any = None) -> Problem:
    """Return the problem of a caller's arguments.

    ``damp`` may be a `Damping`, which has an attribute of that name, and ``regularizer`` a list of maps.
    """
    mapped = as_map(op)
    penalized = _regularizer_of(regularizer)
    weight = getattr(damp, "damp", damp)
    remedy = "cm.choose_damp(op, b, 'gcv') finds one"
    weight = number("damp", weight, "a finite number >= 0", remedy, fits=lambda w: w >= 0)
    if rcond is None:
        return Problem(mapped, weight, penalized)
    rcond = number("rcond", rcond, "a number from 0 to 1", "For example 1e-3", fits=lambda r: 0 <= r < 1)
    if weight or penalized is not None:
        got, expected = f"rcond={shown(rcond)} with damping", "Expected one of both: each of them makes x small"
        raise ArgumentError(got, expected, "Leave one out")
    return Problem(mapped, rcond=rcond)


def _regularizer_of(value: Any) -> LinearMap | None:
    """Return a regularizer as one map; a list of maps is penalized as their outputs together."""
    if value is None:
        return None
    is_list = isinstance(value, list | tuple)
    if is_list and not len(value):
        raise ArgumentError("regularizer is an empty list", "Expected at least one map", "Leave it out")
    if not is_list or not all(map(_is_map, value)):
        return as_map(value, "regularizer")
    maps = [as_map(part, f"regularizer[{j}]") for j, part in enumerate(value)]
    for j, part in enumerate(maps):
        if part.in_shape != maps[0].in_shape:
            got = f"regularizer[{j}] takes {part.in_shape} and regularizer[0] takes {maps[0].in_shape}"
            remedy = _remedy_for_shape(f"regularizer[{j}]", part.in_shape, maps[0].in_shape)
            raise ArgumentError(got, "Expected equal input shapes", remedy)
    return maps[0] if len(maps) == 1 else Stacked(*maps)


def _remedy_for_shape(name: str, shape: Shape, wanted: Shape) -> str:
    """Return what to do about a map of inputs of another shape, which may only be flattened, as those of a matrix."""
    if shape == (prod(wanted),) or (prod(shape),) == wanted:
        return f"Pass cm.aslinearmap({name}, in_shape={wanted})"
    return f"Make it for inputs of shape {wanted}"


def _is_map(value: Any) -> bool:
    """Whether a value is a map, a matrix or an operator, and no row of a nested list."""
    is_operator = isinstance(value, LinearMap) or hasattr(value, "matvec") or hasattr(value, "nnz")
    return is_operator or getattr(value, "ndim", 0) == 2


@dataclass(frozen=True, eq=False)
class Applied:
    """A map and its adjoint, applied again and again to batches, and the predicted seconds of one of both."""

    forward: Apply
    adjoint: Apply
    seconds: float


def applied_by_map(op: LinearMap, seconds: float) -> Applied:
    """Return the map as it is, a convolution by its engine; checks of arguments are left out."""
    return Applied(op._image, op.H._image, seconds)


def applied_by_matrix(op: LinearMap, seconds: float) -> Applied:
    """Return the map by its sparse matrix."""
    matrix = sparse(op)
    back = matrix.T if matrix.dtype.kind != "c" else matrix.conj().T
    return Applied(partial(multiply, matrix, op.out_shape), partial(multiply, back, op.in_shape), seconds)


def multiply(matrix: Any, shape: Shape, x: AnyArray) -> AnyArray:
    """Return a matrix times flattened arrays, each in the given shape."""
    if len(x) == 1:
        return (matrix @ x.reshape(-1)).reshape(1, *shape)
    return (matrix @ x.reshape(len(x), matrix.shape[1]).T).T.reshape(len(x), *shape)


def fastest_form(op: LinearMap) -> Applied:
    """Choose between a convolution's engine and its sparse matrix, by predicted seconds."""
    if not isinstance(op, ConvOperator):
        return applied_by_map(op, rates.rate("map number") * sum(op.shape))
    by_matrix = costs.sparse_product_seconds(op.nnz)
    if op.nnz > SMALL:
        choice = select("auto", op._plan, np.result_type(op.dtype, np.float64), 1)
        by_engine = rates.rate("applied") + costs.seconds(choice.works[choice.engine.name])
        if by_engine < by_matrix or op.nnz > LARGE:
            return applied_by_map(op, by_engine)
    return applied_by_matrix(op, by_matrix)


class StackedMap:
    """The map ``[A; damp R]`` of a regularizer R, with outputs flattened and joined."""

    def __init__(self, problem: Problem, regularizer: LinearMap) -> None:
        self.problem, self.regularizer = problem, regularizer

    def forward(self, x: AnyArray) -> AnyArray:
        """Return ``[A x; damp R x]``."""
        images = self.problem.forward(x), self.problem.damp * self.regularizer(x)
        return np.concatenate([image.reshape(len(x), -1) for image in images], axis=1)

    def adjoint(self, y: AnyArray) -> AnyArray:
        """Return ``A^H y1 + damp R^H y2``."""
        rows = self.problem.op.shape[0]
        above = y[:, :rows].reshape(-1, *self.problem.op.out_shape)
        below = y[:, rows:].reshape(-1, *self.regularizer.out_shape)
        return self.problem.adjoint(above) + self.problem.damp * self.regularizer.H(below)


class WithIdentity:
    """The map ``[F; damp I]`` of a map F, with outputs flattened and joined."""

    def __init__(self, forward: Apply, adjoint: Apply, damp: float, out_shape: Shape) -> None:
        self._forward, self._adjoint, self._damp, self._out_shape = forward, adjoint, damp, out_shape

    def forward(self, x: AnyArray) -> AnyArray:
        """Return ``[F x; damp x]``."""
        images = self._forward(x), self._damp * x
        return np.concatenate([image.reshape(len(x), -1) for image in images], axis=1)

    def adjoint(self, y: AnyArray) -> AnyArray:
        """Return ``F^H y1 + damp y2``."""
        rows = prod(self._out_shape)
        x = self._adjoint(y[:, :rows].reshape(len(y), *self._out_shape))
        return x + self._damp * y[:, rows:].reshape(x.shape)

    def below(self, x: AnyArray) -> AnyArray:
        """Return ``[0; x]``."""
        return np.pad(x.reshape(len(x), -1), ((0, 0), (prod(self._out_shape), 0)))


def stacked_map(problem: Problem) -> StackedMap | Applied:
    """Return the map whose least squares are the problem's: ``[A; damp R]``, or A without a regularizer."""
    return problem.applied if problem.regularizer is None else StackedMap(problem, problem.regularizer)


def right_side(problem: Problem, b: AnyArray) -> AnyArray:
    """Return the right-hand side of the stacked map: ``[b; 0]``, or b without a regularizer."""
    if problem.regularizer is None:
        return b
    return np.pad(b.reshape(len(b), -1), ((0, 0), (0, problem.regularizer.shape[0])))


def estimate_norm(forward: Apply, adjoint: Apply, in_shape: Shape) -> float:
    """Return the norm of a map from below, within a factor of about 2."""
    x = np.random.default_rng(0).standard_normal((1, *in_shape))
    for _ in range(POWERS):
        x = adjoint(forward(x / max(float(norms(x)[0]), np.finfo(float).tiny)))
    return float(norms(x)[0]) ** 0.5
