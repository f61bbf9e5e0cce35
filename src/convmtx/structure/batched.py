"""Decompositions of many small matrices at once, shared out to threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import frexp, ldexp

import numpy as np

from convmtx.engines.threads import one_blas_thread, spread, threads
from convmtx.typing import AnyArray

#: ``rows * columns * min(rows, columns)`` of all below which threads are not worth starting, and pieces for each.
PARALLEL, PIECES = 2e4, 4


def singular_values(matrices: AnyArray) -> AnyArray:
    """All singular values, descending, of (count, rows, columns)."""
    if min(matrices.shape[1:]) <= 1:
        return largest(matrices)[:, None]
    return shared_out(lambda some: (np.linalg.svd(some, compute_uv=False),), matrices)[0]


def largest(matrices: AnyArray) -> AnyArray:
    """The largest singular value of each: from the smaller Gram matrix, of which it loses nothing but rounding."""
    scale = unit(matrices)
    matrices = matrices / scale
    if min(matrices.shape[1:]) <= 1:
        return np.linalg.norm(matrices, axis=(1, 2)) * scale
    (squares,) = shared_out(lambda some: (np.linalg.eigvalsh(gram(some))[:, -1],), matrices)
    return np.sqrt(np.maximum(squares, 0)) * scale


def unit(numbers: AnyArray) -> float:
    """A power of two near the largest magnitude, to divide by before anything is squared; 1 where all are zero.

    It is no less than the smallest normal number: dividing by that is still multiplying by a finite number.
    """
    parts = (numbers.real, numbers.imag) if numbers.dtype.kind == "c" else (numbers,)
    # Two passes that write nothing are faster than one that writes magnitudes, which may overflow.
    peak = float(max(max(part.max(initial=0), -part.min(initial=0)) for part in parts))
    return max(ldexp(0.5, frexp(peak)[1]), float(np.finfo(float).tiny)) if peak else 1.0


def gram(matrices: AnyArray) -> AnyArray:
    """``M^H M`` or ``M M^H``, whichever is smaller."""
    adjoint = matrices.conj().swapaxes(1, 2)
    product: AnyArray = adjoint @ matrices if matrices.shape[1] > matrices.shape[2] else matrices @ adjoint
    return product


def shared_out(function: Callable[[AnyArray], tuple[AnyArray, ...]], matrices: AnyArray) -> tuple[AnyArray, ...]:
    """A function of (count, rows, columns) that gives arrays of as many entries, on pieces of them in threads."""
    count, rows, columns = matrices.shape
    work = count * rows * columns * min(rows, columns)
    if count < 2 or work < PARALLEL:
        return function(matrices)
    size = -(-count // min(count, PIECES * threads()))
    pieces = [slice(first, first + size) for first in range(0, count, size)]
    found: dict[int, tuple[AnyArray, ...]] = {}

    def share(some: Iterable[slice]) -> None:
        for piece in some:
            found[piece.start] = function(matrices[piece])

    with one_blas_thread():
        spread(share, pieces, parallel=True)
    return tuple(map(np.concatenate, zip(*(found[piece.start] for piece in pieces), strict=True)))
