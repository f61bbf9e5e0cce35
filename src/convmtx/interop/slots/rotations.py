"""Rotations of ciphertexts that a product by generalized diagonals takes, with and without baby and giant steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

Steps = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Rotations:
    """Rotations that a product by generalized diagonals takes. Each step is between 1 and ``slots - 1``.

    Attributes
    ----------
    inputs : dict of tuple of int
        Steps by which the input ciphertext of each block column is rotated.
    sums : dict of tuple of int
        Steps by which partial sums of each block row are rotated: giant steps, multiples of ``baby``. Without baby
        steps there are none.
    outputs : dict of tuple of int
        Steps by which the sum of each block row is rotated and added to itself, one after the other, if
        ``hybrid=True``.
    baby : int or None
        Diagonal k is applied as a rotation of the input by ``k % baby``, and one of a partial sum by ``k - k % baby``.
        None if each diagonal rotates the input by k.
    """

    inputs: Steps
    sums: Steps
    outputs: Steps
    baby: int | None = None

    @property
    def count(self) -> int:
        """Number of rotations of a product."""
        return sum(len(steps) for kind in (self.inputs, self.sums, self.outputs) for steps in kind.values())

    @property
    def steps(self) -> tuple[int, ...]:
        """The distinct steps, sorted; a rotation key is needed for each."""
        kinds = (self.inputs, self.sums, self.outputs)
        return tuple(sorted({step for kind in kinds for steps in kind.values() for step in steps}))


def plan_rotations(
    diagonals: Mapping[tuple[int, int], Collection[int]], slots: int, heights: Mapping[int, int], bsgs: bool
) -> Rotations:
    """Return the rotations for the numbers of the diagonals of each block, with the fewest if there is a choice."""
    outputs = {row: _doublings(height, slots) for row, height in heights.items()}
    if not bsgs:
        inputs = _united((column, diagonals[row, column]) for row, column in diagonals)
        return Rotations(inputs, dict.fromkeys(heights, ()), outputs)
    # With a baby step of 2^j >= slots there are no giant steps, so this never takes more rotations than without.
    plans = [_with_baby_steps(diagonals, 1 << j, outputs) for j in range((slots - 1).bit_length() + 1)]
    return min(plans, key=lambda plan: plan.count)


def _with_baby_steps(diagonals: Mapping[tuple[int, int], Collection[int]], baby: int, outputs: Steps) -> Rotations:
    """Return the rotations with baby steps below ``baby``."""
    inputs = _united((column, {k % baby for k in ks}) for (_, column), ks in diagonals.items())
    sums = _united((row, {k - k % baby for k in ks}) for (row, _), ks in diagonals.items())
    return Rotations(inputs, sums, outputs, baby)


def _united(steps: Iterable[tuple[int, Iterable[int]]]) -> Steps:
    """Return the distinct steps of each ciphertext, sorted and without 0."""
    united: dict[int, set[int]] = defaultdict(set)
    for number, some in steps:
        united[number].update(some)
    return {number: tuple(sorted(some - {0})) for number, some in sorted(united.items())}


def _doublings(height: int, slots: int) -> tuple[int, ...]:
    """Return the steps h, 2 h, ..., slots / 2, after which every slot has the sum of all slots h apart."""
    return tuple(height << j for j in range((slots // height).bit_length() - 1))
