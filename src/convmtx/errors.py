"""What can go wrong, and how it is said: call, what came, what was wanted, what to do."""

from __future__ import annotations

from typing import Any

from numpy.linalg import LinAlgError

#: Characters of each part of a message, and of a value in it: a message stays a line or two on every screen.
LONGEST_PART, LONGEST_VALUE = 240, 80
#: Bits from which an integer is named by their number. Python refuses to print those of 4300 digits.
LONGEST_INTEGER = 200


class ConvmtxError(Exception):
    """Base of every error convmtx raises on its own account."""


class ArgumentError(ConvmtxError, ValueError):
    """An argument of the right type with an impossible value."""


class ArgumentTypeError(ConvmtxError, TypeError):
    """An argument of a type that cannot be read."""


class NotToeplitzError(ConvmtxError, ValueError):
    """A strided view was asked of a map whose boundary folds taps onto the array."""


class RowIndexError(ConvmtxError, IndexError):
    """A row was asked for that the matrix does not have."""


class ImmutableError(ConvmtxError, AttributeError):
    """A map was to be changed."""


class FormTooLargeError(ConvmtxError, MemoryError):
    """A form would not fit in the memory that is available; nothing was allocated."""


class UnsupportedError(ConvmtxError, ValueError):
    """A layer, node or attribute of another library that is no linear map, or none that is known here."""


class ModelFileError(ConvmtxError, ValueError):
    """A model file that is damaged, hostile, or not what its name says."""


class MissingExtraError(ConvmtxError, ImportError):
    """An optional library is needed and not installed."""


class SolveError(ConvmtxError, LinAlgError):
    """A system that has no solution, or none that was found."""


def sentence(call: str, got: str, wanted: str, remedy: str) -> str:
    """Join the parts of a message in the one shape that all have, each on one line and of bounded length."""
    got, wanted, remedy = (_clipped(part, LONGEST_PART) for part in (got, wanted, remedy))
    return f"{call}: {got}. {wanted}. {remedy}."


def shown(value: Any) -> str:
    """Name a value in a few words, whatever it is: an array by its shape, the first entries of a long list."""
    return _clipped(_short(value, 2), LONGEST_VALUE)


def _clipped(text: str, most: int) -> str:
    """Both ends of a text, on one line."""
    text = " ".join(text[: 4 * most].split()) if len(text) > most or "\n" in text else text
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} ... {text[-(most // 3 - 5) :]}"


def _short(value: Any, depth: int) -> str:
    kind = type(value)
    if kind is int and value.bit_length() > LONGEST_INTEGER:
        return f"<integer of {value.bit_length()} bits>"
    if kind in (str, bytes):
        return repr(value[:LONGEST_VALUE])
    if kind in (list, tuple):
        entries = [_short(entry, depth - 1) for entry in value[:6]] if depth else []
        text = ", ".join([*entries, "..."] if len(value) > len(entries) else entries)
        return f"[{text}]" if kind is list else f"({text},)" if len(value) == 1 else f"({text})"
    try:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if dtype is not None and isinstance(shape, tuple) and shape:
            return f"<{kind.__name__} of shape {tuple(map(int, shape))}>"
        if kind in (dict, set, frozenset) and len(value) > 6:
            return f"<{kind.__name__} of {len(value)} entries>"
        return repr(value)
    except Exception:
        return f"<{kind.__name__}>"
