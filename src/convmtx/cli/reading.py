"""Arrays from files that are not trusted: nothing in them is executed, nothing allocated that they only claim."""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from convmtx import memory
from convmtx.cli.report import CommandError, refused
from convmtx.errors import MissingExtraError, sentence
from convmtx.extras import needed
from convmtx.typing import AnyArray

#: Bytes: NumPy reads no header of more than 10 000.
HEADER = 16_384


@dataclass(frozen=True)
class Source:
    """A file, and the name of what is wanted of it."""

    call: str
    path: Path
    member: str | None = None
    what: str = "kernel"

    @property
    def suffix(self) -> str:
        """Of the file, in small letters."""
        return self.path.suffix.lower()

    def size(self) -> int:
        """Bytes of the file, if it is one: a folder is none, and on a pipe even opening could wait for ever."""
        size = self.path.stat().st_size
        if not self.path.is_file():
            kind = "a folder" if self.path.is_dir() else "not an ordinary file"
            raise refused(self.call, f"{self.path} is {kind}", f"Wanted a {self.suffix} file", "Pass another path")
        return size

    def damaged(self, told: str) -> CommandError:
        """The file contradicts itself."""
        return refused(self.call, f"{self.path} is damaged", told, "Write it again")

    def no_numbers(self, held: Any) -> CommandError:
        """The file holds something else."""
        remedy = "Cast it first, as with K.astype(float)"
        return refused(self.call, f"{self.path} holds {held}", "Wanted integers, floats or complex numbers", remedy)

    def fit(self, shape: Iterable[int], item: int) -> None:
        """Refuse what is not there twice over in memory, for the operator keeps a copy."""
        size = prod(int(n) for n in shape) * item
        if 2 * size > memory.available():
            got = f"the {self.what} in {self.path} takes {memory.human(size)}"
            raise MemoryError(sentence(self.call, got, "More than fits in memory twice", f"Use a smaller {self.what}"))

    def chosen(self, names: Iterable[str]) -> str:
        """The member asked for, or the only one."""
        found = list(names)
        if self.member in found:
            return str(self.member)
        if self.member is None and len(found) == 1:
            return found[0]
        held = ", ".join(found[:9]) + (f" and {len(found) - 9} more" if len(found) > 9 else "") or "no array"
        wanted = f"{self.member} is not among them" if self.member else "Wanted to know which"
        raise refused(self.call, f"{self.path} holds {held}", wanted, f"Write {self.path}:NAME")

    @contextlib.contextmanager
    def parsing(self) -> Iterator[None]:
        """Whatever a parser makes of a file that is none of its own, told as one error."""
        self.size()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote, say, which are read
            try:
                yield
            except (CommandError, MissingExtraError, MemoryError):
                raise
            except Exception as error:  # parsers fail in as many ways as files can be wrong
                if isinstance(error, OSError) and error.filename:  # the file could not be opened
                    raise
                reason = str(error).partition("\n")[0][:200] or type(error).__name__
                got, wanted = f"{self.path} is not a {self.suffix} file ({reason})", f"Wanted one with a {self.what}"
                raise refused(self.call, got, wanted, "Write it again") from None


def npy(source: Source) -> AnyArray:
    """What `numpy.save` wrote."""
    with source.parsing(), source.path.open("rb") as file:
        check_header(source, file.read(HEADER), source.size())
        file.seek(0)
        return _array(file)


def npz(source: Source) -> AnyArray:
    """One array of what `numpy.savez` wrote."""
    with source.parsing(), zipfile.ZipFile(source.path) as archive:
        found = members(archive)
        info = found[source.chosen(found)]
        check_member(source, archive, info)
        with archive.open(info) as file:
            return _array(file)


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Arrays of an .npz file by name."""
    return {each.filename[:-4]: each for each in archive.infolist() if each.filename.endswith(".npy")}


def check_member(source: Source, archive: zipfile.ZipFile, info: zipfile.ZipInfo, kinds: str = "iufc") -> None:
    """Refuse an array that the archive does not hold, or that grows beyond memory."""
    with archive.open(info) as file:
        check_header(source, file.read(HEADER), info.file_size, kinds)


def check_header(source: Source, head: bytes, size: int, kinds: str = "iufc") -> None:
    """Refuse an array whose header tells of other bytes than follow."""
    start = BytesIO(head)
    version = np.lib.format.read_magic(start)
    if version not in ((1, 0), (2, 0)):  # 3.0 exists for field names of structured arrays alone
        told = f"format version {version}"
        raise ValueError(told)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(start)
    if dtype.kind not in kinds:
        raise source.no_numbers("objects" if dtype.hasobject else dtype)
    claimed, held = prod(shape) * dtype.itemsize, size - start.tell()
    if claimed != held or min(shape, default=0) < 0:
        raise source.damaged(f"Its header tells of shape {shape}, {claimed} bytes, and {held} follow")
    source.fit(shape, dtype.itemsize)


def _array(file: IO[bytes]) -> AnyArray:
    found: AnyArray = np.lib.format.read_array(file, allow_pickle=False)
    return found


def csv(source: Source) -> AnyArray:
    """Numbers between commas; a line alone or a column alone is a row or a column still."""
    # A number takes two bytes at least, eight in memory, and as many again while the array grows.
    source.fit([source.size()], 8)
    with source.parsing(), source.path.open(encoding="utf-8-sig") as file:
        table = np.loadtxt(file, delimiter=",", ndmin=2)
        if not table.size:
            raise ValueError("no numbers")
        return table


def mat(source: Source) -> AnyArray:
    """One array of a file of MATLAB."""
    from convmtx.cli.matlab import read_mat

    with source.parsing():
        return np.asarray(read_mat(source))


def safetensors(source: Source) -> AnyArray:
    """One tensor; the library checks that the file is as long as its header says."""
    library = needed(source.call, "safetensors", "files")
    with source.parsing(), library.safe_open(source.path, framework="numpy") as file:
        name = source.chosen(file.keys())
        part = file.get_slice(name)
        kind = part.get_dtype()
        if kind == "BF16":
            return _brain_floats(source, name)
        source.fit(part.get_shape(), 8)
        return np.asarray(file.get_tensor(name))


def _brain_floats(source: Source, name: str) -> AnyArray:
    """Numbers of bfloat16, which NumPy has not, as float32, which has their first half."""
    library = needed(source.call, "safetensors", "files")
    source.fit([source.size()], 4)
    tensors = dict(library.deserialize(source.path.read_bytes()))
    shape, raw = tensors[name]["shape"], tensors[name]["data"]
    halves = np.frombuffer(bytes(raw), "<u2").astype(np.uint32) << 16
    return halves.view(np.float32).reshape(shape)


def picture(source: Source) -> AnyArray:
    """A picture as a point spread function: grey, and of sum 1."""
    from convmtx.cli.pictures import read_picture

    image = read_picture(source).values
    grey = image @ [0.299, 0.587, 0.114] if image.ndim == 3 else image
    total = grey.sum()
    if not 0 < total < np.inf:
        raise refused(source.call, f"{source.path} has the sum {total}", "Wanted more than darkness", "Check it")
    return np.asarray(grey / total)


READERS: dict[str, Callable[[Source], AnyArray]] = {
    ".npy": npy, ".npz": npz, ".csv": csv, ".mat": mat, ".safetensors": safetensors,
    ".png": picture, ".jpg": picture, ".jpeg": picture, ".tif": picture, ".tiff": picture,
}  # fmt: skip
