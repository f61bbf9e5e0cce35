"""What a map takes to zero."""

from __future__ import annotations

import numpy as np

from convmtx import memory
from convmtx.errors import UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra.certified import EPS
from convmtx.spectra.derived import PATIENT, limited
from convmtx.spectra.iterated import scaled
from convmtx.structure import Blocks, batched, decomposed
from convmtx.structure.double import dense, doubled, require_along
from convmtx.taps import channels_back, taps_of
from convmtx.typing import AnyArray


@door("null_space")
def null_space(op: LinearMap, tol: float | None = None) -> AnyArray:
    """Orthonormal arrays that a map takes to zero.

    Law: ``op`` of each has a norm of at most ``tol``, and rounding; ``len(null_space(op)) == N - rank(op)`` where
    the rank is exact.

    Parameters
    ----------
    op : LinearMap
        Any map.
    tol : float, optional
        Singular values up to it count as zero; by default as for `rank`.

    Returns
    -------
    ndarray
        ``(k, *in_shape)``, float64 or, where the map is complex, complex128.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no map, its kernel is not finite, ``tol`` is negative, or a decomposition would take too long.
    MemoryError
        Where the arrays do not fit.

    Examples
    --------
    >>> import convmtx as cm
    >>> Z = cm.null_space(cm.conv([1.0, -1.0], 4, padding="same", boundary="wrap"))
    >>> (Z / Z[0, 0]).round(12)
    array([[1., 1., 1., 1.]])
    """
    tol = limited(tol)
    subject, scale = scaled(doubled(op))
    tol = None if tol is None else tol / scale
    rows, columns = subject.shape
    found = []
    if isinstance(subject, ConvOperator):
        require_along(*subject.geometry.axes, split=True)
        taps = taps_of(subject.geometry, subject.kernel)
        found = decomposed(subject.geometry, taps, merged=False)
    work = sum(blocks.work for blocks in found) if found else float(rows) * columns * min(rows, columns)
    if work > PATIENT:
        got = f"op of {rows} x {columns}"
        raise UnsupportedError(got, "Its decomposition takes too long", "Use cm.svd(op, k, 'smallest')")
    if not found or not isinstance(subject, ConvOperator):
        return _of_matrix(dense(subject), tol).reshape(-1, *subject.in_shape)
    return _of_blocks(subject, found, tol)


def _of_matrix(matrix: AnyArray, tol: float | None) -> AnyArray:
    """Rows that a matrix takes to zero."""
    _, s, v = np.linalg.svd(matrix)
    limit = max(matrix.shape) * EPS * s.max(initial=0) if tol is None else tol
    return v[int((s > limit).sum()) :].conj()


def _of_blocks(op: ConvOperator, found: list[Blocks], tol: float | None) -> AnyArray:
    """Of each block what it takes to zero, and the inputs that nobody reads."""
    parts = [batched.shared_out(np.linalg.svd, blocks.matrices()) for blocks in found]
    largest = max(float(s.max(initial=0)) for _, s, _ in parts)
    limit = max(op.shape) * EPS * largest if tol is None else tol
    count = op.shape[1] - sum(int((s > limit).sum()) for _, s, _ in parts)
    memory.require("null space", {"null space": 16 * count * op.shape[1]}, 32 * count * op.shape[1])
    held = [_unread(op, found).astype(op.dtype)]
    for blocks, (_, s, v) in zip(found, parts, strict=True):
        kept = (s > limit).sum(axis=1)
        for block in np.flatnonzero(kept < blocks.columns):
            held.append(blocks.inputs(int(block), v[block, kept[block] :].conj().T))
    vectors = np.concatenate([each.reshape(-1, op.shape[1]) for each in held])
    if op.dtype.kind != "c" and vectors.dtype.kind == "c":  # conjugate blocks together hold real arrays
        vectors = np.linalg.svd(np.concatenate([vectors.real, vectors.imag]), full_matrices=False)[2][:count]
    return vectors.reshape(-1, *op.in_shape)


def _unread(op: ConvOperator, found: list[Blocks]) -> AnyArray:
    """A one for each input that no output reads, as far as blocks leave these out."""
    read = np.ones((1, op.geometry.in_channels, *(a.size for a in op.geometry.axes)), bool)
    for j, axis in enumerate(op.geometry.axes):
        if found[0].splits[j].table is None:
            continue
        along = np.isin(np.arange(axis.size), axis.table())
        read &= along.reshape(-1, *(1 for _ in range(j + 1, len(op.geometry.axes))))
    places = np.flatnonzero(~channels_back(op.geometry, read))
    units = np.zeros((places.size, op.shape[1]))
    units[np.arange(places.size), places] = 1
    return units
