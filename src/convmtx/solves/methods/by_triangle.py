"""Kernels by QR factors of their windows, for any condition: a triangle takes in one block of rows after another."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from convmtx import memory
from convmtx.solves.methods.design import Design
from convmtx.solves.methods.systems import coupled_filters
from convmtx.solves.problem import Problem
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray, IntArray


def require_room(design: Design, problem: Problem) -> None:
    """Refuse windows whose triangles do not fit in memory."""
    w, size = design.windows, problem.dtype.itemsize
    blocks = w.blocks()
    bytes_of_block = (blocks[0][1].stop - blocks[0][1].start) * prod(w.outs[1:]) * w.columns * size
    joined = 1 if problem.regularizer is None else design.filters * w.groups
    needed = 3 * (bytes_of_block + size * (joined * w.columns) ** 2)
    remedy = "Fit fewer taps, or iterate: cm.solve(cm.kernel_operator(x, kernel_shape), y)"
    memory.require_result(f"factorizing windows of {w.columns} taps", needed, remedy)


class TriangleFactors:
    """Singular values of ``[S A; damp R]`` by its triangles, and the shortest solution for one right-hand side."""

    def __init__(self, problem: Problem, design: Design, target: AnyArray) -> None:
        """Factorize for observed outputs (groups, filters, 1, samples, o1..od)."""
        require_room(design, problem)
        self.problem, self.design = problem, design
        self.taps = np.zeros((design.windows.groups, design.filters, 1, design.windows.columns), problem.dtype)
        self.taps = self.taps.astype(np.result_type(self.taps, target), copy=False)
        flat = self.taps.reshape(-1, design.windows.columns)
        #: Filters that are solved for together, with the right singular vectors that count, and their values.
        self.systems: list[tuple[IntArray, AnyArray, AnyArray]] = []
        for filters, matrix, right, largest in self._stacked(target):
            u, s, vh = np.linalg.svd(matrix, full_matrices=False)
            rows = max(design.windows.rows, matrix.shape[1])
            kept = s > rows * EPS * max(float(s.max(initial=0.0)), largest)
            vectors = vh[kept].conj().T
            self.systems.append((filters, vectors, s[kept]))
            x = vectors @ ((u[:, kept].conj().T @ right) / s[kept][:, None])
            flat[filters] = x.T.reshape(len(filters), -1)
        self.is_full = all(vectors.shape[0] == vectors.shape[1] for _, vectors, _ in self.systems)

    @property
    def solution(self) -> AnyArray:
        """The kernel, (1, *kernel_shape)."""
        w = self.design.windows
        return self.design.kernels(self.taps.reshape(w.groups, -1, 1, w.channels, *w.kernel))

    def _stacked(self, target: AnyArray) -> Iterator[tuple[IntArray, AnyArray, AnyArray, float]]:
        """Yield filters, their matrix, right-hand sides, and the norm of what was projected out of the matrix."""
        design, problem = self.design, self.problem
        columns, filters = design.windows.columns, design.filters
        every = np.arange(design.windows.groups * filters)
        if problem.regularizer is None and design.observation.is_shared:
            for group in range(design.windows.groups):
                some = every[group * filters : (group + 1) * filters]
                triangle, right, size = self._triangle(group, 0, target[group])
                ridge = np.eye(columns) * problem.damp if problem.damp else np.zeros((0, columns))
                below = np.zeros((len(ridge), right.shape[1]))
                yield some, np.concatenate([triangle, ridge]), np.concatenate([right, below]), size
            return
        for some, penalty in coupled_filters(design, problem):
            parts = [
                self._triangle(f // filters, f % filters, target[f // filters, f % filters][None])
                for f in map(int, some)
            ]
            heights = np.cumsum([0, *(len(triangle) for triangle, _, _ in parts)])
            matrix = np.zeros((heights[-1] + penalty.shape[0], len(some) * columns), problem.dtype)
            for j, (triangle, _, _) in enumerate(parts):
                matrix[heights[j] : heights[j + 1], j * columns : (j + 1) * columns] = triangle
            matrix[heights[-1] :] = penalty.toarray()
            right = np.concatenate([*(right for _, right, _ in parts), np.zeros((penalty.shape[0], 1))])
            yield some, matrix, right, max(size for _, _, size in parts)

    def _triangle(self, group: int, filter_: int, target: AnyArray) -> tuple[AnyArray, AnyArray, float]:
        """Return the triangle R of a filter's windows, ``Q^H`` times the targets of some filters, and a norm.

        The triangle of the windows so far stands for all of them: R^H R is the sum of W^H W over their blocks W. So the
        triangle of [R; W] takes in the next block.
        """
        design = self.design
        windows, size = design.windows.of_group(group), 0.0
        root, basis = design.observation.of_filter(group, filter_)
        projected = design.projected(group, filter_)
        if basis is not None and projected is not None:
            basis = basis.reshape(windows.samples, *windows.outs, -1)
            size = float(np.linalg.norm(projected))
        columns = windows.columns
        triangle = np.zeros((0, columns + len(target)), np.result_type(target, windows.arrays))
        for sample, block in windows.blocks():
            (rows,) = windows.at(block, 0, windows.kernel, slice(sample, sample + 1))
            if root is not None:
                rows = rows * root[sample, block].reshape(-1, 1)
            if basis is not None and projected is not None:
                rows = rows - basis[sample, block].reshape(-1, basis.shape[-1]) @ projected
            right = target[:, 0, sample, block].reshape(len(target), -1).T
            joined = np.concatenate([triangle, np.concatenate([rows, right], axis=1)])
            triangle = np.asarray(np.linalg.qr(joined, mode="r"))
        return triangle[:, :columns], triangle[:, columns:], size

    def _apply(self, g: AnyArray, power: int) -> AnyArray:
        """Return ``H^+ g`` of kernels (m, *kernel_shape) for power -2, and what the map sees of them for power 0."""
        taps = self.design.taps(g)
        flat = taps.reshape(-1, len(g), self.design.windows.columns)
        x = np.zeros(flat.shape, np.result_type(flat, self.problem.dtype))
        for filters, vectors, s in self.systems:
            count = vectors.shape[0] // flat.shape[2]  # of filters that are joined
            for some in filters.reshape(-1, count):
                inside = flat[some].swapaxes(0, 1).reshape(len(g), -1).T
                result = vectors @ ((vectors.conj().T @ inside) * (s**power)[:, None])
                x[some] = result.T.reshape(len(g), count, -1).swapaxes(0, 1)
        return self.design.kernels(x.reshape(taps.shape))

    def normal(self, g: AnyArray) -> AnyArray:
        """Return ``H^+ g``."""
        return self._apply(g, -2)

    def unseen(self, g: AnyArray) -> AnyArray:
        """Return what of g lies in the null space."""
        return g - self._apply(g, 0)

    def image(self, g: AnyArray) -> AnyArray:
        """Return ``S A H^+ g``."""
        return self.design.joined(self.design.forward(self.design.taps(self.normal(g))))
