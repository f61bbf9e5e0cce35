"""Norms of maps: exact, or between bounds."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from convmtx import arguments
from convmtx._xp import conjugate, floating, is_complex, is_numpy, like, namespace, numeric
from convmtx._xp.gradients import constants, held
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.geometry import resolve
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra import bounds, entrywise, iterated, rounding
from convmtx.spectra.certified import EPS, Certified, outward, outward_to, rounded, times, unmet
from convmtx.spectra.lanczos import FAILURE
from convmtx.spectra.supremum import coarsest, supremum
from convmtx.spectra.values import DECOMPOSED, cheapest, svd
from convmtx.structure.batched import unit
from convmtx.structure.double import direct, double, doubled, is_zero, require_along, sparse
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, ArrayLike, Channels, PerAxis

Ord = Literal[1, 2, "fro"] | float
Method = Literal["best", "theta", "gram", "sup", "fantastic4", "young"]
#: Work of a bound that is looked at beside the Lanczos process, at most.
BESIDE = 1e9


@door("norm")
def norm(op: LinearMap, ord: Ord = 2, *, rtol: float = 1e-6, maxiter: int = 1000, progress: bool = False) -> Certified:
    """Norm of a map as a matrix: the spectral norm, or one of sums of entries.

    Parameters
    ----------
    op : LinearMap
        Any map.
    ord : {2, 1, inf, "fro"}
        2 is the largest singular value, how much longer the map can make an array (its Lipschitz constant); 1 and inf
        are the largest sums of magnitudes in a column and a row; "fro" is the root of the sum of squares.
    rtol : float
        Relative width of the interval that is wanted for the 2-norm.
    maxiter : int
        Lanczos steps at most; where they are not enough, the interval is wider than ``rtol``, ``r.converged`` is False
        and ``r.method`` says so.
    progress : bool
        Show a bar (extra ``progress``).

    Returns
    -------
    Certified
        ``float(r)``, ``r.lower``, ``r.upper``. Kind ``exact`` wherever structure or size allow, and always for 1, inf
        and "fro" of convolutions (in closed form, with the borders; nothing of the matrix is built). Else
        ``interval``: the lower end is a Rayleigh quotient, and the value; the upper end is the least of a bound by
        structure and one that comes from the Lanczos process' random start and is wrong with a probability of 1e-10 at
        most.
        For a kernel of PyTorch or JAX ``r.value`` is theirs where ``ord`` is 2, and differentiable in the kernel, once;
        under ``jax.jit`` the bounds are traced too.

    Raises
    ------
    ValueError, TypeError
        Where an argument is none of those, or the kernel is not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Notes
    -----
    `norm_bound` has bounds that nothing is random in, and `sup_norm` the one for all sizes of the input.

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
    rtol = _tolerance(rtol)
    arguments.integer("maxiter", maxiter, 1)
    arguments.flag("progress", progress)
    order = _order(ord)
    if order == 2 and isinstance(op, ConvOperator) and not is_numpy(op.kernel):
        return _differentiable(op, rtol, maxiter, progress)
    plain = doubled(op)
    if order != 2:
        subject, scale = iterated.scaled(plain)
        return times(_of_entries(subject, order), scale)
    subject, scale = iterated.scaled(direct(plain))
    return times(_spectral(subject, rtol, maxiter, progress), scale)


def _tolerance(rtol: Any) -> float:
    wanted, remedy = "a number between 0 and 1", "Pass one such as 1e-6"
    return arguments.number("rtol", rtol, wanted, remedy, fits=lambda v: 0 < v < 1)


def _order(ord: Any) -> Any:
    """Return 1, 2, infinity or "fro"."""
    known = isinstance(ord, int | float | np.number) and not isinstance(ord, bool) and ord in (1, 2, np.inf)
    if not known and not (isinstance(ord, str) and ord == "fro"):
        remedy = "For others use numpy.linalg.norm(op.to_dense(), ord)"
        raise ArgumentError(f"ord={shown(ord)}", "Wanted 2, 1, inf or 'fro'", remedy)
    return ord


