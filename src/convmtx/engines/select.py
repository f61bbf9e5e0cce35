"""Choose the engine that applies a map to NumPy arrays, or to tensors that share memory with them, and say why."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from convmtx import costs, rates
from convmtx._xp import is_floating
from convmtx.costs import Work
from convmtx.engines import compiled, direct, fft, pytorch, separable, sparse, tapwise, traced
from convmtx.engines.parts import MOST_SIZES, Correlate, Part, PartSizes, Plan, Prepare
from convmtx.errors import ArgumentError
from convmtx.extras import require_installed
from convmtx.geometry import Axis
from convmtx.rates import Rates
from convmtx.typing import AnyArray, Array, EngineName


class Engine(NamedTuple):
    """Functions that fill the outputs of a part, and say how much work that is."""

    name: str
    correlate: Correlate
    #: Work for results of a type and a number of images; None for a part that the engine cannot fill.
    work: Callable[[Part, np.dtype[Any], int], Work | None]
    #: What the engine can apply, for errors.
    limits: str = "any map"
    #: Whether integers are exact.
    is_exact: bool = False
    #: Whether it suits a kernel that is applied once: it prepares little from the kernel, or counts it as work.
    suits_once: bool = False
    #: Whether work depends on the numbers of the kernel, and not on its sizes alone.
    reads_kernel: bool = False
    #: Library that the engine needs, and the extra that installs it.
    library: str | None = None
    extra: str = ""
    #: For calls that are repeated: steps that do what ``correlate`` does, or a function of the inputs of a whole map,
    #: given its plan, whether it is transposed, and the type of results. None if there is nothing to keep.
    prepare: Prepare | None = None
    whole: Callable[[Plan, bool, np.dtype[Any]], sparse.Product] | None = None
    #: Applies a whole map to a batch without a copy of its outputs, or returns None.
    apply: Callable[[Plan, AnyArray, np.dtype[Any]], AnyArray | None] | None = None
    #: Part that takes as much work as a map that ``apply`` applies; None for other maps.
    whole_part: Callable[[Plan], Part | None] | None = None


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("direct", direct.correlate, direct.work, is_exact=True, suits_once=True, prepare=direct.prepare),
        Engine("fft", fft.correlate, fft.work, suits_once=True),
        Engine(
            "separable",
            separable.correlate,
            separable.work,
            f"an outer product for each of at most {costs.SEPARABLE_PAIRS} pairs of channels, no float16",
            reads_kernel=True,
        ),
        Engine(
            "sparse",
            sparse.correlate,
            sparse.work,
            f"at most {sparse.MOST_ENTRIES} taps of all outputs, no float16",
            is_exact=True,
            whole=sparse.Product,
        ),
        Engine(
            "torch",
            pytorch.correlate,
            pytorch.work,
            "a type that BLAS has and at most three axes",
            suits_once=True,
            library="torch",
            extra="torch",
            apply=pytorch.apply,
            whole_part=pytorch.whole_part,
        ),
        Engine(
            "compiled",
            compiled.correlate,
            compiled.work,
            "at most three axes, and numbers of at most 8 bytes (complex: 16) but not float16",
            is_exact=True,
            library="numba",
            extra="fast",
        ),
    )
}

#: The engine of kernels that contain inf or nan. No other map is applied by it.
_TAPWISE = Engine("tapwise", tapwise.correlate, lambda *_: None)

#: Take transforms, factors or PyTorch only if they should be this many times as fast as products that are added one by
#: one, as the definition has them: those round least.
MARGIN = 1.25


class EngineChoice(NamedTuple):
    """An engine, the reason for it, and the work of each engine that can apply the map."""

    engine: Engine
    reason: str
    works: dict[str, Work]

    def apply(self, plan: Plan, x: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
        """Apply the map of a plan to a batch: x (B, *in_shape) to (B, *out_shape), of type ``dtype``."""
        y = self.engine.apply(plan, x, dtype) if self.engine.apply else None
        return plan.forward(x, self.engine.correlate, dtype) if y is None else y


#: Choices that a plan keeps; then it forgets them, and chooses the same again.
MOST_CHOICES = 256


def select(name: EngineName, plan: Plan, dtype: np.dtype[Any], images: int, *, tensors: bool = False) -> EngineChoice:
    """Choose the engine for results of ``dtype`` of that many images; ``auto`` takes the one that should be fastest.

    PyTorch is a candidate for tensors, and for arrays of float32 if it is imported already. The plan keeps the choice,
    beside the rates that it was made with: after `convmtx.tune` it is made anew.
    """
    key = (name, dtype, images, tensors, rates.current())
    choice: EngineChoice | None = plan.choices.get(key)
    if choice is None:
        if len(plan.choices) >= MOST_CHOICES:
            plan.choices.clear()
        choice = plan.choices[key] = _choose(name, plan, dtype, images, tensors)
    return choice


def _choose(name: EngineName, plan: Plan, dtype: np.dtype[Any], images: int, tensors: bool) -> EngineChoice:
    if name == "jax":
        raise ArgumentError(
            "engine='jax' on numbers in the main memory", "Expected an array of JAX", "Use engine='auto'"
        )
    if not plan.finite:
        reason = "the kernel contains inf or nan, which no padding may be multiplied with"
        return EngineChoice(_TAPWISE, reason, {})
    is_exact = dtype.kind not in "fc"  # integers, which transforms would round
    if is_exact and name != "auto" and not ENGINES[name].is_exact:
        name = "auto"
    requested = ENGINES.get(name)
    if requested and requested.library:
        require_installed(requested.library, requested.extra)
    takes_torch = tensors or name == "torch" or (dtype == np.float32 and "torch" in sys.modules)
    candidates = [engine for engine in ENGINES if engine != "torch" or takes_torch]
    candidates = [engine for engine in candidates if ENGINES[engine].is_exact or not is_exact]
    if plan.once and name == "auto":
        candidates = [engine for engine in candidates if ENGINES[engine].suits_once]
    all_works = {engine: _total_work(ENGINES[engine], plan, dtype, images) for engine in candidates}
    works = {engine: work for engine, work in all_works.items() if work is not None}
    if name == "auto":
        predicted = {engine: costs.seconds(work) for engine, work in works.items()}
        best = min(predicted, key=lambda engine: predicted[engine] * (1 if ENGINES[engine].is_exact else MARGIN))
        times = ", ".join(f"{engine} {seconds:.2g} s" for engine, seconds in predicted.items())
        return EngineChoice(ENGINES[best], f"predicted to be fastest: {times}", works)
    if name not in works:
        got = f"engine={name!r} cannot apply this map in {dtype}"
        raise ArgumentError(got, f"Expected {ENGINES[name].limits}", "Use engine='auto'")
    return EngineChoice(ENGINES[name], "requested", works)


def prefers_torch(plans: Sequence[tuple[Plan, int]], dtype: np.dtype[Any]) -> bool:
    """Whether PyTorch should take less time for a map and its gradients than the engines that ``auto`` chooses.

    Each of these products, with its number of images, is a call of Python if it is not PyTorch's.
    """
    ours = theirs = 0.0
    for plan, images in plans:
        choice = select("auto", plan, dtype, images, tensors=True)
        if "torch" not in choice.works:
            return False
        ours += costs.seconds(choice.works[choice.engine.name]) + rates.rate("torch product call")
        theirs += costs.seconds(choice.works["torch"])
    return theirs <= ours


def _total_work(engine: Engine, plan: Plan, dtype: np.dtype[Any], images: int) -> Work | None:
    """Add the work of all parts; None if the engine cannot fill one of them."""
    works = []
    whole = engine.whole_part(plan) if engine.whole_part else None
    for part in plan.parts if whole is None else (whole,):
        if part.kernel.size and engine.reads_kernel:
            works.append(engine.work(part, dtype, images))
        elif part.kernel.size:
            works.append(_work_of_sizes(engine.name, part.sizes, dtype, images, rates.current()))
    return None if None in works else costs.total(work for work in works if work is not None)


@lru_cache(maxsize=len(ENGINES) * MOST_SIZES)
def _work_of_sizes(name: str, sizes: PartSizes, dtype: np.dtype[Any], images: int, _rates: Rates) -> Work | None:
    """Work of an engine that does not read the kernel; which tiles it fills depends on the rates."""
    return ENGINES[name].work(sizes.build(), dtype, images)


class TracedChoice(NamedTuple):
    """Engine in the operations of an array library, the reason for it, and its predicted seconds."""

    name: str
    reason: str
    seconds: float


def select_traced(
    name: str, axes: Sequence[Axis], groups: int, taps: Array, x: Array, device: str, own: str = "jax"
) -> TracedChoice:
    """Choose the engine that applies taps to x in a compiled program; only types and shapes of both are read.

    ``own`` is the name of the library's own convolution, and ``device`` is "cpu" or "gpu". The names "no fft"
    and "no direct" are those of "auto" without an engine: values that are not finite must not meet transforms, and
    outside a compiled program there is no loop to add up in.
    """
    works = traced_works(axes, groups, taps, x, device, own)
    if name.startswith("no "):
        works.pop(name.removeprefix("no "), None)
    if not is_floating(x.dtype):
        works.pop("fft", None)
    predicted = {engine: costs.seconds(work) for engine, work in works.items()}
    if name in predicted:
        return TracedChoice(name, "requested", predicted[name])
    best = min(predicted, key=lambda engine: predicted[engine] * (MARGIN if engine == "fft" else 1))
    times = ", ".join(f"{engine} {seconds:.2g} s" for engine, seconds in predicted.items())
    return TracedChoice(best, f"predicted to be fastest: {times}", predicted[best])


def traced_works(
    axes: Sequence[Axis], groups: int, taps: Array, x: Array, device: str, own: str = "jax"
) -> dict[str, Work]:
    """Work of each engine in the operations of an array library; ``own`` is its own convolution."""
    works = {"direct": traced.work_of_direct, own: traced.work_of_library, "fft": traced.work_of_fft}
    return {
        engine: {f"{device} {kind}": amount for kind, amount in work(axes, groups, taps, x).items()}
        for engine, work in works.items()
    }


def factors_pay(axes: Sequence[Axis], groups: int, stages: Sequence[Part], x: Array, device: str, library: str) -> bool:
    """Whether applying one axis after the other should be faster than every other engine."""
    if library != "jax" and device == "cpu":
        return False  # nobody measured it
    name = "auto" if library == "jax" else "no direct"
    whole, *steps = traced.sizes(axes, groups, stages, x)
    seconds = [select_traced(name, *call, device, library).seconds for call in (whole, *steps)]
    return MARGIN * sum(seconds[1:]) < seconds[0]
