"""Writing a file: refused before the work begins where it cannot succeed, and never half done."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from convmtx.errors import ArgumentError


def writable(path: Path, suffixes: tuple[str, ...]) -> Path:
    """Return where to write, symbolic links followed; refuse a path that cannot be written."""
    try:
        target = Path(os.path.realpath(path))
        reason = _hindrance(path, target)
    except (OSError, ValueError) as error:  # a name too long, or with a character that none has
        target, reason = path, getattr(error, "strerror", None) or str(error)
    if reason is None and path.suffix.lower() not in suffixes:
        got, wanted = f"{path} has the suffix {path.suffix!r}", f"Wanted {' or '.join(suffixes)}"
        raise ArgumentError(got, wanted, "Rename it")
    if reason is None and (reason := _refusal(target)):
        reason = f"No file can be made in {target.parent} ({reason})"
    if reason is not None:
        raise ArgumentError(f"{path} cannot be written", reason, "Choose another name")
    return target


def _hindrance(path: Path, target: Path) -> str | None:
    if not target.parent.is_dir():
        return f"{target.parent if path.is_symlink() else path.parent} is not a folder"
    if not os.path.lexists(target):
        with contextlib.suppress(FileNotFoundError):
            target.lstat()  # which fails for a name that is too long, where asking whether it exists does not
        return None
    if target.is_dir():
        return "It is a folder"
    if not target.is_file():  # a device, which must not be replaced by a file
        return "It is not an ordinary file"
    return None if os.access(target, os.W_OK) else "It is read-only"


def _refusal(target: Path) -> str | None:
    """Why the system makes no file beside the target, by making one: permissions alone do not tell."""
    probe = temporary_beside(target)
    try:
        with probe.open("xb"):
            return None
    except OSError as error:
        return error.strerror or str(error)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def temporary_beside(target: Path) -> Path:
    """Return a name that no file has, in the target's folder."""
    # Not tempfile: it makes files for their owner's eyes only, and these are to be as any other new file.
    return target.with_name(f".convmtx-{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``target`` once it is complete, and is gone if anything goes wrong."""
    temporary = temporary_beside(target)
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            got, wanted = f"{target} cannot be written", error.strerror or str(error)
            raise ArgumentError(got, wanted, "It is as it was before") from None
        raise
