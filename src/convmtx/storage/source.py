"""A file that is read and not trusted, and the errors about it."""

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
from convmtx.errors import ArgumentError, ConvmtxError

#: Suffixes of files that can contain more than one array; ``FILE:NAME`` selects one.
_WITH_MEMBERS = (".npz", ".mat", ".safetensors", ".h5", ".hdf5")
#: First bytes of files, what they are, and their suffixes.
_SIGNATURES = (
    (b"\x93NUMPY", "an array of NumPy", (".npy",)),
    (b"PK\x03\x04", "an archive of NumPy", (".npz",)),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", (".png",)),
    (b"\xff\xd8\xff", "a JPEG picture", (".jpg", ".jpeg")),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", (".h5", ".hdf5", ".mat")),
    (b"%%MatrixMarket", "a Matrix Market file", (".mtx",)),
)
#: Bytes of a file in which a signature can stand: MATLAB writes one of HDF5 behind 512 bytes of its own.
_SIGNATURE_BYTES = 520
#: Names of members that an error lists, so that it stays one line.
_LISTED_NAMES = 9


@dataclass(frozen=True)
class Source:
    """A file, the name of the array that is read from it, and what that array is used as."""

    path: Path
    member: str | None = None
    #: "kernel", "matrix" or "picture".
    role: str = "kernel"

    @property
    def suffix(self) -> str:
        """Suffix of the file, in lower case."""
        return self.path.suffix.lower()

    def size(self) -> int:
        """Return the bytes of the file; refuse what is not an ordinary file, for opening a pipe could wait for ever.

        A .zarr folder has none of its own, and counts as one.
        """
        size = self.path.stat().st_size
        if self.suffix == ".zarr" and self.path.is_dir():
            return 1
        if not self.path.is_file():
            kind = "a folder" if self.path.is_dir() else "not an ordinary file"
            raise ArgumentError(f"{self.path} is {kind}", f"Expected a {self.suffix} file", "Pass another path")
        return size

    def damaged(self, contradiction: str) -> ArgumentError:
        """Return the error for a file that contradicts itself."""
        return ArgumentError(f"{self.path} is damaged", contradiction, "Write it again")

    def not_numbers(self, content: Any) -> ArgumentError:
        """Return the error for a file that contains something else than numbers."""
        remedy = "Cast it first, as with K.astype(float)"
        return ArgumentError(f"{self.path} contains {content}", "Expected integers, floats or complex numbers", remedy)

    def require_memory(self, shape: Iterable[int], item: int) -> None:
        """Refuse an array that does not fit in memory twice: the operator keeps a copy. ``item`` is bytes an entry."""
        size = prod(int(n) for n in shape) * item
        if 2 * size > memory.available():
            got = f"the {self.role} in {self.path} takes {memory.human(size)}"
            raise ArgumentError(got, "More than fits in memory twice", f"Use a smaller {self.role}")

    def select(self, names: Iterable[str]) -> str:
        """Return the requested member, or the only one."""
        members = list(names)
        if self.member in members:
            return str(self.member)
        if self.member is None and len(members) == 1:
            return members[0]
        if not members:
            raise ArgumentError(
                f"{self.path} contains no array of numbers", f"Expected a {self.role}", "Write it again"
            )
        more = len(members) - _LISTED_NAMES
        listed = ", ".join(members[:_LISTED_NAMES]) + (f" and {more} more" if more > 0 else "")
        expected = f"{self.member} is not among them" if self.member else "Expected one of them"
        raise ArgumentError(f"{self.path} contains {listed}", expected, f"Write {self.path}:NAME")

    def select_numeric(self, numeric: list[str], names: list[str], matrices: bool) -> str:
        """Return the requested member, or the only one that is numeric; of matrices the one that is called W."""
        if self.member in names and self.member not in numeric:
            raise self.not_numbers(f"something else in {self.member}")
        return "W" if matrices and self.member is None and "W" in numeric else self.select(numeric)

    @contextlib.contextmanager
    def parsing(self) -> Iterator[None]:
        """Turn every exception of a parser, which can be of any kind, into one error that names the file."""
        if not self.size():
            raise self._unreadable("it is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for example about headers that Python 2 wrote, which are read
            try:
                yield
            except (ConvmtxError, MemoryError):
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.filename:  # the file could not be opened
                    raise
                # Parsers explain themselves to programmers behind a semicolon or a line break.
                reason = re.split("[;\n]", str(error))[0][:200] or type(error).__name__
                raise self._unreadable(reason) from None

    def _unreadable(self, reason: str) -> ArgumentError:
        """Return the error for a file that is not of the format that its suffix names."""
        got = f"{self.path} cannot be read as {self.suffix} ({reason})"
        return ArgumentError(got, f"Expected a {self.role}", self._suggest_suffix())

    def _suggest_suffix(self) -> str:
        """Return what to do: rename the file if it begins like one of another format."""
        head = b""
        if self.path.is_file():
            with self.path.open("rb") as file:
                head = file.read(_SIGNATURE_BYTES)
        for signature, kind, suffixes in _SIGNATURES:
            if signature in (head[: len(signature)], head[512:]) and self.suffix not in suffixes:
                return f"It begins like {kind}: rename it to {' or '.join(suffixes)}"
        return "Check it, or write it again"


def find_source(text: str, suffixes: tuple[str, ...], role: str) -> Source | None:
    """Read ``FILE`` or ``FILE:NAME``; return None if the suffix is not one of those.

    Names of files can contain colons too: the whole text is tried first, then what stands before each colon.
    """
    colons = [position for position, letter in enumerate(text) if letter == ":"]
    for end in (len(text), *colons):
        path = Path(text[:end])
        if path.suffix.lower() in suffixes:
            member = text[end + 1 :] or None
            if member and path.suffix.lower() not in _WITH_MEMBERS:
                got, expected = f"{member} in {path}", f"A {path.suffix} file has one array, and no names"
                raise ArgumentError(got, expected, f"Write {path}")
            return Source(path, member, role)
    if text and Path(text).exists():
        what = "is a folder" if Path(text).is_dir() else f"has the suffix {Path(text).suffix!r}"
        raise ArgumentError(f"{text} {what}", f"Expected {' or '.join(suffixes)}", "Name such a file")
    return None


def locate(text: str, suffixes: tuple[str, ...], role: str) -> Source:
    """Read ``FILE`` or ``FILE:NAME``; refuse a file that has none of the suffixes."""
    source = find_source(text, suffixes, role)
    if source is None:
        raise ArgumentError(f"{text!r} is not a file", f"Expected {' or '.join(suffixes)}", "Name such a file")
    return source
