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
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from convmtx import memory, rates
from convmtx._xp import like
from convmtx.engines import pytorch
from convmtx.engines.kernels import kernel_gradients, swap_factors
from convmtx.engines.parts import Plan, finite
from convmtx.engines.prepared import Calls
from convmtx.engines.select import EngineChoice, prefers_torch, select
from convmtx.geometry import Geometry, Layout
from convmtx.rates import Rates
from convmtx.taps import channels_back, channels_first, kernel_of, taps_of
from convmtx.typing import AnyArray, Array, EngineName

Name = Literal["kernel", "input", "output"]
#: The two arrays from which each product is computed.
FACTORS: dict[Name, tuple[Name, Name]] = {
    "output": ("kernel", "input"),
    "input": ("kernel", "output"),
    "kernel": ("input", "output"),
}


#: Numbers of samples and types for which choices are kept; then they are made again.
MOST_KEPT = 32


class Kept(NamedTuple):
    """Calls of the maps of a kernel, for as long as the kernel is unchanged."""

    kernel: Array
    #: Number that PyTorch raises when the memory of the kernel is written to.
    version: int
    #: Calls by the requested engine, and by whether the map is the transpose.
    calls: dict[tuple[EngineName, bool], Calls]


class Quick(NamedTuple):
    """PyTorch's convolution for inputs of one type and number, for as long as the kernel is unchanged."""

    kernel: Array
    version: int
    #: Requested engine, number and type of the inputs, and the rates that PyTorch was chosen with.
    key: tuple[EngineName, int, Any, Rates]
    apply: Callable[[Array], Array]


class Products:
    """The three products of a convolution, with the calls of the first kernel that it is applied with."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry, self.transposed = geometry, geometry.T
        self.kept: Kept | None = None
        self.quick: Quick | None = None
        self.kernel_plans: dict[tuple[int, np.dtype[Any]], Plan] = {}
        self.preferences: dict[tuple[int, Any, Rates], bool] = {}

    def calls(self, engine: EngineName, kernel: Array, is_transposed: bool) -> Calls:
        """Return the calls of a kernel, which are kept until the kernel is changed in place."""
        calls: dict[tuple[EngineName, bool], Calls] = {}
        kept = self.kept
        if not kernel.is_inference():  # tensors of inference mode have no version
            if kept is not None and _is_same(kernel, kept.kernel):
                if kernel._version == kept.version:
                    calls = kept.calls
                else:
                    kept = None
            if kept is None:
                self.kept = Kept(kernel.detach(), kernel._version, calls)
        key = engine, is_transposed
        if key not in calls:
            geometry = self.transposed if is_transposed else self.geometry
            assert geometry is not None
            calls[key] = Calls(Plan(geometry, taps_of(geometry, kernel.numpy(force=True))), engine, _result_type)
        return calls[key]

    def compute(self, engine: EngineName, result: Name, first: Array, second: Array) -> Array:
        """Compute a product of tensors that hold numbers, without derivatives."""
        if result == "output":
            return self._compute_output(engine, first, second)
        dtype = torch.result_type(first, second)
        if result == "kernel":
            return self._compute_kernel(engine, first, second, dtype)
        x = _cast_integers(second, dtype).numpy(force=True)
        if self.transposed is None:
            return torch.from_numpy(self.calls(engine, first, False)(x, transposed=True))
        calls, kind = self.calls(engine, first, True), _numpy_dtype(dtype)
        choice = select(engine, calls.plan, kind, max(len(x), 1), tensors=True)
        if choice.name == "torch" and x.size and pytorch.is_whole(self.geometry):
            taps = taps_of(self.geometry, first.numpy(force=True))
            gradient = pytorch.input_gradient(self.geometry, taps, x, kind)
            if gradient is not None:
                return torch.from_numpy(gradient)
        return torch.from_numpy(calls(x))

    def _compute_output(self, engine: EngineName, kernel: Array, x: Array) -> Array:
        """Apply the map; calls of PyTorch that are repeated do nothing else."""
        quick, key = self.quick, (engine, len(x), x.dtype, rates.current())
        if quick is not None and quick.kernel is kernel and quick.key == key and quick.version == kernel._version:
            return quick.apply(x)
        calls, dtype = self.calls(engine, kernel, False), torch.result_type(kernel, x)
        y = torch.from_numpy(calls(_cast_integers(x, dtype).numpy(force=True)))
        is_small = x.numel() and y.nbytes <= memory.LARGE  # whether larger results fit is looked at in each call
        if is_small and x.dtype == kernel.dtype and not (kernel.is_inference() or x.is_complex()):
            kind = _numpy_dtype(dtype)
            if select(engine, calls.plan, kind, len(x), tensors=True).name == "torch":
                function = pytorch.applied_at_once(calls.plan, kind)
                self.quick = None if function is None else Quick(kernel, kernel._version, key, function)
        return y

    def _compute_kernel(self, engine: EngineName, first: Array, second: Array, dtype: Any) -> Array:
        """Compute the kernel from inputs and outputs: PyTorch has a function of its own for that."""
        if not len(first):
            return torch.zeros(self.geometry.kernel_shape, dtype=dtype)
        x, y = (_cast_integers(factor, dtype).numpy(force=True) for factor in (first, second))
        kind = _numpy_dtype(dtype)
        plan = self._kernel_plan(len(x), kind)
        images = self.geometry.channels_per_group[1]
        choice = select(engine, plan, kind, images, tensors=True)
        if choice.name == "torch" and x.size and y.size:
            gradient = pytorch.kernel_gradient(self.geometry, x, y, kind)
            if gradient is not None:
                return torch.from_numpy(gradient)
            # PyTorch's convolution is slow for kernels that are as large as outputs.
            choice = select("direct", plan, kind, images, tensors=True)
        return torch.from_numpy(kernel_gradients(self.geometry, x, y[None], partial(_convolve, choice))[0])

    def convolve(self, kernel: Array, x: Array) -> Array | None:
        """Apply the map by PyTorch with its own derivatives, if that is the same and should be faster; None if not.

        Without padding it is the same: PyTorch multiplies zeros of padding with derivatives, which may be infinite.
        """
        g = self.geometry
        if not (x.is_floating_point() and x.dtype == kernel.dtype and x.numel() and pytorch.is_unpadded(g)):
            return None
        plan = self.calls("auto", kernel, False).plan
        key = len(x), x.dtype, rates.current()
        if not plan.finite or not self._prefers_torch(key, plan, kernel):
            return None
        y = pytorch.convolve(list(g.axes), g.groups, taps_of(g, kernel), channels_first(g, x))
        is_apart = pytorch.keeps_apart(_numpy_dtype(x.dtype)) or finite(y.numpy(force=True))
        return channels_back(g, y) if is_apart else None

    def _prefers_torch(self, key: tuple[int, Any, Rates], plan: Plan, kernel: Array) -> bool:
        """Whether `select.prefers_torch` prefers PyTorch for this number and type of inputs, which is kept."""
        if key not in self.preferences:
            if len(self.preferences) == MOST_KEPT:
                self.preferences.clear()
            images, dtype = key[0], _numpy_dtype(key[1])
            transposed, kernels = self.calls("auto", kernel, True).plan, self._kernel_plan(images, dtype)
            plans = [(plan, images), (transposed, images), (kernels, self.geometry.channels_per_group[1])]
            self.preferences[key] = prefers_torch(plans, dtype)
        return self.preferences[key]

    def _kernel_plan(self, samples: int, dtype: np.dtype[Any]) -> Plan:
        """Plan of the map from inputs to the kernel, without numbers: the choice of an engine reads sizes alone."""
        key = samples, dtype
        if key not in self.kernel_plans:
            if len(self.kernel_plans) == MOST_KEPT:
                self.kernel_plans.clear()
            swapped = swap_factors(self.geometry, 1, samples)
            zeros = np.broadcast_to(np.zeros((), dtype), swapped.kernel_shape)
            self.kernel_plans[key] = Plan(swapped, zeros, once=True)
        return self.kernel_plans[key]


def _is_same(first: Array, second: Array) -> bool:
    """Whether two tensors are the same entries of the same memory."""
    return bool(
        first.data_ptr() == second.data_ptr()
        and first.dtype == second.dtype
        and first.shape == second.shape
        and first.stride() == second.stride()
        and first.is_conj() == second.is_conj()
        and first.is_neg() == second.is_neg()
    )


@cache
def _numpy_dtype(dtype: Any) -> np.dtype[Any]:
    return np.dtype(str(dtype).removeprefix("torch."))


@cache
def _result_type(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of PyTorch's products, which is not always NumPy's: int64 and float32 make float32."""
    return _numpy_dtype(torch.promote_types(*(getattr(torch, dtype.name) for dtype in (first, second))))


