r"""One axis in other bases: orthonormal vectors of its outputs and inputs in which every tap is block-diagonal.

For tap p let ``T_p`` be the (out, size) matrix of zeros and ones with ``T_p[o, i] = 1`` where output o reads input i
through p. A rule knows unitary ``U`` and ``V`` with ``U^H T_p V`` block-diagonal for all p at once. As the map of a
kernel K is the sum over p of ``K[p] (x) T_p1 (x) ... (x) T_pd``, it is block-diagonal in the products of these bases.

=========== ============================================= ==========================================================
rule        where                                         bases
=========== ============================================= ==========================================================
fourier     wrap, outputs once around the circle          e^{iwq}; stride s couples s frequencies of the input
cosine      symmetric boundary, kernel even along it      DCT-II (Ng, Chan, Tang, SIAM J. Sci. Comput. 21, 1999)
sine        zero, 'same', 3 taps, kernel even along it    DST-I: T_0 + T_2 is the second difference's off-diagonal
parts       outputs and inputs that share no tap          the positions themselves, sorted (dilation: sub-lattices)
factor      taps that are multiples of one vector         singular vectors of its matrix (Kronecker products)
=========== ============================================= ==========================================================

An axis of which no rule knows more is one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import gcd, lcm
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING, SYMMETRIC, WRAP
from convmtx.engines.threads import one_blas_thread
from convmtx.geometry import Axis
from convmtx.geometry.compose import positions
from convmtx.structure.bases import Basis, Columns, Cosines, Positions, Waves, WholeSamples
from convmtx.typing import AnyArray, IntArray

#: Positions from which a decomposition is worth threads.
THREADED = 600


@dataclass(frozen=True, eq=False)
class Split:
    """Some blocks of an axis, all of one size, or all blocks there are."""

    rule: str
    #: How often each block occurs; copies are conjugate, or at other positions.
    times: IntArray
    #: Size of a block.
    per_output: int
    per_input: int
    make: Callable[[], AnyArray]
    outputs: Basis
    inputs: Basis
    #: Of a part, which of its inputs each of its outputs reads through each tap, -1 for none.
    table: IntArray | None = None
    #: Bytes that making the symbols takes.
    bytes: int = 0

    @cached_property
    def symbols(self) -> AnyArray:
        """(blocks, k, per_output, per_input): each tap in the two bases."""
        return self.make()

    @property
    def is_whole(self) -> bool:
        """Whether no rule splits the axis: it is one part."""
        return self.rule == "whole"

    @property
    def is_fourier(self) -> bool:
        """Whether the basis is the complex one of the Fourier transform."""
        return self.rule == "fourier"

    @property
    def is_factor(self) -> bool:
        """Whether the bases are singular vectors of the kernel's factor along the axis."""
        return self.rule == "factor"


def splits(axis: Axis, even: bool, halved: bool = False, merged: bool = True) -> tuple[Split, ...]:
    """The axis by the first rule that holds for it; together the splits hold every output and input that is read.

    ``even`` says that the kernel is its own mirror image along the axis. With ``halved``, frequencies of which the
    conjugate is there already are left out and counted; with ``merged``, equal parts are counted as copies.
    """
    found = transformed(axis, even, halved)
    return tuple(_parts(axis, merged)) if found is None else (found,)


def transformed(axis: Axis, even: bool, halved: bool) -> Split | None:
    """The axis in the basis of a transform that every tap is diagonal in, if there is one."""
    if whole_circle(axis):
        return fourier(axis, axis.size, 0.0, halved)
    if even and _mirrors_evenly(axis):
        return _cosine(axis)
    return _sine(axis) if even and _second_difference(axis) else None


def whole_circle(axis: Axis) -> bool:
    """Outputs once around the circle; a dilated input has a seam, where its last zeros are missing."""
    return axis.boundary is WRAP and axis.input_dilation == 1 and axis.out * axis.stride == axis.size


