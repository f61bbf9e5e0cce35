"""Apply maps to PyTorch's tensors in the main memory by the engines of NumPy, with derivatives of every order.

Tensor and array share memory, so nothing is copied. Let ``B(K, x)`` be the outputs of kernel K and inputs x. The sum
``<y, B(K, x)>`` without conjugation is linear in K, in x and in y, and so has three products of two arrays:

- the output, ``B(K, x)``: the map;
- the input, from K and y: the transpose of the map;
- the kernel, from x and y: the transpose of the map of the kernel.

The derivative of each product in one of its arrays is another of the three, so one autograd function has all of them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from convmtx._xp import like
from convmtx.engines.parts import Plan
from convmtx.engines.tensor_products import Name, Products, numpy_dtype
from convmtx.geometry import Geometry, Layout
from convmtx.taps import channels_back, channels_first, kernel_of, taps_of
from convmtx.typing import Array, EngineName

#: The two arrays from which each product is computed.
FACTORS: dict[Name, tuple[Name, Name]] = {
    "output": ("kernel", "input"),
    "input": ("kernel", "output"),
    "kernel": ("input", "output"),
}


class TensorMap:
    """A convolution with its kernel as a tensor, applied to tensors."""

    def __init__(self, geometry: Geometry, kernel: Array, engine: EngineName) -> None:
        self.kernel, self.engine = like(kernel, torch.empty(0)), engine
        self.products = Products(geometry)

    @property
    def plan(self) -> Plan:
        """Plan of the map, for a kernel that holds numbers."""
        return self.products.calls(self.engine, self.kernel, False).plan

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the kernel."""
        return numpy_dtype(self.kernel.dtype)

    def apply(self, result: Name, x: Array) -> Array:
        """Apply the map for the result "output", or its transpose for "input", to a batch."""
        function = _uncompiled() if "torch._dynamo" in sys.modules else apply
        return function(self.products, self.engine, result, self.kernel, like(x, self.kernel))


def apply(products: Products, engine: EngineName, result: Name, first: Array, second: Array) -> Array:
    """Compute a product, with derivatives where PyTorch wants them.

    Parameters
    ----------
    products : Products
        The convolution.
    engine : str
        Name of an engine, or "auto".
    result : {"output", "input", "kernel"}
        The product to compute.
    first, second : torch.Tensor
        Its factors, in the order of `FACTORS`: a kernel array, a batch (B, *in_shape), a batch (B, *out_shape).

    Returns
    -------
    torch.Tensor
        A new tensor of the type of PyTorch's products of both.
    """
    if _is_batched(first) or _is_batched(second):
        return _for_each(products, engine, result, first, second)
    if _is_differentiated(first, second):
        if engine == "auto" and result == "output" and _is_recorded():
            y = products.convolve(first, second)
            if y is not None:
                return y
        function: Any = _TransformedProduct if torch._C._are_functorch_transforms_active() else _Product
        return function.apply(products, engine, result, first, second)
    return products.compute(engine, result, first, second)


#: The function of `_uncompiled`, once it is made. The compiler warns about functions with a cache.
_UNCOMPILED: list[Any] = []


def _uncompiled() -> Any:
    """Return `apply` as a function that ``torch.compile`` calls and does not look into.

    Without the compiler it is not needed, and it would import the compiler, which takes seconds.
    """
    if not _UNCOMPILED:
        disable: Any = torch.compiler.disable
        _UNCOMPILED.append(disable(apply))
    return _UNCOMPILED[0]


