"""Tensors of a network as affine functions of its input, from which importers build the map of a whole graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from math import prod

from convmtx import memory
from convmtx._xp import cast, is_numpy, itemsize, namespace, promote, together, zeros_beside
from convmtx.errors import UnsupportedError
from convmtx.geometry.compose import product_geometry
from convmtx.interop import layers
from convmtx.maps.affine import Affine
from convmtx.maps.combined import Product
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.network import Network, Node
from convmtx.maps.stacks import concat, joined
from convmtx.typing import Array, Shape

#: Number of times as many products that a convolution in place of two may take.
_MOST_GROWTH = 2


class Value:
    """Tensor inside a network: an affine function of the network's input, whose batch axis is left out.

    It is a sum of maps of earlier tensors, or their outputs joined along an axis, plus an offset. A tensor that does
    not depend on the input is a sum of no maps.
    """

    def __init__(
        self,
        shape: Shape,
        terms: Sequence[tuple[LinearMap | None, Value]],
        offset: Array | None,
        like: Array,
        axis: int | None = None,
    ) -> None:
        #: Shape of the tensor.
        self.shape = shape
        #: Maps, and the tensor that each is applied to; None stands for the identity.
        self.terms = tuple(terms)
        #: Tensor at an input of zeros; None stands for zeros.
        self.offset = offset
        #: Empty array of the type and library of maps without numbers of their own.
        self.like = like
        #: Axis along which the outputs of the maps are joined, counted from the end; None for a sum.
        self.axis = axis

    @classmethod
    def of_input(cls, shape: Shape, like: Array = layers.INTEGERS) -> Value:
        """Return the input of a network."""
        return cls(shape, (), None, like)

    @classmethod
    def constant(cls, array: Array, like: Array = layers.INTEGERS) -> Value:
        """Return a tensor that does not depend on the input."""
        return cls(tuple(array.shape), (), array, like)

    @classmethod
    def total(cls, multiples: Sequence[tuple[Value, float]]) -> Value:
        """Return the sum of multiples of tensors of one shape."""
        first = next((value for value, _ in multiples if not value.is_constant), multiples[0][0])
        terms = [
            (None if number == 1 else layers.multiple(value.shape, number, first.like), value)
            for value, number in multiples
            if not value.is_constant
        ]
        offsets = [value.offset if n == 1 else value.offset * n for value, n in multiples if value.offset is not None]
        return cls(first.shape, terms, reduce(_add, offsets) if offsets else None, first.like)

    @classmethod
    def joined(cls, values: Sequence[Value], axis: int) -> Value:
        """Return tensors joined along an axis, of which 0 is the first behind the batch; negative ones count back."""
        first = next((value for value in values if not value.is_constant), values[0])
        back = axis - len(first.shape) if axis >= 0 else axis
        sizes = [value.shape[back] for value in values]
        shape = (*first.shape[:back], sum(sizes), *first.shape[len(first.shape) + back + 1 :])
        offset = _joined_offsets(values, back, shape)
        if not any(value.is_constant for value in values):
            return cls(shape, [(None, value) for value in values], offset, first.like, back)
        # The places of constants stay zero where the images of the others are added up.
        terms = [
            (layers.placing(value.shape, shape, back, sum(sizes[:j]), first.like), value)
            for j, value in enumerate(values)
            if not value.is_constant
        ]
        return cls(shape, terms, offset, first.like)

    @property
    def is_constant(self) -> bool:
        """Whether the tensor does not depend on the input."""
        return not self.terms and self.offset is not None

    def then(self, layer: Affine) -> Value:
        """Return the tensor that an affine map makes of this one."""
        return self.through(layer.op, None if _is_zero(layer.offset) else layer.offset)

    def through(self, op: LinearMap, offset: Array | None = None) -> Value:
        """Return the tensor that a linear map makes of this one, plus an offset; None stands for zeros."""
        image = None if self.offset is None else op(_require(self.offset, op.out_shape))
        total = image if offset is None else offset if image is None else _add(image, offset)
        return Value(op.out_shape, () if self.is_constant else [(op, self)], total, self.like)

    def plus(self, array: Array) -> Value:
        """Return the sum of this tensor and an array of its shape."""
        return Value.total([(self, 1), (Value.constant(array), 1)])

    def affine(self, start: Value) -> Affine:
        """Return the affine map from the input of the network, ``start``, to this tensor.

        Chains become products, branches that meet again sums, which are convolutions where that is one. Other graphs
        become a `Network`, in which every map is applied once.
        """
        if self.is_constant:
            got = "the output does not depend on the input"
            raise UnsupportedError(got, "Expected a function of it", "Leave this part out")
        op = _map_between(start, self)
        return layers.add_bias(op, None) if self.offset is None else Affine(op, self.offset)


def _is_zero(offset: Array) -> bool:
    """Whether an offset is one zero that is broadcast, as of a layer without a bias."""
    return is_numpy(offset) and offset.size > 0 and not any(offset.strides) and not offset.flat[0]


def _require(offset: Array, shape: Shape) -> Array:
    """Return an offset, of which the image has this shape, if that fits in memory."""
    memory.require("offset", {"offset": prod(shape) * itemsize(offset.dtype)})
    return offset


def _add(first: Array, second: Array) -> Array:
    """Return the sum of two arrays, of which one may be NumPy's and the other of another library."""
    first, second = together(first, second)
    return first + second


