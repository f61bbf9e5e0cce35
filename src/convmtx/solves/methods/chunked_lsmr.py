"""LSMR with vectors that are arrays of Dask: they stay what they are, in chunks, and are never flattened or gathered.

Each step is one graph. Its vectors and the two norms that the next step needs are computed together, by the cluster of
the active client or by threads. The updates of x, h and hbar need no norm that is not known before, and so they are
left to the graph of the next step, which reads w anyway.

There is no preconditioner: a circulant for each chunk costs steps. On a blur of 240 x 240 by 11 x 11 taps with chunks
of 120 x 120, conjugate gradients took 29, 146 and 1232 steps with it, for a damping of 0.2, 0.05 and 0.01, and 26, 84
and 348 without. What is cut at the borders of chunks is not small beside the damping.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines.products import inner_products
from convmtx.errors import ArgumentError, SolveError
from convmtx.extras import import_extra
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.accuracy import Lengths
from convmtx.solves.methods.recurrences import FLOOR, Estimates, Recurrences, Rotations, Updates
from convmtx.typing import AnyArray, Array

#: Numbers whose squares are added at a time, in double precision.
PIECE = 1 << 16
#: Chunks along each axis whose sums of squares one task adds.
ADDED = 8
#: Names of what a run needs to go on: vectors beside u, single numbers, numbers (m,), and lists of those.
VECTORS = "w", "hbar", "h", "solution"
SINGLE = "damp", "rows", "iterations"
NUMBERS = (
    "norm_b", "terms", "sigma", "tau", "ratio", "length", "square", "highest", "lowest", "steps", "finished",
)  # fmt: skip
LISTS = "state", "estimates", "alphas", "betas"
#: Largest magnitude of b in double and in single precision; one over it is the least. x may have numbers of b over
#: those of the map, and a normal residual those of eps times their product: with maps from 1e-60 to 1e60, and from 1e-6
#: to 1e6 in single precision, they are in range, and so are squares, which are added in double precision.
LARGEST, LARGEST_SINGLE = 1e60, 1e20


class Equations(NamedTuple):
    """Maps of one input, (*batch, *in_shape), below each other, with the right-hand sides of the first of them.

    The outputs of each map are multiplied by its weight: a number, or an array that broadcasts with them. Those that
    have no right-hand side are penalized.
    """

    maps: tuple[tuple[LinearMap, Any], ...]
    right: tuple[Array, ...]
    #: Axes of a batch, as all arrays have them.
    batch: tuple[int, ...]
    #: Like every input: zeros in its chunks and its type.
    like: Array

    def forward(self, x: Array) -> list[Array]:
        """Return the outputs of every map."""
        return [_times(op(x), weight).astype(x.dtype) for op, weight in self.maps]

    def adjoint(self, u: Sequence[Array]) -> Array:
        """Return the sum of the adjoints of outputs, in the chunks of an input."""
        images: list[Any] = [op.H(_times(part, weight)) for (op, weight), part in zip(self.maps, u, strict=True)]
        images = [image.rechunk(self.like.chunks) for image in images]
        return sum(images[1:], images[0]).astype(self.like.dtype)

    def squares(self, array: Array) -> Array:
        """Return the sum of squared magnitudes of each array of the batch."""
        return self._reduced(array, _squares, _added)

    def peaks(self, array: Array) -> Array:
        """Return the largest magnitude of each array of the batch."""
        return self._reduced(array, _peak, _largest)

    def _reduced(self, array: Array, chunk: Callable[..., AnyArray], aggregate: Callable[..., AnyArray]) -> Array:
        axes = tuple(range(len(self.batch), array.ndim))
        return import_extra("dask.array", "dask").reduction(
            array, chunk, aggregate, axis=axes, dtype=np.float64, split_every=dict.fromkeys(axes, ADDED)
        )

    def require_range(self, peaks: AnyArray) -> None:
        """Refuse right-hand sides whose largest magnitudes are so small or large that squares are not in range."""
        largest, single = LARGEST, ""
        if self.like.real.dtype == np.float32:
            largest, single = LARGEST_SINGLE, " in single precision"
        for peak in peaks[np.isfinite(peaks) & (peaks > 0)]:
            if not 1 / largest < peak < largest:
                by = "" if all(isinstance(weight, float) for _, weight in self.maps) else " times the roots of weights"
                expected = f"Expected those from {1 / largest:.0e} to {largest:.0e}{single} with b of Dask"
                remedy = f"Divide b and x0 by {peak:.0e}, and multiply x by it"
                raise ArgumentError(f"b{by} has numbers near {peak:.0e}", expected, remedy)

    def numbers(self, numbers: AnyArray) -> Any:
        """Return numbers, one for each array of the batch, as `by_chunks` takes them."""
        if not self.batch:
            return float(numbers[0])
        array, chunks = numbers.reshape(self.batch), self.like.chunks[: len(self.batch)]
        return import_extra("dask.array", "dask").from_array(array, chunks=chunks)


class ChunkedLSMR(Recurrences):
    """LSMR for the right-hand sides of equations, with ``damp`` as the weight of ``||x||``.

    u has the norm beta, w has the norm alpha, and h and hbar are alpha times those of the paper. What `_update` leaves
    of x, h and hbar is not computed yet.
    """

    u: list[Array]
    w: Array
    hbar: Array
    h: Array
    solution: Array

    def __init__(self, equations: Equations, x0: Array | None = None, damp: float = 0.0) -> None:
        """Compute the first two vectors and their norms."""
        self._set(equations)
        # As in `LSMR`: rotations would damp the distance from x0.
        self.damp, self.rows = (damp, 0.0) if x0 is None else (0.0, damp)
        zeros = by_chunks(np.zeros_like, equations.like)
        self.hbar, self.solution = zeros, zeros if x0 is None else by_chunks(same, x0)
        images = equations.forward(self.solution)
        penalized = images[len(equations.right) :]
        u = [by_chunks(same, b) for b in equations.right] + [by_chunks(np.zeros_like, image) for image in penalized]
        norms = [self._total(equations.right)]
        if x0 is not None:
            u = [b - image for b, image in zip(u, images, strict=True)]
            u += [x0 * -damp] if damp else []
            norms.append(self._total(images))
        square = self._total(u)
        w = by_chunks(_next_w, self._adjoint(u), zeros, square, equations.numbers(np.ones(len(self.scale))))
        largest = [equations.peaks(b) for b in equations.right]
        self.u, self.w, squares = persist([u, w, [*largest, *norms, square, equations.squares(w)]])
        first = computed([*self.u, self.w], squares)
        equations.require_range(np.max(first[: len(largest)], axis=0))
        *norms, beta, alpha = map(np.sqrt, first[len(largest) :])
        if not np.isfinite(norms).all():
            got = "b or x0 contains inf or nan, or x0 is too large"
            raise ArgumentError(got, "Expected finite numbers", "Replace them, or leave them out by mask=")
        self._require_finite(beta, alpha)
        self.h, self.norm_b, self.terms = self.w, norms[0], sum(norms[1:], norms[0])
        self.sigma, self.tau = np.maximum(beta, FLOOR), np.maximum(alpha, FLOOR)
        self.ratio, self.length = np.ones(len(beta)), np.zeros(len(beta))
        self._begin(self.tau, self.sigma, len(beta))

    def _set(self, equations: Equations) -> None:
        self.iterations = 0
        self.equations, self.eps = equations, float(np.finfo(equations.like.dtype).eps)
        self.scale = np.ones((math.prod(equations.batch), 1))

    def _require_finite(self, *norms: AnyArray) -> None:
        if not np.isfinite(norms).all():
            got = f"a norm of step {self.iterations} is not finite"
            expected = f"Expected vectors in the range of {self.equations.like.dtype}"
            raise SolveError(got, expected, "Check that the map gives finite numbers, or scale it and b")

    @property
    def x(self) -> Array:
        """The iterates, (*batch, *in_shape)."""
        return self.solution

    def _reach(self) -> Any:
        # That of the iterate before: norms of the iterates grow with every step, so it is on the safe side.
        return self.norm_b + self.estimates.norm * self.length

    def _bidiagonalize(self) -> tuple[Any, Any]:
        # Here the old vectors are given up, and each of their chunks as soon as nothing has to read it any more.
        self.u, vectors, squares = persist(self._next())
        self.w, self.hbar, self.h, self.solution = vectors
        beta, alpha, self.length = map(np.sqrt, computed([*self.u, *vectors], squares))
        self._require_finite(beta, alpha, self.length)
        self.sigma, self.tau = (self._hold(np.maximum(norm, FLOOR)) for norm in (beta, alpha))
        return self.sigma, self.tau

    def _next(self) -> list[list[Array]]:
        """Return the next u, the next w with x, h and hbar up to now, and squares of norms: nothing is computed."""
        along, before, equations = self._numbers(1 / self.tau), self._numbers(-self.tau / self.sigma), self.equations
        images = [*equations.forward(self.w), *([self.w * self.rows] if self.rows else [])]
        u = [by_chunks(_sum, image, along, part, before) for image, part in zip(images, self.u, strict=True)]
        square = self._total(u)
        w = by_chunks(_next_w, self._adjoint(u), self.w, square, along)
        squares = [square, equations.squares(w), equations.squares(self.solution)]
        return [u, [w, self.hbar, self.h, self.solution], squares]

    def _update(self, factors: Updates, before: Any) -> None:
        one = self._numbers(np.ones(len(before)))
        self.hbar = by_chunks(_sum, self.hbar, self._numbers(factors.hbar * self.ratio), self.h, one)
        self.solution = by_chunks(_sum, self.hbar, self._numbers(factors.solution / before), self.solution, 1.0)
        self.ratio = self.tau / before
        self.h = by_chunks(_sum, self.h, self._numbers(factors.h * self.ratio), self.w, one)

    def settle(self) -> None:
        """Compute what `_update` left, for whoever reads the vectors between two steps."""
        self.solution, self.hbar, self.h = persist([self.solution, self.hbar, self.h])

    def lengths(self) -> Lengths:
        """Compute x, its norms, and those of what it leaves."""
        equations, x, count = self.equations, self.solution, len(self.equations.right)
        images = equations.forward(x)
        left = [b - image for b, image in zip(equations.right, images[:count], strict=True)]
        penalized = [-image for image in images[count:]]
        normal = equations.adjoint([*left, *penalized]) - x * (self.damp + self.rows) ** 2
        totals = [equations.squares(x), self._total(left), self._total([*left, *penalized]), equations.squares(normal)]
        (self.solution, self.hbar, self.h), squares = persist([[x, self.hbar, self.h], totals])
        size, residual, stacked, rest = map(np.sqrt, computed([self.solution, self.hbar, self.h], squares))
        self._require_finite(size, residual, stacked, rest)
        return Lengths(size, residual, np.hypot(stacked, (self.damp + self.rows) * size), rest)

    def _adjoint(self, u: Sequence[Array]) -> Array:
        if not self.rows:
            return self.equations.adjoint(u)
        return self.equations.adjoint(u[:-1]) + u[-1] * self.rows

    def _numbers(self, numbers: AnyArray) -> Any:
        """Return factors of vectors; they are 0 for right-hand sides that are finished, which stay."""
        return self.equations.numbers(np.where(self.finished, 0.0, numbers))

    def _total(self, parts: Sequence[Array]) -> Array:
        squares = [self.equations.squares(part) for part in parts]
        return sum(squares[1:], squares[0])

    # To go on later

    @property
    def vectors(self) -> dict[str, Array]:
        """All vectors by their names."""
        return {**{f"u{j}": part for j, part in enumerate(self.u)}, **{name: getattr(self, name) for name in VECTORS}}

    @property
    def numbers(self) -> dict[str, AnyArray]:
        """All numbers by their names."""
        lists = {name: np.reshape(getattr(self, name), (-1, len(self.scale))) for name in LISTS}
        return {**{name: np.asarray(getattr(self, name)) for name in (*SINGLE, *NUMBERS)}, **lists}

    def replace(self, vectors: dict[str, Array]) -> None:
        """Go on with these vectors."""
        self.u = [vectors[name] for name in vectors if name not in VECTORS]
        for name in VECTORS:
            setattr(self, name, vectors[name])

    @classmethod
    def at(cls, equations: Equations, vectors: dict[str, Array], numbers: dict[str, AnyArray]) -> ChunkedLSMR:
        """Return the run of these vectors and numbers, which goes on as if it had not been left."""
        run = cls.__new__(cls)
        run._set(equations)
        if any(np.shape(numbers[name])[-1:] != (len(run.scale),) for name in (*NUMBERS, *LISTS)):
            message = "numbers of another batch"
            raise ValueError(message)
        run.replace(vectors)
        for name in NUMBERS:
            setattr(run, name, numbers[name])
        run.alphas, run.betas = list(numbers["alphas"]), list(numbers["betas"])
        run.state, run.estimates = Rotations(*numbers["state"]), Estimates(*numbers["estimates"])
        run.damp, run.rows, run.iterations = (numbers[name].item() for name in SINGLE)
        run.all_finished = bool(run.finished.all())
        return run


def expected_vectors(equations: Equations) -> dict[str, Array]:
    """Return arrays like all vectors that a run of equations can have, by their names."""
    outputs = [*equations.forward(equations.like), equations.like]
    return {f"u{j}": part for j, part in enumerate(outputs)} | dict.fromkeys(VECTORS, equations.like)


def by_chunks(function: Callable[..., AnyArray], *arrays: Any) -> Array:
    """Return an array like the first, computed from equal chunks of vectors, and numbers of their arrays of the batch.

    Its name is its own. Dask names what it computes after what it is computed from, and expects one recipe for a name.
    But the recipe of a vector depends on what else its graph computes, so that two solves of the same problem would
    have two for one name.
    """
    first = arrays[0]
    pairs = [part for a in arrays for part in (a, tuple(range(a.ndim)) if hasattr(a, "ndim") else None)]
    return import_extra("dask.array", "dask").blockwise(
        function, tuple(range(first.ndim)), *pairs, dtype=first.dtype, meta=first._meta, align_arrays=False,
        name=f"{function.__name__.strip('_')}-{token_hex(16)}",
    )  # fmt: skip


def same(vector: AnyArray) -> AnyArray:
    """Return a chunk as it is, for `by_chunks` to give it a name."""
    return vector


def _sum(first: AnyArray, times: Any, second: AnyArray, by: Any) -> AnyArray:
    """Return the sum of chunks of two vectors, each times numbers; whoever reads its norm finds what is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        total: AnyArray = first * _column(times, first)
        total += second * _column(by, first)
    return total


