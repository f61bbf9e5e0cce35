"""Eigenvalues of square maps, and how far rounding can have moved them."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from convmtx import memory
from convmtx.boundary import REFLECT
from convmtx.errors import ArgumentError, UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra import rounding
from convmtx.spectra.certified import EPS, HALF, Certified, Kind, times
from convmtx.spectra.derived import PATIENT
from convmtx.spectra.iterated import scaled
from convmtx.spectra.similar import Similar, balanced
from convmtx.spectra.square import square
from convmtx.structure import Blocks, Split
from convmtx.structure.bases import Positions
from convmtx.structure.double import dense, require_along
from convmtx.structure.splits import centred, mirrored, splits, whole_sample
from convmtx.taps import taps_of
from convmtx.typing import AnyArray


@door("eigvals")
def eigvals(op: LinearMap) -> Certified:
    """Eigenvalues of a map from arrays of a shape to arrays of the same shape, by descending magnitude.

    Parameters
    ----------
    op : LinearMap
        A map with ``op.in_shape == op.out_shape``.

    Returns
    -------
    Certified
        (N,), float64 where the map is Hermitian, else complex128. In some order, each lower and upper end have a true
        eigenvalue between them. ``exact`` where they agree in half of all digits of the norm: where blocks are normal,
        as of one channel, or not far from it. Else ``interval``, or ``estimate`` where rounding can move eigenvalues by
        the norm itself.

    Raises
    ------
    UnsupportedError
        Where no structure is of use and the map is too large for a dense decomposition. A ValueError.
    ValueError, TypeError
        Where the shapes differ, or the kernel is not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Notes
    -----
    The eigenvalues are those of a similar map in which the taps of both sides of an output are in balance
    (``convmtx.spectra.similar``): of a map that reads only what lies before (or behind) each output, those are the
    eigenvalues of the diagonal. They are found from blocks whose bases are the same before and after (wrap, symmetric
    and reflect boundary with a kernel that is its own mirror image, 3 taps under the zero boundary, sub-lattices), or
    dense. Eigenvalues of maps far from normal say little of how they act: see `svdvals`.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.eigvals(cm.conv([1.0, 2.0, 1.0], 4, padding="same", boundary="wrap"))[:].round(6)
    array([4., 2., 2., 0.])
    """
    subject = square(op)
    if subject.in_shape != subject.out_shape:
        got = f"op goes from {subject.in_shape} to {subject.out_shape}"
        raise ArgumentError(got, "Wanted equal shapes", "Use padding='same' and equal channels")
    memory.require("eigenvalues", {"eigenvalues": 16 * subject.shape[0]}, 2 * 16 * subject.shape[0])
    subject, scale = scaled(subject)
    if isinstance(subject, ConvOperator):
        require_along(*subject.geometry.axes, split=True)
    similar = balanced(subject)
    found = _of_blocks(similar)
    return times(_of_matrix(similar) if found is None else found, scale)


def _of_matrix(similar: Similar) -> Certified:
    op = similar.op
    if float(op.shape[0]) ** 3 > PATIENT:
        got = f"a matrix of {op.shape[0]} rows without structure"
        wanted = "Dense eigenvalues of that size take too long"
        raise UnsupportedError(got, wanted, "Use scipy.sparse.linalg.eigs(op, k), which takes op as it is")
    size = rounding.size_of(op)
    error = EPS * rounding.of_matrix(op) * size + similar.slack
    return _sorted([_eigenvalues(dense(op)[None], error, np.ones(1, int))], size, "dense")


def _of_blocks(similar: Similar) -> Certified | None:
    """From blocks whose outputs and inputs have the same basis, if all have; what is in none of them is zero."""
    op = similar.op
    if not isinstance(op, ConvOperator):
        return None
    geometry = op.geometry
    taps = taps_of(geometry, op.kernel)
    axes: list[tuple[Split, ...]] = []
    for j, axis in enumerate(geometry.axes):
        even = mirrored(taps, j)
        if even and axis.boundary is REFLECT and centred(axis):
            axes.append((whole_sample(axis),))
        else:
            axes.append(splits(axis, even))
        if not all(_same_basis(split) for split in axes[-1]):
            return None
    blocks = [Blocks(geometry, taps, chosen) for chosen in product(*axes)]
    if sum(some.work for some in blocks) > PATIENT:
        return None
    size = rounding.magnitude(geometry, taps)
    parts = []
    for some in blocks:
        error = 0.0 if similar.triangular else EPS * rounding.of_entries(some) * size
        parts.append(_eigenvalues(some.matrices(), error + similar.slack, some.times))
    rest = geometry.shape[0] - sum(part.values.size for part in parts)
    parts.append(_Part(np.zeros(rest), np.zeros(rest)))
    method = "block triangular" if similar.triangular else f"blocks ({blocks[0].rule if blocks else 'none'})"
    return _sorted(parts, size, method)


def _same_basis(split: Split) -> bool:
    """Whether a block's outputs and inputs are numbers of the same vectors."""
    if split.per_output != split.per_input:
        return False
    outputs, inputs = split.outputs, split.inputs
    if isinstance(outputs, Positions) and isinstance(inputs, Positions):
        return np.array_equal(outputs.chosen, inputs.chosen)
    return True


