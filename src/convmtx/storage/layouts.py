"""Layouts of files: their size and jobs before anything is written, and files in which every entry has its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from convmtx.storage.slabs import Slabs
from convmtx.typing import AnyArray


@dataclass(frozen=True)
class Layout:
    """A target of a matrix: how long it becomes, and the jobs that write it (`convmtx.storage.jobs.Jobs`)."""

    count: int
    prepare: Callable[[Path], None]
    work: Callable[[Path, int], None]
    #: Bytes of the target, at least; 0 if they are not known before.
    size: int = 0


class Places(Protocol):
    """Knows what stands where in a file."""

    def pieces(self, draft: Path, rows: range, first: int, matrix: Any) -> Iterator[tuple[int, AnyArray]]:
        """Yield what a slab writes: the place in the file in bytes, and the numbers as they stand there.

        ``matrix`` has the rows ``rows`` in CSR, and ``first`` entries stand before them.
        """


@dataclass(frozen=True)
class SlabWriter:
    """Job that writes a slab of rows into a file that is as long as it will be."""

    slabs: Slabs
    places: Places

    def __call__(self, draft: Path, number: int) -> None:
        """Write a slab, and wait until it is on the disk."""
        rows = self.slabs.rows(number)
        first, matrix = int(self.slabs.starts(rows[:0])[0]), self.slabs.build(rows)
        with draft.open("r+b") as file:
            for place, numbers in self.places.pieces(draft, rows, first, matrix):
                file.seek(place)
                file.write(numbers.reshape(-1).view("u1").data)
            file.flush()
            os.fsync(file.fileno())


def create(draft: Path, head: bytes, size: int) -> None:
    """Create a file of a size that begins with these bytes; the others take no room before they are written."""
    with draft.open("xb") as file:
        file.write(head)
        file.truncate(size)


@dataclass(frozen=True)
class _WholeWriter:
    """Job that writes all of a file at once."""

    write: Callable[[BinaryIO], None]

    def __call__(self, draft: Path, _number: int) -> None:
        """Write the file, and wait until it is on the disk."""
        with draft.open("r+b") as file:
            self.write(file)
            file.flush()
            os.fsync(file.fileno())


def whole(write: Callable[[BinaryIO], None], size: int = 0) -> Layout:
    """Return how a file is written of which no place is known before: in one job."""
    return Layout(1, partial(create, head=b"", size=0), _WholeWriter(write), size)
