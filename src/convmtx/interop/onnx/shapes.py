"""Shapes of an ONNX model's tensors: as maps make them, as ONNX infers them, and as the model declares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from math import inf, prod
from typing import Any

from convmtx.errors import ArgumentTypeError, UnsupportedError, with_article
from convmtx.geometry import resolve
from convmtx.interop.onnx.protobuf import UNNAMED, Size, all_nodes, dims_of, is_closed, opset_of, quote, readable
from convmtx.interop.onnx.symbols import Sizes, Symbols
from convmtx.typing import AnyArray

#: Numbers of the largest constant that shape inference is passed. It reads sizes, pads and axes from constants, which
#: have one number for each axis of a tensor; the weights, which it does not read, have thousands.
SMALL = 1024
#: Opset by which the shapes of a pooling node with ceil_mode are inferred. Before it, ONNX counts a last window that
#: begins beyond the data, which runtimes drop.
_POOLING_OPSET = 22
#: Nodes that a model may have with its functions written out, if its shapes are inferred as a whole. ONNX writes each
#: call of a function out, so that 60 functions of which each calls the one before twice are 2^60 nodes.
_MOST_NODES = 1_000_000


def request_shapes(model: Any, input_shapes: Mapping[str, Any]) -> None:
    """Write the requested shapes into the graph's inputs, and drop the shapes that were inferred without them."""
    if not isinstance(input_shapes, Mapping):
        got = f"input_shapes is {with_article(type(input_shapes).__name__)}"
        raise ArgumentTypeError(got, "Expected names and shapes", "Pass for example {'x': (1, 3, 32, 32)}")
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 1:  # exporters write 0 and -1 for sizes that are open
                dim.ClearField("dim_value")
    inputs = {value.name: value.type for value in model.graph.input}
    for name, shape in input_shapes.items():
        is_number = isinstance(shape, tuple | list) and not shape  # a tensor without axes
        sizes = () if is_number else resolve.shape(f"input_shapes[{quote(str(name))}]", shape)
        if name not in inputs or not _fits(inputs[name], sizes):
            known = ", ".join(f"{quote(other)}: {readable(dims_of(kind))}" for other, kind in inputs.items())
            got = f"input_shapes[{quote(str(name))}]={sizes}"
            raise UnsupportedError(got, f"The model's inputs are {{{known[:400]}}}", "Fill in what is open")
        dims = inputs[name].tensor_type.shape
        del dims.dim[:]
        for size in sizes:
            dims.dim.add().dim_value = size
    if input_shapes:
        del model.graph.value_info[:], model.graph.output[:]


def _fits(tensor_type: Any, sizes: Sequence[int]) -> bool:
    """Whether a tensor of these sizes has a type."""
    dims = dims_of(tensor_type)
    if dims is None:
        return bool(tensor_type.HasField("tensor_type"))
    return len(dims) == len(sizes) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(dims, sizes, strict=True)
    )


