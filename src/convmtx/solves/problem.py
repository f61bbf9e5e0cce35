"""What is to be solved: least squares with a map, a damping and a regularizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.arguments import number
from convmtx.errors import ArgumentError
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.applied import Applied, applied
from convmtx.structure.double import doubled
from convmtx.typing import AnyArray

EPS = float(np.finfo(np.float64).eps)
#: Bytes of a number in double precision.
NUMBER = 8


@dataclass(frozen=True, eq=False)
class Problem:
    """Minimize ``|A x - b|^2 + damp^2 |R x|^2``, and of all such x take the shortest; all in double precision."""

    op: LinearMap
    damp: float = 0.0
    regularizer: LinearMap | None = None

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """float64, or complex128 where a map is complex."""
        second = self.op.dtype if self.regularizer is None else self.regularizer.dtype
        return np.dtype(np.result_type(self.op.dtype, second, np.float64))

    @cached_property
    def cutoff(self) -> float:
        """The fraction of the norm at which singular values are taken as zero, as of `numpy.linalg.lstsq`."""
        return EPS * max(self.op.shape)

    @cached_property
    def applied(self) -> Applied:
        """The map and its adjoint as functions, and what they take."""
        return applied(self.op)

    def forward(self, x: AnyArray) -> AnyArray:
        """``A x`` of each."""
        return self.applied.forward(x)

    def adjoint(self, y: AnyArray) -> AnyArray:
        """``A^H y`` of each."""
        return self.applied.adjoint(y)

    def penalty(self, x: AnyArray) -> AnyArray:
        """``damp^2 R^H R x``."""
        if self.regularizer is not None and self.damp:
            x = self.regularizer.H(self.regularizer(x))
        return x * self.damp**2

    def residuals(self, b: AnyArray, x: AnyArray) -> tuple[AnyArray, AnyArray]:
        """``|b - A x|`` and ``|A^H (b - A x) - damp^2 R^H R x|`` of each."""
        r = b - self.forward(x)
        s = self.adjoint(r)
        if self.damp:
            s -= self.penalty(x)
        return norms(r), norms(s)

    def accepted(
        self, b: AnyArray, x: AnyArray, residual: AnyArray, normal: AnyArray, norm: float, rtol: float
    ) -> AnyArray:
        """Which pass the tests of LSMR, with true residuals, and with room for what rounding leaves of them."""
        sizes = norms(x)
        penalized = sizes if self.regularizer is None else norms(self.regularizer(x))
        whole = np.hypot(residual, self.damp * penalized)
        reach = norms(b) + norm * sizes
        found: AnyArray = (whole <= rtol * reach) | (normal <= norm * (rtol * whole + 64 * EPS * reach))
        return found


def norms(arrays: AnyArray) -> AnyArray:
    """The 2-norm of each array of a batch."""
    flat = np.ascontiguousarray(arrays).reshape(len(arrays), -1)
    if flat.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.einsum("ij,ij->i", flat, flat))  # by one thread: those of BLAS linger


def checked(op: Any, damp: Any, regularizer: Any) -> Problem:
    """The problem in double precision, if the arguments make one."""
    subject = doubled(op)
    rows, columns = subject.shape
    thing = f"one right-hand side of {rows} numbers with its solution of {columns}"
    memory.require_result(thing, 2 * NUMBER * (rows + columns), "Solve for a part of it")
    remedy = "cm.choose_damp(op, b, 'gcv') finds one"
    weight = number(
        "damp", getattr(damp, "damp", damp), "a finite number >= 0", remedy, fits=lambda weight: weight >= 0
    )  # the attribute is that of a `Damping`
    if regularizer is None:
        return Problem(subject, weight)
    second = doubled(regularizer, "regularizer")
    if second.in_shape != subject.in_shape:
        got = f"regularizer takes {second.in_shape} and op takes {subject.in_shape}"
        raise ArgumentError(got, "Wanted equal input shapes", "Make it for op.in_shape")
    if not weight:
        got = "a regularizer with damp=0"
        raise ArgumentError(got, "It would count for nothing", "Pass damp > 0, or leave it out")
    return Problem(subject, weight, second)