def _next_w(image: AnyArray, w: AnyArray, square: AnyArray, along: Any) -> AnyArray:
    """Return a chunk of ``A^H u - beta w`` for u and w of norm 1, where beta is the root of ``square``.

    What is left of a vector that counts as zero is not divided by its norm.
    """
    beta = np.sqrt(square)
    divisor = np.where(beta > FLOOR, beta, 1.0)
    return _sum(image, 1 / divisor, w, -beta * along)


def _column(numbers: Any, vector: AnyArray) -> Any:
    """Return numbers of the arrays of a batch so that they multiply a chunk, in its precision."""
    numbers = np.asarray(numbers, vector.real.dtype)
    return numbers.reshape(*numbers.shape, *(1 for _ in vector.shape[numbers.ndim :]))


def _times(array: Array, weight: Any) -> Array:
    return array if isinstance(weight, float) and weight == 1 else array * weight


def persist(groups: list[Any]) -> list[Any]:
    """Start to compute groups of arrays together, on the cluster of the active client if there is one."""
    return list(import_extra("dask", "dask").persist(*groups))


def computed(vectors: Sequence[Array], squares: Sequence[Array]) -> list[AnyArray]:
    """Return numbers that are being computed, (m,) each, once vectors are there too."""
    distributed = sys.modules.get("distributed")
    if distributed is not None and (futures := distributed.futures_of(list(vectors))):
        distributed.wait(futures)
    return [np.reshape(square, -1) for square in import_extra("dask", "dask").compute(*squares)]


