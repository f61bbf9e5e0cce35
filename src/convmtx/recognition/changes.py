"""Single changes that turn a map into another one that it is mistaken for, as values with their words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import combinations, product
from math import prod
from typing import Any

import numpy as np

from convmtx.boundary import BY_NAME
from convmtx.geometry import Axis, Geometry
from convmtx.geometry.padding import split
from convmtx.maps.convolution import ConvOperator
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import AnyArray, Shape

#: Boundaries by the one name that the package writes.
_RULES = {rule.name: rule for rule in BY_NAME.values()}
#: Largest stride and dilation that are tried.
_LARGEST_STEP = 4


class Kind(Enum):
    """Things that can be mistaken. Changes of one kind are alternatives, and are not combined."""

    TRANSPOSED = "transposed"
    CONJUGATED = "conjugated"
    SCALED = "scaled"
    ORDER = "order"
    LAYOUT = "layout"
    AXES = "axes"
    ROLLED = "rolled"
    FLIPPED = "flipped"
    KERNEL_ORDER = "kernel order"
    KERNEL_CHANNELS = "kernel channels"
    KERNEL_ROLLED = "kernel rolled"
    SHIFTED = "shifted"
    BOUNDARY = "boundary"
    STRIDE = "stride"
    DILATION = "dilation"
    PADDING = "padding"
    EMPTY_ROWS = "empty rows"
    MISSING_ROWS = "missing rows"


#: Words of each kind; {} stands for its numbers.
_WORDS = {
    Kind.TRANSPOSED: "transposed",
    Kind.CONJUGATED: "conjugated",
    Kind.SCALED: "times {}",
    Kind.ORDER: "with {} in {} order",
    Kind.LAYOUT: "with the channels of {} {}",
    Kind.AXES: "with the axes of {} in the order {}",
    Kind.ROLLED: "with outputs rolled by {}",
    Kind.FLIPPED: "with the kernel flipped along {}",
    Kind.KERNEL_ORDER: "with the kernel in column-major order",
    Kind.KERNEL_CHANNELS: "with the input and output channels of the kernel swapped",
    Kind.KERNEL_ROLLED: "with the kernel rolled by {}",
    Kind.SHIFTED: "with windows shifted by {}",
    Kind.BOUNDARY: "with boundary {}",
    Kind.STRIDE: "with stride {}",
    Kind.DILATION: "with dilation {}",
    Kind.PADDING: "with padding {}",
    Kind.EMPTY_ROWS: "with {} empty rows, the first of output {}",
    Kind.MISSING_ROWS: "without {} of its rows, the first of output {}",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing by which a matrix differs from that of a map: its kind, and numbers that tell which.

    For `FLIPPED` these are the axes, for `SHIFTED`, `ROLLED` and `KERNEL_ROLLED` an offset along each axis, for
    `STRIDE`, `DILATION` and `PADDING` the values for each axis, for `BOUNDARY` the names for each axis that are the
    same there, for `SCALED` the factor, for `AXES` the order, for `ORDER` and `LAYOUT` the name of the other one, and
    for rows their number and the first output. Windows `SHIFTED` by 1 read one input further.
    """

    kind: Kind
    numbers: tuple[Any, ...] = ()
    #: Sides that are read in another order: "inputs", "outputs" or both.
    sides: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind in (Kind.EMPTY_ROWS, Kind.MISSING_ROWS) and self.numbers[0] == 1:
            return f"with{'out' if self.kind is Kind.MISSING_ROWS else ' zeros in'} the row of output {self.numbers[1]}"
        values: list[Any] = [" and ".join(self.sides)] if self.sides else []
        if self.kind is Kind.FLIPPED:
            values.append(f"ax{'es' if len(self.numbers) > 1 else 'is'} {' and '.join(map(str, self.numbers))}")
        elif self.kind in (Kind.SCALED, Kind.ORDER, Kind.LAYOUT, Kind.EMPTY_ROWS, Kind.MISSING_ROWS):
            values += self.numbers
        elif self.kind is Kind.BOUNDARY:
            names = dict.fromkeys(" or ".join(rules) for rules in self.numbers)
            values.append(", ".join(names if len(names) == 1 else (" or ".join(rules) for rules in self.numbers)))
        elif self.numbers:
            values.append(self.numbers)
        return _WORDS[self.kind].format(*values)


