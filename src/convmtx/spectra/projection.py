"""Kernels whose norm does not exceed a limit: scaled, clipped once, or the nearest of the same support."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convmtx import arguments, memory
from convmtx._xp import floating, is_numpy, is_traced, like
from convmtx._xp.gradients import held
from convmtx.errors import ArgumentTypeError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.progress import show_progress
from convmtx.spectra.iterated import scaled
from convmtx.spectra.operator_norm import norm, norm_bound
from convmtx.spectra.values import DECOMPOSED, cheapest
from convmtx.structure import Blocks, circle
from convmtx.structure.batched import unit
from convmtx.structure.double import double, doubled
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import AnyArray


def _checked(op: Any, limit: Any) -> tuple[ConvOperator, float]:
    """The convolution and the limit of its norm, if they are such."""
    if not isinstance(op, ConvOperator):
        got = f"op is a {type(op).__name__}"
        raise ArgumentTypeError(got, "Wanted a convolution", "Make one with convmtx.conv")
    wanted, remedy = "a positive number", "Pass one, for example max=1.0"
    return op, arguments.number("max", limit, wanted, remedy, fits=lambda limit: limit > 0)


@door("spectral_normalize")
def spectral_normalize(op: ConvOperator, max: float = 1.0) -> ConvOperator:
    """The convolution divided by its norm, so that its norm is ``max``, and no more but for rounding of the kernel.

    Parameters
    ----------
    op : ConvOperator
        A convolution; of PyTorch or JAX the result is differentiable in its kernel.
    max : float
        The norm that is wanted.

    Returns
    -------
    ConvOperator
        ``op * (max / r.upper)`` with ``r = cm.norm(op)``; where the norm is an interval, its width less than ``max``.
        A map of zeros stays as it is.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no convolution, the kernel is not finite, or ``max`` is not positive.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Notes
    -----
    The norm is that of the map, with its boundary and size; PyTorch's ``spectral_norm`` divides by that of the kernel
    reshaped to a matrix, which may be several times smaller.

    Examples
    --------
    >>> import convmtx as cm
    >>> op = cm.spectral_normalize(cm.conv([1.0, 2.0, 1.0], 9, padding="same", boundary="wrap"))
    >>> op.kernel
    array([0.25, 0.5 , 0.25])
    """
    subject, limit = _checked(op, max)
    if not is_traced(op.kernel):  # for the inverse of a norm may be beyond the kernel's type
        subject = subject / unit(double(op.kernel))
    found = norm(subject)
    if not is_traced(op.kernel) and not float(found.upper):
        return op
    less = 1 - 4 * float(np.finfo(floating(op.kernel)).eps)  # for the kernel is rounded
    top = found.upper
    if not is_numpy(op.kernel):
        top = found.value - held(found.value) + top  # differentiated as the value is
    return subject * (limit * less / top)


@door("clip")
def clip(op: ConvOperator, max: float) -> ConvOperator:
    """Singular values clipped at ``max`` on a circle that holds the map, then cut to the kernel's support and scaled.

    One round of the two steps of `project`, as of Sedghi, Gupta and Long (ICLR 2019); unlike theirs the norm of what is
    returned is certified not to exceed ``max``.

    Parameters
    ----------
    op : ConvOperator
        A convolution, with any boundary.
    max : float
        The norm that is not to be exceeded.

    Returns
    -------
    ConvOperator
        Of the same geometry and array library, in floating point; ``op`` itself where it is within the limit.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no convolution, the kernel is not finite, or ``max`` is not positive.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Examples
    --------
    >>> import convmtx as cm
    >>> op = cm.clip(cm.conv([1.0, 2.0, 1.0], 9, padding="same", boundary="wrap"), 2.0)
    >>> float(cm.norm(op)) <= 2.0
    True
    """
    return _within(op, max, 1, progress=False)


@door("project")
def project(op: ConvOperator, max: float, *, maxiter: int = 100, progress: bool = False) -> ConvOperator:
    """The nearest kernel of the same support whose norm on a circle that holds the map is at most ``max``.

    Parameters
    ----------
    op : ConvOperator
        A convolution, with any boundary.
    max : float
        The norm that is not to be exceeded; what is returned is certified not to.
    maxiter : int
        Rounds at most.
    progress : bool
        Show a bar (extra ``progress``).

    Returns
    -------
    ConvOperator
        Of the same geometry and array library, in floating point; ``op`` itself where it is within the limit.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no convolution, the kernel is not finite, or ``max`` is not positive.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Notes
    -----
    Dykstra's alternating projections between symbols whose norm is at most ``max`` everywhere and symbols of kernels of
    the support (Boyle, Dykstra, 1986), until a round moves the kernel by less than 1e-9; then scaled by what is left to
    the certified bound. Nearest in the Frobenius norm of the kernel. Cost of a round: a decomposition of each symbol.

    Examples
    --------
    >>> import convmtx as cm
    >>> op = cm.conv([1.0, 2.0, 1.0], 9, padding="same", boundary="wrap")
    >>> nearest, scaled = cm.project(op, 2.0).kernel, op.kernel / 2
    >>> bool(((nearest - op.kernel) ** 2).sum() < ((scaled - op.kernel) ** 2).sum())
    True
    """
    arguments.integer("maxiter", maxiter, 1)
    arguments.flag("progress", progress)
    return _within(op, max, maxiter, progress)


def _within(op: ConvOperator, limit: float, rounds: int, progress: bool) -> ConvOperator:
    op, limit = _checked(op, limit)
    subject: Any
    subject, scale = scaled(doubled(op))
    limit /= scale
    if _certain(subject) <= limit:
        return op
    geometry = subject.geometry
    blocks = Blocks(geometry, taps_of(geometry, subject.kernel), tuple(circle(axis) for axis in geometry.axes))
    entries = blocks.count * blocks.rows * blocks.columns
    memory.require("circle", {"circle": 16 * entries}, 4 * 16 * entries)  # with the corrections and both bases
    with show_progress(progress, "projections", rounds) as bar:
        kernel = kernel_of(geometry, _dykstra(blocks, limit, rounds, bar))
    # Where the circle is much larger than the map, as under reflect, it may be too strict: scaling can be nearer.
    found = (_scaled(subject, each, limit, floating(op.kernel)) for each in (kernel, subject.kernel))
    nearest = min(found, key=lambda each: float(np.linalg.norm(each - subject.kernel)))
    return op.with_kernel(like(nearest * scale, op.kernel))


def _scaled(op: ConvOperator, kernel: AnyArray, limit: float, dtype: np.dtype[Any]) -> AnyArray:
    """The kernel, divided by what it exceeds the limit by; again where rounding to single precision did it."""
    kernel = kernel.astype(dtype)
    while (top := _certain(op.with_kernel(double(kernel)))) > limit:
        kernel = (kernel * (limit / top * (1 - 2 * float(np.finfo(dtype).eps)))).astype(dtype)
    return kernel


def _certain(op: ConvOperator) -> float:
    """An upper bound of the norm in which nothing is random."""
    way = cheapest(op)
    if way.work <= DECOMPOSED:
        return way.largest() + way.slack
    return float(norm_bound(op).upper)


def _dykstra(blocks: Blocks, limit: float, rounds: int, bar: Any) -> AnyArray:
    """Taps; the set of kernels is a subspace, so only the clipping has a correction to remember."""
    taps, correction = blocks.taps, 0.0
    for _ in range(rounds):
        wanted = replace(blocks, taps=taps).matrices() + correction
        u, s, v = np.linalg.svd(wanted, full_matrices=False)
        clipped = (u * np.minimum(s, limit)[:, None, :]) @ v
        correction = wanted - clipped
        nearer = blocks.nearest_taps(clipped)
        moved, taps = float(np.linalg.norm(nearer - taps)), nearer
        if bar is not None:
            bar.update(1)
        if moved <= 1e-9 * np.linalg.norm(taps):
            break
    return taps