def _largest(peaks: AnyArray, axis: tuple[int, ...], keepdims: bool) -> AnyArray:
    return np.max(peaks, axis=axis, keepdims=keepdims, initial=0)


def _peak(chunk: AnyArray, axis: tuple[int, ...], keepdims: bool) -> AnyArray:
    with np.errstate(over="ignore"):  # a complex number may be finite and its magnitude not
        return _largest(np.abs(chunk), axis, keepdims).astype(np.float64)


def _added(sums: AnyArray, axis: tuple[int, ...], keepdims: bool) -> AnyArray:
    with np.errstate(over="ignore"):
        return np.sum(sums, axis=axis, keepdims=keepdims)


def _squares(chunk: AnyArray, axis: tuple[int, ...], keepdims: bool) -> AnyArray:
    """Return sums of squared magnitudes along the last axes of a chunk, in double precision whatever its own is."""
    batch = chunk.shape[: chunk.ndim - len(axis)]
    rows = np.ascontiguousarray(chunk).reshape(math.prod(batch), math.prod(chunk.shape[len(batch) :]))
    rows = rows.view(rows.real.dtype)
    total = np.zeros(len(rows))
    for first in range(0, rows.shape[1], PIECE):
        piece = rows[:, first : first + PIECE].astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            total += inner_products(piece, piece)
    return total.reshape(*batch, *(1 for _ in axis)) if keepdims else total.reshape(batch)