def _joined_offsets(values: Sequence[Value], axis: int, shape: Shape) -> Array | None:
    """Return the offsets of tensors joined along an axis; None if all are zero."""
    first = next((value.offset for value in values if value.offset is not None), None)
    if first is None:
        return None
    _require(first, shape)
    dtype = promote(*(value.offset.dtype for value in values if value.offset is not None))
    zero = zeros_beside(first, (), dtype)
    return joined(
        [
            namespace(first).broadcast_to(zero, value.shape) if value.offset is None else cast(value.offset, dtype)
            for value in values
        ],
        axis,
    )


class _Links:
    """Maps by which a tensor depends on earlier ones, while a graph is made as small as it can be."""

    def __init__(self, value: Value) -> None:
        self.value, self.terms, self.axis = value, list(value.terms), value.axis

    def image(self, op: LinearMap | None, shape: Shape) -> LinearMap:
        """Return a map, or the identity for None."""
        return layers.identity(shape, self.value.like) if op is None else op


def _map_between(start: Value, end: Value) -> LinearMap:
    """Return the map from one tensor of a graph to another, without offsets.

    A tensor that one map alone takes, and that is one map of another tensor, is left out: A(B x) is (A B) x. Maps from
    one tensor to another are added up, after which the first may be taken by one map alone: x + B x is (1 + B) x. So
    skip connections become sums and products, as long as none begins inside another and ends outside.
    """
    order = _in_order(end)
    links = {value: _Links(value) for value in order}
    uses = Counter(source for value in order for _, source in value.terms)
    for value in order:
        if value is not start:
            _reduce(links[value], links, uses, start)
    last = links[end]
    if end is start or (len(last.terms) == 1 and last.terms[0][1] is start):
        return last.image(None if end is start else last.terms[0][0], start.shape)
    return _network(start, _in_order(end, links), links)


def _reduce(own: _Links, links: dict[Value, _Links], uses: Counter[Value], start: Value) -> None:
    """Leave out tensors in front of one, and add up what comes from the same tensor, as long as there are any."""
    while True:
        terms: list[tuple[LinearMap | None, Value]] = []
        for op, source in own.terms:
            behind = links[source]
            is_chain = source is not start and uses[source] == 1 and len(behind.terms) == 1
            is_sum = op is None and own.axis is None and behind.axis is None and uses[source] == 1
            if is_chain:
                inner, origin = behind.terms[0]
                terms.append((inner if op is None else op if inner is None else _after(op, inner), origin))
            elif is_sum and behind.terms:
                terms.extend(behind.terms)
            else:
                terms.append((op, source))
        has_moved = terms != own.terms
        own.terms = terms
        if not (_merge(own, uses) or has_moved):
            return


def _after(op: LinearMap, inner: LinearMap) -> LinearMap:
    """Return the product of two maps; as one convolution, unless that has far more to multiply.

    A depthwise 5 x 5 convolution and a pointwise one of 500 channels multiply 525 numbers for an output, and one
    convolution in place of both 12,500.
    """
    if isinstance(op, Diagonal) and op.weights.ndim == 0 and isinstance(inner, ConvOperator):
        return inner * op.weights
    first = inner.factors[0] if isinstance(inner, Product) else inner
    if isinstance(op, ConvOperator) and isinstance(first, ConvOperator):
        joined = product_geometry(op.geometry, first.geometry)
        if joined is not None and joined.nnz > _MOST_GROWTH * (op.nnz + first.nnz):
            return Product(op, inner)
    return op @ inner


def _merge(own: _Links, uses: Counter[Value]) -> bool:
    """Make one map of those that a tensor has of the same tensor; return whether there were several."""
    if own.axis is not None:
        if len({id(source) for _, source in own.terms}) > 1 or len(own.terms) == 1:
            return False
        source = own.terms[0][1]
        uses[source] -= len(own.terms) - 1
        own.terms = [(concat([own.image(op, source.shape) for op, _ in own.terms], own.axis), source)]
        own.axis = None
        return True
    by_source: dict[Value, list[LinearMap | None]] = {}
    for op, source in own.terms:
        by_source.setdefault(source, []).append(op)
    if len(by_source) == len(own.terms):
        return False
    own.terms = []
    for source, ops in by_source.items():
        uses[source] -= len(ops) - 1
        total = ops[0] if len(ops) == 1 else reduce(lambda a, b: a + b, [own.image(op, source.shape) for op in ops])
        own.terms.append((total, source))
    return True


def _in_order(end: Value, links: dict[Value, _Links] | None = None) -> list[Value]:
    """Return the tensors that one depends on, and itself, each behind those that it depends on."""
    order: dict[Value, None] = {}
    waiting = [(end, False)]
    while waiting:
        value, is_ready = waiting.pop()
        if is_ready:
            order[value] = None
        elif value not in order:
            waiting.append((value, True))
            terms = value.terms if links is None else links[value].terms
            waiting.extend((source, False) for _, source in terms if source not in order)
    return list(order)


def _network(start: Value, order: list[Value], links: dict[Value, _Links]) -> Network:
    """Return the network of tensors in their order."""
    numbers = {start: 0}
    nodes = []
    for value in order:
        if value is start:
            continue
        own = links[value]
        maps = tuple(op for op, _ in own.terms)
        nodes.append(Node(maps, tuple(numbers[source] for _, source in own.terms), value.shape, own.axis))
        numbers[value] = len(nodes)
    return Network(start.shape, nodes)
