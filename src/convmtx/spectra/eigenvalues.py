"""Eigenvalues of square maps, and bounds of how far rounding can have moved them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from convmtx import memory
from convmtx.boundary import REFLECT
from convmtx.costs import PATIENT_WORK
from convmtx.errors import ArgumentError, UnsupportedError, door
from convmtx.geometry import Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra.certified import HALF, Certified, Kind, times
from convmtx.spectra.operands import parts_of, square
from convmtx.spectra.similar import Similar, balance
from convmtx.structure import Blocks, Split, rounding
from convmtx.structure.bases import Positions
from convmtx.structure.double import dense, lone_entries, require_along
from convmtx.structure.precision import EPS, TINY, scaled
from convmtx.structure.splits import is_centred, is_mirrored, splits, whole_sample
from convmtx.taps import taps_of
from convmtx.typing import AnyArray


@door("eigvals")
def eigvals(op: LinearMap) -> Certified:
    """Return the eigenvalues of a map between arrays of one shape, by descending magnitude.

    Law: they are ``numpy.linalg.eigvals(op.to_dense())``, in another order.

    Parameters
    ----------
    op : LinearMap
        A map with ``op.in_shape == op.out_shape``, or what `aslinearmap` takes.

    Returns
    -------
    Certified
        Values (N,), float64 if the map is Hermitian, else complex128. The true eigenvalues, in some order, lie between
        the lower and upper ends. ``exact`` if rounding can move no eigenvalue by more than sqrt(eps) times a bound of
        the norm. This is so if blocks are normal (with one channel, for example) or not far from it. Else ``interval``,
        or ``estimate`` if rounding can move eigenvalues by the norm itself.

    Raises
    ------
    UnsupportedError
        If the map has no structure and is too large for a dense decomposition. This is a ValueError.
    ValueError, TypeError
        If the shapes differ, or the kernel is not finite.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    The eigenvalues are computed for a similar map ``D A D^-1``, which has the same eigenvalues. In this map, the taps
    before and after an output have similar magnitudes (``convmtx.spectra.similar``). If no output reads an input after
    its own position, or if none reads one before it, only the taps at the output's own position matter. The eigenvalues
    come from blocks that have the same basis for outputs and inputs (wrap; symmetric and reflect with a kernel that is
    its own mirror image; 3 taps under the zero boundary; sub-lattices), or from the dense matrix. Those of `block_diag`
    and `kron` of square maps come from the parts. Eigenvalues of maps far from normal say little about how the map
    acts: see `svdvals`.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.eigvals(cm.conv([1.0, 2.0, 1.0], 4, padding="same", boundary="wrap"))[:].round(6)
    array([4., 2., 2., 0.])
    """
    operator = square(op)
    if operator.in_shape != operator.out_shape:
        got = f"op goes from {operator.in_shape} to {operator.out_shape}"
        raise ArgumentError(got, "Expected equal shapes", "Use padding='same' and equal channels")
    memory.require("eigenvalues", {"eigenvalues": 16 * operator.shape[0]}, 2 * 16 * operator.shape[0])
    operator, scale = scaled(operator)
    parts, size, method = _decompose(operator)
    return times(_sort(parts, size, method), scale)


#: Eigenvalues in parts, a bound of the norm of the map, and words that name the method.
_Eigenvalues = tuple[list["_EigenPart"], float, str]


def _decompose(op: LinearMap) -> _Eigenvalues:
    """Return the eigenvalues of a square map by the maps that it is made of, by blocks, or by the dense matrix."""
    parts, is_product = parts_of(op)
    if len(parts) > 1 and all(part.in_shape == part.out_shape for part in parts):
        return _multiply_parts(parts) if is_product else _join_parts(parts)
    if op._has_lone_entries:
        entries = lone_entries(op)
        if np.array_equal(entries.rows, entries.columns):
            size = rounding.size_of(op)
            values = np.pad(entries.values, (0, op.shape[0] - entries.values.size))
            return [_EigenPart(values, np.full(values.shape, rounding.of_entry(op, size)))], size, "entries"
    if isinstance(op, ConvOperator):
        require_along(*op.geometry.axes, split=True)
    similar = balance(op)
    by_blocks = _decompose_blocks(similar)
    return _decompose_matrix(similar) if by_blocks is None else by_blocks


def _join_parts(parts: Sequence[LinearMap]) -> _Eigenvalues:
    """Return the eigenvalues of all maps on the diagonal."""
    decomposed = [_decompose(part) for part in parts]
    eigen = [part for own, _, _ in decomposed for part in own]
    methods = dict.fromkeys(method for _, _, method in decomposed)
    return eigen, max(size for _, size, _ in decomposed), f"maps on the diagonal: {', '.join(methods)}"


def _multiply_parts(parts: Sequence[LinearMap]) -> _Eigenvalues:
    """Return the products of the eigenvalues of Kronecker factors."""
    (first, size, method), (second, other_size, other_method) = (_decompose(part) for part in parts)
    a, b = _joined(first), _joined(second)
    values = np.multiply.outer(a.values, b.values)
    slack = np.multiply.outer(np.abs(a.values) + a.slack, b.slack) + np.multiply.outer(a.slack, np.abs(b.values))
    slack = slack + 2 * EPS * np.abs(values)
    product_ = _EigenPart(values.reshape(-1), slack.reshape(-1))
    return [product_], size * other_size, f"Kronecker product of {method} and {other_method}"


def _joined(parts: Sequence[_EigenPart]) -> _EigenPart:
    """Return eigenvalues of some parts in one."""
    return _EigenPart(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "slack")))


def _decompose_matrix(similar: Similar) -> _Eigenvalues:
    """Return the eigenvalues of the dense matrix."""
    op = similar.op
    if float(op.shape[0]) ** 3 > PATIENT_WORK:
        got = f"a matrix of {op.shape[0]} rows without structure"
        expected = "Dense eigenvalues of that size take too long"
        raise UnsupportedError(got, expected, "Use scipy.sparse.linalg.eigs(op, k), which takes op as it is")
    size = rounding.size_of(op)
    error = EPS * rounding.of_matrix(op) * size + similar.slack
    return [_eigenvalues(dense(op)[None], error, np.ones(1, int))], size, "dense"


def _decompose_blocks(similar: Similar) -> _Eigenvalues | None:
    """Return the eigenvalues of blocks, and zeros for what no block covers.

    Return None if the outputs and inputs of some block have different bases, or if the blocks are too large.
    """
    op = similar.op
    if not isinstance(op, ConvOperator):
        return None
    geometry = op.geometry
    taps = taps_of(geometry, op.kernel)
    all_blocks = _split_in_one_basis(geometry, taps)
    if all_blocks is None or sum(blocks.work for blocks in all_blocks) > PATIENT_WORK:
        return None
    size = rounding.magnitude(geometry, taps)
    parts = []
    for blocks in all_blocks:
        error = 0.0 if similar.triangular else EPS * rounding.of_entries(blocks) * size
        parts.append(_eigenvalues(blocks.matrices(), error + similar.slack, blocks.times))
    rest = geometry.shape[0] - sum(part.values.size for part in parts)
    parts.append(_EigenPart(np.zeros(rest), np.zeros(rest)))
    method = "block triangular" if similar.triangular else f"blocks ({all_blocks[0].rule if all_blocks else 'none'})"
    return parts, size, method


def _split_in_one_basis(geometry: Geometry, taps: AnyArray) -> list[Blocks] | None:
    """Return the map as blocks that have one basis for outputs and inputs, or None if some block has two."""
    by_axis: list[tuple[Split, ...]] = []
    for j, axis in enumerate(geometry.axes):
        even = is_mirrored(taps, j)
        reflects = even and axis.boundary is REFLECT and is_centred(axis)
        by_axis.append((whole_sample(axis),) if reflects else splits(axis, even))
        if not all(_has_one_basis(split) for split in by_axis[-1]):
            return None
    return [Blocks(geometry, taps, chosen) for chosen in product(*by_axis)]


def _has_one_basis(split: Split) -> bool:
    """Whether a block's outputs and inputs are coefficients of the same vectors."""
    if split.per_output != split.per_input:
        return False
    outputs, inputs = split.outputs, split.inputs
    if isinstance(outputs, Positions) and isinstance(inputs, Positions):
        return np.array_equal(outputs.chosen, inputs.chosen)
    return True


