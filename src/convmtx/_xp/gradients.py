"""Functions of a kernel that NumPy computes and other libraries differentiate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, is_traced, like
from convmtx.typing import AnyArray, Array, Shape


def constants(
    call: str, compute: Callable[[AnyArray], Sequence[AnyArray]], kernel: Array, shapes: Sequence[Shape], dtype: Any
) -> list[Array]:
    """What NumPy computes of a kernel's numbers, as arrays of its library that have no gradient.

    While JAX traces there are no numbers, and the traced program calls back when it runs.
    """
    if not is_traced(kernel):
        return [like(np.asarray(each, dtype), kernel) for each in compute(as_numpy(call, kernel))]
    from jax import ShapeDtypeStruct, lax, pure_callback

    def called(numbers: Any) -> list[AnyArray]:
        return [np.asarray(each, dtype) for each in compute(np.asarray(numbers))]

    kinds = [ShapeDtypeStruct(shape, dtype) for shape in shapes]  # type: ignore[no-untyped-call]
    found: list[Array] = pure_callback(called, kinds, lax.stop_gradient(kernel), vmap_method="sequential")
    return found
