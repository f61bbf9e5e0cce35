"""A kernel as it is named on the command line: a file, an array in a file, or a built-in name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from convmtx.cli.builtin import BUILTIN, SPELLINGS, builtin
from convmtx.cli.reading import READERS
from convmtx.cli.report import CommandError
from convmtx.cli.source import Source
from convmtx.typing import AnyArray

#: Suffixes of files with several arrays, of which one is named behind a colon.
_WITH_NAMES = (".npz", ".mat", ".safetensors", ".h5", ".hdf5")


def read_kernel(text: str) -> AnyArray:
    """The numbers of a kernel, in memory and in the machine's byte order."""
    found = builtin(text)
    if found is not None:
        return found
    source = located(text)
    kernel = READERS[source.suffix](source)
    if kernel.dtype.kind not in "iufc":
        raise source.no_numbers(kernel.dtype)
    return kernel.astype(kernel.dtype.newbyteorder("="), copy=False)


def located(text: str, known: tuple[str, ...] = tuple(READERS)) -> Source:
    """The file, and the name of what is wanted of it, if its suffix is one of those known."""
    colons = [j for j, letter in enumerate(text) if letter == ":"]
    for end in (len(text), *colons):
        path = Path(text[:end])
        if path.suffix.lower() in known:
            member = text[end + 1 :] or None
            if member and path.suffix.lower() not in _WITH_NAMES:
                got, wanted = f"{member} in {path}", f"A {path.suffix} file has one array, and no names"
                raise CommandError(got, wanted, f"Write {path}")
            return Source(path, member)
    if text and Path(text).exists():
        what = "is a folder" if Path(text).is_dir() else f"has the suffix {Path(text).suffix!r}"
        raise CommandError(f"{text} {what}", f"Wanted {' or '.join(known)}", "Name such a file")
    if known != tuple(READERS):
        got, wanted = f"{text!r} is no file", f"Wanted {' or '.join(known)}"
        raise CommandError(got, wanted, "Name such a file")
    close = get_close_matches(text.partition(":")[0], [each.partition(":")[0] for each in SPELLINGS], 1)
    meant = [each for each in SPELLINGS if close and each.startswith(close[0])] or SPELLINGS
    got, wanted = f"{text!r} is no file and no kernel with a name", f"Names are {', '.join(meant)}"
    raise CommandError(got, wanted, "Files have one of the suffixes " + " ".join(known))


def names_file(text: str, target: Path) -> bool:
    """Whether a kernel is read from this file."""
    if not target.exists() or text.partition(":")[0] in BUILTIN:
        return False
    path = located(text).path
    return path.exists() and target.samefile(path)
