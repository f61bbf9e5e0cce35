"""The one function that chooses an engine, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convmtx.engines import direct
from convmtx.errors import ArgumentError, ArgumentTypeError, sentence
from convmtx.geometry import Geometry
from convmtx.typing import AnyArray


@dataclass(frozen=True, slots=True)
class Engine:
    """How a map is applied: ``forward`` and ``transposed`` take (geometry, taps, batch)."""

    name: str
    forward: Callable[[Geometry, AnyArray, AnyArray], AnyArray]
    transposed: Callable[[Geometry, AnyArray, AnyArray], AnyArray]


ENGINES = {"direct": Engine("direct", direct.forward, direct.transposed)}
NAMES = ("auto", *ENGINES)


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and the reason for it."""

    engine: Engine
    reason: str


def select(call: str, name: object) -> Choice:
    """The engine for a map; ``auto`` lets the library choose."""
    wanted = f"Wanted one of {', '.join(map(repr, NAMES))}"
    if not isinstance(name, str):
        raise ArgumentTypeError(sentence(call, f"engine={name!r}", wanted, "Pass engine='auto'"))
    if name not in NAMES:
        raise ArgumentError(sentence(call, f"engine={name!r}", wanted, "Pass engine='auto'"))
    if name == "auto":
        return Choice(
            ENGINES["direct"], "the one engine there is: windows in cache-sized tiles times the kernel, by GEMM"
        )
    return Choice(ENGINES[name], "asked for")