def _is_differentiated(first: Array, second: Array) -> bool:
    """Whether a transform of PyTorch has to see what is computed from these tensors."""
    return bool(
        (torch.is_grad_enabled() and (first.requires_grad or second.requires_grad))
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def _is_batched(tensor: Array) -> bool:
    """Whether a tensor is a batch of ``torch.autograd``, as with ``is_grads_batched``, which has no numbers."""
    return bool(torch._C._functorch.is_legacy_batchedtensor(tensor))


def _for_each(products: Products, engine: EngineName, result: Name, first: Array, second: Array) -> Array:
    """Compute a product for each tensor of a batch: PyTorch takes batches apart for operations that it does not know.

    The operation takes tensors and numbers alone, so the product is kept under a number while it is called.
    """
    compute = partial(products.compute, engine, result)
    number = id(compute)
    _CALLED[number] = compute
    try:
        _library()
        return torch.ops.convmtx.product(first, second, number)
    finally:
        del _CALLED[number]


#: Products that are being computed for each tensor of a batch.
_CALLED: dict[int, Any] = {}


@cache
def _library() -> Any:
    """Return the library with the operation of PyTorch that computes a product of `_CALLED`.

    PyTorch forgets the operation when the library is deleted.
    """
    library: Any = torch.library.Library("convmtx", "DEF")  # type: ignore[no-untyped-call]
    library.define("product(Tensor first, Tensor second, int number) -> Tensor")
    library.impl("product", lambda first, second, number: _CALLED[number](first, second), "CPU")
    return library


def _is_recorded() -> bool:
    """Whether PyTorch records operations for gradients alone."""
    return not (torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0)


def _derivative(products: Products, engine: EngineName, name: Name, factors: dict[Name, Array]) -> Array:
    """Compute the product ``name`` of its factors."""
    first, second = FACTORS[name]
    return apply(products, _engine_of_derivatives(engine), name, factors[first], factors[second])


def _engine_of_derivatives(engine: EngineName) -> EngineName:
    """Return the engine for a kernel that may be a derivative, which has no outer products to rely on."""
    return "auto" if engine == "separable" else engine


class _Derivatives(torch.autograd.Function):
    """Derivatives of a product of `Products`."""

    @staticmethod
    def backward(ctx: Any, gradient: Array | None) -> tuple[Array | None, ...]:
        names = FACTORS[ctx.result]
        tensors = dict(zip(names, ctx.saved_tensors, strict=True))
        gradients: list[Array | None] = [None, None, None]
        is_both = ctx.result == "output" and gradient is not None and all(ctx.needs_input_grad[3:])
        if is_both and not (_is_differentiated(*ctx.saved_tensors) or _is_batched(gradient)):
            both = ctx.products.gradients(_engine_of_derivatives(ctx.engine), *ctx.saved_tensors, gradient)
            if both is not None:
                return (*gradients, *both)
        for name, needed in zip(names, ctx.needs_input_grad[3:], strict=True):
            if not needed or gradient is None:
                gradients.append(None)
                continue
            # The gradient of a product L(a), linear in a, is the conjugated transpose: conj(L^T(conj(g))).
            factors = {**tensors, ctx.result: _conjugate(gradient)}
            result = _conjugate(_derivative(ctx.products, ctx.engine, name, factors))
            result = result if tensors[name].is_complex() or not result.is_complex() else result.real
            gradients.append(result.to(tensors[name].dtype))
        return tuple(gradients)

    @staticmethod
    def jvp(ctx: Any, *tangents: Array | None) -> Array | None:
        names = FACTORS[ctx.result]
        tensors = dict(zip(names, ctx.saved_tensors, strict=True))
        terms = [
            _derivative(ctx.products, ctx.engine, ctx.result, {**tensors, name: tangent})
            for name, tangent in zip(names, tangents[3:], strict=True)
            if tangent is not None
        ]
        return sum(terms[1:], terms[0]) if terms else None


class _Product(_Derivatives):
    """A product outside of ``torch.func``: PyTorch calls this kind of function some 80 microseconds sooner."""

    @staticmethod
    def forward(ctx: Any, products: Products, engine: EngineName, result: Name, first: Array, second: Array) -> Array:
        _keep(ctx, products, engine, result, first, second)
        return products.compute(engine, result, first, second)


class _TransformedProduct(_Derivatives):
    """A product that a transform of ``torch.func`` sees: it wants what is kept and what is batched by itself."""

    @staticmethod
    def forward(products: Products, engine: EngineName, result: Name, first: Array, second: Array) -> Array:
        return products.compute(engine, result, first, second)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Array) -> None:
        _keep(ctx, *inputs)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, products: Products, engine: EngineName, result: Name, first: Array, second: Array
    ) -> tuple[Array, int]:
        *_, at_first, at_second = in_dims
        if result != "kernel" and at_first is None:  # a batch of batches
            second = second.movedim(at_second, 0)
            y = apply(products, engine, result, first, second.reshape(-1, *second.shape[2:]))
            return y.reshape(*second.shape[:2], *y.shape[1:]), 0
        size, g = info.batch_size, products.geometry
        names = FACTORS[result]
        first, second = (
            factor.expand(size, *factor.shape) if at is None else factor.movedim(at, 0)
            for factor, at in ((first, at_first), (second, at_second))
        )
        factors = (_as_groups(g, name, factor) for name, factor in zip(names, (first, second), strict=True))
        grouped = replace(
            g, in_channels=size * g.in_channels, out_channels=size * g.out_channels, groups=size * g.groups,
            layout=Layout.FIRST, flip=False, transposed=False,
        )  # fmt: skip
        return _from_groups(g, result, size, apply(Products(grouped), engine, result, *factors)), 0


def _keep(ctx: Any, products: Products, engine: EngineName, result: Name, first: Array, second: Array) -> None:
    """Keep what the derivatives need."""
    ctx.products, ctx.engine, ctx.result = products, engine, result
    ctx.save_for_backward(first, second)
    ctx.save_for_forward(first, second)
    ctx.set_materialize_grads(False)


def _conjugate(tensor: Array) -> Array:
    return torch.conj_physical(tensor) if tensor.is_complex() else tensor


def _as_groups(geometry: Geometry, name: Name, stack: Array) -> Array:
    """Return kernels, inputs or outputs of several maps as those of one map, with a group for each group of each map.

    Batches (v, B, *shape) become (B, v*C, n1..nd), and kernels (v, *kernel_shape) become (v*F, C/groups, k1..kd).
    """
    if name == "kernel":
        taps = torch.stack([taps_of(geometry, kernel) for kernel in stack])
        return taps.reshape(-1, *taps.shape[2:])
    size, batch = stack.shape[:2]
    first = channels_first(geometry, stack.reshape(-1, *stack.shape[2:]))
    first = first.reshape(size, batch, *first.shape[1:]).movedim(0, 1)
    return first.reshape(batch, -1, *first.shape[3:])


def _from_groups(geometry: Geometry, name: Name, size: int, joined: Array) -> Array:
    """Take apart what `_as_groups` joins."""
    if name == "kernel":
        taps = joined.reshape(size, -1, *joined.shape[1:])
        return torch.stack([kernel_of(geometry, kernel) for kernel in taps])
    apart = joined.reshape(len(joined), size, -1, *joined.shape[2:]).movedim(1, 0)
    last = channels_back(geometry, apart.reshape(-1, *apart.shape[2:]))
    return last.reshape(size, len(joined), *last.shape[1:])
