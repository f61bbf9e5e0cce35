"""The one function that chooses an engine, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convmtx.engines import direct, tapwise
from convmtx.geometry import Geometry
from convmtx.typing import AnyArray, EngineName


@dataclass(frozen=True, slots=True)
class Engine:
    """How a map is applied: ``forward`` and ``transposed`` take (geometry, taps, batch)."""

    name: str
    forward: Callable[[Geometry, AnyArray, AnyArray], AnyArray]
    transposed: Callable[[Geometry, AnyArray, AnyArray], AnyArray]


TAPWISE = Engine("tapwise", tapwise.forward, tapwise.transposed)
ENGINES = {"direct": Engine("direct", direct.forward, direct.transposed)}
NAMES: tuple[EngineName, ...] = ("auto", "direct")


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and the reason for it."""

    engine: Engine
    reason: str


def select(name: EngineName, kernel: AnyArray) -> Choice:
    """The engine for a map; ``auto`` lets the library choose."""
    if kernel.dtype.kind in "fc" and not np.isfinite(kernel).all():
        return Choice(TAPWISE, "the kernel holds inf or nan, which no padding may be multiplied with")
    if name == "auto":
        return Choice(
            ENGINES["direct"], "the one engine there is: windows in cache-sized tiles times the kernel, by GEMM"
        )
    return Choice(ENGINES[name], "asked for")
