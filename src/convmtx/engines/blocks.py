"""An axis of an array of JAX that is cut into blocks, one on each device.

What the outputs of a block read of the neighbours' blocks is sent by the neighbours, and the devices at the ends put
there what the boundary says. All of that is linear, so its transpose returns each number the way it came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.boundary import NOTHING, WRAP
from convmtx.engines.traced import read
from convmtx.geometry import Axis
from convmtx.typing import Array, IntArray


class Cut(NamedTuple):
    """An axis in blocks, each of which reads its neighbours' blocks at most."""

    #: Axes of the mesh, the first of which counts blocks most slowly, and their number of blocks.
    names: tuple[str, ...]
    parts: int
    #: The same axes in the order of the mesh, and the place of each block in that order, which `ppermute` counts in.
    ordered: tuple[str, ...]
    ranks: IntArray
    #: The axis of one block: what its outputs read.
    local: Axis
    #: Inputs and outputs of an axis, and of a block.
    sizes: tuple[int, int]
    block: tuple[int, int]
    #: First input that the outputs of the first block read, and how much further in its block each next one begins.
    first: int
    drift: int
    #: How many inputs a block receives from the one before and the one behind.
    left: int
    right: int
    #: For the first and the last block: which input stands at each position received that lies outside.
    before: IntArray
    behind: IntArray
    wraps: bool

    def reach(self, x: Array, at: int) -> Array:
        """Return what the outputs of a block read, given its inputs: axis ``at`` of x."""
        from jax import lax, numpy

        turn, end = lax.axis_index(self.names), self.parts - 1
        start = end * self.block[0]  # of the last block
        forth = [(d, d + 1) for d in range(end)]
        back = [(d + 1, d) for d in range(end)]
        x = self._completed(x, at)
        sent = _part(x, at, self.block[0] - self.left, self.block[0]), _part(x, at, 0, self.right)
        missing = self.behind[self.behind.size - self.right :]
        if self.wraps:
            far = read(x, np.where(self.before == NOTHING, NOTHING, self.before - start), at)
            sent = numpy.where(turn == end, far, sent[0]), numpy.where(turn == 0, read(x, missing, at), sent[1])
            forth, back = [*forth, (end, 0)], [*back, (0, end)]
        left = self._received(sent[0], forth) if self.left else sent[0]
        right = self._received(sent[1], back) if self.right else sent[1]
        if not self.wraps and (self.before != NOTHING).any():
            left = numpy.where(turn == 0, read(x, self.before, at), left)
        if not self.wraps and (missing != NOTHING).any():
            there = np.where(missing == NOTHING, NOTHING, missing - start)
            right = numpy.where(turn == end, read(x, there, at), right)
        whole = numpy.concatenate([left, x, right], axis=at)
        if self.drift == 0:
            return _part(whole, at, self.left + self.first, self.left + self.first + self.local.size)
        return lax.dynamic_slice_in_dim(whole, self.left + self.first + turn * self.drift, self.local.size, at)

    def give_back(self, z: Array, at: int) -> Array:
        """Apply the transpose of `reach`: each number is added to the input that was read.

        Only inputs near the ends of a block are read twice. XLA computes again what several of its loops read, so these
        alone take part: of 4 x 2 blocks of 512 x 1024 under 7 x 7 taps in a mirror that took 14 ms instead of 80.
        """
        from jax import numpy

        near, start = self._near(), self.left + self.first
        size, after = self.block[0], self.right + self.left + self.block[0] - start - self.local.size
        if self.drift or 2 * near > size or self.parts * size > self.sizes[0]:
            return _transposed(self.reach, z, size, at)
        z = numpy.pad(z, [(start, after) if j == at else (0, 0) for j in range(z.ndim)])
        ends = _part(z, at, 0, self.left + near), _part(z, at, self.left + size - near, z.shape[at])
        x = _transposed(self._ends(near).reach, numpy.concatenate(ends, axis=at), 2 * near, at)
        middle = _part(z, at, self.left + near, self.left + size - near)
        return numpy.concatenate([_part(x, at, 0, near), middle, _part(x, at, near, 2 * near)], axis=at)

    def _near(self) -> int:
        """Return how far from an end of its block the last input lies that a neighbour or a border reads."""
        places = np.concatenate([self.before, self.behind])
        places = places[places != NOTHING]
        depths = np.minimum(places + 1, self.sizes[0] - places)
        return max(self.left, self.right, int(depths.max(initial=0)))

    def _ends(self, near: int) -> Cut:
        """Return the axis whose blocks are both ends of a block of this one, and nothing between them."""
        gone = self.parts * (self.block[0] - 2 * near)
        before, behind = (np.where(p < self.block[0], p, p - gone) for p in (self.before, self.behind))
        return self._replace(
            block=(2 * near, self.block[1]), sizes=(self.parts * 2 * near, self.sizes[1]), before=before, behind=behind,
            first=-self.left, local=replace(self.local, size=self.left + 2 * near + self.right),
        )  # fmt: skip

    def _received(self, x: Array, blocks: list[tuple[int, int]]) -> Array:
        """Return what the device of the second block of each pair receives from that of the first; zeros elsewhere."""
        from jax import lax

        pairs = [(int(self.ranks[i]), int(self.ranks[j])) for i, j in blocks]
        received: Array = lax.ppermute(x, self.ordered, pairs)  # type: ignore[no-untyped-call]
        return received

    def _completed(self, x: Array, at: int) -> Array:
        """Return the inputs of a block; the last one is filled up with what stands behind the axis."""
        from jax import lax, numpy

        gap = self.parts * self.block[0] - self.sizes[0]
        if gap == 0:
            return x
        turn = lax.axis_index(self.names)
        x = _within(x, at, turn * self.block[0], self.sizes[0])
        filling = self.behind[:gap]
        if (filling == NOTHING).all():
            return x
        kept = self.block[0] - gap
        there = np.where(filling == NOTHING, NOTHING, filling - (self.parts - 1) * self.block[0])
        filled = numpy.concatenate([_part(x, at, 0, kept), read(x, there, at)], axis=at)
        return numpy.where(turn == self.parts - 1, filled, x)

    def mask(self, y: Array, at: int) -> Array:
        """Return the outputs of a block, zero behind the last output of the axis."""
        from jax import lax

        if self.parts * self.block[1] == self.sizes[1]:
            return y
        return _within(y, at, lax.axis_index(self.names) * self.block[1], self.sizes[1])


