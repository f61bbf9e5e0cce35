"""Preconditioner for maps of kernels: the circulant nearest to the Gram matrix of windows, by their mean power."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.errors import UnsupportedError
from convmtx.maps.combined import Product
from convmtx.maps.kernel_operator import KernelOperator
from convmtx.solves.factors import Factors
from convmtx.solves.methods.design import Design, Observation
from convmtx.solves.problem import Problem
from convmtx.structure.double import lone_entries
from convmtx.structure.windows import BLOCK_BYTES, Windows, every
from convmtx.typing import AnyArray

#: Windows that are looked at, for each length of a window along an axis: more overlap so much that they tell no more.
DENSITY = 4
#: Damping of the preconditioner if the problem has none, as a fraction of the map's norm.
FLOOR = 1e-2


class MeanCirculant(Factors):
    """Circulant ``C + damp^2 R^H R`` of taps, with C the circulant nearest to ``A^H A`` in the Frobenius norm.

    Its eigenvalues are those of A^H A for each wave: the power of windows there, a small matrix of channels (T. Chan,
    SIAM J. Sci. Stat. Comput. 9, 1988; for windows it is Welch's estimate of a spectrum). A mean over windows that
    overlap by three quarters is taken for that over all.
    """

    def __init__(self, problem: Problem, op: KernelOperator, scale: float) -> None:
        self.design = Design(op, Observation())
        w = self.design.windows
        size = 4 * w.groups * prod(w.kernel) * w.channels**2 * np.dtype(np.complex128).itemsize
        memory.require_result("the circulant of windows", size, "Iterate without one, as with method='lsmr'")
        matrices = scale * _powers(w)
        if problem.regularizer is not None:
            matrices += (problem.damp**2 * self._penalty(problem))[..., None, None] * np.eye(w.channels)
        eigenvalues = np.linalg.eigvalsh(matrices)
        high, low = float(eigenvalues.max()), max(float(eigenvalues.min()), 0.0)
        self.norm = high**0.5
        self.problem = problem if problem.damp else replace(problem, damp=FLOOR * self.norm)
        ridge = self.problem.ridge**2
        if not low + ridge > high * np.finfo(float).eps:
            raise UnsupportedError("the circulant is singular", "Expected an inverse", "Use method='lsmr'")
        self._least, self.condition = low**0.5, ((high + ridge) / (low + ridge)) ** 0.5
        self._inverses = np.linalg.inv(matrices + ridge * np.eye(w.channels))
        self.method = "mean circulant of windows"

    def _penalty(self, problem: Problem) -> AnyArray:
        """Return what ``R^H R`` multiplies each wave by, as far as one tap in the middle of each kernel shows it."""
        w, regularizer = self.design.windows, problem.regularizer
        assert regularizer is not None
        signs = np.random.default_rng(0).integers(0, 2, (w.groups, self.design.filters, 1, w.channels)) * 2.0 - 1.0
        middle = tuple(k // 2 for k in w.kernel)
        taps = np.zeros((*signs.shape, *w.kernel))
        taps.reshape(*signs.shape, -1)[..., np.ravel_multi_index(middle, w.kernel)] = signs
        image = self.design.taps(regularizer.H._image(regularizer._image(self.design.kernels(taps))))
        spread = signs.reshape(*signs.shape, *(1 for _ in w.kernel))
        response = (image * spread).mean(axis=(0, 1, 2, 3))
        waves: AnyArray = np.fft.fftn(np.roll(response, [-m for m in middle], tuple(range(len(middle)))))
        return np.maximum(waves.real, 0).reshape(-1)

    def least(self) -> float:
        return self._least

    def normal(self, g: AnyArray) -> AnyArray:
        from scipy import fft

        design, w = self.design, self.design.windows
        taps = design.taps(g)
        axes = tuple(range(4, taps.ndim))
        waves = fft.fftn(taps, axes=axes).reshape(*taps.shape[:4], -1)
        # (groups, filters, R, channels, waves) and (groups, waves, channels, channels)
        waves = np.einsum("gwcd,gfrdw->gfrcw", self._inverses, waves, optimize=True)
        x = fft.ifftn(waves.reshape(*taps.shape[:4], *w.kernel), axes=axes)
        return design.kernels(x if np.iscomplexobj(g) or self.problem.dtype.kind == "c" else x.real)

    def solve(self, b: AnyArray) -> AnyArray:
        return self.normal(self.problem.adjoint(b))


def window_preconditioner(problem: Problem) -> MeanCirculant | None:
    """Return the preconditioner for a map of kernels, whose outputs may be weighted and selected; None for others."""
    *weights, op = problem.op._chain
    if not isinstance(op, KernelOperator) or 0 in op.shape or not all(link._has_lone_entries for link in weights):
        return None
    scale = 1.0
    if weights:
        weight = Product(*weights) if len(weights) > 1 else weights[0]
        scale = float(np.sum(np.abs(lone_entries(weight).values) ** 2)) / op.shape[0]
    return MeanCirculant(problem, op, scale)


def _powers(w: Windows) -> AnyArray:
    """Return the sum of the power of all windows in each wave, (groups, waves, channels, channels)."""
    total = np.zeros((w.groups, prod(w.kernel), w.channels, w.channels), complex)
    count = 0
    for windows in _sample(w):
        waves = np.fft.ifftn(windows, axes=tuple(range(3, windows.ndim)))
        waves = np.moveaxis(waves.reshape(*waves.shape[:3], -1), 3, 1)  # (groups, waves, windows, channels)
        total += waves.conj().swapaxes(2, 3) @ waves
        count += windows.shape[1]
    return total * (prod(w.kernel) * w.rows / count)


def _sample(w: Windows) -> Iterator[AnyArray]:
    """Yield some windows (groups, windows, channels, k1..kd), about as many numbers at a time as `BLOCK_BYTES`."""
    d = len(w.axes)
    spans = [(k - 1) * a.dilation + 1 for k, a in zip(w.kernel, w.axes, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(w.arrays, spans, tuple(range(3, 3 + d)))
    hops = [max(span // (DENSITY * a.stride), 1) for span, a in zip(spans, w.axes, strict=True)]
    places: list[Any] = [
        slice(0, (a.out - 1) * a.stride + 1, hop * a.stride) for hop, a in zip(hops, w.axes, strict=True)
    ]
    views = views[(..., *places, *(slice(None) for _ in spans))][every(*(a.dilation for a in w.axes))]
    views = np.moveaxis(views, 2, 2 + d)  # (groups, samples, outputs, channels, taps)
    step = max(BLOCK_BYTES // (16 * w.groups * w.columns), 1)
    indices = np.stack(np.unravel_index(np.arange(prod(views.shape[1 : 2 + d])), views.shape[1 : 2 + d]))
    for start in range(0, indices.shape[1], step):
        yield views[(slice(None), *indices[:, start : start + step])]
