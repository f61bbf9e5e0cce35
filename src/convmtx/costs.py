"""Predicted seconds: how much there is to do of each kind of work, times the seconds that one unit of it takes.

Every constant in this file was fitted to measured times by ``benchmarks/calibrate.py``, which prints all of them anew
for another machine. Choices compare predictions with each other, so only the ratios of the constants matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# Engines: a batch of inputs applied by one of `convmtx.engines`.

#: Amount of work of each kind. The kinds are the keys of `SECONDS`.
Work = Mapping[str, float]

#: Seconds for one unit of each kind of work, fitted to all engines together by least squares of relative errors.
#: f4, f8, c8 and c16 are NumPy's names of the types that BLAS multiplies: float32, float64, complex64, complex128.
SECONDS = {
    # A floating point operation of a matrix product, by type; without a type one that BLAS does not do.
    "flop f4": 1.1e-11,
    "flop f8": 2.2e-11,
    "flop c8": 3.3e-11,
    "flop c16": 7.6e-11,
    "flop": 5.0e-10,
    # The flops of a matrix product over its rows, plus its flops over its columns: what a thin product takes longer.
    "thin flop f4": 1.6e-11,
    "thin flop f8": 1.8e-11,
    "thin flop c8": 2.2e-10,
    "thin flop c16": 2.8e-10,
    # A floating point operation of `numpy.correlate`.
    "slid": 1.0e-10,
    # A byte that is copied, and a run of neighbouring entries that are copied together.
    "byte": 5.2e-11,
    "run": 4.8e-09,
    # A matrix product, a product of matrix and vector, a tile of outputs, a call of an engine.
    "gemm": 1.6e-07,
    "gemv": 4.6e-08,
    "tile": 2.6e-05,
    "call": 1.6e-05,
    # A position of a real transform, once for each doubling of its length: N log2 N for a length of N.
    "transform f4": 1.5e-10,
    "transform f8": 3.1e-10,
    # A multiply-add of two spectra, and a frequency that has a matrix product of its own.
    "product": 2.7e-09,
    "frequency": 1.2e-07,
    # PyTorch: a floating point operation, the same over groups times filters, a call.
    "torch flop f4": 1.3e-12,
    "thin torch flop f4": 2.4e-10,
    "torch call": 3.3e-04,
}

#: Multiply-adds of one matrix product up to which BLAS keeps to one thread, so that every core may have its own.
ONE_THREAD = 900_000
#: Predicted seconds of an engine from which other threads help it.
#: Shorter calls lose more by waking them than they win.
WORTH_THREADS = 1.2e-3

#: Real floating point operations in one unit of a kind. "flop", "flop f4" and "flop f8" have one; the rest have none.
_FLOPS = {
    "flop": 1.0,
    "flop f4": 1.0,
    "flop f8": 1.0,
    "torch flop f4": 1.0,
    "slid": 1.0,
    "transform f4": 2.5,
    "transform f8": 2.5,
    "product": 8.0,
    "flop c8": 4.0,
    "flop c16": 4.0,
}


def seconds(work: Work) -> float:
    """Predict the seconds that work takes."""
    return sum(SECONDS[kind] * amount for kind, amount in work.items())


def flops(work: Work) -> float:
    """Count floating point operations of real numbers: 2.5 N log2 N for a real transform of length N."""
    return sum(operations * work.get(kind, 0.0) for kind, operations in _FLOPS.items())


def total(works: Iterable[Work]) -> Work:
    """Add amounts of work, kind by kind."""
    amounts: Counter[str] = Counter()
    for work in works:
        amounts.update(work)
    return dict(amounts)


def blas_type(dtype: np.dtype[Any]) -> str:
    """Return the short name of a type that BLAS multiplies, such as "f8"; empty for other types."""
    name = f"{dtype.kind}{dtype.itemsize}"
    return name if name in ("f4", "f8", "c8", "c16") else ""
