"""Layers of other libraries as maps, and maps as theirs: one file for each, which imports it when it is asked for."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from convmtx.errors import MissingExtraError, UnsupportedError, sentence


def needed(call: str, name: str, extra: str) -> ModuleType:
    """A library that an extra brings."""
    try:
        return import_module(name)
    except ImportError:
        remedy = f"Install it, as with pip install convmtx[{extra}]"
        raise MissingExtraError(sentence(call, f"no library {name}", f"Wanted {name}", remedy)) from None


def unsupported(call: str, got: str, wanted: str, remedy: str = "Leave this layer out") -> UnsupportedError:
    """What cannot be represented exactly is refused, never left out."""
    return UnsupportedError(sentence(call, got, wanted, remedy))