class Types:
    """Types of a model's tensors, as far as they are known.

    A type holds the type of the tensor's numbers and, for each of its sizes, a number or the name of an open size. It
    is inferred from the inputs of the tensor's node; the model's own types, which may be wrong, say what stays open.
    """

    def __init__(self, onnx: Any, model: Any, symbols: Symbols) -> None:
        self._onnx, self._symbols = onnx, symbols
        self._opsets = [opset for opset in model.opset_import if opset.domain in ("", "ai.onnx")][:1]
        #: Opset of ONNX's own nodes.
        self.opset = self._opsets[0].version if self._opsets else 1
        #: Messages of ONNX by the name, of tensors so far: inputs, constants, and outputs of the nodes passed.
        self.by_name: dict[str, Any] = {}
        skeleton = _skeleton(onnx, model)
        with suppress(Exception):  # where shapes contradict each other, they are inferred node by node
            skeleton = onnx.shape_inference.infer_shapes(
                skeleton
            )  # without data_prop, which never ends for some Slices
        self._declared = {v.name: v.type for v in (*skeleton.graph.value_info, *skeleton.graph.output)}
        for value in skeleton.graph.input:
            self._learn(value.name, value.type, None)
        for tensor in model.graph.initializer:
            self.assign(tensor.name, tensor.data_type, tensor.dims)

    def dims(self, name: str) -> tuple[Size, ...] | None:
        """Return the sizes of a tensor; None if the number of its axes is not known."""
        return dims_of(self.by_name.get(name))

    def assign(self, name: str, code: int, dims: Sequence[Size]) -> None:
        """Set the type of a tensor, from ONNX's code for the type of its numbers and from its sizes."""
        self.by_name[name] = self._onnx.helper.make_tensor_type_proto(code, list(dims))

    def correct(self, name: str, dims: Sequence[Size]) -> None:
        """Set the sizes of a tensor as the map of its node makes them, from which those behind it are inferred."""
        if self.dims(name) != tuple(dims):
            self.assign(name, self.by_name[name].tensor_type.elem_type if name in self.by_name else 0, dims)

    def _learn(self, name: str, inferred: Any, declared: Any) -> None:
        """Set the type of a tensor from what is inferred and, where that is open, from what the model declares.

        A size that stays open without a name gets one. (N, ?) inferred and (4, 3) declared is (4, 3).
        """
        first, second = dims_of(inferred), dims_of(declared)
        if first is None:
            first = second
        if first is None:
            self.by_name[name] = inferred or declared or self._onnx.TypeProto()
            return
        if second is None or len(first) != len(second):
            second = first
        known = [_known(*pair) for pair in zip(first, second, strict=True)]
        sizes = [self._symbols.new() if size is None else size for size in known]
        codes = [kind.tensor_type.elem_type for kind in (inferred, declared) if kind is not None]
        self.assign(name, next(filter(None, codes), 0), sizes)

    def infer(self, node: Any, small_constant: Callable[[str], AnyArray | Sizes | None]) -> None:
        """Infer the types of a node's outputs from the types of its inputs, and from those that are small constants."""
        types = {name: self.by_name[name] for name in node.input if name in self.by_name}
        constants = {name: array for name in node.input if (array := small_constant(name)) is not None}
        is_open = any(isinstance(array, Sizes) for array in constants.values())
        outputs = {} if is_open else self._infer_node(node, types, constants)
        if is_open or not all(is_closed(outputs.get(name)) for name in filter(None, node.output)):
            outputs |= self._symbols.infer(node, types, constants, self._infer_node)
        for name in filter(None, node.output):
            self._learn(name, outputs.get(name), self._declared.get(name))

    def _infer_node(self, node: Any, types: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return the types that ONNX infers for a node's outputs; none if the node contradicts itself."""
        if any(attribute.HasField("g") for attribute in node.attribute):
            return {}  # a graph inside the node may read tensors that are not passed here
        try:
            tensors = {name: self._onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()}
            opset = opset_of(node, self.opset)
            if any(attribute.name == "ceil_mode" for attribute in node.attribute):
                opset = max(opset, _POOLING_OPSET)
            schema = self._onnx.defs.get_schema(node.op_type, opset, "")
            outputs: dict[str, Any] = self._onnx.shape_inference.infer_node_outputs(
                schema, node, types, tensors, opset_imports=self._opsets
            )
        except Exception:  # the shape inference has errors of its own
            return {}
        return outputs


def _known(inferred: Size, declared: Size) -> Size:
    """Return a size from what is inferred and what is declared: numbers before names, names of files before others."""
    for size in (inferred, declared):
        if isinstance(size, int):
            return size
    return inferred if isinstance(inferred, str) and not inferred.startswith(UNNAMED) else declared or inferred


def _skeleton(onnx: Any, model: Any) -> Any:
    """Return a model to infer shapes from: of constants with more than `SMALL` numbers it has the types alone."""
    source, graph = model.graph, onnx.GraphProto(name="skeleton")
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(source, field))
    inputs = {value.name for value in source.input}
    for tensor in source.initializer:
        if prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    functions = model.functions if count_nodes(model) <= _MOST_NODES else []
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, functions=functions, ir_version=model.ir_version
    )


def count_nodes(model: Any) -> float:
    """Return the number of nodes of a model with its functions written out; inf if a function calls itself."""
    calls = {(f.domain, f.name): [(n.domain, n.op_type) for n in all_nodes(f.node)] for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    try:
        for name in TopologicalSorter({name: set(body) & calls.keys() for name, body in calls.items()}).static_order():
            sizes[name] = sum(sizes.get(call, 1) for call in calls[name])
    except CycleError:
        return inf
    return sum(sizes.get((node.domain, node.op_type), 1) for node in all_nodes(model.graph.node))
