"""Optional libraries: imported when they are needed, and missed with the name of the extra that brings them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from convmtx.errors import MissingExtraError


def needed(name: str, extra: str) -> ModuleType:
    """Import a library that an extra brings."""
    try:
        return import_module(name)
    except ImportError:
        raise _missing(name, extra) from None


def require_installed(name: str, extra: str) -> None:
    """Refuse where a library that an extra brings is not installed, without the time that importing it takes."""
    if find_spec(name) is None:
        raise _missing(name, extra)


def _missing(name: str, extra: str) -> MissingExtraError:
    remedy = f'Install it, as with pip install "convmtx[{extra}]"'
    return MissingExtraError(f"{name} is not installed", f"Wanted what the extra {extra!r} brings", remedy)
