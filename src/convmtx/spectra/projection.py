"""Kernels of bounded norm: scaled, clipped once, or the nearest of the same support."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convmtx import arguments, memory
from convmtx._xp import floating, is_numpy, is_traced, like
from convmtx._xp.gradients import held
from convmtx.costs import SMALL_SPECTRUM_WORK
from convmtx.errors import ArgumentTypeError, door, with_article
from convmtx.maps.convolution import ConvOperator
from convmtx.progress import show_progress
from convmtx.spectra.norms import norm, norm_bound
from convmtx.structure import Blocks, choose_decomposition, circle
from convmtx.structure.double import double, doubled
from convmtx.structure.precision import scaled, unit
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import AnyArray


def _check(op: Any, limit: Any) -> tuple[ConvOperator, float]:
    """Return a convolution and the limit of its norm, if they are valid."""
    if not isinstance(op, ConvOperator):
        got = f"op is {with_article(type(op).__name__)}"
        raise ArgumentTypeError(got, "Expected a convolution", "Make one with convmtx.conv")
    expected, remedy = "a positive number", "Pass one, for example max=1.0"
    return op, arguments.number("max", limit, expected, remedy, fits=lambda limit: limit > 0)


@door("spectral_normalize")
def spectral_normalize(op: ConvOperator, max: float = 1.0) -> ConvOperator:
    """Return the convolution divided by its norm and multiplied by ``max``, so that its norm is ``max``.

    Law: ``cm.norm(cm.spectral_normalize(op, max)) <= max``, up to rounding of the kernel.

    Parameters
    ----------
    op : ConvOperator
        A convolution. With a kernel of PyTorch or JAX, you can differentiate the result with respect to it.
    max : float
        Norm of the result, a positive number.

    Returns
    -------
    ConvOperator
        The map ``op * (max / r.upper)`` with ``r = cm.norm(op)``. If the norm is an interval, the result's norm may be
        below ``max`` by the relative width of the interval. A map of zeros stays as it is.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a convolution, the kernel is not finite, or ``max`` is not positive.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    The norm is that of the map, with its boundary and size. PyTorch's ``spectral_norm`` divides by that of the kernel
    reshaped to a matrix, which may be several times smaller. Cost: that of `norm`.

    Examples
    --------
    >>> import convmtx as cm
    >>> op = cm.spectral_normalize(cm.conv([1.0, 2.0, 1.0], 9, padding="same", boundary="wrap"))
    >>> op.kernel
    array([0.25, 0.5 , 0.25])
    """
    operator, limit = _check(op, max)
    if not is_traced(op.kernel):  # for the inverse of a norm may be beyond the kernel's type
        operator = operator / unit(double(op.kernel))
    result = norm(operator)
    if not is_traced(op.kernel) and not float(result.upper):
        return op
    less = 1 - 4 * float(np.finfo(floating(op.kernel)).eps)  # for the kernel is rounded
    top = result.upper
    if not is_numpy(op.kernel):
        top = result.value - held(result.value) + top  # the upper end, with the derivative of the value
    return operator * (limit * less / top)


@door("clip")
def clip(op: ConvOperator, max: float) -> ConvOperator:
    """Return a kernel with singular values clipped at ``max`` on a circle that contains the map.

    Law: ``cm.norm(cm.clip(op, max)) <= max``.

    The clipped kernel is cut to the support of the original kernel and scaled. This is one round of the two steps of
    `project`, as in Sedghi, Gupta and Long (ICLR 2019). In contrast to their method, the norm of the result is
    certified to be at most ``max``.

    Parameters
    ----------
    op : ConvOperator
        A convolution, with any boundary.
    max : float
        Largest norm of the result, a positive number.

    Returns
    -------
    ConvOperator
        A map of the same geometry and array library, in floating point; ``op`` itself if its norm is at most ``max``.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a convolution, the kernel is not finite, or ``max`` is not positive.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    Cost: a decomposition of the symbol at each frequency of the circle, and `norm_bound`.

    Examples
    --------
    >>> import convmtx as cm
    >>> op = cm.clip(cm.conv([1.0, 2.0, 1.0], 9, padding="same", boundary="wrap"), 2.0)
    >>> float(cm.norm(op)) <= 2.0
    True
    """
    return _project(op, max, 1, progress=False)


@door("project")
def project(op: ConvOperator, max: float, *, maxiter: int = 100, progress: bool = False) -> ConvOperator:
    """Return a convolution with a norm of at most ``max`` whose kernel has the same support and is as near as possible.

    Law: ``cm.norm(cm.project(op, max)) <= max``.

    The method projects to the nearest kernel for which a circulant that contains the map has a norm of at most ``max``.
    (Under the boundaries reflect, symmetric and edge, it contains the map of the continued input.) Distance is measured
    in the Frobenius norm of the kernel. Then the kernel is scaled until the norm is certain, which may move it slightly
    away from the nearest one. If the scaled original kernel is nearer, it is returned instead.

    Parameters
    ----------
    op : ConvOperator
        A convolution, with any boundary.
    max : float
        Largest norm of the result, a positive number; the result is certified not to exceed it.
    maxiter : int
        Largest number of rounds.
    progress : bool
        Show a bar (extra ``progress``).

    Returns
    -------
    ConvOperator
        A map of the same geometry and array library, in floating point; ``op`` itself if its norm is at most ``max``.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a convolution, the kernel is not finite, or ``max`` is not positive.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    The method is Dykstra's alternating projections (Boyle, Dykstra, 1986). They alternate between symbols whose norm is
    at most ``max`` everywhere, and symbols of kernels of the support. They stop when a round moves the kernel by less
    than 1e-9 of its norm, or after ``maxiter`` rounds. Cost of a round: a decomposition of the symbol at each
    frequency.

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
    return _project(op, max, maxiter, progress)


