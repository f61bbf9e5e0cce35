"""The taps of an axis in the bases of a split, as sums over taps: by a table, by a transform, or entry by entry.

A table has a number for each frequency and tap. Long kernels are transformed instead, in memory
O(frequencies + taps).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from math import gcd, lcm, log2

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.costs import LONG_KERNEL, LONG_TABLE, ONE_THREAD, PARALLEL_AXIS, PARALLEL_TRANSFORM
from convmtx.engines.threads import one_blas_thread, spread, threads
from convmtx.geometry import Axis, read_entries
from convmtx.geometry.compose import positions
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray, IntArray

#: Roundings of the number that a transform multiplies a tap by: of an angle up to ``3 pi``, and of its cosine.
PHASE = 16
#: Numbers of a product that a thread computes at a time.
PRODUCT_PIECE = 1 << 15
#: Numbers that are transformed, or entries that are listed, at a time: at most 8 MiB.
PIECE = 1 << 19

#: Fraction of the largest singular value of a table up to which others are rounding: those of taps that no frequency
#: tells apart.
RANK = 1e-12

#: Slice of all blocks.
ALL = slice(None)


class Symbols(ABC):
    """The taps of an axis in the bases of a split."""

    @property
    @abstractmethod
    def roundings(self) -> float:
        """Error of a sum over taps in units of eps times the magnitudes that are summed."""

    @abstractmethod
    def sum_over(self, taps: AnyArray, chosen: slice = ALL) -> AnyArray:
        """Return the sum of taps times their symbols, for some blocks.

        Takes (rows, k) and returns (rows, blocks, per_output, per_input).
        """


class Tabled(Symbols):
    """Symbols of which there may be a table; a short kernel is summed by it."""

    @property
    @abstractmethod
    def is_long(self) -> bool:
        """Whether taps are transformed, because the table would be large."""

    @abstractmethod
    def compute(self) -> AnyArray:
        """Return each tap in the two bases, (blocks, k, per_output, per_input)."""

    @abstractmethod
    def transform(self, taps: AnyArray, chosen: slice) -> AnyArray:
        """Return what `sum_over` returns, by a fast transform."""

    @cached_property
    def table(self) -> AnyArray:
        """Each tap in the two bases, (blocks, k, per_output, per_input)."""
        return self.compute()

    def sum_over(self, taps: AnyArray, chosen: slice = ALL) -> AnyArray:
        """Sum by the table, or transform rows of taps in pieces."""
        if not self.is_long:
            return _multiply(taps, self.table[chosen])
        step = max(PIECE // self.length, 1)
        if len(taps) <= step:
            return self.transform(taps, chosen)
        return np.concatenate([self.transform(taps[j : j + step], chosen) for j in range(0, len(taps), step)])

    def nearest(self, sums: AnyArray) -> AnyArray:
        """Return the taps (rows, k) whose sums come nearest to these, (rows, blocks, per_output, per_input)."""
        table = self.table.swapaxes(0, 1).reshape(self.table.shape[1], -1)
        taps: AnyArray = sums.reshape(len(sums), -1) @ np.linalg.pinv(table, rcond=RANK)
        return taps

    @property
    @abstractmethod
    def length(self) -> int:
        """Length of the transform."""


def is_long(taps: int, frequencies: int) -> bool:
    """Whether taps are summed by a fast transform rather than by a table, which has a number for each frequency too."""
    return taps >= LONG_KERNEL and taps * frequencies >= LONG_TABLE


@dataclass(frozen=True)
class CircleSymbols(Tabled):
    """Symbols at the first ``count`` of ``blocks`` blocks of frequencies ``2 pi F / size + shift``."""

    axis: Axis
    size: int
    shift: float
    blocks: int
    count: int

    @property
    def is_long(self) -> bool:
        return is_long(self.axis.kernel, self.size)

    @property
    def length(self) -> int:
        return self.size

    @property
    def bytes(self) -> int:
        """Bytes that computing the symbols takes."""
        if self.is_long:
            return 64 * (self.size + self.axis.kernel)
        coupled = self.size // self.blocks
        per_block = coupled**2 // (self.axis.stride * self.axis.input_dilation)
        return self.axis.kernel * self.count * (64 * coupled + 16 * per_block)  # angles, waves and their sums

    @property
    def roundings(self) -> float:
        return PHASE + (of_transform(self.size, self.axis.kernel) if self.is_long else self.axis.kernel)

    def compute(self) -> AnyArray:
        """Return the sums of waves; whole turns are left out of angles before anything is rounded."""
        reads = positions(self.axis)
        frequencies = np.arange(self.count)[:, None, None] + self.blocks * np.arange(self.size // self.blocks)[:, None]
        turns = frequencies * reads % self.size
        return couple_frequencies(self.axis, np.exp(1j * (2 * np.pi * (turns / self.size) + self.shift * reads)))

    def transform(self, taps: AnyArray, chosen: slice) -> AnyArray:
        """Return the transform of the taps around the circle; coupled frequencies are added up."""
        from scipy import fft

        if self.shift:
            taps = taps * np.exp(1j * self.shift * positions(self.axis))
        around, coupled = wrap_around(taps, self.axis, self.size), self.size // self.blocks
        workers = threads() if around.size >= PARALLEL_TRANSFORM else 1
        if coupled == 1 and self.count <= self.size // 2 + 1 and around.dtype.kind != "c":
            return fft.rfft(around, workers=workers).conj()[:, : self.count][:, chosen, None, None]
        sums = fft.ifft(around, norm="forward", overwrite_x=True, workers=workers)
        sums = sums.reshape(len(taps), coupled, self.blocks)[:, :, : self.count][:, :, chosen]
        return couple_frequencies(self.axis, sums)

    def nearest(self, sums: AnyArray) -> AnyArray:
        """Return the nearest taps: symbols of different positions are orthogonal, and equal ones share what there is.

        With g = gcd(s, e) equal sums, those of positions that g does not divide are zero.
        """
        if not self.is_long or self.count < self.blocks:
            return super().nearest(sums)
        from scipy import fft

        s, e, coupled = self.axis.stride, self.axis.input_dilation, self.size // self.blocks
        waves = np.stack([sums[:, :, a % (coupled // s), a % (coupled // e)] for a in range(coupled)], axis=1)
        reads, shared = positions(self.axis), gcd(s, e)
        at = reads % self.size
        inner = fft.fft(waves.reshape(len(sums), -1))[:, at] * np.exp(-1j * self.shift * reads)
        often = np.bincount(at, minlength=self.size)[at]
        taps: AnyArray = inner * np.where(reads % shared == 0, (s * e) ** 0.5 / (shared * self.size * often), 0)
        return taps


def wrap_around(taps: AnyArray, axis: Axis, size: int) -> AnyArray:
    """Return the taps (rows, k) at their positions around a circle of ``size``, (rows, size); those that meet add up.

    Positions repeat after ``size / gcd(size, dilation)`` taps.
    """
    turn = size // gcd(size, axis.dilation)
    if axis.kernel > turn:
        taps = np.pad(taps, ((0, 0), (0, -axis.kernel % turn))).reshape(len(taps), -1, turn).sum(axis=1)
    around = np.zeros((len(taps), size), taps.dtype)
    around[:, positions(axis)[:turn] % size] = taps
    return around


def couple_frequencies(axis: Axis, waves: AnyArray) -> AnyArray:
    """Return blocks (rows, m, outputs, inputs) from numbers (rows, lcm(s, e), m) at the frequencies of each block.

    The lcm(s, e) frequencies of a block lie equally spaced around the circle. Number a belongs to output
    ``a mod lcm/s`` and input ``a mod lcm/e`` of the block.
    """
    s, e = axis.stride, axis.input_dilation
    n_coupled = lcm(s, e)
    if n_coupled == 1:
        return waves[:, 0, :, None, None]
    blocks = np.zeros((len(waves), waves.shape[2], n_coupled // s, n_coupled // e), waves.dtype)
    for a in range(n_coupled):
        blocks[:, :, a % (n_coupled // s), a % (n_coupled // e)] += waves[:, a]
    return blocks / np.sqrt(s * e)


@dataclass(frozen=True, eq=False)
class EvenSymbols(Tabled):
    """Cosines of ``pi f q / half`` at taps' positions q, for a kernel that is its own mirror image.

    Taps p and k-1-p together are ``2 cos``, so each counts one cosine.
    """

    axis: Axis
    frequencies: IntArray
    half: int

    @property
    def is_long(self) -> bool:
        return is_long(self.axis.kernel, self.frequencies.size)

    @property
    def length(self) -> int:
        return 2 * self.half

    @property
    def bytes(self) -> int:
        """Bytes that computing the symbols takes."""
        if self.is_long:
            return 64 * (self.length + self.axis.kernel)
        return 24 * self.frequencies.size * self.axis.kernel

    @property
    def roundings(self) -> float:
        return PHASE + (of_transform(self.length, self.axis.kernel) if self.is_long else self.axis.kernel)

    def compute(self) -> AnyArray:
        """Return the cosines; whole turns are left out of angles before anything is rounded."""
        turns = np.multiply.outer(self.frequencies, positions(self.axis)) % (2 * self.half)
        symbols: AnyArray = np.cos(np.pi * turns / self.half)[..., None, None]
        return symbols

    def transform(self, taps: AnyArray, chosen: slice) -> AnyArray:
        """Return the transform of the taps around a circle of ``2 half``: its sines cancel, as the taps are even."""
        from scipy import fft

        around = wrap_around(taps, self.axis, self.length)
        workers = threads() if around.size >= PARALLEL_TRANSFORM else 1
        is_real = around.dtype.kind != "c"
        sums = fft.rfft(around, workers=workers).real if is_real else fft.fft(around, workers=workers)
        return sums[:, self.frequencies[chosen], None, None]


@dataclass(frozen=True, eq=False)
class PartSymbols(Symbols):
    """Entries of the matrix of a part: of some outputs and inputs of an axis, in this order."""

    axis: Axis
    outputs: IntArray
    inputs: IntArray

    @property
    def bytes(self) -> int:
        """Bytes that computing the symbols takes: lists of entries, in pieces."""
        return 64 * (min(self.outputs.size * self.axis.kernel, PIECE) + self.axis.size)

    @property
    def roundings(self) -> float:
        return self.axis.kernel

    def extent(self) -> tuple[IntArray, IntArray]:
        """Return the first and the last input of the part that each of its outputs reads."""
        first, last = self.axis.extent(self.outputs)
        return self._local[first], self._local[last]

    def entries(self) -> tuple[IntArray, IntArray, IntArray]:
        """Return for everything that is read the output and the input of the part, and the tap."""
        outputs, inputs, taps = read_entries(self.axis, self.outputs)
        return outputs, self._local[inputs], taps

    @cached_property
    def _local(self) -> IntArray:
        """Number in the part of each input of the axis."""
        local = np.full(self.axis.size, NOTHING)
        local[self.inputs] = np.arange(self.inputs.size)
        return local

    def _pieces(self, rows: int) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield numbers of entries of the matrix, row by row, and the tap of each."""
        step = max(PIECE // (self.axis.kernel * max(rows, 1)), 1)
        for start in range(0, self.outputs.size, step):
            outputs, inputs, taps = read_entries(self.axis, self.outputs[start : start + step])
            yield (start + outputs) * self.inputs.size + self._local[inputs], taps

    def sum_over(self, taps: AnyArray, chosen: slice = ALL) -> AnyArray:
        """Write taps into the matrix; those that a boundary folds onto one input add up."""
        matrix = np.zeros((len(taps), self.outputs.size * self.inputs.size), taps.dtype)
        for at, own in self._pieces(len(taps)):
            if self.axis.may_fold:
                for row, taps_of_row in zip(matrix, taps, strict=True):
                    np.add.at(row, at, taps_of_row[own])
            else:
                matrix[:, at] = taps[:, own]
        return matrix.reshape(len(taps), 1, self.outputs.size, self.inputs.size)[:, chosen]


class FactorSymbols(Symbols):
    """The matrix (out, size) of a vector along an axis, decomposed when first needed."""

    def __init__(self, axis: Axis, vector: AnyArray) -> None:
        self.axis, self.vector = axis, vector

    @property
    def roundings(self) -> float:
        return PHASE + self.axis.kernel

    @cached_property
    def svd(self) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Singular vectors and values of the matrix; those that may be rounding of zero are zero."""
        axis, vector = self.axis, self.vector
        whole = PartSymbols(axis, np.arange(axis.out), np.arange(axis.size))
        matrix = whole.sum_over(vector[None])[0, 0]
        # At small sizes threads gain little, and wait for each other for long if the machine is busy.
        with one_blas_thread() if axis.size < PARALLEL_AXIS else nullcontext():
            u, s, v = np.linalg.svd(matrix, full_matrices=False)
        # The vector is rounded, and so is what a boundary folds onto one position: taps may cancel.
        return u, np.where(s > 2 * EPS * np.abs(vector).sum(), s, 0), v

    def left(self) -> AnyArray:
        """Return the singular vectors of outputs, as columns."""
        return self.svd[0]

    def right(self) -> AnyArray:
        """Return the singular vectors of inputs, as columns."""
        return self.svd[2].conj().T

    def sum_over(self, taps: AnyArray, chosen: slice = ALL) -> AnyArray:
        """Return each singular value times what the taps are of the vector: ``a`` if they are ``a * vector``."""
        parts = taps @ (self.vector.conj() / np.vdot(self.vector, self.vector).real)
        values: AnyArray = np.multiply.outer(parts, self.svd[1][chosen])[..., None, None]
        return values


def of_transform(length: int, taps: int) -> float:
    """Return the error of a fast transform of so many taps, in units of eps times the sum of their magnitudes.

    A step of radix p adds up p numbers, each multiplied by a rounded one. A length with a prime factor above its root
    is transformed by Bluestein's algorithm: three transforms of more than twice the length, whose errors add up as
    the root of it. Taps that meet on the circle are added before.
    """
    folded, rest, roundings, largest = -(-taps // length), length, 0.0, 1
    for prime in range(2, int(length**0.5) + 1):
        while rest % prime == 0:
            rest, roundings, largest = rest // prime, roundings + (prime + 6) / 2, prime
    largest = max(rest, largest)
    roundings += (rest + 6) / 2 if rest > 1 else 0
    if largest**2 > length:
        roundings = max(roundings, (5 * log2(4 * length) + 10) * (2 * length) ** 0.5)
    return folded + roundings


def _multiply(taps: AnyArray, table: AnyArray) -> AnyArray:
    """Return the product of taps (rows, k) with a table (blocks, k, ...); threads share the rows of a large one."""
    right = np.moveaxis(table, 1, 0)
    b = right.reshape(len(right), -1)
    result = np.empty((len(taps), b.shape[1]), np.result_type(taps, b))
    step = max(PRODUCT_PIECE // max(b.shape[1], 1), 1)

    def multiply(starts: Iterable[int]) -> None:
        for start in starts:
            np.matmul(taps[start : start + step], b, out=result[start : start + step])

    starts = range(0, len(taps), step)
    # This is copying rather than arithmetic, and threads of BLAS would linger beside those of `batched`.
    with one_blas_thread() if result.size * len(b) > ONE_THREAD else nullcontext():
        spread(multiply, starts, parallel=result.size >= PARALLEL_TRANSFORM and len(starts) > 1)
    return result.reshape(len(taps), *right.shape[1:])
