"""Optional libraries: imported when they are needed; if one is missing, the error names the extra that installs it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from convmtx.errors import MissingExtraError


def import_extra(name: str, extra: str) -> ModuleType:
    """Import a library that an extra installs, or raise an error that says how to install it."""
    try:
        return import_module(name)
    except ImportError:
        raise _missing(name, extra) from None


@cache
def is_installed(name: str) -> bool:
    """Whether a library is installed, without importing it, which can take seconds; looked for once in a process."""
    return find_spec(name) is not None


def require_installed(name: str, extra: str) -> None:
    """Raise an error if a library that an extra installs is missing."""
    if find_spec(name) is None:
        raise _missing(name, extra)


def _missing(name: str, extra: str) -> MissingExtraError:
    """Return the error for a missing library, which says how to install it."""
    remedy = f'Install it, as with pip install "convmtx[{extra}]"'
    return MissingExtraError(f"{name} is not installed", f"The extra {extra!r} contains it", remedy)
