"""Maps near a convolution that fall apart into blocks: their inverses are preconditioners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from math import lcm
from typing import Literal, NoReturn

import numpy as np

from convmtx import memory
from convmtx.boundary import SYMMETRIC, WRAP, ZERO
from convmtx.errors import UnsupportedError, with_article
from convmtx.geometry import Axis, Geometry
from convmtx.geometry.compose import positions
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.methods.by_blocks import BlockFactors
from convmtx.solves.methods.coefficients import BlockCoefficients, Coefficients
from convmtx.solves.methods.penalties import stack_penalties
from convmtx.solves.problem import Problem
from convmtx.structure import Blocks, around, find_blocks
from convmtx.structure.double import lone_entries
from convmtx.structure.splits import fourier, is_centred, nearest
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import AnyArray

Kind = Literal["embedded", "strang", "tchan", "dct", "kron"]
#: Damping of the preconditioner over that of the problem, if outputs of the convolution are left out or weighted.
#: Without it, inputs that few outputs read take the most iterations. For blurs of 9 x 9 with 10 % of the pixels
#: missing, and dampings from 0.1 to 0.01, steps with the preconditioner were 1.4 to 1.9 times those of all pixels, and
#: with it 1.0 to 1.4 times.
WEIGHTED = 2.0


def approximate(problem: Problem, kind: Kind) -> BlockFactors:
    """Return factors of a map near that of a problem, with the problem's damping; ``kind`` is one of `KINDS`."""
    op = problem.op
    near = convolution_near(op)
    if near is None:
        got = f"op is {with_article(type(op).__name__)}, not a single convolution"
        raise UnsupportedError(got, "Expected a convolution", "Leave the preconditioner out, as method='lsmr' does")
    damp = problem.damp if near is op else WEIGHTED * problem.damp
    return KINDS[kind](replace(problem, op=near, damp=damp), near.geometry, taps_of(near.geometry, near.kernel))


def convolution_near(op: LinearMap) -> ConvOperator | None:
    """Return a convolution whose Gram matrix is near that of a map, or None.

    It is the map itself, or what the map selects outputs of and weights, times the root mean square of the weights.
    """
    *weights, last = op._chain
    if not isinstance(last, ConvOperator) or not all(link._has_lone_entries for link in weights):
        return None
    mean = 1.0
    for link in weights:
        mean *= float(np.sum(np.abs(lone_entries(link).values) ** 2)) / link.shape[1]
    return last * mean**0.5 if weights and mean else last


def embedded(problem: Problem, geometry: Geometry, taps: AnyArray) -> BlockFactors:
    """Circulant of a circle so long that windows do not come around; arrays are padded with zeros to its size."""
    if problem.regularizer is None:
        blocks = _around(geometry, taps, [_room(axis) for axis in geometry.axes])
        return _factors(problem, "embedded circulant", [blocks])
    maps, dtype = problem.penalties.maps, problem.dtype
    convolutions = [part for part in maps if isinstance(part, ConvOperator)]
    geometries = [geometry, *(part.geometry for part in convolutions)]
    if len(convolutions) < len(maps) or any(
        axis.stride * axis.input_dilation > 1 for g in geometries for axis in g.axes
    ):
        _refuse("embedded circulant", "strides, or a regularizer that is not a convolution", "stride 1 in both maps")
    if any(len(g.axes) != len(geometry.axes) or g.groups != geometry.groups for g in geometries):
        _refuse("embedded circulant", "maps of other axes or groups", "the same for the regularizer")
    sizes = [max(map(_room, axes)) for axes in zip(*(g.axes for g in geometries), strict=True)]
    blocks = _around(geometry, taps.astype(dtype), sizes)
    penalties = [
        _around(part.geometry, taps_of(part.geometry, part.kernel).astype(dtype), sizes) for part in convolutions
    ]
    return _factors(problem, "embedded circulant", [blocks], penalties)


def _around(geometry: Geometry, taps: AnyArray, sizes: list[int]) -> Blocks:
    """Return the blocks of the map with its axes on circles of these sizes, and zeros outside of the arrays."""
    halved = [taps.dtype.kind != "c" and j == len(sizes) - 1 for j in range(len(sizes))]
    axes = zip(geometry.axes, sizes, halved, strict=True)
    return Blocks(geometry, taps, tuple(fourier(replace(a, boundary=ZERO), n, 0.0, half) for a, n, half in axes))


