"""Optional libraries: imported when they are needed, and missed with the name of the extra that brings them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from convmtx.errors import MissingExtraError, sentence


def needed(call: str, name: str, extra: str) -> ModuleType:
    """A library that an extra brings."""
    try:
        return import_module(name)
    except ImportError:
        remedy = f'Install it, as with pip install "convmtx[{extra}]"'
        wanted = f"Wanted what the extra {extra!r} brings"
        raise MissingExtraError(sentence(call, f"{name} is not installed", wanted, remedy)) from None
