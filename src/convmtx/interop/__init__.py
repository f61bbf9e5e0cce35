"""Layers of other libraries as maps, and maps as theirs: one file for each, which imports it when it is asked for."""

from __future__ import annotations

from convmtx.errors import UnsupportedError, sentence
from convmtx.extras import needed

__all__ = ["needed", "unsupported"]


def unsupported(call: str, got: str, wanted: str, remedy: str = "Leave this layer out") -> UnsupportedError:
    """What cannot be represented exactly is refused, never left out."""
    return UnsupportedError(sentence(call, got, wanted, remedy))
