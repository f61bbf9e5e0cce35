"""Recognizing a matrix that lacks some rows of that of a convolution, by half of its outputs."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from convmtx.geometry import Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.recognition.comparison import compare
from convmtx.recognition.matching import Matcher
from convmtx.recognition.missing_rows import missing_rows, row_changes, with_empty_rows
from convmtx.recognition.readings import Readable
from convmtx.recognition.recognition import Recognition
from convmtx.recognition.shapes import Shapes


def recognize_part(A: Any, shapes: Shapes) -> Recognition | None:
    """Return the convolution of which a matrix has all rows but some; None if half of its outputs do not show it.

    Missing rows are looked for in one half of the outputs along the slowest axis, if it is not that of channels; the
    other half then shows the convolution.
    """
    count, whole = prod(shapes.out_shape), shapes.outs[0]
    half = A.shape[0] * whole // count // 2
    if not half or (shapes.layout is Layout.FIRST and shapes.out_channels > 1):
        return None
    rows = half * (count // whole)
    for start in (0, A.shape[0] - rows):
        matcher = Matcher(Readable(A[start : start + rows]), "C")
        result = matcher.nearest(replace(shapes, outs=(half, *shapes.outs[1:])))
        op = _with_all_outputs(result.op, whole, whole - half if start else 0)
        missing = missing_rows(A, op) if result.exact else None
        changes = () if missing is None else tuple(row_changes(A, op, 0.0, matcher.tolerance(op)))
        if missing is not None and changes:
            comparison = compare(with_empty_rows(A, missing, count), op)
            known = Recognition(op, exact=True, distance=0.0, changes=changes)
            return replace(Recognition.of(op, comparison), alternatives=(known,))
    return None


def _with_all_outputs(op: ConvOperator, count: int, before: int) -> ConvOperator:
    """Return a convolution with so many outputs along axis 0, so many of which are before those that it has."""
    first, *others = op.geometry.axes
    first = replace(first, lo=first.lo + before * first.stride).with_outputs(count)
    return ConvOperator(replace(op.geometry, axes=(first, *others)), op.kernel)
