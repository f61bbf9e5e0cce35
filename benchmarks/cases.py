"""Cases that benchmarks share: the sizes of a convolution, its map, its inputs, and PyTorch's and JAX's call for it."""

import contextlib
import math
from dataclasses import dataclass, field

import numpy as np
from measuring import optional

import convmtx as cm
from convmtx.engines import select
from convmtx.engines.parts import Plan
from convmtx.taps import taps_of

TORCH_MODES = {"wrap": "circular", "reflect": "reflect", "edge": "replicate"}
JAX_MODES = {"wrap": "wrap", "reflect": "reflect", "edge": "edge", "symmetric": "symmetric"}
#: Largest difference between results that agree, relative to the largest value, by type.
TOLERANCES = {"i8": 0, "f4": 1e-4, "c8": 1e-4}


@dataclass
class Case:
    """Channels-first: kernel (F, C/groups, *k) on (C, *n)."""

    n: tuple
    k: tuple
    c: int = 1
    f: int = 1
    dtype: str = "f8"
    batch: int = 1
    adjoint: bool = False
    options: dict = field(default_factory=dict)
    separable: bool = False

    @property
    def products(self):
        """Number of products of a kernel value and an input value, about."""
        groups = self.options.get("groups", 1)
        return math.prod(self.n) * math.prod(self.k) * self.c * self.f // groups * self.batch

    @property
    def name(self):
        """Name of the case in tables."""
        words = ["x".join(map(str, self.n)), "k" + "x".join(map(str, self.k))]
        words += [f"{self.c}->{self.f}"] if self.c * self.f > 1 else []
        padding, boundary = self.options.get("padding"), self.options.get("boundary")
        words += [f"padding {padding}" if isinstance(padding, int) else padding, boundary]
        words += [f"{key} {self.options.get(key)}" for key in ("stride", "dilation", "groups") if key in self.options]
        words += [f"batch {self.batch}"] * (self.batch > 1) + ["outer product"] * self.separable
        return " ".join([*filter(None, words), *["adjoint"] * self.adjoint, self.dtype])

    def kernel(self, rng):
        """Random kernel, which is an outer product if the case says so."""
        groups = self.options.get("groups", 1)
        kernel = values(rng, (self.f, self.c // groups, *self.k), self.dtype)
        return kernel[..., :1] * kernel[..., :1, :] if self.separable else kernel

    def op(self, kernel, engine="auto"):
        """Map of a kernel of any library."""
        return cm.conv(kernel, (self.c, *self.n), channels="first", engine=engine, **self.options)

    def inputs(self, rng, op):
        """Random batch of inputs, or of outputs for the adjoint."""
        return values(rng, (self.batch, *(op.out_shape if self.adjoint else op.in_shape)), self.dtype)

    def agrees(self, difference):
        """Whether results that differ by so much, relative to the largest value, agree."""
        return bool(difference <= TOLERANCES.get(self.dtype, 1e-10))


def values(rng, shape, dtype):
    if dtype == "i8":
        return rng.integers(-9, 10, shape)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape)).astype(dtype) if dtype.startswith("c") else x.astype(dtype)


def same(**options):
    return {"padding": "same", **options}


def difference(arrays, expected):
    """Largest difference of any array, relative to the largest expected value."""
    worst = max(np.abs(np.asarray(array).reshape(expected.shape) - expected).max() for array in arrays)
    return float(worst / np.abs(expected).max())


@contextlib.contextmanager
def without(*engines):
    """Hide some of our engines from choices; a map that was applied keeps its choice afterwards."""
    hidden = dict(select.ENGINES)
    for name in engines:
        select.ENGINES.pop(name, None)
    try:
        yield
    finally:
        select.ENGINES.clear()
        select.ENGINES.update(hidden)


def plan_of(case, op):
    """Plan of what a case applies: the map, its adjoint, or the convolution inside an adjoint that is not one."""
    inner = op.H if case.adjoint and isinstance(op.H, type(op)) else op
    plan = Plan(inner.geometry, taps_of(inner.geometry, inner.kernel))
    return plan.mirrored if case.adjoint and inner is op else plan


def choose_engine(case, op):
    """Name of the engine that ``auto`` chooses for the case, with the works of all engines that can do it."""
    choice = select.select("auto", plan_of(case, op), np.dtype(case.dtype), case.batch)
    return choice.engine.name, choice.works


def torch_convolution(case):
    """Function of tensors x and K that computes the map by `torch.nn.functional`; None if PyTorch cannot."""
    torch = optional("torch")
    d, o, boundary = len(case.n), case.options, case.options.get("boundary", "zero")
    if not torch or d > 3 or case.dtype[0] != "f" or boundary not in ("zero", *TORCH_MODES):
        return None
    if boundary != "zero" and case.adjoint:
        return None
    functional = torch.nn.functional
    conv = getattr(functional, f"conv{'_transpose' if case.adjoint else ''}{d}d")
    keys = {k: o[k] for k in ("stride", "dilation", "groups") if k in o}
    padding = o.get("padding", 0)
    if padding == "same":
        padding = tuple(o.get("dilation", 1) * (k - 1) // 2 for k in case.k)
    if case.adjoint:
        out = [n - ((n + 2 * p - k) // s * s - 2 * p + k) for n, k, p, s in zip(
            case.n, case.k, np.broadcast_to(padding, d), np.broadcast_to(o.get("stride", 1), d), strict=True
        )]  # fmt: skip
        return lambda x, k: conv(x, k, padding=padding, output_padding=[int(v) for v in out], **keys)
    if boundary == "zero":
        return lambda x, k: conv(x, k, padding=padding, **keys)
    widths = [p for p in reversed(np.broadcast_to(padding, d).tolist()) for _ in range(2)]
    return lambda x, k: conv(functional.pad(x, widths, mode=TORCH_MODES[boundary]), k, **keys)


def threaded(call):
    """A call of PyTorch with its threads, and with one, which is quicker where another program keeps a core busy."""
    torch = optional("torch")

    def alone():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return call()
        finally:
            torch.set_num_threads(threads)

    return {"torch": call, "torch 1 thread": alone}


def jax_convolution(case, op):
    """Function of arrays x and K that computes the map by `jax.lax`; None if JAX cannot."""
    jax = optional("jax")
    boundary = case.options.get("boundary", "zero")
    if not jax or case.adjoint or case.dtype == "i8" or boundary not in ("zero", *JAX_MODES):
        return None
    d, o = len(case.n), case.options
    strides, dilations = (o.get("stride", 1),) * d, (o.get("dilation", 1),) * d
    pads = [(a.lo, a.hi) for a in op.geometry.axes]

    def convolve(x, k):
        outside = pads
        if boundary != "zero":
            x, outside = jax.numpy.pad(x, [(0, 0), (0, 0), *pads], mode=JAX_MODES[boundary]), [(0, 0)] * d
        return jax.lax.conv_general_dilated(
            x, k, strides, outside, rhs_dilation=dilations, feature_group_count=o.get("groups", 1)
        )

    return convolve
