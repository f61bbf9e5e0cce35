"""Map of kernels with weighted outputs, of which columns are projected out: products, and Gram matrices of filters."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from convmtx.maps.kernel_operator import KernelOperator
from convmtx.structure.windows import windows_of
from convmtx.taps import channels_back, channels_first, taps_of
from convmtx.typing import AnyArray, IntArray, Shape


@dataclass(frozen=True, eq=False)
class Observation:
    """Weights of outputs, and columns that are projected out of them: ``S = (1 - Q Q^H) diag(root)``.

    Outputs are (groups, filters, R, samples, o1..od). Groups and filters may share the arrays.
    """

    #: Square roots of weights, (groups or 1, filters or 1, samples, o1..od).
    root: AnyArray | None = None
    #: Orthonormal columns Q, (groups or 1, filters or 1, samples * outputs, n).
    basis: AnyArray | None = None

    def project(self, y: AnyArray) -> AnyArray:
        """Return ``(1 - Q Q^H) y``."""
        if self.basis is None:
            return y
        flat = y.reshape(*y.shape[:3], -1)
        return (flat - (flat @ self.basis.conj()) @ self.basis.swapaxes(2, 3)).reshape(y.shape)

    def apply(self, y: AnyArray) -> AnyArray:
        """Return ``S y``."""
        return self.project(y if self.root is None else y * self.root[:, :, None])

    def adjoint(self, y: AnyArray) -> AnyArray:
        """Return ``S^H y``."""
        y = self.project(y)
        return y if self.root is None else y * self.root[:, :, None].conj()

    @property
    def is_plain(self) -> bool:
        """Whether S is the identity."""
        return self.root is None and self.basis is None

    @property
    def is_shared(self) -> bool:
        """Whether all groups and filters have the same weights."""
        return all(array is None or array.shape[:2] == (1, 1) for array in (self.root, self.basis))

    def of_filter(self, group: int, filter_: int) -> tuple[AnyArray | None, AnyArray | None]:
        """Return the square roots of weights (samples, o1..od) and the basis of one filter."""
        root, basis = (
            None if array is None else array[min(group, len(array) - 1)] for array in (self.root, self.basis)
        )
        root, basis = (None if array is None else array[min(filter_, len(array) - 1)] for array in (root, basis))
        return root, basis


class Kept(NamedTuple):
    """Places of outputs that are kept, the row that each has then, and the shape of all rows."""

    places: IntArray
    rows: IntArray
    shape: Shape


def split_outputs(op: KernelOperator, y: AnyArray) -> AnyArray:
    """Return outputs (m, *out_shape) as (groups, filters, m, samples, o1..od)."""
    g = op._geometry
    flat = channels_first(g, y.reshape(-1, *g.out_shape))
    flat = flat.reshape(len(y), -1, g.groups, g.channels_per_group[0], *flat.shape[2:])
    return np.moveaxis(flat, (2, 3, 0), (0, 1, 2))


def shared(arrays: AnyArray) -> AnyArray:
    """Return arrays (groups, filters, ..) as (1, 1, ..) if all are equal."""
    return arrays[:1, :1] if (arrays == arrays[:1, :1]).all() else arrays


class Design:
    """A map of kernels with its observation: taps (groups, filters, R, channels, k1..kd) to outputs as it has them."""

    def __init__(self, op: KernelOperator, observation: Observation, kept: Kept | None = None) -> None:
        self.op, self.observation, self.kept = op, observation, kept
        root = observation.root
        seen = None if root is None else np.abs(root).max(axis=(0, 1)) > 0
        self.windows = windows_of(op).only_read(seen)
        g = op._geometry
        self.filters = g.channels_per_group[0]
        places = np.arange(prod(op.in_shape)).reshape(op.in_shape)
        #: Place in the flattened kernel of each tap (groups * filters, channels * taps).
        self.places: IntArray = taps_of(g, places).reshape(g.out_channels, -1)

    def taps(self, x: AnyArray) -> AnyArray:
        """Return kernels (m, *kernel_shape) as taps."""
        w = self.windows
        taps = x.reshape(len(x), -1)[:, self.places]
        return np.moveaxis(taps.reshape(len(x), w.groups, self.filters, w.channels, *w.kernel), 0, 2)

    def kernels(self, taps: AnyArray) -> AnyArray:
        """Return taps as kernels (m, *kernel_shape)."""
        taps = np.moveaxis(taps, 2, 0)
        x = np.empty((len(taps), self.places.size), taps.dtype)
        x[:, self.places.reshape(-1)] = taps.reshape(len(taps), -1)
        return x.reshape(len(taps), *self.op.in_shape)

    def split(self, y: AnyArray) -> AnyArray:
        """Return outputs (m, *out_shape) as (groups, filters, m, samples, o1..od)."""
        if self.kept is not None:
            spread = np.zeros((len(y), self.op.shape[0]), y.dtype)
            spread[:, self.kept.places] = y.reshape(len(y), -1)[:, self.kept.rows]
            y = spread
        return split_outputs(self.op, y)

    def joined(self, y: AnyArray) -> AnyArray:
        """Return outputs as (m, *out_shape): the inverse of `split`."""
        w = self.windows
        flat = np.moveaxis(y, (0, 1, 2), (2, 3, 0))
        flat = flat.reshape(-1, w.groups * self.filters, *w.outs)
        flat = channels_back(self.op._geometry, flat)
        if self.kept is None:
            return flat.reshape(-1, *self.op.out_shape)
        outputs = np.zeros((y.shape[2], prod(self.kept.shape)), y.dtype)
        outputs[:, self.kept.rows] = flat.reshape(y.shape[2], -1)[:, self.kept.places]
        return outputs.reshape(-1, *self.kept.shape)

    def forward(self, taps: AnyArray) -> AnyArray:
        """Return the observed outputs ``S A h`` of taps."""
        w = self.windows
        y = w.forward(taps.reshape(w.groups, -1, w.channels, *w.kernel))
        return self.observation.apply(y.reshape(*taps.shape[:3], w.samples, *w.outs))

    def adjoint(self, y: AnyArray) -> AnyArray:
        """Return the adjoint of `forward`."""
        w = self.windows
        taps = w.adjoint(self.observation.adjoint(y).reshape(w.groups, -1, w.samples, *w.outs))
        return taps.reshape(*y.shape[:3], w.channels, *w.kernel)

    def gram(self, group: int, filter_: int) -> tuple[AnyArray, float]:
        """Return ``A^H S^H S A`` of a filter, and the norm of the matrix from which it was subtracted, or 0."""
        root, _ = self.observation.of_filter(group, filter_)
        (matrix,) = self.windows.of_group(group).gram(None if root is None else np.abs(root) ** 2)
        projected = self.projected(group, filter_)
        if projected is None:
            return matrix, 0.0
        return matrix - projected.conj().T @ projected, float(np.abs(matrix).sum(axis=1).max())

    def projected(self, group: int, filter_: int) -> AnyArray | None:
        """Return ``Q^H diag(root) A`` of a filter, (n, columns), which is projected out; None without Q."""
        root, basis = self.observation.of_filter(group, filter_)
        if basis is None:
            return None
        windows = self.windows.of_group(group)
        columns = basis.T.reshape(1, -1, windows.samples, *windows.outs)
        taps = windows.adjoint(columns if root is None else columns * root.conj())
        return taps.conj().reshape(columns.shape[1], -1)
