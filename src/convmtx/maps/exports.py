"""Registry of functions from rooms above that maps offer as methods: `op.to_torch()` and `op.to_onnx()`.

A map does not import other libraries' rooms, for those import maps. They fill this registry instead. The package's
own ``__init__`` imports `convmtx.interop.exports`, which does so, and Python runs ``convmtx/__init__`` before any
module of the package. So the registry is full whichever module a user imports first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {}


def register(name: str, function: Callable[[Any], Any]) -> None:
    """Offer a function of a map as the method of this name."""
    _FUNCTIONS[name] = function


def export(name: str, op: Any) -> Any:
    """Return what the registered function makes of a map."""
    return _FUNCTIONS[name](op)
