"""Errors of convmtx: what came, what was wanted, what to do, and the call that the user made."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from numpy.linalg import LinAlgError

#: Characters of each part of a message, and of a value in it: a message stays a line or two on every screen.
LONGEST_PART, LONGEST_VALUE = 240, 80
#: Bits from which an integer is named by their number. Python refuses to print those of 4300 digits.
LONGEST_INTEGER = 200


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class ConvmtxError(Exception):
    """Base of every error convmtx raises on its own account.

    The message has four parts, each on one line and of bounded length: ``call: got. wanted. remedy.``

    Attributes
    ----------
    call : str
        The public function that the user called, such as ``"conv"``; empty before the error has left it.
    reason : str
        The message without the call.
    """

    def __init__(self, got: str, wanted: str, remedy: str) -> None:
        super().__init__(got, wanted, remedy)
        self.call = ""
        self.reason = ". ".join(_clipped(part, LONGEST_PART) for part in (got, wanted, remedy)) + "."

    def __str__(self) -> str:
        return f"{self.call}: {self.reason}" if self.call else self.reason


class door:  # noqa: N801 - used as a decorator
    """Name a public call in the errors that leave it: a decorator of functions, or a context.

    Where one public function calls another, the outer one gives the name: it is the one that the user called.
    """

    def __init__(self, call: str) -> None:
        self.call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ConvmtxError):
            error.call = self.call

    def __call__(self, function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        """Return the function with the name in its errors."""

        @wraps(function)
        def named(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
            with self:
                return function(*args, **options)

        return named


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
    except Exception:  # a value that cannot even be printed
        return f"<{kind.__name__}>"
