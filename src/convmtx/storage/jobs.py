"""Long writing as numbered jobs: it goes on where it stopped, also after the process was killed.

A target is written under another name, in a hidden folder beside it, and gets its name when all of it is there::

    .W.zarr.part/plan.json     what is written, and the name of the folder of this attempt
    .W.zarr.part/3f9a/draft    the target as far as it is written
    .W.zarr.part/3f9a/done/17  an empty file for each finished job

Each job writes whole pieces that no other job writes, and flushes them to the disk before it returns. Then its mark is
created. So a job without a mark may have written anything or nothing, and is done again; a job with a mark is not.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convmtx.errors import ArgumentError
from convmtx.files import announce_complete, flush
from convmtx.progress import show_progress
from convmtx.storage.workers import Worker, check_client, on_cluster, on_threads

_PLAN, _DRAFT, _DONE, _LOCK = "plan.json", "draft", "done", "lock"


@dataclass(frozen=True)
class Jobs:
    """Work cut into jobs ``0`` to ``count - 1``, which can be done in any order and at the same time."""

    #: What identifies the work, as JSON can represent it: two calls with equal identities write equal bytes.
    identity: Mapping[str, Any]
    count: int
    #: Creates the empty target at a path that does not exist yet: ``prepare(draft)``.
    prepare: Callable[[Path], None]
    #: Does one job: ``work(draft, number)``. With a client it is pickled, and runs on a worker of the cluster.
    work: Callable[[Path, int], None]
    #: Largest number of jobs that this process does at a time, each of which takes memory.
    at_once: int = 1


def run_jobs(
    target: Path, jobs: Jobs, label: str, *, resume: bool = True, progress: bool = False, client: Any = None
) -> None:
    """Do the jobs that are not done yet, and give the complete target its name.

    Parameters
    ----------
    target : Path
        File or folder to make, in a folder that exists. A file of that name is replaced; a folder must not exist.
    jobs : Jobs
        The work.
    label : str
        Name of the work on the progress bar.
    resume : bool
        Whether to go on with what an earlier call of the same identity has finished, and to keep what is finished if
        this call fails. Otherwise begin anew, and leave nothing behind after a failure.
    progress : bool
        Whether to draw a bar.
    client : distributed.Client, optional
        Cluster that does the jobs, and reads and writes the same file system. By default this process does them.

    Raises
    ------
    ValueError
        If an earlier call has begun other work under this name, if another process is writing it now, if the client
        is closed, or if the system refuses to write, for example because the disk is full.
    TypeError
        If ``client`` is not one.
    """
    check_client(client)
    root = target.with_name(f".{target.name}.part")
    try:
        with _locked(root, target):
            attempt = _begin(root, target, jobs, resume)
            try:
                _do_all(attempt, jobs, label, progress, client)
                _sweep(attempt / _DRAFT)
                announce_complete()
                (attempt / _DRAFT).replace(target)
            except BaseException:
                if not resume or not os.listdir(attempt / _DONE):
                    _remove(root)
                raise
            flush(target.parent)
            _remove(root)
    except OSError as error:
        kept = "What is finished is kept: call again to go on" if root.exists() else "Nothing was changed"
        raise ArgumentError(f"{target} cannot be written", error.strerror or str(error), kept) from error


def _do_all(attempt: Path, jobs: Jobs, label: str, progress: bool, client: Any) -> None:
    """Do the jobs without a mark, and mark each when it has ended."""
    finished = {int(name) for name in os.listdir(attempt / _DONE)}
    left = (number for number in range(jobs.count) if number not in finished)
    worker = Worker(jobs.work, attempt / _DRAFT)
    ended = on_threads(worker, left, jobs.at_once) if client is None else on_cluster(client, worker, left, label)
    with show_progress(progress, label, jobs.count, len(finished)) as bar, closing(ended):
        for number in ended:
            (attempt / _DONE / str(number)).touch(exist_ok=False)
            if bar is not None:
                bar.update(1)


def _sweep(draft: Path) -> None:
    """Remove files that Zarr had not renamed yet when a process, or a worker of a cluster, was killed."""
    for path in draft.rglob("*.partial"):
        path.unlink()


def _begin(root: Path, target: Path, jobs: Jobs, resume: bool) -> Path:
    """Return the folder of the attempt to go on with, or of a new one, with its draft."""
    identity = json.loads(json.dumps(jobs.identity))  # as it is read back: tuples are lists
    plan = _read_plan(root)
    if plan is not None and resume and (root / plan["attempt"] / _DRAFT).exists():
        if plan["identity"] != identity:
            begun = plan["identity"]
            names = [name for name in {**begun, **identity} if begun.get(name) != identity.get(name)]
            got = f"{target} was begun with another {' and another '.join(names)}"
            raise ArgumentError(got, "Only the same work goes on", "Pass resume=False, or choose another name")
        return root / plan["attempt"]
    _empty(root)
    # A new name each time: a worker of a cluster that outlived an earlier attempt cannot write into this one.
    attempt = root / secrets.token_hex(4)
    try:
        (attempt / _DONE).mkdir(parents=True)
        jobs.prepare(attempt / _DRAFT)
    except BaseException:
        _remove(root)
        raise
    new = attempt / _PLAN
    new.write_text(json.dumps({"identity": identity, "attempt": attempt.name}), "utf-8")
    flush(new)
    os.replace(new, root / _PLAN)
    return attempt


def _read_plan(root: Path) -> dict[str, Any] | None:
    """Return the plan of an earlier call, if it came so far as to write one."""
    try:
        plan = json.loads((root / _PLAN).read_text("utf-8"))
        return plan if isinstance(plan["attempt"], str) and isinstance(plan["identity"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _empty(root: Path) -> None:
    """Remove what an earlier attempt left, its plan first: without it, what is left counts as nothing."""
    (root / _PLAN).unlink(missing_ok=True)
    for path in root.iterdir():
        if path.name != _LOCK:
            shutil.rmtree(path, ignore_errors=True)


def _remove(root: Path) -> None:
    """Remove the hidden folder; what cannot be removed stays, without a plan."""
    with suppress(OSError):
        _empty(root)
    shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _locked(root: Path, target: Path) -> Iterator[None]:
    """Create the hidden folder, and keep other processes out of it; the system ends the lock of a killed process."""
    root.mkdir(exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    with (root / _LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            got = f"{target} is being written by another process"
            raise ArgumentError(got, "One at a time writes a file", "Wait for it, or choose another name") from None
        yield
