"""A range of rows as few boxes: flattened outputs are numbers with mixed digits, and a box takes a range of each digit.

A range begins and ends inside a line, a plane and so on; what lies between is whole. So on D digits it is at most
``2*D - 1`` boxes, however long it is.
"""

from __future__ import annotations

from math import prod

from convmtx.typing import Shape

#: A range of values for each digit, slowest first.
Box = tuple[range, ...]


def boxes(sizes: Shape, rows: range) -> list[Box] | None:
    """Cut rows, in ascending order, into boxes; None where the step goes across the digits unevenly.

    A step keeps the fastest digits that it passes over whole; it must divide the next one, or stay inside one line.
    """
    step = rows.step if len(rows) > 1 else 1
    first, digits, fixed = rows.start, list(sizes), []
    while digits and step > 1 and step % digits[-1] == 0:
        first, value = divmod(first, digits[-1])
        step //= digits.pop()
        fixed.append(range(value, value + 1))
    if step > 1:
        line, value = divmod(first, digits[-1])
        if value + (len(rows) - 1) * step < digits[-1]:
            own = [(*_digits(digits[:-1], line), range(value, value + (len(rows) - 1) * step + 1, step))]
            return [(*box, *reversed(fixed)) for box in own]
        if digits[-1] % step:
            return None
    phase = first % step
    whole = [*digits[:-1], *(size // step for size in digits[-1:])]
    cut = _cut(whole, first // step, first // step + len(rows)) if len(rows) else []
    return [(*box[:-1], *_strided(box[-1:], phase, step), *reversed(fixed)) for box in cut]


def _digits(sizes: list[int], number: int) -> Box:
    """Return the digits of one number, each as a range."""
    found: list[range] = []
    for size in reversed(sizes):
        number, value = divmod(number, size)
        found.append(range(value, value + 1))
    return tuple(reversed(found))


def _strided(last: Box, phase: int, step: int) -> Box:
    """Return values of a digit of which every ``step``-th was counted, from ``phase`` on."""
    return tuple(range(phase + r.start * step, phase + (r.stop - 1) * step + 1, step) for r in last)


def _cut(sizes: list[int], first: int, last: int) -> list[Box]:
    """Cut the numbers from ``first`` to before ``last``, of which there is one at least."""
    if not sizes:
        return [()]
    inner = sizes[1:]
    block = prod(inner)
    begin, offset = divmod(first, block)
    end, rest = divmod(last, block)
    if begin == end:
        return [(range(begin, begin + 1), *box) for box in _cut(inner, offset, rest)]
    found: list[Box] = []
    if offset:
        found += [(range(begin, begin + 1), *box) for box in _cut(inner, offset, block)]
        begin += 1
    if begin < end:
        found.append((range(begin, end), *map(range, inner)))
    if rest:
        found += [(range(end, end + 1), *box) for box in _cut(inner, 0, rest)]
    return found