def _project(op: ConvOperator, limit: float, rounds: int, progress: bool) -> ConvOperator:
    """Return a nearby kernel whose norm is certified to be at most the limit, by rounds of projections."""
    op, limit = _check(op, limit)
    operator: Any
    operator, scale = scaled(doubled(op))
    limit /= scale
    if _certain_norm(operator) <= limit:
        return op
    geometry = operator.geometry
    blocks = Blocks(geometry, taps_of(geometry, operator.kernel), tuple(circle(axis) for axis in geometry.axes))
    entries = blocks.count * blocks.rows * blocks.columns
    memory.require("circle", {"circle": 16 * entries}, 4 * 16 * entries)  # with the corrections and both bases
    with show_progress(progress, "projections", rounds) as bar:
        projected = kernel_of(geometry, _dykstra(blocks, limit, rounds, bar))
    # If the circle is much larger than the map, as under reflect, it may be too strict: scaling can be nearer.
    candidates = (_shrink(operator, kernel, limit, floating(op.kernel)) for kernel in (projected, operator.kernel))
    nearest = min(candidates, key=lambda kernel: float(np.linalg.norm(kernel - operator.kernel)))
    return op.with_kernel(like(nearest * scale, op.kernel))


def _shrink(op: ConvOperator, kernel: AnyArray, limit: float, dtype: np.dtype[Any]) -> AnyArray:
    """Divide a kernel by the ratio of its norm to the limit, and again if rounding to its type exceeds the limit."""
    kernel = kernel.astype(dtype)
    while (top := _certain_norm(op.with_kernel(double(kernel)))) > limit:
        kernel = (kernel * (limit / top * (1 - 2 * float(np.finfo(dtype).eps)))).astype(dtype)
    return kernel


def _certain_norm(op: ConvOperator) -> float:
    """Return an upper bound of the norm, without random starts."""
    decomposition = choose_decomposition(op)
    if decomposition.work <= SMALL_SPECTRUM_WORK:
        return decomposition.largest() + decomposition.slack
    return float(norm_bound(op).upper)


def _dykstra(blocks: Blocks, limit: float, rounds: int, bar: Any) -> AnyArray:
    """Return the taps after rounds of Dykstra's projections.

    Kernels of the support are a subspace, so only the projection that clips has a correction to add in the next round.
    """
    taps, correction = blocks.taps, 0.0
    for _ in range(rounds):
        corrected = replace(blocks, taps=taps).matrices() + correction
        u, s, v = np.linalg.svd(corrected, full_matrices=False)
        clipped = (u * np.minimum(s, limit)[:, None, :]) @ v
        correction = corrected - clipped
        nearer = blocks.nearest_taps(clipped)
        moved, taps = float(np.linalg.norm(nearer - taps)), nearer
        if bar is not None:
            bar.update(1)
        if moved <= 1e-9 * np.linalg.norm(taps):
            break
    return taps
