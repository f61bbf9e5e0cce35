"""Condition, rank and the smallest singular value of a map, and an interval for each singular value."""

from __future__ import annotations

from math import prod

import numpy as np

from convmtx.costs import FACTORIZED_ENTRIES, FACTORIZED_UNKNOWNS, PATIENT_WORK, SMALL_SPECTRUM_WORK
from convmtx.errors import door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra import bounds
from convmtx.spectra.bracket import Ceilings, bracket
from convmtx.spectra.certified import Certified, combined, enclosed, rounded, times
from convmtx.spectra.norms import norm
from convmtx.spectra.operands import convolution, parts_of, same_values, tolerance_of_zero
from convmtx.spectra.smallest import bracket_smallest
from convmtx.spectra.triplets import require_vectors
from convmtx.spectra.values import all_values
from convmtx.structure import choose_decomposition, rounding
from convmtx.structure.double import direct, is_zero
from convmtx.structure.precision import EPS, rank_tolerance, scaled


@door("smallest_singular_value")
def smallest_singular_value(op: LinearMap) -> Certified:
    """Return the smallest of the min(M, N) singular values.

    Law: if the matrix has at least as many rows as columns, ``norm(op(x)) >= r * norm(x)`` for every x. So r is the
    smallest factor by which the map changes the length of an array. A map with more columns than rows maps some arrays
    to 0, whatever r is.

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes.

    Returns
    -------
    Certified
        ``exact`` if structure or size allow it. Else ``interval``: the value is the length of the image of a unit
        array, which inverse iteration or Lanczos steps chose. ``upper`` is this length plus rounding errors. ``lower``
        comes from interlacing with a circulant, or from a random start (wrong with a probability of at most 1e-10), or
        is 0.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a map, or its kernel is not finite.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    Cost: a decomposition if it takes less than a second, else inverse iteration with a sparse factorization. For maps
    with more than 60,000 rows and columns together, or convolutions with more than 500,000 stored entries, at most 200
    Lanczos steps take the place of inverse iteration.

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.smallest_singular_value(cm.conv([1.0, 3.0], 4, padding="same", boundary="wrap")))
    2.0
    """
    operator, scale = same_values(op)
    return times(smallest_of(operator), scale)


def smallest_of(op: LinearMap) -> Certified:
    """Return the smallest singular value of a map in double precision and scaled."""
    if is_zero(op):
        return Certified(0.0, "exact", "a map of zeros")
    decomposition = choose_decomposition(op)
    if decomposition.work <= SMALL_SPECTRUM_WORK:
        return rounded(decomposition.values()[-1], decomposition.slack, decomposition.method, 0.0)
    if (of_parts := _smallest_of_parts(op)) is not None:
        return of_parts
    lower = 0.0
    if isinstance(op, ConvOperator) and bounds.theta_work(op) <= PATIENT_WORK:
        lower = float(bounds.interlaced(op)[0][-1])
    require_vectors(op)
    both = bracket(op, Ceilings(), 1e-3, 200, progress=False)
    few = not isinstance(op, ConvOperator) or op.nnz <= FACTORIZED_ENTRIES
    if sum(op.shape) <= FACTORIZED_UNKNOWNS and few:
        last, below = bracket_smallest(op, both.largest[1])
        method = "inverse iteration on a sparse factorization"
    else:
        (below, last), method = both.smallest, f"Lanczos, {both.steps} steps"
    upper = last + rounding.of_product(op, rounding.size_of(op))
    return Certified(last, "interval", method, min(max(lower, below), last), upper)


def _smallest_of_parts(op: LinearMap) -> Certified | None:
    """Return the least of the smallest singular values of maps on the diagonal, or the product of those of factors.

    It is 0 if the parts have fewer singular values than the map.
    """
    parts, is_product = parts_of(op)
    if len(parts) == 1:
        return None
    counts = [min(part.shape) for part in parts]
    if (prod(counts) if is_product else sum(counts)) < min(op.shape):
        return Certified(0.0, "exact", "parts of more rows than columns, and of more columns than rows")
    values = [times(smallest_of(operator), scale) for operator, scale in (scaled(direct(part)) for part in parts)]
    return combined(values, prod, "product of smallest") if is_product else combined(values, min, "least of smallest")