def _of_entries(op: LinearMap, ord: Any) -> Certified:
    if isinstance(op, ConvOperator):
        norm_of = {1: entrywise.largest_column, np.inf: entrywise.largest_row, "fro": entrywise.frobenius}[ord]
        slack = EPS * entrywise.roundings(op) * norm_of(entrywise.magnitudes(op))
        return rounded(norm_of(op), slack, "closed form", 0.0)
    from scipy.sparse.linalg import norm as sparse_norm

    matrix = sparse(op)
    scale = unit(matrix.data)
    rows, columns = rounding.sums(op)
    size = {1: columns.max(initial=0), np.inf: rows.max(initial=0), "fro": np.linalg.norm(rows / scale) * scale}[ord]
    slack = rounding.of_sum(op, float(size) / scale)
    return times(rounded(float(sparse_norm(matrix / scale, ord)), slack, "sparse matrix", 0.0), scale)


def _spectral(op: LinearMap, rtol: float, maxiter: int, progress: bool) -> Certified:
    if is_zero(op):
        return Certified(0.0, "exact", "a kernel of zeros")
    chosen = cheapest(op)
    if chosen.work <= DECOMPOSED:
        return rounded(chosen.largest(), chosen.slack, chosen.method, 0.0)
    if isinstance(op, ConvOperator):
        ceiling = bounds.young(op)
        if bounds.theta_work(op) <= BESIDE:
            ceiling = min(ceiling, bounds.theta(op))
    else:
        ceiling = np.inf
    iterated.require_vectors(op)
    found = iterated.bracket(op, ceiling, rtol, maxiter, progress)
    (low, high), steps = found.largest, found.steps
    if high < ceiling:
        method = f"Lanczos, {steps} steps; its upper end is wrong with probability {FAILURE:.0e}"
    else:
        method = f"Lanczos, {steps} steps; its upper end is a bound by structure"
    method += unmet(found.stopped, rtol)
    return Certified(low, "interval", method, low, outward(high, 8), steps, not found.stopped)


def _differentiable(op: ConvOperator, rtol: float, maxiter: int, progress: bool) -> Certified:
    """The norm of another library's kernel: ``Re <u, A v>`` with the singular tensors u and v held fixed.

    That is the norm, and its derivative in the kernel is the norm's where the largest singular value is simple.
    """
    known: list[Certified] = []

    def computed(numbers: AnyArray) -> list[AnyArray]:
        subject, scale = iterated.scaled(op.with_kernel(double(numbers)))
        found = times(_spectral(subject, rtol, maxiter, progress), scale)
        known.append(found)
        u, _, v = svd(subject, 1)
        ends = outward_to(real, found.lower, found.upper)
        return [u[0], v[0], np.asarray(found.value), *map(np.asarray, ends)]

    shapes = (op.out_shape, op.in_shape, (), (), ())
    dtype = np.result_type(floating(op.kernel), np.float32)
    held_as = like(np.empty(0, dtype).real, op.kernel).dtype  # JAX has no float64 unless it is told to
    real = np.dtype(f"f{namespace(op.kernel).finfo(held_as).bits // 8}")
    u, v, exact, lower, upper = constants(computed, [op.kernel], shapes, dtype)
    xp = namespace(op.kernel)
    value = xp.sum(conjugate(u) * op(v))
    if is_complex(op.dtype):
        value, exact, lower, upper = (xp.real(each) for each in (value, exact, lower, upper))
    value = value + (exact - held(value))  # the norm to the last digit, and the derivative of the quotient
    if not known:  # JAX is tracing
        return Certified(value, "interval", "computed when the program runs", lower, upper)
    found = known[-1]
    ends = outward_to(real, found.lower, found.upper)
    return Certified(value, found.kind, found.method, *ends, found.iterations, found.converged)


