"""Pseudo-inverses of many small matrices of one size: what becomes of a map that falls apart into blocks.

Matrices M are stacked, (count, rows, columns), and coefficients are (count, rows or columns, R). With the damping d,
``H = M^H M + d^2``. Matrices are decomposed into singular values, except where a side is 1, or where they are so well
conditioned that an inverse is exact enough. A dense matrix is a stack of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from math import prod
from typing import TypeVar

import numpy as np

from convmtx.engines.products import inner_products
from convmtx.engines.threads import scratch, spread
from convmtx.structure import batched
from convmtx.typing import AnyArray

Result = TypeVar("Result")
ALL = slice(None)
#: Condition up to which square matrices are inverted instead of decomposed: with one step of refinement, solutions keep
#: as many digits.
INVERTED = 1e6
#: Numbers of a piece of a stack that stays in cache.
PIECE = 1 << 14


class Stack(ABC):
    """Matrices prepared for solving; every singular value counts."""

    #: Least and largest singular value.
    low: float
    high: float

    def __init__(self, matrices: AnyArray, damp: float) -> None:
        self.matrices, self.damp = matrices, damp

    @abstractmethod
    def solve(self, b: AnyArray, chosen: slice = ALL) -> AnyArray:
        """Return ``H^+ M^H b`` for coefficients (count, rows, R) of the chosen matrices."""

    @abstractmethod
    def normal(self, g: AnyArray) -> AnyArray:
        """Return ``H^+ g`` for coefficients (count, columns, R)."""

    @abstractmethod
    def image(self, g: AnyArray) -> AnyArray:
        """Return ``M H^+ g`` for coefficients (count, columns, R)."""


class Spectral(Stack):
    """A stack with known singular values and vectors."""

    @abstractmethod
    def truncate(self, limit: float) -> None:
        """Take singular values up to a limit as zero; the least one is that of those that are left, or inf."""

    @abstractmethod
    def count_zeros(self, times: AnyArray) -> int:
        """Count singular values that were taken as zero, with each matrix counted ``times``."""

    @abstractmethod
    def spectrum(self, b: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return singular values (count, k), and coefficients of b in their left vectors (count, k, R)."""


class Vectors(Spectral):
    """Matrices of one row or one column: ``M^H / (|M|^2 + damp^2)``."""

    def __init__(self, matrices: AnyArray, damp: float) -> None:
        super().__init__(matrices, damp)
        self.squares = np.empty((len(matrices), 1, 1))

        def share(pieces: Iterable[slice]) -> None:
            for piece in pieces:
                vectors = matrices[piece]
                self.squares[piece, 0] = energies(vectors.reshape(len(vectors), -1, 1))

        in_pieces(share, matrices)
        self.low, self.high = (float(np.sqrt(end)) for end in (self.squares.min(), self.squares.max()))
        self.limit = 0.0

    @property
    def is_diagonal(self) -> bool:
        """Whether the matrices are numbers."""
        return self.matrices.shape[1:] == (1, 1)

    def truncate(self, limit: float) -> None:
        self.limit = limit**2
        if self.low <= limit:
            self.low = float(np.sqrt(self.squares.min(initial=np.inf, where=self.squares > self.limit)))

    def count_zeros(self, times: AnyArray) -> int:
        return int(times[self.squares[:, 0, 0] <= self.limit].sum())

    def _inverse(self, chosen: slice = ALL) -> AnyArray:
        """Return ``1 / (|M|^2 + damp^2)``, 0 for what counts as zero."""
        squares = self.squares[chosen]
        if self.damp:
            return 1 / (squares + self.damp**2)
        return _reciprocal(squares, squares > self.limit)

    def solve(self, b: AnyArray, chosen: slice = ALL) -> AnyArray:
        weights = self.matrices[chosen].conj().swapaxes(1, 2) * self._inverse(chosen)
        return weights * b if b.shape[1] == 1 else weights @ b

    def solve_numbers(self, x: AnyArray, chosen: slice) -> tuple[AnyArray, AnyArray]:
        """Overwrite coefficients (count,) of a right-hand side b with those of its solution x, for 1 x 1 matrices.

        Return ``b - M x`` and the conjugates of ``M^H (b - M x) - damp^2 x``, in memory that the next call overwrites.
        """
        matrices, inverse = self.matrices[chosen].reshape(-1), self._inverse(chosen).reshape(-1)
        b, r, s = (scratch(slot, x.shape, x.dtype) for slot in ("right side", "residual", "normal residual"))
        b[...] = x
        np.conjugate(matrices, out=x)
        np.multiply(x, b, out=x)
        _multiply_by_real(x, inverse)
        np.multiply(matrices, x, out=r)
        np.subtract(b, r, out=r)
        np.conjugate(r, out=s)
        np.multiply(matrices, s, out=s)
        if self.damp:
            shrunk = np.conjugate(x, out=scratch("penalty", x.shape, x.dtype))
            _multiply_by_real(shrunk, self.damp**2)
            np.subtract(s, shrunk, out=s)
        return r, s

    def normal(self, g: AnyArray) -> AnyArray:
        if self.matrices.shape[2] == 1:
            return g * self._inverse()
        images, adjoint = self.matrices @ g, self.matrices.conj().swapaxes(1, 2)
        if not self.damp:
            return adjoint @ (images * self._inverse() ** 2)
        return (g - adjoint @ (images * self._inverse())) / self.damp**2

    def image(self, g: AnyArray) -> AnyArray:
        return self.matrices @ g * self._inverse()

    def spectrum(self, b: AnyArray) -> tuple[AnyArray, AnyArray]:
        values = np.sqrt(self.squares[:, 0])
        if self.matrices.shape[1] == 1:
            return values, b
        units = self.matrices / np.where(values > 0, values, 1)[..., None]
        return values, units.conj().swapaxes(1, 2) @ b


