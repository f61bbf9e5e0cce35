"""A solution in the array library and the type of b and of the map."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import as_numpy, floating, is_numpy, is_traced, like, numeric, one_of_theirs, require_together
from convmtx._xp.gradients import constants
from convmtx.errors import ArgumentError, SolveError
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.differentiated import Dependence
from convmtx.solves.iterated import Callback
from convmtx.solves.outcome import Asked, Outcome
from convmtx.solves.problem import NUMBER, checked, norms
from convmtx.solves.solution import Factors, Solution
from convmtx.solves.solver import Solver
from convmtx.typing import AnyArray, Array

#: What to do about entries that are not finite.
REPLACE = "Replace them by estimates: entries cannot be left out"
SINGLE = "float32", "complex64", "float16", "bfloat16"


def answered(
    op: LinearMap,
    b: Any,
    x0: Any,
    asked: Asked,
    throw: bool,
    penalty: tuple[float, LinearMap | None],
    solver: Callable[[LinearMap], Solver],
) -> Solution:
    """The solution in the library and type of b and of the map."""
    if not isinstance(op, LinearMap):
        checked(op, 0, None)  # which says what is wrong
    right = shaped("b", b, op.out_shape)
    theirs = [each._reference_array for each in (op, penalty[1]) if isinstance(each, LinearMap)]
    for array in theirs:
        require_together(array, right)
        right = like(right, array)
    batch = tuple(right.shape[: right.ndim - len(op.out_shape)])
    roomy(f"a solution of shape {batch + op.in_shape}", prod(batch + op.in_shape))
    start = None if x0 is None else _start(x0, op, batch)
    if asked.callback is not None:
        asked = asked._replace(callback=_seen(asked.callback, lambda x: outside(x.reshape(batch + op.in_shape))))
    made: list[tuple[LinearMap, Solver]] = []
    found: list[Outcome] = []

    def outside(x: AnyArray) -> Array:
        return like(_typed(x, op, right), one_of_theirs([right, *theirs]))

    def solver_of(subject: LinearMap) -> Solver:
        if not made or not _same(made[-1][0], subject):
            made.append((subject, solver(subject)))
        return made[-1][1]

    def computed(*numbers: AnyArray) -> list[AnyArray]:
        subject, b = dependence.subject(*numbers)
        flat = finite("b", b).reshape(prod(batch), *op.out_shape)
        result = solver_of(subject).answer(flat, start, asked)
        found.append(result)
        if throw and not result.converged.all():
            remedy = "Without throw=True x is the best so far"
            raise SolveError(result.reason, "Wanted a solution", remedy)
        told = (each.reshape(batch) for each in (result.residual, result.normal_residual, result.converged))
        return [result.x.reshape(batch + op.in_shape), *told]

    def factors(subject: LinearMap) -> tuple[Factors, float]:
        maker = solver_of(subject)
        return maker.ready().factors, maker.scale

    dependence = Dependence(op, *penalty, right, factors)
    numbers = dependence.numbers
    if not any(map(is_traced, numbers)):
        x, residual, normal, _ = computed(*(as_numpy(each) for each in numbers))
        result = found[-1]
        x = outside(x)
        singular = result.reason.startswith("singular")
        x = x if is_numpy(x) else dependence.attached(x, not penalty[0] and (singular or op.shape[0] < op.shape[1]))
        rest = (result.iterations, result.history, result.condition)
        return Solution(x, bool(result.converged.all()), result.method, result.reason, residual[()], normal[()], *rest)
    dtype = np.result_type(*(floating(each) for each in numbers if not is_numpy(each)))
    shapes = [batch + op.in_shape, batch, batch, batch]
    x, residual, normal, converged = constants(computed, numbers, shapes, dtype)
    x = dependence.attached(x, not penalty[0] and op.shape[0] < op.shape[1])
    told = "computed when the program runs"
    return Solution(x, converged > 0, told, told, residual, normal, 0, (), np.nan)


def _seen(callback: Callback, outside: Callable[[AnyArray], Array]) -> Callback:
    """A callback that is shown a copy of x, as the solution has it."""
    return lambda x: callback(outside(x.copy()))


def _same(first: LinearMap, second: LinearMap) -> bool:
    """Whether these are one map, or convolutions of one kernel."""
    if first is second:
        return True
    if not (isinstance(first, ConvOperator) and isinstance(second, ConvOperator)):
        return False
    return np.array_equal(first.kernel, second.kernel)


def shaped(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """A numeric array whose last axes are the wanted ones."""
    array = numeric(name, value)
    d = len(shape)
    if array.ndim < d or tuple(array.shape[array.ndim - d :]) != shape:
        wanted = f"Wanted (*batch, {', '.join(map(str, shape))})"
        remedy = (
            "A flattened array has to be reshaped" if tuple(array.shape) == (prod(shape),) else "Batch axes come first"
        )
        raise ArgumentError(f"{name} has shape {tuple(array.shape)}", wanted, remedy)
    roomy(f"{name} of shape {tuple(array.shape)} in double precision", prod(array.shape))
    return array


def roomy(thing: str, count: int) -> None:
    """Refuse to compute with more numbers than memory holds; those that came may be one that is repeated."""
    memory.require_result(thing, 2 * NUMBER * count, "Solve for a part of it")


def finite(name: str, array: AnyArray) -> AnyArray:
    """Return an array of NumPy without inf and nan, extended precision in double."""
    if array.dtype in (np.longdouble, np.clongdouble):
        with np.errstate(over="ignore"):
            array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    if not (array.dtype == np.float64 and np.isfinite(norms(array[None])[0])) and not np.isfinite(array).all():
        raise ArgumentError(f"{name} holds inf or nan", "Wanted finite numbers", REPLACE)
    return array


def _start(x0: Any, op: LinearMap, batch: tuple[int, ...]) -> AnyArray:
    array = finite("x0", as_numpy(shaped("x0", x0, op.in_shape)))
    try:
        array = np.broadcast_to(array, batch + op.in_shape)
    except ValueError:
        wanted = f"Wanted {batch + op.in_shape}, as b has"
        raise ArgumentError(f"x0 has shape {array.shape}", wanted, "Pass one start, or one for each") from None
    return array.reshape(-1, *op.in_shape)


def _typed(x: AnyArray, op: LinearMap, b: Array) -> AnyArray:
    """In single precision where both the map and b are."""
    single = all(str(each).rpartition(".")[2] in SINGLE for each in (op.dtype, b.dtype))
    return x.astype(np.complex64 if x.dtype.kind == "c" else np.float32) if single else x
