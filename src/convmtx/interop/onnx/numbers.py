"""Types of numbers that ONNX has and NumPy lacks."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Bits of a number, of the types of which a file stores several numbers in a byte.
PACKED = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4}


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type of NumPy that has all numbers of a type: int8 for int4, float32 for bfloat16 and float8."""
    if dtype.isbuiltin == 1:
        return dtype
    return np.dtype(np.int8 if "int" in dtype.name else np.float32)


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of a type are integers, also of a type that NumPy lacks."""
    return dtype.kind in "iu" or "int" in dtype.name


def integer_range(dtype: np.dtype[Any]) -> range:
    """Return the numbers of a type of integers: -8 to 7 of int4, 0 to 255 of uint8."""
    count = 1 << PACKED.get(dtype.name, 8 * dtype.itemsize)
    return range(count) if dtype.name.startswith("u") else range(-count // 2, count // 2)
