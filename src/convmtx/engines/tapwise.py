"""Apply the definition, one tap at a time: each tap reads the inputs that exist, and no padding is ever multiplied.

This is slow, and it is right for kernels that contain inf or nan. Other engines pad with zeros, and inf * 0 is nan.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.engines.parts import Part, wide
from convmtx.typing import AnyArray


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd)."""
    total = y if wide(y.dtype) == y.dtype else np.empty(y.shape, wide(y.dtype))
    total[...] = 0
    outputs = [np.arange(a.out) for a in part.axes]
    for tap in product(*(range(a.kernel) for a in part.axes)):
        columns = [a.read(o, np.array(p)) for a, o, p in zip(part.axes, outputs, tap, strict=True)]
        at: tuple[Any, ...] = (..., *np.ix_(*(np.flatnonzero(c != NOTHING) for c in columns)))
        i: tuple[Any, ...] = (..., *np.ix_(*(c[c != NOTHING] for c in columns)))
        matrix: AnyArray = part.kernel[(slice(None),) * 3 + tap]
        total[at] += np.einsum("gfc,bgc...->bgf...", matrix, x[i], dtype=total.dtype)
    if total is not y:
        y[...] = total
