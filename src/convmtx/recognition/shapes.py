"""Shapes that inputs and outputs of a matrix may have."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, prod
from typing import Any

from convmtx.arguments import one_of
from convmtx.errors import ArgumentError
from convmtx.geometry import Layout
from convmtx.typing import Shape

#: Shapes that are tried where only sizes are known, the likeliest first.
_MOST = 100


@dataclass(frozen=True)
class Shapes:
    """Shapes of inputs and outputs, with the channel axis told from the spatial ones."""

    layout: Layout
    in_channels: int
    out_channels: int
    sizes: Shape
    outs: Shape

    @property
    def in_shape(self) -> Shape:
        """Shape of one input."""
        return self.layout.join(self.in_channels, self.sizes)

    @property
    def out_shape(self) -> Shape:
        """Shape of one output."""
        return self.layout.join(self.out_channels, self.outs)

    @property
    def transposed(self) -> Shapes:
        """Shapes of the transposed map."""
        return Shapes(self.layout, self.out_channels, self.in_channels, self.outs, self.sizes)


def with_rows_missing(size: tuple[int, int], in_shape: Shape, out_shape: Shape, channels: Any) -> list[Shapes]:
    """Return the shapes of which a matrix may lack rows; an empty list if it does not."""
    rows, columns = size
    if not 0 < rows < prod(out_shape) or columns != prod(in_shape):
        return []
    return candidates((prod(out_shape), columns), in_shape, out_shape, channels)


def candidates(size: tuple[int, int], in_shape: Shape | None, out_shape: Shape | None, channels: Any) -> list[Shapes]:
    """Return the shapes that fit a matrix of a size, the likeliest first; refuse shapes that do not."""
    if channels is not None:
        channels = one_of("channels", channels, ("last", "first"))
    for name, shape, count in (("in_shape", in_shape, size[1]), ("out_shape", out_shape, size[0])):
        if shape is not None and prod(shape) != count:
            got = f"{name}={shape} with a matrix of shape {size}"
            raise ArgumentError(got, f"Expected {count} entries", "Leave it out to try all that fit")
    ins = [in_shape] if in_shape else None
    outs = [out_shape] if out_shape else None
    if ins is None or outs is None:
        counts = {len(shapes[0]) for shapes in (ins, outs) if shapes} or ({1, 2} if channels is None else {2, 3})
        least = 1 if ins or outs else 2
        pairs = [
            (i, o)
            for count in sorted(counts)
            for i in ins or _factorizations(size[1], count, least)
            for o in outs or _factorizations(size[0], count, least)
        ]
        pairs = sorted(pairs, key=_unlikely)[:_MOST]
    else:
        pairs = [(ins[0], outs[0])]
    fitting = [shapes for i, o in pairs for shapes in _layouts(i, o, channels)]
    if not fitting:
        got = f"in_shape={in_shape} and out_shape={out_shape}" + (f" with channels={channels!r}" if channels else "")
        expected = "Expected equally many axes, and a spatial one beside the channels"
        raise ArgumentError(got, expected, "Add an axis of size 1 for a single channel")
    return fitting


def _layouts(in_shape: Shape, out_shape: Shape, channels: str | None) -> list[Shapes]:
    """Return the shapes with channels where they are named, or without, last and first."""
    if len(in_shape) != len(out_shape):
        return []
    layouts = [Layout.PLAIN, Layout.LAST, Layout.FIRST] if channels is None else [Layout(channels)]
    shapes = []
    for layout in layouts:
        if layout is Layout.PLAIN or len(in_shape) > 1:
            (in_channels, sizes), (out_channels, outs) = layout.split(in_shape, 1), layout.split(out_shape, 1)
            shapes.append(Shapes(layout, in_channels, out_channels, sizes, outs))
    return shapes


def _unlikely(pair: tuple[Shape, Shape]) -> float:
    """Return how unlike a square image and its image the shapes are; 0 for one axis."""
    ins, outs = pair
    if len(ins) == 1:
        return 0.0
    return sum(abs(log(n * len(ins) / sum(ins))) + abs(log(n / o)) for n, o in zip(ins, outs, strict=True))


def _factorizations(number: int, count: int, least: int) -> list[Shape]:
    """Return the ways to write a number as an ordered product of so many factors, of at least 1 or 2 if not alone."""
    if count == 1:
        return [(number,)]
    return [
        (factor, *rest)
        for factor in _divisors(number)
        if factor >= least
        for rest in _factorizations(number // factor, count - 1, least)
        if min(rest) >= least
    ]


def _divisors(number: int) -> list[int]:
    """Return the divisors of a number, in ascending order."""
    low = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return low + [number // n for n in reversed(low) if n * n != number]
