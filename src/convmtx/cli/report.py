"""Reports of commands: lines as they go or one JSON object at the end, and one line on stderr when they fail."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from convmtx.errors import ConvmtxError

#: Characters of a complaint: half a screen.
_LONGEST = 1000


class CommandError(ConvmtxError):
    """A request on the command line that cannot be done; the message is the line that the user reads."""


class UsageError(ConvmtxError):
    """A command line that cannot be parsed; the message is the parser's."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "", "")
        self.reason = message


class Report:
    """Lines on stdout, or with ``json`` nothing but one object, when the command has succeeded or compared."""

    def __init__(self, json: bool) -> None:
        self._json = json
        self._facts: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """Print at once. When the reader of a pipe has gone, the work that was asked for goes on without it."""
        if not self._json:
            for line in text.split("\n"):
                _print(line)

    def put(self, **facts: Any) -> None:
        """Members of the JSON object."""
        self._facts.update(facts)

    def close(self) -> None:
        """Print the object, if one was asked for."""
        if self._json:
            _print(json.dumps(plain(self._facts), allow_nan=False))


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays and tuples as lists, complex numbers as pairs.

    Numbers that JSON has not become the strings "nan", "inf" and "-inf", which ``float`` of Python reads back.
    """
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return str(value) if isinstance(value, Path) else value


def certified(found: Any) -> dict[str, Any]:
    """A result of `convmtx.spectra` as facts."""
    names = ("value", "lower", "upper", "kind", "method")
    return {name: getattr(found, name) for name in names}


def known(found: Any) -> str:
    """A number and how it is known, in a line."""
    if found.kind == "exact":
        return f"{float(found):.8g} (exact: {found.method})"
    ends = f"at most {found.upper:.8g}" if found.kind == "upper" else f"{found.lower:.8g} to {found.upper:.8g}"
    return f"{ends} ({found.kind}: {found.method})"


def watched() -> bool:
    """Whether somebody looks at stderr, and there is something to draw a bar with."""
    return sys.stderr is not None and sys.stderr.isatty() and find_spec("tqdm") is not None


def complain(message: str) -> None:
    """One line on stderr, which may be closed, or missing altogether."""
    with contextlib.suppress(OSError, AttributeError):
        line = _shown(" ".join(message[:_LONGEST].splitlines()))
        sys.stderr.write(f"convmtx: {line}{'...' if len(message) > _LONGEST else ''}\n")


def settle() -> None:
    """Flush what argparse has printed; what cannot be flushed must not fail again when Python exits."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _mute()


def _shown(text: str) -> str:
    """Names come from files, and may hold what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print(line: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    printable = _shown(line).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(printable, flush=True)
    except BrokenPipeError:
        _mute()


def _mute() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
