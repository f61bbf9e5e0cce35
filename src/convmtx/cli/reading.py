"""Arrays from files that are not trusted: nothing in them is executed, nothing allocated that they only claim."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from math import prod
from typing import IO

import numpy as np

from convmtx.cli.matlab import read_mat
from convmtx.cli.pictures import read_picture
from convmtx.cli.report import CommandError
from convmtx.cli.source import Source
from convmtx.cli.tables import read_csv
from convmtx.extras import needed
from convmtx.typing import AnyArray

#: Bytes: NumPy reads no header of more than 10 000.
HEADER = 16_384


def npy(source: Source) -> AnyArray:
    """Read what `numpy.save` wrote."""
    with source.parsing(), source.path.open("rb") as file:
        check_header(source, file.read(HEADER), source.size())
        file.seek(0)
        return _array(file)


def npz(source: Source) -> AnyArray:
    """Read one array of what `numpy.savez` wrote."""
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
    if not head.startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError("it does not begin as such files do")
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


def mat(source: Source) -> AnyArray:
    """One array of a file of MATLAB."""
    with source.parsing():
        return np.asarray(read_mat(source))


def safetensors(source: Source) -> AnyArray:
    """One tensor; the library checks that the file is as long as its header says."""
    library = needed("safetensors", "files")
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
    library = needed("safetensors", "files")
    source.fit([source.size()], 4)
    tensors = dict(library.deserialize(source.path.read_bytes()))
    shape, raw = tensors[name]["shape"], tensors[name]["data"]
    halves = np.frombuffer(bytes(raw), "<u2").astype(np.uint32) << 16
    return halves.view(np.float32).reshape(shape)


def picture(source: Source) -> AnyArray:
    """A picture as a point spread function: grey, and of sum 1."""
    image = read_picture(source).values
    grey = image @ [0.299, 0.587, 0.114] if image.ndim == 3 else image
    total = grey.sum()
    if not 0 < total < np.inf:
        raise CommandError(f"{source.path} has the sum {total}", "Wanted more than darkness", "Check it")
    return np.asarray(grey / total)


READERS: dict[str, Callable[[Source], AnyArray]] = {
    ".npy": npy, ".npz": npz, ".csv": read_csv, ".mat": mat, ".safetensors": safetensors,
    ".png": picture, ".jpg": picture, ".jpeg": picture, ".tif": picture, ".tiff": picture,
}  # fmt: skip
