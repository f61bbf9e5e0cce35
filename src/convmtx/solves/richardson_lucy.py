"""Restoration of counts: the iteration of Richardson and Lucy for any map with nonnegative entries."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import (
    all_finite,
    as_numpy,
    cast,
    is_complex,
    is_floating,
    is_numpy,
    is_traced,
    like,
    namespace,
    promote,
    reshape,
)
from convmtx.arguments import flag, integer, number
from convmtx.errors import ArgumentError, ArgumentTypeError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.solves.arrays import require_callback, require_room, require_shape
from convmtx.solves.observed import weights_of
from convmtx.solves.result import Callback, asks_to_stop
from convmtx.structure.double import as_map
from convmtx.typing import Array, ArrayLike

#: Accelerated steps between two bounds of the gap; each costs a product.
LOOK = 10


@dataclass(frozen=True, eq=False)
class Estimate:
    """Result of `richardson_lucy`.

    Attributes
    ----------
    x : array
        The estimate, ``(*batch, *in_shape)``, in the array library of ``b`` and of the map. All steps are computed in
        their precision, unlike those of `solve`: in single precision if both are.
    converged : bool
        Whether ``gap <= rtol * divergence`` for every array of the batch.
    reason : str
        How the iteration ended.
    iterations : int
        Number of steps.
    divergence : float or ndarray
        Kullback-Leibler divergence of b from ``op(x) + background``, ``sum(b * log(b / y) - b + y)`` with the weights,
        of each array of the batch: the negative logarithm of the likelihood of Poisson data, up to a constant.
    gap : float or ndarray
        Bound of what the divergence can still fall, for all x >= 0.
    history : tuple of float
        Divergence before each step, and at last; the sum over the batch. It never grows.
    """

    x: Array
    converged: bool
    reason: str
    iterations: int
    divergence: Any
    gap: Any
    history: tuple[float, ...]

    def __repr__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        worst = float(np.max(self.divergence, initial=0))
        return f"Estimate({tuple(self.x.shape)}, {state}, {self.iterations} iterations, divergence {worst:.3g})"


@door("richardson_lucy")
def richardson_lucy(
    op: LinearMap,
    b: ArrayLike,
    *,
    x0: ArrayLike | None = None,
    maxiter: int = 100,
    background: ArrayLike = 0.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    rtol: float = 1e-3,
    accelerate: bool = False,
    callback: Callback | None = None,
    progress: bool = False,
) -> Estimate:
    """Restore nonnegative x from counts ``b``, which are Poisson data of mean ``op(x) + background``.

    Law: a step is ``x *= op.H(w * b / (op(x) + background)) / op.H(w)`` with the weights w. No step makes the
    likelihood smaller, x stays nonnegative, and at its limit the likelihood is the largest of all x >= 0. The division
    by ``op.H(w)``, the sensitivity of each input, treats inputs at borders right, and beside outputs that were not
    measured. Inputs that no output reads stay as they are.

    Parameters
    ----------
    op : LinearMap
        Any map with nonnegative entries, of any array library, or what `aslinearmap` takes. For a blur by a
        point-spread function: ``cm.conv(psf, b.shape, padding="same", flip=True)``.
    b : array_like
        Counts, ``(*batch, *out_shape)``, nonnegative.
    x0 : array_like, optional
        Where to start: nonnegative, ``(*batch, *in_shape)`` or without the batch. An input that is 0 stays 0. The
        default is flat, with the total of b.
    maxiter : int
        Largest number of steps. Noise grows with them, so that few steps are a choice, too.
    background : array_like
        Mean of the counts that do not come from x, at least 0: a number, or an array that broadcasts with an output.
    weights : array_like, optional
        How often each output counts, at least 0; 0 where it was not measured, where b may be nan.
    mask : array_like of bool, optional
        True where b was measured. Of a masked array of NumPy its own mask is used, too.
    rtol : float
        Stop when the divergence is certified to be within this fraction of its least value, between 0 and 1.
    accelerate : bool
        Start each step ahead of x, as far as Biggs and Andrews do but by a power of the last step's factors, so that x
        stays positive; where that would make the likelihood smaller, step from x. A step then takes three products with
        the map in place of two, and reaches in 100 steps what takes 1000 without.
    callback : callable, optional
        Function that is called with a copy of x after each step. If it returns True or raises StopIteration, the
        estimate so far is returned.
    progress : bool
        Show a bar (extra ``progress``).

    Returns
    -------
    Estimate
        ``x``, ``converged``, ``reason``, ``iterations``, ``divergence``, ``gap`` and ``history``. With PyTorch, x has
        the derivatives of the steps that were taken, with respect to b and the kernel.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, an entry of b, x0, the weights or the background is negative or not finite, or the
        map has negative entries as far as that is seen.

    Notes
    -----
    With ``r = op.H(w * b / (op(x) + background)) / op.H(w)`` the divergence is within
    ``sum(op.H(w) * x * (1 - r)) + max(r - 1, 0) * sum(w * b)`` of its least value, because that is convex, and
    ``sum(op.H(w) * x) <= sum(w * b)`` where it is attained. This is `Estimate.gap`; it costs nothing.

    Cost: a product with the map and one with its adjoint for each step.

    Richardson, J. Opt. Soc. Am. 62, 1972; Lucy, Astron. J. 79, 1974; Shepp, Vardi, IEEE Trans. Med. Imaging 1, 1982.
    The bound: Cover, IEEE Trans. Inf. Theory 30, 1984. Acceleration: Biggs, Andrews, Appl. Opt. 36, 1997.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> blur = cm.conv([0.25, 0.5, 0.25], 7, padding="same")
    >>> stars = np.array([0.0, 0, 80, 0, 0, 40, 0])
    >>> e = cm.richardson_lucy(blur, blur(stars), maxiter=2000, rtol=1e-2, accelerate=True)
    >>> e.x.round(), bool(e.divergence < 1e-3)
    (array([ 0.,  0., 80.,  0.,  0., 40.,  0.]), True)
    """
    op = as_map(op)
    integer("maxiter", maxiter, 1)
    rtol = number("rtol", rtol, "a number between 0 and 1", "For example 1e-3", fits=lambda rtol: 0 < rtol < 1)
    flag("accelerate", accelerate)
    flag("progress", progress)
    require_callback(callback)
    counts = Counts(op, b, weights, mask, background)
    climb = Climb(counts, counts.start(x0), accelerate)
    reason = f"maxiter={maxiter} steps were taken"
    with show_progress(progress, "iterations", maxiter) as bar:
        for _ in range(maxiter):
            if climb.is_done(rtol):
                break
            climb.step()
            if bar is not None:
                bar.update(1)
            if callback is not None and asks_to_stop(callback, counts.outside(climb.x) + 0):
                reason = "the callback asked to stop"
                break
    converged = climb.is_done(rtol)
    reason = f"the divergence is within {rtol:.1e} of its least value" if converged else reason
    divergence, gap = (as_numpy(array).reshape(counts.batch)[()] for array in (climb.divergence, climb.gap))
    return Estimate(counts.outside(climb.x), converged, reason, climb.steps, divergence, gap, tuple(climb.history))


class Counts:
    """Counts (m, *out_shape) with weights and background, in floating point of their library."""

    def __init__(self, op: LinearMap, b: Any, weights: Any, mask: Any, background: Any) -> None:
        b, w = weights_of(op.out_shape, b, weights, mask)
        right = op._in_own_library("b", b)
        if is_numpy(right):
            right = like(right, op._reference_array)
        self.op, self.xp, self.d = op, namespace(right), len(op.out_shape)
        self.batch = tuple(right.shape[: right.ndim - self.d])
        if is_traced(right):
            got = "b has no values yet: JAX traces"
            raise ArgumentTypeError(got, "Expected numbers, by which the iteration ends", "Call it outside of jax.jit")
        _require_real("b", right)
        _require_real("op", op)
        if isinstance(op, ConvOperator):
            _require_nonnegative("the kernel", op.kernel, "Use a kernel without negative numbers")
        #: Type of x: that of outputs of the adjoint, but of floats.
        self.dtype = promote(op.dtype, right.dtype)
        if not is_floating(self.dtype):
            self.dtype = self.xp.zeros(0, dtype=float).dtype
        require_room("the estimate", prod((*self.batch, *op.in_shape)))
        b = reshape(cast(right, self.dtype), (-1, *op.out_shape))
        w = np.ones(op.out_shape) if w is None else w
        #: Weights (1, *out_shape) or (m, *out_shape), weighted counts, sensitivities of inputs.
        self.w = w = reshape(cast(like(w, b), self.dtype), (-1, *op.out_shape))
        b = self.xp.where(w > 0, b, self.xp.zeros_like(b))
        _require_nonnegative("b", b, "Counts are at least 0; mask= leaves entries out")
        self.b, self.weighted = b, w * b
        self.background = self._spread("background", background, b)
        _require_nonnegative("background", self.background, "For example background=0.0")
        self.sensitivity = self.adjoint(w)
        _require_nonnegative("the sum of a column of op", self.sensitivity, "Its entries must not be negative")
        self.total = self.summed(self.weighted)

    def _spread(self, name: str, value: Any, b: Array) -> Array:
        """Return an argument as an array that broadcasts with outputs."""
        array = value if hasattr(value, "shape") else np.asarray(value)
        if is_numpy(array) and array.dtype.kind not in "biuf":
            got = f"{name} has dtype {array.dtype}"
            raise ArgumentTypeError(got, "Expected real numbers", "Pass an array of floats")
        array = cast(like(array, b), self.dtype)
        try:
            return self.xp.broadcast_to(array, self.op.out_shape)[None, ...]
        except (ValueError, RuntimeError, TypeError):
            got = f"{name} has shape {tuple(array.shape)}"
            raise ArgumentError(got, f"Expected {self.op.out_shape}, as an output has", "Check its axes") from None

    def start(self, x0: Any) -> Array:
        """Return where to start, (m, *in_shape)."""
        shape = (self.b.shape[0], *self.op.in_shape)
        if x0 is None:
            size = self.summed(self.sensitivity)
            flat = self.total / self.xp.where(size > 0, size, self.xp.ones_like(size))
            return self.xp.broadcast_to(reshape(flat, (-1, *(1 for _ in self.op.in_shape))), shape) + 0
        start = cast(like(require_shape("x0", x0, self.op.in_shape), self.b), self.dtype)
        _require_nonnegative("x0", start, "Start at nonnegative numbers")
        try:
            return reshape(self.xp.broadcast_to(start, self.batch + self.op.in_shape), shape) + 0
        except (ValueError, RuntimeError, TypeError):
            got = f"x0 has shape {tuple(start.shape)}"
            raise ArgumentError(
                got, f"Expected {self.batch + self.op.in_shape}", "Pass one start, or one for each"
            ) from None

    def forward(self, x: Array) -> Array:
        """Return the means ``op(x) + background``."""
        return cast(self.op(x), self.dtype) + self.background

    def adjoint(self, y: Array) -> Array:
        """Return the transpose of arrays (m, *out_shape)."""
        return cast(self.op.T(y), self.dtype)

    def summed(self, arrays: Array) -> Array:
        """Return the sum of each array of a batch, (m,)."""
        return self.xp.sum(_flat(arrays), axis=1)

    def divergence(self, y: Array) -> Array:
        """Return the divergence of the counts from the means y; terms of entries without counts are y."""
        xp, one = self.xp, self.xp.ones_like(y)
        has_both = (self.b > 0) & (y > 0)
        logs = xp.log(xp.where(has_both, self.b / xp.where(y > 0, y, one), one))
        return self.summed(self.w * (self.b * logs - self.b + y))

    def outside(self, x: Array) -> Array:
        """Return x as the caller has it."""
        return reshape(x, self.batch + self.op.in_shape)


class Climb:
    """Steps that make the likelihood larger, and what is known at x."""

    def __init__(self, counts: Counts, x: Array, accelerate: bool) -> None:
        self.counts, self.accelerate, self.steps = counts, accelerate, 0
        self.x, self.y = x, counts.forward(x)
        _require_nonnegative("op(x)", self.y, "Expected a map with nonnegative entries")
        self.divergence = counts.divergence(self.y)
        self.history = [self._summed_divergence()]
        #: Last step from where it started, that before, and what x was multiplied by last, for the acceleration.
        self.change: Array | None = None
        self.last: Array | None = None
        self.growth: Array | None = None
        self._look()

    def _summed_divergence(self) -> float:
        return float(as_numpy(self.divergence).sum())

    def _ratio(self, y: Array) -> Array:
        """Return what a step from a point with the means y multiplies it by."""
        counts, xp = self.counts, self.counts.xp
        positive = y > 0
        quotient = xp.where(positive, counts.weighted / xp.where(positive, y, xp.ones_like(y)), xp.zeros_like(y))
        seen = counts.sensitivity > 0
        size = xp.where(seen, counts.sensitivity, xp.ones_like(counts.sensitivity))
        ratio = counts.adjoint(quotient) / size
        return xp.where(seen, ratio, xp.ones_like(ratio))

    def _look(self) -> None:
        """Compute the next plain step from x, and the bound of what is left."""
        counts, xp = self.counts, self.counts.xp
        self.ratio: Array | None = self._ratio(self.y)
        excess = xp.max(_flat(self.ratio), axis=1) - 1
        left = counts.summed(counts.sensitivity * self.x * (1 - self.ratio))
        self.gap = _positive(xp, left + _positive(xp, excess) * counts.total)

    def is_done(self, rtol: float) -> bool:
        """Whether the divergence of every array is near its least value."""
        return bool(self.counts.xp.all(self.gap <= rtol * self.divergence))

    def step(self) -> None:
        """Take a step, and look at what is left; an accelerated one does so at every tenth."""
        counts, xp = self.counts, self.counts.xp
        before, divergence = self.x, self.divergence
        start = self._ahead() if self.accelerate else None
        if start is not None:
            x = start * self._ratio(counts.forward(start))
            y = counts.forward(x)
            self.divergence = counts.divergence(y)
        if start is None or not bool(xp.all(self.divergence <= divergence)):
            ratio = self._ratio(self.y) if self.ratio is None else self.ratio
            start, x = before, before * ratio
            y = counts.forward(x)
            self.divergence = counts.divergence(y)
        self.last, self.change = self.change, x - start
        positive = (before > 0) & (x > 0)
        one = xp.ones_like(x)
        self.growth = xp.where(positive, x / xp.where(positive, before, one), one)
        self.x, self.y, self.ratio = x, y, None
        self.steps += 1
        self.history.append(self._summed_divergence())
        if self.accelerate and self.steps % LOOK:
            self.gap = _positive(xp, self.gap - (divergence - self.divergence))
        else:
            self._look()

    def _ahead(self) -> Array | None:
        """Return the point ahead of x from which the next step starts; None before the third step.

        It continues what the last step multiplied x by, to a power: how far the last two steps point in one direction.
        """
        if self.last is None or self.change is None or self.growth is None:
            return None
        counts, xp = self.counts, self.counts.xp
        change, last = _flat(self.change), _flat(self.last)
        unit = xp.max(xp.abs(last), axis=1)[:, None]  # squares of steps themselves may not be in range
        unit = xp.where(unit > 0, unit, xp.ones_like(unit))
        change, last = change / unit, last / unit
        along, size = xp.sum(change * last, axis=1), xp.sum(last * last, axis=1)
        far = along / xp.where(size > 0, size, xp.ones_like(size))
        far = _positive(xp, xp.where(far < 1, far, xp.ones_like(far)))
        far = reshape(far, (-1, *(1 for _ in counts.op.in_shape)))
        return self.x * self.growth**far


def _flat(arrays: Array) -> Array:
    """Return arrays of a batch as rows."""
    return reshape(arrays, (arrays.shape[0], prod(arrays.shape[1:])))


def _positive(xp: Any, array: Array) -> Array:
    """Return the positive parts of an array."""
    return xp.where(array > 0, array, xp.zeros_like(array))


def _require_real(name: str, array: Any) -> None:
    if is_complex(array.dtype):
        raise ArgumentTypeError(f"{name} is complex", "Expected real numbers", "Counts and their means are real")


def _require_nonnegative(name: str, array: Any, remedy: str) -> None:
    if not all_finite(array):
        raise ArgumentError(f"{name} contains inf or nan", "Expected finite numbers", remedy)
    if bool((array < 0).any()):
        raise ArgumentError(f"{name} is negative somewhere", "Expected numbers >= 0", remedy)
