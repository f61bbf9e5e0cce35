"""The linear nodes of an ONNX graph as affine maps. Files are not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from convmtx.errors import ArgumentTypeError, ConvmtxError, UnsupportedError, door
from convmtx.extras import needed
from convmtx.interop.onnx_files import checked
from convmtx.interop.onnx_graph import Graph
from convmtx.interop.onnx_nodes import CONVERTERS, Node
from convmtx.maps.affine import Affine

#: Characters of a reason, which may repeat what the file contains.
_LONGEST_REASON = 500


class OnnxLayer(Affine):
    """A node of an ONNX graph as the affine map of one input, without its batch axis."""

    def __init__(self, affine: Affine, node: Node, name: str) -> None:
        super().__init__(affine.op, affine.offset)
        #: The node's name, which may be empty, its operator, and the name of the tensor that it is applied to.
        self.name, self.op_type, self.input_name = name, node.op_type, node.data
        #: Bytes of the node's constants that are weights, as the file stores or computes them.
        self.weight_bytes = node.weight_bytes
        #: Stored types of weights that NumPy does not have, such as bfloat16; the map has their numbers in a wider one.
        self.widened = tuple(sorted(node.widened))


@dataclass(frozen=True)
class OnnxLayers:
    """The maps of a model's nodes, and why other nodes have none; a table when printed."""

    #: Maps by the name of the node's first output.
    layers: dict[str, OnnxLayer]
    #: For every other node, by the same name, the reason.
    skipped: dict[str, str]
    #: The types of those nodes whose type is not among the ones that are converted, by the same name.
    other_nodes: dict[str, str]

    def __str__(self) -> str:
        rows = [
            (name[:80], layer.op_type, "x".join(map(str, layer.in_shape)), "x".join(map(str, layer.out_shape)))
            for name, layer in self.layers.items()
        ]
        rows = [("output", "node", "takes", "makes"), *rows]
        widths = [max(len(row[j]) for row in rows) for j in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for name, layer in self.layers.items():
            if layer.widened:
                lines.append(f"  {name[:80]}: weights of {', '.join(layer.widened)}, in a wider type without rounding")
        lines.append(f"{len(self.layers)} maps; {len(self.skipped)} nodes are none")
        return "\n".join(lines + [f"  {name[:80]}: {reason}" for name, reason in self.skipped.items()])


@door("from_onnx")
def from_onnx(model: Any, input_shapes: Mapping[str, Any] | None = None) -> OnnxLayers:
    """Return every linear node of an ONNX graph as an affine map.

    Parameters
    ----------
    model : path or onnx.ModelProto
        The model. Of a file, external data is read from inside its folder only.
    input_shapes : mapping of str to tuple of int, optional
        Shapes of graph inputs, batch included, where the model leaves sizes open.

    Returns
    -------
    OnnxLayers
        ``.layers`` maps the name of a node's first output to its `Affine` map, which has ``.name``, ``.op_type``,
        ``.input_name``, ``.weight_bytes`` and ``.widened``: Conv, ConvTranspose, AveragePool, GlobalAveragePool, Gemm
        and MatMul by a constant, Pad and BatchNormalization. ``.skipped`` maps the names of all others to the reason.
        It prints as a table.

    Raises
    ------
    ModelFileError
        Where the file is damaged, is no ONNX model, or points outside its folder. A ValueError.
    ValueError, TypeError
        Where ``input_shapes`` names no input, or a shape that does not fit.
    OSError
        Where there is no such file, or it cannot be read.
    ImportError
        Without the extra ``onnx``.

    Notes
    -----
    Maps act on one input: the first axis of a node's tensor is taken as the batch and left out.

    Weights, pads and sizes are constants where they follow from constants and from sizes of tensors. The reference
    evaluator of onnx computes them: nothing random, no graphs inside nodes, and no more than a bounded number of bytes
    for each byte of the model. A default value of a graph input counts as a constant.

    Weights of types that NumPy does not have become float32 (bfloat16, float8) or int8 (int4) without rounding: the map
    is exact, while a runtime rounds its outputs to the stored type.
    """
    onnx = needed("onnx", "onnx")
    if not isinstance(model, str | PathLike | onnx.ModelProto):
        got = f"model is a {type(model).__name__}"
        raise ArgumentTypeError(got, "Wanted a path or an onnx.ModelProto", "Pass one of these")
    graph = Graph(onnx, checked(onnx, model), {} if input_shapes is None else input_shapes)
    layers: dict[str, OnnxLayer] = {}
    skipped: dict[str, str] = {}
    other_nodes: dict[str, str] = {}
    for number, node in enumerate(graph.nodes):
        name = next((name for name in (*node.output, node.name) if name), f"node {number}")
        if _converter(node) is None:
            other_nodes[name] = node.op_type
        try:
            layers[name] = _layer(graph, node)
        except ConvmtxError as error:
            skipped[name] = f"{node.op_type}: {error.reason}"[:_LONGEST_REASON]
        except Exception:  # the checker lets much pass, and what a wrong attribute raises is of any kind
            skipped[name] = f"{node.op_type}: its attributes contradict each other or its inputs"
    return OnnxLayers(layers, skipped, other_nodes)


def _converter(node: Any) -> Any:
    """Return the function that converts nodes of this type, or None."""
    return CONVERTERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None


def _layer(graph: Graph, node: Any) -> OnnxLayer:
    """Return the node's map; the error says why there is none."""
    convert = _converter(node)
    if convert is None:
        raise UnsupportedError(
            "not among the nodes that are converted", f"They are {', '.join(CONVERTERS)}", "Leave this layer out"
        )
    if all(graph.is_computed(name) for name in node.output if name):
        raise UnsupportedError(
            "it is computed from constants alone", "Its output is a constant", "Leave this layer out"
        )
    attributes = graph.attributes(node)
    call = Node(graph, node, attributes)
    affine = convert(call)
    if attributes:
        raise UnsupportedError(f"attributes {sorted(attributes)}", "They are not known here", "Leave this layer out")
    return OnnxLayer(affine, call, node.name)
