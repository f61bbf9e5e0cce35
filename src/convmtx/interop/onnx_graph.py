"""An ONNX graph with the shapes and the constants that follow from what it contains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np

from convmtx.errors import ModelFileError, UnsupportedError
from convmtx.interop.onnx_files import fill_in, first_line, short, skeleton
from convmtx.interop.onnx_folding import Folding, UnknownError, dims_of, opset_of, quiet
from convmtx.interop.onnx_sizes import Sizes, Symbols
from convmtx.typing import AnyArray, Shape

#: Bytes of constants that are computed for each byte of the model, and for a model of any size.
_GROWTH, _ALWAYS = 32, 1 << 26
#: Numbers of a constant that shape inference is passed: it reads sizes, pads and axes, which are few.
_SMALL = 1024


class Graph:
    """The nodes of a graph in their order, and what is known of each tensor.

    Nodes stand behind the ones they read from, so that one pass computes everything: the shapes of a node's outputs are
    inferred from all that is known of its inputs, then its outputs are computed where its inputs are constants.
    """

    def __init__(self, onnx: Any, model: Any, input_shapes: Mapping[str, Any]) -> None:
        self._onnx, self.nodes = onnx, model.graph.node
        self._opsets = [o for o in model.opset_import if o.domain in ("", "ai.onnx")][:1]
        self.opset = self._opsets[0].version if self._opsets else 1
        fill_in(model, input_shapes)
        self._open = [v.name for v in model.graph.input if not _is_closed(v.type) and v.name not in input_shapes]
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._defaults = {value.name for value in model.graph.input if value.name in self._tensors}
        self._folding = Folding(onnx, self.opset, _ALWAYS + _GROWTH * model.ByteSize())
        self._symbols = Symbols()
        self._types: dict[str, Any] = {}
        self._arrays: dict[str, AnyArray] = {}
        self._sizes: dict[str, Sizes] = {}
        self._reasons: dict[str, str] = {}
        self._computed: set[str] = set()
        self._readers = Counter(name for node in self.nodes for name in node.input)
        self._know_types(model)
        with quiet():
            for node in self.nodes:
                self._infer(node)
                self._compute(node)

    # What converters read

    def constant(self, name: str) -> AnyArray | None:
        """Return the array of this name, if it does not depend on the inputs and is known."""
        if name in self._arrays:
            return self._arrays[name]
        if name not in self._tensors:
            return None
        try:
            array = np.asarray(self._onnx.numpy_helper.to_array(self._tensors[name]))
        except Exception as error:  # too little data, or a type that is none
            got = f"constant {short(name)} cannot be read ({first_line(error)})"
            raise ModelFileError(got, "Wanted all its numbers", "Export it again") from None
        if array.size <= _SMALL:  # of larger ones the tensor holds the bytes already
            self._arrays[name] = array
        return array

    def why_unknown(self, name: str) -> str | None:
        """Return why a constant is not known; None for what is not a constant."""
        return self._reasons.get(name) or ("it depends on sizes that are open" if name in self._sizes else None)

    def is_computed(self, name: str) -> bool:
        """Whether a tensor is computed from constants alone, none of which an input of the graph may replace."""
        return name in self._computed

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor without its batch axis."""
        dims = dims_of(self._types.get(name))
        if dims is None or not all(isinstance(n, int) for n in dims[1:]):
            sizes = None if dims is None else tuple("?" if str(n).startswith("\0") else n for n in dims)
            inputs = ", ".join(map(short, self._open[:3]))
            remedy = f"Pass input_shapes for {inputs}" if inputs else "Export the model with fixed sizes"
            got = f"{short(name)} has shape {str(sizes)[:200]}"
            raise UnsupportedError(got, "The sizes after the batch must be known", remedy)
        return tuple(int(n) for n in (dims[1:] if len(dims) > 1 else dims))  # type: ignore[arg-type]

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of a tensor's numbers."""
        code = self._types[name].tensor_type.elem_type if name in self._types else 0
        if not code:
            raise UnsupportedError(f"{short(name)} is of unknown type", "Wanted numbers", "Leave this layer out")
        return np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(code))

    def attributes(self, node: Any) -> dict[str, Any]:
        """Return attributes by name, strings as text."""
        values: dict[str, Any] = {a.name: self._onnx.helper.get_attribute_value(a) for a in node.attribute}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}

    # Shapes

    def _know_types(self, model: Any) -> None:
        """Take the types that the model declares, and those that ONNX infers of the whole of it."""
        graph = skeleton(self._onnx, model, _SMALL)
        with suppress(Exception):  # shapes that contradict each other: what each node has follows from its inputs
            graph = self._onnx.shape_inference.infer_shapes(graph)  # data_prop never ends for some steps of Slice
        for value in (*graph.graph.value_info, *graph.graph.output, *graph.graph.input):
            self._know_type(value.name, value.type)
        for name, tensor in self._tensors.items():
            self._types[name] = self._onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))

    def _know_type(self, name: str, kind: Any) -> None:
        """Add what a type says to what is known of a tensor; sizes that stay open get a name."""
        known, dims = self._types.get(name), dims_of(kind)
        if dims is None:
            self._types.setdefault(name, kind)
            return
        before = dims_of(known)
        if before is None or len(before) != len(dims):
            before = (None,) * len(dims)
        sizes = [
            new if isinstance(new, int) else old if isinstance(old, int) else new or old or self._symbols.new()
            for new, old in zip(dims, before, strict=True)
        ]
        self._types[name] = self._onnx.helper.make_tensor_type_proto(kind.tensor_type.elem_type, sizes)

    def _infer(self, node: Any) -> None:
        """Infer the types of a node's outputs from what is known of its inputs."""
        if all(_is_closed(self._types.get(name)) for name in node.output if name):
            return
        types = {name: self._types[name] for name in node.input if name in self._types}
        small = {name: array for name in node.input if (array := self._small(name)) is not None}
        if any(isinstance(array, Sizes) for array in small.values()):
            outputs = self._symbols.inferred(node, types, small, self._node_types)
        else:
            outputs = self._node_types(node, types, small)
        for name, kind in outputs.items():
            self._know_type(name, kind)

    def _node_types(self, node: Any, types: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ONNX infers of one node; nothing where the node contradicts itself."""
        if any(attribute.HasField("g") for attribute in node.attribute):
            return {}  # what a graph inside reads is not at hand
        try:
            tensors = {name: self._onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()}
            schema = self._onnx.defs.get_schema(node.op_type, opset_of(node, self.opset), "")
            outputs: dict[str, Any] = self._onnx.shape_inference.infer_node_outputs(
                schema, node, types, tensors, opset_imports=self._opsets
            )
        except Exception:  # the shape inference has errors of its own
            return {}
        return outputs

    def _small(self, name: str) -> AnyArray | Sizes | None:
        """Return the numbers of a tensor, if they are known and few."""
        dims = dims_of(self._types.get(name)) or ()
        few = prod(n if isinstance(n, int) else _SMALL + 1 for n in dims) <= _SMALL
        return self._sizes.get(name, self.constant(name)) if few else None

    # Constants

    def _compute(self, node: Any) -> None:
        """Compute a node's outputs, if its inputs are constants."""
        names = [name for name in node.input if name]
        outputs = [name for name in node.output if name]
        try:
            values = self._measured(node) if node.op_type in ("Shape", "Size") else self._outputs(node, names)
        except ModelFileError:
            raise
        except Exception as error:  # the errors of the reference, and of NumPy beneath it, are of any kind
            fails = "" if isinstance(error, UnknownError) else f"{node.op_type} fails: "
            self._reasons.update(dict.fromkeys(outputs, fails + first_line(error)))
            return
        if values is None:
            return
        for name, value in zip(node.output, values, strict=True):
            if name and value is not None:
                self._keep(name, value)
        if self._defaults.isdisjoint(names):
            self._computed.update(name for name in outputs if name in self._arrays)
            self._release(names)
        else:
            self._defaults.update(outputs)

    def _outputs(self, node: Any, names: Sequence[str]) -> Sequence[AnyArray | Sizes | None] | None:
        """Return the values of a node of constants; None for a node of data. Raises `UnknownError` for others."""
        known = [name in self._arrays or name in self._tensors or name in self._sizes for name in names]
        reasons = [self._reasons[name] for name in names if name in self._reasons]
        if sum(known) + len(reasons) < len(names):
            return None
        if reasons:
            raise UnknownError(reasons[0])
        values = [self._sizes.get(name, self.constant(name)) if name else None for name in node.input]
        if any(isinstance(value, Sizes) for value in values):
            return self._symbols.computed(node, values, self._folded)
        return self._folded(node, values)  # type: ignore[arg-type]

    def _folded(self, node: Any, arrays: Sequence[AnyArray | None]) -> list[AnyArray | None]:
        wanted = [*node.output[:1], *(name if self._readers[name] else "" for name in node.output[1:])]
        return self._folding.outputs(node, wanted, arrays, self._types)

    def _measured(self, node: Any) -> Sequence[AnyArray | Sizes]:
        """Return what Shape or Size gives."""
        dims = dims_of(self._types.get(node.input[0]))
        if dims is None:
            raise UnknownError(f"the shape of {short(node.input[0])} is not known")
        if node.op_type == "Size":
            if not all(isinstance(n, int) for n in dims):
                raise UnknownError("it depends on sizes that are open")
            return [np.array(prod(dims), np.int64)]  # type: ignore[arg-type]
        ends = self.attributes(node)
        return [self._symbols.of_shape(dims[ends.get("start", 0) : ends.get("end", len(dims))])]  # type: ignore[arg-type]

    def _keep(self, name: str, value: AnyArray | Sizes) -> None:
        """Write down the value of a tensor, and its type with it."""
        if isinstance(value, Sizes) and value.symbols.any():
            self._sizes[name] = value
        else:
            self._arrays[name] = value.values if isinstance(value, Sizes) else value
        array = value.values if isinstance(value, Sizes) else value
        code = self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        self._types[name] = self._onnx.helper.make_tensor_type_proto(code, array.shape)

    def _release(self, names: Sequence[str]) -> None:
        """Drop computed arrays that every node has read."""
        self._readers.subtract(names)
        for name in names:
            if not self._readers[name]:
                self._arrays.pop(name, None)


def _is_closed(kind: Any) -> bool:
    """Whether a type has sizes that are all known."""
    dims = dims_of(kind)
    return dims is not None and all(isinstance(n, int) for n in dims)
