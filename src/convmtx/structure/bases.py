"""Orthonormal vectors of an axis: the vectors of one block, and coefficients in all vectors by fast transforms.

Coefficients stand along the axis in the order (copies, blocks, vectors of a block).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from convmtx.costs import PARALLEL_TRANSFORM
from convmtx.engines.threads import threads
from convmtx.typing import AnyArray, IntArray


class Basis(ABC):
    """Vectors of an axis' inputs or outputs, sorted into blocks."""

    #: Time of its transforms over the time at a size that is a product of small primes.
    slow = 1

    #: Number of equal blocks that share one matrix.
    copies = 1
    #: Whether one of each two conjugate blocks is left out. Then only real numbers may be transformed along the axis.
    halved = False

    @abstractmethod
    def vectors(self, block: int) -> AnyArray:
        """Return the vectors of a block (of its first copy), (size, per_block)."""

    @abstractmethod
    def analyse(self, x: AnyArray, axis: int, own: bool = False) -> AnyArray:
        """Return the coefficients of numbers along an axis: inner products with the conjugated vectors.

        With ``own``, the memory of the numbers may be written to.
        """

    @abstractmethod
    def synthesize(self, y: AnyArray, axis: int, own: bool = False) -> AnyArray:
        """Return the sum of the vectors times coefficients along an axis."""


