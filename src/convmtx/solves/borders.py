"""Scenes that go on beyond the picture: the convolution of all that outputs read, of which a part is wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from convmtx.boundary import ZERO
from convmtx.errors import ArgumentError, UnsupportedError, with_article
from convmtx.geometry import Axis, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.stacks import Stacked


class Scene(NamedTuple):
    """Map of a larger input without a border, and where the wanted input lies in it."""

    op: ConvOperator
    window: tuple[slice, ...]


def scene_of(op: LinearMap) -> Scene:
    """Return the map of everything that outputs read, inside the input and beyond it.

    Raises
    ------
    UnsupportedError, ArgumentError
        If the map is not a convolution, or its input is dilated.
    """
    if not isinstance(op, ConvOperator):
        got = f"border='free' with {with_article(type(op).__name__)}"
        raise UnsupportedError(got, "Expected a convolution, which knows what lies beyond", "Pass op of convmtx.conv")
    if any(axis.input_dilation > 1 for axis in op.geometry.axes):
        got = "border='free' with input dilation"
        raise ArgumentError(got, "Expected an input without zeros between its entries", "Leave border out")
    axes, along = zip(*map(_continue, op.geometry.axes), strict=True)
    larger = ConvOperator(replace(op.geometry, axes=axes), op.kernel, op._requested_engine)
    channels = [] if op.geometry.layout is Layout.PLAIN else [slice(None)]
    window = (*channels, *along) if op.geometry.layout is Layout.FIRST else (*along, *channels)
    return Scene(larger, window)


def _continue(axis: Axis) -> tuple[Axis, slice]:
    """Return an axis whose input holds its own and everything that is read, and where its own lies."""
    first, last = axis.reach
    start, stop = min(first, 0), max(last + 1, axis.size)
    larger = replace(axis, size=stop - start, lo=start - first, boundary=ZERO)
    return larger.with_outputs(axis.out), slice(-start, axis.size - start)


def regularizer_of(scene: Scene, regularizer: LinearMap) -> LinearMap:
    """Return a regularizer of the input as one of the scene: a convolution keeps its kernel, pads and boundary."""
    if len(parts := regularizer._stack) > 1:
        return Stacked(*(regularizer_of(scene, part) for part in parts))
    if isinstance(regularizer, ConvOperator) and len(regularizer.geometry.axes) == len(scene.op.geometry.axes):
        sizes = (axis.size for axis in scene.op.geometry.axes)
        axes = tuple(replace(a, size=n) for a, n in zip(regularizer.geometry.axes, sizes, strict=True))
        geometry = replace(regularizer.geometry, axes=axes)
        return ConvOperator(geometry, regularizer.kernel, regularizer._requested_engine)
    got = f"border='free' and a regularizer that is {with_article(type(regularizer).__name__)}"
    raise UnsupportedError(
        got, "Expected convolutions, for it has to act on a larger scene", "Pass convmtx.conv of the same axes"
    )
