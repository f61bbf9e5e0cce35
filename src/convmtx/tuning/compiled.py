"""Runs of the engines that JAX compiles, on every kind of device that it has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from convmtx.engines.select import traced_works
from convmtx.extras import is_installed
from convmtx.taps import taps_of
from convmtx.tuning.clock import least_seconds
from convmtx.tuning.engines import EngineCase
from convmtx.tuning.fit import Timed, weigh_runs

#: Convolutions that are timed. There are few: each engine is compiled for each, which takes longer than the runs.
CASES = tuple(
    replace(case, dtype=dtype)
    for case in (
        EngineCase((64,), (3,)),
        EngineCase((1 << 16,), (15,)),
        EngineCase((256, 256), (5, 5)),
        EngineCase((192, 192), (11, 11)),
        EngineCase((48, 48), (5, 5), 3, 16),
        EngineCase((32, 32), (3, 3), 16, 16),
        EngineCase((28, 28), (3, 3), 64, 64),
    )
    for dtype in ("f4", "f8")
)


def compiled_cases() -> list[Callable[[], list[Timed]]]:
    """Return functions that time one convolution on one device each; none if JAX is not installed."""
    if not is_installed("jax"):
        return []
    import jax

    devices = {device.platform: device for device in (*jax.devices("cpu"), *jax.devices())}
    kinds = {"cpu" if platform == "cpu" else "gpu": device for platform, device in devices.items()}
    return [partial(time_compiled, case, kind, device) for case in CASES for kind, device in kinds.items()]


def time_compiled(case: EngineCase, kind: str, device: Any) -> list[Timed]:
    """Time all engines that JAX compiles, on one convolution and device."""
    import jax

    from convmtx.engines import xla

    op, inputs = case.build()
    axes, groups = op.geometry.axes, op.geometry.groups
    with _double_precision():
        taps, x = (jax.device_put(array, device) for array in (taps_of(op.geometry, op.kernel), inputs))
        works = traced_works(axes, groups, taps, x, kind)
        programs = [jax.jit(partial(xla.convolve, axes, groups, engine=engine)) for engine in works]
        seconds = least_seconds([partial(_run, program, taps, x) for program in programs])
    return weigh_runs(list(works.values()), seconds)


def _run(program: Callable[..., Any], taps: Any, x: Any) -> None:
    program(taps, x).block_until_ready()


def _double_precision() -> AbstractContextManager[Any]:
    """Return a context in which JAX has numbers of 64 bits."""
    import jax
    from jax import experimental

    here: Any = jax if hasattr(jax, "enable_x64") else experimental  # its place in older versions
    context: AbstractContextManager[Any] = here.enable_x64(True)
    return context
