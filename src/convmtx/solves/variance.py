"""Variance of each entry of a solution, the diagonal of its covariance: by structure, by unit vectors or by probes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from convmtx.solves.factors import Factors
from convmtx.solves.methods.by_blocks import BlockFactors
from convmtx.solves.methods.coefficients import BlockCoefficients, Coefficients
from convmtx.solves.methods.small_matrices import Stack
from convmtx.structure.bases import Basis, Columns, Cosines, Waves
from convmtx.structure.splits import Split
from convmtx.taps import channels_back
from convmtx.typing import AnyArray

#: Number of unknowns up to which every unit vector is solved for.
UNITS = 2000
#: Numbers of right-hand sides that are solved for at a time.
PIECE = 1 << 20


@dataclass(frozen=True, eq=False)
class Variance:
    """Variance of each entry of a solution; `Factorization.variance` returns it.

    Attributes
    ----------
    values : ndarray
        The variances, ``in_shape``.
    kind : str
        "exact", or "estimate" if the values come from random vectors.
    standard_error : ndarray
        Standard deviation of each value, ``in_shape``: 0 if exact.
    method : str
        How the values were computed.
    """

    values: AnyArray
    kind: str
    standard_error: AnyArray
    method: str

    def __repr__(self) -> str:
        return f"Variance({self.values.shape}, {self.kind}: {self.method})"


def variance_of(factors: Factors, probes: int) -> Variance:
    """Return the diagonal of ``(A^H A + damp^2 R^H R)^+`` of a prepared problem."""
    shape = factors.problem.op.in_shape
    values = _by_structure(factors)
    if values is not None:
        return Variance(values, "exact", np.zeros(shape), "squares of the vectors of fast transforms")
    if prod(shape) <= UNITS:
        return Variance(_by_units(factors), "exact", np.zeros(shape), "a solve for every unit vector")
    values, errors = _by_probes(factors, probes)
    return Variance(values, "estimate", errors, f"{probes} solves for vectors of random signs")


def _by_structure(factors: Factors) -> AnyArray | None:
    """Return the diagonal from blocks of channels, if the vectors of each axis are known one by one.

    With blocks D and products v of orthonormal vectors along axes, entry p is the sum of ``D prod(abs(v[p])**2)``.
    """
    if not isinstance(factors, BlockFactors) or len(factors.stacks) != 1:
        return None
    (coefficients,), (stack,) = factors.coefficients, factors.stacks
    splits = _splits_of(coefficients)
    if splits is None:
        return None
    geometry = coefficients.blocks.geometry  # type: ignore[attr-defined]
    values = _diagonals(stack).reshape(geometry.groups, *(split.times.size for split in splits), -1)
    for split in splits:  # the first axis of blocks becomes the last axis of positions
        values = np.tensordot(values, _squares(split.inputs, split.times.size) * split.times[:, None], ([1], [0]))
    values = values.reshape(1, -1, *values.shape[2:])
    return np.ascontiguousarray(channels_back(geometry, values)[0])


def _splits_of(coefficients: Coefficients) -> tuple[Split, ...] | None:
    """Return the splits of axes if each block has one vector of each, and all inputs are combinations of them."""
    if not isinstance(coefficients, BlockCoefficients) or not coefficients.inputs_complete:
        return None
    splits = coefficients.blocks.splits
    is_simple = (split.per_input == 1 and isinstance(split.inputs, Waves | Cosines | Columns) for split in splits)
    return splits if all(is_simple) else None


def _squares(basis: Basis, count: int) -> AnyArray:
    """Return the squares of the entries of each vector of an axis, (count, size)."""
    if isinstance(basis, Waves):
        return np.full((count, basis.held), 1 / basis.length)
    squares: AnyArray = np.abs(basis.synthesize(np.eye(count), 1)) ** 2
    return squares


def _diagonals(stack: Stack) -> AnyArray:
    """Return the diagonal of the inverse of each block, (count, columns)."""
    count, _, columns = stack.matrices.shape
    units = np.broadcast_to(np.eye(columns), (count, columns, columns))
    diagonals: AnyArray = np.einsum("jcc->jc", stack.normal(units)).real
    return diagonals


def _by_units(factors: Factors) -> AnyArray:
    shape = factors.problem.op.in_shape
    size, values = prod(shape), []
    step = max(PIECE // max(size, 1), 1)
    for first in range(0, size, step):
        units = np.eye(min(step, size - first), size, first)
        images = factors.normal(units.reshape(-1, *shape)).reshape(units.shape)
        values.append(images[np.arange(len(units)), np.arange(first, first + len(units))].real)
    return np.concatenate(values).reshape(shape) if values else np.zeros(shape)


def _by_probes(factors: Factors, probes: int) -> tuple[AnyArray, AnyArray]:
    """Return the means of ``z * (H^+ z)`` over vectors z of random signs, and their standard errors.

    Bekas, Kokiopoulou, Saad, Appl. Numer. Math. 57, 2007.
    """
    shape, rng = factors.problem.op.in_shape, np.random.default_rng(0)
    step = max(PIECE // prod(shape), 1)
    sums = np.zeros((2, *shape))
    for first in range(0, probes, step):
        z = rng.integers(0, 2, (min(step, probes - first), *shape)) * 2.0 - 1.0
        values = (z * factors.normal(z)).real
        sums += values.sum(axis=0), (values**2).sum(axis=0)
    mean = sums[0] / probes
    spread = np.maximum(sums[1] / probes - mean**2, 0.0)
    return mean, np.sqrt(spread / (probes - 1))
