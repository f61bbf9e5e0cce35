"""Windows that a map of kernels reads: products with them by transforms, and their Gram matrix by its displacement."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, reduce
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx import costs
from convmtx._xp import gather
from convmtx.boundary import ZERO
from convmtx.geometry import Axis, Geometry
from convmtx.maps.kernel_operator import KernelOperator
from convmtx.typing import AnyArray, Shape

#: Bytes of windows that are copied at a time: large enough for BLAS, and small beside a picture's windows.
BLOCK_BYTES = 1 << 26


class Step(NamedTuple):
    """Shift that takes a matrix of windows into itself along an axis: ``taps`` to the right and ``outputs`` down.

    Window o starts at ``o*s``, and its tap p reads ``o*s + p*t``. For stride 2 and dilation 3, three taps and two
    outputs are 6 positions both.
    """

    axis: int
    taps: int
    outputs: int


def every(*steps: int) -> Any:
    """Return the index of every so many positions along the last axes."""
    return (..., *(slice(None, None, step) for step in steps))


class Windows:
    """Matrices of windows, one for each group: rows (samples, outputs), and columns (channels, taps).

    Row (n, o) and column (c, p) hold ``arrays[g, n, c, o*s + p*t]``, where ``arrays`` contains what lies outside, too.
    """

    def __init__(self, arrays: AnyArray, axes: tuple[Axis, ...]) -> None:
        self.arrays, self.axes = arrays, axes
        self.groups, self.samples, self.channels = arrays.shape[:3]
        self.outs, self.kernel = tuple(a.out for a in axes), tuple(a.kernel for a in axes)

    @property
    def rows(self) -> int:
        """Number of rows of a matrix."""
        return self.samples * prod(self.outs)

    @property
    def columns(self) -> int:
        """Number of columns of a matrix."""
        return self.channels * prod(self.kernel)

    @property
    def transposed(self) -> Windows:
        """Windows whose matrices are the transposes: outputs and taps, samples and channels change places."""
        axes = tuple(Axis(a.size, a.out, a.dilation, a.stride) for a in self.axes)
        return Windows(self.arrays.swapaxes(1, 2), axes)

    def of_group(self, group: int) -> Windows:
        """Return the windows of one group."""
        return Windows(self.arrays[group : group + 1], self.axes)

    def only_read(self, seen: AnyArray | None) -> Windows:
        """Return the windows with zeros where no output reads; ``seen`` (samples, o1..od) says which outputs count.

        What is not read could be so large that it leaves nothing of the rest after a transform.
        """
        if (seen is None or seen.all()) and all(a.stride == 1 or a.kernel == 1 == a.out for a in self.axes):
            return self
        seen = np.ones((self.samples, *self.outs), bool) if seen is None else seen
        axes = tuple(range(1, seen.ndim))
        reads = [np.zeros(n) for n in self.arrays.shape[3:]]
        for read, axis in zip(reads, self.axes, strict=True):
            read[: axis.span : axis.dilation] = 1
        places = np.zeros((self.samples, *self.arrays.shape[3:]))
        places[(slice(None), *(slice(0, (a.out - 1) * a.stride + 1, a.stride) for a in self.axes))] = seen
        counts = np.fft.rfftn(places, axes=axes) * np.fft.rfftn(reduce(np.multiply.outer, reads))
        is_read = np.fft.irfftn(counts, self.arrays.shape[3:], axes=axes) > 0.5  # no window comes around
        return Windows(np.where(is_read[None, :, None], self.arrays, 0), self.axes)

    def at(self, places: AnyArray | slice, axis: int, kernel: Shape, samples: slice = slice(None)) -> AnyArray:
        """Return windows of a smaller kernel as matrices (groups, rows, columns), at outputs ``places`` of an axis.

        These outputs need not be there for the whole kernel.
        """
        d, lead = len(self.axes), 3
        x = self.arrays[:, samples]
        spans = [(k - 1) * a.dilation + 1 for k, a in zip(kernel, self.axes, strict=True)]
        views = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(lead, lead + d)))
        counts: list[Any] = [slice(0, out) for out in self.outs]
        counts[axis] = places
        views = views[every(*(a.stride for a in self.axes), *(a.dilation for a in self.axes))]
        views = views[(slice(None),) * lead + tuple(counts)]
        views = np.moveaxis(views, 2, 2 + d)  # (groups, samples, outputs, channels, taps)
        return views.reshape(self.groups, -1, self.channels * prod(kernel))

    # Products by transforms: a correlation of the arrays, whose transforms are kept.

    @cached_property
    def _sizes(self) -> list[int]:
        from scipy.fft import next_fast_len

        return [next_fast_len(n, real=not np.iscomplexobj(self.arrays)) for n in self.arrays.shape[3:]]

    @cached_property
    def _spectrum(self) -> AnyArray:
        return self._transform(self.arrays)

    def _transform(self, x: AnyArray) -> AnyArray:
        from scipy import fft

        axes = range(3, x.ndim)
        transform: Any = fft.fftn if np.iscomplexobj(self.arrays) else fft.rfftn
        return transform(x, self._sizes, axes=axes)

    def _correlate(self, z: AnyArray, subscripts: str, steps: list[int], reads: list[Any]) -> AnyArray:
        """Return ``sum over i of arrays[u + i*t] * conj(z[i])`` at the positions u that are read.

        No position comes around the circle, because ``u + i*t`` is one of the array.
        """
        from scipy import fft

        if np.iscomplexobj(z) and not np.iscomplexobj(self.arrays):
            return self._correlate(z.real, subscripts, steps, reads) - 1j * self._correlate(
                z.imag, subscripts, steps, reads
            )
        if any(step > 1 for step in steps):
            sizes = [(n - 1) * step + 1 for n, step in zip(z.shape[3:], steps, strict=True)]
            spread = np.zeros((*z.shape[:3], *sizes), z.dtype)
            spread[every(*steps)] = z
            z = spread
        product = np.einsum(subscripts, self._spectrum, self._transform(z).conj())
        axes = range(3, product.ndim)
        back: Any = fft.ifftn if np.iscomplexobj(self.arrays) else fft.irfftn
        return back(product, self._sizes, axes=axes)[(..., *reads)]

    def forward(self, taps: AnyArray) -> AnyArray:
        """Return the outputs (groups, R, samples, o1..od) of kernels (groups, R, channels, k1..kd)."""
        reads = [slice(0, (a.out - 1) * a.stride + 1, a.stride) for a in self.axes]
        return self._correlate(taps.conj(), "gnc...,grc...->grn...", [a.dilation for a in self.axes], reads)

    def adjoint(self, y: AnyArray) -> AnyArray:
        """Return the adjoint of `forward`."""
        reads = [slice(0, (a.kernel - 1) * a.dilation + 1, a.dilation) for a in self.axes]
        return self._correlate(y, "gnc...,grn...->grc...", [a.stride for a in self.axes], reads).conj()

    # The Gram matrix.

    def gram(self, weights: AnyArray | None) -> AnyArray:
        """Return ``W^H diag(weights) W`` of the windows W, (groups, columns, columns); weights are (samples, o1..od).

        Entry (p, q) and entry (p + a, q + a), a `Step` further, sum the same products, except for those where weights
        change, such as at the first and the last output (the covariance method of linear prediction: Makhoul, Proc.
        IEEE 63, 1975). So the first rows, and windows where weights change, give all others.
        """
        chosen, least = None, costs.seconds(costs.gram_work(self.rows, self.columns, self.groups))
        for step in self._steps():
            seconds = costs.seconds(self._work_of_step(step, self._changes(weights, step)[0]))
            if seconds < least:
                chosen, least = step, seconds
        return self._gram_by_blocks(weights) if chosen is None else self._gram_by_step(weights, chosen)

    def _gram_by_blocks(self, weights: AnyArray | None) -> AnyArray:
        matrix = np.zeros((self.groups, self.columns, self.columns), self.arrays.dtype)
        for sample, block in self.blocks():
            rows = self.at(block, 0, self.kernel, slice(sample, sample + 1))
            if weights is not None:
                rows = rows * np.sqrt(weights[sample, block]).reshape(-1, 1)
            for g in range(self.groups):
                matrix[g] += rows[g].conj().T @ rows[g]
        return matrix

    def blocks(self) -> list[tuple[int, slice]]:
        """Return the blocks of rows that are copied at a time: a sample, and outputs of the first axis."""
        bytes_of_place = self.columns * self.groups * prod(self.outs[1:]) * self.arrays.dtype.itemsize
        step = min(max(BLOCK_BYTES // bytes_of_place, 1), self.outs[0])
        starts = range(0, self.outs[0], step)
        return [(n, slice(o, min(o + step, self.outs[0]))) for n in range(self.samples) for o in starts]

    def _steps(self) -> list[Step]:
        """Return the shift along each axis that has taps to shift by."""
        shared = [gcd(a.stride, a.dilation) for a in self.axes]
        steps = [Step(j, a.stride // shared[j], a.dilation // shared[j]) for j, a in enumerate(self.axes)]
        return [step for step in steps if step.taps < self.kernel[step.axis]]

    def _changes(self, weights: AnyArray | None, step: Step) -> tuple[AnyArray, AnyArray]:
        """Return the outputs of an axis at which weights change by a step, and by how much, (samples, places, ..)."""
        shape = (self.samples, *self.outs)
        pads = [(0, 0)] * len(shape)
        if weights is None:  # those of one output of the other axes
            shape = tuple(n if j in (0, 1 + step.axis) else 1 for j, n in enumerate(shape))
            weights = np.ones(shape)
        before, behind = pads.copy(), pads.copy()
        before[1 + step.axis], behind[1 + step.axis] = (step.outputs, 0), (0, step.outputs)
        change = np.moveaxis(np.pad(weights, before) - np.pad(weights, behind), 1 + step.axis, 0)
        places = np.flatnonzero(change.reshape(len(change), -1).any(axis=1))
        return places, np.moveaxis(change[places], 0, 1 + step.axis)

    def _work_of_step(self, step: Step, places: AnyArray) -> costs.Work:
        others = prod(self.outs) // self.outs[step.axis] * self.samples
        first = self.columns * step.taps // self.kernel[step.axis]
        transformed = first * self.samples * (1 + self.channels) * prod(self._sizes)
        return costs.gram_by_step_work(len(places) * others, self.columns, self.groups, transformed)

    def displacement(self, weights: AnyArray | None, step: Step) -> Iterator[tuple[AnyArray, AnyArray]]:
        """Yield windows V (groups, rows, columns) and numbers d: G a step on, less G, is the sum of ``V^H diag(d) V``.

        The kernel of V is a step shorter. Windows that contain only zeros are left out.
        """
        places, change = self._changes(weights, step)
        axis = 1 + step.axis
        kernel = tuple(k - step.taps * (j == step.axis) for j, k in enumerate(self.kernel))
        bytes_of_place = self.rows // self.outs[step.axis] * self.columns * self.groups * self.arrays.dtype.itemsize
        at_once = max(BLOCK_BYTES // bytes_of_place, 2)
        for start in range(0, len(places), at_once):
            chunk = places[start : start + at_once]
            shape = (self.samples, *self.outs[: step.axis], len(chunk), *self.outs[step.axis + 1 :])
            some = change[(slice(None),) * axis + (slice(start, start + at_once),)]
            rows, some = self.at(chunk, step.axis, kernel), np.broadcast_to(some, shape)
            kept = rows.any(axis=(0, 2)) & (some.reshape(-1) != 0)
            if kept.any():
                yield rows[:, kept], some.reshape(-1)[kept]

    def first_row(self, weights: AnyArray | None) -> AnyArray:
        """Return the first row of the Gram matrix of each group, (groups, columns)."""
        return self._rows_of_gram(weights, [(0,) * (1 + len(self.axes))])[:, 0]

    def _rows_of_gram(self, weights: AnyArray | None, columns: list[Shape]) -> AnyArray:
        """Return rows of the Gram matrix, those of columns (c, p1..pd): the adjoint of these columns, conjugated."""
        rows = np.empty((self.groups, len(columns), self.columns), self.arrays.dtype)
        for j, (c, *p) in enumerate(columns):
            starts = [q * a.dilation for q, a in zip(p, self.axes, strict=True)]
            ends = [start + (a.out - 1) * a.stride + 1 for start, a in zip(starts, self.axes, strict=True)]
            reads = [slice(*s) for s in zip(starts, ends, (a.stride for a in self.axes), strict=True)]
            column = self.arrays[(slice(None), None, slice(None), c, *reads)]
            weighted = column if weights is None else column * weights
            rows[:, j] = self.adjoint(weighted).conj().reshape(self.groups, -1)
        return rows

    def _gram_by_step(self, weights: AnyArray | None, step: Step) -> AnyArray:
        """Return the Gram matrix from its first rows along an axis, going down its diagonals."""
        j, a = step.axis, step.taps
        k, rest = self.kernel[j], self.columns // self.kernel[j]
        starts = [range(a) if i == j else range(n) for i, n in enumerate(self.kernel)]
        first = [(c, *p) for c in range(self.channels) for p in np.ndindex(*map(len, starts))]
        displacement = list(self.displacement(weights, step))
        shape = (self.channels, *self.kernel)
        matrix = np.empty((self.groups, k, rest, k, rest), self.arrays.dtype)
        head = self._rows_of_gram(weights, first).reshape(self.groups, self.channels, *map(len, starts), *shape)
        head = np.moveaxis(head, (2 + j, 2 + len(shape) + j), (1, 1 + len(shape)))  # the axis before the channels
        for g in range(self.groups):
            matrix[g, :a] = head[g].reshape(a, rest, k, rest)
            matrix[g, :, :, :a] = matrix[g, :a].conj().transpose(2, 3, 0, 1)
            update = np.zeros(((k - a) * rest,) * 2, matrix.dtype)
            for rows, change in displacement:
                short = rows[g].reshape(-1, self.channels, *(n - a * (i == j) for i, n in enumerate(self.kernel)))
                short = np.moveaxis(short, 2 + j, 1).reshape(len(short), (k - a) * rest)
                update += (short.conj() * change[:, None]).T @ short
            moved = update.reshape(k - a, rest, k - a, rest)
            for p in range(a, k):
                np.add(matrix[g, p - a, :, : k - a], moved[p - a], out=matrix[g, p, :, a:])
        # (groups, kj, c, others, kj, c, others) -> (groups, c, k1..kd, c, k1..kd)
        others = [n for i, n in enumerate(self.kernel) if i != j]
        spread = matrix.reshape(self.groups, k, self.channels, *others, k, self.channels, *others)
        back = np.moveaxis(spread, (1, 1 + len(shape)), (2 + j, 2 + len(shape) + j))
        return back.reshape(self.groups, self.columns, self.columns)


def windows_of(op: KernelOperator) -> Windows:
    """Return the windows of a map of kernels, in NumPy."""
    geometry = op._geometry
    x = np.asarray(op._inputs).astype(np.result_type(op.dtype, np.float64), copy=False)
    for j, axis in enumerate(geometry.axes):
        first, last = axis.reach
        if (first, last) != (0, axis.size - 1) or axis.input_dilation > 1:
            x = gather(x, axis.source(np.arange(first, last + 1)), 2 + j)
    x = x.reshape(len(x), geometry.groups, -1, *x.shape[2:])
    return Windows(np.ascontiguousarray(x.swapaxes(0, 1)), tuple(axis.continued for axis in geometry.axes))


def has_toeplitz_gram(geometry: Geometry) -> bool:
    """Whether Gram matrices of windows are Toeplitz for every input: for one channel along one axis.

    All windows that touch the input have to be there, with zeros outside, or those of a circle.
    """
    if len(geometry.axes) > 1 or geometry.channels_per_group[1] > 1:
        return False
    (axis,) = geometry.axes
    has_all = axis.boundary is ZERO and min(axis.lo, axis.hi) >= axis.span - 1
    return axis.stride == 1 and (has_all or axis.circular)
