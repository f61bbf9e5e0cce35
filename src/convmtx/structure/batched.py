"""Decompositions of many small matrices at once, in several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from convmtx.costs import PARALLEL_WORK
from convmtx.engines.threads import one_blas_thread, spread, threads
from convmtx.structure.precision import unit
from convmtx.typing import AnyArray

#: Pieces of work for each thread: more than one, so that a thread that is done early takes over from others.
PIECES = 4


def singular_values(matrices: AnyArray) -> AnyArray:
    """Return all singular values, descending, of matrices (count, rows, columns)."""
    if min(matrices.shape[1:]) <= 1:
        return largest(matrices)[:, None]
    return shared_out(lambda piece: (np.linalg.svd(piece, compute_uv=False),), matrices)[0]


def largest(matrices: AnyArray) -> AnyArray:
    """Return the largest singular value of each matrix.

    It is the root of the largest eigenvalue of the smaller Gram matrix. Unlike small ones, the largest loses no digits
    there.
    """
    scale = unit(matrices)
    matrices = matrices / scale
    if min(matrices.shape[1:]) <= 1:
        return np.linalg.norm(matrices, axis=(1, 2)) * scale
    (squares,) = shared_out(lambda piece: (np.linalg.eigvalsh(gram(piece))[:, -1],), matrices)
    return np.sqrt(np.maximum(squares, 0)) * scale


def gram(matrices: AnyArray) -> AnyArray:
    """Return the Gram matrices ``M^H M`` or ``M M^H``, whichever are smaller."""
    adjoint = matrices.conj().swapaxes(1, 2)
    product: AnyArray = adjoint @ matrices if matrices.shape[1] > matrices.shape[2] else matrices @ adjoint
    return product


def shared_out(function: Callable[[AnyArray], tuple[AnyArray, ...]], matrices: AnyArray) -> tuple[AnyArray, ...]:
    """Return what a function of matrices (count, rows, columns) returns, computed on pieces of them in threads.

    The function returns arrays whose first axis counts the matrices.
    """
    count, rows, columns = matrices.shape
    work = count * rows * columns * min(rows, columns)
    if count < 2 or work < PARALLEL_WORK:
        return function(matrices)
    size = -(-count // min(count, PIECES * threads()))
    pieces = [slice(first, first + size) for first in range(0, count, size)]
    results: dict[int, tuple[AnyArray, ...]] = {}

    def work_on(own: Iterable[slice]) -> None:
        for piece in own:
            results[piece.start] = function(matrices[piece])

    with one_blas_thread():
        spread(work_on, pieces, parallel=True)
    return tuple(map(np.concatenate, zip(*(results[piece.start] for piece in pieces), strict=True)))
