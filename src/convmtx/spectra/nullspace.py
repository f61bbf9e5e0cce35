"""The null space of a map: all arrays that it takes to zero."""

from __future__ import annotations

import numpy as np

from convmtx import memory
from convmtx.costs import PATIENT_WORK
from convmtx.errors import UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra.operands import tolerance_of_zero
from convmtx.structure import Blocks, batched, find_blocks
from convmtx.structure.double import dense, doubled, require_along
from convmtx.structure.precision import rank_tolerance, scaled
from convmtx.taps import channels_back, taps_of
from convmtx.typing import AnyArray


@door("null_space")
def null_space(op: LinearMap, tol: float | None = None) -> AnyArray:
    """Return orthonormal arrays that a map takes to zero.

    Law: ``norm(op(z)) <= tol`` for each array z, up to rounding. ``len(null_space(op)) == N - rank(op)`` if the rank is
    exact.

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes.
    tol : float, optional
        Singular values up to this value count as zero. The default is that of `rank`.

    Returns
    -------
    ndarray
        k arrays, ``(k, *in_shape)``, in float64, or in complex128 if the map is complex.

    Raises
    ------
    UnsupportedError
        If a decomposition would take too long. This is a ValueError.
    ValueError, TypeError
        If ``op`` is not a map, its kernel is not finite, or ``tol`` is negative.
    MemoryError
        If the arrays do not fit in memory.

    Notes
    -----
    Cost: a singular value decomposition with vectors of each block, or of the dense matrix.

    Examples
    --------
    >>> import convmtx as cm
    >>> Z = cm.null_space(cm.conv([1.0, -1.0], 4, padding="same", boundary="wrap"))
    >>> (Z / Z[0, 0]).round(12)
    array([[1., 1., 1., 1.]])
    """
    tol = tolerance_of_zero(tol)
    operator, scale = scaled(doubled(op))
    tol = None if tol is None else tol / scale
    rows, columns = operator.shape
    all_blocks = []
    if isinstance(operator, ConvOperator):
        require_along(*operator.geometry.axes, split=True)
        taps = taps_of(operator.geometry, operator.kernel)
        all_blocks = find_blocks(operator.geometry, taps, merged=False)
    work = sum(blocks.work for blocks in all_blocks) if all_blocks else float(rows) * columns * min(rows, columns)
    if work > PATIENT_WORK:
        got = f"op of {rows} x {columns}"
        raise UnsupportedError(got, "Its decomposition takes too long", "Use cm.svd(op, k, 'smallest')")
    if not all_blocks or not isinstance(operator, ConvOperator):
        return _null_space_of_matrix(dense(operator), tol).reshape(-1, *operator.in_shape)
    return _null_space_of_blocks(operator, all_blocks, tol)


def _null_space_of_matrix(matrix: AnyArray, tol: float | None) -> AnyArray:
    """Return the vectors, as rows, that a matrix takes to zero."""
    _, s, v = np.linalg.svd(matrix)
    limit = rank_tolerance(matrix.shape, s.max(initial=0)) if tol is None else tol
    return v[int((s > limit).sum()) :].conj()


def _null_space_of_blocks(op: ConvOperator, all_blocks: list[Blocks], tol: float | None) -> AnyArray:
    """Return the arrays that each block takes to zero, and those of inputs that no output reads."""
    parts = [batched.shared_out(np.linalg.svd, blocks.matrices()) for blocks in all_blocks]
    largest = max(float(s.max(initial=0)) for _, s, _ in parts)
    limit = rank_tolerance(op.shape, largest) if tol is None else tol
    count = op.shape[1] - sum(int((s > limit).sum()) for _, s, _ in parts)
    memory.require("null space", {"null space": 16 * count * op.shape[1]}, 32 * count * op.shape[1])
    arrays = [_unread_inputs(op, all_blocks).astype(op.dtype)]
    for blocks, (_, s, v) in zip(all_blocks, parts, strict=True):
        kept = (s > limit).sum(axis=1)
        for block in np.flatnonzero(kept < blocks.columns):
            arrays.append(blocks.inputs(int(block), v[block, kept[block] :].conj().T))
    vectors = np.concatenate([part.reshape(-1, op.shape[1]) for part in arrays])
    if op.dtype.kind != "c" and vectors.dtype.kind == "c":  # real and imaginary parts span what conjugate blocks do
        vectors = np.linalg.svd(np.concatenate([vectors.real, vectors.imag]), full_matrices=False)[2][:count]
    return vectors.reshape(-1, *op.in_shape)


def _unread_inputs(op: ConvOperator, all_blocks: list[Blocks]) -> AnyArray:
    """Return a unit vector for each input that no output reads, unless it is in a block."""
    read = np.ones((1, op.geometry.in_channels, *(a.size for a in op.geometry.axes)), bool)
    for j, axis in enumerate(op.geometry.axes):
        if all_blocks[0].splits[j].table is None:
            continue
        along = np.isin(np.arange(axis.size), axis.table())
        read &= along.reshape(-1, *(1 for _ in range(j + 1, len(op.geometry.axes))))
    places = np.flatnonzero(~channels_back(op.geometry, read))
    units = np.zeros((places.size, op.shape[1]))
    units[np.arange(places.size), places] = 1
    return units
