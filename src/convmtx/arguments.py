"""Checks of single arguments: numbers, names, booleans, and lists, whose length is checked before they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from numbers import Real
from operator import index
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError, shown
from convmtx.typing import Shape

#: Largest size, step or pad, about 10^12: far below 2^63, so that sums of a few of them are 64-bit integers. Products
#: of two of them can be larger; `geometry.resolve` checks these by themselves.
LARGEST = 1 << 40
#: Largest number of entries of an argument that has one for each axis: NumPy arrays have at most 64 axes.
MOST_ENTRIES = 64
#: Similarity, from 0 to 1, from which a misspelled name is offered a known one ("reflec" and "reflect" have 0.92).
SIMILAR = 0.75

Name = TypeVar("Name", bound=str)


def integer(name: str, value: Any, least: int | None) -> int:
    """Return an argument as an int; refuse a bool, a float, and a number below ``least``."""
    if type(value) is int and (-LARGEST if least is None else least) <= value <= LARGEST:
        return value
    number = _exact(value)
    expected = "Expected an integer" if least is None else f"Expected an integer >= {least}"
    if number is None:
        raise ArgumentTypeError(f"{name}={shown(value)}", expected, "Pass an int")
    if least is not None and number < least:
        raise ArgumentError(f"{name}={shown(number)}", expected, f"Pass {name}={least} or more")
    if abs(number) > LARGEST:
        expected = "Expected a size that 64-bit positions can be counted with"
        raise ArgumentError(f"{name}={shown(number)}", expected, f"Pass {LARGEST} or less")
    return number


def _exact(value: Any) -> int | None:
    """Return an integer of any library as an int; None if the value is not one."""
    if "bool" in type(value).__name__ or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return index(value)
    except Exception:  # whatever the value's own __index__ raises, it is not an integer
        return None


def number(
    name: str,
    value: Any,
    expected: str = "a finite number",
    remedy: str = "Pass a float",
    *,
    fits: Callable[[float], bool] = lambda _: True,
) -> float:
    """Return a finite real number of any library as a float; refuse those for which ``fits`` is False.

    ``expected`` and ``remedy`` go into the message. A tensor that requires grad is refused, because its gradient would
    be lost.
    """
    real = _real(value)
    if real is None or not isfinite(real) or not fits(real):
        if getattr(value, "requires_grad", False) is True:
            remedy = f"No gradient flows through it: pass float({name}.detach())"
        raise ArgumentError(f"{name}={shown(value)}", f"Expected {expected}", remedy)
    return real


def _real(value: Any) -> float | None:
    """Return a real number as a float; None if the value is not one, or requires grad."""
    if type(value) is float:
        return value
    try:
        kind = str(getattr(value, "dtype", type(value).__name__))
        is_single = isinstance(value, Real) or getattr(value, "shape", None) == ()
        is_real = isinstance(value, Real) or "int" in kind or "float" in kind
        if not (is_single and is_real) or "bool" in kind:
            return None
        return None if getattr(value, "requires_grad", False) is True else float(value)
    except Exception:  # too large for a float, traced by JAX, or an error of the value's own __float__
        return None


def flag(name: str, value: Any) -> bool:
    """Return an argument that must be True or False, of Python or NumPy, as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentTypeError(f"{name}={shown(value)}", "Expected True or False", f"Pass {name}=True")
    return bool(value)


def one_of(
    name: str,
    value: Any,
    known: Sequence[Name],
    meanings: Mapping[str, str] = MappingProxyType({}),
) -> Name:
    """Return a string that must be one of the known names.

    ``meanings`` maps names of other libraries, in lower case, to the remedy that the error offers.
    """
    if isinstance(value, str) and value in known:  # also the strings of NumPy
        return known[known.index(value)]
    expected = f"Expected one of {', '.join(map(repr, known))}"
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name}={shown(value)}", expected, "Pass a string")
    remedy = _meaning(name, str(value[:MOST_ENTRIES]).strip().lower(), known, meanings)
    raise ArgumentError(f"{name}={shown(value)}", expected, remedy)


def _meaning(name: str, word: str, known: Sequence[str], meanings: Mapping[str, str]) -> str:
    """Return what to do about an unknown name, from its meaning elsewhere, its case or its spelling."""
    if word in meanings:
        return meanings[word]
    spelled = {entry.lower(): entry for entry in known}
    if word in spelled:
        return f"Pass {name}={spelled[word]!r}"
    near = get_close_matches(word, spelled, n=1, cutoff=SIMILAR)
    return f"Check the spelling: is {spelled[near[0]]!r} meant" if near else "Check the spelling"


def is_array(value: Any) -> bool:
    """Whether a value is an array of some library and has at least one axis."""
    is_any_array = isinstance(value, np.ndarray) or hasattr(type(value), "__dlpack__")
    return is_any_array and getattr(value, "shape", ()) != ()


def as_list(name: str, value: Any, remedy: str = "Pass a tuple") -> list[Any] | None:
    """Return the entries of a list, tuple or small array; None if the value is a single one, such as a string.

    A list of more entries than an array can have axes is refused unread.
    """
    if isinstance(value, int | str | bytes | bytearray | memoryview):
        return None
    if type(value) in (list, tuple) and len(value) <= MOST_ENTRIES:
        return list(value)
    if not (isinstance(value, Sequence) or is_array(value)):
        return None
    try:
        count = len(value)
    except Exception:  # a range beyond 64 bits, or an error of the value's own __len__
        count = MOST_ENTRIES + 1
    if count > MOST_ENTRIES:
        got = f"{name} is an array of shape {tuple(value.shape)}" if is_array(value) else f"{name}={shown(value)}"
        expected = f"Expected at most {MOST_ENTRIES} entries, one for each axis"
        raise ArgumentError(got, expected, remedy)
    try:
        return [value[j] for j in range(count)]
    except Exception as error:
        got = f"{name}={shown(value)} cannot be read ({type(error).__name__})"
        raise ArgumentTypeError(got, "Expected an integer, or a tuple of them", remedy) from None


def per_axis(name: str, value: Any, d: int, least: int) -> Shape:
    """Return an integer for each of d axes, from one for all or one each; refuse those below ``least``."""
    entries = as_list(name, value)
    if entries is None:
        return (integer(name, value, least),) * d
    require_one_for_each(name, entries, d)
    return tuple(integer(f"{name}[{j}]", v, least) for j, v in enumerate(entries))


def require_one_for_each(name: str, entries: list[Any], d: int) -> None:
    """Refuse a list that does not have one entry for each of d axes."""
    if len(entries) == d:
        return
    remedy = f"Pass {name} with {d} entries"
    if name == "padding" and len(entries) == 2 and d == 1:
        remedy = f"For (lo, hi) of the one axis pass padding=[({shown(entries[0])}, {shown(entries[1])})]"
    got = f"{name}={shown(entries)} has {len(entries)} entries"
    raise ArgumentError(got, f"Expected one for each of the {d} spatial axes", remedy)
