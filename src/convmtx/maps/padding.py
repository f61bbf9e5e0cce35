"""Padding as a map: arrays continued past their ends, as `numpy.pad` continues them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import frozen
from convmtx.arguments import one_of
from convmtx.errors import ArgumentError, door
from convmtx.geometry import resolve
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.kronecker import Kronecker
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.matrices import SparseMap
from convmtx.typing import IntArray, PaddingLike, PerAxis


@door("pad")
def pad(
    shape: PerAxis,
    pads: PaddingLike,
    boundary: str | Sequence[str] = "zero",
    reflect_type: str = "even",
) -> LinearMap:
    """Return the map that pads an array: ``op(x) == np.pad(x, pads, mode, reflect_type=reflect_type)``.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the input.
    pads : int or sequence
        An int for all ends, or for each axis an int or a pair (lo, hi). Pads can be of any width; negative ones crop.
    boundary : str or sequence of str
        ``"zero"``, ``"wrap"``, ``"reflect"``, ``"symmetric"`` or ``"edge"``, one for all axes or one for each.
    reflect_type : {"even", "odd"}
        With "odd", ``"reflect"`` and ``"symmetric"`` continue the array by twice its end minus the mirrored array. So
        a straight line stays straight.

    Returns
    -------
    LinearMap
        From arrays of ``shape`` to the padded arrays. It is a `ConvOperator` of the kernel 1, so a convolution without
        padding after it is one `ConvOperator` with this boundary. With "odd" it is a Kronecker product of one sparse
        matrix for each axis. The entries are of int8 if they fit; ``np.int64(1) * op`` has a
        larger type, where products of such maps need one.

    Raises
    ------
    ValueError
        If an argument is invalid, if nothing is left, or if "odd" is passed with another boundary or negative pads.
    TypeError
        If an argument is of the wrong type.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.pad(3, [(2, 1)], "reflect")([1, 2, 3])
    array([3, 2, 1, 2, 3, 2])
    >>> cm.pad(3, [(2, 1)], "reflect", "odd")([1, 2, 3])
    array([-1,  0,  1,  2,  3,  4])
    >>> op = cm.conv([1, 1, 1], 5) @ cm.pad(3, 1, "edge")
    >>> op.geometry.axes[0].boundary.name, op.to_dense().tolist()
    ('edge', [[2, 1, 0], [1, 1, 1], [0, 1, 2]])
    """
    sizes = resolve.shape("shape", shape)
    kind = one_of("reflect_type", reflect_type, ("even", "odd"))
    geometry = resolve.conv(
        (1,) * len(sizes), sizes, stride=1, dilation=1, padding=pads, boundary=boundary, groups=1, flip=False,
        channels=None, input_dilation=1,
    )  # fmt: skip
    op = ConvOperator(geometry, frozen(np.ones((1,) * len(sizes), np.int8)), "auto")
    if kind == "even":
        return op
    maps: list[LinearMap] = []
    for axis in geometry.axes:
        if axis.boundary.name not in ("reflect", "symmetric") or min(axis.lo, axis.hi) < 0:
            got = f"reflect_type='odd' with boundary={axis.boundary.name!r} and pads {(axis.lo, axis.hi)}"
            raise ArgumentError(got, "Expected 'reflect' or 'symmetric', and pads >= 0", "Pass reflect_type='even'")
        maps.append(_odd(axis.size, axis.lo, axis.hi, axis.boundary.name == "reflect"))
    return reduce(Kronecker, maps)


def _odd(size: int, lo: int, hi: int, skips_end: bool) -> SparseMap:
    """Return the odd continuation of one axis.

    It repeats itself with a slope: after every period of m positions it has grown by the difference of the ends.
    Position ``q*m + r`` with 0 <= r < m holds, for even q, ``x[r] + q*(x[n-1] - x[0])``, and for odd q twice the end
    minus the mirrored array, ``2*x[n-1] - x[n-1-r] + (q-1)*(x[n-1] - x[0])``. "reflect" skips the end, m = n - 1;
    "symmetric" repeats it, m = n.
    """
    from scipy.sparse import csr_array

    memory.require_result("the padded positions", 80 * (lo + size + hi), "Pad by less")
    positions = np.arange(-lo, size + hi)
    period = size - 1 if skips_end else size
    if not period:  # one entry, which is continued by itself
        return _rows([(positions, np.zeros_like(positions), np.ones_like(positions))], positions.size, size, csr_array)
    q, r = np.divmod(positions, period)
    is_odd = q % 2
    mirrored = size - 1 - r
    entries = [
        (positions, np.where(is_odd, mirrored, r), np.where(is_odd, -1, 1)),
        (positions, np.full_like(q, size - 1), np.where(is_odd, 2 + (q - 1), q)),
        (positions, np.zeros_like(q), -np.where(is_odd, q - 1, q)),
    ]
    return _rows(entries, positions.size, size, csr_array)


def _rows(entries: list[tuple[IntArray, IntArray, IntArray]], outputs: int, size: int, array: Any) -> SparseMap:
    """Return the map with these entries: positions, inputs and values; zeros are left out."""
    from scipy.sparse import coo_array

    positions, inputs, values = (np.concatenate(column) for column in zip(*entries, strict=True))
    kept = values != 0
    places = (positions - positions.min())[kept], inputs[kept]
    matrix = array(coo_array((values[kept], places), shape=(outputs, size)))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    fits = np.abs(matrix.data).max(initial=0) <= np.iinfo(np.int8).max
    return SparseMap(matrix.astype(np.int8) if fits else matrix, (size,), (outputs,))
