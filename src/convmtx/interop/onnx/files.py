"""ONNX models as they are read: whole, valid, and with all their data inside their folder. Files are not trusted."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from math import prod
from pathlib import Path
from typing import Any

from convmtx import memory
from convmtx.errors import ConvmtxError, ModelFileError
from convmtx.interop.onnx.formats import refuse_other_formats
from convmtx.interop.onnx.protobuf import all_nodes, first_line, quote
from convmtx.interop.onnx.shapes import count_nodes

#: Bytes of the longest message of protobuf, the format of ONNX files. A longer file is not a model.
_LONGEST_FILE = (1 << 31) - 1
#: Most axes of an array of NumPy. ONNX's inference of shapes reads memory that it does not own at axes far beyond.
_MOST_AXES = 64
#: Nodes of a model with its functions written out, if they are.
_MOST_NODES = 50_000
#: Tensors of a cycle that an error names.
_MOST_NAMES = 6


def load_model(onnx: Any, model: Any) -> Any:
    """Return a valid model that holds all its data, from a path or as a copy; refuse data outside the folder."""
    try:
        if isinstance(model, onnx.ModelProto):
            loaded, folder = onnx.ModelProto(), None
            loaded.CopyFrom(model)
        else:
            _refuse_endless(Path(model))
            refuse_other_formats(Path(model))
            loaded, folder = onnx.load(model, load_external_data=False), Path(model).resolve().parent
        for tensor in onnx.external_data_helper._get_all_tensors(loaded):
            if onnx.external_data_helper.uses_external_data(tensor):
                _require_inside(onnx, tensor, folder)
                onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        _sort(loaded)
        _check(onnx, loaded)
        if loaded.functions and count_nodes(loaded) <= _MOST_NODES:
            from onnx import inliner

            loaded = inliner.inline_local_functions(loaded)
    except (ConvmtxError, OSError):
        raise
    except Exception as error:  # protobuf, the checker and NumPy each have errors of their own
        name = "the model" if isinstance(model, onnx.ModelProto) else model
        got = f"{name} is not a valid ONNX model ({first_line(error)})"
        raise ModelFileError(got, "Expected a whole and valid file", "Export it again") from None
    return loaded


def _sort(model: Any) -> None:
    """Put each node behind those that it reads from; refuse a cycle by the names of its tensors.

    Runtimes take nodes in any order, while onnx's checker and its inference of shapes do not.
    """
    nodes = list(model.graph.node)
    makers = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    sources = [
        [makers[name] for inner in all_nodes([node]) for name in inner.input if name in makers] for node in nodes
    ]
    if all(source < number for number, own in enumerate(sources) for source in own):
        return
    try:
        order = list(TopologicalSorter(dict(enumerate(sources))).static_order())
    except CycleError as error:
        names = " -> ".join(
            quote(next(filter(None, nodes[j].output), "")) for j in reversed(error.args[1][:_MOST_NAMES])
        )
        raise ModelFileError(f"a cycle: {names}", "Nodes read from nodes before them", "Export it again") from None
    sorted_nodes = [type(nodes[j]).FromString(nodes[j].SerializeToString()) for j in order]
    del model.graph.node[:]
    model.graph.node.extend(sorted_nodes)


def _check(onnx: Any, model: Any) -> None:
    """Check a model by onnx's checker, which refuses outputs and inputs without a shape although runtimes take them."""
    shapeless = [value for value in model.graph.output if not value.type.tensor_type.HasField("shape")]
    for value in shapeless:  # they are left out: without a shape they say nothing that is needed
        model.graph.output.remove(value)
    shapeless = [
        v for v in model.graph.input if v.type.HasField("tensor_type") and not v.type.tensor_type.HasField("shape")
    ]
    for value in shapeless:  # an empty shape satisfies the checker, and is taken away after it
        value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(model)
    for node in all_nodes([*model.graph.node, *(node for function in model.functions for node in function.node)]):
        for attribute in node.attribute:
            if attribute.name == "axis" and not -_MOST_AXES <= attribute.i < _MOST_AXES:
                got = f"a {quote(node.op_type)} with axis={attribute.i}"
                raise ModelFileError(got, f"An array has at most {_MOST_AXES} axes", "Export it again")
    for value in shapeless:
        value.type.tensor_type.ClearField("shape")


def _refuse_endless(path: Path) -> None:
    """Refuse, before it is opened, a file that has no end, such as a pipe, or that is too long to be a model."""
    if path.exists() and not path.is_file():
        raise ModelFileError(f"{path} is not an ordinary file", "Expected one", "Pass the path of a model")
    if path.is_file() and path.stat().st_size > _LONGEST_FILE:
        got = f"{path} has {path.stat().st_size} bytes"
        expected = f"An ONNX model has at most {_LONGEST_FILE}"
        raise ModelFileError(got, expected, "Export it with its data in a file beside it")


def _require_inside(onnx: Any, tensor: Any, folder: Path | None) -> None:
    """Refuse external data that is not a file inside the model's folder, or not of the size of the tensor."""
    info = onnx.external_data_helper.ExternalDataInfo(tensor)
    got = f"tensor {quote(tensor.name)} has its data in {quote(info.location)}"
    if folder is None:
        raise ModelFileError(got, "A ModelProto has no folder to look in", "Pass the path of the model")
    path = (folder / info.location).resolve()  # links are followed, so that none leads out of the folder
    if not path.is_relative_to(folder) or not path.is_file():
        raise ModelFileError(got, "Expected a file inside the model's folder", "Move it there")
    full_size = prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    start, size, file_size = int(info.offset or 0), int(info.length or full_size), path.stat().st_size
    if size != full_size or start < 0 or start + size > file_size:
        got = f"tensor {quote(tensor.name)} of shape {tuple(tensor.dims)} has {file_size} bytes of data"
        raise ModelFileError(got, "Expected all of it, and no more", "Export the model again")
    memory.require("tensor", {"tensor": size})
