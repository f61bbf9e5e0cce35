"""Methods of turning a tile of outputs into matrix products: the matrix, product, work and tile size of each.

A kind takes ``together`` neighbouring outputs along axis ``at`` through one common window. Two outputs with 3 taps and
stride 1 read 4 inputs together, so the kernel becomes a matrix of 2 rows and 4 columns:

    k0 k1 k2 0
    0  k0 k1 k2

Half as many windows are copied, and the product has twice as many rows.

Kernels are ``(G, F, b, C, k1..kd)``: groups, filters, outputs together, channels, taps of the common window.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from convmtx import costs
from convmtx.costs import Work
from convmtx.engines.gemms import Copies, Products, Windows, common_step, count_windows, gemm_size
from convmtx.engines.parts import Part
from convmtx.engines.products import product_into, rows_for_blas, slid, stored_product, stored_sum
from convmtx.engines.threads import Memory, Step
from convmtx.engines.tiles import Dim, dims, joinable, pack, strided
from convmtx.geometry import Axis
from convmtx.typing import AnyArray, Shape

#: Bytes that the windows of one tile take at most, so that they stay in cache: 4 MiB.
TILE_BYTES = 1 << 22
#: Taps up to which `numpy.correlate` has an unrolled loop.
SHORT = 11


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Outputs of a part, evenly spaced along each axis, that one kind of tile fills."""

    kind: TileKind
    #: Outputs of the part that are filled, an index of y.
    outputs: tuple[slice, ...]
    #: Axes of the common windows.
    axes: tuple[Axis, ...]
    #: Kernel of the common windows, flattened as the kind multiplies it.
    matrix: AnyArray
    #: Outputs along the last axis that one matrix product may take.
    positions: int


