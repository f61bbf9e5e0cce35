r"""One axis in other bases: orthonormal vectors of its outputs and inputs in which every tap is block-diagonal.

For tap p let ``T_p`` be the (out, size) matrix of zeros and ones with ``T_p[o, i] = 1`` if output o reads input i
through p. A rule knows unitary ``U`` and ``V`` with ``U^H T_p V`` block-diagonal for all p at once. The map of a
kernel K is the sum over p of ``K[p] (x) T_p1 (x) ... (x) T_pd``, so it is block-diagonal in the products of these
bases.

=========== ============================================= ==========================================================
rule        where it holds                                bases
=========== ============================================= ==========================================================
fourier     wrap, outputs once around the circle          e^{iwq}; stride s couples s frequencies of the input
cosine      symmetric boundary, kernel even along it      DCT-II (Ng, Chan, Tang, SIAM J. Sci. Comput. 21, 1999)
sine        zero, 'same', 3 taps, kernel even along it    DST-I: T_0 + T_2 is the second difference's off-diagonal
parts       outputs and inputs that share no tap          the positions themselves, sorted (dilation: sub-lattices)
factor      taps that are multiples of one vector         singular vectors of its matrix (Kronecker products)
=========== ============================================= ==========================================================

An axis for which no rule holds is one part, the whole axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from math import gcd, lcm, prod
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING, SYMMETRIC, WRAP
from convmtx.costs import PARALLEL_AXIS
from convmtx.engines.threads import one_blas_thread
from convmtx.geometry import Axis
from convmtx.geometry.compose import positions
from convmtx.structure.bases import Basis, Columns, Cosines, Positions, Waves, WholeSamples
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray, IntArray

#: Outputs and inputs of an axis up to which the parts that they belong to are kept, 8 bytes for each of them.
KEPT_PLACES = 1 << 13


class Rule(StrEnum):
    """Rule by which an axis falls apart; the value is the word that results print."""

    FOURIER = "fourier"
    COSINE = "cosine"
    SINE = "sine"
    #: Cosines that are not orthogonal: right for eigenvalues, not for singular values.
    WHOLE_SAMPLE = "whole sample"
    PARTS = "parts"
    #: One part: the axis does not fall apart.
    WHOLE = "whole"
    FACTOR = "factor"


class Symbols(ABC):
    """The taps of an axis in the bases of a split, computed on request."""

    @abstractmethod
    def compute(self) -> AnyArray:
        """Return each tap in the two bases, (blocks, k, per_output, per_input)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Blocks of an axis that have one size; all of its blocks, or some."""

    rule: Rule
    #: Number of times that each block occurs; copies are conjugate, or lie at other positions.
    times: IntArray
    #: Rows and columns of a block.
    per_output: int
    per_input: int
    source: Symbols
    outputs: Basis
    inputs: Basis
    #: For parts: which of its inputs each output of the part reads through each tap, -1 for none.
    table: IntArray | None = None
    #: Bytes that computing the symbols takes.
    bytes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the axis does not fall apart."""
        return self.rule is Rule.WHOLE

    @property
    def is_fourier(self) -> bool:
        """Whether the bases are complex waves around a circle."""
        return self.rule is Rule.FOURIER

    @property
    def is_factor(self) -> bool:
        """Whether the bases are singular vectors of a kernel's factor along the axis."""
        return self.rule is Rule.FACTOR

    @cached_property
    def symbols(self) -> AnyArray:
        """Each tap in the two bases, (blocks, k, per_output, per_input)."""
        return self.source.compute()


def splits(axis: Axis, even: bool, halved: bool = False, merged: bool = True) -> tuple[Split, ...]:
    """Split an axis by the first rule that holds for it; together the splits cover every output and input in use.

    ``even`` says that the kernel is its own mirror image along the axis. With ``halved``, one of each two conjugate
    frequencies is left out and the other counts twice; with ``merged``, equal parts count as copies of one.
    """
    split = split_by_transform(axis, even, halved)
    return tuple(_split_into_parts(axis, merged)) if split is None else (split,)


def transform_rule(axis: Axis, even: bool) -> Rule | None:
    """Return the rule of the fast transform that makes every tap of an axis diagonal, or None if there is none."""
    if whole_circle(axis):
        return Rule.FOURIER
    if even and axis.boundary is SYMMETRIC and is_centred(axis):
        return Rule.COSINE
    return Rule.SINE if even and _has_second_differences(axis) else None


