"""Direct least squares: LU of the map's matrix, or of an augmented one whose condition is not squared."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.engines.threads import one_blas_thread
from convmtx.geometry import Axis, Geometry
from convmtx.typing import AnyArray, IntArray

EPS = float(np.finfo(float).eps)
#: Of the norm: the least scale of residuals in an augmented system. Its condition is that of A or 1 / FLOOR; with one
#: step of refinement, maps of a condition up to 1e8 are solved as exactly as by an orthogonal decomposition.
FLOOR = 1e-7
#: LAPACK's block: wider bands are factored by matrix products, so small that two threads wait for each other most of
#: the time (1000 times slower where others work, too).
BLOCK = 64
Apply = Callable[[AnyArray], AnyArray]
#: ``(b, adjoint) -> A^-1 b`` or ``A^-H b``, for each row of b.
Factors = Callable[[AnyArray, bool], AnyArray]


class Singular(Exception):  # noqa: N818 - caught, and told of in the words of who caught it
    """A matrix is singular, or as good as singular; ``condition`` is at least that large."""

    def __init__(self, condition: float = np.inf) -> None:
        super().__init__(condition)
        self.condition = condition


class LU(NamedTuple):
    """Minimises ``|A x - b|^2 + damp^2 |R x|^2``, and then ``|x|`` where no damping does."""

    #: (m, M) -> (m, N).
    solve: Apply
    #: (m, N) -> (m, N), the pseudo-inverse of ``A^H A + damp^2 R^H R``.
    normal: Apply
    #: (m, N) -> (m, M), A times that, to the digits that are left of A and not of its square.
    image: Apply
    #: Estimate of the condition of A, stacked on ``damp R``; where A is wide and R the identity, of ``[A, damp I]``.
    condition: float
    #: Estimate of the norm of A, stacked if so.
    norm: float
    #: Unknowns of the system that was factored.
    size: int


def factored(matrix: Any, damp: float, regularizer: Any = None, *, band: bool) -> LU:
    """The solver for a CSR matrix in double precision, by LU of a band matrix or of a sparse one."""
    rows, columns = matrix.shape
    if damp and regularizer is not None:
        from scipy.sparse import vstack

        stacked = vstack([matrix, damp * regularizer], format="csr")
        lu = _augmented(stacked, 0.0, band)
        return lu._replace(
            solve=lambda b: lu.solve(np.pad(b, ((0, 0), (0, stacked.shape[0] - rows)))),
            image=lambda g: lu.image(g)[:, :rows],
        )
    if damp or rows != columns:
        return _augmented(matrix, damp, band)
    return _square(matrix, _band(*_coordinates(matrix), matrix.data, rows) if band else _sparse(matrix))


def substituted(matrix: Any, order: IntArray | None = None) -> LU:
    """The solver for a CSR matrix that is triangular, or ``matrix[order][:, order]`` is, without fill."""
    if order is not None:
        matrix = matrix[order][:, order]
    options: dict[str, Any] = {"permc_spec": "NATURAL", "diag_pivot_thresh": 0.0}
    rows, columns = _coordinates(matrix)
    if (rows >= columns).all():
        factors = _sparse(matrix, **options)
    else:  # SuperLU is faster with lower triangles
        lower = _sparse(matrix.T, **options)

        def factors(b: AnyArray, adjoint: bool) -> AnyArray:
            return lower(b.conj(), not adjoint).conj()

    return _square(matrix, factors if order is None else _reordered(factors, order))


def _square(matrix: Any, factors: Factors) -> LU:
    size, dtype = matrix.shape[0], matrix.dtype
    sums = np.add.reduceat(np.abs(matrix.data), matrix.indptr[:-1])  # of rows; LU would have failed with an empty one
    norm = float(sums.max())
    condition = norm * _norm(factors, size)
    if not condition <= _limit(size):
        raise Singular(condition)
    solve = of_any_dtype(lambda b: factors(b, False), dtype)
    normal = of_any_dtype(lambda g: factors(factors(g, True), False), dtype)
    image = of_any_dtype(lambda g: factors(g, True), dtype)
    return LU(solve, normal, image, condition, norm, size)


def _augmented(matrix: Any, damp: float, band: bool) -> LU:
    """By ``[[a I, A], [A^H, -d^2/a I]] [r/a, x] = [b, 0]``, or, where A is wide, by the same with a and -d^2/a swapped.

    With a near the smallest singular value the condition is that of A and not its square (Bjorck, BIT 7, 1967).
    """
    (rows, columns), dtype, tall = matrix.shape, matrix.dtype, matrix.shape[0] >= matrix.shape[1]
    i, j = _coordinates(matrix)
    sizes = np.abs(matrix.data)
    norm = float(np.sqrt(np.bincount(i, sizes).max(initial=0)) * np.sqrt(np.bincount(j, sizes).max(initial=0)))
    unit = max(damp, FLOOR * norm)
    if not unit:
        raise Singular
    other = -damp * (damp / unit)
    top, bottom = (unit, other) if tall else (other, unit)
    back = matrix.conj(copy=False).T
    if band:
        factors = _interleaved(matrix, i, j, top, bottom)
    else:
        from scipy.sparse import block_array, eye_array

        diagonals = top * eye_array(rows), bottom * eye_array(columns)
        factors = _sparse(block_array([[diagonals[0], matrix], [back, diagonals[1]]], format="csr"))

    def block(g: AnyArray, adjoint: bool = False) -> AnyArray:  # noqa: ARG001 - is its own adjoint
        """Of the inverse, ``-a (A^H A + d^2)^-1``, or ``-a (A A^H + d^2)^-1`` where A is wide."""
        padded = np.pad(g, ((0, 0), (rows, 0) if tall else (0, columns)))
        return factors(padded, False)[:, rows:] if tall else factors(padded, False)[:, :rows]

    inverse = _norm(block, min(rows, columns))
    condition = float(np.hypot(norm, damp) * np.sqrt(inverse / unit))
    if not np.hypot(norm, damp) * inverse <= _limit(rows + columns):
        raise Singular(condition)

    def both(b: AnyArray, g: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Residuals and solution, refined once: that makes up for a scale far from the best one."""
        z = factors(np.hstack([b, g]), False)
        y, x = z[:, :rows], z[:, rows:]
        z = z + factors(np.hstack([b - top * y - (matrix @ x.T).T, g - (back @ y.T).T - bottom * x]), False)
        return z[:, :rows], z[:, rows:]

    def solve(b: AnyArray) -> AnyArray:
        return both(b, np.zeros((len(b), columns), b.dtype))[1]

    def pair(g: AnyArray) -> tuple[AnyArray, AnyArray]:
        """``A H^+ g`` and ``H^+ g``."""
        zeros = np.zeros((len(g), rows), g.dtype)
        if tall:
            y, x = both(zeros, -g / unit)
            return -unit * y, x
        if damp:
            y, x = both(zeros, g * (unit / damp / damp))
            return -other * y, x
        y = both(zeros, g)[0]
        return y, solve(y)

    normal, image = (lambda g: pair(g)[1]), (lambda g: pair(g)[0])
    solves, normals, images = (of_any_dtype(each, dtype) for each in (solve, normal, image))
    return LU(solves, normals, images, condition, norm, rows + columns)


