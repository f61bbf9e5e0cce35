"""The null space of a map: all arrays that it takes to zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convmtx import memory
from convmtx.costs import PATIENT_WORK
from convmtx.errors import UnsupportedError, door
from convmtx.geometry import count_reads
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra.operands import parts_of, tolerance_of_zero
from convmtx.structure import Blocks, batched, choose_decomposition, find_blocks
from convmtx.structure.double import dense, doubled, lone_entries, require_along, size_of_multiple, without_permutations
from convmtx.structure.precision import rank_tolerance, scaled
from convmtx.taps import channels_back, taps_of
from convmtx.typing import AnyArray, IntArray


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
    Cost: a singular value decomposition with vectors of each block, or of the dense matrix. The null space of
    `block_diag` and of `kron` comes from those of their parts, and that of a diagonal map or a selection from its
    entries.

    Examples
    --------
    >>> import convmtx as cm
    >>> Z = cm.null_space(cm.conv([1.0, -1.0], 4, padding="same", boundary="wrap"))
    >>> (Z / Z[0, 0]).round(12)
    array([[1., 1., 1., 1.]])
    """
    tol = tolerance_of_zero(tol)
    operator, scale = scaled(doubled(op))
    vectors = _null_space(operator, None if tol is None else tol / scale)
    dtype = np.result_type(operator.dtype, vectors)
    return vectors.astype(dtype, copy=False).reshape(len(vectors), *operator.in_shape)


def _null_space(op: LinearMap, tol: float | None) -> AnyArray:
    """Return the null space of a scaled map, by its parts if it has some."""
    if isinstance(op, ConvOperator):
        require_along(*op.geometry.axes, split=True)
        all_blocks = find_blocks(op.geometry, taps_of(op.geometry, op.kernel), merged=False)
        if all_blocks:
            _require_quick(op, sum(blocks.work for blocks in all_blocks))
            return _null_space_of_blocks(op, all_blocks, tol)
    before, core, after = without_permutations(op)
    if before or after:
        vectors = _null_space(core, tol)
        vectors = vectors.reshape(len(vectors), *core.in_shape)
        for permutation in after:
            vectors = permutation.H(vectors)
        return vectors
    parts, is_product = parts_of(op)
    ridge = max((size_of_multiple(part) or 0.0 for part in op._stack), default=0.0) if len(op._stack) > 1 else 0.0
    if not (op._has_lone_entries or len(parts) > 1 or ridge):
        rows, columns = op.shape
        _require_quick(op, float(rows) * columns * min(rows, columns))
        return _null_space_of_matrix(dense(op), tol)
    if tol is None:
        tol = rank_tolerance(op.shape, choose_decomposition(op).largest())
    if ridge:  # no singular value is smaller
        return _null_space_of_matrix(dense(op), tol) if ridge <= tol else np.zeros((0, op.shape[1]))
    if op._has_lone_entries:
        rest = np.ones(op.shape[1], bool)
        entries = lone_entries(op)
        rest[entries.columns[np.abs(entries.values) > tol]] = False
        return _units(np.flatnonzero(rest), op.shape[1])
    return _null_space_of_product(op, parts, tol) if is_product else _null_space_of_summands(op, parts, tol)


def _require_quick(op: LinearMap, work: float) -> None:
    """Refuse a decomposition that takes too long."""
    if work > PATIENT_WORK:
        got = f"op of {op.shape[0]} x {op.shape[1]}"
        raise UnsupportedError(got, "Its decomposition takes too long", "Use cm.svd(op, k, 'smallest')")


def _units(places: IntArray, size: int) -> AnyArray:
    """Return a unit vector for each place, (count, size)."""
    memory.require("null space", {"null space": 8 * places.size * size}, 16 * places.size * size)
    units = np.zeros((places.size, size))
    units[np.arange(places.size), places] = 1
    return units


def _null_space_of_summands(op: LinearMap, parts: Sequence[LinearMap], tol: float) -> AnyArray:
    """Return the arrays that the maps on the diagonal take to zero, each with zeros for the others."""
    by_part = [_null_space(part, tol) for part in parts]
    count = sum(map(len, by_part))
    memory.require("null space", {"null space": 16 * count * op.shape[1]}, 32 * count * op.shape[1])
    vectors = np.zeros((count, op.shape[1]), np.result_type(*by_part))
    row = column = 0
    for part, own in zip(parts, by_part, strict=True):
        rows, columns = len(own), part.shape[1]
        vectors[row : row + rows, column : column + columns] = own.reshape(rows, columns)
        row, column = row + rows, column + columns
    return vectors


def _null_space_of_product(op: LinearMap, parts: Sequence[LinearMap], tol: float) -> AnyArray:
    """Return the products of right singular vectors whose singular values have a product of at most ``tol``."""
    values, vectors = [], []
    for part in parts:
        _require_quick(part, float(max(part.shape)) ** 2 * min(part.shape))
        _, s, v = np.linalg.svd(dense(part))
        values.append(np.pad(s, (0, len(v) - len(s))))
        vectors.append(v.conj())
    first, second = np.nonzero(np.multiply.outer(*values) <= tol)
    memory.require("null space", {"null space": 16 * first.size * op.shape[1]}, 32 * first.size * op.shape[1])
    return np.einsum("ki,kj->kij", vectors[0][first], vectors[1][second]).reshape(first.size, op.shape[1])


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
        if all_blocks[0].splits[j].part is None:
            continue
        along = count_reads(axis) > 0
        read &= along.reshape(-1, *(1 for _ in range(j + 1, len(op.geometry.axes))))
    return _units(np.flatnonzero(~channels_back(op.geometry, read)), op.shape[1])
