"""Reports of commands: lines as they run or one JSON object at the end, and one line on stderr if they fail."""

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

#: Most characters of an error: half a screen of 80 columns and 25 lines.
_LONGEST = 1000


class CommandError(ConvmtxError):
    """A request on the command line that cannot be carried out; the message is the line that the user reads."""


class Report:
    """Lines on stdout; or, if ``json``, only one object when the command has ended."""

    def __init__(self, json: bool) -> None:
        self._json = json
        self._facts: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """Print lines at once. If the reader of a pipe has gone, the command continues without it."""
        if not self._json:
            for line in text.split("\n"):
                _print(line)

    def put(self, **facts: Any) -> None:
        """Add members to the JSON object."""
        self._facts.update(facts)

    def close(self) -> None:
        """Print the JSON object, if one was requested."""
        if self._json:
            _print(json.dumps(to_json(self._facts), allow_nan=False))


def to_json(value: Any) -> Any:
    """Return a value as JSON can represent it: arrays and tuples as lists, complex numbers as pairs.

    NaN and infinities become the strings "nan", "inf" and "-inf", which ``float`` of Python reads back.
    """
    if isinstance(value, dict):
        return {str(key): to_json(member) for key, member in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    if isinstance(value, complex):
        return [to_json(value.real), to_json(value.imag)]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return str(value) if isinstance(value, Path) else value


def certified_facts(result: Any) -> dict[str, Any]:
    """Return a `convmtx.Certified` as members of a JSON object."""
    names = ("value", "lower", "upper", "kind", "method")
    return {name: getattr(result, name) for name in names}


def describe_certified(result: Any) -> str:
    """Return a `convmtx.Certified` of one number in a line: the number, how certain it is, and the method."""
    if result.kind == "exact":
        return f"{float(result):.8g} (exact: {result.method})"
    bounds = f"at most {result.upper:.8g}" if result.kind == "upper" else f"{result.lower:.8g} to {result.upper:.8g}"
    return f"{bounds} ({result.kind}: {result.method})"


def can_show_progress() -> bool:
    """Return whether stderr is a terminal, and tqdm is there to draw a bar."""
    return sys.stderr is not None and sys.stderr.isatty() and find_spec("tqdm") is not None


def print_error(message: str) -> None:
    """Print one line on stderr, unless it is closed or missing."""
    with contextlib.suppress(OSError, AttributeError):
        line = _printable(" ".join(message[:_LONGEST].splitlines()))
        sys.stderr.write(f"convmtx: {line}{'...' if len(message) > _LONGEST else ''}\n")


def flush_output() -> None:
    """Flush stdout; if that fails, drop what is left, or Python would fail again when it exits."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _drop_output()


def _printable(text: str) -> str:
    """Escape control characters: names come from files, and a terminal would follow them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print(line: str) -> None:
    """Print a line in the encoding of stdout, with escapes for characters that it does not have."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    encodable = _printable(line).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(encodable, flush=True)
    except BrokenPipeError:
        _drop_output()


def _drop_output() -> None:
    """Let stdout end in nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
