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


@dataclass(frozen=True, slots=True, repr=False)
class Boundary:
    """A rule for reading outside the array, as a value."""

    name: str
    inside: Callable[[IntArray, int], IntArray]
    #: Positions after which the rule repeats itself, for an array of size n; 0 where it never does.
    period: Callable[[int], int]
    #: The map stays Toeplitz: an entry depends on output minus input position (modulo the size) only.
    toeplitz: bool
    #: Positions q and ``mirror - q`` hold the same; None where the rule mirrors nothing.
    mirror: int | None = None

    def images(self, places: IntArray, n: int, first: int, last: int) -> tuple[IntArray, IntArray]:
        """Return the number of an inside position, and a position that holds it, for all from ``first`` to ``last``.

        They are the inside position, its mirror image and both a period on or back; or, where the rule never repeats
        itself, one interval, the rest of the line for an end that is repeated.
        """
        period = self.period(n)
        if not period:
            low = np.where(self.inside(np.array(-1), n) == places, np.minimum(first, places), places)
            high = np.where(self.inside(np.array(n), n) == places, np.maximum(last, places), places)
            low, high = np.maximum(low, first), np.minimum(high, last)
            return spelled(np.arange(places.size), low, np.maximum(high - low + 1, 0), 1)
        owners, starts = np.arange(places.size), places
        if self.mirror is not None:
            other = np.flatnonzero((self.mirror - 2 * places) % period)
            owners, starts = np.append(owners, other), np.append(places, self.mirror - places[other])
        starts = first + (starts - first) % period
        return spelled(owners, starts, np.maximum((last - starts) // period + 1, 0), period)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[[str], Boundary], tuple[str]]:
        return _by_name, (self.name,)  # rules are told apart by identity, so an unpickled one is the one there is


def spelled(owners: IntArray, first: IntArray, counts: IntArray, step: int) -> tuple[IntArray, IntArray]:
    """Return as many of ``first, first + step, ...`` as each owner counts, and the owner beside each number."""
    turns = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(owners, counts), np.repeat(first, counts) + turns * step


def _zero(q: IntArray, n: int) -> IntArray:
    return np.where((q >= 0) & (q < n), q, NOTHING)


def _wrap(q: IntArray, n: int) -> IntArray:
    return q % n


def _reflect_period(n: int) -> int:
    return max(2 * (n - 1), 1)


def _reflect(q: IntArray, n: int) -> IntArray:
    if n == 1:  # no neighbour to mirror: numpy.pad repeats the one value
        return np.zeros_like(q)
    period = _reflect_period(n)
    folded = q % period
    return np.minimum(folded, period - folded)


def _symmetric_period(n: int) -> int:
    return 2 * n


def _symmetric(q: IntArray, n: int) -> IntArray:
    folded = q % _symmetric_period(n)
    return np.minimum(folded, 2 * n - 1 - folded)


def _never(_n: int) -> int:
    return 0


def _itself(n: int) -> int:
    return n


def _edge(q: IntArray, n: int) -> IntArray:
    return np.clip(q, 0, n - 1)


ZERO = Boundary("zero", _zero, _never, toeplitz=True)
WRAP = Boundary("wrap", _wrap, _itself, toeplitz=True)
REFLECT = Boundary("reflect", _reflect, _reflect_period, toeplitz=False, mirror=0)
SYMMETRIC = Boundary("symmetric", _symmetric, _symmetric_period, toeplitz=False, mirror=-1)
EDGE = Boundary("edge", _edge, _never, toeplitz=False)

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

#: Names that other libraries use for these rules, in lower case; refused with a pointer, for most of them mean
#: another rule in another library.
FOREIGN_NAMES = {
    # scipy.ndimage, scikit-image, scipy.signal, astropy, tf.pad, ONNX
    "mirror": "reflect",
    "nearest": "edge",
    "constant": "zero",
    "grid-mirror": "symmetric",
    "grid-wrap": "wrap",
    "grid-constant": "zero",
    "fill": "zero",
    "symm": "symmetric",
    "extend": "edge",
    # OpenCV
    "border_constant": "zero",
    "border_replicate": "edge",
    "border_reflect": "symmetric",
    "border_wrap": "wrap",
    "border_reflect_101": "reflect",
    "border_reflect101": "reflect",
    "border_default": "reflect",
    "reflect_101": "reflect",
    "reflect101": "reflect",
    # PyWavelets, and textures
    "zpd": "zero",
    "ppd": "wrap",
    "sp0": "edge",
    "sym": "symmetric",
    "symh": "symmetric",
    "symw": "reflect",
    "clamp": "edge",
    "clamp_to_edge": "edge",
    "clamp_to_border": "zero",
    "repeat": "wrap",
    "mirrored_repeat": "symmetric",
    # Image restoration and differential equations
    "periodic": "wrap",
    "cyclic": "wrap",
    "circ": "wrap",
    "dirichlet": "zero",
    "reflexive": "symmetric",
    "reflective": "symmetric",
}

#: Words that name no rule here, or more than one, in lower case, and what to do.
OTHER_NAMES = {
    "neumann": "Pass boundary='symmetric' for values in cells, or 'reflect' for values on grid points",
    "valid": "That is a padding: pass padding='valid' and leave boundary out",
    "same": "That is a padding: pass padding='same', and boundary for what lies there",
    "full": "That is a padding: pass padding='full', and boundary for what lies there",
    "none": "To read nothing outside pass padding='valid' and leave boundary out",
    "periodization": "Pass boundary='wrap' where the length is even; PyWavelets lengthens an odd one first",
    "per": "Pass boundary='wrap' where the length is even; PyWavelets lengthens an odd one first",
    **dict.fromkeys(
        ("antireflect", "antisymmetric", "antireflective", "smooth", "spd", "linear_ramp", "maximum", "mean", "median",
         "minimum", "empty", "robin"),
        "There is no such rule: extend the array before, as with numpy.pad, and pass padding='valid'",
    ),
}  # fmt: skip

#: The numbers of OpenCV's constants.
OPENCV_NUMBERS = ("BORDER_CONSTANT", "BORDER_REPLICATE", "BORDER_REFLECT", "BORDER_WRAP", "BORDER_REFLECT_101")


def _by_name(name: str) -> Boundary:
    return BY_NAME[name]