@dataclass(frozen=True, eq=False)
class _EigenPart:
    """Eigenvalues, and how far from each a true one can be."""

    values: AnyArray
    slack: AnyArray


def _eigenvalues(matrices: AnyArray, error: float, times: AnyArray) -> _EigenPart:
    """Return all eigenvalues of blocks (count, r, r) whose error is below ``error`` in norm.

    They are real if all blocks are Hermitian to rounding. If all are a multiple of the identity plus a matrix that is
    opposite to its adjoint, its eigenvalues are imaginary and as certain as those of a Hermitian one.
    """
    side = matrices.shape[1]
    size = float(np.linalg.norm(matrices, axis=(1, 2)).max(initial=0))
    near = error + EPS * rounding.of_decomposition(side, side) * size
    mean = np.trace(matrices, axis1=1, axis2=2)[:, None, None] / side * np.eye(side)
    if side == 1:
        values, beside = matrices[:, :, 0], float(np.abs(matrices.imag).max(initial=0))
        values = values.real if beside <= 64 * error else values
        slack = np.full(values.shape, error + (0.0 if np.iscomplexobj(values) else beside))
    elif (apart := _distance(matrices, 1)) <= 64 * near:
        values, slack = np.linalg.eigvalsh(matrices), np.full(matrices.shape[:2], near + apart)
    elif (apart := _distance(matrices - mean, -1)) <= 64 * near:
        values = mean[:, 0, :1] + 1j * np.linalg.eigvalsh(-1j * (matrices - mean))
        slack = np.full(matrices.shape[:2], near + apart)
    else:
        values, vectors = np.linalg.eig(matrices)
        slack = np.broadcast_to(_bauer_fike(matrices, values, vectors, error)[:, None], values.shape)
    return _EigenPart(np.repeat(values, times, axis=0).reshape(-1), np.repeat(slack, times, axis=0).reshape(-1))


