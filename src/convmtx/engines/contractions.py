"""The three products of a convolution: outputs of taps and inputs, inputs of taps and outputs, taps of both.

All three are the sum ``taps * inputs * outputs`` over all that meet, with one of them left out. Each is linear in both
of its arrays, and its derivative in one of them is another of the three.
"""

from __future__ import annotations

from collections.abc import Sequence

from convmtx._xp import namespace, reshape
from convmtx.geometry import Axis
from convmtx.typing import Array, Shape

#: The arrays that each product is computed from.
OPERANDS = {"output": ("taps", "input"), "input": ("taps", "output"), "taps": ("input", "output")}
#: Leading axes of each array: batch, group, filter and channel of a group. Axes of the kernel or of space follow.
LETTERS = {"taps": "gfc", "input": "bgc", "output": "bgf"}
#: The two letters that are one axis of the arrays that engines take: taps (G*F, C, ...), inputs (B, G*C, ...).
JOINED = {"taps": 0, "input": 1, "output": 1}


def shape_of(wanted: str, axes: Sequence[Axis], groups: int, first: Shape, second: Shape) -> Shape:
    """Return the shape of a product."""
    if wanted == "output":
        return (second[0], first[0], *(a.out for a in axes))
    if wanted == "input":
        return (second[0], groups * first[1], *(a.size for a in axes))
    return (second[1], first[1] // groups, *(a.kernel for a in axes))


def shared_letter(names: Sequence[str]) -> str:
    """Return the letter along which a batch of these arrays is one larger product.

    A batch of inputs and outputs is a larger batch "b", one of taps and outputs more filters "f", one of taps and
    inputs more channels "c", and one of all three more groups "g".
    """
    if len(names) == len(LETTERS):
        return "g"
    (other,) = set(LETTERS) - set(names)
    (letter,) = set.intersection(*(set(LETTERS[name]) for name in names)) - set(LETTERS[other])
    return letter


def merge(name: str, arrays: Array, groups: int, letter: str) -> Array:
    """Return a batch (V, ...) of an array as one array, V times as large along this letter."""
    at, shape = LETTERS[name].index(letter), _split(name, tuple(arrays.shape[1:]), groups)
    arrays = namespace(arrays).moveaxis(reshape(arrays, (-1, *shape)), 0, at)
    count = arrays.shape[at]
    shape = (*shape[:at], count * shape[at], *shape[at + 1 :])
    return reshape(arrays, _join(name, shape))


def unmerge(name: str, array: Array, groups: int, letter: str, count: int) -> Array:
    """Return the batch of ``count`` arrays that `merge` has merged; ``groups`` are those of one of them."""
    at = LETTERS[name].index(letter)
    shape = _split(name, tuple(array.shape), groups * (count if letter == "g" else 1))
    array = reshape(array, (*shape[:at], count, shape[at] // count, *shape[at + 1 :]))
    array = namespace(array).moveaxis(array, at, 0)
    return reshape(array, (count, *_join(name, tuple(array.shape[1:]))))


def _split(name: str, shape: Shape, groups: int) -> Shape:
    """Return the shape of an array with an axis for each letter, for instance (G, F, C, k1..kd) for taps."""
    at = JOINED[name]
    return (*shape[:at], groups, shape[at] // groups, *shape[at + 1 :])


def _join(name: str, shape: Shape) -> Shape:
    """Return the shape of an array as engines take it, given that with an axis for each letter."""
    at = JOINED[name]
    return (*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])