class StackTriplets(Spectral):
    """Singular value decompositions ``M = U S V^H``.

    The three are applied one after the other. Multiplied out, rounding would leave residuals that grow with the
    condition.
    """

    def __init__(self, matrices: AnyArray, damp: float) -> None:
        super().__init__(matrices, damp)
        self.u, self.s, self.vh = batched.shared_out(lambda some: np.linalg.svd(some, full_matrices=False), matrices)
        self.low, self.high = float(self.s.min(initial=np.inf)), float(self.s.max(initial=0))
        self.kept = np.ones_like(self.s, bool)

    def truncate(self, limit: float) -> None:
        self.kept = self.s > limit
        if self.low <= limit:
            self.low = float(self.s.min(initial=np.inf, where=self.kept))

    def count_zeros(self, times: AnyArray) -> int:
        return int((~self.kept).sum(axis=1) @ times)

    def _inverse(self) -> AnyArray:
        """Return ``1 / (s^2 + damp^2)``, 0 for what counts as zero."""
        return _reciprocal(self.s**2 + self.damp**2, self.kept | (self.damp > 0))[..., None]

    def _filters(self) -> AnyArray:
        """Return ``s / (s^2 + damp^2)``, 0 for what counts as zero."""
        return self._inverse() * self.s[..., None] if self.damp else _reciprocal(self.s, self.kept)[..., None]

    def solve(self, b: AnyArray, chosen: slice = ALL) -> AnyArray:
        inside = self.u[chosen].conj().swapaxes(1, 2) @ b
        return self.vh[chosen].conj().swapaxes(1, 2) @ (self._filters()[chosen] * inside)

    def image(self, g: AnyArray) -> AnyArray:
        return self.u @ (self._filters() * (self.vh @ g))

    def normal(self, g: AnyArray) -> AnyArray:
        return self._invert_square(self.vh.conj().swapaxes(1, 2), g)

    def conormal(self, g: AnyArray) -> AnyArray:
        """Return ``(M M^H + damp^2)^+ g``."""
        return self._invert_square(self.u, g)

    def _invert_square(self, vectors: AnyArray, g: AnyArray) -> AnyArray:
        """Divide g by ``s^2 + damp^2`` in the span of the vectors, and by ``damp^2`` outside of it."""
        inside = vectors.conj().swapaxes(1, 2) @ g
        if not self.damp:
            return vectors @ (_reciprocal(self.s, self.kept)[..., None] ** 2 * inside)
        x = vectors @ (self._inverse() * inside)
        if vectors.shape[1] > vectors.shape[2]:
            x += (g - vectors @ inside) / self.damp**2
        return x

    def spectrum(self, b: AnyArray) -> tuple[AnyArray, AnyArray]:
        return self.s, self.u.conj().swapaxes(1, 2) @ b


