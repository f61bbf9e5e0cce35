"""Which inputs of an axis the outputs of a function read: from a few applications, or from one for every input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd, prod

import numpy as np

from convmtx import memory
from convmtx.boundary import EDGE, WRAP, ZERO
from convmtx.errors import ArgumentError
from convmtx.geometry.axis import Axis
from convmtx.geometry.combs import Combs, alone, combs, from_reads
from convmtx.recognition.functions import Box, random_arrays
from convmtx.typing import AnyArray, IntArray

#: Share of the differences of outputs and inputs between the first and the last that have to occur. If fewer do, as
#: along the inner axis of an output that is flattened, the combs of intervals would be far too many.
_DENSE = 0.5
#: Two images of one array, scaled differently, differ by this share or more where they are noise.
_DISAGREES = 0.125
#: Noise is taken to be at most so many times as large as the largest number that was seen to be noise.
_ABOVE_NOISE = 8
#: Bytes of the tables of an interval, for each output and input: three arrays of integers.
_BYTES_OF_READ = 24


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Combs of one axis of the input, and the row of their table that each output reads."""

    combs: Combs
    #: Row of ``combs.teeth`` of each output. Its shape can be broadcast to that of an output.
    places: IntArray


class Slabs:
    """Images of slabs: arrays that are zero except at one place of an axis, and random along all others.

    Random numbers along the other axes cancel nowhere. So an output that is not zero reads that place.
    """

    def __init__(self, box: Box, axis: int) -> None:
        self.box, self.axis, self.size = box, axis, box.in_shape[axis]
        self._numbers = random_arrays(1, (*box.in_shape[:axis], 1, *box.in_shape[axis + 1 :]), box.in_dtype)[0]
        self._length = float(np.linalg.norm(self._numbers.ravel()))
        self._level = 0.0
        self._packed: dict[int, AnyArray] = {}

    def readers(self, place: int) -> AnyArray:
        """Return whether each output reads a place that was applied."""
        bits = np.unpackbits(self._packed[place], count=prod(self.box.out_shape))
        return bits.view(bool).reshape(self.box.out_shape)

    def apply(self, places: Sequence[int]) -> None:
        """Apply the function to the slabs of these places, if it was not before."""
        places = [j for j in dict.fromkeys(places) if j not in self._packed]
        for block in self.box.blocks(len(places)):
            self._keep(places[block.start : block.stop], self.box(self._slabs(places[block.start : block.stop])))

    def apply_ends(self) -> tuple[list[int], AnyArray, float]:
        """Return the first and the last place, their images, and the largest number among these that is noise.

        It is divided by the norm of the slab. Numbers are noise if the image of three times the slab is not about three
        times as large there: what is left of sums that should be 0 depends on how the numbers are rounded.
        """
        places = sorted({0, self.size - 1})
        images = self.box(self._slabs(places))
        if self.box.is_exact:
            return places, images, 0.0
        thrice = self.box(3 * self._slabs(places))
        is_noise = np.abs(thrice - 3 * images) > _DISAGREES * np.abs(thrice)
        return places, images, float(np.abs(images[is_noise]).max(initial=0)) / (self._length or 1.0)

    def start(self, places: Sequence[int], images: AnyArray, noise: float) -> None:
        """Keep which outputs read the ends, now that it is known what is noise."""
        self._level = noise * self._length
        self._keep(places, images)

    def _slabs(self, places: Sequence[int]) -> AnyArray:
        """Return the slabs of these places, one after the other."""
        slabs = np.zeros((len(places), *self.box.in_shape), self.box.in_dtype)
        along = np.moveaxis(slabs, 1 + self.axis, 1)
        along[np.arange(len(places)), list(places)] = np.moveaxis(self._numbers, self.axis, 0)[0]
        return slabs

    def _keep(self, places: Sequence[int], images: AnyArray) -> None:
        """Keep which outputs are not zero, in bits."""
        is_read = np.abs(images) > self._level
        self._packed.update(zip(places, map(np.packbits, is_read), strict=True))


def read_ends(box: Box) -> tuple[list[Slabs], float]:
    """Return the slabs of each axis, applied at both ends, and the noise in the image of an array of norm 1.

    Most functions have none. Fast Fourier transforms leave roundings everywhere, and running sums leave them behind a
    border. They grow with the norm of the input.
    """
    slabs = [Slabs(box, axis) for axis in range(len(box.in_shape))]
    ends = [one.apply_ends() for one in slabs]
    noise = _ABOVE_NOISE * max(level for _, _, level in ends)
    for one, (places, images, _) in zip(slabs, ends, strict=True):
        one.start(places, images, noise)
    return slabs, noise


