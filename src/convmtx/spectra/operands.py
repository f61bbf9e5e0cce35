"""Arguments of questions: a map in double precision and scaled, of the kind that a question needs, and a tolerance."""

from __future__ import annotations

from typing import Any

from convmtx import arguments
from convmtx.errors import ArgumentError, ArgumentTypeError, with_article
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.structure.double import direct, doubled
from convmtx.structure.precision import scaled


def same_values(op: Any) -> tuple[LinearMap, float]:
    """Return a scaled map in double precision that has the singular values of any map, and the scale."""
    return scaled(direct(doubled(op)))


def parts_of(op: LinearMap) -> tuple[tuple[LinearMap, ...], bool]:
    """Return the maps on the diagonal of a map, or the factors of a Kronecker product, and whether it is the second.

    A map that is neither is its own only part.
    """
    return (op._summands, False) if len(op._summands) > 1 else (op._kronecker_factors, True)


def convolution(op: Any) -> tuple[ConvOperator, float]:
    """Return a convolution, or the transpose of one, in double precision and scaled; and the scale."""
    operator, scale = same_values(op)
    if not isinstance(operator, ConvOperator):
        got = f"op is {with_article(type(op).__name__)}, which is not a single convolution"
        raise ArgumentTypeError(got, "Expected a convolution", "Use cm.norm, or bound the factors")
    return operator, scale


def square(op: Any) -> LinearMap:
    """Return a map in double precision, if it has as many rows as columns."""
    operator = doubled(op)
    rows, columns = operator.shape
    if rows != columns:
        got = f"op has {rows} rows and {columns} columns"
        raise ArgumentError(got, "Expected a square map", "Use padding='same' and equal channels")
    return operator


def tolerance_of_zero(tol: Any) -> float | None:
    """Return a number of at least 0, or None."""
    remedy = "Leave it out for the usual one"
    return None if tol is None else arguments.number("tol", tol, "a number >= 0", remedy, fits=lambda v: v >= 0)


def relative_tolerance(rtol: Any) -> float:
    """Return a number between 0 and 1."""
    expected, remedy = "a number between 0 and 1", "Pass one such as 1e-6"
    return arguments.number("rtol", rtol, expected, remedy, fits=lambda v: 0 < v < 1)
