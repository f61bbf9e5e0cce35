r"""Solutions in the array library of b and of the map, and their derivatives: implicit, from the solution alone.

Of ``x = A^+ b`` and small changes (Golub, Pereyra, SIAM J. Numer. Anal. 10, 1973), with ``r = b - A x``,
``H = A^H A + damp^2 R^H R`` and ``y = (A^+)^H x``::

    dx = A^+ (db - dA x) + H^+ (dA^H r - damp^2 d(R^H R) x) + (I - A^+ A) dA^H y

as long as the rank stays. The last term is there only where of many solutions the shortest was chosen. So x is attached
to ``p = b - A x``, ``q = A^H r - damp^2 R^H R x`` and ``s = A^H y``, with x, r and y held fixed: how these depend on
kernels and b, the library of the kernels knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convmtx._xp import floating, is_numpy
from convmtx._xp.gradients import attachable, attached, constants, held
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.solution import Factors
from convmtx.typing import AnyArray, Array


@dataclass(frozen=True, eq=False)
class Dependence:
    """What a solution depends on: the map and b of any library, and factors for the numbers in them."""

    op: LinearMap
    damp: float
    regularizer: LinearMap | None
    b: Array
    #: Of a map of NumPy.
    factors: Callable[[LinearMap], tuple[Factors, float]]

    @property
    def numbers(self) -> tuple[Array, ...]:
        """The arrays whose numbers matter: a convolution's kernel, which JAX may be tracing, and b."""
        if isinstance(self.op, ConvOperator) and not is_numpy(self.op.kernel):
            return self.op.kernel, self.b
        return (self.b,)

    def subject(self, *numbers: AnyArray) -> tuple[LinearMap, AnyArray]:
        """The map with such numbers, and b."""
        *kernel, b = numbers
        if not kernel:
            return self.op, b
        assert isinstance(self.op, ConvOperator)
        return self.op.with_kernel(kernel[0]), b

    def attached(self, x: Array, short: bool) -> Array:
        """The solution x with its derivatives; ``short`` says that it is the shortest of many."""
        op = self.op
        p = self.b - op(x)
        q = op.H(held(p))
        if self.damp:
            q = q - self.damp**2 * (x if self.regularizer is None else self.regularizer.H(self.regularizer(x)))
        if not attachable((p, q)):
            return x
        parts = [p, q]
        if short:
            (y,) = constants(self._left, (*self.numbers, x), [tuple(p.shape)], floating(p))
            parts.append(op.H(held(y)))
        return attached(x, parts, lambda g, *numbers: self._pull(g, *numbers)[: len(parts)], self.numbers)

    def _left(self, *numbers: AnyArray) -> list[AnyArray]:
        """``(A^+)^H x``."""
        factors, scale = self.factors(self.subject(*numbers[:-1])[0])
        x = numbers[-1]
        y = factors.image(x.reshape(-1, *self.op.in_shape)) / scale
        return [y.reshape(x.shape[: x.ndim - len(self.op.in_shape)] + self.op.out_shape)]

    def _pull(self, g: AnyArray, *numbers: AnyArray) -> list[AnyArray]:
        """The adjoints of ``A^+``, ``H^+`` and ``I - A^+ A``."""
        factors, scale = self.factors(self.subject(*numbers)[0])
        batch = g.shape[: g.ndim - len(self.op.in_shape)]
        if not g.size:
            return [np.zeros(batch + self.op.out_shape, g.dtype), g, g]
        flat = g.reshape(-1, *self.op.in_shape)
        w, u = factors.normal(flat), factors.image(flat)
        found = [(u / scale).reshape(batch + self.op.out_shape), (w / scale**2).reshape(g.shape)]
        if not self.damp:
            found.append((flat - factors.problem.adjoint(u)).reshape(g.shape))
        return found
