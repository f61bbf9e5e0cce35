"""Recognizing a convolution: `recognize`, from a matrix, a map or a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import gcd, inf, log, prod
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
from convmtx.recognition.functions import Box
from convmtx.recognition.impulses import from_impulses
from convmtx.recognition.matching import Matcher
from convmtx.recognition.matrices import as_matrix, rows_of_map
from convmtx.recognition.missing_rows import row_changes
from convmtx.recognition.parts import recognize_part
from convmtx.recognition.probe import probe_box
from convmtx.recognition.readings import Readable, View, other_orders
from convmtx.recognition.recognition import Recognition
from convmtx.recognition.shapes import Shapes, candidates, with_rows_missing
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import Channels, Order, PerAxis, Shape

#: Numbers of a kernel, zeros included, for each entry of the matrix and beyond these, up to which it explains it.
_MOST_TIMES, _ALWAYS = 2, 64


@door("recognize")
def recognize(
    A: Any,
    in_shape: PerAxis | None = None,
    out_shape: PerAxis | None = None,
    *,
    channels: Channels | None = None,
    order: Order = "C",
) -> Recognition:
    """Recognize a matrix, a map or a function as a convolution: its kernel, stride, pads, boundary and so on.

    Law: if the result is ``exact``, the matrix of ``result.op`` is A: for integers in every entry, and for floats up to
    8 roundings of the largest tap. The converse may fail where an axis has few outputs, all of which read outside.

    Otherwise ``result.op`` is the convolution that most entries agree with, or, where less than half agree with any,
    the one whose matrix is nearest for its geometry. The result tells how far away it is, which entries differ, and
    what explains it: column-major order or moved channels of inputs, outputs or both, a transpose, and rows that are
    empty or missing.

    Parameters
    ----------
    A : array_like, sparse array, LinearMap, Affine, LinearOperator or callable
        A matrix (M, N), or a tensor of shape ``out_shape + in_shape``. A function takes one array of ``in_shape``, of
        NumPy, PyTorch or JAX, to another, linearly but for an offset, as for `probe`. A ``LinearOperator`` of SciPy, or
        one of PyLops, is applied as a function.
    in_shape, out_shape : int or tuple of int, optional
        Shapes of one input and one output. Needed for a function is ``in_shape`` alone; a map has its own. For a
        matrix, the shapes that are left out are guessed: of those with one or two axes that fit, or two or three if
        ``channels`` is passed, the hundred that are most like squares are tried.
    channels : {"last", "first"}, optional
        Position of the channel axis. By default all three are tried: without channels, last, and first.
    order : {"C", "F"}
        Order in which the rows and columns of a matrix number outputs and inputs.

    Returns
    -------
    Recognition
        ``op``, ``exact``, ``distance``, ``differs``, ``alternatives`` and more. Its ``verdict`` says it in a sentence.

    Raises
    ------
    ValueError
        If the shapes do not fit A or each other, if A contains inf or nan, or if a function is not linear but for an
        offset, is random, or cannot be called with an array of ``in_shape``.
    TypeError
        If A is neither numeric nor a function.
    MemoryError
        If the matrix of a map or function does not fit in memory.

    See Also
    --------
    nearest : The kernel nearest to a matrix for a given geometry.
    probe : The matrix of any linear function.
    convmtx.testing.assert_same_map : Whether a function or matrix is a given map, and what explains that it is not.

    Notes
    -----
    Of all convolutions with the same matrix, the one with the fewest taps is returned: zeros at the ends of a kernel,
    and windows that read nothing, leave no trace. Two convolutions whose matrices are equal are called ambiguous, and
    so are axes of equal sizes, which a matrix in column-major order swaps.

    A matrix is contracted with random numbers to the matrix of each axis, from some 200,000 of its entries. Those show
    the geometry, as in "How recognition works" of the documentation, and some rows show the kernel; then all entries
    are compared. For a CSR matrix that is a convolution as passed, that takes as long as 6 to 9 passes over its arrays,
    and bounded memory beyond it; it is copied where other readings are tried.

    A function is applied to about ``C_in * prod(stride)`` impulses and to 5 inputs for each axis, for each position of
    the channels that is tried, and is checked by random inputs. Only if these do not show it, because its inputs are
    few or its windows as long as an axis, its matrix is probed.

    Examples
    --------
    >>> import numpy as np, scipy.ndimage, convmtx as cm
    >>> W = cm.conv([[1, 2], [3, 4]], (9, 12), stride=2, padding=1, boundary="reflect").to_dense()
    >>> result = cm.recognize(W, (9, 12))
    >>> result.exact, result.call
    (True, "cm.conv(K (2, 2), (9, 12), stride=2, padding=[(1, 1), (1, 1)], boundary='reflect')")
    >>> result.op.kernel
    array([[1, 2],
           [3, 4]])
    >>> W[7, 20] += 1
    >>> cm.recognize(W, (9, 12), (5, 7)).differs[0]
    Difference(output=(1, 0), input=(1, 8), tap=None, theirs=1, ours=0)
    >>> result = cm.recognize(lambda x: scipy.ndimage.uniform_filter(x, 3, mode="wrap"), (64, 64))
    >>> result.call, result.applications
    ("cm.conv(K (3, 3), (64, 64), padding=[(1, 1), (1, 1)], boundary='wrap')", 23)
    """
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
        ins, outs = ins or getattr(A, "dims", None), outs or getattr(A, "dimsd", None)  # operators of PyLops have them
        op = aslinearmap(A, ins or A.shape[1], outs or A.shape[0])
        return _of_function(op, op.in_shape, ins, outs, channels)
    elif callable(A) and not hasattr(A, "shape"):
        if ins is None:
            raise ArgumentError("A is a function, without in_shape", "Expected the shape of its input", "Pass in_shape")
        return _of_function(A, ins, ins, outs, channels)
    matrix = as_matrix("A", A)
    if ins is not None and outs is not None and matrix.shape == outs + ins != (prod(outs), prod(ins)):
        matrix, order = matrix.reshape(prod(outs), prod(ins)), "C"
    if matrix.ndim != 2 or 0 in matrix.shape:
        got = f"A has shape {tuple(matrix.shape)}"
        raise ArgumentError(got, "Expected a matrix (M, N)", "Pass in_shape and out_shape for a tensor of both")
    _require_finite(matrix)
    if ins and outs and order == "C":
        listed = with_rows_missing(matrix.shape, ins, outs, channels)
        results = [result for shapes in listed if (result := recognize_part(matrix, shapes))]
        if results:
            return min(results, key=_preference)
    return _of_matrix(Matcher(Readable(matrix), order), candidates(matrix.shape, ins, outs, channels))


def _require_finite(matrix: Any) -> None:
    """Refuse inf and nan."""
    if not all_finite(matrix if isinstance(matrix, np.ndarray) else matrix.data):
        raise ArgumentError("A contains inf or nan", "Expected finite entries", "Replace them")


def _of_function(
    f: Callable[[Any], Any], in_shape: Shape, ins: Shape | None, outs: Shape | None, channels: Channels | None
) -> Recognition:
    """Return what a function of arrays of ``in_shape`` is between shapes, from impulses, or else from its matrix."""
    box = Box(f, in_shape, prefers_integers=True)
    if outs is None and not isinstance(f, LinearMap):
        outs = box.out_shape
    fitting = candidates((prod(box.out_shape), prod(box.in_shape)), ins, outs, channels)
    result = None
    if (ins, outs) == (box.in_shape, box.out_shape):
        result = _from_impulses(box, fitting)
    if result is None:
        probed = probe_box(box)
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
    if len(shapes) > len(Layout):
        shapes = matcher.likeliest(shapes)
    results: list[Recognition] = []
    for candidate in shapes:
        results.append(matcher.nearest(candidate))
        if _is_evident(results[-1]):
            break
    best = _simplest(results)
    if matcher.is_noise(best):
        best = min(results, key=lambda result: _information(result, matcher.matrix.n_nonzero))
    if best.exact and _is_telling(best, matcher):
        return best
    explaining = _explaining(matcher, shapes, best)
    plain = [result for result in results if result.op.geometry.layout is Layout.PLAIN]
    needs_channels = any(not result.exact for result in plain)  # which nobody named
    is_huge = best.op.kernel.size > _MOST_TIMES * matcher.matrix.n_nonzero + _ALWAYS
    if best.exact and explaining and (needs_channels or is_huge):  # it is a convolution by accident
        near = [matcher.compared(other.op) for other in explaining if other.op.shape == best.op.shape]
        best = min(near, key=lambda r: r.cost, default=best)
    return replace(best, alternatives=(*best.alternatives, *explaining))


def _simplest(results: list[Recognition]) -> Recognition:
    """Return the result of lowest cost, with others that are as simple as alternatives."""
    best = min(results, key=_preference)
    if not best.exact:
        return best
    others = [r for r in results if r is not best and r.exact and r.cost == best.cost]
    return replace(best, alternatives=(*others, *_turned(best), *best.alternatives))


def _preference(result: Recognition) -> tuple[Any, ...]:
    """Return the cost of a result; of two that cost the same, the one with channels comes first.

    With a tap for every entry of an axis, such as that of channels, a kernel without channels has equally many numbers.
    """
    return result.cost, result.op.geometry.layout is Layout.PLAIN


def _information(result: Recognition, count: int) -> float:
    """Return the Bayesian information criterion of a kernel that leaves noise in so many entries (Schwarz, 1978)."""
    numbers = int(np.count_nonzero(result.op.kernel))
    return count * log(result.distance**2 / count) + numbers * log(count) if result.distance else -inf


def _is_evident(result: Recognition) -> bool:
    """Whether a matrix is a convolution without channels, and each tap shows twice along every axis.

    With one of these axes taken as channels, the kernel would be larger.
    """
    geometry = result.op.geometry
    is_plain = geometry.layout is Layout.PLAIN
    return result.exact and is_plain and all(axis.entries >= 2 * axis.kernel for axis in geometry.axes)


def _is_telling(result: Recognition, matcher: Matcher) -> bool:
    """Whether a convolution has half as many numbers as the matrix or less, and windows inside that show its taps.

    With a tap for each entry, or with taps that are only read outside, matrices are convolutions by accident: the
    transpose of one that mirrors its input is one of stride 2, with a zero between neighbours.
    """
    axes = result.op.geometry.axes
    is_shown = all(gcd(a.stride, a.input_dilation) == 1 and np.ptp(a.interior) > 0 for a in axes)
    return is_shown and 2 * int(np.count_nonzero(result.op.kernel)) <= matcher.matrix.n_nonzero


def _explaining(matcher: Matcher, shapes: list[Shapes], best: Recognition) -> list[Recognition]:
    """Return the simplest readings in which a matrix is a convolution, if they are simpler than as passed.

    If the matrix is one as passed, they have to be so by half.
    """
    results: list[Recognition] = []
    for candidate in shapes:
        views = other_orders(candidate.layout, candidate.out_shape, candidate.in_shape, matcher.order)
        listed = [matcher.match(candidate, view) for view in views]
        turned = View((Change(Kind.TRANSPOSED),), replace(matcher.usual(candidate), transposed=True))
        listed.append(matcher.match(candidate.transposed, turned))
        results += [result for result in listed if result]
    if not best.exact and matcher.order == "C":
        for change in row_changes(matcher.passed, best.op, 0.0, matcher.tolerance(best.op)):
            results.append(Recognition(best.op, exact=True, distance=0.0, changes=(change,)))
    least = min(results, key=_preference, default=best)
    is_simpler = 2 * least.cost[0] <= best.cost[0] if best.exact else least.cost < best.cost
    return [result for result in results if is_simpler and _preference(result) == _preference(least)]


def _turned(best: Recognition) -> tuple[Recognition, ...]:
    """Return the convolutions with axes of equal sizes in another order, which nothing tells apart."""
    op, layout = best.op, best.op.geometry.layout
    results = []
    for view in other_orders(layout, op.out_shape, op.in_shape, "C"):
        ((change,), reading) = view.changes, view.reading
        axes = reading.inputs.axes
        is_alike = all(tuple(shape[a] for a in axes) == shape for shape in (op.in_shape, op.out_shape))
        if is_alike and reading.outputs == reading.inputs and (change.kind is Kind.AXES or layout is Layout.PLAIN):
            results.append(replace(best, op=_permuted(op, axes), changes=view.changes, alternatives=()))
    return tuple(results)


def _permuted(op: ConvOperator, axes: Shape) -> ConvOperator:
    """Return a convolution of arrays whose axis ``axes[j]`` is axis j of the arrays of ``op``."""
    geometry = op.geometry
    before = geometry.layout is Layout.FIRST
    order = [axes.index(j + before) - before for j in range(len(geometry.axes))]
    permuted = replace(geometry, axes=tuple(geometry.axes[j] for j in order))
    taps = taps_of(geometry, op.kernel).transpose(0, 1, *(j + 2 for j in order))
    return ConvOperator(permuted, frozen(kernel_of(permuted, taps)), "auto")
