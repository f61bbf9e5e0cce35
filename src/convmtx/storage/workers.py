"""Who does numbered jobs: threads of this process, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any

from convmtx.errors import ArgumentError, ArgumentTypeError, shown
from convmtx.extras import import_extra

#: Seconds between looks at threads that work: an interrupt on Windows is noticed so much later.
_POLL = 0.5
#: Jobs submitted for each thread of a cluster: one runs, and one waits so that no thread waits for its next job.
_QUEUED = 2


@dataclass(frozen=True)
class Worker:
    """A job as a function of its number alone."""

    work: Callable[[Path, int], None]
    draft: Path

    def __call__(self, number: int) -> int:
        """Do a job, and return its number."""
        self.work(self.draft, number)
        return number


def check_client(client: Any) -> None:
    """Refuse what is not a client of a cluster, and one that has no cluster any more."""
    if client is None:
        return
    expected, remedy = "Expected a distributed.Client", "Pass distributed.Client(), or leave it out"
    if not isinstance(client, import_extra("distributed", "dask").Client):
        raise ArgumentTypeError(f"client={shown(client)}", expected, remedy)
    if client.status != "running":
        raise ArgumentError(f"client has the status {client.status!r}", f"{expected} that is running", remedy)


def on_threads(worker: Worker, numbers: Iterator[int], at_once: int) -> Generator[int]:
    """Do jobs in threads, and yield the number of each that has ended.

    After an error or an interrupt no job begins, and those that run are waited for: none writes after this has ended.
    """
    with ThreadPoolExecutor(at_once) as pool:
        running: set[Future[int]] = {pool.submit(worker, number) for number in islice(numbers, at_once)}
        while running:
            done, running = wait(running, _POLL, FIRST_COMPLETED)
            for future in done:
                yield future.result()
                running.update(pool.submit(worker, number) for number in islice(numbers, 1))


def on_cluster(client: Any, worker: Worker, numbers: Iterator[int], label: str) -> Generator[int]:
    """Do jobs on the workers of a `distributed.Client`, and yield the number of each that has ended.

    A few jobs are submitted at a time, so that the scheduler does not hold a million of them. Errors are raised as
    they are. When this ends early, the jobs that have not begun are cancelled.
    """
    distributed = import_extra("distributed", "dask")
    name = f"{label.replace(' ', '-')}-{token_hex(4)}"
    # The work, which can hold a large kernel, is sent once, and not with each job.
    shared = client.submit(_same, worker, key=f"{name}-plan")
    ahead = _QUEUED * max(sum(client.nthreads().values()), 1)

    def submit(number: int) -> Any:
        return client.submit(_call, shared, number, key=f"{name}-{number}", pure=False)

    running = distributed.as_completed([submit(number) for number in islice(numbers, ahead)])
    try:
        for future in running:
            yield future.result()
            future.release()
            for number in islice(numbers, 1):
                running.add(submit(number))
    finally:
        client.cancel([*running.futures, shared])


def _same(worker: Worker) -> Worker:
    return worker


def _call(worker: Worker, number: int) -> int:
    return worker(number)