class _Part(NamedTuple):
    """Eigenvalues, and how far from each a true one can be."""

    values: AnyArray
    slack: AnyArray


def _eigenvalues(matrices: AnyArray, error: float, often: AnyArray) -> _Part:
    """All eigenvalues of blocks (count, r, r) whose error is below ``error`` in norm; real where all are Hermitian."""
    side = matrices.shape[1]
    size = float(np.linalg.norm(matrices, axis=(1, 2)).max(initial=0))
    near = error + EPS * rounding.of_decomposition(side, side) * size
    mean = np.trace(matrices, axis1=1, axis2=2)[:, None, None] / side * np.eye(side)
    if side == 1:
        values, beside = matrices[:, :, 0], float(np.abs(matrices.imag).max(initial=0))
        values = values.real if beside <= 64 * error else values
        slack = np.full(values.shape, error + (0.0 if np.iscomplexobj(values) else beside))
    elif (apart := _apart(matrices, 1)) <= 64 * near:
        values, slack = np.linalg.eigvalsh(matrices), np.full(matrices.shape[:2], near + apart)
    elif (apart := _apart(matrices - mean, -1)) <= 64 * near:
        values = mean[:, 0, :1] + 1j * np.linalg.eigvalsh(-1j * (matrices - mean))
        slack = np.full(matrices.shape[:2], near + apart)
    else:
        values, vectors = np.linalg.eig(matrices)
        slack = np.broadcast_to(_perturbed(matrices, values, vectors, error)[:, None], values.shape)
    return _Part(np.repeat(values, often, axis=0).reshape(-1), np.repeat(slack, often, axis=0).reshape(-1))


def _apart(matrices: AnyArray, sign: int) -> float:
    """How far blocks are from equal, or from opposite, to their adjoints."""
    return float(np.linalg.norm(matrices - sign * matrices.conj().swapaxes(1, 2), axis=(1, 2)).max(initial=0))


def _perturbed(matrices: AnyArray, values: AnyArray, vectors: AnyArray, error: float) -> AnyArray:
    """How far eigenvalues can be from those that were computed, block by block.

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
        return np.where(least > 0, (2 * side - 1) * residuals / np.maximum(least, np.finfo(float).tiny), np.inf)


def _sorted(parts: list[_Part], size: float, method: str) -> Certified:
    """Eigenvalues by descending magnitude, of a map of norm ``size`` at most."""
    values, slack = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(-np.abs(values), kind="stable")
    values, slack = values[order], slack[order]
    worst = float(slack.max(initial=0))
    kind: Kind = "exact" if worst <= HALF * size else "interval" if worst < size else "estimate"
    slack = np.minimum(slack, 2 * size)  # no eigenvalue is larger than the norm
    around = slack * (1 + 1j) if np.iscomplexobj(values) else slack
    return Certified(values, kind, method, values - around, values + around)