def fourier(axis: Axis, size: int, shift: float, halved: bool) -> Split:
    r"""The axis on a circle of ``size`` stretched positions, at the frequencies ``2 pi F / size + shift``.

    With X the unitary transform of the stretched input, an output's is ``Y(F) = K(F) X(F)``. A stretch e repeats the
    input's transform e times, divided by sqrt(e), and a stride s adds up s frequencies of the output's, divided by
    sqrt(s). So the entry of output frequency ``m`` (modulo size/s) and input frequency ``l`` (modulo size/e) is the sum
    of ``K(F) / sqrt(s e)`` over ``F = m, F = l``, and those equal modulo gcd(size/s, size/e) are one block.

    Of a real kernel and a shift of 0 or pi/size, conjugate frequencies belong to conjugate blocks, and ``halved`` takes
    one of each two.
    """
    s, e = axis.stride, axis.input_dilation
    outs, ins = size // s, size // e
    blocks = gcd(outs, ins)
    reads = positions(axis)
    count, times = blocks, np.ones(blocks, np.int64)
    if halved:
        count = (blocks + 1) // 2 if shift else blocks // 2 + 1
        partner = blocks - 1 - np.arange(count) if shift else -np.arange(count) % blocks
        times = np.where(partner == np.arange(count), 1, 2)
    per_output, per_input = outs // blocks, ins // blocks

    def make() -> AnyArray:
        frequencies = np.arange(count)[:, None, None] + blocks * np.arange(size // blocks)[:, None]
        return coupled(axis, 2 * np.pi * (frequencies * reads % size / size) + shift * reads)

    outputs = Waves(outs, blocks, count, axis.out, shift * s, halved)
    inputs = Waves(ins, blocks, count, axis.size, shift * e, halved)
    per_tap = 64 * size // blocks + 16 * per_output * per_input  # angles, waves and their sums
    return Split("fourier", times, per_output, per_input, make, outputs, inputs, bytes=axis.kernel * count * per_tap)


def coupled(axis: Axis, angles: AnyArray) -> AnyArray:
    """Symbols of one block for each row of ``angles`` (rows, lcm(s, e), k), which holds w times the taps' positions.

    Its lcm(s, e) frequencies w lie equally spaced around the circle; number a belongs to output ``a mod lcm/s`` and
    input ``a mod lcm/e`` of the block.
    """
    s, e = axis.stride, axis.input_dilation
    several = lcm(s, e)
    symbols = np.zeros((len(angles), axis.kernel, several // s, several // e), complex)
    for a in range(several):
        symbols[:, :, a % (several // s), a % (several // e)] += np.exp(1j * angles[:, a])
    return symbols / np.sqrt(s * e)


def mirrored(taps: AnyArray, axis: int) -> bool:
    """Whether taps (F, C/groups, k1..kd) are their own mirror image along an axis."""
    return bool(np.array_equal(taps, np.flip(taps, axis + 2)))


def centred(axis: Axis) -> bool:
    """Whether outputs stand where inputs do, each in the middle of its window."""
    plain = axis.stride == axis.input_dilation == 1 and axis.out == axis.size
    return plain and axis.kernel % 2 == 1 and 2 * axis.lo == axis.span - 1


def _mirrors_evenly(axis: Axis) -> bool:
    return axis.boundary is SYMMETRIC and centred(axis)


def _second_difference(axis: Axis) -> bool:
    return axis.zero_outside and centred(axis) and axis.kernel == 3 and axis.dilation == 1


def _even(axis: Axis, rule: str, frequencies: IntArray, half: int, basis: Basis) -> Split:
    """A kernel that is its own mirror image: taps p and k-1-p together are ``2 cos``, so each counts one cosine.

    Of angles ``pi f q / half``, whole turns are left out before anything is rounded.
    """

    def make() -> AnyArray:
        turned = np.multiply.outer(frequencies, positions(axis)) % (2 * half)
        symbols: AnyArray = np.cos(np.pi * turned / half)[..., None, None]
        return symbols

    size = 24 * axis.size * axis.kernel
    return Split(rule, np.ones(axis.size, np.int64), 1, 1, make, basis, basis, bytes=size)


def _cosine(axis: Axis) -> Split:
    return _even(axis, "cosine", np.arange(axis.size), axis.size, Cosines(axis.size, "cosine"))


def whole_sample(axis: Axis) -> Split:
    """The axis under reflect with a kernel that is its own mirror image: cosines that are not orthogonal, DCT-I.

    So it tells eigenvalues, and not singular values.
    """
    return _even(axis, "whole sample", np.arange(axis.size), max(axis.size - 1, 1), WholeSamples(axis.size))


def _sine(axis: Axis) -> Split:
    return _even(axis, "sine", np.arange(1, axis.size + 1), axis.size + 1, Cosines(axis.size, "sine"))


def _parts(axis: Axis, merged: bool) -> Iterator[Split]:
    """Outputs and inputs that are joined by taps, directly or through others; equal parts are copies of the first."""
    table = axis.table()
    if axis.kernel == 1 and axis.zero_outside and merged:  # no input is read twice
        outputs = np.flatnonzero(table[:, 0] != NOTHING)
        if outputs.size:
            yield _part("parts", axis, np.zeros((1, 1), np.int64), outputs[:, None], table[outputs])
        return
    numbers, count = _joined(table, axis.size)
    outputs_of, inputs_of = _by_number(numbers[: axis.out], count), _by_number(numbers[axis.out :], count)
    local = np.full(axis.size + 1, NOTHING)  # its last place is read by -1
    found: dict[Any, tuple[IntArray, list[IntArray], list[IntArray]]] = {}
    for part, (outputs, inputs) in enumerate(zip(outputs_of, inputs_of, strict=True)):
        if outputs.size and inputs.size:
            local[inputs] = np.arange(inputs.size)
            rows = local[table[outputs]]
            key = (rows.tobytes(), inputs.size) if merged else part
            _, all_outputs, all_inputs = found.setdefault(key, (rows, [], []))
            all_outputs.append(outputs)
            all_inputs.append(inputs)
    rule = "whole" if count == 1 else "parts"
    for rows, all_outputs, all_inputs in found.values():
        yield _part(rule, axis, rows, np.array(all_outputs), np.array(all_inputs))


def _part(rule: str, axis: Axis, rows: IntArray, outputs: IntArray, inputs: IntArray) -> Split:
    """A part and its copies, from the table of the first and the outputs and inputs (copies, of a part) of all."""
    (often, per_output), per_input = outputs.shape, inputs.shape[1]
    return Split(
        rule, np.array([often]), per_output, per_input, partial(_incidence, rows, per_input),
        Positions(axis.out, outputs), Positions(axis.size, inputs), rows, bytes=9 * rows.size * per_input,
    )  # fmt: skip


def connected(axis: Axis) -> bool:
    """Whether neighbouring windows overlap without gaps, so that an axis is surely one part."""
    return axis.dilation == axis.input_dilation == 1 and axis.stride < axis.kernel


def factor(axis: Axis, vector: AnyArray) -> Split:
    """The axis in the singular vectors of a kernel's factor along it: right for taps that are multiples of it."""

    @cache
    def svd() -> tuple[AnyArray, AnyArray, AnyArray]:
        matrix, table = np.zeros((axis.out, axis.size), vector.dtype), axis.table()
        outputs, taps = np.nonzero(table != NOTHING)
        np.add.at(matrix, (outputs, table[outputs, taps]), vector[taps])
        # At small sizes threads gain little, and wait for each other for long where the machine is busy.
        with one_blas_thread() if axis.size < THREADED else nullcontext():
            u, s, v = np.linalg.svd(matrix, full_matrices=False)
        # The vector is rounded, and so is what a boundary folds onto one position: taps may cancel.
        return u, np.where(s > 2 * np.finfo(float).eps * np.abs(vector).sum(), s, 0), v

    def make() -> AnyArray:
        weights = vector.conj() / np.vdot(vector, vector).real
        symbols: AnyArray = np.multiply.outer(svd()[1], weights)[..., None, None]
        return symbols

    outputs, inputs = Columns(lambda: svd()[0]), Columns(lambda: svd()[2].conj().T)
    few = min(axis.out, axis.size)
    numbers = 2 * axis.out * axis.size + 2 * few * (axis.out + axis.size) + 4 * few**2  # matrix, vectors, LAPACK's own
    size = vector.dtype.itemsize * (numbers + 3 * few * axis.kernel)
    return Split("factor", np.ones(few, np.int64), 1, 1, make, outputs, inputs, bytes=size)


def _incidence(rows: IntArray, size: int) -> AnyArray:
    """A table as one matrix of zeros and ones for each tap, (1, k, out, size)."""
    matrices: AnyArray = rows.T[None, :, :, None] == np.arange(size)
    return matrices.astype(float)


def _by_number(numbers: IntArray, count: int) -> list[IntArray]:
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers, minlength=count))[:-1])


def _joined(table: IntArray, size: int) -> tuple[IntArray, int]:
    """The number of the part that each output, then each input, belongs to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    outputs, taps = np.nonzero(table != NOTHING)
    places = (outputs, len(table) + table[outputs, taps])
    joined = coo_array((np.ones(outputs.size, np.int8), places), shape=(len(table) + size,) * 2)
    count, numbers = connected_components(joined, directed=False)
    return numbers.astype(np.int64), int(count)
