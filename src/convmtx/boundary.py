"""Boundary rules: what an array of finite size continues with beyond its ends.

A rule continues an array of size ``n`` to all integers: position ``q`` holds the value at position
``rule.inside(q, n)`` of the array, or zero if that is -1 (`NOTHING`). The five rules are modes of `numpy.pad`
continued without end, so a pad may be wider than the array. With n = 3, positions -4 to 6 hold

    zero       .  .  .  .  0  1  2  .  .  .  .
    wrap       2  0  1  2  0  1  2  0  1  2  0
    reflect    0  1  2  1  0  1  2  1  0  1  2
    symmetric  2  2  1  0  0  1  2  2  1  0  0
    edge       0  0  0  0  0  1  2  2  2  2  2
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convmtx.typing import IntArray

#: Stands for an input position where nothing is read.
NOTHING = -1


@dataclass(frozen=True, slots=True, repr=False)
class Boundary:
    """A rule for reading outside the array. Rules are compared by identity: ``boundary is WRAP``."""

    name: str
    #: Map positions outside or inside of an array of size n to positions inside, or to `NOTHING`.
    inside: Callable[[IntArray, int], IntArray]
    #: Number of positions after which the rule repeats itself, for an array of size n; 0 if it never does.
    period: Callable[[int], int]
    #: Whether an entry of the matrix depends on output minus input position (modulo the size) only.
    toeplitz: bool
    #: Positions q and ``mirror - q`` hold the same value; None if the rule does not mirror.
    mirror: int | None = None
    #: Whether neighbouring positions always hold neighbouring places, or the same one. Wrap jumps from n - 1 to 0.
    is_continuous: bool = False

    def images(self, places: IntArray, n: int, first: int, last: int) -> tuple[IntArray, IntArray]:
        """Return all positions from ``first`` to ``last`` that hold one of some inside positions.

        Two arrays: for each such position the index in ``places`` of what it holds, and the position itself.
        For a rule with a period they are the inside position, its mirror image, and both moved by whole periods. For
        one without they are an interval: the position alone, or an end of the array and all that repeats it.
        """
        period = self.period(n)
        if not period:
            # "edge", n = 3, place 0, first = -4: positions -4 to 0. "zero": position 0 alone.
            low = np.where(self.inside(np.array(-1), n) == places, np.minimum(first, places), places)
            high = np.where(self.inside(np.array(n), n) == places, np.maximum(last, places), places)
            low, high = np.maximum(low, first), np.minimum(high, last)
            return write_out(np.arange(places.size), low, np.maximum(high - low + 1, 0), 1)
        owners, starts = np.arange(places.size), places
        if self.mirror is not None:
            # "reflect", n = 3, period 4, mirror 0: place 1 is at -1 too, but 0 and 2 are their own images mod 4.
            mirrored = np.flatnonzero((self.mirror - 2 * places) % period)
            owners = np.append(owners, mirrored)
            starts = np.append(places, self.mirror - places[mirrored])
        starts = first + (starts - first) % period
        return write_out(owners, starts, np.maximum((last - starts) // period + 1, 0), period)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[[str], Boundary], tuple[str]]:
        return _by_name, (self.name,)  # an unpickled rule must be the same object


def write_out(owners: IntArray, first: IntArray, counts: IntArray, step: int) -> tuple[IntArray, IntArray]:
    """Write out arithmetic progressions one after another, with the owner of each beside its numbers.

    Progression m is ``first[m], first[m] + step, ...``, ``counts[m]`` numbers. Owners [7, 8], first [0, 5], counts
    [3, 2] and step 2 give owners [7, 7, 7, 8, 8] and numbers [0, 2, 4, 5, 7].
    """
    turns = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(owners, counts), np.repeat(first, counts) + turns * step


def _zero(q: IntArray, n: int) -> IntArray:
    return np.where((q >= 0) & (q < n), q, NOTHING)


def _wrap(q: IntArray, n: int) -> IntArray:
    return q % n


def _reflect_period(n: int) -> int:
    return max(2 * (n - 1), 1)


def _reflect(q: IntArray, n: int) -> IntArray:
    if n == 1:  # there is no neighbour to mirror: numpy.pad repeats the one value
        return np.zeros_like(q)
    period = _reflect_period(n)
    folded = q % period  # n = 3: 0 1 2 3, which is read as 0 1 2 1
    return np.minimum(folded, period - folded)


def _symmetric_period(n: int) -> int:
    return 2 * n


def _symmetric(q: IntArray, n: int) -> IntArray:
    folded = q % _symmetric_period(n)  # n = 3: 0 1 2 3 4 5, which is read as 0 1 2 2 1 0
    return np.minimum(folded, 2 * n - 1 - folded)


def _no_period(_n: int) -> int:
    return 0


def _size(n: int) -> int:
    return n


def _edge(q: IntArray, n: int) -> IntArray:
    return np.clip(q, 0, n - 1)


ZERO = Boundary("zero", _zero, _no_period, toeplitz=True)
WRAP = Boundary("wrap", _wrap, _size, toeplitz=True)
REFLECT = Boundary("reflect", _reflect, _reflect_period, toeplitz=False, mirror=0, is_continuous=True)
SYMMETRIC = Boundary("symmetric", _symmetric, _symmetric_period, toeplitz=False, mirror=-1, is_continuous=True)
EDGE = Boundary("edge", _edge, _no_period, toeplitz=False, is_continuous=True)

#: Names that users may write: `numpy.pad`'s, and PyTorch's "zeros", "circular" and "replicate".
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

#: Names that other libraries use for these rules, in lower case. They are refused with a remedy, because most of them
#: mean another rule in another library.
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

#: Words that name no rule of convmtx, or more than one, in lower case; each with the remedy.
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

#: OpenCV's constants by their numbers: BORDER_CONSTANT is 0.
OPENCV_NUMBERS = ("BORDER_CONSTANT", "BORDER_REPLICATE", "BORDER_REFLECT", "BORDER_WRAP", "BORDER_REFLECT_101")


def _by_name(name: str) -> Boundary:
    return BY_NAME[name]
