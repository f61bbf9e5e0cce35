"""Networks of maps: a graph without cycles, in which every map is applied once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import cast, itemsize, promote
from convmtx._xp.sparse import stacked, with_data
from convmtx.forms import row_array
from convmtx.maps.base import Combination
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.ordering import in_order
from convmtx.maps.rows import Rows
from convmtx.maps.stacks import joined
from convmtx.maps.sums import added
from convmtx.typing import Array, IntArray, Order, RowNumbers, Shape

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
        """Return rows of the matrix."""
        matrix = self._carry(Rows(self.out_shape, self._reference_array, numbers)).matrix()
        matrix.sum_duplicates()
        return with_data(matrix, cast(matrix.data, self.dtype))

    def _carry(self, rows: Rows) -> Rows:
        arrived: dict[int, list[Rows]] = {len(self.nodes): [rows]}
        for number in range(len(self.nodes), 0, -1):
            node, total = self.nodes[number - 1], Rows.total(arrived.pop(number))
            pieces: Iterable[Rows] = [total] * len(node.maps)
            if node.axis is not None:
                pieces = (total.piece(node.axis, first, last) for first, last in pairwise(self._ends(node)))
            for op, source, piece in zip(node.maps, node.sources, pieces, strict=True):
                arrived.setdefault(source, []).append(piece if op is None else op._carry(piece))
        return Rows.total(arrived[0])

    def _count_stored(self) -> int | None:
        return None

    # What every map answers

    def _changed(self, change: str) -> Network:
        """Return the network of what a method without arguments makes of every map."""
        nodes = [
            replace(node, maps=tuple(None if op is None else getattr(op, change)() for op in node.maps))
            for node in self.nodes
        ]
        return Network(self._in_shape, nodes)

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
