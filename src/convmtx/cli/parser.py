"""The parser of the command line: argparse with errors of one line, and strict readers of values.

One rule for names that are values, such as those of ``--padding`` and ``--format``: they are read in any case, and
names of other libraries are refused with a translation. ``--padding SAME`` is ``same``; ``SAME_UPPER`` is refused.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isinf
from typing import Any, NoReturn

from convmtx.cli.report import Report
from convmtx.errors import ConvmtxError
from convmtx.typing import Shape

#: A decimal number. Digits are limited: Python takes seconds to read thousands of them.
NUMBER = r"[-+]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][-+]?[0-9]{1,3})?"
# int() alone would take "1_000", " 7 " and digits of other scripts; no size has more than 18 digits.
_INTEGER = "-?[0-9]{1,18}"
_PADS = f"{_INTEGER}(:{_INTEGER})?"
#: Most characters of an argument that an error repeats.
_LONGEST = 60


class UsageError(ConvmtxError):
    """A command line that cannot be parsed; the message is the parser's."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "", "")
        self.reason = message


class Parser(argparse.ArgumentParser):
    """argparse that raises its errors, so that they become one line like all others."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.formatter_class, self.allow_abbrev = argparse.RawDescriptionHelpFormatter, False

    def error(self, message: str) -> NoReturn:
        """Raise the message of argparse as an error."""
        raise UsageError(f"{message} (see {self.prog} --help)")

    def prepare(self, arguments: Sequence[str]) -> list[str]:
        """Join negative numbers to their options, and refuse unknown options.

        argparse would take ``-1`` in ``--padding -1`` for an option. It would complain of a missing argument before it
        complained of a misspelled option, and of ``--verison`` not at all.
        """
        options, prepared = self._option_string_actions, list[str]()
        for position, text in enumerate(arguments):
            if text == "--":
                return [*prepared, *arguments[position:]]
            before = options.get(prepared[-1]) if prepared else None
            if before is not None and before.nargs != 0 and re.match(r"-\.?[0-9]", text):
                prepared[-1] += f"={text}"
                continue
            name = text.partition("=")[0]
            if text.startswith("--") and name not in options:
                self.error(f"{shorten(name)} is not an option{suggest(name, options)}")
            prepared.append(text)
        return prepared


@dataclass(frozen=True)
class Command:
    """A command: its texts, its arguments, and the function that runs it."""

    #: One line, for the list of commands.
    help: str
    description: str
    #: What follows the list of options in the help; examples begin with "convmtx" and are run by a test.
    epilog: str
    #: Adds the command's own arguments.
    add_arguments: Callable[[argparse.ArgumentParser], None]
    #: Runs the command; the string that it returns, if any, is the line that says what failed.
    run: Callable[[argparse.Namespace, Report], str | None]
    #: Parsers whose arguments come first, such as those of a convolution.
    parents: tuple[Parser, ...] = ()


def suggest(text: str, known: Iterable[str]) -> str:
    """Return a question for the known name that is nearest to a misspelled one, or nothing if none is near."""
    close = get_close_matches(text, list(known), 1, 0.75)
    return f": did you mean {close[0]}?" if close else ""


def shorten(text: str) -> str:
    """Return a text, or its beginning if it is long."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


# Readers of values


def integer(text: str) -> int:
    """Read an integer, such as 5."""
    return int(_matching(text, _INTEGER, "an integer"))


def number(text: str) -> float:
    """Read a number, such as 0.05 or 1e-3."""
    expected = "a number such as 0.05 or 1e-3"
    value = float(_matching(text, NUMBER, expected))
    if isinf(value):
        raise argparse.ArgumentTypeError(f"{text!r} is too large for {expected}")
    return value


def integers(text: str) -> Shape:
    """Read a list of integers, such as 5,6,3."""
    _matching(text, f"{_INTEGER}(,{_INTEGER})*", "a list of integers such as 5,6,3")
    return tuple(int(part) for part in text.split(","))


def per_axis(text: str) -> int | Shape:
    """Read an integer for all axes, or one for each, such as 2,1."""
    return integers(text) if "," in text else integer(text)


def name_among(known: Iterable[str]) -> Callable[[str], str]:
    """Return a reader of names in any case; unknown ones are left as they are, for errors to repeat."""
    spellings = {name.lower(): name for name in known}
    return lambda text: spellings.get(text.lower(), text)


def pads(text: str, known: Iterable[str]) -> Any:
    """Read the name of a padding, or widths as `convmtx.conv` takes them, such as 1 or 1,2 or 0:1,2:2."""
    if re.fullmatch("[A-Za-z][A-Za-z_-]*", text):
        return name_among(known)(text)
    _matching(text, f"{_PADS}(,{_PADS})*", "a name or widths such as 1 or 1,2 or 0:1,2:2")
    entries = [tuple(int(end) for end in part.split(":")) for part in text.split(",")]
    widths = [entry if len(entry) == 2 else entry[0] for entry in entries]
    return widths if len(widths) > 1 or ":" in text else widths[0]


def names(text: str, known: Iterable[str]) -> str | list[str]:
    """Read one name, or one for each axis, such as wrap,zero."""
    read = name_among(known)
    return [read(name) for name in text.split(",")] if "," in text else read(text)


def _matching(text: str, pattern: str, expected: str) -> str:
    """Return a text that matches the pattern; refuse others, and numbers that are too long first."""
    if longest := max(map(len, re.findall("[0-9]{19,}", text)), default=0):
        message = f"{shorten(text)!r} has a number of {longest} digits, and at most 18 are read"
        raise argparse.ArgumentTypeError(message)
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(f"{shorten(text)!r} is not {expected}")
    return text