@door("cond")
def cond(op: LinearMap) -> Certified:
    """Return the condition number: the largest singular value over the smallest of min(M, N).

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes.

    Returns
    -------
    Certified
        ``exact`` if all singular values are computed, and the distance between the ends is at most sqrt(eps) times the
        value. Else an ``interval``, whose upper end is infinity if the smallest singular value may consist of rounding
        errors. For large maps, the interval comes from `norm` and `smallest_singular_value`.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a map, or its kernel is not finite.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    Cost: a decomposition if it takes less than a second, else that of `norm` and `smallest_singular_value`.

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.cond(cm.conv([1.0, 3.0], 4, padding="same", boundary="wrap")))
    2.0
    """
    operator, _ = same_values(op)
    decomposition = choose_decomposition(operator)
    if decomposition.work <= SMALL_SPECTRUM_WORK:
        return cond_of(all_values(decomposition))
    top, bottom = norm(operator), smallest_of(operator)
    method = f"largest by {top.method}; smallest by {bottom.method}"
    ends = _ratio(top.lower, bottom.upper), _ratio(top.upper, bottom.lower)
    return Certified(_ratio(top.value, bottom.value), "interval", method, *ends)


def cond_of(values: Certified) -> Certified:
    """Return the condition number of a map that has these as all its singular values."""
    s, lower, upper = values.value, values.lower, values.upper
    if not s.size:
        return Certified(1.0, "exact", values.method)
    ends = _ratio(lower[0], upper[-1]), _ratio(upper[0], lower[-1]) * (1 + EPS)
    return enclosed(_ratio(s[0], s[-1]), max(ends[0] * (1 - EPS), 1.0), ends[1], values.method)


def _ratio(top: float, bottom: float) -> float:
    """Return a quotient, infinite if the divisor is 0."""
    return float(top / bottom) if bottom > 0 else np.inf


@door("rank")
def rank(op: LinearMap, tol: float | None = None) -> Certified:
    """Return the number of singular values that are larger than ``tol``.

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes.
    tol : float, optional
        Singular values of at most ``tol`` count as zero. The default is ``max(M, N) * eps`` times the largest, as for
        `numpy.linalg.matrix_rank` in double precision.

    Returns
    -------
    Certified
        A whole number: ``exact`` if every singular value differs from ``tol`` by more than rounding, else an
        ``interval``.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a map, its kernel is not finite, or ``tol`` is negative.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    Cost: a decomposition if it takes at most some seconds, or if the map is not a convolution. Else bounds by
    interlacing with circulants (`singular_value_bounds`).

    Examples
    --------
    >>> import convmtx as cm
    >>> int(cm.rank(cm.conv([1.0, -1.0], 6, padding="same", boundary="wrap")))
    5
    """
    tol = tolerance_of_zero(tol)
    operator, scale = same_values(op)
    tol = None if tol is None else tol / scale
    decomposition = choose_decomposition(operator)
    if decomposition.work <= PATIENT_WORK or not isinstance(operator, ConvOperator):
        return rank_of(all_values(decomposition), operator.shape, tol)
    lower, upper = bounds.interlaced(operator)
    limit = rank_tolerance(operator.shape, upper[0]) if tol is None else tol
    ends = int((lower > limit).sum()), int((upper > limit).sum())
    return Certified(ends[1], "exact" if ends[0] == ends[1] else "interval", "interlacing with circulants", *ends)


def rank_of(values: Certified, shape: tuple[int, int], tol: float | None = None) -> Certified:
    """Return the rank of a map of a shape that has these as all its singular values."""
    limit = rank_tolerance(shape, values.value.max(initial=0)) if tol is None else tol
    count, least, most = (int((end > limit).sum()) for end in (values.value, values.lower, values.upper))
    return Certified(count, "exact" if least == most else "interval", values.method, least, most)


@door("singular_value_bounds")
def singular_value_bounds(op: ConvOperator) -> Certified:
    """Return an interval for every singular value of a convolution, from circulants that contain it.

    Law: if q rows and columns are deleted from a matrix C, the matrix A that is left has
    ``s_(i+q)(C) <= s_i(A) <= s_i(C)``.

    Parameters
    ----------
    op : ConvOperator
        A convolution.

    Returns
    -------
    Certified
        Arrays ``r.lower`` and ``r.upper`` (min(M, N),), descending; the value is the upper end. ``exact`` if structure
        allows it. Otherwise the lower end is 0 for some of the smallest values with padding "same", and for all values
        under the boundaries reflect, symmetric and edge.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a convolution, or its kernel is not finite.
    MemoryError
        If the decomposition does not fit.

    Notes
    -----
    Cost: the singular values of up to two circulants for each axis, by their symbols. Source: Thompson, Linear Algebra
    Appl. 5, 1972.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1.0, 2.0, 3.0], 30, padding="same")
    >>> r, s = cm.singular_value_bounds(op), np.asarray(cm.svdvals(op))
    >>> bool((r.lower <= s).all() and (s <= r.upper).all())
    True
    """
    operator, scale = convolution(op)
    decomposition = choose_decomposition(operator)
    if decomposition.work <= SMALL_SPECTRUM_WORK and decomposition.is_apart:
        return times(all_values(decomposition), scale)
    lower, upper = bounds.interlaced(operator)
    return times(Certified(upper, "interval", "interlacing with circulants", np.maximum(lower, 0), upper), scale)
