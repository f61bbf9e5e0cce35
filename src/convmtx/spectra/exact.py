"""Ways to all singular values of a convolution, exact to rounding, and what each costs.

The map falls apart into blocks (`structure`), is a Kronecker product where the kernel is an outer product, and is
banded along an axis of which nothing better is known. The way with the least work is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx import memory
from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.spectra import rounding
from convmtx.spectra.banded import banded
from convmtx.spectra.certified import EPS
from convmtx.structure import Blocks, batched, decomposed
from convmtx.structure.double import require_along
from convmtx.structure.factors import separated
from convmtx.taps import taps_of
from convmtx.typing import AnyArray


class Way(NamedTuple):
    """How singular values can be found; work is ``rows * columns * min(rows, columns)`` of a dense matrix."""

    method: str
    work: float
    #: All min(M, N) of them, descending; a bar is told of each block that is done.
    values: Callable[..., AnyArray]
    largest: Callable[[], float]
    #: How many blocks that are.
    parts: int = 1
    #: How far rounding can have moved each value, and an upper bound of the norm of the map of magnitudes.
    slack: float = np.inf
    size: float = np.inf


def way(op: ConvOperator) -> Way:
    """The way of least work."""
    geometry = op.geometry
    require_along(*geometry.axes, split=True)
    return min(_ways(geometry, taps_of(geometry, op.kernel)), key=lambda each: each.work)


def _ways(geometry: Geometry, taps: AnyArray) -> Iterator[Way]:
    found, size = decomposed(geometry, taps), rounding.magnitude(geometry, taps)
    yield _by_blocks(geometry, found, size)
    if any(blocks.rows * blocks.columns > prod(geometry.channels_per_group) for blocks in found):
        yield from _by_band(geometry, found, size)
        yield from _by_factors(geometry, taps, size)


def all_of(geometry: Geometry, values: list[AnyArray]) -> AnyArray:
    """These and as many zeros as the matrix has besides, descending."""
    count = min(geometry.shape)
    found = np.concatenate([np.zeros(0), *(each.reshape(-1) for each in values)])
    found.sort()
    return np.pad(found[::-1][:count], (0, max(count - found.size, 0)))


def _by_blocks(geometry: Geometry, found: list[Blocks], size: float) -> Way:
    def pieces() -> Iterator[Blocks]:
        for blocks in found:
            for some in blocks.pieces():
                _fits(some)
                yield some

    def values(bar: Any = None) -> AnyArray:
        _room(f"finding {min(geometry.shape)} singular values", 3 * min(geometry.shape) * 8)
        each = []
        for some in pieces():
            each.append(np.repeat(batched.singular_values(some.matrices()), some.times, axis=0))
            if bar is not None:
                bar.update(some.count)
        return all_of(geometry, each)

    def largest() -> float:
        return max((float(batched.largest(some.matrices()).max()) for some in pieces()), default=0.0)

    told = ", ".join(f"{b.count} of {b.rows} x {b.columns}" for b in found[:2]) + (", ..." if found[2:] else "")
    work = sum(blocks.work for blocks in found)
    count = sum(blocks.count for blocks in found)
    method = f"blocks ({found[0].rule if found else 'none'}: {told})"
    return Way(method, work, values, largest, count, rounding.of_blocks(found, size), size)


def _fits(blocks: Blocks) -> None:
    """Refuse blocks that memory does not hold, or all frequencies of an axis."""
    size = 3 * blocks.count * blocks.rows * blocks.columns * 16
    _room(f"decomposing blocks of {blocks.rows} x {blocks.columns}", size)


def _room(what: str, size: int) -> None:
    """Refuse what memory does not hold."""
    memory.require_result(what, size, "Ask for some of them, as with cm.svdvals(op, 10)")


def _by_band(geometry: Geometry, found: list[Blocks], size: float) -> Iterator[Way]:
    """One axis as a band matrix for each block of the others, where these are of one number each."""
    wide = {j for blocks in found for j, split in enumerate(blocks.splits) if split.per_output * split.per_input > 1}
    if len(wide) != 1 or any(blocks.splits[j].table is None for blocks in found for j in wide):
        return
    (j,) = wide
    parts = [banded(blocks, j) for blocks in found]

    def values(bar: Any = None) -> AnyArray:
        return all_of(geometry, [value for part in parts for value in part.values(bar)])

    work = sum(part.work for part in parts)
    count = sum(blocks.count for blocks in found)
    slack = 2 * rounding.of_blocks(found, size)  # of matrices of twice the size
    yield Way(f"band matrices along axis {j}", work, values, lambda: float(values()[0]), count, slack, size)


def _by_factors(geometry: Geometry, taps: AnyArray, size: float) -> Iterator[Way]:
    """The kernel as an outer product of a vector along one axis and a kernel along the others, and so on."""
    if len(geometry.axes) == 1:
        return
    for j, axis in enumerate(geometry.axes):
        vector, rest = separated(taps, j)
        if vector is None:
            continue
        one = Geometry((axis,))
        others = replace(
            geometry, axes=geometry.axes[:j] + geometry.axes[j + 1 :], layout=Layout.FIRST, flip=False, transposed=False
        )
        first = min(_ways(one, vector[None, None]), key=lambda each: each.work)
        second = min(_ways(others, rest), key=lambda each: each.work)

        def values(bar: Any = None, first: Way = first, second: Way = second) -> AnyArray:
            return all_of(geometry, [np.multiply.outer(first.values(bar), second.values(bar))])

        def largest(first: Way = first, second: Way = second) -> float:
            return first.largest() * second.largest()

        method = f"Kronecker product: axis {j} by {first.method}, the others by {second.method}"
        slack = first.slack * second.size + second.slack * first.size + 2 * EPS * first.size * second.size
        slack += _left_over(geometry, taps, j, vector, rest)
        yield Way(method, first.work + second.work, values, largest, first.parts + second.parts, slack, size)
        return


def _left_over(geometry: Geometry, taps: AnyArray, axis: int, vector: AnyArray, rest: AnyArray) -> float:
    """Norm of the map of what the outer product of a vector and the rest leaves of the taps, at most."""
    product = np.moveaxis(np.multiply.outer(vector, rest), 0, axis + 2)
    return rounding.magnitude(geometry, np.abs(taps - product) + 2 * EPS * np.abs(taps))
