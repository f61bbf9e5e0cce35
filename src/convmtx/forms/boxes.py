"""Ranges of rows as a few boxes: a row is a number with one digit for each axis, and a box has a range of each digit.

A range begins and ends inside a line, a plane and so on, and everything between is whole. So on D digits it is at most
``2*D - 1`` boxes, however long it is. For example, rows 3 to 9 of 3 lines of 4 outputs are output 3 of line 0, all
of line 1, and outputs 0 and 1 of line 2.
"""

from __future__ import annotations

from math import prod

from convmtx.typing import Shape

#: A range of values for each digit, slowest first.
Box = tuple[range, ...]


def boxes(sizes: Shape, rows: range) -> list[Box] | None:
    """Cut rows, in ascending order, into boxes; return None if their step crosses the digits unevenly.

    A step that is a multiple of the fastest size leaves that digit as it is. Otherwise it must divide that size, or all
    rows must be in one line. For sizes (3, 4): step 8 keeps the second digit and counts the first by twos; step 2
    counts the second digit by twos; step 3 is possible inside one line only.
    """
    step = rows.step if len(rows) > 1 else 1
    first, digits, fixed = rows.start, list(sizes), []
    while digits and step > 1 and step % digits[-1] == 0:
        first, value = divmod(first, digits[-1])
        step //= digits.pop()
        fixed.append(range(value, value + 1))
    fixed.reverse()
    if step > 1:
        line, value = divmod(first, digits[-1])
        last = value + (len(rows) - 1) * step
        if last < digits[-1]:
            return [(*_digits(digits[:-1], line), range(value, last + 1, step), *fixed)]
        if digits[-1] % step:
            return None
    # Count only every step-th value of the last digit, cut these consecutive numbers, and go back to the values.
    phase = first % step
    counted = [*digits[:-1], *(size // step for size in digits[-1:])]
    cut = _cut(counted, first // step, first // step + len(rows)) if len(rows) else []
    return [(*box[:-1], *_strided(box[-1:], phase, step), *fixed) for box in cut]


def _digits(sizes: list[int], number: int) -> Box:
    """Return the digits of one number, each as a range."""
    digits: list[range] = []
    for size in reversed(sizes):
        number, value = divmod(number, size)
        digits.append(range(value, value + 1))
    return tuple(reversed(digits))


def _strided(last: Box, phase: int, step: int) -> Box:
    """Return the values of a digit of which every ``step``-th was counted: with phase 1 and step 3, 0 1 are 1 4."""
    return tuple(range(phase + r.start * step, phase + (r.stop - 1) * step + 1, step) for r in last)


def _cut(sizes: list[int], first: int, last: int) -> list[Box]:
    """Cut the numbers from ``first`` to before ``last``, at least one, into boxes."""
    if not sizes:
        return [()]
    inner = sizes[1:]
    block = prod(inner)
    begin, offset = divmod(first, block)
    end, rest = divmod(last, block)
    if begin == end:
        return [(range(begin, begin + 1), *box) for box in _cut(inner, offset, rest)]
    pieces: list[Box] = []
    if offset:  # the rest of the block in which the range begins
        pieces += [(range(begin, begin + 1), *box) for box in _cut(inner, offset, block)]
        begin += 1
    if begin < end:  # whole blocks
        pieces.append((range(begin, end), *map(range, inner)))
    if rest:  # the beginning of the block in which the range ends
        pieces += [(range(end, end + 1), *box) for box in _cut(inner, 0, rest)]
    return pieces
