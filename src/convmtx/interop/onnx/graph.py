"""Shapes of all tensors of an ONNX graph, and the constants that follow from its constants and shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from convmtx.errors import ModelFileError, UnsupportedError
from convmtx.interop.onnx.folding import Folding, quiet
from convmtx.interop.onnx.numbers import native
from convmtx.interop.onnx.protobuf import Size, UnknownError, all_nodes, first_line, is_closed, quote
from convmtx.interop.onnx.shapes import SMALL, Types, request_shapes
from convmtx.interop.onnx.symbols import Sizes, Symbols
from convmtx.typing import AnyArray

#: Bytes that constants may cost to compute: so many for each byte of the model, and 64 MiB for a model of any size. A
#: model that computes its weights reads and writes each of them a few times; one that doubles an array 40 times would
#: cost 2^40.
_GROWTH, _ALWAYS = 32, 1 << 26
#: Why a tensor is not known whose numbers depend on the size of the batch, for example.
_OPEN = "it depends on sizes that are open"


class Graph:
    """Nodes of a graph in their order, with the shape of each tensor, and the array of each that is constant.

    A node stands behind the nodes that it reads from, so that one pass over the nodes is enough. At each node the
    shapes of its outputs are inferred from its inputs, then its outputs are computed if its inputs are constants. The
    caller may then correct the shapes, before the nodes behind it are passed.
    """

    def __init__(self, onnx: Any, model: Any, input_shapes: Mapping[str, Any]) -> None:
        self._onnx = onnx
        self._nodes = model.graph.node
        request_shapes(model, input_shapes)
        self._open_inputs = [v.name for v in model.graph.input if not is_closed(v.type) and v.name not in input_shapes]
        initial = {tensor.name for tensor in model.graph.initializer}
        #: Names of the graph's inputs, those that have no default value first.
        self.inputs = tuple(sorted((value.name for value in model.graph.input), key=initial.__contains__))
        #: Names of the constants that the model stores, and that the caller cannot replace.
        self.stored = frozenset(initial.difference(self.inputs))
        self._symbols = Symbols()
        self._types = Types(onnx, model, self._symbols)
        self.opset = self._types.opset
        self._folding = Folding(onnx, self.opset, _ALWAYS + _GROWTH * model.ByteSize())
        # A constant is stored in the model (_tensors), or computed with all its numbers (_arrays) or with open ones
        # (_sizes), or there is a reason why it is not computed.
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        #: Names of tensors so far.
        self._names = {*self._tensors, *(value.name for value in model.graph.input)}
        self._arrays: dict[str, AnyArray] = {}
        self._shared: WeakValueDictionary[str, AnyArray] = WeakValueDictionary()
        self._sizes: dict[str, Sizes] = {}
        self._reasons: dict[str, str] = {}
        #: Constants that depend on an input of the graph with a default value, which the caller may replace.
        self._defaults = {value.name for value in model.graph.input if value.name in self._tensors}
        self._computed: set[str] = set()
        #: Number of inputs of nodes, not yet computed, that read a tensor, also inside graphs of nodes.
        self._readers = Counter(name for node in all_nodes(model.graph.node) for name in node.input)

    # Questions of converters

    def constant(self, name: str) -> AnyArray | None:
        """Return the array of a constant; None for a tensor that is not one, or whose numbers are not known.

        While a map has the array of a stored constant, others get the same one.
        """
        if name in self._arrays:
            return self._arrays[name]
        if name not in self._tensors:
            return None
        stored = self._shared.get(name)
        if stored is not None:
            return stored.reshape(tuple(self._tensors[name].dims))
        try:
            array = np.asarray(self._onnx.numpy_helper.to_array(self._tensors[name]))
        except Exception as error:  # too little data, or a type that ONNX does not have
            got = f"constant {quote(name)} cannot be read ({first_line(error)})"
            raise ModelFileError(got, "Expected all its numbers", "Export it again") from None
        if array.size <= SMALL:  # a larger array is not stored twice: the tensor holds its bytes
            self._arrays[name] = array
        elif isinstance(array.base, np.ndarray) and (array.base.dtype, array.base.size) == (array.dtype, array.size):
            self._shared[name] = array.base  # which lives as long as any view of it
        return array

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is a constant, even if its numbers are not known."""
        return any(name in constants for constants in (self._arrays, self._tensors, self._sizes, self._reasons))

    def is_default(self, name: str) -> bool:
        """Whether a tensor is a constant that depends on the default value of an input of the graph."""
        return name in self._defaults

    def why_unknown(self, name: str) -> str | None:
        """Return why the numbers of a constant are not known; None for a tensor that is not a constant."""
        return self._reasons.get(name) or (_OPEN if name in self._sizes else None)

    def is_computed(self, name: str) -> bool:
        """Whether a tensor is computed from constants alone, of which none is an input's default value."""
        return name in self._computed

    def dims(self, name: str) -> tuple[Size, ...] | None:
        """Return the sizes of a tensor, numbers or names of open ones; None if the number of its axes is not known."""
        return self._types.dims(name)

    def open_sizes(self, name: str) -> tuple[Size, ...] | None:
        """Return the numbers of a constant some of which are open, with the names of these; None for other tensors."""
        return self._symbols.readable(self._sizes[name]) if name in self._sizes else None

    def wanted_shapes(self) -> tuple[str, str]:
        """Return what to expect, and what to do, where sizes are not known."""
        inputs = ", ".join(map(quote, self._open_inputs[:3]))
        remedy = f"Pass input_shapes for {inputs}" if inputs else "Export the model with fixed sizes"
        return "Its sizes must be known", remedy

    def has_type(self, name: str) -> bool:
        """Whether the type of a tensor's numbers is known."""
        return name in self._types.by_name and self._types.by_name[name].tensor_type.elem_type > 0

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of a tensor's numbers."""
        types = self._types.by_name
        code = types[name].tensor_type.elem_type if name in types else 0
        if not code:
            raise UnsupportedError(f"{quote(name)} is of unknown type", "Expected numbers", "Leave this layer out")
        return np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(code))

    def like(self, name: str) -> AnyArray:
        """Return an empty array of the type of a tensor's numbers, or of a wider one that NumPy has.

        Maps that only move or add numbers have this type, so that their entries do not overflow before the numbers do.
        """
        dtype = native(self.dtype(name)) if self.has_type(name) else np.dtype(np.float32)
        if dtype.kind not in "iuf":
            got = f"{quote(name)} is of {dtype}"
            raise UnsupportedError(got, "Expected integers or floats", "Leave this layer out")
        return np.empty(0, dtype)

    def attributes(self, node: Any) -> dict[str, Any]:
        """Return a node's attributes by name, with bytes as text."""
        values: dict[str, Any] = {a.name: self._onnx.helper.get_attribute_value(a) for a in node.attribute}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}

    # The pass

    def walk(self) -> Iterator[Any]:
        """Yield the nodes, once, each when its outputs are inferred and computed; an If becomes the branch it takes."""
        pending = list(self._nodes)[::-1]
        while pending:
            node = pending.pop()
            branch = self._branch(node)
            if branch is not None:
                pending.extend(branch[::-1])
                continue
            self._names.update(node.output)
            with quiet():
                self._types.infer(node, self._small_constant)
                self._compute(node)
            yield node

    def correct(self, name: str, dims: Sequence[Size]) -> None:
        """Set the sizes of an output of the last node as its map makes them."""
        self._types.correct(name, dims)

    def _branch(self, node: Any) -> list[Any] | None:
        """Return the nodes of the branch that an If takes, if its condition is a constant."""
        if node.op_type != "If" or node.domain not in ("", "ai.onnx") or not self._defaults.isdisjoint(node.input):
            return None
        condition = self.constant(node.input[0])
        if condition is None or condition.size != 1:
            return None
        name = "then_branch" if condition.any() else "else_branch"
        graph = next(attribute.g for attribute in node.attribute if attribute.name == name)
        own = {name for inner in graph.node for name in inner.output} | {tensor.name for tensor in graph.initializer}
        if not self._names.isdisjoint(own):
            return None  # another branch has such names too
        for tensor in graph.initializer:
            self._tensors[tensor.name] = tensor
            self._types.assign(tensor.name, tensor.data_type, tensor.dims)
        pairs = zip((value.name for value in graph.output), node.output, strict=True)
        return [*graph.node, *(self._onnx.helper.make_node("Identity", [i], [o]) for i, o in pairs if o)]

    def _small_constant(self, name: str) -> AnyArray | Sizes | None:
        """Return the numbers of a constant if there are at most `SMALL`; some of them may be open."""
        dims = self._types.dims(name) or ()
        is_small = prod(size if isinstance(size, int) else SMALL + 1 for size in dims) <= SMALL
        return self._sizes.get(name, self.constant(name)) if is_small else None

    def _compute(self, node: Any) -> None:
        """Compute a node's outputs, if its inputs are constants."""
        inputs = [name for name in node.input if name]
        outputs = [name for name in node.output if name]
        try:
            values = self._measure(node) if node.op_type in ("Shape", "Size") else self._values(node, inputs)
        except ModelFileError:
            raise
        except Exception as error:  # the errors of the reference, and of NumPy beneath it, are of any kind
            prefix = "" if isinstance(error, UnknownError) else f"{node.op_type} fails: "
            self._reasons.update(dict.fromkeys(outputs, prefix + first_line(error)))
            return
        if values is None:
            return
        for name, value in zip(node.output, values, strict=True):
            if name and value is not None:
                self._keep(name, value)
        if self._defaults.isdisjoint(inputs):
            self._computed.update(name for name in outputs if name in self._arrays)
            self._release(inputs)
        else:
            self._defaults.update(outputs)

    def _values(self, node: Any, inputs: Sequence[str]) -> Sequence[AnyArray | Sizes | None] | None:
        """Return the outputs of a node whose inputs are constants; None if one of its inputs is not.

        Raises `UnknownError` if one of the constants is not known.
        """
        known = [name in self._arrays or name in self._tensors or name in self._sizes for name in inputs]
        reasons = [self._reasons[name] for name in inputs if name in self._reasons]
        if sum(known) + len(reasons) < len(inputs):
            return None
        if reasons:
            raise UnknownError(reasons[0])
        values = [self._sizes.get(name, self.constant(name)) if name else None for name in node.input]
        if any(isinstance(value, Sizes) for value in values):
            return self._symbols.compute(node, values, self._fold)
        return self._fold(node, values)  # type: ignore[arg-type]

    def _fold(self, node: Any, arrays: Sequence[AnyArray | None]) -> list[AnyArray | None]:
        """Return the outputs of a node; None for an output behind the first that no node reads."""
        expected = [*node.output[:1], *(name if self._readers[name] else "" for name in node.output[1:])]
        return self._folding.outputs(node, expected, arrays, self._types.by_name)

    def _measure(self, node: Any) -> Sequence[AnyArray | Sizes]:
        """Return the output of a node Shape or Size, which needs no numbers of its input."""
        dims = self._types.dims(node.input[0])
        if dims is None:
            raise UnknownError(f"the shape of {quote(node.input[0])} is not known")
        if node.op_type == "Size":
            if not all(isinstance(size, int) for size in dims):
                raise UnknownError(_OPEN)
            return [np.array(prod(dims), np.int64)]  # type: ignore[arg-type]
        ends = self.attributes(node)
        return [self._symbols.of_shape(dims[ends.get("start", 0) : ends.get("end", len(dims))])]

    def _keep(self, name: str, value: AnyArray | Sizes) -> None:
        """Store the value of a tensor, and the type that the value has."""
        if isinstance(value, Sizes) and value.symbols.any():
            self._sizes[name] = value
        else:
            self._arrays[name] = value.values if isinstance(value, Sizes) else value
        array = value.values if isinstance(value, Sizes) else value
        self._types.assign(name, self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    def _release(self, names: Sequence[str]) -> None:
        """Drop the arrays that no further node reads, so that a chain of constants takes the memory of a few."""
        self._readers.subtract(names)
        for name in names:
            if not self._readers[name]:
                self._arrays.pop(name, None)
