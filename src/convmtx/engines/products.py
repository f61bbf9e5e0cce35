"""Matrix products, and what else multiplies, as steps: they write into y, with one thread of BLAS for each of ours."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from convmtx import costs
from convmtx.engines.threads import Memory, Step, one_numpy_thread, spread
from convmtx.typing import AnyArray, Shape

#: Rows of a large matrix that a thread multiplies at a time: BLAS computes a product of 64 rows at its full rate.
ROWS = 64


def product_into(a: AnyArray, b: AnyArray, y: AnyArray) -> Step:
    """Return the step that writes ``a @ b`` into y, without a copy where BLAS can."""
    if y.dtype == a.dtype and y.strides[-1] == y.itemsize and y.strides[-2] >= y.shape[-1] * y.itemsize:
        step = partial(np.matmul, a, b, y)
        return partial(_in_one_thread, step) if _is_large(a, b) else step
    return stored_product(a, b, y)


def stored_product(a: AnyArray, b: AnyArray, y: AnyArray, rows_shared: bool = False) -> Step:
    """Return the step that copies ``a @ b`` into y, which may have other axes; threads may share the rows of a."""
    if not _is_large(a, b):
        return partial(_store_product, a, b, y)
    if rows_shared and a.shape[-2] > ROWS:
        return partial(_store_shared_product, a, b, y)
    return partial(_in_one_thread, partial(_store_product, a, b, y))


def _is_large(a: AnyArray, b: AnyArray) -> bool:
    """Whether BLAS would take several threads for ``a @ b``, or for one of these products."""
    return bool(prod(a.shape[-2:]) * b.shape[-1] > costs.ONE_THREAD)


def _in_one_thread(step: Step) -> None:
    with one_numpy_thread():
        step()


def _store_product(a: AnyArray, b: AnyArray, y: AnyArray) -> None:
    _store((a @ b).reshape(y.shape), y)


def _store_shared_product(a: AnyArray, b: AnyArray, y: AnyArray) -> None:
    result = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype)

    def multiply(share: Iterable[slice]) -> None:
        for rows in share:
            np.matmul(a[..., rows, :], b, out=result[..., rows, :])

    spread(multiply, [slice(first, first + ROWS) for first in range(0, a.shape[-2], ROWS)], parallel=True)
    _store(result.reshape(y.shape), y)


def stored_sum(products: AnyArray, axes: Shape, y: AnyArray) -> Step:
    """Return the step that copies the sum of products along some axes into y."""
    return partial(_store_sum, products, axes, y)


def _store_sum(products: AnyArray, axes: Shape, y: AnyArray) -> None:
    _store(np.add.reduce(products, axes), y)


def slid(signal: AnyArray, taps: AnyArray, y: AnyArray) -> Step:
    """Return the step that copies the correlation of one signal with short taps into y."""
    return partial(_slide, signal, taps, y)


def _slide(signal: AnyArray, taps: AnyArray, y: AnyArray) -> None:
    _store(np.correlate(signal.astype(taps.dtype, copy=False), taps), y)


def _store(result: AnyArray, y: AnyArray) -> None:
    """Copy into y; whole numbers in floats become integers that wrap around in narrow types."""
    y[...] = result.astype(np.int64) if y.dtype.kind in "iu" and result.dtype.kind == "f" else result


def rows_for_blas(x: AnyArray, dtype: np.dtype[Any], memory: Memory) -> tuple[list[Step], AnyArray]:
    """Return x in a type and with rows that BLAS reads, and the step that copies it if it is not so already."""
    if x.dtype == dtype and x.strides[-1] == x.itemsize and x.strides[-2] >= x.shape[-1] * x.itemsize:
        return [], x
    copied = memory("rows", x.shape, dtype)
    return [partial(np.copyto, copied, x, "unsafe")], copied


#: Numbers up to which BLAS takes inner products by one thread; NumPy's own, which never takes more, begin later.
INNER_ONE_THREAD = 10_000


def inner_products(rows: AnyArray, others: AnyArray) -> AnyArray:
    """Return the inner products of real rows, by one thread, for the threads of BLAS linger."""
    if rows.shape[1] <= INNER_ONE_THREAD:
        return np.vecdot(rows, others)
    products: AnyArray = np.einsum("ij,ij->i", rows, others)
    return products


def norms(arrays: AnyArray) -> AnyArray:
    """Return the 2-norm of each array of a batch."""
    flat = np.ascontiguousarray(arrays).reshape(len(arrays), prod(arrays.shape[1:]))
    if flat.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(inner_products(flat, flat))
