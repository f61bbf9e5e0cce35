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

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import gcd, prod
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING, SYMMETRIC, WRAP
from convmtx.geometry import Axis, join_places
from convmtx.structure.bases import Basis, Columns, Cosines, Positions, Waves, WholeSamples
from convmtx.structure.precision import EPS
from convmtx.structure.symbols import CircleSymbols, EvenSymbols, FactorSymbols, PartSymbols, Symbols
from convmtx.typing import AnyArray, IntArray

#: Outputs and inputs of an axis up to which the parts that they belong to are kept, 8 bytes for each of them.
KEPT_PLACES = 1 << 13
#: Outputs times taps of a part up to which its entries are listed to see whether it is equal to another one.
MOST_COMPARED = 1 << 20


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

    @property
    def part(self) -> PartSymbols | None:
        """Outputs and inputs of a block whose bases are positions; None if the bases are others."""
        return self.source if isinstance(self.source, PartSymbols) else None


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
        # With a shift, block f is conjugate to blocks - 1 - f, else to -f: 0, and the last one or not, are their own.
        count = (blocks + 1) // 2 if shift else blocks // 2 + 1
        times = np.full(count, 2)
        times[-1] = 1 if blocks % 2 == bool(shift) else 2
        times[0] = times[0] if shift else 1
    per_output, per_input = outs // blocks, ins // blocks
    outputs = Waves(outs, blocks, count, axis.out, shift * s, halved)
    inputs = Waves(ins, blocks, count, axis.size, shift * e, halved)
    source = CircleSymbols(axis, size, shift, blocks, count)
    return Split(Rule.FOURIER, times, per_output, per_input, source, outputs, inputs, bytes=source.bytes)


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


def _split_even(axis: Axis, rule: Rule, frequencies: IntArray, half: int) -> Split:
    """Split an axis along which the kernel is its own mirror image by cosines or sines, one vector a block."""
    basis: Basis
    if rule is Rule.WHOLE_SAMPLE:
        basis = WholeSamples(axis.size)
    else:
        basis = Cosines(axis.size, "cosine" if rule is Rule.COSINE else "sine")
    source = EvenSymbols(axis, frequencies, half)
    return Split(rule, np.ones(axis.size, np.int64), 1, 1, source, basis, basis, bytes=source.bytes)


def whole_sample(axis: Axis) -> Split:
    """Split an axis under reflect, with a kernel that is its own mirror image, by cosines that are not orthogonal.

    These are those of the DCT-I. Blocks have the eigenvalues of the map, and not its singular values.
    """
    return _split_even(axis, Rule.WHOLE_SAMPLE, np.arange(axis.size), max(axis.size - 1, 1))


def _split_into_parts(axis: Axis, merged: bool) -> Iterator[Split]:
    """Yield outputs and inputs that taps join, directly or through others; equal parts are copies of the first."""
    if axis.kernel == 1 and axis.zero_outside and merged:  # no input is read twice
        inputs = axis.read(np.arange(axis.out), np.zeros(1, np.int64))
        outputs = np.flatnonzero(inputs != NOTHING)
        if outputs.size:
            yield _part(Rule.PARTS, axis, outputs[:, None], inputs[outputs, None])
        return
    labels, count = (_label_kept_parts if axis.out + axis.size <= KEPT_PLACES else _label_parts)(axis)
    outputs_of, inputs_of = _places_by_label(labels[: axis.out], count), _places_by_label(labels[axis.out :], count)
    kinds: dict[Any, tuple[list[IntArray], list[IntArray]]] = {}
    for part, (outputs, inputs) in enumerate(zip(outputs_of, inputs_of, strict=True)):
        if outputs.size and inputs.size:
            key = _arrangement(axis, outputs, inputs) if merged and count > 1 else None
            all_outputs, all_inputs = kinds.setdefault(part if key is None else key, ([], []))
            all_outputs.append(outputs)
            all_inputs.append(inputs)
    rule = Rule.WHOLE if count == 1 else Rule.PARTS
    for all_outputs, all_inputs in kinds.values():
        yield _part(rule, axis, np.array(all_outputs), np.array(all_inputs))


def _arrangement(axis: Axis, outputs: IntArray, inputs: IntArray) -> Any:
    """Return what two parts have in common if their matrices are equal; None if that takes too long to see.

    Under zeros a part's windows are equally far apart, and so are its inputs: it is enough to compare the first ones.
    """
    if axis.zero_outside and axis.input_dilation == 1:
        low = int(outputs[0]) * axis.stride - axis.lo - int(inputs[0])
        return low, outputs.size, inputs.size, int(np.diff(outputs[:2]).sum())
    if outputs.size * axis.kernel > MOST_COMPARED:
        return None
    places, columns, taps = PartSymbols(axis, outputs, inputs).entries()
    return np.concatenate([places, columns, taps]).tobytes(), outputs.size, inputs.size


def _part(rule: Rule, axis: Axis, outputs: IntArray, inputs: IntArray) -> Split:
    """Return a part and its copies, from the places (copies, positions) of all."""
    (copies, per_output), per_input = outputs.shape, inputs.shape[1]
    places = Positions(axis.out, outputs), Positions(axis.size, inputs)
    source = PartSymbols(axis, outputs[0], inputs[0])
    return Split(rule, np.array([copies]), per_output, per_input, source, *places, bytes=source.bytes)


def _label_parts(axis: Axis) -> tuple[IntArray, int]:
    """Return the number of the part that each output, then each input, belongs to; and how many parts there are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = join_places(axis)
    graph = coo_array((np.ones(ends[0].size, np.int8), ends), shape=(axis.out + axis.size,) * 2)
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


def factor(axis: Axis, vector: AnyArray) -> Split:
    """Split an axis by the singular vectors of a kernel's factor along it: right for taps that are multiples of it."""
    source = FactorSymbols(axis, vector)
    few = min(axis.out, axis.size)
    numbers = 2 * axis.out * axis.size + 2 * few * (axis.out + axis.size) + 4 * few**2  # matrix, vectors, LAPACK's own
    bytes_ = vector.dtype.itemsize * (numbers + 3 * axis.kernel)
    bases = Columns(source.left), Columns(source.right)
    return Split(Rule.FACTOR, np.ones(few, np.int64), 1, 1, source, *bases, bytes=bytes_)