@door("norm_bound")
def norm_bound(op: ConvOperator, method: Method = "best") -> Certified:
    """An upper bound of the largest singular value; nothing in it is random or iterated until it looks right.

    Parameters
    ----------
    op : ConvOperator
        A convolution, with any boundary, stride, dilation and groups.
    method : {"best", "theta", "gram", "sup", "fantastic4", "young"}
        ``theta``: the map is part of every twisted circulant that is long enough; the least norm of several.
        ``gram``: the same, each symbol's norm by Gram iteration, at most 1 % more. ``sup``: the symbol's supremum.
        ``fantastic4``: norms of reshaped kernels. ``young``: the root of 1-norm times infinity norm.
        ``best``: the least of ``young`` and of ``theta``, or of ``sup`` where that is too much work.

    Returns
    -------
    Certified
        Of kind ``upper``: ``float(r)`` and ``r.upper`` are the bound, rounded up: infinite where it is beyond the
        largest number, and 0 for a kernel of zeros or a map that reads nothing.

    Raises
    ------
    ValueError, TypeError
        Where ``op`` is no convolution, the kernel is not finite, or ``method`` is none of those.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Notes
    -----
    Proofs are in the documentation's page on spectra. The norm of a kernel reshaped to a matrix is no bound, and under
    the zero boundary the norm on a circle of the input's own size is none.

    Examples
    --------
    >>> import convmtx as cm
    >>> laplacian = [[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]
    >>> float(cm.norm_bound(cm.conv(laplacian, (15, 15), padding="same"))).__round__(5)
    7.92314
    """
    arguments.one_of("method", method, ("best", "theta", "gram", "sup", "fantastic4", "young"))
    subject, scale = convolution(op)
    if method != "young":
        require_along(*subject.geometry.axes)
    if method != "best":
        return times(Certified(getattr(bounds, method)(subject), "upper", method, lower=0.0), scale)
    other = "theta" if bounds.theta_work(subject) <= 30 * BESIDE else "sup"
    found = {name: getattr(bounds, name)(subject) for name in ("young", other)}
    name = min(found, key=lambda each: found[each])
    return times(Certified(found[name], "upper", name, lower=0.0), scale)


def convolution(op: Any) -> tuple[ConvOperator, float]:
    """The map in double precision and `scaled`, if it is a convolution or the transpose of one."""
    subject, scale = iterated.scaled(direct(doubled(op)))
    if not isinstance(subject, ConvOperator):
        got = f"op is a {type(op).__name__}, which is no single convolution"
        raise ArgumentTypeError(got, "Wanted a convolution", "Use cm.norm, or bound the factors")
    return subject, scale


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
    """The norm that no size of the input exceeds, and that large ones tend to: the supremum of the symbol.

    It holds for the zero boundary with any pads, and for wrap with outputs once around the circle.

    Parameters
    ----------
    kernel : array_like
        As for `conv`.
    stride, dilation, groups, input_dilation
        As for `conv`.
    channels : {"last", "first", None}
        Where the channel axes of the kernel stand. A kernel of one or two axes has none, and None says so of others.
    rtol : float
        Relative width of the bracket.

    Returns
    -------
    Certified
        Kind ``upper``; the value is the upper end, and ``r.lower`` a value that the symbol takes. The bracket is wider
        than ``rtol`` where the symbol's norm is much the same everywhere.

    Raises
    ------
    ValueError, TypeError
        As for `conv`, and where ``rtol`` is not between 0 and 1.

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.sup_norm([1.0, -2.0, 1.0])).__round__(5)
    4.0
    """
    rtol = _tolerance(rtol)
    if isinstance(kernel, LinearMap):
        got = f"kernel is a {type(kernel).__name__}"
        raise ArgumentTypeError(got, "Wanted a kernel, for it has no size", "Pass op.kernel and its options")
    array = double(numeric("kernel", kernel))
    if channels is not None:
        arguments.one_of("channels", channels, ("last", "first"))
    plain = channels is None or array.ndim < 3
    if plain and channels == "first":
        got = f"kernel of shape {array.shape} with channels='first'"
        raise ArgumentError(got, "Wanted channel axes (F, C/groups, *k)", "Leave channels out")
    shape = [1] * (array.ndim - (0 if plain else 1))
    if not plain and channels == "last":
        shape[-1] = array.shape[-2] * arguments.integer("groups", groups, 1)
    elif not plain:
        shape[0] = array.shape[1] * arguments.integer("groups", groups, 1)
    geometry = resolve.conv(
        array.shape, tuple(shape), stride=stride, dilation=dilation, padding="full", boundary="zero", groups=groups,
        flip=False, channels=None if plain else channels, input_dilation=input_dilation,
    )  # fmt: skip
    scale = unit(array)
    taps = taps_of(geometry, array / scale)
    lower, upper = supremum(taps, geometry.groups, [coarsest(axis) for axis in geometry.axes], rtol)
    return times(Certified(upper, "upper", "supremum of the symbol", lower=lower), scale)
