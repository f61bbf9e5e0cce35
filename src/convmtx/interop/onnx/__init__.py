"""Affine nodes of an ONNX model as maps. Files are not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from typing import Any

from convmtx.errors import ArgumentTypeError, ConvmtxError, UnsupportedError, door, with_article
from convmtx.extras import import_extra
from convmtx.interop import layers as blocks
from convmtx.interop.onnx.files import load_model
from convmtx.interop.onnx.graph import Graph
from convmtx.interop.onnx.node import Combined, Node
from convmtx.interop.onnx.nodes import CONVERTERS
from convmtx.interop.onnx.paths import Joined, Paths
from convmtx.interop.onnx.reasons import NOT_LINEAR, Kind, Skipped, SkippedError, not_linear
from convmtx.interop.onnx.report import OnnxLayer
from convmtx.interop.onnx.report import OnnxLayers as OnnxLayers
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap

#: Characters of the reason why a node is skipped. It repeats text of the file, which can be of any length.
_LONGEST_REASON = 500


@door("from_onnx")
def from_onnx(model: Any, input_shapes: Mapping[str, Any] | None = None) -> OnnxLayers:
    """Return affine nodes of an ONNX graph as maps.

    Law: ``report.layers[output](x)`` is what the node makes of x, for the tensor x that it takes. All other inputs of
    the node are constants.

    Parameters
    ----------
    model : path or onnx.ModelProto
        The model. External data of a file is read only from inside its folder.
    input_shapes : mapping of str to tuple of int, optional
        Shapes of inputs of the graph, with the batch, for a model that leaves sizes open.

    Returns
    -------
    OnnxLayers
        ``.layers`` maps the name of a node's output to its `Affine` map, which has ``.name``, ``.op_type``,
        ``.input_name``, ``.whole``, ``.weight_bytes`` and ``.widened``. ``.skipped`` maps the first output of every
        other node to the reason, a string with ``.op_type`` and ``.kind``. ``.map(output, input=None)`` is the map
        along the graph, with branches. It prints as a summary; ``.table()`` has a line for each node.

    Raises
    ------
    ModelFileError
        If the file is damaged, is of another format, has nodes in a cycle, or refers to data outside its folder. This
        is a ValueError.
    ValueError, TypeError
        If ``input_shapes`` has a name that is not an input's, or a shape that does not fit.
    OSError
        If there is no such file, or it cannot be read.
    ImportError
        Without the extra ``onnx``.

    Notes
    -----
    A map acts on one input: the first axis of a node's tensor is taken as the batch axis and left out. A node that does
    more to the first axis than to leave it as it is, such as a Transpose or a product from the left, has a map of whole
    tensors, if their sizes are known; ``.whole`` is then true. So has a node of a tensor with one axis.

    A node that takes several tensors, such as the sum of a skip connection, has no map of its own, but is part of
    ``report.map``. The reference lists the operators, and what their maps mean for integers.

    Weights, pads and sizes are constants if they follow from constants and from sizes of tensors. The reference
    evaluator of onnx computes them, except random numbers and graphs inside nodes. What it may compute is limited to 64
    MiB and 32 bytes for each byte of the model. The default value of an input of the graph counts as a constant.

    Maps that only move or add numbers have the type of the node's tensor, so that their entries overflow no earlier.

    Weights whose type NumPy does not have are converted without rounding: bfloat16 and float8 to float32, int4 to int8.
    The map is exact, while a runtime rounds its outputs to the stored type.

    A model of 1,000 nodes takes about a second. Weights are shared with the model, or copied once for each map that
    holds them in another order.
    """
    onnx = import_extra("onnx", "onnx")
    if not isinstance(model, str | PathLike | onnx.ModelProto):
        got = f"model is {with_article(type(model).__name__)}"
        raise ArgumentTypeError(got, "Expected a path or an onnx.ModelProto", "Pass one of these")
    graph = Graph(onnx, load_model(onnx, model), {} if input_shapes is None else input_shapes)
    layers: dict[str, OnnxLayer] = {}
    skipped: dict[str, Skipped] = {}
    paths = Paths(graph.inputs, graph.stored)
    for number, node in enumerate(graph.walk(), 1):
        outputs, reason = _outputs(graph, node)
        for name, output in outputs.items():
            if isinstance(output, OnnxLayer):
                layers[name] = output
        if reason is not None:
            skipped[next((name for name in (*node.output, node.name) if name), f"node {number}")] = reason
        paths.add(number, node.output, outputs, reason)
    for name in (*graph.inputs, *paths.steps):
        paths.dims[name] = graph.dims(name)
        with suppress(UnsupportedError):  # truth values and text, which no map takes
            paths.dtypes[name] = graph.like(name).dtype
    return OnnxLayers(layers, skipped, paths)


def _outputs(graph: Graph, node: Any) -> tuple[dict[str, OnnxLayer | Joined], Skipped | None]:
    """Return what the outputs of a node are, by their names, and the reason if they are not maps of one tensor."""
    kind, outputs = Kind.OTHER, {}
    try:
        outputs = _convert(graph, node)
        joined = next((output for output in outputs.values() if isinstance(output, Joined)), None)
        if joined is None:
            return outputs, None
        reason, kind = f"it takes {len(joined.combined.names)} tensors. report.map(output) joins them.", Kind.SEVERAL
    except SkippedError as error:
        reason, kind = error.reason, error.kind
    except ConvmtxError as error:
        reason = error.reason
    except Exception:  # a wrong attribute, which onnx's checker does not see, may raise anything
        reason = "its attributes contradict each other or its inputs"
    return outputs, Skipped(f"{node.op_type}: {reason}"[:_LONGEST_REASON], node.op_type, kind)


def _convert(graph: Graph, node: Any) -> dict[str, OnnxLayer | Joined]:
    """Return what the outputs of a node are, by their names, or raise the error that says why they are not affine."""
    is_known = node.domain in ("", "ai.onnx")
    if all(graph.is_computed(name) for name in node.output if name):
        raise SkippedError(Kind.CONSTANT, "it is computed from constants alone", "Its output is a constant")
    reasons = [reason for name in node.output if name and (reason := graph.why_unknown(name)) is not None]
    if reasons:
        got = "it is computed from constants and sizes alone"
        raise SkippedError(Kind.CONSTANT, got, f"Its numbers are not known: {reasons[0]}")
    if is_known and node.op_type in NOT_LINEAR:
        raise not_linear(NOT_LINEAR[node.op_type])
    convert = CONVERTERS.get(node.op_type) if is_known else None
    if convert is None:
        raise UnsupportedError("not among the nodes that are converted", "See from_onnx", "Leave this layer out")
    reader = Node(graph, node)
    result = convert(reader)
    if reader.attributes:
        got = f"attributes {sorted(reader.attributes)}"
        raise UnsupportedError(got, "from_onnx does not read them", "Leave this layer out")
    results = result if isinstance(result, dict) else {node.output[0]: result}
    return {tensor: _wrapped(reader, output, tensor, node.name) for tensor, output in results.items()}


def _wrapped(reader: Node, output: LinearMap | Affine | Combined, tensor: str, name: str) -> OnnxLayer | Joined:
    """Return the output of this name that a converter has made, with what is known of its node."""
    if isinstance(output, Combined):
        reader.data = output.names[0]
        if len(output.names) > 1:
            reader.correct_output(tensor, output.out_shape)
            return Joined(output, reader.whole)
        output = output.affine(reader.like)
    elif not reader.data_positions([reader.position]):
        raise not_linear("its input gives the sizes or positions of constant numbers")
    reader.require_numbers()
    affine = output if isinstance(output, Affine) else blocks.add_bias(output, None)
    reader.correct_output(tensor, affine.out_shape)
    return OnnxLayer(affine, reader, name)
