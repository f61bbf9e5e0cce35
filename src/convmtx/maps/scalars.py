"""Factors and divisors of maps, checked against the type that holds the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import integer_limits, is_numpy, library, numeric, together
from convmtx.errors import ArgumentError, ArgumentTypeError, shown
from convmtx.typing import Array


def multiplier(value: Any, like: Array, dtype: Any) -> Any:
    """Return the factor of a map of type ``dtype``, checked; Python's numbers stay weak in NumPy's promotion.

    Single numbers of NumPy multiply every map, and those of another library the maps of that library.
    """
    if isinstance(value, int | float | complex) and not isinstance(value, bool):
        _require_held(value, dtype)
        return value
    array = numeric("a", value)
    if array.ndim:
        got, expected = (
            f"a has shape {tuple(array.shape)}",
            "Expected a number, which multiplies or divides the whole map",
        )
        raise ArgumentTypeError(got, expected, "Use op @ v to apply it")
    number = array[()]
    if not is_numpy(number) or is_numpy(like):
        return number
    if number.dtype.itemsize > 8 * (1 + (number.dtype.kind == "c")):
        return complex(number) if number.dtype.kind == "c" else float(number)  # others have no long double
    if library(like) == "torch":
        # PyTorch drops the imaginary part of NumPy's complex numbers, and leaves those beyond int64 to NumPy.
        number = number.item()
        _require_held(number, dtype)
    return number


def divisor(value: Any, like: Array, dtype: Any) -> Any:
    """Return the divisor of a map, checked: ``1 / a`` is finite in double precision, as far as the number is known."""
    number = multiplier(value, like, np.dtype(np.float64) if isinstance(value, int | np.integer) else dtype)
    if not _is_plain(number):
        return number
    with np.errstate(all="ignore"):
        if number == 0 or np.isinf(1 / np.result_type(number, np.float64).type(number)):
            expected = "Expected a number whose reciprocal is finite" if number else "A map cannot be divided by zero"
            raise ArgumentError(f"a={shown(number)}", expected, "Check the number")
    # The quotient is a float in any case, and no library has integers beyond 64 bits.
    return float(number) if isinstance(number, int) and abs(number) >= 1 << 63 else number


def beside(array: Array, number: Any) -> tuple[Array, Any]:
    """Return an array and a number in one library: NumPy's array joins a tensor."""
    return (array, number) if _is_plain(number) else together(array, number)


def _is_plain(number: Any) -> bool:
    """Whether a number is Python's or NumPy's."""
    return isinstance(number, int | float | complex) or is_numpy(number)


def own_library(array: Array, number: Any) -> Any:
    """Return a number that leaves the arrays of a map in their library; refuse others."""
    if is_numpy(array) and not _is_plain(number):
        got, expected = f"a is {shown(number)} and the map is NumPy's", "Expected both of one library"
        raise ArgumentTypeError(got, expected, "Pass a.item(), or make the map of tensors")
    return number


def _require_held(number: Any, dtype: Any) -> None:
    """Refuse a number of Python that the type, or any type of floats, does not hold."""
    limits = integer_limits(dtype) if isinstance(number, int) else None
    if limits is not None and not limits[0] <= number <= limits[1]:
        got, expected = f"{shown(number)} does not fit in {dtype}", "Expected a number of the map's type"
        raise ArgumentError(got, expected, "Use np.int64(a), or a kernel of a larger type")
    try:
        complex(number)
    except OverflowError:
        got, expected = f"a={shown(number)}", "Expected a number that fits in a float"
        raise ArgumentError(got, expected, "Pass a smaller one") from None
