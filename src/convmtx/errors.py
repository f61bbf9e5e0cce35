"""What can go wrong, and how it is said: call, what came, what was wanted, what to do."""

from __future__ import annotations

from numpy.linalg import LinAlgError


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
    """The one shape of every message."""
    return f"{call}: {got}. {wanted}. {remedy}."
