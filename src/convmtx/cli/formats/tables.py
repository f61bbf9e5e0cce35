"""Tables of numbers as spreadsheets of every language write them.

Columns are separated by commas, semicolons, tabs or blanks; unless by commas, decimal commas are read too.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import numpy as np

from convmtx.cli.report import CommandError
from convmtx.storage import Source
from convmtx.typing import AnyArray

#: First bytes of a file in UTF-16, as Excel writes "Unicode text".
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
#: Characters of a cell that an error shows.
_SHOWN = 20


def read_csv(source: Source) -> AnyArray:
    """Read a table as an array of two axes, also if it is a single row or a single column."""
    # A number takes at least two bytes in the file and eight in memory.
    source.require_memory([source.size()], 8)
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
            text = _replace_decimal_commas(source, text)
        try:
            table = np.loadtxt(StringIO(text), delimiter=separator, ndmin=2, quotechar='"')
        except ValueError:
            raise _first_fault(source, text, separator) from None
        if not table.size:
            raise ValueError("no numbers")
        return table


def _replace_decimal_commas(source: Source, text: str) -> str:
    """Replace decimal commas by points; refuse a text that has both, such as 1.000,5."""
    if "," not in text:
        return text
    if "." in text:
        got = f"{source.path} has commas and points in its numbers"
        raise CommandError(got, "Expected one of them, as decimal points", "Remove separators of thousands")
    return text.replace(",", ".")


def _first_fault(source: Source, text: str, separator: str | None) -> CommandError:
    """Return the error for the first line that is not a row of numbers as long as the rows above it."""
    width = None
    for number, cells in _rows(text, separator):
        wrong = [cell for cell in cells if not _is_number(cell)]
        if wrong:
            content = repr(wrong[0][:_SHOWN]) if wrong[0] else "nothing between two separators"
            got = f"{source.path} has {content} in line {number}"
            is_heading = width is None and len(wrong) == len(cells)
            remedy = "Remove the line of names" if is_heading else "Correct the line"
            return CommandError(got, "Expected only numbers", remedy)
        if width not in (None, len(cells)):
            got = f"{source.path} has {width} columns, and {len(cells)} in line {number}"
            return CommandError(got, "Expected as many numbers in each line", "Correct the line")
        width = len(cells)
    return CommandError(f"{source.path} cannot be read as .csv", "Expected only numbers", "Write it again")


def _rows(text: str, separator: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that has cells, and the cells."""
    for number, line in enumerate(text.splitlines(), 1):
        before_comment = line.partition("#")[0]
        if before_comment.strip():
            yield number, [cell.strip().strip('"') for cell in before_comment.split(separator)]


def _is_number(cell: str) -> bool:
    """Return whether Python reads the cell as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
