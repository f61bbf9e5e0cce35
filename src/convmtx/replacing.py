"""Writing a file: refused before the work begins where it cannot succeed, and never half done."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from convmtx.errors import ArgumentError, sentence


def writable(call: str, path: Path, suffixes: tuple[str, ...]) -> Path:
    """Where to write, symbolic links followed."""
    try:
        target = Path(os.path.realpath(path))
        reason = _hindrance(path, target)
    except (OSError, ValueError) as error:  # a name too long, or with a character that none has
        target, reason = path, getattr(error, "strerror", None) or str(error)
    if reason is None and path.suffix.lower() not in suffixes:
        got, wanted = f"{path} has the suffix {path.suffix!r}", f"Wanted {' or '.join(suffixes)}"
        raise ArgumentError(sentence(call, got, wanted, "Rename it"))
    if reason is not None:
        raise ArgumentError(sentence(call, f"{path} cannot be written", reason, "Choose another name"))
    return target


def _hindrance(path: Path, target: Path) -> str | None:
    if not target.parent.is_dir():
        return f"{target.parent if path.is_symlink() else path.parent} is not a folder"
    if target.is_dir():
        return "It is a folder"
    if target.exists() and not target.is_file():  # a device, which must not be replaced by a file
        return "It is not an ordinary file"
    if target.exists() and not os.access(target, os.W_OK):
        return "It is read-only"
    return None


@contextlib.contextmanager
def replacing(call: str, target: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``target`` once it is complete, and is gone if anything goes wrong."""
    # Not tempfile: it makes files for their owner's eyes only, and this one is to be as any other new file.
    temporary = target.with_name(f".convmtx-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            got, wanted = f"{target} cannot be written", error.strerror or str(error)
            raise ArgumentError(sentence(call, got, wanted, "It is as it was before")) from None
        raise
