"""Errors of convmtx: the public call, what it got, what it expected, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from numpy.linalg import LinAlgError

#: Largest number of characters in one part of a message, so that a message takes a few lines on every screen.
LONGEST_PART = 240
#: Largest number of characters of one value in a message: half a line of a usual terminal.
LONGEST_VALUE = 80
#: Integers of more bits (60 digits) are described by their number of bits. Python refuses to print 4300 digits.
LONGEST_INTEGER = 200
#: Entries of a list or tuple that are shown; "..." stands for the rest.
SHOWN_ENTRIES = 6


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class ConvmtxError(Exception):
    """Base class of all errors that convmtx raises itself.

    The message has four parts, ``call: got. expected. remedy.``, all on one line and each of bounded length.

    Attributes
    ----------
    call : str
        Name of the public function that the user called, such as ``"conv"``. It is empty until the error leaves that
        function.
    reason : str
        Message without the call.
    """

    def __init__(self, got: str, expected: str, remedy: str) -> None:
        super().__init__(got, expected, remedy)
        self.call = ""
        self.reason = ". ".join(_clipped(part, LONGEST_PART) for part in (got, expected, remedy)) + "."

    def __str__(self) -> str:
        return f"{self.call}: {self.reason}" if self.call else self.reason


class door:  # noqa: N801 - used as a decorator
    """Write the name of a public call into the errors that leave it: a decorator, or a context manager.

    If one public function calls another, the error names the outer one, which is the one that the user called.
    """

    def __init__(self, call: str) -> None:
        self.call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ConvmtxError):
            error.call = self.call

    def __call__(self, function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        """Return the function; its errors name the call."""

        @wraps(function)
        def named(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
            try:  # which costs nothing if no error comes, as `with self` would
                return function(*args, **options)
            except ConvmtxError as error:
                error.call = self.call
                raise

        return named


class ArgumentError(ConvmtxError, ValueError):
    """An argument of the right type with an impossible value."""


class ArgumentTypeError(ConvmtxError, TypeError):
    """An argument of a type that cannot be read."""


class NotToeplitzError(ConvmtxError, ValueError):
    """A map whose boundary folds taps onto the array, for which no strided view exists."""


class RowIndexError(ConvmtxError, IndexError):
    """A row number that the matrix does not have."""


class ImmutableError(ConvmtxError, AttributeError):
    """An attempt to change a map, which is immutable."""


class FormTooLargeError(ConvmtxError, MemoryError):
    """A result that does not fit in the available memory; it was not allocated."""


class UnsupportedError(ConvmtxError, ValueError):
    """A request that convmtx cannot represent exactly, such as a layer of another library that is not a linear map."""


class ModelFileError(ConvmtxError, ValueError):
    """A model file that is damaged, hostile, or not of the format that its name says."""


class MissingExtraError(ConvmtxError, ImportError):
    """An optional library that is needed and not installed."""


class SolveError(ConvmtxError, LinAlgError):
    """A system that has no solution, or that was not solved."""


def shown(value: Any) -> str:
    """Describe any value in a few words: an array by its shape, a long list by its first entries."""
    return _clipped(_short(value, 2), LONGEST_VALUE)


def with_article(name: str) -> str:
    """Return the name of a type with its article: "an int", "a float", "an ndarray"."""
    return f"an {name}" if name[:1] in tuple("aeioAEIO") or name.startswith("ndarray") else f"a {name}"


def _clipped(text: str, most: int) -> str:
    """Return a text on one line and of at most ``most`` characters: its beginning and its end."""
    if len(text) > most or "\n" in text:
        text = " ".join(text[: 4 * most].split())
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} ... {text[-(most // 3 - 5) :]}"


def _short(value: Any, depth: int) -> str:
    """Describe a value; lists in it are written out down to ``depth`` levels."""
    kind = type(value)
    if kind is int and value.bit_length() > LONGEST_INTEGER:
        return f"<integer of {value.bit_length()} bits>"
    if kind in (str, bytes):
        return repr(value[:LONGEST_VALUE])
    if kind in (list, tuple):
        return _short_list(value, depth)
    try:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if dtype is not None and isinstance(shape, tuple) and shape:
            return f"<{kind.__name__} of shape {tuple(map(int, shape))}>"
        if kind in (dict, set, frozenset) and len(value) > SHOWN_ENTRIES:
            return f"<{kind.__name__} of {len(value)} entries>"
        return repr(value)
    except Exception:  # a value that cannot even be printed
        return f"<{kind.__name__}>"


def _short_list(value: list[Any] | tuple[Any, ...], depth: int) -> str:
    """Describe a list or tuple by its first entries."""
    entries = [_short(entry, depth - 1) for entry in value[:SHOWN_ENTRIES]] if depth else []
    if len(value) > len(entries):
        entries.append("...")
    text = ", ".join(entries)
    if isinstance(value, list):
        return f"[{text}]"
    return f"({text},)" if len(value) == 1 else f"({text})"
