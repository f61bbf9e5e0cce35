"""Gradients of results that NumPy computes, for PyTorch and JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
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
    """Apply a NumPy function to the numbers of some arrays; return arrays of their library without gradient.

    While JAX traces there are no numbers: then the traced program calls the function when it runs. With ``once``, JAX
    refuses to differentiate the results, instead of taking them as constants.
    """
    if not any(map(is_traced, arrays)):
        results = compute(*(as_numpy(array) for array in arrays))
        return [like(np.asarray(result, dtype), one_of_theirs(arrays)) for result in results]
    from jax import ShapeDtypeStruct, lax, pure_callback

    def callback(*numbers: Any) -> list[AnyArray]:
        return [np.asarray(result, dtype) for result in compute(*map(np.asarray, numbers))]

    kinds = [ShapeDtypeStruct(shape, dtype) for shape in shapes]  # type: ignore[no-untyped-call]
    arguments = arrays if once else [lax.stop_gradient(array) for array in arrays]
    traced: list[Array] = pure_callback(callback, kinds, *arguments, vmap_method="sequential")
    return traced


def attach(
    x: Array, parts: Sequence[Array], pull: Callable[..., Sequence[AnyArray]], numbers: Sequence[Array]
) -> Array:
    """Return x with a derivative with respect to each part: a linear map whose adjoint NumPy computes.

    ``pull(g, *numbers)`` applies the adjoints to an array g of the shape of x, and returns an array of the shape of
    each part.
    """
    if library(x) == "torch":
        return _torch_function().apply(lambda g: pull(as_numpy(g), *numbers), x, *parts)
    return _jax_function(pull)(x, tuple(parts), tuple(numbers))


def held(array: Array) -> Array:
    """Return the array as a constant, through which no gradient flows."""
    if library(array) == "torch":
        return array.detach()
    if is_traced(array):
        from jax import lax

        return lax.stop_gradient(array)
    return array


def attachable(parts: Sequence[Array]) -> bool:
    """Whether the derivative with respect to any of these arrays can be requested later."""
    return any(getattr(part, "requires_grad", False) or is_traced(part) for part in parts)


@cache
def _torch_function() -> Any:
    """Return the autograd function of `attach`, defined on first use because its base class is PyTorch's."""
    import torch

    class Pulled(torch.autograd.Function):
        """Application of the adjoints. Differentiating it is an error, where it would otherwise give zeros."""

        @staticmethod
        def forward(_ctx: Any, pull: Any, gradient: Array, *parts: Array) -> tuple[Array, ...]:
            pairs = zip(pull(gradient), parts, strict=True)
            return tuple(torch.from_numpy(result).to(part.device, part.dtype) for result, part in pairs)

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
    """Return the function (x, parts, numbers) -> x whose derivative with respect to the parts is ``pull``."""
    import jax

    def forward(x: Array, parts: Any, numbers: Any) -> Any:
        return x, (parts, numbers)

    def backward(kept: Any, gradient: Array) -> Any:
        parts, numbers = kept
        shapes, dtype = [part.shape for part in parts], np.result_type(*(part.dtype for part in parts))
        # JAX pairs cotangents with differentials without conjugation.
        adjoints = constants(pull, [conjugate(gradient), *numbers], shapes, dtype, once=True)
        cotangents = [conjugate(result).astype(part.dtype) for result, part in zip(adjoints, parts, strict=True)]
        return gradient * 0, tuple(cotangents), tuple(jax.numpy.zeros_like(array) for array in numbers)

    function = jax.custom_vjp(lambda x, parts, numbers: x)  # noqa: ARG005
    function.defvjp(forward, backward)
    return function
