"""The parser of the command line: argparse, with errors in one line that name what was meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from convmtx.cli.report import UsageError


class Parser(argparse.ArgumentParser):
    """argparse that raises its errors, so that they become one line like all others."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.formatter_class, self.allow_abbrev = argparse.RawDescriptionHelpFormatter, False

    def error(self, message: str) -> NoReturn:
        """Raise what argparse says where arguments cannot be read."""
        raise UsageError(f"{message} (see {self.prog} --help)")

    def prepare(self, arguments: Sequence[str]) -> list[str]:
        """Join numbers below zero to their options, which argparse would take for options; refuse unknown ones.

        argparse itself complains of required arguments first, and of ``--verison`` not at all.
        """
        options, ready = self._option_string_actions, list[str]()
        for at, text in enumerate(arguments):
            if text == "--":
                return [*ready, *arguments[at:]]
            before = options.get(ready[-1]) if ready else None
            if before is not None and before.nargs != 0 and re.match(r"-\.?[0-9]", text):
                ready[-1] += f"={text}"
                continue
            name = text.partition("=")[0]
            if text.startswith("--") and name not in options:
                self.error(f"{shortened(name)} is not an option{suggestion(name, options)}")
            ready.append(text)
        return ready


def suggestion(text: str, known: Iterable[str]) -> str:
    """Ask for the name that is nearest to a misspelled one, if any is near."""
    close = get_close_matches(text, list(known), 1, 0.75)
    return f": did you mean {close[0]}?" if close else ""


def shortened(text: str) -> str:
    """The beginning of what was written, if it is long."""
    return text if len(text) <= 60 else f"{text[:57]}..."
