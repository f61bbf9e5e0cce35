"""Progress on long work, by tqdm, where it is asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from convmtx.extras import needed


def ticking(progress: bool, words: str, total: int) -> AbstractContextManager[Any]:
    """A bar with ``update(n)``, or None where none is wanted."""
    if not progress:
        return nullcontext()
    bar: AbstractContextManager[Any] = needed("tqdm", "progress").tqdm(total=total, desc=words, leave=False)
    return bar
