"""Tables of numbers as spreadsheets write them: with commas, semicolons, tabs or blanks, and commas for points."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import numpy as np

from convmtx.cli.report import CommandError
from convmtx.cli.source import Source
from convmtx.typing import AnyArray

#: Marks at the beginning of a file by which UTF-16 is known, as Excel's "Unicode text" has it.
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
#: Characters of a cell that are shown.
_SHOWN = 20


def read_csv(source: Source) -> AnyArray:
    """Read a table; a line alone or a column alone is a row or a column still."""
    # A number takes two bytes at least, eight in memory, and as many again while the array grows.
    source.fit([source.size()], 8)
    with source.parsing():
        content = source.path.read_bytes()
        try:
            text = content.decode("utf-16" if content[:2] in _UTF16 else "utf-8-sig")
        except UnicodeError:
            raise ValueError("it is not text in UTF-8") from None
        if "\0" in text:
            raise ValueError("it is not text")
        separator = next((mark for mark in ";\t," if mark in text), None)
        if separator != ",":
            text = _with_points(source, text)
        try:
            table = np.loadtxt(StringIO(text), delimiter=separator, ndmin=2, quotechar='"')
        except ValueError:
            raise _first_fault(source, text, separator) from None
        if not table.size:
            raise ValueError("no numbers")
        return table


def _with_points(source: Source, text: str) -> str:
    """Write points for commas that are not separators: many languages have decimal commas."""
    if "," not in text:
        return text
    if "." in text:
        got = f"{source.path} has commas and points in its numbers"
        raise CommandError(got, "Wanted one of them, as decimal points", "Remove separators of thousands")
    return text.replace(",", ".")


def _first_fault(source: Source, text: str, separator: str | None) -> CommandError:
    """Return the error for the first line that is not a row of numbers like those above it."""
    width = None
    for number, cells in _rows(text, separator):
        wrong = [cell for cell in cells if not _is_number(cell)]
        if wrong:
            word = repr(wrong[0][:_SHOWN]) if wrong[0] else "nothing between two separators"
            got = f"{source.path} has {word} in line {number}"
            names = width is None and len(wrong) == len(cells)
            return CommandError(
                got, "Wanted numbers alone", "Remove the line of names" if names else "Correct the line"
            )
        if width not in (None, len(cells)):
            got = f"{source.path} has {width} columns, and {len(cells)} in line {number}"
            return CommandError(got, "Wanted as many numbers in each line", "Correct the line")
        width = len(cells)
    return CommandError(f"{source.path} cannot be read as .csv", "Wanted numbers alone", "Write it again")


def _rows(text: str, separator: str | None) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        written = line.partition("#")[0]
        if written.strip():
            yield number, [cell.strip().strip('"') for cell in written.split(separator)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
