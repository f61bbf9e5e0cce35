"""Numbers that maps are multiplied and divided by, checked against the type that holds the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import integer_limits, is_numpy, numeric, together
from convmtx.errors import ArgumentError, ArgumentTypeError, shown
from convmtx.typing import Array


def multiplier(value: Any, like: Array, dtype: Any) -> Any:
    """Return a number for a map of type ``dtype``; Python's numbers stay weak in NumPy's promotion.

    It may be a single one of an array library: of ``like``'s where that is not NumPy's array, and NumPy's for all.
    """
    if isinstance(value, int | float | complex) and not isinstance(value, bool):
        _require_held(value, dtype)
        return value
    array = numeric("a", value)
    if array.ndim:
        got, wanted = f"a has shape {tuple(array.shape)}", "Wanted a number, which multiplies or divides the whole map"
        raise ArgumentTypeError(got, wanted, "Use op @ v to apply it")
    number = array[()]
    if is_numpy(number) and not is_numpy(like) and number.dtype.itemsize > 8 * (1 + (number.dtype.kind == "c")):
        return complex(number) if number.dtype.kind == "c" else float(number)  # others have no long double
    return number


def divisor(value: Any, like: Array, dtype: Any) -> Any:
    """Return a number that is not zero, as far as it is known; ``1 / a`` is finite in double precision."""
    number = multiplier(value, like, np.dtype(np.float64) if isinstance(value, int) else dtype)
    if not _is_plain(number):
        return number
    with np.errstate(all="ignore"):
        if number == 0 or np.isinf(1 / np.result_type(number, np.float64).type(number)):
            wanted = "Wanted a number whose reciprocal is finite" if number else "A map cannot be divided by zero"
            raise ArgumentError(f"a={shown(number)}", wanted, "Check the number")
    return number


def beside(array: Array, number: Any) -> tuple[Array, Any]:
    """Return an array and a number in one library: a tensor takes NumPy's array to its own."""
    return (array, number) if _is_plain(number) else together(array, number)


def _is_plain(number: Any) -> bool:
    return isinstance(number, int | float | complex) or is_numpy(number)


def own_library(array: Array, number: Any) -> Any:
    """Return a number that need not take the arrays of a map to another library; refuse others."""
    if is_numpy(array) and not _is_plain(number):
        got, wanted = f"a is {shown(number)} and the map is NumPy's", "Wanted both of one library"
        raise ArgumentTypeError(got, wanted, "Pass a.item(), or make the map of tensors")
    return number


def _require_held(number: Any, dtype: Any) -> None:
    limits = integer_limits(dtype) if isinstance(number, int) else None
    if limits is not None and not limits[0] <= number <= limits[1]:
        got, wanted = f"{shown(number)} is no {dtype}", "Wanted a number of the kernel's type"
        raise ArgumentError(got, wanted, "Use a kernel of a larger type, or np.int64(a)")
    try:
        complex(number)
    except OverflowError:
        got, wanted = f"a={shown(number)}", "Wanted a number that fits in a float"
        raise ArgumentError(got, wanted, "Pass a smaller one") from None