@dataclass(frozen=True)
class Waves(Basis):
    """Waves ``exp(i (2 pi f / length + shift) q) / sqrt(length)`` at the first ``held`` positions q.

    Frequencies f that are equal modulo ``blocks`` are a block, and the first ``count`` blocks are kept. For example,
    6 frequencies in 3 blocks are {0, 3}, {1, 4}, {2, 5}; of real numbers the first 2 blocks are enough.
    """

    length: int
    blocks: int
    count: int
    held: int
    shift: float
    halved: bool

    @property
    def slow(self) -> int:  # type: ignore[override]
        return _slow(self.length)

    def vectors(self, block: int) -> AnyArray:
        at = np.arange(self.held)[:, None]
        angles = 2 * np.pi * (at * np.arange(block, self.length, self.blocks) % self.length / self.length)
        vectors: AnyArray = np.exp(1j * (angles + self.shift * at)) / np.sqrt(self.length)
        return vectors

    def _shift(self, x: AnyArray, axis: int, sign: int) -> AnyArray:
        """Multiply by the waves of the shift, or by their conjugates."""
        if not self.shift:
            return x
        waves = np.exp(sign * 1j * self.shift * np.arange(self.held))
        return x * waves.reshape(-1, *(1 for _ in range(axis + 1, x.ndim)))

    def analyse(self, x: AnyArray, axis: int, own: bool = False) -> AnyArray:
        from scipy import fft

        per_block = self.length // self.blocks
        if self.halved and not self.shift and per_block == 1:
            return fft.rfft(x, self.length, axis, norm="ortho", workers=_workers(x))
        y = fft.fft(self._shift(x, axis, -1), self.length, axis, norm="ortho", overwrite_x=own, workers=_workers(x))
        if per_block == 1:
            return y[(slice(None),) * axis + (slice(self.count),)] if self.halved else y
        before, after = y.shape[:axis], y.shape[axis + 1 :]
        y = y.reshape(*before, per_block, self.blocks, *after).swapaxes(axis, axis + 1)
        return y[(slice(None),) * axis + (slice(self.count),)].reshape(*before, -1, *after)

    def synthesize(self, y: AnyArray, axis: int, own: bool = False) -> AnyArray:
        from scipy import fft

        per_block = self.length // self.blocks
        inside = (slice(None),) * axis + (slice(self.held),)
        if self.halved and not self.shift and per_block == 1:
            return fft.irfft(y, self.length, axis, norm="ortho", workers=_workers(y))[inside]
        before, after = y.shape[:axis], y.shape[axis + 1 :]
        y = y.reshape(*before, self.count, per_block, *after).swapaxes(axis, axis + 1)
        if self.halved:
            y = self._with_conjugates(y, axis)
        y = y.reshape(*before, -1, *after)
        y = fft.ifft(y, self.length, axis, norm="ortho", overwrite_x=own, workers=_workers(y))
        x = self._shift(y[inside], axis, 1)
        return x.real if self.halved else x

    def _with_conjugates(self, y: AnyArray, axis: int) -> AnyArray:
        """Complete coefficients (per_block, count) of real numbers to (per_block, blocks).

        The coefficient at frequency -f is the conjugate of that at f; with a shift of half a step, that at -1 - f.
        """
        f = np.arange(self.blocks) + self.blocks * np.arange(self.length // self.blocks)[:, None]
        partner = (-f if not self.shift else -1 - f) % self.length
        kept = f % self.blocks < self.count
        number, block = np.divmod(np.where(kept, f, partner), self.blocks)
        whole = y[(slice(None),) * axis + (number, block)]
        left_out = (slice(None),) * axis + (~kept,)
        whole[left_out] = whole[left_out].conj()
        return whole


@dataclass(frozen=True)
class Cosines(Basis):
    """Vectors of the DCT-II or DST-I of n positions, one a block."""

    n: int
    kind: Literal["cosine", "sine"]

    @property
    def slow(self) -> int:  # type: ignore[override]
        return _slow(self.n if self.kind == "cosine" else self.n + 1)

    def vectors(self, block: int) -> AnyArray:
        return self.synthesize(np.eye(1, self.n, block), 1).T

    def analyse(self, x: AnyArray, axis: int, own: bool = False) -> AnyArray:
        from scipy import fft

        if self.kind == "cosine":
            return fft.dct(x, 2, axis=axis, norm="ortho", workers=_workers(x))
        return fft.dst(x, 1, axis=axis, norm="ortho", workers=_workers(x))

    def synthesize(self, y: AnyArray, axis: int, own: bool = False) -> AnyArray:
        from scipy import fft

        if self.kind == "cosine":
            return fft.idct(y, 2, axis=axis, norm="ortho", workers=_workers(y))
        return fft.idst(y, 1, axis=axis, norm="ortho", workers=_workers(y))


@dataclass(frozen=True)
class WholeSamples(Basis):
    """Cosines ``cos(pi f q / (n - 1))``, which are not orthogonal.

    So coefficients are not inner products, but those of the sum of cosines that the numbers are.
    """

    n: int

    def vectors(self, block: int) -> AnyArray:
        vectors: AnyArray = np.cos(np.pi * block * np.arange(self.n) / max(self.n - 1, 1))[:, None]
        return vectors

    def analyse(self, x: AnyArray, axis: int, own: bool = False) -> AnyArray:
        from scipy import fft

        return x if self.n == 1 else fft.idct(x, 1, axis=axis) * self._ends(x, axis)

    def synthesize(self, y: AnyArray, axis: int, own: bool = False) -> AnyArray:
        from scipy import fft

        return y if self.n == 1 else fft.dct(y / self._ends(y, axis), 1, axis=axis)

    def _ends(self, x: AnyArray, axis: int) -> AnyArray:
        """Return how often a cosine transform counts each term: those inside twice, those at the ends once."""
        ends = np.full(self.n, 2.0)
        ends[[0, -1]] = 1
        return ends.reshape(-1, *(1 for _ in range(axis + 1, x.ndim)))


@dataclass(frozen=True, eq=False)
class Positions(Basis):
    """Unit vectors at ``chosen`` positions (copies, per_block): one block, and its copies."""

    size: int
    chosen: IntArray

    @property
    def copies(self) -> int:  # type: ignore[override]
        return len(self.chosen)

    def vectors(self, _block: int) -> AnyArray:
        vectors = np.zeros((self.size, self.chosen.shape[1]))
        vectors[self.chosen[0], np.arange(self.chosen.shape[1])] = 1
        return vectors

    def analyse(self, x: AnyArray, axis: int, own: bool = False) -> AnyArray:
        return np.take(x, self.chosen.reshape(-1), axis)

    def synthesize(self, y: AnyArray, axis: int, own: bool = False) -> AnyArray:
        x = np.zeros((*y.shape[:axis], self.size, *y.shape[axis + 1 :]), y.dtype)
        x[(slice(None),) * axis + (self.chosen.reshape(-1),)] = y
        return x


class Columns(Basis):
    """Orthonormal columns of a matrix (size, blocks), one a block; the matrix is computed when first needed."""

    def __init__(self, make: Callable[[], AnyArray]) -> None:
        self._make = make

    @cached_property
    def matrix(self) -> AnyArray:
        """Matrix whose columns are the vectors."""
        return self._make()

    def vectors(self, block: int) -> AnyArray:
        return self.matrix[:, block : block + 1]

    def analyse(self, x: AnyArray, axis: int, own: bool = False) -> AnyArray:
        return np.moveaxis(np.moveaxis(x, axis, -1) @ self.matrix.conj(), -1, axis)

    def synthesize(self, y: AnyArray, axis: int, own: bool = False) -> AnyArray:
        return np.moveaxis(np.moveaxis(y, axis, -1) @ self.matrix.T, -1, axis)


@lru_cache(maxsize=256)
def _slow(length: int) -> int:
    """Return 10 for sizes with a prime factor above 13, whose transforms take some ten times as long, else 1.

    SciPy transforms those by Bluestein's algorithm.
    """
    for prime in (2, 3, 5, 7, 11, 13):
        while length % prime == 0:
            length //= prime
    return 1 if length == 1 else 10


def _workers(x: AnyArray) -> int:
    return threads() if x.size >= PARALLEL_TRANSFORM else 1
