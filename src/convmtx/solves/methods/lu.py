"""Direct least squares: LU of the map's matrix, or of its augmented system, whose condition is not squared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from convmtx.structure.augmented import (
    LU,
    AugmentedSystem,
    BandLU,
    BandTriangle,
    LineCholesky,
    LineTriangle,
    ReorderedLU,
    Singular,
    SparseLU,
    TransposedLU,
    coordinates,
    store_band,
)
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray, IntArray

#: Numbers of a band up to which a triangle of constant diagonals is stored as one: 8 MiB.
LONGEST_BAND = 1 << 20
#: Least number on the diagonal of an augmented system, as a fraction of the norm. The system's condition is that of A
#: or 1 / FLOOR; with one step of refinement, maps of a condition up to 1e8 are solved as exactly as by an orthogonal
#: decomposition.
FLOOR = 1e-7
#: Points of the grid of a symbol for each diagonal of the matrix, at least, and the condition up to which it is taken
#: from the symbol: larger ones are estimated more closely with the factors.
GRID, WELL = 64, 1e6
Apply = Callable[[AnyArray], AnyArray]


class LeastSquares(ABC):
    """Minimizes ``|A x - b|^2 + damp^2 |R x|^2``, and then ``|x|`` if there is no damping."""

    dtype: np.dtype[Any]
    #: Estimate of the condition of A, stacked on ``damp R``; if A is wide and R the identity, of ``[A, damp I]``.
    condition: float
    #: Estimate of the norm of A, stacked if so.
    norm: float
    #: Unknowns of the system that was factored.
    size: int

    def solve(self, b: AnyArray) -> AnyArray:
        """Return x: (m, M) to (m, N)."""
        return apply_to_any_dtype(self._solve, self.dtype, b)

    def normal(self, g: AnyArray) -> AnyArray:
        """Return the pseudo-inverse of ``A^H A + damp^2 R^H R``, applied to g: (m, N) to (m, N)."""
        return apply_to_any_dtype(self._normal, self.dtype, g)

    def image(self, g: AnyArray) -> AnyArray:
        """Return A times `normal`, with the digits that are left of A and not of its square: (m, N) to (m, M)."""
        return apply_to_any_dtype(self._image, self.dtype, g)

    @abstractmethod
    def _solve(self, b: AnyArray) -> AnyArray: ...

    @abstractmethod
    def _normal(self, g: AnyArray) -> AnyArray: ...

    @abstractmethod
    def _image(self, g: AnyArray) -> AnyArray: ...


class Square(LeastSquares):
    """A square matrix without damping."""

    def __init__(self, lu: LU, dtype: np.dtype[Any], size: int, norm: float, condition: float | None = None) -> None:
        """Estimate the condition from ``norm``, the largest row sum of magnitudes, unless a bound is known."""
        self.dtype, self.size, self.lu, self.norm = dtype, size, lu, norm
        if condition is None:
            condition = norm * _row_sum(lu.solve, partial(lu.solve, adjoint=True), size)
        self.condition = condition
        if not self.condition <= _largest_condition(self.size):
            raise Singular(self.condition)

    def _solve(self, b: AnyArray) -> AnyArray:
        return self.lu.solve(b)

    def _normal(self, g: AnyArray) -> AnyArray:
        return self.lu.solve(self.lu.solve(g, adjoint=True))

    def _image(self, g: AnyArray) -> AnyArray:
        return self.lu.solve(g, adjoint=True)


class Rectangular(LeastSquares):
    """Any matrix with or without damping, by ``[[a I, A], [A^H, -damp^2/a I]] [r/a, x] = [b, 0]``.

    If A is wide, a and ``-damp^2/a`` change places: then ``A x = b`` holds without damping, with the shortest x.
    """

    def __init__(self, matrix: Any, damp: float, *, band: bool) -> None:
        rows, columns = matrix.shape
        self.dtype, self.size, self.damp, self.tall = matrix.dtype, rows + columns, damp, rows >= columns
        self.norm = _norm_bound(matrix)
        #: The number a, and the other one on the diagonal.
        self.unit = max(damp, FLOOR * self.norm)
        if not self.unit:
            raise Singular
        self.other = -damp * (damp / self.unit)
        top, bottom = (self.unit, self.other) if self.tall else (self.other, self.unit)
        self.system = AugmentedSystem(matrix, top, bottom, band=band)
        block = self.system.x_for if self.tall else self.system.y_for  # is its own adjoint, -a (A^H A + damp^2)^-1
        inverse = _row_sum(block, block, min(rows, columns))
        stacked = float(np.hypot(self.norm, damp))
        self.condition = float(stacked * np.sqrt(inverse / self.unit))
        if not stacked * inverse <= _largest_condition(self.size):
            raise Singular(self.condition)

    def _solve(self, b: AnyArray) -> AnyArray:
        return self.system.refine(b, np.zeros((len(b), self.system.columns), b.dtype))[1]

    def _normal(self, g: AnyArray) -> AnyArray:
        return self._image_and_normal(g)[1]

    def _image(self, g: AnyArray) -> AnyArray:
        return self._image_and_normal(g)[0]

    def _image_and_normal(self, g: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return ``A H^+ g`` and ``H^+ g``."""
        zeros = np.zeros((len(g), self.system.rows), g.dtype)
        if self.tall:
            y, x = self.system.refine(zeros, -g / self.unit)
            return -self.unit * y, x
        if self.damp:
            y, x = self.system.refine(zeros, g * (self.unit / self.damp / self.damp))
            return -self.other * y, x
        y, _ = self.system.refine(zeros, g)
        return y, self._solve(y)