def _cast_integers(tensor: Array, dtype: Any) -> Array:
    """Return integers in the type of the result, which is not NumPy's: PyTorch adds int64 and float32 in float32."""
    if tensor.dtype == dtype or tensor.is_floating_point() or tensor.is_complex():
        return tensor
    return tensor.to(dtype)


def _convolve(choice: EngineChoice, geometry: Geometry, kernel: AnyArray, x: AnyArray) -> AnyArray:
    """Apply a map by the engine that was chosen for its sizes, or by the one for kernels that contain inf or nan."""
    plan, dtype = Plan(geometry, taps_of(geometry, kernel), once=True), np.result_type(kernel, x)
    if not plan.finite:
        choice = select("auto", plan, dtype, len(x), tensors=True)
    return choice.apply(plan, x, dtype)


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
        return _numpy_dtype(self.kernel.dtype)

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
    if _is_differentiated(first, second):
        if engine == "auto" and result == "output" and _is_recorded():
            y = products.convolve(first, second)
            if y is not None:
                return y
        function: Any = _TransformedProduct if torch._C._are_functorch_transforms_active() else _Product
        return function.apply(products, engine, result, first, second)
    return products.compute(engine, result, first, second)


@cache
def _uncompiled() -> Any:
    """Return `apply` as a function that ``torch.compile`` calls and does not look into.

    Without the compiler it is not needed, and it would import the compiler, which takes seconds.
    """
    disable: Any = torch.compiler.disable
    return disable(apply)


def _is_differentiated(first: Array, second: Array) -> bool:
    """Whether a transform of PyTorch has to see what is computed from these tensors."""
    return bool(
        (torch.is_grad_enabled() and (first.requires_grad or second.requires_grad))
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def _is_recorded() -> bool:
    """Whether PyTorch records operations for gradients alone."""
    return not (torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0)


def _derivative(products: Products, engine: EngineName, name: Name, factors: dict[Name, Array]) -> Array:
    """Compute the product ``name``; its kernel may be a derivative, which has no outer products to rely on."""
    first, second = FACTORS[name]
    return apply(products, "auto" if engine == "separable" else engine, name, factors[first], factors[second])


class _Derivatives(torch.autograd.Function):
    """Derivatives of a product of `Products`."""

    @staticmethod
    def backward(ctx: Any, gradient: Array | None) -> tuple[Array | None, ...]:
        names = FACTORS[ctx.result]
        tensors = dict(zip(names, ctx.saved_tensors, strict=True))
        gradients: list[Array | None] = [None, None, None]
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
