"""What follows from singular values: the symbol itself, condition, rank, the smallest, bounds of every one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx import arguments, memory
from convmtx.arguments import listed
from convmtx.errors import ArgumentError, door, shown
from convmtx.geometry import resolve
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra import bounds, iterated, rounding
from convmtx.spectra.certified import EPS, Certified, enclosed, rounded, times
from convmtx.spectra.operator_norm import convolution, norm
from convmtx.spectra.values import DECOMPOSED, cheapest, every
from convmtx.structure import Blocks
from convmtx.structure.double import direct, doubled, is_zero
from convmtx.structure.splits import fourier
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, PerAxis

#: Work of a decomposition that is made for questions that only all singular values answer.
PATIENT = 3e10
#: Unknowns and entries up to which the sparse factorisation that small singular values take is made.
FACTORISED = 60_000, 500_000


@door("symbol")
def symbol(op: ConvOperator, grid: PerAxis, shift: float | Sequence[float] = 0.0) -> AnyArray:
    r"""What a convolution multiplies each frequency with, a matrix of channels.

    ``F(w) = sum_p K[p] exp(i w.(p t - lo))``, with dilation t and pads lo.

    Law: the singular values of the same kernel under wrap, on an input of the grid's shape with outputs once around it,
    are those of ``symbol(op, grid)`` over all frequencies.

    Parameters
    ----------
    op : ConvOperator
        The kernel, stride, dilations, pads before and groups are taken from it; its size and boundary do not matter.
    grid : int or tuple of int
        Positions around the circle along each axis; a multiple of stride and input dilation.
    shift : float or sequence of float
        Added to the frequencies, in radians; one for all axes or one for each.

    Returns
    -------
    ndarray
        (\*frequencies, F, C) complex128, at ``2 pi m / grid + shift``. A stride s joins the s frequencies that its
        outputs cannot tell apart, so there are ``grid / s`` and C becomes ``C * s``; an input dilation does the same to
        F. Groups are blocks on the diagonal.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no convolution, or the grid does not fit.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.symbol(cm.conv([1.0, 2.0, 1.0], 8, padding="same"), 4)[:, 0, 0].real
    array([4., 2., 0., 2.])
    """
    subject, scale = convolution(op)
    geometry = subject.geometry
    sizes = resolve.per_axis("grid", grid, len(geometry.axes), 1)
    for n, axis in zip(sizes, geometry.axes, strict=True):
        if n % axis.stride or n % axis.input_dilation:
            got = f"grid={sizes} with stride {axis.stride} and input dilation {axis.input_dilation}"
            raise ArgumentError(got, "Wanted multiples of both", "Choose another grid")
    shifts = _shifts(shift, len(sizes))
    entries = prod(sizes) * geometry.out_channels * geometry.in_channels
    memory.require("symbol", {"symbol": 16 * entries}, 16 * entries)
    chosen = zip(geometry.axes, sizes, shifts, strict=True)
    splits = tuple(fourier(a, n, h, halved=False) for a, n, h in chosen)
    blocks = Blocks(geometry, taps_of(geometry, subject.kernel), splits)
    matrices = blocks.matrices().reshape(geometry.groups, -1, blocks.rows, blocks.columns)
    whole = np.zeros((matrices.shape[1], geometry.groups, blocks.rows, geometry.groups, blocks.columns), complex)
    for g, each in enumerate(matrices):
        whole[:, g, :, g] = each
    whole.view(float)[...] *= scale
    counts = (split.times.size for split in splits)
    return whole.reshape(*counts, geometry.groups * blocks.rows, geometry.groups * blocks.columns)


def _shifts(shift: Any, d: int) -> list[float]:
    """Radians for each of d axes."""
    wanted, remedy = f"a finite number, or {d} of them", "Pass radians"
    entries = listed("shift", shift)
    entries = [shift] * d if entries is None else entries
    if len(entries) != d:
        raise ArgumentError(f"shift={shown(shift)}", f"Wanted {wanted}", remedy)
    return [arguments.number("shift", entry, wanted, remedy) for entry in entries]


@door("smallest_singular_value")
def smallest_singular_value(op: LinearMap) -> Certified:
    """The last of the min(M, N) singular values: how much the map can shorten an array, at worst.

    Parameters
    ----------
    op : LinearMap
        Any map.

    Returns
    -------
    Certified
        ``exact`` where structure or size allow. Else ``interval``: the upper end, and the value, is the length of the
        image of a unit array that inverse iteration found; the lower end comes from interlacing with a circulant, or
        from a random start (wrong with a probability of 1e-10 at most), or is 0.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no map, or its kernel is not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.smallest_singular_value(cm.conv([1.0, 3.0], 4, padding="same", boundary="wrap")))
    2.0
    """
    subject, scale = iterated.scaled(direct(doubled(op)))
    return times(smallest_of(subject), scale)


def smallest_of(op: LinearMap) -> Certified:
    """The smallest singular value of a scaled map."""
    if is_zero(op):
        return Certified(0.0, "exact", "a kernel of zeros")
    way = cheapest(op)
    if way.work <= DECOMPOSED:
        return rounded(way.values()[-1], way.slack, way.method, 0.0)
    lower = 0.0
    if isinstance(op, ConvOperator) and bounds.theta_work(op) <= PATIENT:
        lower = float(bounds.interlaced(op)[0][-1])
    iterated.require_vectors(op)
    unknowns, entries = FACTORISED
    found = iterated.bracket(op, np.inf, 1e-3, 200, progress=False)
    if sum(op.shape) <= unknowns and (not isinstance(op, ConvOperator) or op.nnz <= entries):
        last, below = iterated.last(op, found.largest[1])
        method = "inverse iteration on a sparse factorisation"
    else:
        (below, last), method = found.smallest, f"Lanczos, {found.steps} steps"
    upper = last + rounding.of_product(op, rounding.size_of(op))
    return Certified(last, "interval", method, min(max(lower, below), last), upper)


@door("cond")
def cond(op: LinearMap) -> Certified:
    """The condition number: the largest singular value over the smallest of min(M, N).

    Parameters
    ----------
    op : LinearMap
        Any map.

    Returns
    -------
    Certified
        ``exact`` where rounding leaves half of all digits. Else an ``interval`` from those of `norm` and
        `smallest_singular_value`, up to infinity where the smallest may be rounding.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no map, or its kernel is not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.cond(cm.conv([1.0, 3.0], 4, padding="same", boundary="wrap")))
    2.0
    """
    subject, _ = iterated.scaled(direct(doubled(op)))
    way = cheapest(subject)
    if way.work <= DECOMPOSED:
        return cond_of(every(way))
    top, bottom = norm(subject), smallest_of(subject)
    method = f"largest by {top.method}; smallest by {bottom.method}"
    ends = _ratio(top.lower, bottom.upper), _ratio(top.upper, bottom.lower)
    return Certified(_ratio(top.value, bottom.value), "interval", method, *ends)


def cond_of(values: Certified) -> Certified:
    """The condition number of a map of which these are all singular values."""
    s, lower, upper = values.value, values.lower, values.upper
    ends = _ratio(lower[0], upper[-1]), _ratio(upper[0], lower[-1]) * (1 + EPS)
    return enclosed(_ratio(s[0], s[-1]), max(ends[0] * (1 - EPS), 1.0), ends[1], values.method)


def rank_of(values: Certified, shape: tuple[int, int], tol: float | None = None) -> Certified:
    """The rank of a map of this shape, of which these are all singular values."""
    limit = max(shape) * EPS * values.value[0] if tol is None else tol
    count, least, most = (int((end > limit).sum()) for end in (values.value, values.lower, values.upper))
    return Certified(count, "exact" if least == most else "interval", values.method, least, most)


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0 else np.inf


@door("rank")
def rank(op: LinearMap, tol: float | None = None) -> Certified:
    """How many singular values are larger than ``tol``.

    Parameters
    ----------
    op : LinearMap
        Any map.
    tol : float, optional
        By default ``max(M, N) * eps`` of the largest, as of `numpy.linalg.matrix_rank` in double precision.

    Returns
    -------
    Certified
        A whole number; ``exact`` where no singular value is as near to ``tol`` as rounding, else an ``interval``.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no map, its kernel is not finite, or ``tol`` is negative.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Examples
    --------
    >>> import convmtx as cm
    >>> int(cm.rank(cm.conv([1.0, -1.0], 6, padding="same", boundary="wrap")))
    5
    """
    tol = limited(tol)
    subject, scale = iterated.scaled(direct(doubled(op)))
    tol = None if tol is None else tol / scale
    way = cheapest(subject)
    if way.work <= PATIENT or not isinstance(subject, ConvOperator):
        return rank_of(every(way), subject.shape, tol)
    lower, upper = bounds.interlaced(subject)
    limit = max(subject.shape) * EPS * upper[0] if tol is None else tol
    ends = int((lower > limit).sum()), int((upper > limit).sum())
    return Certified(ends[1], "exact" if ends[0] == ends[1] else "interval", "interlacing with circulants", *ends)


def limited(tol: Any) -> float | None:
    """Return a number of at least 0, or None."""
    remedy = "Leave it out for the usual one"
    return None if tol is None else arguments.number("tol", tol, "a number >= 0", remedy, fits=lambda v: v >= 0)


@door("singular_value_bounds")
def singular_value_bounds(op: ConvOperator) -> Certified:
    """An interval for every singular value of a convolution, from circulants that it is part of.

    Parameters
    ----------
    op : ConvOperator
        A convolution.

    Returns
    -------
    Certified
        ``r.lower`` and ``r.upper`` (min(M, N),), descending; the value is the upper end. ``exact`` where structure
        allows.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no convolution, or its kernel is not finite.
    MemoryError
        Where the decomposition would not fit.

    Notes
    -----
    Interlacing: a matrix that lacks q rows and columns of C has ``s_(i+q)(C) <= s_i <= s_i(C)``.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1.0, 2.0, 3.0], 30, padding="same")
    >>> r, s = cm.singular_value_bounds(op), np.asarray(cm.svdvals(op))
    >>> bool((r.lower <= s).all() and (s <= r.upper).all())
    True
    """
    subject, scale = convolution(op)
    way = cheapest(subject)
    if way.work <= DECOMPOSED and "whole" not in way.method and "band" not in way.method:
        return times(every(way), scale)
    lower, upper = bounds.interlaced(subject)
    return times(Certified(upper, "interval", "interlacing with circulants", np.maximum(lower, 0), upper), scale)
