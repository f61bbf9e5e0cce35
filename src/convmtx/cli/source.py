"""A file that is read and not trusted, and what is said of it where it is wrong."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from convmtx import memory
from convmtx.cli.report import CommandError
from convmtx.errors import MissingExtraError

#: How files begin, what they are, and their suffixes.
_STARTS = (
    (b"\x93NUMPY", "an array of NumPy", (".npy",)),
    (b"PK\x03\x04", "an archive of NumPy", (".npz",)),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", (".png",)),
    (b"\xff\xd8\xff", "a JPEG picture", (".jpg", ".jpeg")),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", (".h5", ".hdf5", ".mat")),
    (b"%%MatrixMarket", "a Matrix Market file", (".mtx",)),
)


@dataclass(frozen=True)
class Source:
    """A file, and the name of what is wanted of it."""

    path: Path
    member: str | None = None
    what: str = "kernel"

    @property
    def suffix(self) -> str:
        """Suffix of the file, in small letters."""
        return self.path.suffix.lower()

    def size(self) -> int:
        """Bytes of the file, if it is one: a folder is none, and on a pipe even opening could wait for ever."""
        size = self.path.stat().st_size
        if not self.path.is_file():
            kind = "a folder" if self.path.is_dir() else "not an ordinary file"
            raise CommandError(f"{self.path} is {kind}", f"Wanted a {self.suffix} file", "Pass another path")
        return size

    def damaged(self, told: str) -> CommandError:
        """The file contradicts itself."""
        return CommandError(f"{self.path} is damaged", told, "Write it again")

    def no_numbers(self, held: Any) -> CommandError:
        """The file holds something else."""
        remedy = "Cast it first, as with K.astype(float)"
        return CommandError(f"{self.path} holds {held}", "Wanted integers, floats or complex numbers", remedy)

    def fit(self, shape: Iterable[int], item: int) -> None:
        """Refuse what is not there twice over in memory, for the operator keeps a copy."""
        size = prod(int(n) for n in shape) * item
        if 2 * size > memory.available():
            got = f"the {self.what} in {self.path} takes {memory.human(size)}"
            raise CommandError(got, "More than fits in memory twice", f"Use a smaller {self.what}")

    def chosen(self, names: Iterable[str]) -> str:
        """Return the requested member, or the only one."""
        held = list(names)
        if self.member in held:
            return str(self.member)
        if self.member is None and len(held) == 1:
            return held[0]
        if not held:
            raise CommandError(f"{self.path} holds no array of numbers", f"Wanted a {self.what}", "Write it again")
        listed = ", ".join(held[:9]) + (f" and {len(held) - 9} more" if len(held) > 9 else "")
        wanted = f"{self.member} is not among them" if self.member else "Wanted to know which"
        raise CommandError(f"{self.path} holds {listed}", wanted, f"Write {self.path}:NAME")

    def chosen_of(self, fitting: list[str], all_: list[str], sparse: bool) -> str:
        """Return the requested member, or the only one that fits, or of matrices W."""
        if self.member in all_ and self.member not in fitting:
            raise self.no_numbers(f"something else in {self.member}")
        return "W" if sparse and self.member is None and "W" in fitting else self.chosen(fitting)

    @contextlib.contextmanager
    def parsing(self) -> Iterator[None]:
        """Turn every failure of a parser on a file that it cannot read into one error."""
        if not self.size():
            raise self._unreadable("it is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote, say, which are read
            try:
                yield
            except (CommandError, MissingExtraError, MemoryError):
                raise
            except Exception as error:  # parsers fail in as many ways as files can be wrong
                if isinstance(error, OSError) and error.filename:  # the file could not be opened
                    raise
                reason = re.split("[;\n]", str(error))[0][:200] or type(error).__name__  # what follows is not for users
                raise self._unreadable(reason) from None

    def _unreadable(self, reason: str) -> CommandError:
        got = f"{self.path} cannot be read as {self.suffix} ({reason})"
        return CommandError(got, f"Wanted a {self.what}", self._remedy())

    def _remedy(self) -> str:
        with self.path.open("rb") as file:
            head = file.read(520)
        for start, kind, suffixes in _STARTS:
            if start in (head[: len(start)], head[512:]) and self.suffix not in suffixes:
                return f"It begins like {kind}: rename it to {' or '.join(suffixes)}"
        return "Check it, or write it again"
