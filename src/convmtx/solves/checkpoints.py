"""Checkpoints of long runs on chunks: a folder of NumPy files, written by whoever has the chunks.

Each checkpoint is a folder of its own inside. It counts from the moment when the file ``run.npz``, which names it and
has the numbers, is replaced; what was there before is removed then. So a run that is killed at any time leaves one that
is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from convmtx import costs
from convmtx.errors import ArgumentError, ArgumentTypeError, shown
from convmtx.extras import import_extra
from convmtx.files import replace_file
from convmtx.typing import AnyArray, Array

#: File of numbers and names, and the beginning of the names of folders.
RUN, STEPS = "run.npz", "steps-"
#: Entry of the file that says of what problem it is.
WHAT = "what"
#: Writing a checkpoint takes at most one part in so many of the time.
SHARE = 10.0


class Saved(NamedTuple):
    """Vectors and numbers of a checkpoint by names."""

    vectors: dict[str, Array]
    numbers: dict[str, AnyArray]


def as_folder(path: Any) -> Path:
    """Return the path of a folder from the caller's argument, without a look at what is there."""
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"checkpoint={shown(path)}", "Expected the path of a folder", "Pass a str or a Path")
    return Path(path).absolute()


class Checkpoint:
    """A checkpoint in a folder, of a problem that words describe: what may differ between problems, by names."""

    def __init__(self, folder: Path, words: dict[str, Any]) -> None:
        """Make the folder if it is not there."""
        self.folder, self.words = folder, words
        self.saved_at, self.seconds = time.monotonic(), 0.0
        try:
            self.folder.mkdir(exist_ok=True)
            others = [
                name for name in os.listdir(self.folder) if name != RUN and not name.startswith((STEPS, ".convmtx"))
            ]
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None
        if others:
            raise self._unusable(f"It contains {others[0]}, which is not of a checkpoint")

    def _unusable(self, why: str) -> ArgumentError:
        return ArgumentError(f"checkpoint={self.folder} cannot be used", why, "Choose another folder")

    @property
    def is_due(self) -> bool:
        """Whether to write again."""
        wait = max(costs.CHECKPOINT_SECONDS, SHARE * self.seconds)
        return time.monotonic() - self.saved_at >= wait

    def save(self, vectors: dict[str, Array], numbers: dict[str, AnyArray]) -> dict[str, Array]:
        """Write all of it, then let it be the checkpoint, and remove the one before; return vectors that are read.

        A scheduler remembers what vectors that it has were computed from, back to the first step. Those that are read
        from files let it forget.
        """
        start = time.monotonic()
        name = f"{STEPS}{token_hex(4)}"
        (self.folder / name).mkdir()
        writes = [_blocks(array, partial(_write, str(self.folder / name / key))) for key, array in vectors.items()]
        import_extra("dask", "dask").compute(*writes)
        kinds = {key: [array.chunks, array.dtype.str] for key, array in vectors.items()}
        text = json.dumps({"folder": name, "words": self.words, "vectors": kinds})
        with replace_file(self.folder / RUN) as file:
            np.savez(file, allow_pickle=False, **{WHAT: np.array(text)}, **numbers)
        for old in self.folder.glob(f"{STEPS}*"):
            if old.name != name:
                shutil.rmtree(old)
        self.saved_at = time.monotonic()
        self.seconds = self.saved_at - start
        return {key: _read_all(self.folder / name / key, array) for key, array in vectors.items()}

    def load(self, like: dict[str, Array]) -> Saved | None:
        """Return what was saved, vectors with the chunks and types of those given; None if nothing was.

        Raises
        ------
        ArgumentError
            If it is of another problem, or damaged.
        """
        if not (self.folder / RUN).exists():
            return None
        try:
            # NumPy does not close a file that is not a whole archive.
            with (self.folder / RUN).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                numbers = dict(file.items())
            what = json.loads(str(numbers.pop(WHAT)))
            words, kinds, folder = what["words"], dict(what["vectors"]), str(what["folder"])
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise self.damaged(error) from None
        self._require_words(words)
        expected = json.loads(json.dumps({key: [array.chunks, array.dtype.str] for key, array in like.items()}))
        if os.path.basename(folder) != folder or any(kind != expected.get(key) for key, kind in kinds.items()):
            raise self._unusable("Its vectors have other chunks or types")
        if any(array.dtype.kind not in "biuf" or array.ndim > 2 for array in numbers.values()):
            raise self.damaged("numbers")
        return Saved({key: _read_all(self.folder / folder / key, like[key]) for key in kinds}, numbers)

    def damaged(self, what: Any) -> ArgumentError:
        """Return the error of a checkpoint that does not have what it should."""
        return self._unusable(f"{RUN} is damaged ({what})")

    def _require_words(self, words: dict[str, Any]) -> None:
        for name, now in self.words.items():
            before = words.get(name)
            if not _agree(before, now):
                got = f"checkpoint={self.folder} is of another problem: {name} is another one"
                if isinstance(now, float | int) and not isinstance(before, list):
                    got = f"checkpoint={self.folder} is of another problem: there {name}={before}, here {name}={now}"
                raise ArgumentError(got, "Expected the arguments that it was begun with", "Choose another folder")


def _agree(before: Any, now: Any) -> bool:
    """Whether two descriptions are equal; lists of numbers, which chunks are added to, up to rounding."""
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        return bool(np.allclose(np.array(before, float), np.array(now, float), rtol=1e-9, atol=0))
    return bool(before == now)


def _blocks(array: Array, write: Any) -> Any:
    """Return an array of Dask that writes each chunk when it is computed."""
    ones = tuple((1,) * count for count in array.numblocks)
    return array.map_blocks(write, chunks=ones, dtype=bool, meta=np.empty((0,) * array.ndim, bool))


def _write(path: str, chunk: AnyArray, block_id: tuple[int, ...]) -> AnyArray:
    np.save(_file(path, block_id), chunk, allow_pickle=False)
    return np.ones((1,) * chunk.ndim, bool)


def _read_all(path: Path, like: Array) -> Array:
    """Return an array of Dask of the chunks at a path."""
    return import_extra("dask.array", "dask").map_blocks(
        partial(_read, str(path), like.chunks, like.dtype), chunks=like.chunks, dtype=like.dtype,
        meta=np.empty((0,) * like.ndim, like.dtype), name=f"checkpoint-{token_hex(8)}",
    )  # fmt: skip


def _read(path: str, chunks: Any, dtype: Any, block_id: tuple[int, ...]) -> AnyArray:
    shape = tuple(sizes[j] for sizes, j in zip(chunks, block_id, strict=True))
    name = _file(path, block_id)
    chunk = np.load(name, mmap_mode="r", allow_pickle=False)  # reads the header alone
    if chunk.shape != shape or chunk.dtype != dtype:
        got = f"{name} has {chunk.dtype} of shape {chunk.shape}"
        raise ArgumentError(got, f"Expected {dtype} of shape {shape}", "The checkpoint is damaged: begin another one")
    return np.array(chunk)


def _file(path: str, block_id: tuple[int, ...]) -> str:
    return f"{path}-{'-'.join(map(str, block_id))}.npy"
