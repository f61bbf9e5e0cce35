"""ONNX models as they are read: whole, valid, inside their folder, with the shapes that were requested. Not trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from math import inf, prod
from pathlib import Path
from typing import Any

from convmtx import memory
from convmtx.errors import ArgumentTypeError, ConvmtxError, ModelFileError, UnsupportedError
from convmtx.geometry import resolve

#: Bytes that a protobuf message can have.
_LONGEST = (1 << 31) - 1
#: Nodes that a model whose shapes are inferred as a whole may have with its functions written out: functions that call
#: functions multiply without end.
_MOST_NODES = 1_000_000


def checked(onnx: Any, model: Any) -> Any:
    """Return a copy of the model with all its data, if it is one and keeps to its folder."""
    try:
        if isinstance(model, onnx.ModelProto):
            loaded, folder = onnx.ModelProto(), None
            loaded.CopyFrom(model)
        else:
            _refuse_strange(Path(model))
            loaded, folder = onnx.load(model, load_external_data=False), Path(model).resolve().parent
        for tensor in onnx.external_data_helper._get_all_tensors(loaded):
            if onnx.external_data_helper.uses_external_data(tensor):
                _inside(onnx, tensor, folder)
                onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        _check(onnx, loaded)
    except (ConvmtxError, OSError):
        raise
    except Exception as error:  # protobuf, the checker and NumPy each have errors of their own
        named = "the model" if isinstance(model, onnx.ModelProto) else model
        got = f"{named} is no valid ONNX model ({first_line(error)})"
        raise ModelFileError(got, "Wanted a whole and valid file", "Export it again") from None
    return loaded


def _check(onnx: Any, model: Any) -> None:
    """Check a model. Outputs and inputs may be without a shape, which the checker wants and runtimes do not."""
    shapeless = [value for value in model.graph.output if not value.type.tensor_type.HasField("shape")]
    for value in shapeless:  # nothing reads them
        model.graph.output.remove(value)
    shapeless = [
        v for v in model.graph.input if v.type.HasField("tensor_type") and not v.type.tensor_type.HasField("shape")
    ]
    for value in shapeless:
        value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(model)
    for value in shapeless:
        value.type.tensor_type.ClearField("shape")


def _refuse_strange(path: Path) -> None:
    """Refuse what has no end, such as a device or a pipe, and what is too long to be a model, before it is opened."""
    if path.exists() and not path.is_file():
        raise ModelFileError(f"{path} is no ordinary file", "Wanted one", "Pass the path of a model")
    if path.is_file() and path.stat().st_size > _LONGEST:
        got = f"{path} has {path.stat().st_size} bytes"
        wanted = f"An ONNX model has at most {_LONGEST}"
        raise ModelFileError(got, wanted, "Export it with its data in a file beside it")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, shortened, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _inside(onnx: Any, tensor: Any, folder: Path | None) -> None:
    """Refuse external data that is not a file inside the model's folder, or not of the size the tensor says."""
    info = onnx.external_data_helper.ExternalDataInfo(tensor)
    got = f"tensor {short(tensor.name)} has its data in {short(info.location)}"
    if folder is None:
        raise ModelFileError(got, "A ModelProto has no folder to look in", "Pass the path of the model")
    place = (folder / info.location).resolve()
    if not place.is_relative_to(folder) or not place.is_file():
        raise ModelFileError(got, "Wanted a file inside the model's folder", "Move it there")
    item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    start, size = int(info.offset or 0), int(info.length or prod(tensor.dims) * item)
    if size != prod(tensor.dims) * item or start < 0 or start + size > place.stat().st_size:
        got = f"tensor {short(tensor.name)} of shape {tuple(tensor.dims)} has {place.stat().st_size} bytes of data"
        raise ModelFileError(got, "Wanted all of it, and no more", "Export the model again")
    memory.require("tensor", {"tensor": size})


def short(name: str) -> str:
    """Return a name between quotes, shortened."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def fill_in(model: Any, input_shapes: Mapping[str, Any]) -> None:
    """Write the requested shapes into the graph's inputs, and drop those that were inferred without them."""
    if not isinstance(input_shapes, Mapping):
        got = f"input_shapes is a {type(input_shapes).__name__}"
        raise ArgumentTypeError(got, "Wanted names and shapes", "Pass for example {'x': (1, 3, 32, 32)}")
    inputs = {value.name: value.type for value in model.graph.input}
    for name, requested in input_shapes.items():
        sizes = resolve.shape(f"input_shapes[{short(str(name))}]", requested)
        if name not in inputs or not _fits(inputs[name], sizes):
            known = ", ".join(f"{short(other)}: {_declared(kind)}" for other, kind in inputs.items())
            got = f"input_shapes[{short(str(name))}]={sizes}"
            raise UnsupportedError(got, f"The model's inputs are {{{known[:400]}}}", "Fill in what is open")
        shape = inputs[name].tensor_type.shape
        del shape.dim[:]
        for size in sizes:
            shape.dim.add().dim_value = size
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 1:
                dim.ClearField("dim_value")
    if input_shapes:
        del model.graph.value_info[:], model.graph.output[:]


def _declared(kind: Any) -> tuple[int | str, ...] | None:
    """Return the sizes that a type declares, a name or "?" for one that is open."""
    if not kind.tensor_type.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in kind.tensor_type.shape.dim)


def _fits(kind: Any, sizes: tuple[int, ...]) -> bool:
    """Whether a tensor of these sizes is of a type."""
    declared = _declared(kind)
    if declared is None:
        return bool(kind.HasField("tensor_type"))
    return len(declared) == len(sizes) and all(
        isinstance(d, str) or d == n for d, n in zip(declared, sizes, strict=True)
    )


def skeleton(onnx: Any, model: Any, small: int) -> Any:
    """Return the model with no more than the types of its constants of more than ``small`` numbers, to infer shapes."""
    whole, graph = model.graph, onnx.GraphProto(name="skeleton")
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(whole, field))
    inputs = {value.name for value in whole.input}
    for tensor in whole.initializer:
        if prod(tensor.dims) <= small:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    functions = model.functions if _written_out(model) <= _MOST_NODES else []
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, functions=functions, ir_version=model.ir_version
    )


def _written_out(model: Any) -> float:
    """Return how many nodes a model has with its functions written out; inf where a function calls itself."""
    calls = {(f.domain, f.name): [(n.domain, n.op_type) for n in _all_nodes(f.node)] for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    try:
        for name in TopologicalSorter({name: set(body) & calls.keys() for name, body in calls.items()}).static_order():
            sizes[name] = sum(sizes.get(call, 1) for call in calls[name])
    except CycleError:
        return inf
    return sum(sizes.get((node.domain, node.op_type), 1) for node in _all_nodes(model.graph.node))


def _all_nodes(nodes: Any) -> Iterator[Any]:
    """Yield nodes and those of the graphs inside them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)