@dataclass(frozen=True, slots=True)
class TileKind(ABC):
    """Method of filling a tile: ``together`` neighbours along axis ``at`` are read through one common window."""

    at: int
    together: int
    #: Whether the product of a tile is so large that it is shared out to threads itself.
    shares_rows: ClassVar[bool] = False

    @abstractmethod
    def matrix(self, part: Part, kernel: AnyArray) -> tuple[AnyArray, int]:
        """Flatten a kernel (G, F, b, C, k1..kd), and say how many positions one product may take."""

    @abstractmethod
    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        """Return the steps that fill y (B, G, F, b, o1..od) from x (B, G, C, m1..md), what the tile reaches over."""

    @abstractmethod
    def work(self, part: Part, dtype: np.dtype[Any], images: int) -> Work:
        """Work of filling all outputs of a part."""

    def budget(self, band: Band, channels: int, width: int) -> int:
        """Count outputs whose windows of all channels fit into `TILE_BYTES`; at least 1."""
        return max(TILE_BYTES // _window_bytes(band, channels), 1)

    def with_together(self, part: Part, together: int) -> TileKind:
        """Return the kind for outputs that are left over, fewer than this kind takes together."""
        return kernel_times_windows(part, self.at, together)

    def work_of(self, part: Part, dtype: np.dtype[Any], products: Products, copies: Copies) -> Work:
        """Work of matrix products and of what is copied for them."""
        flops, rows, positions, calls = products
        blas = costs.blas_type(dtype)
        arithmetic = {"flop": flops}
        if blas:
            arithmetic = {"flop " + blas: flops, "thin flop " + blas: flops / rows + flops / positions}
        left_over = part.axes[self.at].out % self.together > 0  # they are a band of their own
        return {
            **arithmetic,
            "byte": (copies.entries + copies.aside) * dtype.itemsize,
            "run": copies.entries / copies.run,
            "gemv" if rows == 1 else "gemm": calls,
            "tile": 1 + left_over + copies.entries * dtype.itemsize / TILE_BYTES,
            "call": 1,
        }


class RowByRow(TileKind):
    """A matrix product for each row of outputs, or for ``positions`` of it: matrix (G, Q, m, taps), taps (C, k1..kd).

    Q products of m rows each make up the filters.
    """

    __slots__ = ()

    def matrix(self, part: Part, kernel: AnyArray) -> tuple[AnyArray, int]:
        groups, _, count, *rest = kernel.shape
        rows, positions, _ = gemm_size(part, self.at, count)
        return kernel.reshape(groups, -1, rows, prod(rest)), positions

    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        head, channels, taps, outs, y = _cut(x, band, y)
        copy, columns = pack(x, band.matrix.dtype, (*head, *outs[:-1], channels, *taps, outs[-1]), memory)
        columns = columns.reshape(*columns.shape[: 1 + len(outs)], 1, -1, columns.shape[-1])
        return [copy, product_into(_beside(band.matrix, len(outs) - 1), columns, y)]

    def work(self, part: Part, dtype: np.dtype[Any], images: int) -> Work:
        windows, filters = count_windows(part, self.at, self.together, images), part.kernel.shape[1]
        rows, positions, _ = gemm_size(part, self.at, self.together)
        positions = min(positions, part.axes[-1].out)
        products = Products(windows.flops, rows, positions, windows.outputs * filters / rows / positions)
        copies = Copies(self.copied(part, windows), float(positions), _written_aside(part, windows))
        return self.work_of(part, dtype, products, copies)

    def copied(self, part: Part, windows: Windows) -> float:
        """Count entries that are copied: all of every window."""
        return windows.entries


class RowsShared(RowByRow):
    """A matrix product for each row, where windows along axis ``at`` overlap in whole rows: each row is copied once.

    Taps of the matrix are (k_at, C, other axes), so that a window is ``k_at`` rows that follow each other in memory,
    and the next window begins some rows later. Windows of 3 rows and a step of 1 copy 10 rows for 8 outputs, not 24.
    """

    __slots__ = ()

    def matrix(self, part: Part, kernel: AnyArray) -> tuple[AnyArray, int]:
        return super().matrix(part, np.moveaxis(kernel, 4 + self.at, 3))

    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        head, channels, taps, outs, y = _cut(x, band, y)
        axis, at = band.axes[self.at], self.at
        advance = axis.stride // axis.dilation  # rows from a window to the next
        blocks, size = outs[at][0], taps[at][0]
        rows = ((blocks - 1) * advance + size, taps[at][1])
        lead = [*outs[:at], *outs[at + 1 : -1]]
        order = (*head, *lead, rows, channels, *taps[:at], *taps[at + 1 :], outs[-1])
        copy, columns = pack(x, band.matrix.dtype, order, memory)
        columns = columns.reshape(*columns.shape[: 2 + len(lead)], rows[0], -1, columns.shape[-1])
        count, width = columns.shape[-2:]
        *outer, row, _, step = columns.strides
        # Window j is rows j * advance to j * advance + size - 1: a view in which windows overlap.
        overlapping = (*columns.shape[:-3], blocks, 1, size * count, width)
        columns = strided(columns, overlapping, (*outer, advance * row, row, width * step, step))
        behind = len(outs) + 1  # the axis of outputs that has windows in steps comes last of those before Q
        y = y.transpose(*range(2 + at), *range(3 + at, behind), 2 + at, *range(behind, y.ndim))
        return [copy, product_into(_beside(band.matrix, len(outs) - 1), columns, y)]

    def copied(self, part: Part, windows: Windows) -> float:
        """Count entries that are copied: a window adds the rows that the window before it does not have."""
        axis = part.axes[self.at]
        advance = axis.stride * self.together / common_step(axis, self.together)
        return windows.entries * (advance / windows.sizes[self.at])

    def budget(self, band: Band, channels: int, width: int) -> int:
        """Count outputs whose rows fit into `TILE_BYTES`; those of one window if no more do."""
        axis = band.axes[self.at]
        rows = TILE_BYTES * axis.kernel // (_window_bytes(band, channels) * width)
        if rows >= axis.kernel:
            return width * ((rows - axis.kernel) * axis.dilation // axis.stride + 1)
        return super().budget(band, channels, width)


class AtOnce(TileKind):
    """One matrix product for all positions of the tile: matrix (G, F*b, taps), its taps (C, k1..kd)."""

    __slots__ = ()
    shares_rows = True

    def matrix(self, part: Part, kernel: AnyArray) -> tuple[AnyArray, int]:
        groups, filters, count, *rest = kernel.shape
        return kernel.reshape(groups, filters * count, prod(rest)), part.axes[-1].out

    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        images, groups, channels, taps, outs = dims(x, band.axes, y)
        copy, columns = pack(x, band.matrix.dtype, (groups, channels, *taps, images, *outs), memory)
        columns = columns.reshape(len(band.matrix), band.matrix.shape[-1], -1)
        y = y.transpose(1, 2, 3, 0, *range(4, y.ndim))
        return [copy, stored_product(band.matrix, columns, y, rows_shared=True)]

    def work(self, part: Part, dtype: np.dtype[Any], images: int) -> Work:
        windows = count_windows(part, self.at, self.together, images)
        products = Products(windows.flops, part.kernel.shape[1] * self.together, windows.outputs, 1.0)
        copies = Copies(windows.entries, self.run(part), _written_aside(part, windows))
        return self.work_of(part, dtype, products, copies)

    def run(self, part: Part) -> float:
        """Count entries that are copied side by side: those of a row of outputs."""
        return float(part.axes[-1].out)


class LongWindows(AtOnce):
    """`AtOnce` for kernels longer than the outputs: the entries of a window lie side by side.

    A gradient in 3x3 taps has a kernel as large as the image, and 9 outputs. So the windows are copied in runs of a row
    of the image, and not in runs of 3 outputs.
    """

    __slots__ = ()

    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        images, groups, channels, taps, outs = dims(x, band.axes, y)
        copy, windows = pack(x, band.matrix.dtype, (groups, images, *outs, channels, *taps), memory)
        columns = windows.reshape(len(band.matrix), -1, band.matrix.shape[-1]).swapaxes(1, 2)
        y = y.transpose(1, 2, 3, 0, *range(4, y.ndim))
        return [copy, stored_product(band.matrix, columns, y, rows_shared=True)]

    def run(self, part: Part) -> float:
        """Count entries that are copied side by side: those of a row of taps."""
        return float(part.kernel.shape[-1])


class WindowRows(TileKind):
    """Windows times kernel, neighbours along the last axis together: matrix (G, F, taps, b), its taps (k1..kd, C)."""

    __slots__ = ()

    def matrix(self, part: Part, kernel: AnyArray) -> tuple[AnyArray, int]:
        groups, filters, count, *rest = kernel.shape
        return kernel.transpose(0, 1, *range(4, kernel.ndim), 3, 2).reshape(groups, filters, prod(rest), count), 1

    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        images, groups, channels, taps, outs = dims(x, band.axes, y)
        copy, columns = pack(x, band.matrix.dtype, (images, groups, *outs, *taps, channels), memory)
        y = y.transpose(0, 1, 2, *range(4, y.ndim), 3)
        size, together = band.matrix.shape[2:]
        if y.shape[1] == y.shape[2] == 1 and joinable(y, y.ndim - 1):  # images lie side by side too
            return [copy, product_into(columns.reshape(-1, size), band.matrix[0, 0], y.reshape(-1, together))]
        matrix = band.matrix.reshape(*band.matrix.shape[:2], *(1,) * (len(outs) - 1), size, together)
        return [copy, product_into(columns.reshape(*y.shape[:2], 1, *y.shape[3:-1], size), matrix, y)]

    def work(self, part: Part, dtype: np.dtype[Any], images: int) -> Work:
        groups, filters, *_ = part.kernel.shape
        windows = count_windows(part, self.at, self.together, images)
        calls = images * groups * filters * prod(axis.out for axis in part.axes[:-1])
        products = Products(windows.flops, self.together, windows.outputs, calls)
        return self.work_of(part, dtype, products, Copies(windows.entries, windows.sizes[-1]))

    def with_together(self, part: Part, together: int) -> TileKind:
        """Return the same kind with fewer outputs together."""
        return replace(self, together=together)


class WindowRowsChannelsLast(WindowRows):
    """Windows times kernel where filters lie side by side in memory: matrix (taps, b*F), its taps (k1..kd, C)."""

    __slots__ = ()

    def matrix(self, part: Part, kernel: AnyArray) -> tuple[AnyArray, int]:
        _, filters, count, *rest = kernel.shape
        return kernel.transpose(0, *range(4, kernel.ndim), 3, 2, 1).reshape(prod(rest), count * filters), 1

    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        images, _, channels, taps, outs = dims(x, band.axes, y)
        copy, columns = pack(x, band.matrix.dtype, (images, *outs, *taps, channels), memory)
        columns = columns.reshape(-1, len(band.matrix))
        y = y[:, 0].transpose(0, *range(3, y.ndim - 1), 2, 1)
        if joinable(y, y.ndim - 2) and joinable(y[(0,) * (y.ndim - 2)], 2):
            return [copy, product_into(columns, band.matrix, y.reshape(-1, band.matrix.shape[1]))]
        return [copy, stored_product(columns, band.matrix, y)]

    def work(self, part: Part, dtype: np.dtype[Any], images: int) -> Work:
        groups, filters, channels, *_ = part.kernel.shape
        windows = count_windows(part, self.at, self.together, images)
        calls = images * groups * prod(axis.out for axis in part.axes[:-1])
        products = Products(windows.flops, self.together * filters, windows.outputs, calls)
        return self.work_of(part, dtype, products, Copies(windows.entries, windows.sizes[-1] * channels))


class ProductsShifted(TileKind):
    """Each tap times every input, each product added where its tap puts it: matrix (G, F*taps, C) (kn2row).

    Fewer filters than channels make this the smaller half of the work: channels are summed first, and only then are
    windows taken (Vasudevan, Anderson and Gregg, ASAP 2017).
    """

    __slots__ = ()

    @staticmethod
    def suits(part: Part, dtype: np.dtype[Any]) -> bool:
        """Whether a tile has room for the whole first axis, or for as many outputs as a window has inputs."""
        axis = part.axes[0]
        return _rows_of_products(part.axes, part.kernel.shape, dtype.itemsize) >= min(axis.out, axis.span)

    def matrix(self, part: Part, kernel: AnyArray) -> tuple[AnyArray, int]:
        groups, _, _, channels, *_ = kernel.shape
        kernel = kernel[:, :, 0]
        return kernel.transpose(0, 1, *range(3, kernel.ndim), 2).reshape(groups, -1, channels), 1

    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        images, groups, filters, _, *outs = y.shape
        d = len(outs)
        copies, columns = rows_for_blas(x.transpose(0, 1, *range(3, x.ndim - 1), 2, -1), band.matrix.dtype, memory)
        matrix = _beside(band.matrix, d - 1)
        if all(axis.kernel == axis.stride == 1 for axis in band.axes):
            target = y[:, :, :, 0].transpose(0, 1, *range(3, 2 + d), 2, -1)
            return [*copies, product_into(matrix, columns, target)]
        shape = (images, groups, *columns.shape[2:-2], matrix.shape[-2], columns.shape[-1])
        products = memory("windows", shape, matrix.dtype)  # (B, G, m1..F*taps, md)
        shifted = _shifted(products, band, filters, tuple(outs))
        total = stored_sum(shifted, tuple(range(3, 3 + d)), y[:, :, :, 0])
        return [*copies, product_into(matrix, columns, products), total]

    def work(self, part: Part, dtype: np.dtype[Any], images: int) -> Work:
        groups, filters, *_ = part.kernel.shape
        windows, width = count_windows(part, self.at, self.together, images), part.axes[-1].out
        inputs = images * groups * prod((axis.out - 1) * axis.stride + axis.span for axis in part.axes)
        rows = filters * prod(windows.sizes)
        products = Products(windows.flops * (inputs / windows.outputs), rows, width, inputs / width)
        copies = Copies(2.0 * inputs * rows, float(width), windows.outputs * rows)
        if prod(windows.sizes) == 1 and inputs == windows.outputs:  # one tap, which stays in its place
            copies = Copies(0.0, float(width))
        return self.work_of(part, dtype, products, copies)

    def budget(self, band: Band, channels: int, width: int) -> int:
        """Count outputs whose products, of every input with every tap, fit into `TILE_BYTES`."""
        groups, products, per_group = band.matrix.shape
        sizes = [axis.kernel for axis in band.axes]
        kernel = (groups, products // prod(sizes), per_group, *sizes)
        rows = _rows_of_products(band.axes, kernel, int(band.matrix.itemsize))
        return max(rows, 1) * prod(axis.out for axis in band.axes[1:])


class Slid(TileKind):
    """One signal at a time with a short kernel, by `numpy.correlate`: matrix (G, taps)."""

    __slots__ = ()

    @staticmethod
    def suits(part: Part, dtype: np.dtype[Any]) -> bool:
        """Whether `numpy.correlate` has a loop for it: floats, one axis and channel, few taps without gaps or steps."""
        axis = part.axes[0]
        plain = axis.stride == axis.dilation == 1 and axis.kernel <= SHORT
        return dtype.kind == "f" and plain and len(part.axes) == part.kernel.shape[1] == part.kernel.shape[2] == 1

    def matrix(self, part: Part, kernel: AnyArray) -> tuple[AnyArray, int]:
        return kernel.reshape(len(kernel), prod(kernel.shape[3:])), 1

    def steps(self, x: AnyArray, band: Band, y: AnyArray, memory: Memory) -> list[Step]:
        return [
            slid(signal, taps, y[b, g, 0, 0])
            for b, signals in enumerate(x)
            for g, ((signal,), taps) in enumerate(zip(signals, band.matrix, strict=True))
        ]

    def work(self, part: Part, dtype: np.dtype[Any], images: int) -> Work:
        flops = count_windows(part, self.at, self.together, images).flops
        return {"slid": flops, "gemv": images * part.kernel.shape[0], "tile": 1, "call": 1}


def kernel_times_windows(part: Part, at: int, together: int) -> TileKind:
    """Choose how the kernel is multiplied by windows: all at once, or row by row with rows shared if they can be.

    Rows can be shared if every window starts at a row of the windows before it, and ``at`` is not the last axis, along
    which a row lies.
    """
    axis = part.axes[at]
    if gemm_size(part, at, together).at_once:
        return AtOnce(at, together)
    shared = at < len(part.axes) - 1 and axis.stride * together % common_step(axis, together) == 0
    return RowsShared(at, together) if shared else RowByRow(at, together)


def _window_bytes(band: Band, channels: int) -> int:
    """Bytes of one common window of all channels."""
    return channels * prod(axis.kernel for axis in band.axes) * int(band.matrix.itemsize)


def _written_aside(part: Part, windows: Windows) -> float:
    """Count entries that are moved because BLAS cannot write where filters lie side by side: twice there and back."""
    return 4.0 * windows.outputs * part.kernel.shape[1] if part.channels_last else 0.0


def _cut(x: AnyArray, band: Band, y: AnyArray) -> tuple[list[Dim], Dim, list[Dim], list[Dim], AnyArray]:
    """Axes of the windows, and y as (B, G, *outs but the last, Q, m, last), the last cut into ``positions``."""
    images, groups, channels, taps, outs = dims(x, band.axes, y)
    width, step = outs[-1]
    if width > band.positions:
        y = y.reshape(*y.shape[:-1], -1, band.positions)
        outs[-1:] = [(width // band.positions, band.positions * step), (band.positions, step)]
    y = y.reshape(*y.shape[:2], *band.matrix.shape[1:3], *y.shape[4:])  # a view: no more than F is split
    return [images, groups], channels, taps, outs, y.transpose(0, 1, *range(4, y.ndim - 1), 2, 3, -1)


def _beside(matrix: AnyArray, lead: int) -> AnyArray:
    """View (G, Q, m, taps) with ``lead`` axes of outputs before Q."""
    return matrix.reshape(len(matrix), *(1,) * lead, *matrix.shape[1:])


def _shifted(products: AnyArray, band: Band, filters: int, outs: Shape) -> AnyArray:
    """View of products (B, G, m1..F*taps, md) as (B, G, F, k1..kd, o1..od): for each output the ones that it adds."""
    d = len(outs)
    sizes = [axis.kernel for axis in band.axes]
    products = products.reshape(*products.shape[:-2], filters, *sizes, products.shape[-1])
    images, groups, *inner, last = products.strides
    apart, of_filter, of_taps = [*inner[: d - 1], last], inner[d - 1], inner[d:]  # apart: inputs along each axis
    taps = [tap + step * axis.dilation for tap, step, axis in zip(of_taps, apart, band.axes, strict=True)]
    moved = [step * axis.stride for step, axis in zip(apart, band.axes, strict=True)]
    return strided(products, (*products.shape[:2], filters, *sizes, *outs), (images, groups, of_filter, *taps, *moved))


def _rows_of_products(axes: tuple[Axis, ...], kernel: Shape, itemsize: int) -> int:
    """Count outputs along the first axis whose products of every input with every tap fit into `TILE_BYTES`."""
    groups, filters, channels, *sizes = kernel
    entries = groups * (filters * prod(sizes) + channels) * itemsize
    inputs = TILE_BYTES // (entries * prod((axis.out - 1) * axis.stride + axis.span for axis in axes[1:]))
    return (inputs - axes[0].span) // axes[0].stride + 1
