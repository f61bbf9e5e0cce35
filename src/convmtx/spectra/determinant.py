"""Determinant and trace of square maps."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from convmtx.costs import PATIENT_WORK, SPARSE_LU_WORK
from convmtx.errors import UnsupportedError, door
from convmtx.geometry import count_own
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra import entrywise
from convmtx.spectra.certified import Certified, Kind, enclosed, rounded, times
from convmtx.spectra.condition import smallest_of
from convmtx.spectra.operands import parts_of, square
from convmtx.spectra.similar import Similar, balance
from convmtx.spectra.values import all_values
from convmtx.structure import Decomposition, choose_decomposition, find_blocks, rounding
from convmtx.structure.double import dense, lone_entries, require_along, sparse
from convmtx.structure.precision import EPS, scaled
from convmtx.taps import taps_of
from convmtx.typing import AnyArray


@door("trace")
def trace(op: LinearMap) -> Certified:
    """Return the sum of the diagonal, which equals the sum of the eigenvalues.

    Law: it is ``op.to_dense().trace()``.

    Parameters
    ----------
    op : LinearMap
        A square map, or what `aslinearmap` takes.

    Returns
    -------
    Certified
        A float, or a complex number if the map is complex; ``exact``.

    Raises
    ------
    ValueError, TypeError
        If the map is not square, or its kernel is not finite.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    Cost: for convolutions between arrays of one shape, a closed form that builds no part of the matrix. For `kron` of
    square maps it is the product of their traces. Other maps build the sparse matrix.

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.trace(cm.conv([1.0, 5.0, 1.0], 7, padding="same")))
    35.0
    """
    operator, scale = scaled(square(op))
    return times(_trace_of(operator), scale)


def _trace_of(operator: LinearMap) -> Certified:
    """Return the trace of a scaled map, by square Kronecker factors if it has some."""
    factors = operator._kronecker_factors
    if len(factors) > 1 and all(part.shape[0] == part.shape[1] for part in factors):
        first, second = (times(_trace_of(part), scale) for part, scale in map(scaled, factors))
        errors = [float(np.abs(result.upper - result.value)) for result in (first, second)]
        sizes = [float(np.abs(result.value)) for result in (first, second)]
        slack = sizes[0] * errors[1] + sizes[1] * errors[0] + errors[0] * errors[1] + 2 * EPS * prod(sizes)
        return rounded(first.value * second.value, slack, f"product of traces: {first.method}, {second.method}")
    if not (isinstance(operator, ConvOperator) and operator.in_shape == operator.out_shape):
        slack = rounding.of_sum(operator, float(rounding.sums(operator)[0].sum()))
        return rounded(sparse(operator).diagonal().sum(), slack, "sparse matrix")
    require_along(*operator.geometry.axes)
    slack = EPS * (entrywise.roundings(operator) + operator.geometry.groups)
    return rounded(_trace(operator), slack * _trace(entrywise.magnitudes(operator)), "closed form")


def _trace(op: ConvOperator) -> Any:
    """Return the sum over taps of the tap times the number of outputs that read their own input through it."""
    geometry = op.geometry
    taps = taps_of(geometry, op.kernel)
    taps = taps.reshape(geometry.groups, -1, *taps.shape[1:])
    total = np.trace(taps, axis1=1, axis2=2).sum(axis=0)
    for axis in geometry.axes:
        total = np.tensordot(count_own(axis), total, 1)
    return total[()]


@door("logdet")
def logdet(op: LinearMap) -> Certified:
    """Return the logarithm of the magnitude of the determinant.

    Law: it is ``numpy.linalg.slogdet(op.to_dense())[1]``.

    Parameters
    ----------
    op : LinearMap
        A square map, or what `aslinearmap` takes.

    Returns
    -------
    Certified
        ``exact`` if its ends agree in 8 digits, half of a float's 16. Else the value comes from an LU factorization. It
        is an ``interval``, or an ``estimate`` if rounding hides whether the map is singular. The lower end of an
        estimate is minus infinity.

    Raises
    ------
    UnsupportedError
        If the map has no structure and is too large for a sparse factorization. This is a ValueError.
    ValueError, TypeError
        If the map is not square, or its kernel is not finite.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    The determinant is computed for a similar map ``D A D^-1``, which has the same determinant. In this map, the taps
    before and after an output have similar magnitudes (``convmtx.spectra.similar``). If no output reads an input after
    its own position, or if none reads one before it, the determinant is that of the diagonal blocks.

    For `block_diag`, `kron` and products of square maps it is computed from the determinants of these.

    Cost: that of all singular values, if this takes at most some seconds. The ends are then the sums of the logarithms
    of the lower and of the upper ends of the singular values. For larger maps the value comes from a sparse LU
    factorization, and the ends come from its backward error and the smallest singular value.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> causal = cm.conv([3.0, 1.0, 2.0], 5, padding=[(2, 0)])
    >>> bool(np.isclose(float(cm.logdet(causal)), 5 * np.log(2)))
    True
    """
    return _logarithm_of_any(square(op))


def _logarithm(op: LinearMap) -> Certified:
    """Return the logarithm for a scaled map, by square maps that it is made of if there are some."""
    rows = op.shape[0]
    parts, is_product = parts_of(op)
    counts = [rows / part.shape[0] if is_product else 1.0 for part in parts if part.shape[0]]
    if len(parts) == 1:
        parts, counts = op._chain, [1.0 for _ in op._chain]
    if len(parts) > 1 and all(part.shape[0] == part.shape[1] > 0 for part in parts):
        logarithms = [_logarithm_of_any(part) for part in parts]
        sums = (float(np.dot(counts, [getattr(r, end) for r in logarithms])) for end in ("value", "lower", "upper"))
        methods = ", ".join(dict.fromkeys(result.method for result in logarithms))
        value, lower, upper = sums
        result = enclosed(value, lower, upper, f"sum for {len(parts)} maps: {methods}", unit=1.0)
        return result if result.kind == "exact" or lower > -np.inf else replace(result, kind="estimate")
    if op._has_lone_entries:
        return _logarithm_of_entries(op)
    similar = balance(op)
    decomposition = choose_decomposition(similar.op)
    return _sum_logarithms(similar, decomposition) if decomposition.work <= PATIENT_WORK else _factorize(similar)


def _logarithm_of_any(op: LinearMap) -> Certified:
    """Return the logarithm for a map in double precision."""
    operator, scale = scaled(op)
    result = _logarithm(operator)
    # The map is scale times the one that was decomposed, so its determinant is scale^N times as large.
    shift = operator.shape[0] * float(np.log(scale))
    slack = 2 * EPS * abs(shift)
    ends = result.lower + shift - slack, result.upper + shift + slack
    return Certified(result.value + shift, result.kind, result.method, *ends)


def _logarithm_of_entries(op: LinearMap) -> Certified:
    """Return the logarithm for a square map of lone entries: the sum of theirs, or minus infinity if some are 0."""
    rows, values = op.shape[0], np.abs(lone_entries(op).values)
    if values.size < rows or not values.all():
        return Certified(-np.inf, "exact", "entries")
    logarithms = np.log(values)
    value = float(logarithms.sum())
    slack = EPS * (rows * (rounding.of_matrix(op) + 2) + 32 * float(np.abs(logarithms).sum()))
    return enclosed(value, value - slack, value + slack, "entries", unit=1.0)


def _sum_logarithms(similar: Similar, decomposition: Decomposition) -> Certified:
    """Return the logarithm by all singular values, or by an LU factorization if rounding hides the small ones."""
    values = all_values(replace(decomposition, slack=decomposition.slack + similar.slack))
    method = "block triangular" if similar.triangular else decomposition.method
    lower, value, upper = (_logarithms(end) for end in (values.lower, values.value, values.upper))
    result = enclosed(value, lower, upper, method, unit=1.0)
    if result.kind == "exact":
        return result
    value = min(max(_lu_logarithm(similar.op, value), lower), upper)
    kind: Kind = "estimate" if lower == -np.inf else "interval"
    return Certified(value, kind, f"LU; ends by {decomposition.method}", lower, upper)


def _logarithms(numbers: AnyArray) -> float:
    """Return the sum of logarithms, minus infinity if a number is 0."""
    with np.errstate(divide="ignore"):
        return float(np.log(numbers).sum())


def _lu_logarithm(op: LinearMap, otherwise: float) -> float:
    """Return the logarithm by LU factors of the matrix, of all blocks, or of the sparse matrix; else ``otherwise``."""
    if not isinstance(op, ConvOperator):
        return float(np.linalg.slogdet(dense(op))[1])
    all_blocks = find_blocks(op.geometry, taps_of(op.geometry, op.kernel))
    if any(blocks.rows != blocks.columns for blocks in all_blocks):
        return -np.inf
    if sum(blocks.work for blocks in all_blocks) <= PATIENT_WORK:
        pieces = (piece for blocks in all_blocks for piece in blocks.pieces())
        return float(sum((np.linalg.slogdet(piece.matrices())[1] * piece.times).sum() for piece in pieces))
    return _sparse_lu(op)[0] if _sparse_work(op) <= SPARSE_LU_WORK else otherwise


def _factorize(similar: Similar) -> Certified:
    """Return the logarithm by a sparse LU factorization: certain if its backward error is below all singular values."""
    op = similar.op
    if _sparse_work(op) > SPARSE_LU_WORK:
        got = f"a matrix of {op.shape[0]} rows without structure"
        expected = "A factorization of that size takes too long"
        raise UnsupportedError(got, expected, "Use a smaller map")
    value, backward = _sparse_lu(op)
    entries = similar.slack + EPS * rounding.of_matrix(op) * rounding.size_of(op)
    error = backward + entries
    least = smallest_of(op).lower - error
    if least > error:
        slack = op.shape[0] * error / least
        return enclosed(value, value - slack, value + slack, "sparse LU", unit=1.0)
    rows = np.abs(sparse(op)).power(2).sum(axis=1) ** 0.5 + entries
    upper = _logarithms(rows) + op.shape[0] * EPS  # Hadamard's bound
    return Certified(min(value, upper), "estimate", "sparse LU", -np.inf, upper)


def _sparse_work(op: LinearMap) -> float:
    """Return the work of a sparse LU factorization: rows times bandwidth squared, the longest axis along the band."""
    return op.shape[0] * (op.shape[0] / max(op.in_shape)) ** 2


def _sparse_lu(op: LinearMap) -> tuple[float, float]:
    """Return the logarithm, and a bound of the norm of the factors' product minus the matrix."""
    from scipy.sparse import csc_array, csr_array
    from scipy.sparse.linalg import splu

    matrix = csc_array(sparse(op))
    try:
        factors = splu(matrix)
    except RuntimeError:  # exactly singular, says SuperLU
        return -np.inf, np.inf
    lower, upper = (csr_array(abs(triangle)) for triangle in (factors.L, factors.U))
    ones: AnyArray = np.ones(op.shape[0])
    row, column = (np.asarray(sums).max() for sums in (lower @ (upper @ ones), upper.T @ (lower.T @ ones)))
    terms = int(np.diff(lower.indptr).max()) + 1
    return _logarithms(np.abs(factors.U.diagonal())), EPS * terms * float(np.sqrt(row) * np.sqrt(column))
