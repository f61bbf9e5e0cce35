"""Recognizing a convolution: `recognize`, from a matrix, a map or a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import all_finite, as_numpy, frozen
from convmtx.errors import ArgumentError, door
from convmtx.geometry import Layout, resolve
from convmtx.maps.affine import Affine
from convmtx.maps.base import check_order
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap
from convmtx.recognition.changes import Change, Kind
from convmtx.recognition.functions import Box, takes_integers
from convmtx.recognition.impulses import from_impulses
from convmtx.recognition.matching import Matcher
from convmtx.recognition.matrices import as_matrix, rows_of_map
from convmtx.recognition.probe import probe
from convmtx.recognition.readings import Readable, View, other_orders
from convmtx.recognition.recognition import Recognition
from convmtx.recognition.shapes import Shapes, candidates
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import Channels, Order, PerAxis, Shape


@door("recognize")
def recognize(
    A: Any,
    in_shape: PerAxis | None = None,
    out_shape: PerAxis | None = None,
    *,
    channels: Channels | None = None,
    order: Order = "C",
) -> Recognition:
    """TODO."""
    ins, outs = (
        None if shape is None else resolve.shape(name, shape)
        for name, shape in (("in_shape", in_shape), ("out_shape", out_shape))
    )
    check_order(order)
    if isinstance(A, Affine):
        return replace(recognize(A.op, in_shape, out_shape, channels=channels), offset=as_numpy(A.offset))
    if isinstance(A, LinearMap):
        ins, outs = ins or A.in_shape, outs or A.out_shape
    elif hasattr(A, "matvec"):
        A = aslinearmap(A, ins or A.shape[1], outs or A.shape[0])
        return _of_function(A, A.in_shape, (ins, outs), channels)
    elif callable(A) and not hasattr(A, "shape"):
        if ins is None:
            raise ArgumentError("A is a function, without in_shape", "Expected the shape of its input", "Pass in_shape")
        return _of_function(A, ins, (ins, outs), channels)
    matrix = as_matrix("A", A)
    if ins is not None and outs is not None and matrix.shape == outs + ins != (prod(outs), prod(ins)):
        matrix, order = matrix.reshape(prod(outs), prod(ins)), "C"
    if matrix.ndim != 2:
        got = f"A has shape {tuple(matrix.shape)}"
        raise ArgumentError(got, "Expected a matrix (M, N)", "Pass in_shape and out_shape for a tensor of both")
    _require_finite(matrix)
    return _of_matrix(Matcher(Readable(matrix), order), candidates(matrix.shape, ins, outs, channels))


def _require_finite(matrix: Any) -> None:
    """Refuse inf and nan."""
    if not all_finite(matrix if isinstance(matrix, np.ndarray) else matrix.data):
        raise ArgumentError("A contains inf or nan", "Expected finite entries", "Replace them")


def _of_function(
    f: Callable[[Any], Any], in_shape: Shape, shapes: tuple[Shape | None, Shape | None], channels: Channels | None
) -> Recognition:
    """Return what a function is, from impulses, or else from its matrix; ``shapes`` are those to be recognized."""
    whole = takes_integers(f, in_shape)
    box = Box(f, in_shape, dtype=np.int64 if whole else None)
    ins, outs = shapes
    if ins == box.in_shape and outs is None:
        outs = box.out_shape
    fitting = candidates((prod(box.out_shape), prod(box.in_shape)), ins, outs, channels)
    result = None
    if (ins, outs) == (box.in_shape, box.out_shape):
        result = _from_impulses(box, fitting)
    if result is None:
        probed = probe(f, in_shape, dtype=box.in_dtype)
        box.applications += probed.probes
        matrix = Readable(rows_of_map(probed, "C", None))
        result = _of_matrix(Matcher(matrix, "C", probed.noise), fitting)
    return replace(result, applications=box.applications, offset=box.offset)


def _from_impulses(box: Box, shapes: list[Shapes]) -> Recognition | None:
    """Return the convolution that a function is, in one of the layouts, from impulses; None if it takes more."""
    results: list[Recognition] = []
    for candidate in shapes:
        op = from_impulses(box, candidate.layout)
        if op is not None:
            results.append(Recognition(op, exact=True, distance=0.0))
            if _is_evident(results[-1]):
                break
    return _simplest(results) if results else None


def _of_matrix(matcher: Matcher, shapes: list[Shapes]) -> Recognition:
    """Return what a matrix is among shapes of its inputs and outputs."""
    results: list[Recognition] = []
    if len(shapes) > len(Layout):  # guessed, and too many to find the nearest for each of them
        results = [result for s in shapes if (result := matcher.match(s, matcher.usual(s)))]
        shapes = shapes[: len(Layout)]
    if not results:
        for candidate in shapes:
            results.append(matcher.nearest(candidate))
            if _is_evident(results[-1]):
                break
    best = _simplest(results)
    if best.exact and 2 * np.count_nonzero(best.op.kernel) <= matcher.matrix.n_nonzero:
        return best
    explaining = _explaining(matcher, shapes, best)
    if best.exact and explaining:
        # With a tap for almost every entry, and channels that nobody named, many matrices are convolutions.
        best = min((result for result in results if not result.exact), key=lambda r: r.cost, default=best)
    return replace(best, alternatives=(*best.alternatives, *explaining))


def _simplest(results: list[Recognition]) -> Recognition:
    """Return the result of lowest cost, with others that are as simple as alternatives.

    With a tap for every entry of an axis, such as that of channels, a kernel without channels has equally many numbers;
    then it is taken with channels.
    """
    best = min(results, key=lambda r: (r.cost, r.op.geometry.layout is Layout.PLAIN))
    if not best.exact:
        return best
    others = [r for r in results if r is not best and r.exact and r.cost == best.cost]
    return replace(best, alternatives=(*others, *_turned(best)))


def _is_evident(result: Recognition) -> bool:
    """Whether a matrix is a convolution without channels, and each tap shows twice along every axis.

    With one of these axes taken as channels, the kernel would be larger.
    """
    geometry = result.op.geometry
    is_plain = geometry.layout is Layout.PLAIN
    return result.exact and is_plain and all(axis.entries >= 2 * axis.kernel for axis in geometry.axes)


def _explaining(matcher: Matcher, shapes: list[Shapes], best: Recognition) -> list[Recognition]:
    """Return the simplest readings in which a matrix is a convolution, if they are simpler than as passed."""
    results = []
    for candidate in shapes:
        usual = matcher.usual(candidate)
        views = other_orders(candidate.layout, candidate.out_shape, candidate.in_shape, matcher.order)
        listed = [matcher.match(candidate, view) for view in views]
        turned = View((Change(Kind.TRANSPOSED),), replace(usual.reading, transposed=True))
        listed.append(matcher.match(candidate.transposed, turned))
        results += [result for result in listed if result]
    least = min((result.cost for result in results), default=best.cost)
    return [result for result in results if result.cost == least < best.cost]


def _turned(best: Recognition) -> tuple[Recognition, ...]:
    """Return the convolutions with axes of equal sizes in another order, which nothing tells apart."""
    op, layout = best.op, best.op.geometry.layout
    results = []
    for view in other_orders(layout, op.out_shape, op.in_shape, "C"):
        ((change,), reading) = view.changes, view.reading
        axes = reading.inputs.axes
        is_alike = all(tuple(shape[a] for a in axes) == shape for shape in (op.in_shape, op.out_shape))
        if is_alike and reading.outputs == reading.inputs and (change.kind is Kind.AXES or layout is Layout.PLAIN):
            results.append(replace(best, op=_permuted(op, axes), changes=view.changes))
    return tuple(results)


def _permuted(op: ConvOperator, axes: Shape) -> ConvOperator:
    """Return a convolution of arrays whose axis ``axes[j]`` is axis j of the arrays of ``op``."""
    geometry = op.geometry
    before = geometry.layout is Layout.FIRST
    order = [axes.index(j + before) - before for j in range(len(geometry.axes))]
    permuted = replace(geometry, axes=tuple(geometry.axes[j] for j in order))
    taps = taps_of(geometry, op.kernel).transpose(0, 1, *(j + 2 for j in order))
    return ConvOperator(permuted, frozen(kernel_of(permuted, taps)), "auto")
