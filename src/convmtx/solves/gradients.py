r"""Derivatives of solutions: implicit, from the solution alone.

For ``x = A^+ b`` and small changes (Golub, Pereyra, SIAM J. Numer. Anal. 10, 1973), with ``r = b - A x``,
``H = A^H A + damp^2 R^H R`` and ``y = (A^+)^H x``::

    dx = A^+ (db - dA x) + H^+ (dA^H r - damp^2 d(R^H R) x) + (I - A^+ A) dA^H y

as long as the rank stays. The last term is there only if the shortest of many solutions was chosen. So x is attached to
``p = b - A x``, ``q = A^H r - damp^2 R^H R x`` and ``s = A^H y``, with x, r and y held fixed: the array library of the
kernel knows how these depend on the kernel and b.
"""

from __future__ import annotations

import numpy as np

from convmtx._xp import floating, is_numpy
from convmtx._xp.gradients import attach, attachable, constants, held
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.factors import Factors
from convmtx.solves.problem import Problem
from convmtx.solves.select import Solvers
from convmtx.typing import AnyArray, Array


class Dependence:
    """Dependence of a solution on the caller's problem and b, which may be of any library."""

    def __init__(self, problem: Problem, b: Array, solvers: Solvers) -> None:
        self.problem, self.op, self.b, self.solvers = problem, problem.op, b, solvers

    @property
    def numbers(self) -> tuple[Array, ...]:
        """Arrays whose numbers matter: the kernel of a convolution, which JAX may be tracing, and b."""
        if isinstance(self.op, ConvOperator) and not is_numpy(self.op.kernel):
            return self.op.kernel, self.b
        return (self.b,)

    def with_numbers(self, *numbers: AnyArray) -> tuple[LinearMap, AnyArray]:
        """Return the map and b with such numbers, which are of NumPy."""
        *kernel, b = numbers
        if not kernel:
            return self.op, b
        assert isinstance(self.op, ConvOperator)
        return self.op.with_kernel(kernel[0]), b

    def attach(self, x: Array, is_shortest: bool) -> Array:
        """Return the solution x with its derivatives; ``is_shortest`` says that it is the shortest of many."""
        if self.problem.rcond is not None:
            return self._attach_linear(x)
        p = self.b - self.op(x)
        q = self.op.H(held(p))
        if self.problem.damp:
            q = q - self.problem.penalty(x)
        if not attachable((p, q)):
            return x
        parts = [p, q]
        if is_shortest:
            (y,) = constants(self._left_inverse, (*self.numbers, x), [tuple(p.shape)], floating(p))
            parts.append(self.op.H(held(y)))
        return attach(x, parts, lambda g, *numbers: self._pull(g, *numbers)[: len(parts)], self.numbers)

    def _attach_linear(self, x: Array) -> Array:
        """Return x with its derivative with respect to b: what a cutoff leaves of the map counts as constant."""
        p = self.b - held(self.op(x))
        return attach(x, [p], lambda g, *n: self._pull(g, *n)[:1], self.numbers) if attachable((p,)) else x

    def _factors(self, *numbers: AnyArray) -> Factors:
        op, _ = self.with_numbers(*numbers)
        return self.solvers.of(op).chosen().factors

    def _left_inverse(self, *numbers: AnyArray) -> list[AnyArray]:
        """Return ``(A^+)^H x`` for the numbers, of which x is the last."""
        *others, x = numbers
        factors = self._factors(*others)
        y = factors.image(x.reshape(-1, *self.op.in_shape)) / factors.problem.scale
        return [y.reshape(x.shape[: x.ndim - len(self.op.in_shape)] + self.op.out_shape)]

    def _pull(self, g: AnyArray, *numbers: AnyArray) -> list[AnyArray]:
        """Apply the adjoints of ``A^+``, ``H^+`` and ``I - A^+ A`` to g."""
        factors = self._factors(*numbers)
        scale = factors.problem.scale
        batch = g.shape[: g.ndim - len(self.op.in_shape)]
        if not g.size:
            return [np.zeros(batch + self.op.out_shape, g.dtype), g, g]
        flat = g.reshape(-1, *self.op.in_shape)
        w, u = factors.normal(flat), factors.image(flat)
        pulled = [(u / scale).reshape(batch + self.op.out_shape), (w / scale**2).reshape(g.shape)]
        if not self.problem.damp:
            pulled.append((flat - factors.problem.adjoint(u)).reshape(g.shape))
        return pulled
