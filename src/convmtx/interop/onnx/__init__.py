"""Linear nodes of an ONNX model as affine maps. Files are not trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from convmtx.errors import ArgumentTypeError, ConvmtxError, UnsupportedError, door, with_article
from convmtx.extras import import_extra
from convmtx.interop.onnx.files import load_model
from convmtx.interop.onnx.graph import Graph
from convmtx.interop.onnx.nodes import CONVERTERS, Node
from convmtx.maps.affine import Affine

#: Characters of the reason why a node is skipped, and of an output's name in the table. Both repeat text of the file,
#: which can be of any length.
_LONGEST_REASON, _LONGEST_NAME = 500, 80


class OnnxLayer(Affine):
    """Affine map of a node of an ONNX graph; it acts on one input, without the batch axis."""

    def __init__(self, affine: Affine, node: Node, name: str) -> None:
        super().__init__(affine.op, affine.offset)
        #: The node's name, which may be empty, its operator, and the name of the tensor that it is applied to.
        self.name, self.op_type, self.input_name = name, node.op_type, node.data
        #: Bytes of the node's weights, as the file stores or computes them.
        self.weight_bytes = node.weight_bytes
        #: Stored types of weights that NumPy does not have, such as bfloat16; the map has the numbers in a wider type.
        self.widened = tuple(sorted(node.widened))


@dataclass(frozen=True)
class OnnxLayers:
    """Maps of a model's nodes, and the reasons why other nodes have none. It prints as a table."""

    #: Maps by the name of the node's first output.
    layers: dict[str, OnnxLayer]
    #: Reasons, by the name of the node's first output too, for every node that is not among the layers.
    skipped: dict[str, str]
    #: Operators of those skipped nodes that from_onnx never converts, such as Relu, by the same name.
    other_nodes: dict[str, str]

    def __str__(self) -> str:
        rows = [
            (
                name[:_LONGEST_NAME],
                layer.op_type,
                "x".join(map(str, layer.in_shape)),
                "x".join(map(str, layer.out_shape)),
            )
            for name, layer in self.layers.items()
        ]
        rows = [("output", "node", "takes", "makes"), *rows]
        widths = [max(len(row[j]) for row in rows) for j in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for name, layer in self.layers.items():
            if layer.widened:
                stored = ", ".join(layer.widened)
                lines.append(f"  {name[:_LONGEST_NAME]}: weights of {stored}, in a wider type without rounding")
        lines.append(f"{len(self.layers)} maps; {len(self.skipped)} nodes are not maps")
        return "\n".join(lines + [f"  {name[:_LONGEST_NAME]}: {reason}" for name, reason in self.skipped.items()])


@door("from_onnx")
def from_onnx(model: Any, input_shapes: Mapping[str, Any] | None = None) -> OnnxLayers:
    """Return every linear node of an ONNX graph as an affine map.

    Parameters
    ----------
    model : path or onnx.ModelProto
        The model. External data of a file is read only from inside its folder.
    input_shapes : mapping of str to tuple of int, optional
        Shapes of inputs of the graph, with the batch, for a model that leaves sizes open.

    Returns
    -------
    OnnxLayers
        ``.layers`` maps the name of a node's first output to its `Affine` map, which has ``.name``, ``.op_type``,
        ``.input_name``, ``.weight_bytes`` and ``.widened``. These nodes are Conv, ConvTranspose, AveragePool,
        GlobalAveragePool, Gemm and MatMul by a constant, Pad and BatchNormalization. ``.skipped`` maps the names of all
        other nodes to the reason. ``.other_nodes`` maps the names of nodes that are never converted to their operator.
        It prints as a table.

    Raises
    ------
    ModelFileError
        If the file is damaged, is not an ONNX model, or refers to data outside its folder. This is a ValueError.
    ValueError, TypeError
        If ``input_shapes`` has a name that is not an input's, or a shape that does not fit.
    OSError
        If there is no such file, or it cannot be read.
    ImportError
        Without the extra ``onnx``.

    Notes
    -----
    A map acts on one input: the first axis of a node's tensor is taken as the batch axis and left out.

    Weights, pads and sizes are constants if they follow from constants and from sizes of tensors. The reference
    evaluator of onnx computes them, except random numbers and graphs inside nodes. What it may compute is limited to 64
    MiB and 32 bytes for each byte of the model. The default value of an input of the graph counts as a constant.

    Weights whose type NumPy does not have are converted without rounding: bfloat16 and float8 to float32, int4 to int8.
    The map is exact, while a runtime rounds its outputs to the stored type.
    """
    onnx = import_extra("onnx", "onnx")
    if not isinstance(model, str | PathLike | onnx.ModelProto):
        got = f"model is {with_article(type(model).__name__)}"
        raise ArgumentTypeError(got, "Expected a path or an onnx.ModelProto", "Pass one of these")
    graph = Graph(onnx, load_model(onnx, model), {} if input_shapes is None else input_shapes)
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
        except Exception:  # a wrong attribute, which onnx's checker does not see, may raise anything
            skipped[name] = f"{node.op_type}: its attributes contradict each other or its inputs"
    return OnnxLayers(layers, skipped, other_nodes)


def _converter(node: Any) -> Callable[[Node], Affine] | None:
    """Return the converter of a node's operator; None for an operator that is not converted."""
    return CONVERTERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None


def _layer(graph: Graph, node: Any) -> OnnxLayer:
    """Return the map of a node, or raise the error that says why it has none."""
    convert = _converter(node)
    if convert is None:
        got, expected = "not among the nodes that are converted", f"They are {', '.join(CONVERTERS)}"
        raise UnsupportedError(got, expected, "Leave this layer out")
    if all(graph.is_computed(name) for name in node.output if name):
        raise UnsupportedError(
            "it is computed from constants alone", "Its output is a constant", "Leave this layer out"
        )
    reader = Node(graph, node)
    affine = convert(reader)
    if reader.attributes:
        got = f"attributes {sorted(reader.attributes)}"
        raise UnsupportedError(got, "from_onnx does not read them", "Leave this layer out")
    return OnnxLayer(affine, reader, node.name)
