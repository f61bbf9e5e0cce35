"""Progress bars for long work, drawn by tqdm."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from convmtx.extras import import_extra


def show_progress(visible: bool, label: str, total: int | None, done: int = 0) -> AbstractContextManager[Any]:
    """Return a bar with ``update(n)`` as a context; the context gives None if the bar is not visible.

    ``total`` is None if nobody knows how much there is to do; ``done`` is how much of it an earlier call has done.
    """
    if not visible:
        return nullcontext()
    tqdm = import_extra("tqdm", "progress").tqdm
    bar: AbstractContextManager[Any] = tqdm(total=total, desc=label, leave=False, initial=done)
    return bar
