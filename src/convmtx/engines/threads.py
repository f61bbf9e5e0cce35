"""Share work out to threads, and keep scratch memory for each: no other module of the package starts threads."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import cache
from math import prod
from threading import Lock, local
from typing import Any, TypeVar

import numpy as np

from convmtx.typing import AnyArray, Shape

Item = TypeVar("Item")
Result = TypeVar("Result")
#: Part of a call that is prepared once: it moves numbers between arrays that stay where they are, and may be repeated.
Step = Callable[[], object]
#: Memory for a slot: `scratch`, or memory that one prepared call has for itself.
Memory = Callable[[str, Shape, np.dtype[Any]], AnyArray]


@cache
def threads() -> int:
    """Number of threads that work at a time: processors of this process, or OMP_NUM_THREADS if that is fewer."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    requested = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    limited = requested.isdecimal() and int(requested) > 0
    return min(processors, int(requested)) if limited else processors


class _Scratch(local):
    def __init__(self) -> None:
        self.slots: dict[str, AnyArray] = {}


_scratch = _Scratch()
#: Largest number of bytes that a thread keeps in each slot: 8 MiB, two tiles of the direct engine.
SCRATCH_BYTES = 1 << 23


def scratch(slot: str, shape: Shape, dtype: np.dtype[Any]) -> AnyArray:
    """Return memory of this thread that is overwritten by its next call with the same slot.

    Fresh memory costs a page fault for every 4 KiB, more than filling it.
    """
    size = prod(shape) * dtype.itemsize
    if size > SCRATCH_BYTES:
        return np.empty(shape, dtype)
    room = _scratch.slots.get(slot)
    if room is None or room.size < size:
        room = _scratch.slots[slot] = np.empty(size, np.uint8)
    return np.ndarray(shape, dtype, room)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads() - 1, thread_name_prefix="convmtx")


if hasattr(os, "register_at_fork"):  # a child has the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


class _Limit:
    """Count users that want BLAS to use one thread a call: the first of them limits it, the last frees it.

    SciPy brings a BLAS of its own. A user that comes after SciPy was imported limits that too.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget users, and take a new lock."""
        self.lock, self.users = Lock(), 0
        self.controller: Any = None
        self.limiters: list[Any] = []

    def __enter__(self) -> None:
        with self.lock:
            controller = _controller("scipy.linalg" in sys.modules)
            if controller is not self.controller:
                self.limiters.append(controller.limit(limits=1, user_api="blas"))
                self.controller = controller
            self.users += 1

    def __exit__(self, *_error: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.controller = None
                while self.limiters:
                    self.limiters.pop().restore_original_limits()


_limit = _Limit()
if hasattr(os, "register_at_fork"):  # a child has none of the threads that would free BLAS and the lock
    os.register_at_fork(after_in_child=_limit.reset)


def one_blas_thread() -> AbstractContextManager[None]:
    """Hold BLAS, in the whole process, to one thread a call: for many small calls, or calls of our own threads.

    Threads of BLAS wait for each other longer than small calls take, and still longer if our threads call BLAS at once.
    """
    import scipy.linalg  # noqa: F401  # its BLAS is limited too

    return _limit


def one_numpy_thread() -> AbstractContextManager[None]:
    """Hold NumPy's BLAS to one thread a call, and SciPy's if that is in use.

    Threads of BLAS wait for each other in a loop. If other processes keep the cores busy, one thread that waits for a
    core holds up the rest: a product of 4 ms took 46. Limiting costs some 20 microseconds.
    """
    return _limit


@cache
def _controller(_with_scipy: bool) -> Any:
    """Return a controller of the libraries that are loaded now."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def spread(work: Callable[[Iterable[Item]], Result], items: Sequence[Item], parallel: bool) -> list[Result]:
    """Call ``work`` on shares of the items, one share a thread, each taking the next item as it gets free.

    The caller's thread takes a share, and work never waits for other work: called from any number of a user's own
    threads at once, it finishes. A thread that has not begun when all items are taken is not waited for: on a busy
    machine it may get a core milliseconds later. BLAS keeps to one thread a call, so that its threads are not as many
    again for each of ours. NumPy's error state goes along. When it returns or raises, nothing runs any more.
    """
    others = min(threads(), len(items)) - 1 if parallel else 0
    if others < 1:
        return [work(items)]
    left = deque(items)

    def share() -> Iterator[Item]:
        while True:
            try:
                yield left.popleft()
            except IndexError:
                return

    with one_numpy_thread():
        futures = [_pool().submit(copy_context().run, work, share()) for _ in range(others)]
        try:
            mine = work(share())
        finally:
            left.clear()
            begun = [future for future in futures if not future.cancel()]
            wait(begun)
    return [mine, *(future.result() for future in begun)]
