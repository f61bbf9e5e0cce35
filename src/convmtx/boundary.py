"""What lies beyond the ends of an array: five rules, each a map from outside index to inside index.

A rule continues an array of size ``n`` to all integers: position ``q`` holds the value of inside
position ``rule.inside(q, n)``, or nothing (zero) where that is -1. They are `numpy.pad`'s modes
continued without end, so a pad may be wider than the array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convmtx.typing import IntArray

NOTHING = -1


@dataclass(frozen=True, slots=True)
class Boundary:
    """A rule for reading outside the array, as a value."""

    name: str
    inside: Callable[[IntArray, int], IntArray]
    #: The map stays Toeplitz: an entry depends on output minus input position (modulo the size) only.
    toeplitz: bool


def _zero(q: IntArray, n: int) -> IntArray:
    return np.where((q >= 0) & (q < n), q, NOTHING)


def _wrap(q: IntArray, n: int) -> IntArray:
    return q % n


def _reflect(q: IntArray, n: int) -> IntArray:
    if n == 1:  # no neighbour to mirror: numpy.pad repeats the one value
        return np.zeros_like(q)
    period = 2 * (n - 1)
    folded = q % period
    return np.minimum(folded, period - folded)


def _symmetric(q: IntArray, n: int) -> IntArray:
    folded = q % (2 * n)
    return np.minimum(folded, 2 * n - 1 - folded)


def _edge(q: IntArray, n: int) -> IntArray:
    return np.clip(q, 0, n - 1)


ZERO = Boundary("zero", _zero, toeplitz=True)
WRAP = Boundary("wrap", _wrap, toeplitz=True)
REFLECT = Boundary("reflect", _reflect, toeplitz=False)
SYMMETRIC = Boundary("symmetric", _symmetric, toeplitz=False)
EDGE = Boundary("edge", _edge, toeplitz=False)

BY_NAME = {
    "zero": ZERO,
    "wrap": WRAP,
    "reflect": REFLECT,
    "symmetric": SYMMETRIC,
    "edge": EDGE,
    "zeros": ZERO,
    "circular": WRAP,
    "replicate": EDGE,
}

#: Names other libraries use for these rules, mostly with another meaning than numpy.pad's: refused with a pointer.
FOREIGN_NAMES = {
    "mirror": "reflect",
    "nearest": "edge",
    "constant": "zero",
    "grid-mirror": "symmetric",
    "grid-wrap": "wrap",
    "grid-constant": "zero",
    "fill": "zero",
    "symm": "symmetric",
}
