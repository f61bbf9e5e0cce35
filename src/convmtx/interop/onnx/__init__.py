"""Affine nodes of an ONNX model as maps. Files are not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from convmtx.errors import ArgumentTypeError, ConvmtxError, UnsupportedError, door, with_article
from convmtx.extras import import_extra
from convmtx.interop import layers as blocks
from convmtx.interop.onnx.files import load_model
from convmtx.interop.onnx.graph import Graph
from convmtx.interop.onnx.node import Combined, Node
from convmtx.interop.onnx.nodes import CONVERTERS
from convmtx.interop.onnx.reasons import NOT_LINEAR, Kind, Skipped, SkippedError, not_linear
from convmtx.interop.onnx.report import OnnxLayer, OnnxLayers
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap

#: Characters of the reason why a node is skipped. It repeats text of the file, which can be of any length.
_LONGEST_REASON = 500


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
    skipped: dict[str, Skipped] = {}
    for number, node in enumerate(graph.nodes):
        name = next((name for name in (*node.output, node.name) if name), f"node {number}")
        kind = Kind.OTHER
        try:
            layers.update(_convert(graph, node))
            continue
        except SkippedError as error:
            reason, kind = error.reason, error.kind
        except ConvmtxError as error:
            reason = error.reason
        except Exception:  # a wrong attribute, which onnx's checker does not see, may raise anything
            reason = "its attributes contradict each other or its inputs"
        skipped[name] = Skipped(f"{node.op_type}: {reason}"[:_LONGEST_REASON], node.op_type, kind)
    return OnnxLayers(layers, skipped)


def _convert(graph: Graph, node: Any) -> dict[str, OnnxLayer]:
    """Return the maps of a node by the name of the output, or raise the error that says why it has none."""
    is_known = node.domain in ("", "ai.onnx")
    if is_known and node.op_type in NOT_LINEAR and not all(graph.is_computed(name) for name in node.output if name):
        raise not_linear(NOT_LINEAR[node.op_type])
    if all(graph.is_computed(name) for name in node.output if name):
        raise SkippedError(Kind.CONSTANT, "it is computed from constants alone", "Its output is a constant")
    convert = CONVERTERS.get(node.op_type) if is_known else None
    if convert is None:
        raise UnsupportedError("not among the nodes that are converted", "See from_onnx", "Leave this layer out")
    reader = Node(graph, node)
    result = convert(reader)
    if reader.attributes:
        got = f"attributes {sorted(reader.attributes)}"
        raise UnsupportedError(got, "from_onnx does not read them", "Leave this layer out")
    if not reader.data_positions([reader.position]):
        raise not_linear("its input gives the sizes or positions of constant numbers")
    results = result if isinstance(result, dict) else {node.output[0]: result}
    return {name: OnnxLayer(_affine(reader, output), reader, node.name) for name, output in results.items()}


def _affine(reader: Node, output: LinearMap | Affine | Combined) -> Affine:
    """Return the affine map that a converter has made; refuse one of several tensors."""
    reader.require_numbers()
    if isinstance(output, Affine):
        return output
    if isinstance(output, LinearMap):
        return blocks.add_bias(output, None)
    names = {name for name, _ in output.parts}
    if len(names) != 1:
        raise SkippedError(Kind.SEVERAL, f"it takes {len(names)} tensors", "report.map(output) joins them")
    (reader.data,) = names
    op = output.parts[0][1]
    for _, part in output.parts[1:]:
        op = op + part
    if output.offset is None:
        return blocks.add_bias(op, None)
    return Affine(op, np.broadcast_to(output.offset, op.out_shape))