def _room(axis: Axis) -> int:
    """Return the size of a circle that holds inputs and outputs without overlap, and that has a fast transform."""
    from scipy.fft import next_fast_len

    unit = lcm(axis.stride, axis.input_dilation)
    return unit * next_fast_len(-(-around(axis) // unit), real=True)


def strang(problem: Problem, geometry: Geometry, taps: AnyArray) -> BlockFactors:
    """Circulant with the same taps, of the input's own size (Strang, Stud. Appl. Math. 74, 1986)."""
    return _wrapped(problem, "Strang's circulant", geometry, taps)


def tchan(problem: Problem, geometry: Geometry, taps: AnyArray) -> BlockFactors:
    """Circulant nearest in the Frobenius norm, axis by axis (T. Chan, SIAM J. Sci. Stat. Comput. 9, 1988)."""
    for j, axis in enumerate(geometry.axes):
        kept = np.maximum(1 - np.abs(positions(axis)) / axis.size, 0)
        taps = taps * kept.reshape(-1, *(1 for _ in range(j + 1, len(geometry.axes))))
    return _wrapped(problem, "T. Chan's circulant", geometry, taps)


def _wrapped(problem: Problem, method: str, geometry: Geometry, taps: AnyArray) -> BlockFactors:
    _require_equal_sizes(geometry, method)
    return _near(problem, method, replace(geometry, axes=tuple(replace(a, boundary=WRAP) for a in geometry.axes)), taps)


def cosine(problem: Problem, geometry: Geometry, taps: AnyArray) -> BlockFactors:
    """Even part of the kernel with a symmetric boundary (Ng, Chan, Tang, SIAM J. Sci. Comput. 21, 1999)."""
    method = "cosine transforms"
    _require_equal_sizes(geometry, method)
    for j, axis in enumerate(geometry.axes):
        if not is_centred(axis):
            _refuse(method, f"pads ({axis.lo}, {axis.hi}) of a kernel of {axis.kernel}", "odd kernels amid their pads")
        taps = (taps + np.flip(taps, j + 2)) / 2
    axes = tuple(replace(a, boundary=SYMMETRIC) for a in geometry.axes)
    return _near(problem, method, replace(geometry, axes=axes), taps)


def kronecker(problem: Problem, geometry: Geometry, taps: AnyArray) -> BlockFactors:
    """Outer product near the kernel, one axis after the other (Kamm, Nagy, Linear Algebra Appl. 284, 1998)."""
    method = "nearest Kronecker product"
    _require_equal_sizes(geometry, method)
    vectors, rest = [], taps
    for _ in geometry.axes:
        vector, rest, _ = nearest(rest, 0)
        vectors.append(vector)
    near = reduce(np.multiply.outer, vectors, rest)
    return _near(problem, method, geometry, near)


KINDS: dict[Kind, Callable[[Problem, Geometry, AnyArray], BlockFactors]] = {
    "embedded": embedded,
    "strang": strang,
    "tchan": tchan,
    "dct": cosine,
    "kron": kronecker,
}


def _require_equal_sizes(geometry: Geometry, method: str) -> None:
    for axis in geometry.axes:
        if axis.out != axis.size or axis.stride * axis.input_dilation != 1:
            _refuse(method, f"an axis goes from {axis.size} to {axis.out}", "as many outputs as inputs, with stride 1")


def _refuse(method: str, got: str, expected: str) -> NoReturn:
    raise UnsupportedError(f"{method}: {got}", f"Expected {expected}", "Use kind='embedded'")


def _near(problem: Problem, method: str, geometry: Geometry, taps: AnyArray) -> BlockFactors:
    near = ConvOperator(geometry, kernel_of(geometry, taps), "auto")
    problem = replace(problem, op=near)
    return _factors(problem, method, find_blocks(geometry, taps_of(geometry, near.kernel), factors=True))


def _factors(problem: Problem, method: str, blocks: list[Blocks], penalties: Sequence[Blocks] = ()) -> BlockFactors:
    size = sum(b.bytes for b in [*blocks, *penalties])
    rows, columns = problem.op.shape
    thing = f"the {method} for a map of {rows} x {columns}"
    memory.require_result(thing, size, "Iterate without one, as with cm.solve(op, b, method='lsmr')")
    coefficients: list[Coefficients] = [BlockCoefficients(b, False, True) for b in blocks]
    matrices = [b.matrices() for b in blocks]
    stacked = None
    if problem.regularizer is not None:
        stacked = [stack_penalties(problem, penalties, len(matrices[0]), matrices[0].shape[2])]
    return BlockFactors(problem, method, coefficients, matrices, stacked)
