"""A direct way to solve a problem, before anything is made for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from convmtx import memory
from convmtx.solves.solution import Factors

#: Seconds that making anything takes, however small.
CALL = 5e-4


class Way(NamedTuple):
    """A direct way; it may turn out to be none, and then `Singular` is raised when it is made."""

    name: str
    why: str
    #: To make it ready, and for each right-hand side.
    seconds: tuple[float, float]
    bytes: float
    make: Callable[..., Factors]

    @property
    def fits(self) -> bool:
        """Whether there is memory for it; to ask takes as long as a small solve."""
        return self.bytes <= memory.LARGE or self.bytes <= 0.8 * memory.available()

    def total(self, several: int) -> float:
        """Seconds for so many right-hand sides."""
        return self.seconds[0] + several * self.seconds[1]