def cut(axis: Axis, names: tuple[str, ...], mesh: dict[str, int]) -> Cut | None:
    """Cut an axis into blocks; None if the outputs of a block read more than its neighbours' blocks.

    Block d of 4 of 64 inputs holds inputs 16d to 16d + 15. With 5 taps, stride 2 and lo = 2 its 8 outputs read inputs
    16d - 2 to 16d + 16, so it receives 2 from the left and 1 from the right. Without pads there are 30 outputs, 8 in a
    block: they read 16d to 16d + 18. Of 61 outputs at stride 1 a block has 16, and of 56 it has 14: those of the next
    block begin 2 inputs earlier in its block (the drift is -2).
    """
    parts = prod(mesh[name] for name in names)
    ordered = tuple(name for name in mesh if name in names)
    ranks = np.arange(parts).reshape([mesh[name] for name in ordered])
    ranks = ranks.transpose([ordered.index(name) for name in names]).reshape(-1)
    inputs, outputs = -(-axis.size // parts), -(-axis.out // parts)
    stretch, end = axis.input_dilation, parts - 1
    step, rest = divmod(outputs * axis.stride, stretch)
    first = -(axis.lo // stretch)
    last = (-axis.lo + (outputs - 1) * axis.stride + axis.span - 1) // stretch
    drift = step - inputs
    left = max(0, -first, -first - end * drift)
    right = max(0, last + 1 - inputs, last + 1 - inputs + end * drift)
    if rest or last < first or max(left, right) > inputs:
        return None
    before, behind = np.arange(-left, 0), np.arange(axis.size, parts * inputs + right)
    if axis.zero_outside:
        before, behind = (np.full(positions.size, NOTHING) for positions in (before, behind))
    else:
        wraps, gap = axis.boundary is WRAP, parts * inputs - axis.size
        low, high = axis.reach
        before, behind = (
            np.where((low <= p) & (p <= high), axis.boundary.inside(p, axis.size), NOTHING) for p in (before, behind)
        )
        near, far = (behind, before) if wraps else (before, behind)
        kept = far[far != NOTHING]
        if stretch > 1 or (wraps and gap) or (near >= inputs).any() or (kept < end * inputs).any():
            return None
    local = Axis(last - first + 1, axis.kernel, axis.stride, axis.dilation, stretch, axis.lo + first * stretch)
    wraps = not axis.zero_outside and axis.boundary is WRAP
    return Cut(
        names, parts, ordered, ranks, local.with_outputs(outputs), (axis.size, axis.out), (inputs, outputs),
        first, drift, left, right, before, behind, wraps,
    )  # fmt: skip


def _transposed(function: Callable[[Array, int], Array], z: Array, size: int, at: int) -> Array:
    """Apply the transpose of a linear function of an array of this size along an axis."""
    import jax

    shape = (*z.shape[:at], size, *z.shape[at + 1 :])
    inputs = jax.ShapeDtypeStruct(shape, z.dtype)  # type: ignore[no-untyped-call]
    (x,) = jax.linear_transpose(lambda x: function(x, at), inputs)(z)
    return x


def _part(x: Array, at: int, start: int, stop: int) -> Array:
    return x[(slice(None),) * at + (slice(start, stop),)]


def _within(x: Array, at: int, start: Any, stop: int) -> Array:
    """Return x, whose axis ``at`` begins at position ``start`` of a whole one, with zeros from position ``stop`` on."""
    from jax import lax, numpy

    positions = start + lax.broadcasted_iota("int32", x.shape, at)
    return numpy.where(positions < stop, x, numpy.zeros((), x.dtype))