def noun_phrase(changes: Sequence[Change]) -> str:
    """Return a matrix with changes as a noun phrase: "the transpose of the matrix with boundary wrap"."""
    words = [str(change) for change in changes if change.kind is not Kind.TRANSPOSED]
    matrix = f"the matrix {' and '.join(words)}" if words else "the matrix"
    return f"the transpose of {matrix}" if any(change.kind is Kind.TRANSPOSED for change in changes) else matrix


def changed(op: ConvOperator, change: Change) -> ConvOperator:
    """Return the convolution with a change of its kernel or its geometry; itself for changes of other kinds."""
    kind, numbers, geometry = change.kind, change.numbers, op.geometry
    if kind is Kind.CONJUGATED:
        return op.conj()
    if kind in KERNEL_KINDS:
        return ConvOperator(geometry, kernel_of(geometry, _changed_taps(taps_of(geometry, op.kernel), change)))
    if kind in AXIS_KINDS:
        axes = tuple(_changed_axis(axis, kind, number) for axis, number in zip(geometry.axes, numbers, strict=True))
        return ConvOperator(replace(geometry, axes=axes), op.kernel)
    return op


KERNEL_KINDS = (Kind.FLIPPED, Kind.KERNEL_ORDER, Kind.KERNEL_CHANNELS, Kind.KERNEL_ROLLED)
AXIS_KINDS = (Kind.SHIFTED, Kind.BOUNDARY, Kind.STRIDE, Kind.DILATION, Kind.PADDING)


def _changed_taps(taps: AnyArray, change: Change) -> AnyArray:
    """Return correlation taps (out_channels, in_channels/groups, k1..kd) after a change of the kernel."""
    space = tuple(range(2, taps.ndim))
    if change.kind is Kind.FLIPPED:
        return np.flip(taps, tuple(2 + axis for axis in change.numbers))
    if change.kind is Kind.KERNEL_ROLLED:
        return np.roll(taps, change.numbers, space)
    if change.kind is Kind.KERNEL_CHANNELS:
        return taps.swapaxes(0, 1)
    return taps.reshape(*taps.shape[:2], *taps.shape[:1:-1]).transpose(0, 1, *reversed(space))


def _changed_axis(axis: Axis, kind: Kind, number: Any) -> Axis:
    """Return an axis after a change; with another stride or dilation, pads that "same" or "full" make follow."""
    if kind is Kind.SHIFTED:
        return replace(axis, lo=axis.lo - number, hi=axis.hi + number)
    if kind is Kind.BOUNDARY:
        return replace(axis, boundary=_RULES[number[0]])
    if kind is Kind.PADDING:
        return replace(axis, lo=number[0], hi=number[1])
    other = replace(axis, **{kind.value: number})
    for name in ("valid", "same", "same_lower", "full"):
        if _pads(axis, name) == (axis.lo, axis.hi):
            lo, hi = _pads(other, name)
            return replace(other, lo=lo, hi=hi)
    return other


