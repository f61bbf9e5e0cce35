"""Filters of kernels that are solved for together: those of one matrix, and those that a regularizer joins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from convmtx.solves.methods.definite import Definite
from convmtx.solves.methods.design import Design
from convmtx.solves.problem import Problem
from convmtx.structure.double import sparse
from convmtx.typing import AnyArray, IntArray


@dataclass(frozen=True, eq=False)
class System:
    """Filters whose taps are solved for with one matrix: one after the other, or joined by a regularizer."""

    filters: IntArray
    inverse: Definite
    joined: bool

    def solve(self, g: AnyArray) -> AnyArray:
        """Return the taps (filters, R, columns) for right-hand sides of that shape."""
        count, n_rhs, columns = g.shape
        if not self.joined:
            return self.inverse.solve(g.reshape(-1, columns).T).T.reshape(g.shape)
        x = self.inverse.solve(g.swapaxes(0, 1).reshape(n_rhs, -1).T)
        return x.T.reshape(n_rhs, count, columns).swapaxes(0, 1)


def coupled_filters(design: Design, problem: Problem) -> Iterator[tuple[IntArray, Any]]:
    """Yield filters that the regularizer joins, and its sparse rows for their taps, times the damping.

    Without a regularizer a filter is alone.
    """
    from scipy.sparse import coo_array, csr_array, eye_array
    from scipy.sparse.csgraph import connected_components

    columns, count = design.windows.columns, len(design.places)
    if problem.regularizer is None:
        alone = eye_array(columns if problem.damp else 0, columns, format="csr") * problem.damp
        yield from ((np.array([filter_]), alone) for filter_ in range(count))
        return
    matrix = problem.damp * sparse(problem.regularizer)[:, design.places.reshape(-1)]
    entries = matrix.tocoo()
    # A row joins the filters whose taps it reads.
    reads = csr_array((np.ones(entries.nnz), (entries.row, entries.col // columns)), shape=(matrix.shape[0], count))
    _, labels = connected_components(coo_array(reads.T @ reads))
    for label in range(int(labels.max()) + 1):
        filters = np.flatnonzero(labels == label)
        inside = (filters[:, None] * columns + np.arange(columns)).reshape(-1)
        rows = matrix[:, inside]
        yield filters, rows[np.diff(rows.indptr) > 0]
