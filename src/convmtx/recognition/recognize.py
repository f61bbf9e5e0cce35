"""Recognizing a convolution: `recognize`, from a matrix, a map or a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, frozen, numeric
from convmtx.arguments import is_array
from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentError, door
from convmtx.geometry import Axis, Geometry, Layout, resolve
from convmtx.maps.base import check_order
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap
from convmtx.recognition.axes import EXCEPTION, AxisFit, fit_axis
from convmtx.recognition.comparison import Comparison, compare
from convmtx.recognition.contractions import contract
from convmtx.recognition.entries import Entries, rows_of_csr, rows_of_dense
from convmtx.recognition.folded import fit_short
from convmtx.recognition.kernels import read_kernel
from convmtx.recognition.recognition import AS_PASSED, Reading, Recognition
from convmtx.recognition.shapes import Numbering, Shapes, candidates
from convmtx.typing import AnyArray, Channels, Order, PerAxis, Shape

#: Places between the ends of an axis at which kernels are read where entries contradict each other: an odd number.
_PLACES = (0.5, 0.1, 0.3, 0.7, 0.9)
#: Entries that are looked at for each axis, at first and where the first ones do not decide.
_BUDGETS = (200_000, 5_000_000)


@dataclass(frozen=True)
class Attempt:
    """Geometry that explains a matrix as read in one way, as far as it does."""

    shapes: Shapes
    fits: tuple[AxisFit, ...]
    entries: Entries

    @property
    def wrong(self) -> int:
        """Number of entries of matrices of axes that are not explained."""
        return sum(fit.wrong for fit in self.fits)

    @property
    def geometry(self) -> Geometry:
        """Geometry, with one group of channels."""
        s = self.shapes
        return Geometry(tuple(fit.axis for fit in self.fits), s.in_channels, s.out_channels, 1, s.layout)

    def read(self, place: float = 0.5) -> ConvOperator:
        """Return the convolution whose kernel some entries of the matrix show."""
        return read_kernel(self.entries, self.geometry, (place,) * len(self.fits))


@dataclass(frozen=True)
class Matrix:
    """A matrix that is recognized: dense, or in canonical CSR form."""

    array: Any
    order: Order

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape

    @property
    def n_stored(self) -> int:
        """Number of stored entries."""
        return int(self.array.size if isinstance(self.array, np.ndarray) else self.array.nnz)

    @property
    def transposed(self) -> Matrix:
        """The transposed matrix."""
        turned = self.array.T if isinstance(self.array, np.ndarray) else self.array.T.tocsr()
        return Matrix(turned, self.order)

    def entries(self, shapes: Shapes, reading: Reading) -> Entries:
        """Return the entries of the matrix under a reading of its rows and columns."""
        rows = rows_of_dense if isinstance(self.array, np.ndarray) else rows_of_csr
        outs, ins = _digits(shapes, reading, self.order)
        return Entries(rows(self.array), outs, ins, self.n_stored / max(self.shape[0], 1))

    def renumbered(self, shapes: Shapes, reading: Reading) -> Matrix:
        """Return the matrix with rows and columns numbered as passed, if they were numbered by the reading."""
        pairs = zip(_digits(shapes, reading, self.order), _digits(shapes, AS_PASSED, self.order), strict=True)
        rows, columns = (read.join(usual.split(np.arange(usual.count))) for read, usual in pairs)
        array = self.array[rows][:, columns]
        if not isinstance(array, np.ndarray):
            array.sort_indices()
        return Matrix(array, self.order)


def _digits(shapes: Shapes, reading: Reading, order: Order) -> tuple[Any, Any]:
    """Return the digits of rows and columns."""
    outs = reading.outputs.digits((shapes.out_channels, *shapes.outs), shapes.layout, order)
    return outs, reading.inputs.digits((shapes.in_channels, *shapes.sizes), shapes.layout, order)


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
    if isinstance(A, LinearMap):
        ins, outs = ins or A.in_shape, outs or A.out_shape
    matrix = Matrix(_matrix(A, ins, outs), order)
    return _recognize(matrix, candidates(matrix.shape, ins, outs, channels))


def _matrix(A: Any, ins: Shape | None, outs: Shape | None) -> Any:
    """Return a matrix as an array, or in canonical CSR form."""
    if isinstance(A, LinearMap):
        A = A.to_sparse()
    if hasattr(A, "nnz") and hasattr(A, "tocsr"):
        csr = A.tocsr()
        numeric("A", csr.data)
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        return csr
    array = as_numpy(numeric("A", A))
    if ins is not None and outs is not None and tuple(array.shape) == outs + ins:
        array = array.reshape(int(np.prod(outs)), int(np.prod(ins)))
    if array.ndim != 2:
        got = f"A has shape {tuple(array.shape)}"
        raise ArgumentError(got, "Expected a matrix (M, N)", "Pass in_shape and out_shape for a tensor of both")
    return array


def _recognize(matrix: Matrix, shapes: list[Shapes]) -> Recognition:
    """Return the best recognition of a matrix among shapes of its inputs and outputs."""
    is_sure = len(shapes) <= len(Layout)
    results: list[Recognition] = []
    for candidate in shapes:
        result = _as_read(matrix, candidate, AS_PASSED, is_sure)
        if result is not None:
            results.append(result)
            if result.exact and candidate.layout is Layout.PLAIN and is_sure and _is_evident(result.op.geometry):
                break  # with an axis taken as channels, the kernel would be larger
    best = min(results, key=_cost)
    if best.exact:
        others = [r for r in results if r is not best and r.exact and r.op.kernel.size == best.op.kernel.size]
        return replace(best, alternatives=tuple(others) + _mirrored(best, matrix.order))
    return replace(best, alternatives=tuple(_other_readings(matrix, shapes, best)))


def _cost(result: Recognition) -> tuple[int, bool]:
    """Return numbers of the kernel and exceptions; of equal ones a kernel over channels has lower cost.

    With a tap for every entry of an axis, such as that of channels, a kernel without channels has equally many numbers.
    """
    return result.op.kernel.size + EXCEPTION * result.count, result.op.geometry.layout is Layout.PLAIN


def _is_evident(geometry: Geometry) -> bool:
    """Whether taps show in two entries each along every axis, so that an axis of channels is none of them."""
    return all(axis.entries >= 2 * axis.kernel for axis in geometry.axes)


def attempt(matrix: Matrix, shapes: Shapes, reading: Reading, budget: int, is_sure: bool) -> Attempt:
    """Return the geometry that explains most of a matrix."""
    entries = matrix.entries(shapes, reading)
    fits = []
    for axis in range(len(shapes.sizes)):
        contracted = contract(entries, axis, budget=budget)
        fit = fit_axis(contracted)
        if fit.wrong and is_sure:
            short = fit_short(contracted)
            fit = fit if short is None else min(fit, short, key=lambda fit: fit.cost)
        fits.append(fit)
        if fit.wrong and not is_sure:
            break
    return Attempt(shapes, tuple(fits), entries)


def _as_read(matrix: Matrix, shapes: Shapes, reading: Reading, is_sure: bool) -> Recognition | None:
    """Return the convolution that a matrix is under a reading, or the nearest one; None if not is_sure and it is none."""
    result = None
    for budget in _BUDGETS:
        tried = attempt(matrix, shapes, reading, budget, is_sure)
        if tried.wrong and not is_sure:
            return None
        op = tried.read()
        usual = matrix if reading == AS_PASSED else matrix.renumbered(shapes, reading)
        comparison = _compare(usual, op)
        if comparison.count == 0:
            return _result(op, comparison, tried, reading)
        if matrix.n_stored <= budget:
            break
    if not is_sure:
        return None
    return _result(*_by_most_entries(usual, tried), tried, reading)


def _compare(matrix: Matrix, op: ConvOperator) -> Comparison:
    """Compare a matrix with that of a convolution; floats up to the rounding of sums of taps."""
    dtype = matrix.array.dtype
    eps = float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0.0
    return compare(matrix.array, op, matrix.order, atol=8 * eps * float(np.abs(op.kernel).max(initial=0)))


def _result(op: ConvOperator, comparison: Comparison, tried: Attempt, reading: Reading) -> Recognition:
    """Return the result of an attempt."""
    boundaries = tuple(tuple(rule.name for rule in fit.equals) if fit.axis.reads_outside else () for fit in tried.fits)
    return Recognition(
        op, comparison.count == 0, comparison.distance, comparison.differs, comparison.count, reading,
        boundaries=boundaries, unseen=_unseen(op.geometry),
    )  # fmt: skip


def _unseen(geometry: Geometry) -> tuple[Shape, ...]:
    """Return the taps through which no output reads."""
    return ()


def _by_most_entries(matrix: Matrix, tried: Attempt) -> tuple[ConvOperator, Comparison]:
    """Return the convolution with the median of kernels read at several places, or one of these if it fits better."""
    ops = [tried.read(place) for place in _PLACES]
    groups = min(op.geometry.groups for op in ops)
    if all(op.geometry.groups == groups for op in ops):
        kernels = np.stack([op.kernel for op in ops])
        median = np.median(kernels.real, axis=0)
        if kernels.dtype.kind == "c":
            median = median + 1j * np.median(kernels.imag, axis=0)
        ops.insert(0, ops[0].with_kernel(median.astype(kernels.dtype)))
    compared = [(op, _compare(matrix, op)) for op in ops]
    return min(compared, key=lambda pair: pair[1].count)


def _other_readings(matrix: Matrix, shapes: list[Shapes], best: Recognition) -> list[Recognition]:
    """Return the other readings under which a matrix is a convolution, simpler than the best one as passed."""
    results = []
    for candidate in shapes[: len(Layout)]:
        for reading in _readings(candidate):
            if reading.is_transposed:
                result = _as_read(matrix.transposed, candidate.transposed, AS_PASSED, is_sure=False)
                result = result and replace(result, reading=reading)
            else:
                result = _as_read(matrix, candidate, reading, is_sure=False)
            if result is not None and _cost(result) < _cost(best):
                results.append(result)
    return results


def _readings(shapes: Shapes) -> list[Reading]:
    """Return the readings that may explain a matrix, the simplest first."""
    kinds = [Numbering.COLUMN_MAJOR]
    if shapes.layout is not Layout.PLAIN:
        kinds.append(Numbering.CHANNELS_MOVED)
        if len(shapes.sizes) > 1:
            kinds.append(Numbering.AXES_REVERSED)
    usual = Numbering.AS_PASSED
    readings = [Reading(*sides) for kind in kinds for sides in ((kind, kind), (usual, kind), (kind, usual))]
    return [*readings, Reading(is_transposed=True)]


def _mirrored(best: Recognition, order: Order) -> tuple[Recognition, ...]:
    """Return the recognition in column-major order of a matrix between arrays whose axes can be reversed."""
    geometry = best.op.geometry
    sizes, outs = [a.size for a in geometry.axes], [a.out for a in geometry.axes]
    is_alike = sizes == sizes[::-1] and outs == outs[::-1] and len(sizes) > 1 and geometry.layout is Layout.PLAIN
    if not is_alike:
        return ()
    turned = replace(geometry, axes=geometry.axes[::-1])
    op = ConvOperator(turned, frozen(best.op.kernel.T), "auto")
    both = Numbering.COLUMN_MAJOR
    return (replace(best, op=op, reading=Reading(both, both), boundaries=best.boundaries[::-1]),)
