"""Compute the three products of a convolution of PyTorch's tensors, without derivatives, by the engines of NumPy.

Where PyTorch is the engine that is chosen, its own functions compute all three; see `tensors` for the products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from convmtx import memory, rates
from convmtx.engines import pytorch
from convmtx.engines.kernels import kernel_gradients, swap_factors
from convmtx.engines.parts import Plan, finite
from convmtx.engines.prepared import Calls
from convmtx.engines.select import EngineChoice, prefers_torch, select
from convmtx.geometry import Geometry
from convmtx.rates import Rates
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, Array, EngineName

Name = Literal["kernel", "input", "output"]

#: Numbers of samples and types for which choices are kept; then they are made again.
MOST_KEPT = 32


class Kept(NamedTuple):
    """Calls of the maps of a kernel, for as long as the kernel is unchanged."""

    kernel: Array
    #: Number that PyTorch raises when the memory of the kernel is written to.
    version: int
    #: Calls by the requested engine, and by whether the map is the transpose.
    calls: dict[tuple[EngineName, bool], Calls]


#: Requested engine, number and type of the inputs, and the rates that PyTorch was chosen with.
QuickKey = tuple[EngineName, int, Any, Rates]


class Quick(NamedTuple):
    """Function that applies the map to inputs of one type and number, for as long as the kernel is unchanged."""

    kernel: Array
    version: int
    key: QuickKey
    apply: Callable[[Array], Array]


class Products:
    """The three products of a convolution, with the calls of the first kernel that it is applied with."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry, self.transposed = geometry, geometry.T
        self.kept: Kept | None = None
        #: The last call without derivatives, and with those of PyTorch.
        self.quick: Quick | None = None
        self.native: Quick | None = None
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
        calls, kind = self.calls(engine, first, True), numpy_dtype(dtype)
        choice = select(engine, calls.plan, kind, max(len(x), 1), tensors=True)
        if choice.engine.name == "torch" and x.size and pytorch.is_whole(self.geometry):
            taps = taps_of(self.geometry, first.numpy(force=True))
            gradient = pytorch.input_gradient(self.geometry, taps, x, kind)
            if gradient is not None:
                return torch.from_numpy(gradient)
        return torch.from_numpy(calls(x))

    def _compute_output(self, engine: EngineName, kernel: Array, x: Array) -> Array:
        """Apply the map; a call that is repeated decides nothing again."""
        quick, key = self.quick, (engine, len(x), x.dtype, rates.current())
        if quick is not None and quick.kernel is kernel and quick.key == key and quick.version == kernel._version:
            return quick.apply(x)
        calls, dtype = self.calls(engine, kernel, False), torch.result_type(kernel, x)
        y = torch.from_numpy(calls(_cast_integers(x, dtype).numpy(force=True)))
        is_small = x.numel() and y.nbytes <= memory.LARGE  # whether larger results fit is looked at in each call
        if is_small and x.dtype == kernel.dtype and not (kernel.is_inference() or x.is_complex()):
            kind = numpy_dtype(dtype)
            is_torch = select(engine, calls.plan, kind, len(x), tensors=True).engine.name == "torch"
            function = pytorch.applied_at_once(calls.plan, kind) if is_torch else partial(_apply, calls)
            self.quick = None if function is None else Quick(kernel, kernel._version, key, function)
        return y

    def _compute_kernel(self, engine: EngineName, first: Array, second: Array, dtype: Any) -> Array:
        """Compute the kernel from inputs and outputs: PyTorch has a function of its own for that."""
        if not len(first):
            return torch.zeros(self.geometry.kernel_shape, dtype=dtype)
        x, y = (_cast_integers(factor, dtype).numpy(force=True) for factor in (first, second))
        kind = numpy_dtype(dtype)
        plan = self._kernel_plan(len(x), kind)
        images = self.geometry.channels_per_group[1]
        choice = select(engine, plan, kind, images, tensors=True)
        if choice.engine.name == "torch" and x.size and y.size:
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
        key: QuickKey = ("auto", len(x), x.dtype, rates.current())
        quick = self.native
        if quick is not None and quick.kernel is kernel and quick.key == key and quick.version == kernel._version:
            return quick.apply(x)
        g = self.geometry
        if not (x.is_floating_point() and x.dtype == kernel.dtype and x.numel() and pytorch.is_unpadded(g)):
            return None
        plan = self.calls("auto", kernel, False).plan
        if not plan.finite or not self._prefers_torch(key[1:], plan, kernel):
            return None
        taps = taps_of(g, kernel)
        function, is_apart = pytorch.convolve_at_once(g, taps), pytorch.keeps_apart(numpy_dtype(x.dtype))
        if taps is kernel and is_apart and not kernel.is_inference():
            self.native = Quick(kernel, kernel._version, key, function)
        y = function(x)
        return y if is_apart or finite(y.numpy(force=True)) else None

    def _prefers_torch(self, key: tuple[int, Any, Rates], plan: Plan, kernel: Array) -> bool:
        """Whether `select.prefers_torch` prefers PyTorch for this number and type of inputs, which is kept."""
        if key not in self.preferences:
            if len(self.preferences) == MOST_KEPT:
                self.preferences.clear()
            images, dtype = key[0], numpy_dtype(key[1])
            transposed, kernels = self.calls("auto", kernel, True).plan, self._kernel_plan(images, dtype)
            plans = [(plan, images), (transposed, images), (kernels, self.geometry.channels_per_group[1])]
            self.preferences[key] = prefers_torch(plans, dtype)
        return self.preferences[key]

    def gradients(self, engine: EngineName, kernel: Array, x: Array, y: Array) -> tuple[Array, Array] | None:
        """Compute the kernel and the input by one call of PyTorch; None if PyTorch is not chosen for both."""
        dtype = numpy_dtype(x.dtype)
        if dtype.kind != "f" or not (x.dtype == kernel.dtype == y.dtype) or not (x.numel() and y.numel()):
            return None
        if self.transposed is None or not pytorch.is_whole(self.geometry):
            return None
        kernels = self._kernel_plan(len(x), dtype), self.geometry.channels_per_group[1]
        for plan, images in ((self.calls(engine, kernel, True).plan, len(x)), kernels):
            if select(engine, plan, dtype, images, tensors=True).engine.name != "torch":
                return None
        return pytorch.both_gradients(self.geometry, kernel, x, y)

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


def _apply(calls: Calls, x: Array) -> Array:
    return torch.from_numpy(calls(x.numpy(force=True)))


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
def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """Return NumPy's type of the same name."""
    return np.dtype(str(dtype).removeprefix("torch."))


@cache
def _result_type(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of PyTorch's products, which is not always NumPy's: int64 and float32 make float32."""
    return numpy_dtype(torch.promote_types(*(getattr(torch, dtype.name) for dtype in (first, second))))


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
