"""Inverses of Hermitian positive definite matrices, with their condition: any, and Toeplitz ones in O(n) memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from convmtx.structure.augmented import Singular
from convmtx.typing import AnyArray

#: Condition up to which a matrix counts as regular. Solutions that are refined with true residuals gain 4 digits or
#: more in a step, which ends at what rounding of the data leaves.
MOST_CONDITION = 1e11


class Definite(ABC):
    """Inverse of a positive definite matrix; building one raises `Singular` if its condition is too large."""

    #: The 1-norm, and that of the inverse: an estimate, or an upper bound.
    norm: float
    inverse_norm: float

    @abstractmethod
    def _solve(self, g: AnyArray) -> AnyArray:
        """Return the inverse times g, (n, R), of the type of the matrix."""

    def solve(self, g: AnyArray) -> AnyArray:
        """Return the inverse times g, (n, R)."""
        if np.iscomplexobj(g) and not self._is_complex:
            return self._solve(g.real) + 1j * self._solve(g.imag)
        return self._solve(g)

    _is_complex = False

    def _require_regular(self, size: float) -> None:
        """Raise if errors of rounding in a matrix of this norm could make it singular."""
        condition = max(size, self.norm) * self.inverse_norm
        if not condition < MOST_CONDITION:
            raise Singular(float(condition) ** 0.5)


class Cholesky(Definite):
    """Cholesky factors of a matrix, which is overwritten.

    ``size`` is the norm of what it was computed from, if that is larger, such as that of two matrices subtracted.
    """

    def __init__(self, matrix: AnyArray, size: float = 0.0) -> None:
        from scipy.linalg import lapack

        self._is_complex = np.iscomplexobj(matrix)
        kind = "z" if self._is_complex else "d"
        potrf, pocon, lange, self._potrs = (
            getattr(lapack, kind + name) for name in ("potrf", "pocon", "lange", "potrs")
        )
        columns = matrix.T  # the conjugate, in the order of LAPACK
        self.norm = float(lange("1", columns))
        if not np.isfinite(self.norm):
            raise Singular
        self._factor, info = potrf(columns, lower=1, clean=0, overwrite_a=1)
        if info or not self.norm:
            raise Singular
        reciprocal, _ = pocon(self._factor, self.norm, uplo="L")
        self.inverse_norm = 1 / (reciprocal * self.norm) if reciprocal else np.inf
        self._require_regular(size)

    def _solve(self, g: AnyArray) -> AnyArray:
        x: AnyArray = self._potrs(self._factor, g.conj(), lower=1)[0]
        return x.conj()


class Levinson(Definite):
    """Inverse of a Toeplitz matrix by its first column, which Levinson's recursion computes in O(n^2).

    The formula of Gohberg and Semencul (Mat. Issled. 7, 1972) makes it a sum of products of triangular Toeplitz
    matrices, which transforms apply in O(n log n).
    """

    def __init__(self, row: AnyArray) -> None:
        from scipy.linalg import solve_toeplitz

        self._is_complex = np.iscomplexobj(row)
        unit = np.zeros(len(row))
        unit[0] = 1
        try:
            u = solve_toeplitz((row.conj(), row), unit, check_finite=False)
        except np.linalg.LinAlgError:
            raise Singular from None
        first = float(u[0].real)
        if not (np.isfinite(u).all() and first > 0):
            raise Singular
        self.norm = float(2 * np.abs(row).sum() - np.abs(row[0]))
        self.inverse_norm = 2 * float(np.abs(u).sum()) ** 2 / first
        self._require_regular(0.0)
        self._size, self._first = len(row), first
        shifted = np.concatenate([[0], u[:0:-1].conj()])
        self._spectra = self._transform(u[:, None]), self._transform(shifted[:, None])

    @property
    def _length(self) -> int:
        from scipy.fft import next_fast_len

        return next_fast_len(2 * self._size - 1, real=not self._is_complex)

    def _transform(self, x: AnyArray) -> AnyArray:
        from scipy import fft

        transform: Any = fft.fft if self._is_complex else fft.rfft
        return transform(x, self._length, axis=0)

    def _solve(self, g: AnyArray) -> AnyArray:
        from scipy import fft

        back: Any = fft.ifft if self._is_complex else fft.irfft
        spectrum = self._transform(g)
        total = np.zeros_like(spectrum)
        for sign, triangle in zip((1, -1), self._spectra, strict=True):
            inside = back(triangle.conj() * spectrum, self._length, axis=0)[: self._size]
            total += sign * triangle * self._transform(inside)
        x: AnyArray = back(total, self._length, axis=0)[: self._size] / self._first
        return x
