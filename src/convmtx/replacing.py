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
    if path.suffix.lower() not in suffixes:
        got, wanted = f"{path} has the suffix {path.suffix!r}", f"Wanted {' or '.join(suffixes)}"
        raise ArgumentError(sentence(call, got, wanted, "Rename it"))
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        reason = f"{path.parent} is not a folder"
    elif target.exists() and not target.is_file():  # a folder; or a device, which must not be replaced by a file
        reason = "It is not an ordinary file"
    elif target.exists() and not os.access(target, os.W_OK):
        reason = "It is read-only"
    else:
        return target
    raise ArgumentError(sentence(call, f"{path} cannot be written", reason, "Choose another name"))


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
