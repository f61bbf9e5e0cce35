"""Wiener's filter: the linear estimate with the least mean square error."""

from __future__ import annotations

import numpy as np

from convmtx._xp import as_numpy, numeric
from convmtx.errors import ArgumentError, UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.arrays import require_room
from convmtx.solves.factorize import Factorization
from convmtx.solves.methods.by_blocks import BlockFactors
from convmtx.solves.methods.coefficients import coefficients_of
from convmtx.solves.problem import Problem, problem_of
from convmtx.solves.select import Choice, Solver
from convmtx.solves.solve import solve
from convmtx.structure import find_blocks
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, Array, ArrayLike


@door("wiener")
def wiener(
    op: LinearMap,
    b: ArrayLike,
    snr: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> Array:
    """Apply Wiener's filter: the linear estimate of x from ``b = op(x) + noise`` with the least mean square error.

    Law: with one number ``wiener(op, b, snr) == solve(op, b, damp=snr**-0.5).x``. On a circle each frequency of b is
    multiplied by ``conj(F) / (abs(F)**2 + 1 / snr)``, F the map's symbol there.

    Parameters
    ----------
    op : LinearMap
        If ``snr`` is a number, any map with any boundary. If ``snr`` is an array, a convolution under wrap with stride
        1 and as many outputs as inputs along each axis.
    b : array_like
        Data, ``(*batch, *out_shape)``.
    snr : float or array_like
        Power of the signal over that of the noise, above 0: one number for every entry of x, or one for each frequency,
        with the spatial shape of the input and in the order of `numpy.fft.fftn`.
    weights, mask : array_like, optional
        As for `solve`: weights of the outputs, relative to the noise that ``snr`` speaks of, and which were measured.
        Only with one number as ``snr``.

    Returns
    -------
    array
        The estimate, ``(*batch, *in_shape)``, in the array library and type that `solve` returns.

    Raises
    ------
    ValueError, TypeError, MemoryError
        If an argument is invalid, or ``snr`` is an array and the map is not such a convolution.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1.0, 2.0, 1.0], 8, padding="same", boundary="wrap")
    >>> b, F, snr = np.arange(8.0), cm.symbol(op, 8)[:, 0, 0], 10.0
    >>> np.allclose(cm.wiener(op, b, snr), np.fft.ifft(F.conj() / (abs(F) ** 2 + 1 / snr) * np.fft.fft(b)))
    True
    """
    ratio = np.asarray(as_numpy(numeric("snr", snr)))
    require_room(f"snr of shape {ratio.shape}", ratio.size)
    if ratio.dtype.kind not in "iuf" or not np.isfinite(ratio).all() or not (ratio > 0).all():
        raise ArgumentError("snr is not a finite real number > 0", "Expected a ratio of powers", "For example 1e3")
    if not ratio.ndim:
        return solve(op, b, damp=float(1 / np.sqrt(ratio)), weights=weights, mask=mask).x
    if weights is not None or mask is not None:
        got = "weights or mask with snr for each frequency"
        raise ArgumentError(got, "Expected data that are measured alike", "Pass one number as snr")
    problem = problem_of(op)
    prepared = problem.prepare()
    choice = Choice(_by_frequency(prepared, ratio * prepared.scale**2), "each frequency by itself")
    return Factorization(problem, Solver(prepared, "blocks", choice)).solve(b).x


def _by_frequency(problem: Problem, ratio: AnyArray) -> BlockFactors:
    """Return the factors of a circular convolution with a penalty for each frequency, ``1 / ratio``."""
    op = problem.op
    if isinstance(op, ConvOperator) and all(axis.circular for axis in op.geometry.axes):
        (blocks,) = find_blocks(op.geometry, taps_of(op.geometry, op.kernel))
        sizes = tuple(axis.size for axis in op.geometry.axes)
        if ratio.shape != sizes:
            got = f"snr has shape {ratio.shape}"
            raise ArgumentError(got, f"Expected {sizes}, as numpy.fft.fftn has", "Or pass one number")
        mirrored = np.roll(np.flip(ratio), 1, axis=tuple(range(ratio.ndim)))
        if problem.dtype.kind != "c" and not np.allclose(ratio, mirrored, rtol=1e-6):
            got = "snr differs between frequencies and their negatives"
            raise ArgumentError(got, "Expected equal ones, for the map is real", "Take the mean of both")
        kept = ratio[tuple(slice(split.times.size) for split in blocks.splits)].reshape(1, -1)
        of_blocks = np.repeat(kept, op.geometry.groups, axis=0).reshape(-1, 1, 1)
        penalties = np.eye(blocks.columns) / np.sqrt(of_blocks)
        method, coefficients = "Wiener filter by frequencies", coefficients_of(blocks, True)
        return BlockFactors(problem, method, [coefficients], [blocks.matrices()], [penalties])
    got = "snr is an array and op is not a circular convolution"
    remedy = "Use boundary='wrap' and padding='same', or one number"
    raise UnsupportedError(got, "Expected a map that multiplies frequencies", remedy)
