"""Decompositions of a map, with what each costs: singular values come from them, and some methods of solving too.

A convolution falls apart into blocks, is a Kronecker product if its kernel is an outer product, and is banded along an
axis for which no rule holds. A map made of maps has the singular values of its parts. Any map has a dense matrix. All
of these are exact to rounding, and `choose_decomposition` takes the one of least work. Solvers and preconditioners need
singular vectors too, in bases with fast transforms: those are the blocks of `blocks_with_vectors`, where a Kronecker
product is an axis split by vectors. The methods of solving are listed in `solves.select`; those by LU, by substitution
and by iteration decompose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from convmtx.geometry import Axis, Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.stacks import Stacked
from convmtx.structure import rounding
from convmtx.structure.banded import BandMatrices
from convmtx.structure.blocks import Blocks, describe, find_blocks, share_inputs
from convmtx.structure.double import direct, require_along, size_of_multiple
from convmtx.structure.kinds import (
    Banded,
    Blockwise,
    Decomposition,
    Dense,
    DirectSum,
    Kronecker,
    Lone,
    Multiple,
    StackedBlocks,
    WithIdentity,
)
from convmtx.structure.precision import EPS, scaled
from convmtx.structure.splits import is_connected, is_mirrored, separate, transform_rule
from convmtx.taps import taps_of
from convmtx.typing import AnyArray


def choose_decomposition(op: LinearMap) -> Decomposition:
    """Return the decomposition of least work; its ``method`` says which it is."""
    return _cheapest(decompositions(op))


def _cheapest(candidates: Iterator[Decomposition]) -> Decomposition:
    return min(candidates, key=lambda candidate: candidate.work)


def decompositions(op: LinearMap) -> Iterator[Decomposition]:
    """Yield all decompositions of a map, in double precision and `scaled`, that apply."""
    if isinstance(op, ConvOperator):
        require_along(*op.geometry.axes, split=True)
        yield from _decompositions(op.geometry, taps_of(op.geometry, op.kernel))
        return
    (rows, columns), size = op.shape, rounding.size_of(op)
    work = float(rows) * columns * min(rows, columns)
    yield Dense("dense", work, 1, rounding.of_dense(op, size), size, op)
    if op._has_lone_entries:
        yield Lone("entries", float(sum(op.shape)), 1, rounding.of_entry(op, size), size, op)
    if len(parts := op._summands) > 1:
        yield _by_summands(op, parts)
    if len(parts := op._kronecker_factors) > 1:
        yield _by_kronecker_factors(op, parts)
    if len(parts := op._stack) > 1:
        yield from _by_stack(op, parts)


def _by_summands(op: LinearMap, parts: Sequence[LinearMap]) -> Decomposition:
    chosen = [_choose_for_part(part) for part in parts]
    work, count = sum(part.work for part in chosen), sum(part.n_blocks for part in chosen)
    slack, size = max(part.slack for part in chosen), max(part.size for part in chosen)
    method = f"{len(chosen)} maps on the diagonal: {describe_alike(part.method for part in chosen)}"
    return DirectSum(method, work, count, slack, size, op.shape, chosen)


def _by_kronecker_factors(op: LinearMap, parts: Sequence[LinearMap]) -> Decomposition:
    first, others = (_choose_for_part(part) for part in parts)
    method = f"Kronecker product of {first.method} and {others.method}"
    return _kronecker(method, op.shape, first, others)


def _by_stack(op: LinearMap, parts: Sequence[LinearMap]) -> Iterator[Decomposition]:
    """Yield what is known of maps below each other: multiples of the identity, or blocks in the same vectors."""
    sizes = [size_of_multiple(part) for part in parts]
    maps = [part for part, size in zip(parts, sizes, strict=True) if size is None]
    if maps and len(maps) < len(parts):
        ridge = float(np.hypot.reduce([size for size in sizes if size is not None]))
        core = _choose_for_part(maps[0] if len(maps) == 1 else Stacked(*maps))
        size = float(np.hypot(core.size, ridge))
        method, slack = f"{core.method}, above a multiple of the identity", core.slack + 4 * EPS * size
        yield WithIdentity(method, core.work, core.n_blocks, slack, size, op.shape[1], core, ridge)
        return
    blocks: list[Blocks] = []
    size = 0.0
    for part in maps:
        if not isinstance(part, ConvOperator):
            return
        taps = taps_of(part.geometry, part.kernel)
        blocks += find_blocks(part.geometry, taps)
        size = float(np.hypot(size, rounding.magnitude(part.geometry, taps)))
    groups = {of_part.geometry.groups for of_part in blocks}
    if maps and len(blocks) == len(maps) and len(groups) == 1 and all(share_inputs(blocks[0], b) for b in blocks):
        rows, columns = sum(b.rows for b in blocks), blocks[0].columns
        roundings = max(rounding.of_entries(b) for b in blocks) + rounding.of_decomposition(rows, columns)
        work, method = float(blocks[0].count) * rows * columns * min(rows, columns), f"blocks ({describe(blocks[:1])})"
        method += f" of {len(maps)} maps below each other"
        yield StackedBlocks(method, work, blocks[0].count, EPS * roundings * size, size, op.shape, blocks)


def _choose_for_part(op: LinearMap) -> Decomposition:
    """Return the decomposition of least work of a map that need not be `scaled`."""
    operator, scale = scaled(direct(op))
    part = choose_decomposition(operator)
    if scale == 1:
        return part
    return Multiple(part.method, part.work, part.n_blocks, scale * part.slack, scale * part.size, part, scale)


def describe_alike(texts: Iterable[str]) -> str:
    """Return texts in one, equal ones once, and no more than three."""
    different = list(dict.fromkeys(texts))
    return ", ".join(different[:3]) + (", ..." if len(different) > 3 else "")


def blocks_with_vectors(geometry: Geometry, taps: AnyArray) -> list[Blocks]:
    """Return the blocks of a convolution for solvers, or none if it does not fall apart.

    An axis that no transform splits, and along which the kernel is an outer product, is split by singular vectors.
    """
    if not any(_may_split(taps, j, axis) for j, axis in enumerate(geometry.axes)):
        return []
    blocks = find_blocks(geometry, taps, factors=True)
    return [] if blocks and blocks[0].is_whole else blocks


def _may_split(taps: AnyArray, j: int, axis: Axis) -> bool:
    """Whether an axis may fall apart.

    The kernel of a map with a single axis is always an outer product. That does not count: it gives the dense matrix.
    """
    if not is_connected(axis) or (transform_rule(axis, True) and transform_rule(axis, is_mirrored(taps, j))):
        return True
    return taps.ndim > 3 and separate(taps, j)[0] is not None


def _decompositions(geometry: Geometry, taps: AnyArray) -> Iterator[Decomposition]:
    """Yield those of a convolution: blocks, and if they are larger than one number, bands and Kronecker products."""
    all_blocks, size = find_blocks(geometry, taps), rounding.magnitude(geometry, taps)
    yield _by_blocks(geometry, all_blocks, size)
    if any(blocks.rows * blocks.columns > prod(geometry.channels_per_group) for blocks in all_blocks):
        yield from _by_bands(geometry, all_blocks, size)
        yield from _by_factors(geometry, taps, size)


def _by_blocks(geometry: Geometry, all_blocks: list[Blocks], size: float) -> Decomposition:
    work, count = sum(blocks.work for blocks in all_blocks), sum(blocks.count for blocks in all_blocks)
    method = f"blocks ({describe(all_blocks)})"
    return Blockwise(method, work, count, rounding.of_blocks(all_blocks, size), size, geometry, all_blocks)


def _by_bands(geometry: Geometry, all_blocks: list[Blocks], size: float) -> Iterator[Decomposition]:
    """Yield band matrices along an axis if the blocks of all other axes are of one number each."""
    splits = [(j, split) for blocks in all_blocks for j, split in enumerate(blocks.splits)]
    wide = {j for j, split in splits if split.per_output * split.per_input > 1}
    if len(wide) != 1 or any(split.part is None for j, split in splits if j in wide):
        return
    (j,) = wide
    matrices = [BandMatrices(blocks, j) for blocks in all_blocks]
    work, count = sum(band.work for band in matrices), sum(blocks.count for blocks in all_blocks)
    slack = 2 * rounding.of_blocks(all_blocks, size)  # of matrices of twice the size
    yield Banded(f"band matrices along axis {j}", work, count, slack, size, geometry, matrices)


def _by_factors(geometry: Geometry, taps: AnyArray, size: float) -> Iterator[Decomposition]:
    """Yield a Kronecker product if the kernel is the outer product of a vector and a kernel along the other axes.

    The factor along the other axes may be a Kronecker product again.
    """
    if len(geometry.axes) == 1:
        return
    for j, axis in enumerate(geometry.axes):
        vector, rest = separate(taps, j)
        if vector is None:
            continue
        axes = geometry.axes[:j] + geometry.axes[j + 1 :]
        remaining = replace(geometry, axes=axes, layout=Layout.FIRST, flip=False, transposed=False)
        first = _cheapest(_decompositions(Geometry((axis,)), vector[None, None]))
        others = _cheapest(_decompositions(remaining, rest))
        method = f"Kronecker product: axis {j} by {first.method}, the others by {others.method}"
        whole = _kronecker(method, geometry.shape, first, others)
        yield replace(whole, slack=whole.slack + _left_over(geometry, taps, j, vector, rest), size=size)
        return


def _kronecker(method: str, shape: tuple[int, int], first: Decomposition, others: Decomposition) -> Kronecker:
    """Return the Kronecker product of two decompositions."""
    # (s + e) (t + f) - s t is e t + s f to first order; the second order is far below rounding.
    slack = first.slack * others.size + others.slack * first.size + 2 * EPS * first.size * others.size
    work, count = first.work + others.work, first.n_blocks + others.n_blocks
    return Kronecker(method, work, count, slack, first.size * others.size, shape, first, others)


def _left_over(geometry: Geometry, taps: AnyArray, axis: int, vector: AnyArray, rest: AnyArray) -> float:
    """Return a bound of the norm of the map of the taps minus the outer product of a vector and the rest."""
    product = np.moveaxis(np.multiply.outer(vector, rest), 0, axis + 2)
    return rounding.magnitude(geometry, np.abs(taps - product) + 2 * EPS * np.abs(taps))