class StackedSystem(LeastSquares):
    """A matrix with a penalty stacked below it, ``[A; damp R]``."""

    def __init__(self, matrix: Any, penalty: Any, *, band: bool) -> None:
        from scipy.sparse import vstack

        self.rows, self.below = matrix.shape[0], penalty.shape[0]
        self.whole = Rectangular(vstack([matrix, penalty], format="csr"), 0.0, band=band)
        self.dtype, self.size = self.whole.dtype, self.whole.size
        self.condition, self.norm = self.whole.condition, self.whole.norm

    def _solve(self, b: AnyArray) -> AnyArray:
        return self.whole.solve(np.pad(b, ((0, 0), (0, self.below))))

    def _normal(self, g: AnyArray) -> AnyArray:
        return self.whole.normal(g)

    def _image(self, g: AnyArray) -> AnyArray:
        return self.whole.image(g)[:, : self.rows]


def factorize_matrix(matrix: Any, damp: float, regularizer: Any = None, *, band: bool) -> LeastSquares:
    """Return the solver for a CSR matrix in double precision, by LU of a band matrix or of a sparse one."""
    rows, columns = matrix.shape
    if damp and regularizer is not None:
        return StackedSystem(matrix, damp * regularizer, band=band)
    if damp or rows != columns:
        return Rectangular(matrix, damp, band=band)
    lu = BandLU(*store_band(*coordinates(matrix), matrix.data, rows)) if band else SparseLU(matrix)
    return _square(matrix, lu)


