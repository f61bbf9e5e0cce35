"""Networks of maps: a graph without cycles, in which every map is applied once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, cast, has_numbers, is_numpy, itemsize, promote, reshape
from convmtx._xp.sparse import Coordinates, dense_of, narrow, stacked, with_columns, with_data
from convmtx.forms import row_array
from convmtx.maps.base import Combination
from convmtx.maps.combined import added, in_library
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.ordering import in_order
from convmtx.maps.stacks import joined
from convmtx.typing import AnyArray, Array, IntArray, Order, RowNumbers, Shape

#: Part of the entries of some rows from which on the rows are dense arrays on their way through a network. A product of
#: sparse matrices takes about 20 times as long for an entry as a convolution applied to a dense array.
_FILLED = 0.05
#: Bytes that dense rows of the matrix may take at a tensor; more rows go through the network in several slabs.
_SLAB_BYTES = 1 << 28


@dataclass(frozen=True)
class Node:
    """Tensor in a network: the sum of maps of earlier tensors, or their outputs joined along an axis."""

    #: Maps, and the tensor that each is applied to; None stands for the identity.
    maps: tuple[LinearMap | None, ...]
    #: Numbers of these tensors: 0 is the input of the network, j the output of its j-th node.
    sources: tuple[int, ...]
    shape: Shape
    #: Axis along which the outputs are joined, counted from the end; None for a sum.
    axis: int | None = None


class Network(Combination, LinearMap):
    """Graph of maps without cycles: applied node by node, transposed by going backwards.

    A tensor that several maps take, as in front of a skip connection, is computed once. Written as products and sums,
    ten skip connections around each other would apply the first map 2^10 times.
    """

    _takes_chunks = True

    def __init__(self, in_shape: Shape, nodes: Sequence[Node]) -> None:
        self._in_shape, self.nodes = in_shape, tuple(nodes)

    @property
    def _parts(self) -> tuple[LinearMap, ...]:
        return tuple(op for node in self.nodes for op in node.maps if op is not None)

    @property
    def in_shape(self) -> Shape:
        return self._in_shape

    @property
    def out_shape(self) -> Shape:
        return self.nodes[-1].shape

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        counting = [op.dtype for op in self._parts if not op._keeps_type]
        return promote(*counting) if counting else super().dtype

    def _apply(self, x: Array) -> Array:
        tensors: dict[int, Array] = {0: x}
        for number, (node, finished) in enumerate(zip(self.nodes, self._last_uses, strict=True), 1):
            images = (
                tensors[source] if op is None else op._image(tensors[source])
                for op, source in zip(node.maps, node.sources, strict=True)
            )
            tensors[number] = added(images) if node.axis is None else joined(list(images), node.axis)
            for source in finished:
                del tensors[source]
        return tensors[len(self.nodes)]

    def _apply_transposed(self, y: Array) -> Array:
        arrived: dict[int, list[Array]] = {len(self.nodes): [y]}
        for number in range(len(self.nodes), 0, -1):
            node, total = self.nodes[number - 1], added(arrived.pop(number))
            pieces = _pieces(total, node, self._ends(node))
            for op, source, piece in zip(node.maps, node.sources, pieces, strict=True):
                arrived.setdefault(source, []).append(piece if op is None else op._transposed_image(piece))
        return added(arrived[0])

    @cached_property
    def _last_uses(self) -> list[list[int]]:
        """Numbers of the tensors that no node behind each node takes."""
        last = {source: number for number, node in enumerate(self.nodes) for source in node.sources}
        uses: list[list[int]] = [[] for _ in self.nodes]
        for source, number in last.items():
            uses[number].append(source)
        return uses

    def _shape_of(self, number: int) -> Shape:
        return self.nodes[number - 1].shape if number else self._in_shape

    def _ends(self, node: Node) -> list[int]:
        """Return where each piece of a joined tensor begins along its axis, and where the last ends; [] for a sum."""
        if node.axis is None:
            return []
        pairs = zip(node.maps, node.sources, strict=True)
        shapes = (self._shape_of(source) if op is None else op.out_shape for op, source in pairs)
        sizes = [shape[node.axis] for shape in shapes]
        return [0, *np.cumsum(sizes).tolist()]

    # Matrices

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        def build(numbers: RowNumbers | None) -> Any:
            numbers = row_array(range(self.shape[0]) if numbers is None else numbers)
            widest = max(self.shape[1], *(prod(node.shape) for node in self.nodes))
            count = max(1, _SLAB_BYTES // (widest * itemsize(self.dtype)))
            slabs = [self._backwards(numbers[first : first + count]) for first in range(0, numbers.size, count)]
            return slabs[0] if len(slabs) == 1 else stacked(slabs or [self._backwards(numbers)], down=True)

        return in_order(build, order, rows, self.in_shape, self.out_shape)

    def _backwards(self, numbers: IntArray) -> Any:
        """Return rows of the matrix, which go from the output of the network to its input.

        At each tensor they are the rows of the map from that tensor to the output. They are sparse until they have
        filled up, and then arrays to which transposed maps are applied.
        """
        arrived: dict[int, list[_Rows]] = {len(self.nodes): [_Rows.picked(numbers, self.out_shape, self)]}
        for number in range(len(self.nodes), 0, -1):
            node, total = self.nodes[number - 1], _Rows.total(arrived.pop(number))
            for op, source, piece in zip(node.maps, node.sources, total.pieces(node, self._ends(node)), strict=True):
                arrived.setdefault(source, []).append(piece if op is None else piece.times(op))
        matrix = _Rows.total(arrived[0]).matrix()
        matrix.sum_duplicates()
        return with_data(matrix, cast(matrix.data, self.dtype))

    def _count_stored(self) -> int | None:
        return None

    # What every map answers

    def _of(self, nodes: Iterable[Node]) -> Network:
        return Network(self._in_shape, tuple(nodes))

    def _changed(self, change: str) -> Network:
        """Return the network of what a method without arguments makes of every map."""
        return self._of(
            Node(
                tuple(None if op is None else getattr(op, change)() for op in node.maps),
                node.sources,
                node.shape,
                node.axis,
            )
            for node in self.nodes
        )

    def conj(self) -> Network:
        return self._changed("conj")

    def _in_double(self) -> Network:
        return self._changed("_in_double")

    def _magnitudes(self) -> Network:
        return self._changed("_magnitudes")

    def _count_roundings(self) -> float:
        counts = [0.0]
        for node in self.nodes:
            pairs = zip(node.maps, node.sources, strict=True)
            images = [counts[source] + (0 if op is None else 1 + op._count_roundings()) for op, source in pairs]
            counts.append(max(images) + (len(images) - 1 if node.axis is None else 0))
        return counts[-1]


def _pieces(total: Array, node: Node, ends: list[int]) -> Iterator[Array]:
    """Yield for each map of a node its part of an array that is shaped as the node's tensor behind its batch axes."""
    if node.axis is None:
        yield from [total] * len(node.maps)
        return
    behind = (slice(None),) * (-1 - node.axis)
    for first, last in pairwise(ends):
        yield total[(..., slice(first, last), *behind)]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of the matrix of a map from a tensor inside a network: a sparse matrix, or arrays (rows, *shape)."""

    shape: Shape
    network: Network
    sparse: Any = None
    dense: Any = None

    @classmethod
    def picked(cls, numbers: IntArray, shape: Shape, network: Network) -> _Rows:
        """Return these rows of the identity."""
        return cls(shape, network, sparse=_ones(numbers, np.arange(numbers.size + 1), prod(shape), network))

    @staticmethod
    def total(parts: list[_Rows]) -> _Rows:
        """Return the sum of rows; it is dense if one of them is."""
        first = parts[0]
        if len(parts) == 1:
            return first
        if any(part.dense is not None for part in parts):
            return _Rows(first.shape, first.network, dense=added(part.array() for part in parts))
        matrix = first.sparse
        for part in parts[1:]:
            matrix = matrix + part.sparse
        return _Rows(first.shape, first.network, sparse=matrix)

    @property
    def is_filled(self) -> bool:
        """Whether the rows are dense, or have so many entries that they had better be."""
        if self.sparse is None:
            return True
        return bool(self.sparse.data.shape[0] > _FILLED * prod(self.sparse.shape))

    def array(self) -> AnyArray:
        """Return the rows as an array (rows, *shape)."""
        if self.dense is not None:
            return self.dense
        return reshape(dense_of(self.sparse), (self.sparse.shape[0], *self.shape))

    def matrix(self) -> Any:
        """Return the rows as a sparse matrix; of dense rows without zeros, if their numbers can be read."""
        if self.sparse is not None:
            return self.sparse
        from scipy.sparse import csr_array

        flat = reshape(self.dense, (int(self.dense.shape[0]), prod(self.shape)))
        if is_numpy(flat):
            return csr_array(flat)
        kept = as_numpy(flat) != 0 if has_numbers(flat) else np.ones(tuple(flat.shape), bool)
        numbers = csr_array(np.where(kept, np.arange(1, kept.size + 1).reshape(kept.shape), 0))
        return Coordinates.numbered(numbers, flat)

    def times(self, op: LinearMap) -> _Rows:
        """Return the rows times the matrix of a map."""
        if self.is_filled:
            return _Rows(op.in_shape, self.network, dense=op._transposed_image(self.array()))
        matrix, taking_part = narrow(self.sparse)
        few, columns = narrow(in_library(self.network._reference_array, op._sparse("C", taking_part)))
        product = with_columns(matrix @ few, columns.take, op.shape[1])
        return _Rows(op.in_shape, self.network, sparse=product)

    def pieces(self, node: Node, ends: list[int]) -> Iterator[_Rows]:
        """Yield for each map of a node the columns of its part of the node's tensor."""
        if node.axis is None:
            yield from [self] * len(node.maps)
            return
        if self.dense is not None:
            for piece in _pieces(self.dense, node, ends):
                yield _Rows(tuple(piece.shape[1:]), self.network, dense=piece)
            return
        axis = len(node.shape) + node.axis
        for first, last in pairwise(ends):
            shape = (*node.shape[:axis], last - first, *node.shape[axis + 1 :])
            places = np.arange(prod(node.shape)).reshape(node.shape)[(slice(None),) * axis + (slice(first, last),)]
            flat = places.reshape(-1)  # column j of the piece is column flat[j] of all
            pointers = np.zeros(prod(node.shape) + 1, np.int64)
            pointers[flat + 1] = 1
            picking = _ones(np.arange(flat.size), np.cumsum(pointers), flat.size, self.network)
            yield _Rows(shape, self.network, sparse=self.sparse @ picking)


def _ones(columns: IntArray, pointers: IntArray, width: int, network: Network) -> Any:
    """Return a sparse matrix of ones (int8) at these places, in the library of a network."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.ones(columns.size, np.int8), columns, pointers), shape=(pointers.size - 1, width))
    return in_library(network._reference_array, matrix)
