"""The linear nodes of an ONNX graph as affine maps. Files are not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from convmtx.errors import ArgumentTypeError, ConvmtxError, ModelFileError, sentence
from convmtx.geometry import resolve
from convmtx.interop import needed, unsupported
from convmtx.interop.onnx_nodes import CONVERTERS, Node
from convmtx.maps import Affine
from convmtx.typing import AnyArray, Shape

_CALL = "from_onnx"
#: Nodes that only move numbers: of constants they are worked out, so that what they give counts as constant too.
_MOVING = ("Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Concat", "Slice", "Neg")
#: Nodes that work out shapes, from as many numbers as a shape may have.
_COUNTING, _SMALL = ("Gather", "Add", "Sub", "Mul", "Div", "Floor", "Ceil"), 64
#: Bytes that a protobuf message can have, and bytes of constants that are worked out for each byte that the model has.
_LONGEST, _GROWTH = (1 << 31) - 1, 16


class OnnxLayer(Affine):
    """A node of an ONNX graph as the affine map of one input, without its batch axis."""

    def __init__(self, affine: Affine, op_type: str, input_name: str) -> None:
        super().__init__(affine.op, affine.offset)
        #: The node's operator, and the name of the tensor that it is applied to.
        self.op_type, self.input_name = op_type, input_name


@dataclass(frozen=True)
class OnnxLayers:
    """What `from_onnx` found; a table when printed."""

    #: Maps by the name of the node's first output.
    layers: dict[str, OnnxLayer]
    #: For every other node, by the same name, the reason.
    skipped: dict[str, str]

    def __str__(self) -> str:
        rows = [
            (name, each.op_type, "x".join(map(str, each.in_shape)), "x".join(map(str, each.out_shape)))
            for name, each in self.layers.items()
        ]
        rows = [("output", "node", "takes", "makes"), *rows]
        widths = [max(len(row[j]) for row in rows) for j in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.append(f"{len(self.layers)} maps; {len(self.skipped)} nodes are none")
        return "\n".join(lines + [f"  {name}: {reason}" for name, reason in self.skipped.items()])


def from_onnx(model: Any, input_shapes: Mapping[str, Any] | None = None) -> OnnxLayers:
    """Every linear node of an ONNX graph as an affine map.

    Parameters
    ----------
    model : path or onnx.ModelProto
        The model. Of a file, external data is read from inside its folder only.
    input_shapes : mapping of str to tuple of int, optional
        Shapes of graph inputs, batch included, where the model leaves sizes open.

    Returns
    -------
    OnnxLayers
        ``.layers`` maps the name of a node's first output to its `Affine` map, which has ``.op_type`` and
        ``.input_name``: Conv, ConvTranspose, AveragePool, GlobalAveragePool, Gemm and MatMul by a constant, Pad and
        BatchNormalization. ``.skipped`` maps the names of all others to the reason. It prints as a table.

    Raises
    ------
    ModelFileError
        Where the file is damaged, is no ONNX model, or points outside its folder. A ValueError.
    ValueError, TypeError
        Where ``input_shapes`` names no input, or a shape that does not fit.
    ImportError
        Without the extra ``onnx``.

    Notes
    -----
    Maps act on one input: the first axis of a node's tensor is taken as the batch and left out.
    """
    onnx = needed(_CALL, "onnx", "onnx")
    if not isinstance(model, str | PathLike | onnx.ModelProto):
        got = f"model is a {type(model).__name__}"
        raise ArgumentTypeError(sentence(_CALL, got, "Wanted a path or an onnx.ModelProto", "Pass one of these"))
    graph = _Graph(onnx, _checked(onnx, model), {} if input_shapes is None else input_shapes)
    found: dict[str, OnnxLayer] = {}
    skipped: dict[str, str] = {}
    for node in graph.nodes:
        name = node.output[0] if node.output else node.name
        try:
            found[name] = graph.layer(node)
        except ConvmtxError as error:
            skipped[name] = f"{node.op_type}: {str(error).removeprefix(f'{node.op_type}: ')}"
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # the checker lets much pass
            skipped[name] = f"{node.op_type}: its attributes contradict each other ({_first_line(error)})"
    return OnnxLayers(found, skipped)


def _checked(onnx: Any, model: Any) -> Any:
    """The model with all its data, if it is one and keeps to its folder."""
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
        onnx.checker.check_model(loaded)
    except (ModelFileError, OSError):
        raise
    except Exception as error:  # protobuf, the checker and NumPy each have errors of their own
        named = "the model" if isinstance(model, onnx.ModelProto) else model
        got = f"{named} is no valid ONNX model ({_first_line(error)})"
        raise ModelFileError(sentence(_CALL, got, "Wanted a whole and valid file", "Export it again")) from None
    return loaded


def _refuse_strange(path: Path) -> None:
    """Refuse what has no end, such as a device or a pipe, and what is too long to be a model, before it is opened."""
    if path.exists() and not path.is_file():
        raise ModelFileError(sentence(_CALL, f"{path} is no ordinary file", "Wanted one", "Pass the path of a model"))
    if path.is_file() and path.stat().st_size > _LONGEST:
        got = f"{path} has {path.stat().st_size} bytes"
        wanted = f"An ONNX model has at most {_LONGEST}"
        raise ModelFileError(sentence(_CALL, got, wanted, "Export it with its data in a file beside it"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _inside(onnx: Any, tensor: Any, folder: Path | None) -> None:
    """Refuse external data that is not a file inside the model's folder, or not of the size the tensor says."""
    info = onnx.external_data_helper.ExternalDataInfo(tensor)
    got = f"tensor {tensor.name!r} has its data in {info.location!r}"
    if folder is None:
        raise ModelFileError(
            sentence(_CALL, got, "A ModelProto has no folder to look in", "Pass the path of the model")
        )
    place = (folder / info.location).resolve()
    if not place.is_relative_to(folder) or not place.is_file():
        raise ModelFileError(sentence(_CALL, got, "Wanted a file inside the model's folder", "Move it there"))
    item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    start, size = int(info.offset or 0), int(info.length or prod(tensor.dims) * item)
    if size != prod(tensor.dims) * item or start < 0 or start + size > place.stat().st_size:
        got = f"tensor {tensor.name!r} of shape {tuple(tensor.dims)} has {place.stat().st_size} bytes of data"
        raise ModelFileError(sentence(_CALL, got, "Wanted all of it, and no more", "Export the model again"))