def _distance(matrices: AnyArray, sign: int) -> float:
    """Return the largest distance of a block to its adjoint, or with sign -1 to the negative of it."""
    return float(np.linalg.norm(matrices - sign * matrices.conj().swapaxes(1, 2), axis=(1, 2)).max(initial=0))


def _bauer_fike(matrices: AnyArray, values: AnyArray, vectors: AnyArray, error: float) -> AnyArray:
    """Return how far true eigenvalues can be from computed ones, block by block.

    With the residual ``R = B V - V D``, B has the eigenvalues of ``D + V^-1 R``, and the discs around those of D with
    radius ``|V^-1| |R|`` hold as many of them as are joined (Bauer, Fike, Numer. Math. 2, 1960).
    """
    side = matrices.shape[1]
    sizes = np.linalg.svd(vectors, compute_uv=False)
    least = sizes[:, -1] - EPS * rounding.of_decomposition(side, side) * sizes[:, 0]
    norms = np.linalg.norm(matrices, axis=(1, 2))
    residuals = np.linalg.norm(matrices @ vectors - vectors * values[:, None, :], axis=(1, 2))
    residuals += (error + EPS * (2 * side + 4) * norms) * sizes[:, 0] * np.sqrt(side)
    with np.errstate(divide="ignore"):
        return np.where(least > 0, (2 * side - 1) * residuals / np.maximum(least, TINY), np.inf)


def _sort(parts: list[_EigenPart], size: float, method: str) -> Certified:
    """Return eigenvalues by descending magnitude, of a map whose norm is at most ``size``."""
    joined = _joined(parts)
    values, slack = joined.values, joined.slack
    order = np.argsort(-np.abs(values), kind="stable")
    values, slack = values[order], slack[order]
    worst = float(slack.max(initial=0))
    kind: Kind = "exact" if worst <= HALF * size else "interval" if worst < size else "estimate"
    slack = np.minimum(slack, 2 * size)  # no eigenvalue is larger than the norm
    around = slack * (1 + 1j) if np.iscomplexobj(values) else slack
    return Certified(values, kind, method, values - around, values + around)
