"""Times of calls that take turns, within a limit of seconds for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from convmtx.costs import TIMED_BURST, TIMED_CASE, TIMED_PAUSE
from convmtx.errors import ConvmtxError

Item = TypeVar("Item")
#: Rounds in which calls take turns. The least of all times is the one that no other process disturbed.
ROUNDS = 3
#: Number of calls in a burst, at most.
MOST_CALLS = 50


def least_seconds(calls: Sequence[Callable[[], Any]]) -> list[float | None]:
    """Return the least seconds of each call, after a first one that is not timed; None if its library is missing."""
    begin = time.perf_counter()
    counts = [_warm_up(call) for call in calls]
    least: list[float | None] = [None for _ in calls]
    for turn in range(ROUNDS):
        if turn and time.perf_counter() - begin > TIMED_CASE:
            break
        for j, (call, count) in enumerate(zip(calls, counts, strict=True)):
            if count:
                time.sleep(TIMED_PAUSE)
                seconds = _seconds_of(call, count)
                least[j] = min(least[j] or seconds, seconds)
    return least


def _seconds_of(call: Callable[[], Any], count: int) -> float:
    """Return the least seconds of some calls that follow each other."""
    least = float("inf")
    for _ in range(count):
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return max(least, 1e-9)


def _warm_up(call: Callable[[], Any]) -> int:
    """Call twice, the first time to build what is kept; return how many calls make a burst, 0 for none."""
    try:
        call()
    except (ImportError, ConvmtxError):  # the engine of a library that is not installed, or an array that is too large
        return 0
    return min(max(int(TIMED_BURST / _seconds_of(call, 1)), 1), MOST_CALLS)


def shuffled(items: Sequence[Item]) -> list[Item]:
    """Return items in an order that is random and always the same: whatever is left out is of every sort."""
    return [items[j] for j in np.random.default_rng(0).permutation(len(items))]


def until(items: Sequence[Item], seconds: float, step: Callable[[], Any]) -> Iterator[Item]:
    """Yield the first item, and more for so many seconds; call ``step`` for each, also for those that are left out."""
    end = time.perf_counter() + seconds
    for j, item in enumerate(items):
        if not j or time.perf_counter() < end:
            yield item
        step()
