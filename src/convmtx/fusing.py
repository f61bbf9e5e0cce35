"""Products of convolutions as one convolution and a map that lives on rows at the border."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from convmtx import memory
from convmtx._xp import frozen, is_numpy
from convmtx.errors import ArgumentTypeError, door, with_article
from convmtx.geometry import Axis, Layout, count_taps
from convmtx.geometry.compose import agree_outside, product_inside
from convmtx.maps.combined import Product
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.matrices import SparseMap
from convmtx.maps.selection import Selection
from convmtx.taps import kernel_of, product_taps
from convmtx.typing import AnyArray, IntArray


@dataclass(frozen=True, eq=False)
class Fused:
    """Result of `fuse`: a product of convolutions is ``conv + border``.

    Attributes
    ----------
    conv : ConvOperator
        One convolution, equal to the product in all rows but those of ``border``.
    border : LinearMap
        The difference, between the same shapes: its rows are empty, but for outputs near the border.
    exact : bool
        Whether there are no such rows, so that the product is ``conv``.
    """

    conv: ConvOperator
    border: LinearMap
    exact: bool


@door("fuse")
def fuse(op: LinearMap) -> Fused:
    """Return a product of convolutions as one convolution plus a map on rows at the border.

    Law: ``op == fused.conv + fused.border``. The kernel of ``conv`` is the convolution of the kernels of all layers, so
    it has ``k1 + k2 - 1`` taps along each axis for two layers of stride and dilation 1. With padding, the second layer
    reads zeros outside, where one large convolution would read outputs that the first layer never computed. So both
    differ in the outputs whose windows leave the array between the layers. For 3 x 3 kernels with padding 1, twice on
    6 x 6 pixels, these are 20 of 36 rows. ``border`` holds the difference in these rows.

    Parameters
    ----------
    op : LinearMap
        A `ConvOperator`, or a product of several, such as ``layer2 @ layer1``.

    Returns
    -------
    Fused
        ``conv``, ``border``, and whether ``conv`` alone is the map. Integer kernels give entries that are equal to the
        last bit. Only the rows at the border are built, as sparse matrices; their entries grow with the edge of the
        image. Row numbers of all outputs are listed, which takes memory that grows with its area.

    Raises
    ------
    TypeError
        If ``op`` is not such a product, or a layer reads the outputs of another one with zeros between them.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> layer = cm.conv(np.ones((3, 3), int), (6, 6), padding=1)
    >>> fused = cm.fuse(layer @ layer)
    >>> fused.conv.kernel.shape, fused.exact, np.unique(fused.border.to_sparse().nonzero()[0]).size
    ((5, 5), False, 20)
    >>> bool(((fused.conv + fused.border).to_dense() == (layer @ layer).to_dense()).all())
    True
    """
    whole = aslinearmap(op)
    factors = whole.factors if isinstance(whole, Product) else (whole,)
    *layers, first = (_convolution(factor) for factor in factors)
    conv, affected = first, [np.zeros(axis.out, bool) for axis in first.geometry.axes]
    for layer in reversed(layers):
        conv, affected = _after(layer, conv, affected)
    rows = _rows(conv, affected)
    return Fused(conv, _border(whole, conv, rows), not rows.size)


def _convolution(op: LinearMap) -> ConvOperator:
    """Return a factor, which must be a convolution."""
    if not isinstance(op, ConvOperator):
        got = f"a factor is {with_article(type(op).__name__)}"
        raise ArgumentTypeError(got, "Expected a convolution, or a product of convolutions", "Fuse its parts")
    return op


def _after(layer: ConvOperator, op: ConvOperator, affected: list[AnyArray]) -> tuple[ConvOperator, list[AnyArray]]:
    """Return one convolution for a layer after another one, and which of its outputs along each axis may differ."""
    geometry = product_inside(layer.geometry, op.geometry)
    if geometry is None:
        expected = "Expected layers of one layout that read outputs without zeros between them"
        raise ArgumentTypeError(f"{layer} after {op}", expected, "Fuse the parts on both sides of it")
    taps = product_taps(geometry, (layer.geometry, layer._taps), (op.geometry, op._taps))
    fused = ConvOperator(geometry, frozen(kernel_of(geometry, taps)), "auto")
    axes = zip(layer.geometry.axes, op.geometry.axes, affected, strict=True)
    return fused, [_reads_affected(outer, inner, before) for outer, inner, before in axes]


def _reads_affected(outer: Axis, inner: Axis, affected: AnyArray) -> AnyArray:
    """Return which outputs of an axis read an affected output of the inner one, or one that does not exist."""
    reads: AnyArray = count_taps(outer, affected) > 0
    if not agree_outside(outer, inner):
        first = np.arange(outer.out) * outer.stride - outer.lo
        reads |= (first < 0) | (first + outer.span > inner.out)
    return reads


def _rows(op: ConvOperator, affected: list[AnyArray]) -> IntArray:
    """Return the numbers of the rows that are affected along any axis."""
    memory.require_result("the outputs at the border", prod(op.out_shape), "Use a smaller map")
    d = len(affected)
    is_row = np.zeros([1] * d, bool)
    for j, along in enumerate(affected):
        is_row = is_row | along.reshape([-1 if i == j else 1 for i in range(d)])
    if op.geometry.layout is not Layout.PLAIN:
        is_row = is_row[..., None] if op.geometry.layout is Layout.LAST else is_row[None]
    return np.flatnonzero(np.broadcast_to(is_row, op.out_shape))


def _border(whole: LinearMap, conv: ConvOperator, rows: IntArray) -> LinearMap:
    """Return the difference of two maps, which is in some rows alone."""
    if not is_numpy(conv.kernel):
        chosen = Selection(conv.out_shape, rows)
        return chosen.T @ (chosen @ (whole - conv))
    from scipy.sparse import csr_array

    memory.require_result("the rows of the map at the border", 8 * conv.shape[0], "Use a smaller map")
    few = whole._sparse("C", rows) - conv._sparse("C", rows)
    counts = np.zeros(conv.shape[0], np.int64)
    counts[rows] = np.diff(few.indptr)
    arrays = few.data, few.indices, np.concatenate([[0], np.cumsum(counts)])
    return SparseMap(csr_array(arrays, shape=conv.shape), conv.in_shape, conv.out_shape)
