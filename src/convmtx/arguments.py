"""Check single arguments: numbers, names, True or False, and lists, which are measured before they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Real
from operator import index
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError, shown

#: Sizes, steps and pads up to here keep every product of two of them a 64-bit integer.
LARGEST = 1 << 40
#: No argument with an entry for each axis has more: NumPy's arrays have 64 axes at most.
MOST_ENTRIES = 64

Name = TypeVar("Name", bound=str)


def integer(name: str, value: Any, least: int | None) -> int:
    """Return an exact integer (no bool, no float) that is not below ``least``."""
    try:
        number = None if "bool" in type(value).__name__ or "bool" in str(getattr(value, "dtype", "")) else index(value)
    except Exception:  # whatever a stranger's __index__ raises, it is not an integer
        number = None
    if number is None:
        wanted = "Wanted an integer" + ("" if least is None else f" >= {least}")
        raise ArgumentTypeError(f"{name}={shown(value)}", wanted, "Pass an int")
    if least is not None and number < least:
        got, wanted = f"{name}={shown(number)}", f"Wanted an integer >= {least}"
        raise ArgumentError(got, wanted, f"Pass {name}={least} or more")
    if abs(number) > LARGEST:
        wanted = "Wanted a size that 64-bit positions can be counted with"
        raise ArgumentError(f"{name}={shown(number)}", wanted, f"Pass {LARGEST} or less")
    return number


def number(
    name: str,
    value: Any,
    wanted: str = "a finite number",
    remedy: str = "Pass a float",
    *,
    fits: Callable[[float], bool] = lambda _: True,
) -> float:
    """Return a finite real number, a single one of any library, as a float; ``fits`` says which are allowed.

    ``wanted`` and ``remedy`` are for the message. A tensor that requires grad is refused, for its gradient would be
    lost.
    """
    real = _real(value)
    if real is None or not np.isfinite(real) or not fits(real):
        if getattr(value, "requires_grad", False) is True:
            remedy = f"No gradient flows through it: pass float({name}.detach())"
        raise ArgumentError(f"{name}={shown(value)}", f"Wanted {wanted}", remedy)
    return real


def _real(value: Any) -> float | None:
    try:
        kind = str(getattr(value, "dtype", type(value).__name__))
        single = isinstance(value, Real) or getattr(value, "shape", None) == ()
        if not single or "bool" in kind or not (isinstance(value, Real) or "int" in kind or "float" in kind):
            return None
        return None if getattr(value, "requires_grad", False) is True else float(value)
    except Exception:  # beyond floats, traced, or a stranger's __float__
        return None


def flag(name: str, value: Any) -> bool:
    """Return True or False, NumPy's included."""
    if not isinstance(value, bool | np.bool_):
        got = f"{name}={shown(value)}"
        raise ArgumentTypeError(got, "Wanted True or False", f"Pass {name}=True")
    return bool(value)


def one_of(
    name: str,
    value: Any,
    known: Sequence[Name],
    meanings: Mapping[str, str] = MappingProxyType({}),
) -> Name:
    """Return a string that is one of the known names.

    ``meanings`` say what to pass for names that other libraries use, written in lower case.
    """
    if type(value) is str and value in known:
        return known[known.index(value)]
    wanted = f"Wanted one of {', '.join(map(repr, known))}"
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name}={shown(value)}", wanted, "Pass a string")
    word = str(value[:MOST_ENTRIES]).strip().lower()
    spelled = {entry.lower(): entry for entry in known}
    near = get_close_matches(word, spelled, 1, 0.75)
    remedy = "Check the spelling"
    if word in meanings:
        remedy = meanings[word]
    elif word in spelled:
        remedy = f"Pass {name}={spelled[word]!r}"
    elif near:
        remedy = f"Check the spelling: is {spelled[near[0]]!r} meant"
    raise ArgumentError(f"{name}={shown(value)}", wanted, remedy)


def is_array(value: Any) -> bool:
    """Whether this is an array of a library, not a number of one."""
    return (isinstance(value, np.ndarray) or hasattr(type(value), "__dlpack__")) and getattr(value, "shape", ()) != ()


def listed(name: str, value: Any, remedy: str = "Pass a tuple") -> list[Any] | None:
    """Return the entries of a list, tuple or small array; None for what is a single value, as a string is.

    No list is read that is longer than any array has axes.
    """
    if isinstance(value, str | bytes | bytearray | memoryview) or not (isinstance(value, Sequence) or is_array(value)):
        return None
    try:
        count = len(value)
    except Exception:  # as of a range beyond 64 bits, or a stranger's __len__
        count = MOST_ENTRIES + 1
    if count > MOST_ENTRIES:
        got = f"{name} is {_named(value)}" if is_array(value) else f"{name}={shown(value)}"
        wanted = f"Wanted at most {MOST_ENTRIES} entries, one for each axis"
        raise ArgumentError(got, wanted, remedy)
    try:
        return [value[j] for j in range(count)]
    except Exception as error:
        got = f"{name}={shown(value)} cannot be read ({type(error).__name__})"
        raise ArgumentTypeError(got, "Wanted an integer, or a tuple of them", remedy) from None


def _named(value: Any) -> str:
    return "an array of shape " + str(tuple(value.shape))
