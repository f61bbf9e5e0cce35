"""Norms of maps, exact or between bounds: of a map, a bound without iteration, and for every size of the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, Literal

import numpy as np

from convmtx import arguments
from convmtx._xp import conjugate, floating, is_complex, is_numpy, like, namespace, numeric
from convmtx._xp.gradients import constants, held
from convmtx.costs import BESIDE_LANCZOS_WORK, SMALL_SPECTRUM_WORK, THETA_PATIENCE, THETA_WORK
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown, with_article
from convmtx.geometry import Geometry, resolve
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra import bounds, entrywise
from convmtx.spectra.between import between_bounds, is_direct, is_long
from convmtx.spectra.bracket import Ceilings, bracket
from convmtx.spectra.certified import Certified, combined, outward, outward_to, rounded, times, unmet
from convmtx.spectra.lanczos import FAILURE
from convmtx.spectra.operands import convolution, parts_of, relative_tolerance
from convmtx.spectra.supremum import coarsest, supremum
from convmtx.spectra.triplets import fits, require_vectors
from convmtx.spectra.values import svd
from convmtx.structure import choose_decomposition, rounding
from convmtx.structure.double import direct, double, doubled, is_zero, require_along, sparse
from convmtx.structure.precision import EPS, scaled, unit
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, ArrayLike, Channels, PerAxis, Shape

Ord = Literal[1, 2, "fro"] | float
BoundMethod = Literal["best", "theta", "gram", "sup", "fantastic4", "young"]
#: Upper bounds of the norm of a convolution by name.
BOUNDS: dict[str, Callable[[ConvOperator], float]] = {
    "theta": bounds.theta,
    "gram": bounds.gram,
    "sup": bounds.sup,
    "fantastic4": bounds.fantastic4,
    "young": bounds.young,
}


@door("norm")
def norm(op: LinearMap, ord: Ord = 2, *, rtol: float = 1e-6, maxiter: int = 1000, progress: bool = False) -> Certified:
    """Return a norm of a map as a matrix: the spectral norm, or a norm of its entries.

    Law: it is ``numpy.linalg.norm(op.to_dense(), ord)``.

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes.
    ord : {2, 1, inf, "fro"}
        Number 2 for the largest singular value: how much longer the map can make an array (its Lipschitz constant).
        1 and inf for the largest sum of magnitudes in a column and in a row, "fro" for the root of the sum of squares.
    rtol : float
        Relative width of the interval of the 2-norm at which iterations end, between 0 and 1.
    maxiter : int
        Largest number of Lanczos steps. If they are not enough, the interval is wider than ``rtol``, ``r.converged`` is
        False and ``r.method`` says so.
    progress : bool
        Show a bar (extra ``progress``).

    Returns
    -------
    Certified
        ``float(r)``, ``r.lower``, ``r.upper``. Kind ``exact`` if structure or size allow, and always for 1, inf and
        "fro": for convolutions in closed form, borders included, and for other maps from the sparse matrix. Else
        ``interval``: the value is the lower end, a Rayleigh quotient. The upper end is the smaller of two bounds: one
        by structure, and one by the random start of the Lanczos process that is wrong with a probability of at most
        1e-10. For convolutions of many inputs there are bounds without iterations and without arrays of the input's
        size: the lower end is the quotient of a wave packet, the upper one is by structure.
        With a kernel of PyTorch or JAX and ``ord=2``, ``r.value`` is a scalar of that library. You can differentiate it
        once with respect to the kernel. Under ``jax.jit`` the bounds are traced too.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the kernel is not finite.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit. The 2-norm of a convolution of
        NumPy needs neither.

    Notes
    -----
    `norm_bound` has bounds without random starts, and `sup_norm` the bound for all sizes of the input. Cost: for 1, inf
    and "fro" of convolutions, sums over entries; for 2, a decomposition if it takes less than a second, else Lanczos
    steps of two products with the map. If the vectors of these do not fit or the steps would take minutes, the bounds
    without iterations are returned as they are. With zeros outside or on a circle, they differ by some ``(k / n)**2``
    of k taps on n positions. Other boundaries can make the norm larger than any symbol's: then the norm of a smaller
    input with the same boundaries, of some 100,000 numbers, gives bounds that differ by 1e-5 to 1e-2.
    The norm of `block_diag` is the largest of the norms of its parts, and that of `kron` is the product of theirs.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]], (15, 15), padding="same")
    >>> r = cm.norm(op)
    >>> bool(np.isclose(float(r), 4 + 4 * np.cos(np.pi / 16))), r.kind
    (True, 'exact')
    >>> float(cm.norm(op, 1)), round(float(cm.norm(op, "fro")) ** 2, 6)
    (8.0, 4440.0)
    """
    rtol = relative_tolerance(rtol)
    arguments.integer("maxiter", maxiter, 1)
    arguments.flag("progress", progress)
    order = _order(ord)
    if order == 2 and isinstance(op, ConvOperator) and not is_numpy(op.kernel):
        return _differentiable(op, rtol, maxiter, progress)
    plain = doubled(op)
    if order != 2:
        operator, scale = scaled(plain)
        return times(_entrywise_norm(operator, order), scale)
    operator, scale = scaled(direct(plain))
    return times(_spectral_norm(operator, rtol, maxiter, progress), scale)


def _order(ord: Any) -> Any:
    """Return 1, 2, infinity or "fro"."""
    known = isinstance(ord, int | float | np.number) and not isinstance(ord, bool) and ord in (1, 2, np.inf)
    if not known and not (isinstance(ord, str) and ord == "fro"):
        remedy = "For others use numpy.linalg.norm(op.to_dense(), ord)"
        raise ArgumentError(f"ord={shown(ord)}", "Expected 2, 1, inf or 'fro'", remedy)
    return ord


def _entrywise_norm(op: LinearMap, ord: Any) -> Certified:
    """Return a norm of entries of a scaled map: in closed form for convolutions, else from the sparse matrix."""
    if isinstance(op, ConvOperator):
        norm_of = {1: entrywise.largest_column, np.inf: entrywise.largest_row, "fro": entrywise.frobenius}[ord]
        slack = EPS * entrywise.roundings(op) * norm_of(entrywise.magnitudes(op))
        return rounded(norm_of(entrywise.shortened(op)), slack, "closed form", 0.0)
    from scipy.sparse.linalg import norm as sparse_norm

    matrix = sparse(op)
    scale = unit(matrix.data)
    rows, columns = rounding.sums(op)
    size = {1: columns.max(initial=0), np.inf: rows.max(initial=0), "fro": np.linalg.norm(rows / scale) * scale}[ord]
    slack = rounding.of_sum(op, float(size) / scale)
    return times(rounded(float(sparse_norm(matrix / scale, ord)), slack, "sparse matrix", 0.0), scale)


def _spectral_norm(op: LinearMap, rtol: float, maxiter: int, progress: bool) -> Certified:
    """Return the largest singular value of a scaled map, by a decomposition or between bounds."""
    if is_zero(op):
        slack = 0.0 if isinstance(op, ConvOperator) else rounding.of_product(op, rounding.size_of(op))
        return rounded(0.0, slack, "a map of zeros", 0.0)
    if isinstance(op, ConvOperator) and not fits(op):
        return between_bounds(op, rtol, _norm_of_smaller)
    decomposition = choose_decomposition(op)
    if decomposition.work <= SMALL_SPECTRUM_WORK:
        return rounded(decomposition.largest(), decomposition.slack, decomposition.method, 0.0)
    if isinstance(op, ConvOperator) and is_direct(op, rtol, maxiter):
        between = between_bounds(op, rtol, _norm_of_smaller)
        if between.converged or is_long(op, rtol, maxiter):
            return between
    if (of_parts := _norm_of_parts(op, rtol, maxiter, progress)) is not None:
        return of_parts
    require_vectors(op)
    both = bracket(op, _ceilings(op, rtol), rtol, maxiter, progress)
    (low, high), steps = both.largest, both.steps
    if high < both.ceiling:
        method = f"Lanczos, {steps} steps; its upper end is wrong with probability {FAILURE:.0e}"
    else:
        method = f"Lanczos, {steps} steps; its upper end is a bound by structure"
    method += unmet(both.stopped, rtol)
    return Certified(low, "interval", method, low, outward(high, 8), steps, both.stopped is None)


def _norm_of_smaller(op: LinearMap) -> Certified:
    """Return the norm of a smaller map to 1e-4, or as close as it comes in some seconds."""
    return _spectral_norm(op, rtol=1e-4, maxiter=200, progress=False)


def _norm_of_parts(op: LinearMap, rtol: float, maxiter: int, progress: bool) -> Certified | None:
    """Return the largest of the norms of maps on the diagonal, or the product of those of Kronecker factors."""
    parts, is_product = parts_of(op)
    if len(parts) == 1:
        return None
    norms = []
    for part in parts:
        operator, scale = scaled(direct(part))
        norms.append(times(_spectral_norm(operator, rtol / 2, maxiter, progress), scale))
    return combined(norms, prod, "product of norms") if is_product else combined(norms, max, "largest of norms")


def _ceilings(op: LinearMap, rtol: float) -> Ceilings:
    """Return upper bounds of the norm by structure; the closer one waits until the Lanczos process took as long.

    Along an axis of n positions, circulants have a larger norm by a fraction of some 1 / n^2. If that is more than
    ``rtol``, the closer bound is not likely to end the process, and waits longer.
    """
    if not isinstance(op, ConvOperator):
        return Ceilings()
    known = bounds.young(op)
    if bounds.theta_work(op) > BESIDE_LANCZOS_WORK:
        return Ceilings(known)
    is_close = all(axis.out**2 * rtol >= 1 for axis in op.geometry.axes)
    steps = bounds.theta_steps(op)
    return Ceilings(known, partial(bounds.theta, op), steps * (1 if is_close else THETA_PATIENCE))


def _differentiable(op: ConvOperator, rtol: float, maxiter: int, progress: bool) -> Certified:
    """Return the norm of another library's kernel: ``Re <u, A v>`` with the singular tensors u and v held fixed.

    That is the norm, and its derivative in the kernel is the norm's if the largest singular value is simple.
    """
    results: list[Certified] = []

    def compute(numbers: AnyArray) -> list[AnyArray]:
        operator, scale = scaled(op.with_kernel(double(numbers)))
        result = times(_spectral_norm(operator, rtol, maxiter, progress), scale)
        results.append(result)
        u, _, v = svd(operator, 1)
        ends = outward_to(real, result.lower, result.upper)
        return [u[0], v[0], np.asarray(result.value), *map(np.asarray, ends)]

    shapes = (op.out_shape, op.in_shape, (), (), ())
    dtype = np.result_type(floating(op.kernel), np.float32)
    held_as = like(np.empty(0, dtype).real, op.kernel).dtype  # JAX has no float64 unless it is turned on
    real = np.dtype(f"f{namespace(op.kernel).finfo(held_as).bits // 8}")
    u, v, exact, lower, upper = constants(compute, [op.kernel], shapes, dtype)
    xp = namespace(op.kernel)
    value = xp.sum(conjugate(u) * op(v))
    if is_complex(op.dtype):
        value, exact, lower, upper = (xp.real(part) for part in (value, exact, lower, upper))
    value = value + (exact - held(value))  # the norm to the last digit, and the derivative of the quotient
    if not results:  # JAX is tracing
        return Certified(value, "interval", "computed when the program runs", lower, upper)
    lower, upper = outward_to(real, results[-1].lower, results[-1].upper)
    return replace(results[-1], value=value, lower=lower, upper=upper)


@door("norm_bound")
def norm_bound(op: ConvOperator, method: BoundMethod = "best") -> Certified:
    """Return an upper bound of the largest singular value, without random starts and without iterations.

    Law: ``cm.norm(op) <= cm.norm_bound(op, method).upper`` for every method, rounding included.

    Parameters
    ----------
    op : ConvOperator
        A convolution, with any boundary, stride, dilation and groups.
    method : {"best", "theta", "gram", "sup", "fantastic4", "young"}
        ``theta``: the least norm of some twisted circulants that contain the map. ``gram``: the same, but each symbol's
        norm is bounded by Gram iteration, which gives at most 1 % more. ``sup``: the symbol's supremum. ``fantastic4``:
        norms of reshaped kernels. ``young``: the root of 1-norm times infinity norm, of the kernel's magnitudes if a
        boundary folds very many taps. ``best``: the smaller of ``young`` and ``theta``, with ``sup`` in place of
        ``theta`` if that takes more than some seconds.

    Returns
    -------
    Certified
        Kind ``upper``: ``float(r)`` and ``r.upper`` are the bound, rounded up. It is infinite if it is beyond the
        largest number, and 0 for a kernel of zeros or a map that reads nothing.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a convolution, the kernel is not finite, or ``method`` is not in the list.
    MemoryError
        If lists of the positions along an axis, or arrays of that size, do not fit.

    Notes
    -----
    Proofs are in the documentation's page on spectra. The norm of a kernel reshaped to a matrix is not a bound, and
    neither is, under the zero boundary, the norm on a circle of the input's own size. Cost: for ``theta`` a
    decomposition of the smaller Gram matrix of each symbol, for ``young`` sums over entries.

    Examples
    --------
    >>> import convmtx as cm
    >>> laplacian = [[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]
    >>> float(cm.norm_bound(cm.conv(laplacian, (15, 15), padding="same"))).__round__(5)
    7.92314
    """
    arguments.one_of("method", method, ("best", *BOUNDS))
    operator, scale = convolution(op)
    if method != "young":
        require_along(*operator.geometry.axes)
    methods: tuple[str, ...] = (method,)
    if method == "best":
        methods = "young", "theta" if bounds.theta_work(operator) <= THETA_WORK else "sup"
    bound, name = min(((BOUNDS[name](operator), name) for name in methods), key=lambda pair: pair[0])
    return times(Certified(bound, "upper", name, lower=0.0), scale)


@door("sup_norm")
def sup_norm(
    kernel: ArrayLike,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    groups: int = 1,
    channels: Channels | None = "last",
    input_dilation: PerAxis = 1,
    rtol: float = 1e-6,
) -> Certified:
    """Return the supremum of the symbol: a bound of the norm for inputs of every size, and its limit for large ones.

    Law: ``cm.norm(cm.conv(kernel, shape, ...)) <= r.upper`` for every shape, under the zero boundary with any pads and
    under wrap with outputs once around the circle.

    Parameters
    ----------
    kernel : array_like
        As for `conv`.
    stride, dilation, groups, input_dilation
        As for `conv`.
    channels : {"last", "first", None}
        Position of the kernel's channel axes. A kernel of one or two axes has none. With None, a kernel of more axes
        has none either.
    rtol : float
        Relative width of the bracket at which the search ends, between 0 and 1.

    Returns
    -------
    Certified
        Kind ``upper``: the value is the upper end, and ``r.lower`` is a value that the symbol takes. The bracket
        between the two is wider than ``rtol`` if the symbol's norm is much the same at all frequencies.

    Raises
    ------
    ValueError, TypeError
        As for `conv`, and if ``rtol`` is not between 0 and 1.

    Notes
    -----
    Cost: norms of symbols on a grid that is finer near the supremum, less than a second. Source: the
    Bernstein-Szego inequality (Duffin, Schaeffer, Bull. AMS 44, 1938).

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.sup_norm([1.0, -2.0, 1.0])).__round__(5)
    4.0
    """
    rtol = relative_tolerance(rtol)
    if isinstance(kernel, LinearMap):
        got = f"kernel is {with_article(type(kernel).__name__)}"
        raise ArgumentTypeError(got, "Expected a kernel, for it has no size", "Pass op.kernel and its options")
    array = double(numeric("kernel", kernel))
    geometry = _geometry_of_any_size(
        array.shape, channels, stride=stride, dilation=dilation, groups=groups, input_dilation=input_dilation
    )
    scale = unit(array)
    taps = taps_of(geometry, array / scale)
    lower, upper, _ = supremum(taps, geometry.groups, [coarsest(axis) for axis in geometry.axes], rtol)
    return times(Certified(upper, "upper", "supremum of the symbol", lower=lower), scale)


def _geometry_of_any_size(shape: Shape, channels: Channels | None, groups: int, **options: PerAxis) -> Geometry:
    """Return the geometry of a kernel of a shape on an input of one position, with full pads."""
    if channels is not None:
        arguments.one_of("channels", channels, ("last", "first"))
    plain = channels is None or len(shape) < 3
    if plain and channels == "first":
        got = f"kernel of shape {shape} with channels='first'"
        raise ArgumentError(got, "Expected channel axes (F, C/groups, *k)", "Leave channels out")
    in_shape = [1] * (len(shape) - (0 if plain else 1))
    if not plain and channels == "last":
        in_shape[-1] = shape[-2] * arguments.integer("groups", groups, 1)
    elif not plain:
        in_shape[0] = shape[1] * arguments.integer("groups", groups, 1)
    return resolve.conv(
        shape, tuple(in_shape), padding="full", boundary="zero", groups=groups, flip=False,
        channels=None if plain else channels, **options,
    )  # fmt: skip
