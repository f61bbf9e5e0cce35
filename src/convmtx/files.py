"""Files that are never half-written: a target that cannot be written is refused before the work begins."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from convmtx.errors import ArgumentError, ArgumentTypeError, shown

#: Functions that are called just before a complete file gets its name, by `announce_complete`.
listeners: list[Callable[[], None]] = []


def as_path(path: Any, example: str) -> Path:
    """Return the argument ``path`` as a path; refuse what is not a file name."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        got = f"path={shown(path)}"
        raise ArgumentTypeError(got, "Expected a file name", f'Pass a str, for example "{example}"')
    return Path(path)


def check_target(path: Path, suffixes: tuple[str, ...]) -> Path:
    """Return where to write, symbolic links followed; refuse a path that cannot be written or has another suffix."""
    try:
        target = Path(os.path.realpath(path))
        reason = _obstacle(path, target)
    except (OSError, ValueError) as error:  # the name is too long, or has a character that names cannot have
        target, reason = path, getattr(error, "strerror", None) or str(error)
    if reason is None and path.suffix.lower() not in suffixes:
        got, expected = f"{path} has the suffix {path.suffix!r}", f"Expected {' or '.join(suffixes)}"
        raise ArgumentError(got, expected, "Rename it")
    if reason is None and (refusal := _try_to_create(target)):
        reason = f"No file can be made in {target.parent} ({refusal})"
    if reason is not None:
        raise ArgumentError(f"{path} cannot be written", reason, "Choose another name")
    return target


def _obstacle(path: Path, target: Path) -> str | None:
    """Return what stands where the file would be, if it cannot be replaced."""
    if not target.parent.is_dir():
        return f"{target.parent if path.is_symlink() else path.parent} is not a folder"
    if not os.path.lexists(target):
        with contextlib.suppress(FileNotFoundError):
            target.lstat()  # raises if the name is too long, which lexists does not
        return None
    if target.is_dir():
        return "It is a folder"
    if not target.is_file():  # a device, which must not be replaced by a file
        return "It is not an ordinary file"
    return None if os.access(target, os.W_OK) else "It is read-only"


def _try_to_create(target: Path) -> str | None:
    """Create a file beside the target and remove it; return the system's reason if it refuses.

    Permissions alone are not enough to know: file systems may be read-only, full or virtual.
    """
    probe = temporary_path(target)
    try:
        with probe.open("xb"):
            return None
    except OSError as error:
        return error.strerror or str(error)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def temporary_path(target: Path) -> Path:
    """Return a name that no file has, in the target's folder."""
    # Not tempfile: its files are readable by their owner alone, and these get the permissions of any new file.
    return target.with_name(f".convmtx-{secrets.token_hex(8)}.tmp")


def announce_complete() -> None:
    """Call the listeners: from here on the file is there, so whoever stops the work must not say that it is not."""
    for listener in listeners:
        listener()


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk, so that a power failure cannot take them back."""
    if os.name == "nt" and path.is_dir():  # Windows does not open folders
        return
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def replace_file(target: Path) -> Iterator[BinaryIO]:
    """Open a new file that replaces ``target`` once it is complete, and is removed if anything goes wrong."""
    temporary = temporary_path(target)
    try:
        with temporary.open("xb") as file:
            yield file
        announce_complete()
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            got, expected = f"{target} cannot be written", error.strerror or str(error)
            raise ArgumentError(got, expected, "Nothing was changed") from None
        raise