def _interleaved(matrix: Any, i: IntArray, j: IntArray, top: float, bottom: float) -> Factors:
    """Of the augmented matrix as a band: outputs amid the inputs that they read."""
    rows, columns = matrix.shape
    first, last, held = np.full(rows, columns), np.zeros(rows), np.diff(matrix.indptr) > 0
    starts = matrix.indptr[:-1][held]
    first[held], last[held] = np.minimum.reduceat(j, starts), np.maximum.reduceat(j, starts)
    order = np.argsort(np.concatenate([(first + last) / 2, np.arange(columns)]), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    i, j = rank[i], rank[rows + j]
    values = np.concatenate([matrix.data, matrix.data.conj(), np.repeat((top, bottom), matrix.shape)])
    factors = _band(np.concatenate([i, j, rank]), np.concatenate([j, i, rank]), values, order.size)
    return _reordered(factors, order)


def _coordinates(matrix: Any) -> tuple[AnyArray, AnyArray]:
    """Of the entries, in the integers of the matrix: larger ones would take longer."""
    return np.repeat(np.arange(matrix.shape[0], dtype=matrix.indices.dtype), np.diff(matrix.indptr)), matrix.indices


def _band(rows: AnyArray, columns: AnyArray, values: AnyArray, size: int) -> Factors:
    from scipy.linalg import get_lapack_funcs

    functions: Any = get_lapack_funcs(("gbtrf", "gbtrs"), dtype=values.dtype)
    gbtrf, gbtrs = functions
    below = rows - columns
    kl, ku = max(int(below.max(initial=0)), 0), max(-int(below.min(initial=0)), 0)
    height = 2 * kl + ku + 1
    places = columns * np.int64(height - 1)
    places += rows
    band = np.zeros((size, height), values.dtype)  # LAPACK's, transposed: kl + ku rows of zeros come first
    band.ravel()[kl + ku :][places] = values
    blas = one_blas_thread if kl + ku > BLOCK else nullcontext
    with blas():
        band, pivots, info = gbtrf(band.T, kl, ku, overwrite_ab=1)
    if info:
        raise Singular

    def factors(b: AnyArray, adjoint: bool) -> AnyArray:
        with blas():
            return gbtrs(band, kl, ku, b.T, pivots, trans=2 * adjoint)[0].T

    return factors


def _sparse(matrix: Any, **options: Any) -> Factors:
    from scipy.sparse.linalg import splu

    try:
        with one_blas_thread():
            lu: Any = splu(matrix.tocsc(), **options)
    except RuntimeError as error:
        raise Singular from error

    def factors(b: AnyArray, adjoint: bool) -> AnyArray:
        with one_blas_thread():
            return lu.solve(b.T, "H" if adjoint else "N").T

    return factors


def _reordered(factors: Factors, order: IntArray) -> Factors:
    """From factors of ``matrix[order][:, order]`` those of the matrix."""
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return lambda b, adjoint: factors(b.take(order, 1), adjoint).take(rank, 1)


def _norm(inverse: Factors, size: int) -> float:
    """Lower bound of the largest row sum, seldom below a third of it (Hager, SIAM J. Sci. Stat. Comput. 5, 1984)."""
    with np.errstate(all="ignore"):
        return float(np.abs(inverse(np.sign(inverse(_noise(size), True)), False)).max())


@lru_cache(maxsize=4)
def _noise(size: int) -> AnyArray:
    """Always the same."""
    return np.random.default_rng(0).random((1, size)) - 0.5


def _limit(size: int) -> float:
    """Of conditions that leave a digit."""
    return 1 / (8 * EPS * size)


def of_any_dtype(apply: Apply, dtype: np.dtype[Any]) -> Apply:
    """A real map applied to complex vectors as to twice as many real ones."""

    def applied(b: AnyArray) -> AnyArray:
        if b.dtype.kind != "c" or dtype.kind == "c":
            return apply(b.astype(dtype, copy=False))
        halves = apply(np.concatenate([b.real, b.imag]).astype(dtype, copy=False))
        return halves[: len(b)] + 1j * halves[len(b) :]

    return applied


class Cost(NamedTuple):
    """What factors would take: seconds to make them, roughly, seconds for each right-hand side, and bytes."""

    make: float
    each: float
    size: float


#: Fitted to what `factored` takes for maps onto outputs like the inputs, of 1 to 3 axes, with BLAS held to a thread.
#: Band, plain and augmented: seconds, and per unknown, times half of the bandwidth, times its square.
BAND = {False: (4e-5, 1.4e-7, 1.4e-8, 9e-11), True: (8e-5, 3.5e-7, 5.5e-8, 9e-11)}
#: Per unknown and right-hand side: seconds, and times half of the bandwidth.
BAND_EACH = 2e-8, 2e-9
#: Sparse, by axes and augmented: seconds, and exponents of positions, taps and channels.
SPARSE = {
    (1, False): (2.0e-8, 1.18, 1.17, 1.84),
    (1, True): (2.0e-7, 1.09, 1.13, 1.68),
    (2, False): (1.0e-8, 1.44, 1.17, 1.60),
    (2, True): (1.5e-7, 1.33, 1.01, 1.69),
    (3, False): (1.4e-10, 2.16, 0.97, 2.53),
    (3, True): (1.6e-9, 2.09, 0.92, 2.26),
}
#: Of the time that sparse factors take, for each right-hand side.
SPARSE_EACH = 0.03
#: Bytes of factors that SuperLU writes in a second, at most.
WRITTEN = 5e8
#: Complex arithmetic takes so many times longer than real.
COMPLEX = 3


@lru_cache(maxsize=256)
def predicted(geometry: Geometry, augmented: bool, dtype: np.dtype[Any], *, band: bool) -> Cost:
    """Of `factored`, from the geometry alone."""
    passes, times = 1 + augmented, COMPLEX if dtype.kind == "c" else 1
    if not band:
        positions = max(math.prod(a.size for a in geometry.axes), math.prod(a.out for a in geometry.axes))
        channels = math.sqrt(math.prod(geometry.channels_per_group))
        taps = math.prod(a.kernel for a in geometry.axes)
        rate, *powers = SPARSE[min(len(geometry.axes), 3), augmented]
        make = times * geometry.groups * rate * math.prod(np.power((positions, taps, channels), powers))
        return Cost(make, passes * SPARSE_EACH * make, WRITTEN * make)
    kl, ku = _bandwidths(geometry, augmented)
    size, half = sum(geometry.shape) if augmented else geometry.shape[1], math.sqrt(kl * (kl + ku) / 2)
    fixed, *rates = BAND[augmented]
    make = times * (fixed + size * sum(rate * half**power for power, rate in enumerate(rates)))
    each = times * passes * size * (BAND_EACH[0] + BAND_EACH[1] * half)
    return Cost(make, each, float(size * (2 * kl + ku + 1) * dtype.itemsize))


def _bandwidths(geometry: Geometry, augmented: bool) -> tuple[int, int]:
    """Of the matrix, and about those of the augmented one, whose outputs crowd a little at the ends of an axis."""
    rows, columns = geometry.shape
    below = above = width = 0
    for axis in geometry.axes:
        lower, upper, reach = _reach(axis)
        below, above, width = below * axis.size + lower, above * axis.size + upper, width * axis.size + reach
    per = max(geometry.channels_per_group) - 1
    if augmented:
        half = (width * geometry.in_channels + per) * (rows + columns) // (2 * columns) + per + 1
        return (min(half, rows + columns - 1),) * 2
    if any(axis.out != axis.size for axis in geometry.axes):
        return rows - 1, rows - 1
    low, high = (min(max(side * geometry.in_channels + per, 0), rows - 1) for side in (below, above))
    return low, high


def _reach(axis: Axis) -> tuple[int, int, int]:
    """How far outputs read before and after their own place, and from first to last at most."""
    first, last = axis.interior
    outputs = np.arange(axis.out)  # inside, all are alike
    outputs = outputs[(outputs < first + axis.input_dilation) | (outputs >= last - axis.input_dilation)]
    read = axis.read(outputs[:, None], np.arange(axis.kernel))
    high = read.max(axis=1)
    low = np.where(read == NOTHING, axis.size, read).min(axis=1)
    some = high != NOTHING
    outputs, low, high = outputs[some], low[some], high[some]
    if not outputs.size:
        return 0, 0, 0
    return int((outputs - low).max()), int((high - outputs).max()), int((high - low).max())
