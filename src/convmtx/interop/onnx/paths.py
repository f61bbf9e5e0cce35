"""Maps from one tensor of an ONNX graph to another, along all nodes between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError, UnsupportedError, with_article
from convmtx.interop import layers
from convmtx.interop.onnx.node import Combined
from convmtx.interop.onnx.protobuf import Size, quote, readable
from convmtx.interop.onnx.reasons import Kind, Skipped
from convmtx.interop.values import Value
from convmtx.maps.affine import Affine
from convmtx.maps.along_axis import AlongAxis
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.kronecker import Kronecker
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged, reshaped
from convmtx.typing import AnyArray, Shape

#: Names of tensors that an error lists.
_MOST_NAMES = 6


class Mapped(Affine):
    """Affine map between two tensors of an ONNX graph."""

    def __init__(self, affine: Affine, input_name: str, whole: bool) -> None:
        super().__init__(affine.op, affine.offset)
        #: Name of the tensor that the map is applied to.
        self.input_name = input_name
        #: Whether the map acts on the whole tensor. If not, it acts on one input: the first axis is a batch.
        self.whole = whole


@dataclass(frozen=True, eq=False)
class Joined:
    """Output of a node that takes several tensors."""

    combined: Combined
    whole: bool


@dataclass(frozen=True, eq=False)
class Step:
    """Output of a node, or the reason why it is not affine in tensors."""

    #: Number of the node in the graph, counted from 1.
    number: int
    output: Mapped | Joined | str

    @property
    def sources(self) -> list[str]:
        """Names of the tensors that the output depends on."""
        if isinstance(self.output, Joined):
            return self.output.combined.names
        return [self.output.input_name] if isinstance(self.output, Mapped) else []

    @property
    def whole(self) -> bool:
        """Whether the maps of the node take whole tensors."""
        return not isinstance(self.output, str) and self.output.whole


@dataclass(frozen=True, eq=False)
class Paths:
    """Graph of the tensors of a model, for maps from one to another."""

    #: Inputs of the graph, those that have no default value first.
    inputs: tuple[str, ...]
    #: Names of the constants that the model stores.
    constants: frozenset[str]
    #: Steps by the name of the output, in the order of the nodes.
    steps: dict[str, Step] = field(default_factory=dict)
    #: Sizes of tensors, batch included.
    dims: dict[str, tuple[Size, ...] | None] = field(default_factory=dict)
    #: Types of the numbers of tensors, as far as maps have them.
    dtypes: dict[str, np.dtype[Any]] = field(default_factory=dict)

    def add(
        self, number: int, names: Iterable[str], outputs: Mapping[str, Mapped | Joined], reason: str | None
    ) -> None:
        """Add the outputs of a node; those without a map are not affine for the reason."""
        for name in names:
            if name:
                self.steps[name] = Step(number, outputs.get(name, reason or "it is not affine"))

    def between(self, start: str | None, end: str) -> Mapped:
        """Return the map from one tensor, None for the one that all depends on, to another."""
        self._require_tensor("output", end)
        if start is not None:
            self._require_tensor("input", start)
        needed, roots = self._walk(start, end)
        start = self._start(start, end, roots)
        order = sorted(needed, key=lambda name: self.steps[name].number)
        dtype = np.result_type(*{self.dtypes.get(name, np.dtype(np.int8)) for name in (start, *order)})
        build = _Builder(self, any(self.steps[name].whole for name in order), np.empty(0, dtype))
        values = {start: build.input(start)}
        for name in order:
            values[name] = build.step(name, values)
        return Mapped(build.result(values, start, end), start, build.whole)

    def _require_tensor(self, argument: str, name: Any) -> None:
        """Refuse what is not the name of an input or of a node's output."""
        if not isinstance(name, str):
            got = f"{argument} is {with_article(type(name).__name__)}"
            raise ArgumentTypeError(got, "Expected the name of one tensor", "Pass a string")
        if name in self.constants:
            got = f"{quote(name)} is a constant of the model"
            raise ArgumentError(got, "Expected an input or the output of a node", "Pass one of these")
        if name not in self.dims:
            known = ", ".join(map(quote, islice((*self.inputs, *reversed(self.steps)), _MOST_NAMES)))
            raise ArgumentError(f"{quote(name)} is not a tensor of the graph", f"It has {known}, ...", "Check the name")

    def _walk(self, start: str | None, end: str) -> tuple[set[str], set[str]]:
        """Return the outputs of nodes on the way from ``start``, and the tensors where the way begins."""
        needed: set[str] = set()
        roots: set[str] = set()
        blocked: list[str] = []
        waiting = [end]
        while waiting:
            name = waiting.pop()
            if name in needed or name in roots:
                continue
            if name == start or name not in self.steps:
                roots.add(name)
            elif isinstance(self.steps[name].output, str):
                blocked.append(name)
                roots.add(name)
            else:
                needed.add(name)
                waiting.extend(self.steps[name].sources)
        if blocked:
            name = min(blocked, key=lambda name: self.steps[name].number)
            step = self.steps[name]
            reason = str(step.output).rstrip(".")
            others = f", and {len(blocked) - 1} more" if len(blocked) > 1 else ""
            count = max(step.number for step in self.steps.values())
            got = f"node {step.number} of {count}, which makes {quote(name)}{others}: {reason}"
            is_open = isinstance(step.output, Skipped) and step.output.kind is Kind.OPEN
            remedy = "Do this first" if is_open else "Pass another output" if name == end else "Pass input= behind it"
            raise UnsupportedError(got, f"Every node on the way to {quote(end)} must be affine", remedy)
        return needed, roots

    def _start(self, start: str | None, end: str, roots: set[str]) -> str:
        """Return the tensor where the map begins, which must be the only one that the output depends on."""
        names = ", ".join(map(quote, sorted(roots)[:_MOST_NAMES]))
        if start is None and len(roots) == 1:
            (start,) = roots
        if start is None or roots != {start}:
            got = f"{quote(end)} depends on {names or 'constants alone'}"
            expected = "Expected one tensor" if start is None else f"Expected {quote(start)} alone"
            raise UnsupportedError(got, expected, "Pass an input that all of it goes through")
        return start