def _pads(axis: Axis, name: str) -> tuple[int, int]:
    """Return the pads (lo, hi) of an axis by the name of a padding."""
    if name in ("valid", "full"):
        pad = axis.span - 1 if name == "full" else 0
        return pad, pad
    outputs = -(-axis.stretched // axis.stride)
    return split(max((outputs - 1) * axis.stride + axis.span - axis.stretched, 0), name)


def changes_of(op: ConvOperator) -> Iterator[Change]:
    """Yield the changes of kernel and geometry that are tried, those that are named first if they are the same map."""
    geometry, axes = op.geometry, op.geometry.axes
    d, kernels = len(axes), tuple(axis.kernel for axis in axes)
    long = [j for j in range(d) if kernels[j] > 1]
    if op.dtype.kind == "c":
        yield Change(Kind.CONJUGATED)
    for count in range(len(long), 0, -1):
        yield from (Change(Kind.FLIPPED, chosen) for chosen in combinations(long, count))
    yield from (Change(Kind.SHIFTED, offset) for offset in _shifts(axes))
    yield from _boundaries(axes)
    if len(long) > 1:
        yield Change(Kind.KERNEL_ORDER)
    if geometry.groups == 1 and geometry.out_channels == geometry.in_channels > 1:
        yield Change(Kind.KERNEL_CHANNELS)
    yield from (Change(Kind.KERNEL_ROLLED, offset) for offset in rolls(kernels))
    for kind in (Kind.STRIDE, Kind.DILATION):
        steps = tuple(getattr(axis, kind.value) for axis in axes)
        listed = [(s,) * d for s in range(1, _LARGEST_STEP + 1)] + [steps[::-1]]
        yield from (Change(kind, other) for other in dict.fromkeys(listed) if other != steps)
    yield from _paddings(axes)


def _shifts(axes: tuple[Axis, ...]) -> Iterator[Shape]:
    """Yield offsets of windows: by one along any axes, by half the kernel along all, and up to it along each."""
    d = len(axes)
    yield from (offset for offset in product((0, 1, -1), repeat=d) if any(offset))
    for sign in (1, -1):
        for half in (0, 1):
            offset = tuple(sign * ((axis.span - half) // 2) for axis in axes)
            if max(map(abs, offset)) > 1:
                yield offset
        for j, axis in enumerate(axes):
            yield from (tuple(sign * m if i == j else 0 for i in range(d)) for m in range(2, axis.span))


def rolls(sizes: Shape) -> Iterator[Shape]:
    """Yield offsets around a circle: by one along any axes that are longer than that, and by half along all."""
    offsets = [offset for offset in product((0, 1, -1), repeat=len(sizes)) if any(offset)]
    offsets += [tuple(n // 2 for n in sizes), tuple(-(n // 2) for n in sizes)]
    seen = {(0,) * len(sizes)}
    for offset in offsets:
        moved = tuple(o % n for o, n in zip(offset, sizes, strict=True))
        if moved not in seen:
            seen.add(moved)
            yield offset


def _boundaries(axes: tuple[Axis, ...]) -> Iterator[Change]:
    """Yield other boundaries for all axes, and for each of them alone."""
    current = tuple((axis.boundary.name,) for axis in axes)
    listed = [((name,),) * len(axes) for name in _RULES]
    listed += [(*current[:j], (name,), *current[j + 1 :]) for j in range(len(axes)) for name in _RULES]
    alike = [same_boundaries(axis) for axis in axes]
    for names in dict.fromkeys(listed):
        if any(name not in known for (name,), known in zip(names, alike, strict=True)):
            yield Change(Kind.BOUNDARY, names)


def same_boundaries(axis: Axis) -> tuple[str, ...]:
    """Return the names of all boundaries with which an axis reads the same: with pads of 1, "symmetric" and "edge"."""
    first, last = axis.interior
    outputs = np.concatenate([np.arange(first), np.arange(last, axis.out)])[:, None]
    reads = axis.read(outputs, np.arange(axis.kernel))
    others = {name: replace(axis, boundary=rule).read(outputs, np.arange(axis.kernel)) for name, rule in _RULES.items()}
    return tuple(name for name, other in others.items() if np.array_equal(other, reads))


def _paddings(axes: tuple[Axis, ...]) -> Iterator[Change]:
    """Yield other pads: those with names, the same width everywhere, and the pads of each axis swapped."""
    current = tuple((axis.lo, axis.hi) for axis in axes)
    listed = [tuple(_pads(axis, name) for axis in axes) for name in ("valid", "same", "same_lower", "full")]
    listed += [((width, width),) * len(axes) for width in range(max(axis.span for axis in axes))]
    listed.append(tuple(pair[::-1] for pair in current))
    yield from (Change(Kind.PADDING, pads) for pads in dict.fromkeys(listed) if pads != current)


def has_outputs(geometry: Geometry) -> bool:
    """Whether a geometry has an output along each axis."""
    return prod(max(axis.out, 0) for axis in geometry.axes) > 0
