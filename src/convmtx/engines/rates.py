"""How long work takes: what there is of each kind of it, times the seconds that one such thing takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

#: Amounts of work by kind, as in `SECONDS`.
Work = Mapping[str, float]

#: Fitted by ``benchmarks/calibrate.py`` to measured times; only the ratios matter. Flops are by type of those that BLAS
#: has, or without it; thin flops are flops over rows and over columns of a GEMM; runs are neighbouring entries copied;
#: transforms are positions for each doubling of the length; products are complex multiply-adds of spectra.
SECONDS = {
    "flop f4": 1.1e-11,
    "flop f8": 2.2e-11,
    "flop c8": 3.3e-11,
    "flop c16": 7.6e-11,
    "flop": 5.0e-10,
    "thin flop f4": 1.6e-11,
    "thin flop f8": 1.8e-11,
    "thin flop c8": 2.2e-10,
    "thin flop c16": 2.8e-10,
    "slid": 1.0e-10,
    "byte": 5.2e-11,
    "run": 4.8e-09,
    "gemm": 1.6e-07,
    "gemv": 4.6e-08,
    "tile": 2.6e-05,
    "call": 1.6e-05,
    "transform f4": 1.5e-10,
    "transform f8": 3.1e-10,
    "product": 2.7e-09,
    "frequency": 1.2e-07,
    "torch flop f4": 1.3e-12,
    "thin torch flop f4": 2.4e-10,
    "torch call": 3.3e-04,
}


#: Real operations in one of a kind; the others have none.
_FLOPS = {"slid": 1.0, "transform f4": 2.5, "transform f8": 2.5, "product": 8.0, "flop c8": 4.0, "flop c16": 4.0}


def seconds(work: Work) -> float:
    """Predicted time."""
    return sum(SECONDS[kind] * amount for kind, amount in work.items())


def flops(work: Work) -> float:
    """Floating point operations, of real numbers; 2.5 N log2 N for a real transform of length N."""
    plain = (kind for kind in SECONDS if "flop" in kind and "thin" not in kind)
    return sum(_FLOPS.get(kind, 1.0) * work.get(kind, 0.0) for kind in {*plain, *_FLOPS})


def total(works: Iterable[Work]) -> Work:
    """All of them together."""
    found: Counter[str] = Counter()
    for work in works:
        found.update(work)
    return dict(found)


def blas(dtype: np.dtype[Any]) -> str:
    """Short name of a type that BLAS has; empty for others."""
    name = f"{dtype.kind}{dtype.itemsize}"
    return name if name in ("f4", "f8", "c8", "c16") else ""