def split_by_transform(axis: Axis, even: bool, halved: bool) -> Split | None:
    """Return the axis in the basis of the fast transform of its rule, or None if there is none."""
    rule = transform_rule(axis, even)
    if rule is Rule.FOURIER:
        return fourier(axis, axis.size, 0.0, halved)
    if rule is Rule.COSINE:
        return _split_even(axis, rule, np.arange(axis.size), axis.size)
    if rule is Rule.SINE:
        return _split_even(axis, rule, np.arange(1, axis.size + 1), axis.size + 1)
    return None


def whole_circle(axis: Axis) -> bool:
    """Whether the outputs go once around the circle.

    A dilated input has a seam at which its last zeros are missing, so it is not a circle.
    """
    return axis.boundary is WRAP and axis.input_dilation == 1 and axis.out * axis.stride == axis.size


@dataclass(frozen=True)
class CircleSymbols(Symbols):
    """Symbols at the first ``count`` of ``blocks`` blocks of frequencies ``2 pi F / size + shift``."""

    axis: Axis
    size: int
    shift: float
    blocks: int
    count: int

    def compute(self) -> AnyArray:
        """Return the sums of waves; whole turns are left out of angles before anything is rounded."""
        reads = positions(self.axis)
        frequencies = np.arange(self.count)[:, None, None] + self.blocks * np.arange(self.size // self.blocks)[:, None]
        turns = frequencies * reads % self.size
        return couple_frequencies(self.axis, 2 * np.pi * (turns / self.size) + self.shift * reads)


def fourier(axis: Axis, size: int, shift: float, halved: bool) -> Split:
    r"""Split an axis on a circle of ``size`` stretched positions, at the frequencies ``2 pi F / size + shift``.

    With X the unitary transform of the stretched input, an output's is ``Y(F) = K(F) X(F)``. A stretch e repeats the
    input's transform e times, divided by sqrt(e). A stride s adds up s frequencies of the output's, divided by
    sqrt(s). So the entry of output frequency ``m`` (modulo size/s) and input frequency ``l`` (modulo size/e) is the sum
    of ``K(F) / sqrt(s e)`` over all ``F`` with ``F = m`` and ``F = l``. Frequencies that are equal modulo
    gcd(size/s, size/e) are one block. For example, size 12 with stride 2 has 6 blocks of 1 output and 2 inputs.

    If the kernel is real and the shift is 0 or pi/size, conjugate frequencies belong to conjugate blocks, and
    ``halved`` takes one of each two.
    """
    s, e = axis.stride, axis.input_dilation
    outs, ins = size // s, size // e
    blocks = gcd(outs, ins)
    count, times = blocks, np.ones(blocks, np.int64)
    if halved:
        count = (blocks + 1) // 2 if shift else blocks // 2 + 1
        partner = blocks - 1 - np.arange(count) if shift else -np.arange(count) % blocks
        times = np.where(partner == np.arange(count), 1, 2)
    per_output, per_input = outs // blocks, ins // blocks
    outputs = Waves(outs, blocks, count, axis.out, shift * s, halved)
    inputs = Waves(ins, blocks, count, axis.size, shift * e, halved)
    per_tap = 64 * size // blocks + 16 * per_output * per_input  # angles, waves and their sums
    source = CircleSymbols(axis, size, shift, blocks, count)
    bytes_ = axis.kernel * count * per_tap
    return Split(Rule.FOURIER, times, per_output, per_input, source, outputs, inputs, bytes=bytes_)


def couple_frequencies(axis: Axis, angles: AnyArray) -> AnyArray:
    """Return the symbols of one block for each row of ``angles`` (rows, lcm(s, e), k): w times the taps' positions.

    The lcm(s, e) frequencies w of a block lie equally spaced around the circle. Number a belongs to output
    ``a mod lcm/s`` and input ``a mod lcm/e`` of the block.
    """
    s, e = axis.stride, axis.input_dilation
    n_coupled = lcm(s, e)
    symbols = np.zeros((len(angles), axis.kernel, n_coupled // s, n_coupled // e), complex)
    for a in range(n_coupled):
        symbols[:, :, a % (n_coupled // s), a % (n_coupled // e)] += np.exp(1j * angles[:, a])
    return symbols / np.sqrt(s * e)


def is_mirrored(taps: AnyArray, axis: int) -> bool:
    """Whether taps (F, C/groups, k1..kd) are their own mirror image along an axis."""
    return bool(np.array_equal(taps, np.flip(taps, axis + 2)))


def is_centred(axis: Axis) -> bool:
    """Whether outputs stand where inputs do, each in the middle of its window."""
    plain = axis.stride == axis.input_dilation == 1 and axis.out == axis.size
    return plain and axis.kernel % 2 == 1 and 2 * axis.lo == axis.span - 1


def _has_second_differences(axis: Axis) -> bool:
    """Whether the matrix of an even kernel is tridiagonal Toeplitz."""
    return axis.zero_outside and is_centred(axis) and axis.kernel == 3 and axis.dilation == 1


@dataclass(frozen=True, eq=False)
class EvenSymbols(Symbols):
    """Cosines of ``pi f q / half`` at taps' positions q, for a kernel that is its own mirror image.

    Taps p and k-1-p together are ``2 cos``, so each counts one cosine.
    """

    axis: Axis
    frequencies: IntArray
    half: int

    def compute(self) -> AnyArray:
        """Return the cosines; whole turns are left out of angles before anything is rounded."""
        turns = np.multiply.outer(self.frequencies, positions(self.axis)) % (2 * self.half)
        symbols: AnyArray = np.cos(np.pi * turns / self.half)[..., None, None]
        return symbols


def _split_even(axis: Axis, rule: Rule, frequencies: IntArray, half: int) -> Split:
    """Split an axis along which the kernel is its own mirror image by cosines or sines, one vector a block."""
    basis: Basis
    if rule is Rule.WHOLE_SAMPLE:
        basis = WholeSamples(axis.size)
    else:
        basis = Cosines(axis.size, "cosine" if rule is Rule.COSINE else "sine")
    source = EvenSymbols(axis, frequencies, half)
    return Split(rule, np.ones(axis.size, np.int64), 1, 1, source, basis, basis, bytes=24 * axis.size * axis.kernel)


def whole_sample(axis: Axis) -> Split:
    """Split an axis under reflect, with a kernel that is its own mirror image, by cosines that are not orthogonal.

    These are those of the DCT-I. Blocks have the eigenvalues of the map, and not its singular values.
    """
    return _split_even(axis, Rule.WHOLE_SAMPLE, np.arange(axis.size), max(axis.size - 1, 1))


@dataclass(frozen=True, eq=False)
class PartSymbols(Symbols):
    """Matrices of zeros and ones from a table of which input each output reads through each tap, -1 for none."""

    table: IntArray
    inputs: int

    def compute(self) -> AnyArray:
        """Return one matrix for each tap, (1, k, outputs, inputs)."""
        matrices: AnyArray = self.table.T[None, :, :, None] == np.arange(self.inputs)
        return matrices.astype(float)


def _split_into_parts(axis: Axis, merged: bool) -> Iterator[Split]:
    """Yield outputs and inputs that taps join, directly or through others; equal parts are copies of the first."""
    table = axis.table()
    if axis.kernel == 1 and axis.zero_outside and merged:  # no input is read twice
        outputs = np.flatnonzero(table[:, 0] != NOTHING)
        if outputs.size:
            yield _part(Rule.PARTS, axis, np.zeros((1, 1), np.int64), outputs[:, None], table[outputs])
        return
    labels, count = (_label_kept_parts if axis.out + axis.size <= KEPT_PLACES else _label_parts)(axis)
    outputs_of, inputs_of = _places_by_label(labels[: axis.out], count), _places_by_label(labels[axis.out :], count)
    local = np.full(axis.size + 1, NOTHING)  # its last place is read by -1
    kinds: dict[Any, tuple[IntArray, list[IntArray], list[IntArray]]] = {}
    for part, (outputs, inputs) in enumerate(zip(outputs_of, inputs_of, strict=True)):
        if outputs.size and inputs.size:
            local[inputs] = np.arange(inputs.size)
            rows = local[table[outputs]]
            key = (rows.tobytes(), inputs.size) if merged else part
            _, all_outputs, all_inputs = kinds.setdefault(key, (rows, [], []))
            all_outputs.append(outputs)
            all_inputs.append(inputs)
    rule = Rule.WHOLE if count == 1 else Rule.PARTS
    for rows, all_outputs, all_inputs in kinds.values():
        yield _part(rule, axis, rows, np.array(all_outputs), np.array(all_inputs))


def _part(rule: Rule, axis: Axis, rows: IntArray, outputs: IntArray, inputs: IntArray) -> Split:
    """Return a part and its copies, from the table of the first and the places (copies, positions) of all."""
    (copies, per_output), per_input = outputs.shape, inputs.shape[1]
    places = Positions(axis.out, outputs), Positions(axis.size, inputs)
    source = PartSymbols(rows, per_input)
    bytes_ = 9 * rows.size * per_input
    return Split(rule, np.array([copies]), per_output, per_input, source, *places, rows, bytes=bytes_)


def _label_parts(axis: Axis) -> tuple[IntArray, int]:
    """Return the number of the part that each output, then each input, belongs to; and how many parts there are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    table = axis.table()
    outputs, taps = np.nonzero(table != NOTHING)
    places = (outputs, axis.out + table[outputs, taps])
    graph = coo_array((np.ones(outputs.size, np.int8), places), shape=(axis.out + axis.size,) * 2)
    count, labels = connected_components(graph, directed=False)
    return labels.astype(np.int64), int(count)


#: To join some places takes half a millisecond, longer than a small solve with another map of the same axes.
_label_kept_parts = lru_cache(maxsize=64)(_label_parts)


def _places_by_label(labels: IntArray, count: int) -> list[IntArray]:
    """Return the places of each label: those of (1, 0, 1) are [1] and [0, 2]."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=count))[:-1])


def is_connected(axis: Axis) -> bool:
    """Whether neighbouring windows without gaps surely read a common input, so that an axis is one part.

    Of windows of 4 positions, two neighbours at stride 1 share 3 positions: among these is an input also if every
    second position holds one (input dilation 2), or every third.
    """
    return axis.dilation == 1 and axis.kernel - axis.stride >= axis.input_dilation


def separate(taps: AnyArray, axis: int) -> tuple[AnyArray | None, AnyArray]:
    """Return the vector along an axis and the taps of the others whose outer product the taps are, to rounding.

    If they are not such a product, return None and the taps themselves.
    """
    if not _may_be_product(np.moveaxis(taps, axis + 2, 0).reshape(taps.shape[axis + 2], -1)):
        return None, taps
    vector, rest, values = nearest(taps, axis)
    if not values[0] or values[1:].sum() > 4 * EPS * values[0] * prod(taps.shape) ** 0.5:
        return None, taps
    return vector, rest


def _may_be_product(matrix: AnyArray) -> bool:
    """Whether a matrix may have rank 1 to rounding: a look at the lines through its largest entry p, without an SVD.

    Their product over p is the matrix, or an entry is off by r. Then the second singular value is at least r / 2: that
    of [[p, a], [b, ab/p + r]], whose entries are at most p, has the determinant p r and a norm of at most 2 p.
    """
    row, column = divmod(int(np.abs(matrix).argmax()), matrix.shape[1])
    peak = matrix[row, column]
    if not peak:
        return False
    with np.errstate(all="ignore"):
        off = np.abs(matrix - np.multiply.outer(matrix[:, column] / peak, matrix[row])).max()
    return not off > 16 * EPS * np.abs(peak) * matrix.size


def nearest(taps: AnyArray, axis: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return the vector along an axis and the taps of the others whose outer product is nearest to the taps.

    Third come all singular values of the taps as a matrix (k, rest): those after the first say how far it is.
    """
    lines = np.moveaxis(taps, axis + 2, 0)
    u, s, v = np.linalg.svd(lines.reshape(len(lines), -1), full_matrices=False)
    return u[:, 0] * s[0], v[0].reshape(lines.shape[1:]), s


class FactorSymbols(Symbols):
    """The matrix (out, size) of a vector along an axis, decomposed when first needed."""

    def __init__(self, axis: Axis, vector: AnyArray) -> None:
        self.axis, self.vector = axis, vector

    @cached_property
    def svd(self) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Singular vectors and values of the matrix; those that may be rounding of zero are zero."""
        axis, vector = self.axis, self.vector
        matrix, table = np.zeros((axis.out, axis.size), vector.dtype), axis.table()
        outputs, taps = np.nonzero(table != NOTHING)
        np.add.at(matrix, (outputs, table[outputs, taps]), vector[taps])
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

    def compute(self) -> AnyArray:
        """Return each singular value times ``conj(vector) / |vector|^2``, (values, k, 1, 1).

        Summed over taps ``a * vector``, that is ``a`` times the singular value.
        """
        weights = self.vector.conj() / np.vdot(self.vector, self.vector).real
        symbols: AnyArray = np.multiply.outer(self.svd[1], weights)[..., None, None]
        return symbols


def factor(axis: Axis, vector: AnyArray) -> Split:
    """Split an axis by the singular vectors of a kernel's factor along it: right for taps that are multiples of it."""
    source = FactorSymbols(axis, vector)
    few = min(axis.out, axis.size)
    numbers = 2 * axis.out * axis.size + 2 * few * (axis.out + axis.size) + 4 * few**2  # matrix, vectors, LAPACK's own
    bytes_ = vector.dtype.itemsize * (numbers + 3 * few * axis.kernel)
    bases = Columns(source.left), Columns(source.right)
    return Split(Rule.FACTOR, np.ones(few, np.int64), 1, 1, source, *bases, bytes=bytes_)
