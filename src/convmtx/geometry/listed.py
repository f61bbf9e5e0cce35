"""An axis whose outputs follow no rule of windows: what they read is listed, run by run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convmtx.geometry.axis import Axis
from convmtx.geometry.run import Run
from convmtx.typing import IntArray


@dataclass(frozen=True, slots=True)
class ListedAxis(Axis):
    """Axis with as many outputs as inputs, whose ``kernel`` different entries stand where its runs say.

    The forms write its matrix as that of any other axis, from `runs` and `lookup`. It has no windows, and nothing
    else that an axis has.
    """

    runs: tuple[Run, ...] = ()

    @property
    def out(self) -> int:
        """Number of outputs."""
        return self.size

    @property
    def entries(self) -> int:
        """Number of (output, input) pairs that have an entry."""
        return sum(run.count * run.columns.size for run in self.runs)

    def lists(self, outputs: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return what each of these outputs reads, list after list: where lists start, the inputs and the entries."""
        which, move = np.zeros(outputs.size, np.int64), np.zeros(outputs.size, np.int64)
        for number, run in enumerate(self.runs):
            turn, rest = np.divmod(outputs - run.start, run.step)
            is_here = (rest == 0) & (turn >= 0) & (turn < run.count)
            which[is_here], move[is_here] = number, turn[is_here] * run.shift
        columns = [self.runs[number].columns + by for number, by in zip(which.tolist(), move.tolist(), strict=True)]
        starts = np.cumsum([0, *(part.size for part in columns)])
        entries = [self.runs[number].entries for number in which.tolist()]
        nothing = [np.zeros(0, np.int64)]
        return starts, np.concatenate(columns or nothing), np.concatenate(entries or nothing)