class Inverses(Stack):
    """Inverses of square matrices that are well conditioned, with one step of refinement."""

    def __init__(self, matrices: AnyArray) -> None:
        super().__init__(matrices, 0.0)
        (self.inverse,) = batched.shared_out(lambda some: (np.linalg.inv(some),), matrices)
        self.low, self.high = 1 / _bound(self.inverse), _bound(matrices)

    def solve(self, b: AnyArray, chosen: slice = ALL) -> AnyArray:
        inverse = self.inverse[chosen]
        x = inverse @ b
        return x + inverse @ (b - self.matrices[chosen] @ x)

    def normal(self, g: AnyArray) -> AnyArray:
        return self.solve(self.image(g))

    def image(self, g: AnyArray) -> AnyArray:
        adjoint, inverse = (stack.conj().swapaxes(1, 2) for stack in (self.matrices, self.inverse))
        y = inverse @ g
        return y + inverse @ (g - adjoint @ y)


def prepare(matrices: AnyArray, damp: float, decompose: bool = False) -> Stack:
    """Return the matrices in the form that solves fastest, or with ``decompose`` one that knows singular values."""
    _, rows, columns = matrices.shape
    if min(rows, columns) == 1:
        return Vectors(matrices, damp)
    if rows == columns and not damp and not decompose:
        try:
            inverses = Inverses(matrices)
        except np.linalg.LinAlgError:
            pass
        else:
            if inverses.high < INVERTED * inverses.low:
                return inverses
    return StackTriplets(matrices, damp)


def energies(numbers: AnyArray) -> AnyArray:
    """Return squared lengths along the second of three axes, (count, R)."""
    squares = numbers.real**2
    if numbers.dtype.kind == "c":
        squares += numbers.imag**2
    return squares[:, 0] if squares.shape[1] == 1 else squares.sum(axis=1)  # to sum one number takes longer


def _multiply_by_real(numbers: AnyArray, factors: AnyArray | float) -> None:
    """Multiply in place; NumPy itself would take the factors of complex numbers as complex ones."""
    if numbers.dtype.kind == "c":
        numbers.imag *= factors
    numbers.real *= factors


def weighted_energy(numbers: AnyArray, weights: AnyArray) -> float:
    """Return the sum of ``|number|^2`` times its weight, for numbers (count,).

    Nearly all weights of a map are equal: the sum is taken with the heaviest in one pass, and what that is too much for
    the others is subtracted.
    """
    heaviest = weights.max()
    light = np.flatnonzero(weights != heaviest)
    real = numbers.view(np.float64)[None]
    total = heaviest * inner_products(real, real)[0]
    if light.size:
        few = numbers[light]
        total -= (heaviest - weights[light]) @ (few.real**2 + few.imag**2)
    return max(float(total), 0.0)


def pieces_of(matrices: AnyArray) -> list[slice]:
    """Return slices of a stack that stay in cache."""
    step = max(PIECE // max(prod(matrices.shape[1:]), 1), 1)
    return [slice(first, first + step) for first in range(0, len(matrices), step)]


def in_pieces(share: Callable[[Iterable[slice]], Result], matrices: AnyArray) -> list[Result]:
    """Call a function on pieces of a stack that stay in cache, in threads if there are more than 4 pieces."""
    pieces = pieces_of(matrices)
    return spread(share, pieces, parallel=len(pieces) > 4)


def _reciprocal(values: AnyArray, kept: AnyArray) -> AnyArray:
    return np.divide(1, values, out=np.zeros_like(values), where=kept)


def _bound(matrices: AnyArray) -> float:
    """Return an upper bound of the 2-norms, not far off."""
    sizes = np.abs(matrices)
    sums = np.sqrt(sizes.sum(axis=1).max(axis=1) * sizes.sum(axis=2).max(axis=1))
    return float(np.minimum(sums, np.linalg.norm(matrices, axis=(1, 2))).max())
