"""Kernels fitted to samples of inputs and outputs, by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx._xp import (
    all_finite,
    as_numpy,
    cast,
    is_complex,
    itemsize,
    like,
    namespace,
    numeric,
    together,
)
from convmtx._xp.gradients import attach, attachable, constants
from convmtx.construct import kernel_operator
from convmtx.costs import LONGEST_SOLVE
from convmtx.errors import ArgumentError, ArgumentTypeError, SolveError, UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.kernel_operator import KernelOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.factors import fits_in_memory
from convmtx.solves.methods.by_triangle import TriangleFactors
from convmtx.solves.methods.by_windows import RefinedFactors, factorize, price_of
from convmtx.solves.methods.design import Design, Observation, shared, split_outputs
from convmtx.solves.methods.iterated_windows import IteratedFit
from convmtx.solves.observed import weights_of
from convmtx.solves.problem import Problem, problem_of
from convmtx.structure.augmented import Singular
from convmtx.structure.precision import EPS, unit
from convmtx.typing import AnyArray, Array, ArrayLike, BoundaryLike, Channels, PaddingLike, PerAxis


@door("fit_kernel")
def fit_kernel(
    x: ArrayLike,
    y: ArrayLike,
    kernel_shape: PerAxis,
    *,
    input_shape: PerAxis | None = None,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: PaddingLike = "valid",
    boundary: BoundaryLike = "zero",
    groups: int = 1,
    flip: bool = False,
    channels: Channels | None = None,
    input_dilation: PerAxis = 1,
    damp: float = 0.0,
    regularizer: LinearMap | Sequence[LinearMap] | None = None,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    confounds: ArrayLike | None = None,
) -> Array:
    """Return the kernel that maps ``x`` to ``y`` with the least squared error.

    Law: for the map A of kernels, ``cm.kernel_operator(x, kernel_shape, ...)``, the kernel K and numbers c minimize
    ``sum(weights * abs(y - A(K) - Z c)**2) + damp**2 * norm(R(K))**2``, where Z are the confounds. If more than one
    kernel does, return the one of least norm.

    Parameters
    ----------
    x, y : array_like
        Inputs ``(*batch, *input_shape)`` and outputs ``(*batch, *out_shape)``, of one array library. Where weights are
        0, ``mask`` is False, or a NumPy masked array ``y`` is masked, ``y`` is not read and may be nan.
    kernel_shape : tuple of int
        Shape of the kernel, written as for `conv`.
    input_shape : tuple of int, optional
        Shape of one input if ``x`` has batch axes before it.
    stride, dilation, padding, boundary, groups, flip, channels, input_dilation
        As for `conv`. To deconvolve a response that was recorded to its end, such as that of a room, pad by
        ``kernel - 1`` at both sides: all windows of the signal then count.
    damp : float
        Weight of the penalty, at least 0.
    regularizer : LinearMap or list of LinearMap, optional
        R, a map of kernels of shape ``kernel_shape``, or what `aslinearmap` takes; the identity if it is not passed.
        For example ``cm.conv([1, -2, 1], K_size)`` asks for a smooth kernel. Of a list, all are penalized, as in
        `solve`.
    weights : array_like, optional
        Weight of each output, at least 0, broadcast to the shape of ``y``: 1 / variance of its noise, and 0 for what
        was not measured. No derivative is taken with respect to weights.
    mask : array_like of bool, optional
        True where y was measured; shaped like ``weights``.
    confounds : array_like, optional
        What else may be in the outputs, such as drifts and means: arrays ``(n, *batch, *outputs)``, with the shape of
        ``y`` without channels. Each output channel has n numbers of its own that multiply them; these are fitted too,
        and not returned. No derivative is taken with respect to confounds.

    Returns
    -------
    array
        The kernel, of shape ``kernel_shape``. It is computed in double precision and returned in the type of ``x``
        and ``y``, but in at least 32 bits. With PyTorch and JAX, it can be differentiated once with respect to both.

    Raises
    ------
    ValueError, TypeError
        As for `conv`, and if the shapes of the arguments do not fit together, x contains inf or nan, or y does where it
        was measured.
    MemoryError
        If the kernel has so many taps that the factorization does not fit in memory, and an iteration does not converge
        or finds that many kernels fit.

    Notes
    -----
    All filters of a group share one matrix W of windows. Its Gram matrix follows from transforms, and from windows at
    the ends and where weights change. For k taps along one axis of n samples, that takes
    ``O(n log n + k^2)``, and Cholesky factors ``O(k^3)``. If all windows of the signal count and nothing is weighted,
    the matrix is Toeplitz, and Levinson's recursion takes ``O(k^2)`` and ``O(n + k)`` memory. Solutions are then
    corrected with residuals of the data in double precision. Where the condition of the Gram matrix is above 1e11, a QR
    factorization of W is computed from blocks of rows, one after the other, so that about 64 MiB of windows are in
    memory at a time; it costs ``O(outputs * (C/groups * taps)^2)``. Singular values below ``eps * max(rows, columns)``
    times the largest count as zero there, with the eps of double precision for every type.

    A Gram matrix that does not fit in memory, or that would take longer than ten seconds, is replaced by LSMR with a
    preconditioner: the circulant that is nearest to the Gram matrix (T. Chan 1988), by the mean power of windows in
    each wave. It goes on until residuals are at 1e-12.

    Confounds are projected out of the outputs and of the windows (Frisch, Waugh, Econometrica 1, 1933).

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> x = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    >>> y = cm.conv([1.0, -2.0], 6)(x)
    >>> cm.fit_kernel(x, y, 2).round(12)
    array([ 1., -2.])

    An outlier that does not count, and a drift:

    >>> y[2] = np.nan
    >>> cm.fit_kernel(x, y + np.arange(5), 2, weights=[1, 1, 0, 1, 1], confounds=[np.arange(5)]).round(12)
    array([ 1., -2.])
    """
    op = kernel_operator(
        x, kernel_shape, input_shape=input_shape, stride=stride, dilation=dilation, padding=padding,
        boundary=boundary, groups=groups, flip=flip, channels=channels, input_dilation=input_dilation,
    )  # fmt: skip
    inputs, outputs = together(op.input, numeric("y", np.ma.getdata(y) if isinstance(y, np.ma.MaskedArray) else y))
    if tuple(outputs.shape) != op.out_shape:
        got = f"y has shape {tuple(outputs.shape)}"
        raise ArgumentError(got, f"Expected {op.out_shape}, the outputs of x", "Check the options")
    if 0 in op.out_shape:
        raise ArgumentError("y is empty", "Expected at least one output", "Pass samples to fit to")
    _, weight = weights_of(op.out_shape, y if isinstance(y, np.ma.MaskedArray) else outputs, weights, mask, "y")
    problem, xp = problem_of(op, damp, regularizer), namespace(outputs)
    root = None
    if weight is not None:
        root, size = _root_of(as_numpy(weight))
        problem = replace(problem, damp=problem.damp / size)
        outputs = xp.where(like(root > 0, outputs), outputs, 0)
    for name, array, remedy in (
        ("x", inputs, "Leave such samples out"),
        ("y", outputs, "Pass mask=numpy.isfinite(y)"),
    ):
        if not all_finite(array):
            raise ArgumentError(f"{name} contains inf or nan", "Expected finite numbers", remedy)
    dtype = _type_of_fit(inputs, outputs)
    if problem.regularizer is not None and is_complex(problem.regularizer.dtype):
        dtype = xp.result_type(xp.empty(0, dtype=dtype), xp.complex64)
    fit = _Fit(
        problem, op, _observation(op, root, confounds, is_complex(dtype)), np.dtype(str(dtype).rpartition(".")[2])
    )
    return fit(cast(inputs, dtype), cast(outputs, dtype))


def _type_of_fit(x: Array, y: Array) -> Any:
    """Return the type of the fitted kernel: that of both arrays, but of 32 to 64 bits for each real number."""
    xp = namespace(y)
    dtype = xp.result_type(x, y, 1.0) if xp is np else _floating(xp, x, y)
    if itemsize(dtype) < 4:  # half precision would lose what double precision computes
        return xp.empty(0, dtype=xp.float32).dtype
    if itemsize(dtype) > (16 if is_complex(dtype) else 8):  # nothing is computed beyond double precision
        return np.result_type(np.complex64 if is_complex(dtype) else 0, np.float64)
    return dtype


def _floating(xp: Any, *arrays: Array) -> Any:
    """Return the common type of arrays, or float64 if that is not a type of floats."""
    dtype = xp.result_type(*arrays)
    return dtype if xp.isdtype(dtype, ("real floating", "complex floating")) else xp.float64


def _root_of(weights: AnyArray) -> tuple[AnyArray, float]:
    """Return square roots of weights over a number that makes the largest about 1, and that number."""
    size = unit(weights)
    return np.sqrt(weights / size), size**0.5


def _observation(op: KernelOperator, root: AnyArray | None, confounds: Any, is_complex: bool) -> Observation:
    """Return the weights, and the confounds as an orthonormal basis of each filter."""
    roots = None if root is None else shared(split_outputs(op, np.broadcast_to(root, op.out_shape)[None])[:, :, 0])
    if confounds is None:
        return Observation(roots)
    columns = _require_confounds(op, confounds, is_complex)
    if not columns.shape[-1]:
        return Observation(roots)
    if roots is not None:
        columns = columns * roots.reshape(*roots.shape[:2], -1, 1)
    basis, s, _ = np.linalg.svd(columns, full_matrices=False)
    basis = basis * (s > max(columns.shape[-2:]) * EPS * s.max(axis=-1, keepdims=True, initial=0.0))[..., None, :]
    return Observation(roots, basis)


def _require_confounds(op: KernelOperator, confounds: Any, is_complex: bool) -> AnyArray:
    """Return confounds as columns, (1, 1, samples * outputs, n)."""
    arrays = as_numpy(numeric("confounds", confounds))
    shape = (*op._batch, *(a.out for a in op._geometry.axes))
    if tuple(arrays.shape[1:]) != shape:
        got = f"confounds have shape {tuple(arrays.shape)}"
        expected = f"Expected (n, {', '.join(map(str, shape))}): n arrays like y without channels"
        raise ArgumentError(got, expected, "A single one is confounds[None]")
    if not np.isfinite(arrays).all():
        raise ArgumentError("confounds contain inf or nan", "Expected finite numbers", "Leave such arrays out")
    if np.iscomplexobj(arrays) and not is_complex:
        got = "confounds are complex, and x and y are real"
        raise ArgumentTypeError(got, "Expected real ones", "Pass real and imaginary parts as two")
    columns: AnyArray = np.asarray(arrays, np.complex128 if np.iscomplexobj(arrays) else np.float64)
    return columns.reshape(len(arrays), prod(shape)).T[None, None]


class _Factorized(NamedTuple):
    """Factors for the numbers of x and y, and the kernel that fits them."""

    x: AnyArray
    y: AnyArray
    design: Design
    scale: float
    factors: IteratedFit | RefinedFactors | TriangleFactors
    kernel: AnyArray


class _Fit:
    """Kernel as a function of x and y, which are of any library and of one type; NumPy computes in double precision.

    Derivatives are those of least squares with the map ``B = S A`` of observed outputs, as `convmtx.solves.gradients`
    has them: ``dK = B^+ S (dy - dA K) + H^+ dA^H S^H r + (1 - B^+ B) dA^H S^H (B^+)^H K``, with the residual r.
    """

    def __init__(self, problem: Problem, op: KernelOperator, observation: Observation, dtype: np.dtype[Any]) -> None:
        self.problem, self.op, self.observation = problem, op, observation
        self.dtype = dtype
        self.double = np.result_type(dtype, np.float64)
        self._last: _Factorized | None = None

    def __call__(self, x: Array, y: Array) -> Array:
        """Return the kernel, with derivatives."""
        op = self.op
        (kernel,) = constants(lambda x, y: [self._factorized(x, y).kernel], (x, y), [op.in_shape], self.dtype)
        if not attachable((x, y)):
            return kernel
        return attach(kernel, (x, y), self._pull, (x, y))

    def _factorized(self, x: AnyArray, y: AnyArray) -> _Factorized:
        """Return the factors for these numbers, in double precision; the last ones are kept."""
        x, y = (np.asarray(array, self.double) for array in (x, y))
        last = self._last
        if last is None or not (np.array_equal(last.x, x) and np.array_equal(last.y, y)):
            last = self._last = self._factorize(x, y)
        return last

    def _factorize(self, x: AnyArray, y: AnyArray) -> _Factorized:
        problem = self.problem.for_map(KernelOperator(self.op._geometry, x, self.op._batch))
        op = problem.op
        assert isinstance(op, KernelOperator)
        design, size = Design(op, self.observation), unit(y)
        target = self.observation.apply(design.split((y / size)[None]))
        price = price_of(problem, op, observed=not self.observation.is_plain)
        fits = price is not None and fits_in_memory(price.bytes)
        factors: IteratedFit | RefinedFactors | TriangleFactors | None = None
        if price is not None and not (fits and price.seconds(1) <= LONGEST_SOLVE):
            try:
                factors = IteratedFit(problem, design)
                kernel = factors.solve(design.joined(target))
            except (UnsupportedError, SolveError):
                factors = None
        if factors is None and fits:
            try:
                factors = factorize(problem, design)
                kernel = factors.solve(design.joined(target))
            except Singular:
                factors = None
        if factors is None:
            factors = TriangleFactors(problem, design, target)
            kernel = factors.solution
        return _Factorized(x, y, design, problem.scale, factors, kernel[0] * (size / problem.scale))

    def _pull(self, g: AnyArray, x: AnyArray, y: AnyArray) -> list[AnyArray]:
        """Return the gradients with respect to x and y for that of the kernel."""
        known, g = self._factorized(x, y), np.asarray(g, self.double)
        design, observation, scale = known.design, self.observation, known.scale
        image = observation.apply(design.split(known.y[None])) - design.forward(design.taps(known.kernel[None] * scale))
        residual = design.joined(observation.adjoint(image))[0]
        u = self._observed_image(known, g)
        gradient = self._with_kernel(-known.kernel, u)
        gradient += self._with_kernel(known.factors.normal(g[None])[0] / scale**2, residual)
        unseen = known.factors.unseen(g[None])[0]
        if unseen.any():
            gradient += self._with_kernel(unseen, self._observed_image(known, known.kernel))
        return [gradient, u]

    def _observed_image(self, known: _Factorized, g: AnyArray) -> AnyArray:
        """Return ``S^H B H^+ g`` for one kernel."""
        image = self.observation.adjoint(known.design.split(known.factors.image(g[None])))
        return known.design.joined(image)[0] / known.scale

    def _with_kernel(self, kernel: AnyArray, y: AnyArray) -> AnyArray:
        """Return the adjoint, applied to y, of the convolution with a kernel: that of A(kernel) as a map of x."""
        return np.asarray(ConvOperator(self.op._geometry, kernel, "auto").H(y))