def read_pattern(slabs: Slabs, reach: int | None) -> Pattern | None:
    """Return the pattern of an axis from slabs at neighbouring places in the middle and at both ends.

    It is None if they do not show a regular pattern. ``reach`` is the number of neighbouring inputs that an output may
    read at most; more are refused.
    """
    middle, size = slabs.size // 2, slabs.size
    for stop in range(min(middle + 3, size), min(size, middle + max(size // 3, 9)) + 1, 2):
        slabs.apply(range(middle, stop))
        readers = [slabs.readers(j) for j in range(middle, stop)]
        shown = next((r for r in readers if r.any()), None)
        if shown is None:
            continue
        axes = [b for b in range(shown.ndim) if not _along(shown, b).all()]
        if not axes:
            return whole_pattern(slabs, reach)
        for b in axes:
            run = [np.flatnonzero(_along(r, b)) for r in readers]
            step = _step(run)
            pattern = step and _regular(slabs, b, middle, run, step, reach)
            if pattern:
                return pattern
    return None


def exact_pattern(slabs: Slabs, reach: int | None) -> Pattern:
    """Return the pattern of an axis from a slab at every place."""
    count = prod(slabs.box.out_shape)
    memory.require_result("the pattern of one axis", slabs.size * count // 8, "Probe a smaller function")
    slabs.apply(range(slabs.size))
    # Outputs that read the same inputs have the same sum of random numbers, modulo 2^64.
    names = np.random.default_rng(0).integers(0, np.iinfo(np.uint64).max, slabs.size, np.uint64)
    sums = np.zeros(slabs.box.out_shape, np.uint64)
    for j in range(slabs.size):
        sums[slabs.readers(j)] += names[j]
    _, outputs, places = np.unique(sums, return_index=True, return_inverse=True)
    reads = np.stack([slabs.readers(j).reshape(-1)[outputs] for j in range(slabs.size)], axis=1)
    _require_reach(slabs.axis, int(reads.sum(axis=1).max(initial=0)), reach)
    return Pattern(from_reads(reads), places.reshape(slabs.box.out_shape))


def whole_pattern(slabs: Slabs, reach: int | None) -> Pattern:
    """Return the pattern of an axis along which every output may read every input."""
    _require_reach(slabs.axis, slabs.size, reach)
    return Pattern(alone(slabs.size), np.zeros((1,) * len(slabs.box.out_shape), np.int64))


def _along(readers: AnyArray, b: int) -> AnyArray:
    """Return whether any output reads, at each index of axis b of the outputs."""
    return np.logical_or.reduce(np.moveaxis(readers, b, 0).reshape(readers.shape[b], -1), axis=1)


def _step(run: Sequence[IntArray]) -> tuple[int, int] | None:
    """Return the least (s, e) such that input j + s is read by the readers of input j moved by e; None without one.

    Every pair of the run has to agree, and there have to be s + 1 of them.
    """
    for s in range(1, (len(run) - 1) // 2 + 1):
        pairs = [(before, after) for before, after in zip(run, run[s:], strict=False) if before.size or after.size]
        moves = {tuple(after - before) if after.size == before.size else () for before, after in pairs}
        shifts = {shift for move in moves for shift in move}
        if () not in moves and len(shifts) == 1 and 0 not in shifts:
            return s, int(shifts.pop())
    return None


def _regular(
    slabs: Slabs, b: int, middle: int, run: Sequence[IntArray], step: tuple[int, int], reach: int | None
) -> Pattern | None:
    """Return the pattern of windows that move by the step; None if that does not hold at the ends.

    Output o reads input j only if ``j*e - o*s`` is one of the differences that occur in the middle, or between them.
    """
    count = slabs.box.out_shape[b]
    is_flipped = step[1] < 0
    shared = gcd(*step)
    s, e = step[0] // shared, abs(step[1]) // shared

    def readers(place: int) -> IntArray:
        outputs = np.flatnonzero(_along(slabs.readers(place), b))
        return count - 1 - outputs if is_flipped else outputs

    reads = {j: readers(j) for j in range(middle, middle + len(run))}
    differences = np.unique(np.concatenate([j * e - outputs * s for j, outputs in reads.items()]))
    first, last = int(differences[0]), int(differences[-1])
    dilation = int(np.gcd.reduce(differences - first)) or 1
    if differences.size < _DENSE * ((last - first) // dilation + 1):
        return None
    wanted = (last - first) // e + 1
    _require_reach(slabs.axis, wanted, reach)
    if reach is not None and reach > wanted:
        first, last, dilation = first - (reach - wanted) // 2 * e, last + (reach - wanted + 1) // 2 * e, 1
    memory.require_result("the pattern of one axis", _BYTES_OF_READ * count * (last - first + 1), "Probe a smaller f")
    whole = Axis(slabs.size, last - first + 1, s, 1, e, -first, boundary=EDGE).with_outputs(count)
    axes = [whole, replace(whole, boundary=WRAP)]
    ends = [0, slabs.size - 1]
    if dilation > 1:
        kernel = (last - first) // dilation + 1
        axes.insert(0, replace(whole, kernel=kernel, dilation=dilation, boundary=ZERO))
        ends += [min(1, slabs.size - 1), max(slabs.size - 2, 0)]
    slabs.apply(ends)
    reads.update((j, readers(j)) for j in ends)
    for axis in axes:
        candidate = combs(axis)
        if all(_fits(candidate, j, outputs) for j, outputs in reads.items()):
            shape = [1] * len(slabs.box.out_shape)
            shape[b] = count
            outputs = np.arange(count)[:: -1 if is_flipped else 1] % len(candidate.teeth)
            return Pattern(candidate, outputs.reshape(shape))
    return None


def _fits(candidate: Combs, place: int, outputs: IntArray) -> bool:
    """Whether these outputs may read a place, by the table of the combs."""
    teeth = candidate.teeth[outputs % len(candidate.teeth), candidate.colours[place]]
    return bool((teeth == place).all())


def _require_reach(axis: int, count: int, reach: int | None) -> None:
    """Refuse a reach of fewer inputs than an output reads."""
    if reach is not None and reach < count:
        got = f"reach={reach} along axis {axis}, where an output reads {count} inputs"
        raise ArgumentError(got, f"Expected {count} or more", "Leave reach out, and it is read from f")
