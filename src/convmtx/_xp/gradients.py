"""What NumPy computes and other libraries differentiate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, conjugate, is_traced, library, like, one_of_theirs
from convmtx.typing import AnyArray, Array, Shape


def constants(
    compute: Callable[..., Sequence[AnyArray]],
    arrays: Sequence[Array],
    shapes: Sequence[Shape],
    dtype: Any,
    *,
    once: bool = False,
) -> list[Array]:
    """What NumPy computes of some arrays' numbers, as arrays of their library that have no gradient.

    While JAX traces there are no numbers, and the traced program calls back when it runs. With ``once``, JAX refuses to
    differentiate them rather than taking them as constants.
    """
    if not any(map(is_traced, arrays)):
        found = compute(*(as_numpy(array) for array in arrays))
        return [like(np.asarray(each, dtype), one_of_theirs(arrays)) for each in found]
    from jax import ShapeDtypeStruct, lax, pure_callback

    def called(*numbers: Any) -> list[AnyArray]:
        return [np.asarray(each, dtype) for each in compute(*map(np.asarray, numbers))]

    kinds = [ShapeDtypeStruct(shape, dtype) for shape in shapes]  # type: ignore[no-untyped-call]
    given = arrays if once else [lax.stop_gradient(array) for array in arrays]
    traced: list[Array] = pure_callback(called, kinds, *given, vmap_method="sequential")
    return traced


def attached(
    x: Array, parts: Sequence[Array], pull: Callable[..., Sequence[AnyArray]], numbers: Sequence[Array]
) -> Array:
    """x, whose derivative in each part is a linear map that NumPy knows the adjoints of.

    ``pull(g, *numbers)`` applies the adjoints to one array g of the shape of x: an array for each part, of its shape.
    """
    if library(x) == "torch":
        return _torch_function().apply(lambda g: pull(as_numpy(g), *numbers), x, *parts)
    return _jax_function(pull)(x, tuple(parts), tuple(numbers))


def in_double_precision(function: Callable[..., Array], *arrays: Array) -> Array:
    """The function's array, of arrays that it takes to double precision itself, with its gradients.

    In JAX double precision is off unless somebody turned it on; it is turned on for as long as this takes.
    """
    if library(one_of_theirs(arrays)) != "jax":
        return function(*arrays)
    import jax

    home: Any = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")  # where it used to be

    def computed(*numbers: Array) -> Array:
        with home.enable_x64(True):
            return function(*numbers)

    def backward(numbers: Any, gradient: Array) -> Any:
        with home.enable_x64(True):
            return jax.vjp(function, *numbers)[1](gradient)

    wrapped = jax.custom_vjp(computed)
    wrapped.defvjp(lambda *numbers: (computed(*numbers), numbers), backward)
    return wrapped(*arrays)


def held(array: Array) -> Array:
    """The same numbers as a constant."""
    if library(array) == "torch":
        return array.detach()
    if is_traced(array):
        from jax import lax

        return lax.stop_gradient(array)
    return array


def attachable(parts: Sequence[Array]) -> bool:
    """Whether somebody may ask for derivatives in any of these."""
    return any(getattr(part, "requires_grad", False) or is_traced(part) for part in parts)


@cache
def _torch_function() -> Any:
    import torch

    class Pulled(torch.autograd.Function):
        """The adjoints; whoever differentiates them again is told, and gets no zeros."""

        @staticmethod
        def forward(_ctx: Any, pull: Any, gradient: Array, *parts: Array) -> tuple[Array, ...]:
            found = zip(pull(gradient), parts, strict=True)
            return tuple(torch.from_numpy(each).to(part.device, part.dtype) for each, part in found)

        @staticmethod
        def backward(_ctx: Any, *_: Array) -> Any:
            message = "a solution can be differentiated once, and this is the second time"
            raise RuntimeError(message)

    class Attached(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, pull: Any, x: Array, *parts: Array) -> Array:
            ctx.pull = pull
            ctx.save_for_backward(*parts)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Array) -> Any:
            pulled: Any = Pulled
            return None, None, *pulled.apply(ctx.pull, gradient, *ctx.saved_tensors)

    return Attached


def _jax_function(pull: Callable[..., Sequence[AnyArray]]) -> Any:
    import jax

    def forward(x: Array, parts: Any, numbers: Any) -> Any:
        return x, (parts, numbers)

    def backward(kept: Any, gradient: Array) -> Any:
        parts, numbers = kept
        shapes, dtype = [part.shape for part in parts], np.result_type(*(part.dtype for part in parts))
        # JAX pairs cotangents with differentials without conjugation.
        found = constants(pull, [conjugate(gradient), *numbers], shapes, dtype, once=True)
        several = [conjugate(each).astype(part.dtype) for each, part in zip(found, parts, strict=True)]
        return gradient * 0, tuple(several), tuple(jax.numpy.zeros_like(each) for each in numbers)

    function = jax.custom_vjp(lambda x, parts, numbers: x)  # noqa: ARG005
    function.defvjp(forward, backward)
    return function