class _Builder:
    """Values of tensors as functions of the first one.

    If one node takes whole tensors, all do. Tensors are then kept whole, but for a first axis of size 1, which is left
    out, so that maps of one sample stay as they are. Maps that only move or add numbers have the type of ``like``,
    which holds the numbers of all tensors on the way.
    """

    def __init__(self, paths: Paths, whole: bool, like: AnyArray) -> None:
        self._paths, self.whole, self._like = paths, whole, like

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor as the finished map has it."""
        dims = self._paths.dims[name]
        wanted = dims if self.whole or dims is None else dims[1:]
        if wanted is None or not all(isinstance(size, int) for size in wanted):
            got = f"{quote(name)} has shape {readable(dims)}"
            raise UnsupportedError(got, "All sizes must be known", "Pass input_shapes to from_onnx")
        return tuple(int(size) for size in wanted)  # type: ignore[arg-type]

    def kept(self, name: str) -> Shape:
        """Return the shape of a tensor as its value has it."""
        shape = self.shape(name)
        return _without_one(shape) if self.whole else shape

    def input(self, name: str) -> Value:
        """Return the value of the first tensor."""
        return Value.of_input(self.kept(name), self._like)

    def step(self, name: str, values: Mapping[str, Value]) -> Value:
        """Return the value of a tensor, the output of a node."""
        step = self._paths.steps[name]
        if any(values[source].offset is not None for source in step.sources):
            layers.require_small(f"the offset of {quote(name)}", prod(self.shape(name)) * self._like.itemsize)
        if isinstance(step.output, Joined):
            return self._combined(step.output.combined, step, values)
        assert isinstance(step.output, Mapped)
        source = step.output.input_name
        if _is_identity(step.output.op):
            return self._shifted(values[source], step.output.offset, step)
        return values[source].then(self._fitted(step.output, step, source))

    def _combined(self, combined: Combined, step: Step, values: Mapping[str, Value]) -> Value:
        """Return the value of the output of a node that takes several tensors."""
        if combined.axis is not None:
            pieces = [values[part.name] for part in combined.parts]
            if step.whole and combined.axis == 0:  # a first axis of size 1, which is left out, is the one to join along
                full = [self.shape(part.name) for part in combined.parts]
                pairs = zip(pieces, full, strict=True)
                pieces = [
                    piece.then(_plain(layers.reshaping(piece.shape, shape, self._like))) for piece, shape in pairs
                ]
            return Value.joined(pieces, combined.axis - len(combined.out_shape))
        terms = []
        for part in combined.parts:
            value = values[part.name]
            terms.append((value if part.op is None else value.then(self._fitted(_plain(part.op), step, part.name)), 1))
        total = Value.total(terms)
        if combined.offset is None:
            return total
        return self._shifted(total, np.broadcast_to(combined.offset, combined.out_shape), step)

    def _shifted(self, value: Value, offset: AnyArray, step: Step) -> Value:
        """Return a value plus the offset of a map of the step."""
        if _is_number(offset) and not _first(offset):
            return value
        return value.plus(_reshaped_offset(offset, value.shape) if step.whole else np.broadcast_to(offset, value.shape))

    def _fitted(self, affine: Affine, step: Step, source: str) -> Affine:
        """Return a map between tensors as they are kept."""
        shape = self.kept(source)
        if affine.in_shape == shape and not step.whole:
            return affine
        if step.whole:
            return _reshaped(affine, shape, _without_one(affine.out_shape))
        batch = shape[0]
        op = _over_batch(affine.op, batch)
        return Affine(op, np.broadcast_to(affine.offset, op.out_shape))

    def result(self, values: Mapping[str, Value], start: str, end: str) -> Affine:
        """Return the map between tensors as the user has them."""
        first = values[start]
        affine = _plain(layers.identity(first.shape, self._like)) if start == end else values[end].affine(first)
        return _reshaped(affine, self.shape(start), self.shape(end))


def _plain(op: LinearMap) -> Affine:
    """Return a linear map as an affine one."""
    return layers.add_bias(op, None)


def _without_one(shape: Shape) -> Shape:
    """Return a shape without the first axis if that has the size 1."""
    return shape[1:] if shape[:1] == (1,) else shape


def _reshaped(affine: Affine, in_shape: Shape, out_shape: Shape) -> Affine:
    """Return an affine map between arrays of other shapes."""
    if (affine.in_shape, affine.out_shape) == (in_shape, out_shape):
        return affine
    return Affine(reshaped(affine.op, in_shape, out_shape), _reshaped_offset(affine.offset, out_shape))


def _reshaped_offset(offset: Any, shape: Shape) -> AnyArray:
    """Return an offset in another shape; one that takes the memory of one number keeps to that."""
    if offset.shape == shape:
        return offset
    return np.broadcast_to(_first(offset), shape) if _is_number(offset) else offset.reshape(shape)


def _first(offset: Any) -> Any:
    """Return the first number of an offset, of which there can be more than can be counted through."""
    return offset[(0,) * offset.ndim]


def _is_number(offset: Any) -> bool:
    """Whether an offset is one number, broadcast."""
    return bool(offset.size) and not any(offset.strides)


def _is_identity(op: LinearMap) -> bool:
    """Whether a map is the identity, as it is made for nodes that leave their data as it is."""
    return isinstance(op, Rearranged) and op.axes == tuple(range(len(op.axes))) and op.in_shape == op.out_shape


def _over_batch(op: LinearMap, batch: int) -> LinearMap:
    """Return the map of whole tensors that applies a map to every sample."""
    if isinstance(op, AlongAxis):
        return AlongAxis(op.matrix, (batch, *op.in_shape), 1 + op.axis)
    if isinstance(op, Rearranged):
        return Rearranged((batch, *op.in_shape), (0, *(1 + a for a in op.axes)), (batch, *op.out_shape), op._like)
    if isinstance(op, Diagonal):
        rank = len(op.in_shape)
        return Diagonal(op.weights.reshape((1,) * (rank - op.weights.ndim) + op.weights.shape), (batch, *op.in_shape))
    return Kronecker(layers.identity((batch,), np.empty(0, op.dtype)), op)
