"""Registry of functions from above that maps offer as methods: `op.to_torch()`, `op.to_onnx()`, and what joins them.

A map does not import other libraries' rooms, for those import maps; nor the kinds of maps that are made of maps. They
fill this registry instead. The package's own ``__init__`` imports `convmtx.interop.exports` and all kinds of maps, and
Python runs ``convmtx/__init__`` before any module of the package. So the registry is full whichever module a user
imports first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def register(name: str, function: Callable[..., Any]) -> None:
    """Offer a function of a map as the method of this name."""
    _FUNCTIONS[name] = function


def export(name: str, *arguments: Any) -> Any:
    """Return what the registered function makes of a map, or of what joins one."""
    return _FUNCTIONS[name](*arguments)