class _Graph:
    """A graph with its constants and shapes at hand."""

    def __init__(self, onnx: Any, model: Any, input_shapes: Mapping[str, Any]) -> None:
        self.onnx = onnx
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
        self._fix(model, input_shapes)
        self._infer(model)
        while self._settled(model):
            self._infer(model)

    def _infer(self, model: Any) -> None:
        """Find all shapes that follow from those that are known."""
        onnx = self.onnx
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        except Exception as error:  # the shape inference has errors of its own
            got = f"the shapes of the model contradict each other ({_first_line(error)})"
            raise ModelFileError(sentence(_CALL, got, "Wanted shapes that fit", "Check input_shapes")) from None
        self.nodes = inferred.node
        self._allowance = _GROWTH * model.ByteSize()
        self._held = {tensor.name: tensor for tensor in inferred.initializer}
        self._makers = {name: node for node in inferred.node for name in node.output}
        self._infos = {info.name: info for info in (*inferred.input, *inferred.value_info, *inferred.output)}
        self._constants: dict[str, AnyArray | None] = {}

    def _settled(self, model: Any) -> bool:
        """Whether a shape that a Reshape computes turned out to be a constant, and was written down as one."""
        found = False
        for node in model.graph.node:
            if node.op_type == "Reshape" and node.input[1] not in self._held:
                sizes = self.constant(node.input[1])
                if sizes is not None:
                    name = f"{node.output[0]}: sizes"
                    model.graph.initializer.append(self.onnx.numpy_helper.from_array(sizes.astype(np.int64), name))
                    node.input[1], found = name, True
        return found

    def _fix(self, model: Any, input_shapes: Mapping[str, Any]) -> None:
        """Write the shapes asked for into the graph's inputs, and forget those that were inferred without them."""
        if not isinstance(input_shapes, Mapping):
            got = f"input_shapes is a {type(input_shapes).__name__}"
            raise ArgumentTypeError(sentence(_CALL, got, "Wanted names and shapes", "Pass {'x': (1, 3, 32, 32)}, say"))
        inputs = {value.name: value for value in model.graph.input}
        for name, given in input_shapes.items():
            sizes = resolve.shape(_CALL, f"input_shapes[{name!r}]", given)
            dims = inputs[name].type.tensor_type.shape.dim if name in inputs else []
            if len(dims) != len(sizes) or any(d.dim_value not in (0, -1, n) for d, n in zip(dims, sizes, strict=True)):
                known = {name: _sizes(value) for name, value in inputs.items()}
                got = f"input_shapes[{name!r}]={sizes}"
                raise unsupported(_CALL, got, f"The model's inputs are {known}", "Fill in what is open")
            for dim, size in zip(dims, sizes, strict=True):
                dim.dim_value = size
        for value in model.graph.input:
            for dim in value.type.tensor_type.shape.dim:
                if dim.WhichOneof("value") == "dim_value" and dim.dim_value < 1:
                    dim.ClearField("dim_value")
        if input_shapes:
            del model.graph.value_info[:]
            for value in model.graph.output:
                value.type.tensor_type.ClearField("shape")

    def constant(self, name: str) -> AnyArray | None:
        """The array of this name, if it does not depend on the inputs."""
        if name not in self._constants:
            self._constants[name] = None  # a cycle is no constant
            self._constants[name] = self._worked_out(name)
        return self._constants[name]

    def _worked_out(self, name: str) -> AnyArray | None:
        if name in self._held:
            try:
                return np.asarray(self.onnx.numpy_helper.to_array(self._held[name]))
            except Exception as error:  # too little data, or a type that is none
                got = f"constant {name!r} cannot be read ({_first_line(error)})"
                raise ModelFileError(sentence(_CALL, got, "Wanted all its numbers", "Export it again")) from None
        node = self._makers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            value = self.attributes(node).get("value")
            return None if value is None else np.asarray(self.onnx.numpy_helper.to_array(value))
        inputs = [self.constant(each) for each in node.input if each]
        if node.op_type == "Shape" and not node.attribute:
            sizes = _sizes(self._infos[node.input[0]]) if node.input[0] in self._infos else None
            return np.array(sizes) if sizes and all(isinstance(n, int) for n in sizes) else None
        small = all(each is not None and each.size <= _SMALL for each in inputs)
        if any(each is None for each in inputs) or len(node.output) != 1:
            return None
        if node.op_type not in _MOVING and not (small and node.op_type in _COUNTING):
            return None
        self._allowance -= sum(each.nbytes for each in inputs if each is not None)
        if self._allowance < 0:  # a few nodes can double an array again and again
            return None
        from onnx.reference import ReferenceEvaluator

        feeds: Any = dict(zip([each for each in node.input if each], inputs, strict=True))
        (result,) = ReferenceEvaluator(node, opsets={"": self.opset}).run(None, feeds)
        return np.asarray(result)

    def attributes(self, node: Any) -> dict[str, Any]:
        """Attributes by name, strings as text."""
        values: dict[str, Any] = {each.name: self.onnx.helper.get_attribute_value(each) for each in node.attribute}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}

    def shape(self, name: str) -> Shape:
        """Shape of a tensor without its batch axis."""
        sizes = _sizes(self._infos[name]) if name in self._infos else None
        if sizes is None or not all(isinstance(n, int) for n in sizes[1:]):
            got = f"{name!r} has shape {sizes}"
            raise unsupported(_CALL, got, "The sizes after the batch must be known", "Pass input_shapes")
        return tuple(int(n) for n in sizes[1:]) if len(sizes) > 1 else tuple(int(n) for n in sizes)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of a tensor's numbers, where NumPy has it."""
        number = self._infos[name].type.tensor_type.elem_type
        dtype = self.onnx.helper.tensor_dtype_to_np_dtype(number)
        if dtype.kind not in "iuf":
            raise unsupported(_CALL, f"{name!r} is of {dtype}", "Wanted integers or floats of NumPy", "Cast the model")
        return np.dtype(dtype)

    def layer(self, node: Any) -> OnnxLayer:
        """The node's map; an error tells why there is none."""
        convert = CONVERTERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if convert is None:
            raise unsupported(
                node.op_type, "not among the nodes that are converted", f"They are {', '.join(CONVERTERS)}"
            )
        given = self.attributes(node)
        call = Node(self, node, given)
        affine = convert(call)
        if given:
            raise unsupported(node.op_type, f"attributes {sorted(given)}", "They are not known here")
        return OnnxLayer(affine, node.op_type, call.data)


def _sizes(value: Any) -> tuple[int | str, ...] | None:
    """Sizes of a tensor, a name or "?" for one that is open; None where not even their number is known."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in dims)
