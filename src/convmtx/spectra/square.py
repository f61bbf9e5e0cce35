"""Trace and determinant of square maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx.errors import ArgumentError, UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra import entrywise, exact, rounding
from convmtx.spectra.certified import EPS, Certified, Kind, enclosed, rounded, times
from convmtx.spectra.derived import PATIENT, smallest_of
from convmtx.spectra.iterated import scaled
from convmtx.spectra.similar import Similar, balanced
from convmtx.spectra.values import cheapest, every
from convmtx.structure import decomposed
from convmtx.structure.double import dense, doubled, require_along, sparse
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

#: Rows times bandwidth squared up to which a sparse factorisation is made.
SPARSE = 3e10


def square(op: LinearMap) -> LinearMap:
    """The map in double precision, if it has as many rows as columns."""
    subject = doubled(op)
    rows, columns = subject.shape
    if rows != columns:
        got = f"op has {rows} rows and {columns} columns"
        raise ArgumentError(got, "Wanted a square map", "Use padding='same' and equal channels")
    return subject


@door("trace")
def trace(op: LinearMap) -> Certified:
    """Sum of the diagonal, which is that of the eigenvalues; in closed form, nothing of the matrix is built.

    Parameters
    ----------
    op : LinearMap
        A square map.

    Returns
    -------
    Certified
        ``exact``; a float, or complex where the map is.

    Raises
    ------
    ValueError, TypeError
        Where the map is not square, or its kernel not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.trace(cm.conv([1.0, 5.0, 1.0], 7, padding="same")))
    35.0
    """
    subject, scale = scaled(square(op))
    if not (isinstance(subject, ConvOperator) and subject.in_shape == subject.out_shape):
        slack = rounding.of_sum(subject, float(rounding.sums(subject)[0].sum()))
        return times(rounded(sparse(subject).diagonal().sum(), slack, "sparse matrix"), scale)
    require_along(*subject.geometry.axes)
    slack = EPS * (entrywise.roundings(subject) + subject.geometry.groups)
    return times(rounded(_trace(subject), slack * _trace(entrywise.magnitudes(subject)), "closed form"), scale)


def _trace(op: ConvOperator) -> Any:
    geometry = op.geometry
    taps = taps_of(geometry, op.kernel)
    taps = taps.reshape(geometry.groups, -1, *taps.shape[1:])
    total = np.trace(taps, axis1=1, axis2=2).sum(axis=0)
    for axis in geometry.axes:
        total = np.tensordot((axis.table() == np.arange(axis.out)[:, None]).sum(axis=0), total, 1)
    return total[()]


@door("logdet")
def logdet(op: LinearMap) -> Certified:
    """Logarithm of the magnitude of the determinant.

    Parameters
    ----------
    op : LinearMap
        A square map.

    Returns
    -------
    Certified
        ``exact`` where half of all digits of the determinant are certain. Else the value is that of an LU
        factorisation, as an ``interval``, or as an ``estimate`` where rounding hides whether the map is singular: the
        lower end is minus infinity then.

    Raises
    ------
    UnsupportedError
        Where no structure is of use and the map is too large for a sparse factorisation. A ValueError.
    ValueError, TypeError
        Where the map is not square, or its kernel not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Notes
    -----
    The determinant is that of a similar map in which the taps of both sides of an output are in balance
    (``convmtx.spectra.similar``): of a map that reads only what lies before (or behind) each output, the diagonal's.
    The ends are sums of logarithms of the singular values' ends. Of maps too large for these the value is that of a
    sparse LU factorisation, with ends by its backward error and the smallest singular value.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> causal = cm.conv([3.0, 1.0, 2.0], 5, padding=[(2, 0)])
    >>> bool(np.isclose(float(cm.logdet(causal)), 5 * np.log(2)))
    True
    """
    subject, scale = scaled(square(op))
    similar = balanced(subject)
    way = cheapest(similar.op)
    found = _from_values(similar, way) if way.work <= PATIENT else _from_factors(similar)
    return _moved(found, subject.shape[0] * float(np.log(scale)))


def _moved(found: Certified, by: float) -> Certified:
    """The result for the map multiplied by a number with that logarithm to the power of N."""
    slack = 2 * EPS * abs(by)
    return Certified(found.value + by, found.kind, found.method, found.lower + by - slack, found.upper + by + slack)


def _from_values(similar: Similar, way: exact.Way) -> Certified:
    """From all singular values where these do; where the small ones are rounding, from an LU factorisation."""
    values = every(way._replace(slack=way.slack + similar.slack))
    method = "block triangular" if similar.triangular else way.method
    lower, value, upper = (_logarithms(end) for end in (values.lower, values.value, values.upper))
    result = enclosed(value, lower, upper, method, unit=1.0)
    if result.kind == "exact":
        return result
    value = min(max(_by_lu(similar.op, value), lower), upper)
    kind: Kind = "estimate" if lower == -np.inf else "interval"
    return Certified(value, kind, f"LU; ends by {way.method}", lower, upper)


def _logarithms(numbers: AnyArray) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(numbers).sum())


def _by_lu(op: LinearMap, otherwise: float) -> float:
    """The logarithm from factors of all blocks, of the matrix, or of the sparse matrix, as much work as each is."""
    if not isinstance(op, ConvOperator):
        return float(np.linalg.slogdet(dense(op))[1])
    found = decomposed(op.geometry, taps_of(op.geometry, op.kernel))
    if any(blocks.rows != blocks.columns for blocks in found):
        return -np.inf
    if sum(blocks.work for blocks in found) <= PATIENT:
        pieces = (piece for blocks in found for piece in blocks.pieces())
        return float(sum((np.linalg.slogdet(piece.matrices())[1] * piece.times).sum() for piece in pieces))
    return _by_sparse_lu(op)[0] if _sparse_work(op) <= SPARSE else otherwise


def _from_factors(similar: Similar) -> Certified:
    """From a sparse LU factorisation, whose backward error is far below the smallest singular value, or may not be."""
    op = similar.op
    if _sparse_work(op) > SPARSE:
        got = f"a matrix of {op.shape[0]} rows without structure"
        wanted = "A factorisation of that size takes too long"
        raise UnsupportedError(got, wanted, "Use a smaller map")
    value, backward = _by_sparse_lu(op)
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
    return op.shape[0] * (op.shape[0] / max(op.in_shape)) ** 2


def _by_sparse_lu(op: LinearMap) -> tuple[float, float]:
    """The logarithm, and a bound of the norm of what the factors' product and the matrix differ by."""
    from scipy.sparse import csc_array, csr_array
    from scipy.sparse.linalg import splu

    matrix = csc_array(sparse(op))
    try:
        factors = splu(matrix)
    except RuntimeError:  # exactly singular, says SuperLU
        return -np.inf, np.inf
    lower, upper = (csr_array(abs(each)) for each in (factors.L, factors.U))
    ones: AnyArray = np.ones(op.shape[0])
    row, column = (np.asarray(each).max() for each in (lower @ (upper @ ones), upper.T @ (lower.T @ ones)))
    terms = int(np.diff(lower.indptr).max()) + 1
    return _logarithms(np.abs(factors.U.diagonal())), EPS * terms * float(np.sqrt(row) * np.sqrt(column))
