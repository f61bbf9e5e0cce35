"""The sizes of a whole map: spatial axes, channels, groups, layout, and how the kernel array is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import prod
from typing import TypeVar

from convmtx.geometry.axis import Axis
from convmtx.typing import Shape

T = TypeVar("T")


class Layout(Enum):
    """Position of the channel axis among the spatial axes."""

    PLAIN = "none"
    LAST = "last"
    FIRST = "first"

    def join(self, channel: T, spatial: tuple[T, ...]) -> tuple[T, ...]:
        """Put what belongs to the channel axis and to each spatial axis into the order of the array's axes."""
        if self is Layout.PLAIN:
            return spatial
        return (*spatial, channel) if self is Layout.LAST else (channel, *spatial)

    def split(self, items: tuple[T, ...], channel: T) -> tuple[T, tuple[T, ...]]:
        """Take apart what `join` puts together; without a channel axis, ``channel`` stands for what belongs to it."""
        if self is Layout.PLAIN:
            return channel, items
        return (items[-1], items[:-1]) if self is Layout.LAST else (items[0], items[1:])


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes and indices of a convolution, without values.

    Every geometry is a correlation along each `Axis`. Two flags say how its kernel *array* is read: ``flip`` reverses
    the array in space; ``transposed`` says that the array belongs to the map whose transpose this is, as for transposed
    convolutions, so that transposing does not copy the kernel.
    """

    axes: tuple[Axis, ...]
    in_channels: int = 1
    out_channels: int = 1
    groups: int = 1
    layout: Layout = Layout.PLAIN
    flip: bool = False
    transposed: bool = False

    @property
    def in_shape(self) -> Shape:
        return self.layout.join(self.in_channels, tuple(a.size for a in self.axes))

    @property
    def out_shape(self) -> Shape:
        return self.layout.join(self.out_channels, tuple(a.out for a in self.axes))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return prod(self.out_shape), prod(self.in_shape)

    @property
    def kernel_shape(self) -> Shape:
        """Shape of the kernel array, in the layout of the user."""
        channels = (self.out_channels, self.in_channels)
        rows, columns = channels[::-1] if self.transposed else channels
        spatial = tuple(a.kernel for a in self.axes)
        per_group = columns // self.groups
        if self.layout is Layout.PLAIN:
            return spatial
        return (*spatial, per_group, rows) if self.layout is Layout.LAST else (rows, per_group, *spatial)

    @property
    def channels_per_group(self) -> tuple[int, int]:
        """Number of output channels and of input channels of one group."""
        return self.out_channels // self.groups, self.in_channels // self.groups

    @property
    def nnz(self) -> int:
        """Number of stored entries of the sparse matrix: a product over the axes, a Python integer of any size."""
        return self.out_channels * self.channels_per_group[1] * prod(a.entries for a in self.axes)

    @property
    def toeplitz(self) -> bool:
        return all(a.toeplitz for a in self.axes)

    def restricted(self, outputs: tuple[range, ...]) -> Geometry:
        """Return the geometry of the map to these outputs of each spatial axis alone, for the same kernel array."""
        pairs = zip(self.axes, outputs, strict=True)
        axes = tuple(axis if len(expected) == axis.out else axis.restricted(expected) for axis, expected in pairs)
        return replace(self, axes=axes)

    @property
    def T(self) -> Geometry | None:
        """Geometry of the transpose, for the same kernel array; None if the transpose is not a convolution."""
        axes = tuple(a.transposed for a in self.axes)
        if any(a is None for a in axes):
            return None
        return replace(
            self,
            axes=tuple(a for a in axes if a is not None),
            in_channels=self.out_channels,
            out_channels=self.in_channels,
            transposed=not self.transposed,
        )
