"""Nodes of an ONNX graph as their converters read them: attributes, constants, sizes, and whether the batch is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from convmtx.errors import ArgumentError
from convmtx.interop import layers
from convmtx.interop.onnx.graph import Graph
from convmtx.interop.onnx.numbers import PACKED, is_integer, native
from convmtx.interop.onnx.protobuf import Size, quote, readable
from convmtx.interop.onnx.reasons import Kind, SkippedError, not_known, not_linear
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, Shape


@dataclass(frozen=True, eq=False)
class Part:
    """Tensor that a node takes, and the map of it that the output has as a summand; None stands for the identity."""

    name: str
    op: LinearMap | None


@dataclass(frozen=True, eq=False)
class Combined:
    """Output of a node that may take several tensors: the sum of its parts and an offset.

    A tensor may be named more than once, as in ``x + x``. With ``axis``, the tensors are also the pieces of which the
    output is made along this axis, one after the other, so that nothing has to be added.
    """

    out_shape: Shape
    parts: tuple[Part, ...]
    offset: AnyArray | None = None
    axis: int | None = None

    @property
    def names(self) -> list[str]:
        """Names of the tensors, each once."""
        return list(dict.fromkeys(part.name for part in self.parts))

    def affine(self, like: AnyArray) -> Affine:
        """Return the map of a node whose parts are all of one tensor, of the type of ``like``."""
        ops = [layers.identity(self.out_shape, like) if part.op is None else part.op for part in self.parts]
        while len(ops) > 1:  # in pairs, for a sum of n maps takes n steps to make
            ops = [a if b is None else a + b for a, b in zip_longest(ops[::2], ops[1::2])]
        (op,) = ops
        if self.offset is None:
            return layers.add_bias(op, None)
        return Affine(op, np.broadcast_to(self.offset, self.out_shape))


class Node:
    """Node of an ONNX graph, as its converter reads it.

    Attributes are taken out as they are read, so that those left over are known to have been ignored. Inputs are
    counted from 0; the first is the data, unless the converter says otherwise, and the others are constants.

    A map acts on one input, without the first axis. It acts on whole tensors where the node does more to the first axis
    than to leave it as it is, and where a tensor has one axis alone: a converter calls `act_on_all` for that, before it
    reads shapes. `shape` and `out_shape` are then those of whole tensors.
    """

    def __init__(self, graph: Graph, node: Any) -> None:
        self._graph = graph
        #: Names of all inputs and of all outputs, empty for those that are left out, or that nothing reads.
        self.inputs, self.outputs = tuple(node.input), tuple(node.output)
        #: Attributes that have not been read yet.
        self.attributes = graph.attributes(node)
        self.op_type, self.opset = node.op_type, graph.opset
        #: Position of the tensor that the map is applied to, and its name.
        self.position, self.data = 0, node.input[0] if node.input else ""
        #: Whether the map acts on whole tensors.
        self.whole = False
        #: Bytes of the weights that have been read, as the file stores or computes them.
        self.weight_bytes = 0
        #: Stored types of weights that NumPy does not have.
        self.widened: set[str] = set()

    # Inputs and outputs

    def has(self, position: int) -> bool:
        """Whether the node has an input."""
        return position < len(self.inputs) and bool(self.inputs[position])

    def is_constant(self, position: int) -> bool:
        """Whether an input is a constant, even if its numbers are not known."""
        return self._graph.is_constant(self.inputs[position])

    def apply_to(self, position: int) -> None:
        """Take another input than the first for the data."""
        self.position, self.data = position, self.inputs[position]

    def data_positions(self, positions: Iterable[int]) -> list[int]:
        """Return the inputs among these that are not constants, or, if all are, those that the caller may replace."""
        present = [j for j in positions if self.has(j)]
        data = [j for j in present if not self.is_constant(j)]
        return data or [j for j in present if self._graph.is_default(self.inputs[j])]

    # Attributes and constants

    def take(self, name: str, default: Any = None) -> Any:
        """Return an attribute, and take it out."""
        return self.attributes.pop(name, default)

    def integers(self, position: int, name: str) -> list[int] | None:
        """Return integers that newer opsets have as an input and older ones as an attribute; None without them."""
        array = self.optional_constant(position, name)
        if array is None:
            attribute = self.take(name)
            return None if attribute is None else [int(n) for n in np.atleast_1d(attribute)]
        return [int(n) for n in np.atleast_1d(array)]

    def numbers(self, position: int, name: str) -> list[float] | None:
        """Return numbers that newer opsets have as an input and older ones as an attribute; None without them."""
        array = self.optional_constant(position, name)
        values = self.take(name) if array is None else array
        return [float(n) for n in np.atleast_1d(values)] if values is not None and np.size(values) else None

    def open_numbers(self, position: int, name: str) -> Sequence[Size] | None:
        """Return whole numbers of an input, some of which may be names of open sizes; None without them."""
        if self.has(position) and (sizes := self._graph.open_sizes(self.inputs[position])) is not None:
            return sizes
        array = self.optional_constant(position, name)
        return [int(n) for n in np.atleast_1d(array)] if array is not None and array.size else None

    def weight(self, position: int, name: str) -> AnyArray:
        """Return an input that must be a constant, and count it as a weight; ``name`` is ONNX's name of it."""
        array = self.optional_weight(position, name)
        if array is None:
            raise not_linear(f"{name} is missing")
        return array

    def optional_weight(self, position: int, name: str) -> AnyArray | None:
        """Return a weight, or None if the node has no such input.

        Types that NumPy does not have become wider ones, without rounding.
        """
        array = self.optional_constant(position, name)
        if array is None:
            return None
        stored = self._graph.dtype(self.inputs[position])
        self.weight_bytes += -(-array.size * PACKED.get(stored.name, 8 * array.itemsize) // 8)
        if native(stored) != stored:
            self.widened.add(stored.name)
        return np.asarray(array, native(array.dtype))

    def optional_constant(self, position: int, name: str) -> AnyArray | None:
        """Return an input that must be a constant if it is there; None if the node has no such input."""
        if not self.has(position):
            return None
        source = self.inputs[position]
        array = self._graph.constant(source)
        if array is None:
            reason = self._graph.why_unknown(source)
            if reason is not None:
                got = f"{name} is {quote(source)}, not known: {reason}"
                raise not_known(got, "Expected its numbers", "Fold the constants of the model first")
            got, expected = (
                f"{name} is {quote(source)}, not a constant",
                "Expected one, for otherwise the node is not linear",
            )
            raise SkippedError(Kind.NOT_LINEAR, got, expected)
        return array

    # Shapes and types

    def wanted_shapes(self) -> tuple[str, str]:
        """Return what to expect, and what to do, where sizes are not known."""
        return self._graph.wanted_shapes()

    def dims(self, name: str) -> tuple[Size, ...]:
        """Return all sizes of a tensor, numbers or names of open ones."""
        dims = self._graph.dims(name)
        if dims is None:
            raise not_known(f"{quote(name)} has an unknown number of axes", *self._graph.wanted_shapes())
        return dims

    @property
    def in_dims(self) -> tuple[Size, ...]:
        """All sizes of the data."""
        return self.dims(self.data)

    @property
    def rank(self) -> int:
        """Number of axes of the data."""
        return len(self.in_dims)

    def act_on_all(self, if_: bool = True) -> None:
        """Make the map one of whole tensors, if the condition holds."""
        self.whole = self.whole or if_

    @property
    def skips(self) -> int:
        """Number of axes in front that the map leaves out: 1 for the batch, 0 for a map of whole tensors."""
        return 0 if self.whole else 1

    @property
    def shape(self) -> Shape:
        """Shape of the data as the map takes it."""
        self.act_on_all(self.rank < 2)
        return self.sizes(self.data)

    def sizes(self, name: str) -> Shape:
        """Return the shape of a tensor as the map takes or makes it."""
        dims = self.dims(name)[self.skips :]
        if not all(isinstance(size, int) for size in dims):
            got = f"{quote(name)} has shape {str(readable(self.dims(name)))[:200]}"
            wanted = "All sizes must be known" if self.whole else "The sizes after the batch must be known"
            raise not_known(got, wanted, self._graph.wanted_shapes()[1])
        return tuple(int(size) for size in dims)  # type: ignore[arg-type]

    def size(self, axis: int) -> int:
        """Return the size of the data along an axis of whole tensors."""
        size = self.in_dims[axis]
        if not isinstance(size, int):
            raise not_known(f"{quote(self.data)} has an open size", *self._graph.wanted_shapes())
        return size

    def all_sizes(self) -> Shape:
        """Return the shape of whole tensors of the data, which the map then takes."""
        self.act_on_all()
        return self.sizes(self.data)

    def out_dims(self, position: int = 0) -> tuple[Size, ...]:
        """Return all sizes of an output."""
        return self.dims(self.outputs[position])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the data's numbers, or a wider one that NumPy has."""
        return self.like.dtype

    @property
    def like(self) -> AnyArray:
        """Empty array of the data's type, for maps that have no weights."""
        return self._graph.like(self.data)

    def like_of(self, position: int) -> AnyArray:
        """Return an empty array of the type of an input."""
        return self._graph.like(self.inputs[position])

    @property
    def out_like(self) -> AnyArray:
        """Empty array of the first output's type."""
        return self._graph.like(self.outputs[0])

    @property
    def stored_dtypes(self) -> tuple[np.dtype[Any], np.dtype[Any]]:
        """Types of the data and of the first output, which NumPy may lack."""
        return self._graph.dtype(self.data), self._graph.dtype(self.outputs[0])

    def correct_output(self, name: str, shape: Shape) -> None:
        """Set the shape of an output as the map makes it, whatever ONNX infers and the model says."""
        self._graph.correct(name, (*self.in_dims[: self.skips], *shape))

    def require_numbers(self) -> None:
        """Refuse truth values and text."""
        if self._graph.has_type(self.data):
            _ = self.dtype

    def require_floats(self, reason: str) -> None:
        """Refuse integers, for this reason."""
        dtype = self._graph.dtype(self.data)
        if dtype.kind == "b" or is_integer(dtype):
            raise not_linear(reason)

    def require_signs(self) -> None:
        """Refuse integers without a sign, whose negatives wrap around."""
        if self._graph.dtype(self.inputs[0]).name.startswith("u"):
            raise not_linear("integers without a sign wrap around")

    @property
    def n_outputs(self) -> int:
        """Number of outputs that are read."""
        return sum(bool(name) for name in self.outputs)

    def axis(self, axis: int, rank: int | None = None) -> int:
        """Return an axis of whole tensors, which may be counted from the end, counted from 0."""
        rank = self.rank if rank is None else rank
        if not -rank <= axis < rank:
            raise ArgumentError(f"axis {axis} of {rank} axes", "Expected one of them", "Leave this layer out")
        return axis % rank