@dataclass(frozen=True, eq=False)
class Diagonals:
    """A square matrix of constant diagonals: ``line[above + d]`` lies d places below the main one."""

    line: AnyArray
    above: int
    size: int

    @property
    def below(self) -> int:
        """Number of diagonals below the main one."""
        return len(self.line) - 1 - self.above

    @cached_property
    def may_be_definite(self) -> bool:
        """Whether the matrix is Hermitian with a positive diagonal."""
        line = self.line
        is_centred = self.above == self.below and line[self.above].real > 0
        return is_centred and np.array_equal(line, line[::-1].conj())

    @property
    def is_triangular(self) -> bool:
        """Whether no entry lies above the main diagonal, or none below."""
        return not (self.above and self.below)

    @property
    def is_long_triangle(self) -> bool:
        """Whether it is a triangle whose band would take much more memory than a column."""
        return self.is_triangular and self.size * len(self.line) > LONGEST_BAND

    @cached_property
    def definite_condition(self) -> float | None:
        """Upper bound of the condition of a Hermitian matrix whose symbol is clearly positive, else None.

        The eigenvalues lie between the least and the largest value of ``f(w) = sum_d line[above + d] e^{-idw}``
        (Grenander, Szego, Toeplitz Forms, 1958). On a grid of step h, an extremum is missed by at most ``h^2 / 8``
        times the bound of the second derivative, ``sum_d d^2 |line[above + d]|``.
        """
        if not self.may_be_definite:
            return None
        half, d = self.line[self.above :], np.arange(self.below + 1)
        points = GRID << int(self.below).bit_length()
        f = np.fft.hfft(half, points)
        missed = (2 * np.pi / points) ** 2 / 4 * float(d**2 @ np.abs(half))
        low, high = float(f.min()) - missed, float(f.max()) + missed
        return high / low if low > 0 and high <= WELL * low else None

    def forward(self, x: AnyArray) -> AnyArray:
        """Return ``A x``: (m, size) to (m, size)."""
        return self._convolve(x, self.line, self.above)

    def adjoint(self, y: AnyArray) -> AnyArray:
        """Return ``A^H y``: (m, size) to (m, size)."""
        return self._convolve(y, self.line[::-1].conj(), self.below)

    def _convolve(self, x: AnyArray, line: AnyArray, first: int) -> AnyArray:
        if self.size * len(line) > LONGEST_BAND:
            from scipy.signal import oaconvolve

            return oaconvolve(x, line[None], axes=1)[:, first : first + self.size]
        if len(x) == 1:
            return np.convolve(x[0], line)[None, first : first + self.size]
        return np.stack([np.convolve(row, line)[first : first + self.size] for row in x])

    def factorize(self) -> Square:
        """Return the solver.

        A triangle is its own factor. If the matrix turns out to be positive definite, it has Cholesky factors, else LU.
        """
        line, norm = self.line, float(np.abs(self.line).sum())
        if self.is_long_triangle:
            recursion = LineTriangle(line if self.below else line[::-1], lower=not self.above)
            condition = norm * recursion.largest_row_sum(self.size)
            return Square(recursion, line.dtype, self.size, norm, condition)
        if self.is_triangular:
            triangle = np.empty((self.size, len(line)), line.dtype)
            triangle[:] = line
            return Square(BandTriangle(triangle, lower=not self.above), line.dtype, self.size, norm)
        if self.may_be_definite:
            try:
                return Square(
                    LineCholesky(line[self.above :], self.size), line.dtype, self.size, norm, self.definite_condition
                )
            except Singular:
                pass
        band = np.zeros((self.size, 2 * self.below + self.above + 1), line.dtype)
        band[:, self.below :] = line
        return Square(BandLU(band, self.below, self.above), line.dtype, self.size, norm)


def _square(matrix: Any, lu: LU) -> Square:
    """Return the solver for a square CSR matrix with its factors."""
    row_sums = np.add.reduceat(np.abs(matrix.data), matrix.indptr[:-1])  # LU would have failed with an empty row
    return Square(lu, matrix.dtype, matrix.shape[0], float(row_sums.max()))


def prepare_substitution(matrix: Any, order: IntArray | None = None) -> LeastSquares:
    """Return the solver for a CSR matrix that is triangular, or ``matrix[order][:, order]`` is, without fill."""
    if order is not None:
        matrix = matrix[order][:, order]
    options: dict[str, Any] = {"permc_spec": "NATURAL", "diag_pivot_thresh": 0.0}
    rows, columns = coordinates(matrix)
    is_lower = (rows >= columns).all()
    lu: LU = SparseLU(matrix, **options) if is_lower else TransposedLU(SparseLU(matrix.T, **options))  # which is faster
    return _square(matrix, lu if order is None else ReorderedLU(lu, order))


def _norm_bound(matrix: Any) -> float:
    """Return an upper bound of the 2-norm: the root of the largest row sum times the largest column sum."""
    i, j = coordinates(matrix)
    sizes = np.abs(matrix.data)
    return float(np.sqrt(np.bincount(i, sizes).max(initial=0)) * np.sqrt(np.bincount(j, sizes).max(initial=0)))


def _row_sum(inverse: Apply, adjoint: Apply, size: int) -> float:
    """Return a lower bound of the largest row sum of an inverse, seldom below a third of it.

    Hager, SIAM J. Sci. Stat. Comput. 5, 1984, with one step.
    """
    with np.errstate(all="ignore"):
        return float(np.abs(inverse(np.sign(adjoint(_noise(size))))).max())


@lru_cache(maxsize=4)
def _noise(size: int) -> AnyArray:
    """Return random numbers, the same ones for each size."""
    return np.random.default_rng(0).random((1, size)) - 0.5


def _largest_condition(size: int) -> float:
    """Return the condition up to which a digit of the solution is left."""
    return 1 / (8 * EPS * size)


def apply_to_any_dtype(apply: Apply, dtype: np.dtype[Any], b: AnyArray) -> AnyArray:
    """Apply a linear map of a type: a real one to complex vectors as to twice as many real ones."""
    if b.dtype.kind != "c" or dtype.kind == "c":
        return apply(b.astype(dtype, copy=False))
    halves = apply(np.concatenate([b.real, b.imag]).astype(dtype, copy=False))
    return halves[: len(b)] + 1j * halves[len(b) :]
