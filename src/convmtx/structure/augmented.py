"""LU factors of a matrix, and of the augmented system of a least-squares problem.

The augmented system of a matrix A, with two numbers on its diagonal, is::

    [[top I, A], [A^H, bottom I]] [y, x] = [b, g]

With ``top = a``, ``bottom = -damp^2 / a`` and ``g = 0``, x is the least-squares solution of ``A x = b`` with damping,
and y is its residual over a. With a near the smallest singular value, the condition is that of A; that of ``A^H A``
would be its square (Bjorck, BIT 7, 1967). Arrays contain one right-hand side in each row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from convmtx.engines.threads import one_blas_thread
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray, IntArray

#: Block size of LAPACK. Wider bands are factored by matrix products so small that two threads of BLAS wait for each
#: other most of the time: where other programs work too, that took 1000 times longer. They get one thread.
BLOCK = 64
#: Columns of a factor of constant diagonals, for each diagonal, before the first look whether they change.
FIRST_COLUMNS = 32


class Singular(Exception):  # noqa: N818 - caught, and reported in the words of the caller
    """A matrix is singular, or as good as singular; ``condition`` is at least that large."""

    def __init__(self, condition: float = np.inf) -> None:
        super().__init__(condition)
        self.condition = condition


class LU(ABC):
    """Factors of a square matrix."""

    @abstractmethod
    def solve(self, b: AnyArray, adjoint: bool = False) -> AnyArray:
        """Return ``A^-1 b``, or ``A^-H b``, for each row of b."""


class BandLU(LU):
    """Factors of a band matrix, by LAPACK, with pivoting inside the band.

    Entry (i, j) of the matrix is ``band[j, 2 * below + above + i - j]``, for at most ``below`` places below the
    diagonal and ``above`` places above it. The first ``below`` columns of the band are for pivots. What lies outside
    the matrix is not read, and the memory of the band is written to.
    """

    def __init__(self, band: AnyArray, below: int, above: int) -> None:
        from scipy.linalg import get_lapack_funcs

        functions: Any = get_lapack_funcs(("gbtrf", "gbtrs"), dtype=band.dtype)
        gbtrf, self._gbtrs = functions
        self._below, self._above = below, above
        with self._threads():
            self._band, self._pivots, info = gbtrf(band.T, below, above, overwrite_ab=1)
        if info:
            raise Singular

    def _threads(self) -> AbstractContextManager[None]:
        return one_blas_thread() if self._below + self._above > BLOCK else nullcontext()

    def solve(self, b: AnyArray, adjoint: bool = False) -> AnyArray:
        """Return ``A^-1 b``, or ``A^-H b``, for each row of b."""
        with self._threads():
            x, _ = self._gbtrs(self._band, self._below, self._above, b.T, self._pivots, trans=2 * adjoint)
        return x.T


class BandCholesky(LU):
    """Cholesky factors of a Hermitian band matrix, by LAPACK, in half the time of its LU factors.

    Entry (i, j) of the lower half is ``band[j, i - j]``. The memory of the band is written to. If the matrix is not
    positive definite, the factorization stops there, and `Singular` is raised.
    """

    def __init__(self, band: AnyArray) -> None:
        from scipy.linalg import get_lapack_funcs

        functions: Any = get_lapack_funcs(("pbtrf", "pbtrs"), dtype=band.dtype)
        pbtrf, self._pbtrs = functions
        with self._threads(band):
            self._band, info = pbtrf(band.T, lower=1, overwrite_ab=1)
        if info:
            raise Singular

    def _threads(self, band: AnyArray) -> AbstractContextManager[None]:
        return one_blas_thread() if 2 * band.shape[1] > BLOCK else nullcontext()

    def solve(self, b: AnyArray, adjoint: bool = False) -> AnyArray:  # noqa: ARG002 - the matrix is its own adjoint
        """Return ``A^-1 b`` for each row of b."""
        with self._threads(self._band.T):
            x, _ = self._pbtrs(self._band, b.T, lower=1)
        return x.T


class LineCholesky(BandCholesky):
    """Cholesky factors of a Hermitian band matrix of constant diagonals, whose columns soon stay the same.

    A column of the factor follows from as many before it as there are diagonals below the main one, called r here. So
    if the last r columns and the next one are equal to rounding, all that follow are. Of 1, 3, 1 those have r = 1
    column before them, and from the 13th on they are 1.618, 0.618.
    """

    def __init__(self, diagonals: AnyArray, size: int) -> None:
        """Factorize the matrix of ``size`` rows that has these diagonals, the main one first."""
        r, count = len(diagonals) - 1, min(FIRST_COLUMNS * len(diagonals), size)
        while True:
            band = np.empty((count, r + 1), diagonals.dtype)
            band[:] = diagonals
            super().__init__(band)
            known = self._band.T[: count - r]  # columns that do not reach the end
            if count == size or np.abs(known[-r - 1 :] - known[-1]).max() <= 4 * EPS * known[-1, 0].real:
                break
            count = min(8 * count, size)
        if count < size:
            whole = np.empty((size, r + 1), diagonals.dtype)
            whole[: len(known)], whole[len(known) :] = known, known[-1]
            self._band = whole.T


class BandTriangle(LU):
    """A triangular band matrix, which is its own factor.

    Entry (i, j) of a lower triangle is ``band[j, i - j]``, and of an upper one ``band[j, above + i - j]``.
    """

    def __init__(self, band: AnyArray, *, lower: bool) -> None:
        from scipy.linalg import get_lapack_funcs

        self._band, self._uplo = band, "L" if lower else "U"
        functions: Any = get_lapack_funcs(("tbtrs",), dtype=band.dtype)
        (self._tbtrs,) = functions
        if not band[:, 0 if lower else -1].all():
            raise Singular

    def solve(self, b: AnyArray, adjoint: bool = False) -> AnyArray:
        """Return ``A^-1 b``, or ``A^-H b``, for each row of b."""
        with one_blas_thread() if self._band.shape[1] > BLOCK else nullcontext():
            x, _ = self._tbtrs(self._band.T, b.T, uplo=self._uplo, trans="C" if adjoint else "N")
        return x.T


class LineTriangle(LU):
    """A triangular matrix of constant diagonals, solved by the recursion of a filter: it keeps one column.

    ``taps`` are its diagonals from the main one outwards. For 16,000 of them on 48,000 unknowns, the band would take
    6 GB.
    """

    def __init__(self, taps: AnyArray, *, lower: bool) -> None:
        self._taps, self._lower = taps, lower
        if not taps[0]:
            raise Singular

    def solve(self, b: AnyArray, adjoint: bool = False) -> AnyArray:
        """Return ``A^-1 b``, or ``A^-H b``, for each row of b."""
        from scipy.signal import lfilter

        taps = self._taps.conj() if adjoint else self._taps
        order = slice(None, None, 1 if self._lower is not adjoint else -1)  # from the row that reads one unknown on
        solved: AnyArray = lfilter([1.0], taps, b[:, order])[:, order]
        return solved

    def largest_row_sum(self, size: int) -> float:
        """Return the largest row sum of magnitudes of the inverse, which has constant diagonals, too."""
        with np.errstate(all="ignore"):
            return float(np.abs(self.solve(np.eye(1, size, 0 if self._lower else size - 1))).sum())


def store_band(rows: AnyArray, columns: AnyArray, values: AnyArray, size: int) -> tuple[AnyArray, int, int]:
    """Return a band matrix as `BandLU` takes it, from its entries."""
    offsets = rows - columns
    below, above = max(int(offsets.max(initial=0)), 0), max(-int(offsets.min(initial=0)), 0)
    height = 2 * below + above + 1
    places = columns * np.int64(height - 1)
    places += rows
    band = np.zeros((size, height), values.dtype)
    band.ravel()[below + above :][places] = values
    return band, below, above


class SparseLU(LU):
    """Factors of a sparse matrix, by SuperLU; ``options`` are those of `scipy.sparse.linalg.splu`."""

    def __init__(self, matrix: Any, **options: Any) -> None:
        from scipy.sparse.linalg import splu

        try:
            with one_blas_thread():
                self._factors: Any = splu(matrix.tocsc(), **options)
        except RuntimeError as error:
            raise Singular from error

    def solve(self, b: AnyArray, adjoint: bool = False) -> AnyArray:
        """Return ``A^-1 b``, or ``A^-H b``, for each row of b."""
        with one_blas_thread():
            return self._factors.solve(b.T, "H" if adjoint else "N").T


class ReorderedLU(LU):
    """Factors of a matrix, from those of ``matrix[order][:, order]``."""

    def __init__(self, lu: LU, order: IntArray) -> None:
        self._lu, self._order, self._rank = lu, order, inverse_permutation(order)

    def solve(self, b: AnyArray, adjoint: bool = False) -> AnyArray:
        """Return ``A^-1 b``, or ``A^-H b``, for each row of b."""
        return self._lu.solve(b.take(self._order, 1), adjoint).take(self._rank, 1)


class TransposedLU(LU):
    """Factors of a matrix, from those of its transpose."""

    def __init__(self, lu: LU) -> None:
        self._lu = lu

    def solve(self, b: AnyArray, adjoint: bool = False) -> AnyArray:
        """Return ``A^-1 b``, or ``A^-H b``, for each row of b."""
        return self._lu.solve(b.conj(), not adjoint).conj()


class AugmentedSystem:
    """The augmented system of a CSR matrix (M, N), factored as a band or as a sparse matrix."""

    def __init__(self, matrix: Any, top: float, bottom: float, *, band: bool) -> None:
        self.matrix, self.top, self.bottom = matrix, top, bottom
        self.adjoint = matrix.conj(copy=False).T
        self.rows, self.columns = matrix.shape
        self._lu = self._by_band() if band else self._by_sparse()

    def _by_sparse(self) -> LU:
        from scipy.sparse import block_array, eye_array

        upper, lower = self.top * eye_array(self.rows), self.bottom * eye_array(self.columns)
        return SparseLU(block_array([[upper, self.matrix], [self.adjoint, lower]], format="csr"))

    def _by_band(self) -> LU:
        """Order outputs amid the inputs that they read, which makes the band narrow."""
        i, j = coordinates(self.matrix)
        first, last = np.full(self.rows, self.columns), np.zeros(self.rows)
        filled = np.diff(self.matrix.indptr) > 0
        starts = self.matrix.indptr[:-1][filled]
        first[filled], last[filled] = np.minimum.reduceat(j, starts), np.maximum.reduceat(j, starts)
        rank = interleave(first, last, self.columns)
        i, j, data = rank[i], rank[self.rows + j], self.matrix.data
        values = np.concatenate([data, data.conj(), np.repeat((self.top, self.bottom), self.matrix.shape)])
        band = store_band(np.concatenate([i, j, rank]), np.concatenate([j, i, rank]), values, rank.size)
        return ReorderedLU(BandLU(*band), inverse_permutation(rank))

    def solve(self, b: AnyArray, g: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return y and x for right-hand sides b (m, M) and g (m, N)."""
        z = self._lu.solve(np.hstack([b, g]))
        return z[:, : self.rows], z[:, self.rows :]

    def refine(self, b: AnyArray, g: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return y and x, refined once: that makes up for numbers on the diagonal that are far from the best ones."""
        y, x = self.solve(b, g)
        left_of_b = b - self.top * y - (self.matrix @ x.T).T
        left_of_g = g - (self.adjoint @ y.T).T - self.bottom * x
        dy, dx = self.solve(left_of_b, left_of_g)
        return y + dy, x + dx

    def x_for(self, g: AnyArray) -> AnyArray:
        """Return x for ``b = 0``, not refined: ``-top (A^H A - top bottom)^-1 g``."""
        return self._lu.solve(np.pad(g, ((0, 0), (self.rows, 0))))[:, self.rows :]

    def y_for(self, b: AnyArray) -> AnyArray:
        """Return y for ``g = 0``, not refined: ``-bottom (A A^H - top bottom)^-1 b``."""
        return self._lu.solve(np.pad(b, ((0, 0), (0, self.columns))))[:, : self.rows]


def interleave(first: AnyArray, last: AnyArray, inputs: int, per_output: int = 1, per_input: int = 1) -> IntArray:
    """Return the places of all outputs, then of all inputs, in one order: each output amid the inputs that it reads.

    Output o reads from input ``first[o]`` to ``last[o]``, at whose mean it is put. With two outputs that read inputs
    0 to 1 and 1 to 2, the order is i0 o0 i1 o1 i2, and the places are ``[1, 3, 0, 2, 4]``. Each output stands for
    ``per_output`` neighbours (filters), and each input for ``per_input`` (channels).
    """
    places = [np.repeat((first + last) / 2, per_output), np.repeat(np.arange(inputs), per_input)]
    return inverse_permutation(np.argsort(np.concatenate(places), kind="stable"))


def inverse_permutation(order: IntArray) -> IntArray:
    """Return the permutation that undoes one: the place of each number in it."""
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return rank


def coordinates(matrix: Any) -> tuple[AnyArray, AnyArray]:
    """Return rows and columns of the entries of a CSR matrix, in its own integers: larger ones would take longer."""
    rows = np.arange(matrix.shape[0], dtype=matrix.indices.dtype)
    return np.repeat(rows, np.diff(matrix.indptr)), matrix.indices
