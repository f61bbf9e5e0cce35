"""Work shared out to threads, and the memory that each keeps for it: the one room that starts any."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from math import prod
from threading import local
from typing import Any, TypeVar

import numpy as np

from convmtx.typing import AnyArray, Shape

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def threads() -> int:
    """How many threads work at a time: the processors this process may use, or OMP_NUM_THREADS where that is fewer."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(found, int(asked)) if asked.isdecimal() and int(asked) > 0 else found


class _Scratch(local):
    def __init__(self) -> None:
        self.slots: dict[str, AnyArray] = {}


_scratch = _Scratch()
#: Memory that a thread keeps in each slot, at most.
SCRATCH_BYTES = 1 << 23


def scratch(slot: str, shape: Shape, dtype: np.dtype[Any]) -> AnyArray:
    """Memory of this thread to be used and forgotten; whoever asks next for the same slot gets it again.

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


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS with one thread a call, where threadpoolctl is there to tell it: for many small calls of our threads."""
    controller = _controller()
    if controller is None:
        yield
    else:
        with controller.limit(limits=1, user_api="blas"):
            yield


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    import scipy.linalg  # noqa: F401  # the controller knows the libraries that are loaded when it is made

    return ThreadpoolController()


def spread(work: Callable[[Iterable[Item]], Result], items: Sequence[Item], parallel: bool) -> list[Result]:
    """Call ``work`` on shares of the items, one share a thread, each taking the next item as it gets free.

    The caller's thread takes a share, and work never waits for other work: called from any number of a user's own
    threads at once, it finishes. NumPy's error state goes along. When it returns or raises, nothing runs any more.
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

    futures = [_pool().submit(copy_context().run, work, share()) for _ in range(others)]
    try:
        mine = work(share())
    finally:
        left.clear()
        wait(futures)
    return [mine, *(future.result() for future in futures)]
