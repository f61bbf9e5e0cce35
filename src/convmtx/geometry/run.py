"""A run: places of an axis that are joined with others alike, at a constant shift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convmtx.typing import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Outputs ``start + j*step`` for j < count, which read inputs ``columns + j*shift``, in ascending order.

    Tap ``taps[m]`` reads column number ``slots[m]``. Taps ascend, and every column is read by at least one tap. The
    entry in column m is number ``entries[m]`` in the list of the k taps followed by the axis's `sums`.

    For example, under "reflect" with lo = 1, taps 0 1 2 of output 0 read inputs 1 0 1: columns [0, 1], taps [0, 1, 2],
    slots [1, 0, 1], and entries [1, 3], where 3 is the number of the first sum, of taps 0 and 2.
    """

    start: int
    step: int
    count: int
    shift: int
    columns: IntArray
    taps: IntArray
    slots: IntArray
    entries: IntArray

    def segments(self) -> Iterator[tuple[int, int, int, int]]:
        """Cut the columns into arithmetic progressions: (first slot, number, first column, step) of each.

        Columns 0 1 2 5 are the progressions 0 1 2 and 5.
        """
        columns = self.columns
        at = 0
        while at < columns.size:
            step = int(columns[at + 1] - columns[at]) if at + 1 < columns.size else 1
            end = at + 1
            while end < columns.size and columns[end] - columns[end - 1] == step:
                end += 1
            yield at, end - at, int(columns[at]), step
            at = end
