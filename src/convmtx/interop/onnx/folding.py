"""Outputs of ONNX nodes whose inputs are constants, computed by onnx's own reference in bounded time and memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.interop.onnx.protobuf import UnknownError, dims_of, opset_of
from convmtx.typing import AnyArray

#: Nodes whose time and memory are those of reading their inputs and writing their outputs.
_LINEAR = frozenset((
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization",
    "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil",
    "CenterCropPad", "Clip", "Compress", "Concat", "Constant", "ConstantOfShape", "Cos", "Cosh", "CumSum",
    "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "Elu", "Equal", "Exp", "Expand", "EyeLike", "Flatten",
    "Floor", "Gather", "GatherElements", "Greater", "GreaterOrEqual", "HardSigmoid", "Identity", "IsInf", "IsNaN",
    "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "Max", "Mean",
    "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "Range",
    "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Sin",
    "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub",
    "Sum", "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where",
    "Xor",
))  # fmt: skip
#: Nodes that the reference computes with a step of Python for each number, which takes as long as to move _STEP bytes.
_STEPWISE, _STEP = frozenset(("Erf", "GatherND", "ScatterElements", "ScatterND")), 64
#: Matrix products, which take at most as long as to move their outputs once for each index of an input's longest axis.
_PRODUCTS = frozenset(("Gemm", "MatMul", "MatMulInteger"))
#: Nodes that write at most one index along each axis for each number that they read; how many, depends on the numbers.
_SELECTING = frozenset(("Compress", "NonZero", "Unique"))
_RANDOM = frozenset((
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
))  # fmt: skip
#: First opset of a node that the reference computes as runtimes do. LRN it never does.
_FIRST_OPSET = {"Softmax": 13, "LogSoftmax": 13, "Hardmax": 13, "Resize": 11, "LRN": 1 << 30}
#: Bytes that a node costs beside its arrays, for to evaluate it takes as long as to move so many.
_OVERHEAD = 512


class Folding:
    """Computes nodes of constants until ``allowance`` bytes have been read and written.

    Other work is counted in bytes too: those that could be moved in the same time.
    """

    def __init__(self, onnx: Any, opset: int, allowance: int) -> None:
        self._onnx, self._opset, self._left = onnx, opset, allowance

    def outputs(
        self, node: Any, wanted: Sequence[str], arrays: Sequence[AnyArray | None], types: Mapping[str, Any]
    ) -> list[AnyArray | None]:
        """Return the arrays of a node's outputs from those of its inputs; None for outputs that are not wanted.

        ``wanted`` has the names of the outputs, empty for those that are not, and ``types`` the inferred types. Raises
        `UnknownError` if the outputs are too large, have no inferred sizes, or are not determined by the inputs, and
        whatever the reference raises if it fails.
        """
        _refuse(node, arrays, self._opset)
        self._spend(self._cost(node, wanted, [a for a in arrays if a is not None], types))
        results = self._evaluate(node, wanted, arrays)
        for name, array in zip(wanted, results, strict=True):
            if array is not None and not self._fits(array, types.get(name)):
                raise UnknownError(f"{node.op_type} has an output that is not of the inferred type and shape")
        return results

    def _spend(self, cost: int) -> None:
        """Take bytes of the allowance, or raise `UnknownError` if fewer are left."""
        if cost > self._left:
            raise UnknownError("constants of this model would take too much time or memory")
        self._left -= cost

    def _cost(self, node: Any, wanted: Sequence[str], arrays: Sequence[AnyArray], types: Mapping[str, Any]) -> int:
        """Return the bytes that it will cost to compute a node."""
        read = sum(a.nbytes for a in arrays)
        sizes = [self._size(node, arrays, types.get(name)) for name in wanted if name]
        written = sum(count * item for count, item in sizes)
        memory.require("constant", {"constant": written})
        if node.op_type in _LINEAR:
            return _OVERHEAD + read + written
        if node.op_type in _STEPWISE:
            return _OVERHEAD + _STEP * (read + written)
        if node.op_type in _PRODUCTS:
            return _OVERHEAD + read + written * max(1, *(n for a in arrays for n in a.shape))
        # Of any other node only this is known: it does at most one step for each choice of a number from every input,
        # of a number of the output, and of a position in its windows. Einsum "a,b,c->" of 300 numbers each has 2.7e7.
        steps = prod(max(a.size, 1) for a in arrays) * max(sum(count for count, _ in sizes), 1)
        return _OVERHEAD + steps * _attribute_product(node)

    def _size(self, node: Any, arrays: Sequence[AnyArray], tensor_type: Any) -> tuple[int, int]:
        """Return the number of numbers that an output has at most, and the bytes of one."""
        if tensor_type is None or not tensor_type.tensor_type.elem_type:
            raise UnknownError(f"{node.op_type} has an output of unknown type")
        if tensor_type.tensor_type.elem_type == self._onnx.TensorProto.STRING:
            raise UnknownError(f"{node.op_type} has an output of text")
        item = np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(tensor_type.tensor_type.elem_type)).itemsize
        dims = dims_of(tensor_type)
        if dims is not None and all(isinstance(n, int) for n in dims):
            return prod(dims), item  # type: ignore[arg-type]
        if node.op_type in _SELECTING:
            return max(a.size * max(a.ndim, 1) for a in arrays), item
        raise UnknownError(f"the sizes of an output of {node.op_type} are not known")

    def _evaluate(self, node: Any, wanted: Sequence[str], arrays: Sequence[AnyArray | None]) -> list[AnyArray | None]:
        """Return a node's outputs by onnx's reference, from a graph of this node alone."""
        from onnx.reference import ReferenceEvaluator

        # Inputs get names of their own, i0, i1, ..., for the reference wants two names for an array that is read twice.
        helper, sources = self._onnx.helper, [f"i{j}" if array is not None else "" for j, array in enumerate(arrays)]
        alone = self._onnx.NodeProto()
        alone.CopyFrom(node)
        alone.domain, alone.input[:], alone.output[:] = "", sources, wanted
        ends = [[helper.make_empty_tensor_value_info(name) for name in names if name] for names in (sources, wanted)]
        opsets = {"": opset_of(node, self._opset)}
        evaluator = ReferenceEvaluator(helper.make_graph([alone], "one", *ends), opsets=opsets)
        feeds: Any = {name: array for name, array in zip(sources, arrays, strict=True) if array is not None}
        results: Iterator[Any] = iter(evaluator.run(None, feeds))
        return [np.asarray(next(results)) if name else None for name in wanted]

    def _fits(self, array: AnyArray, tensor_type: Any) -> bool:
        """Whether an array has the inferred type, in all sizes that are known."""
        dims, code = dims_of(tensor_type), self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        has_sizes = dims is None or (
            len(dims) == array.ndim
            and all(not isinstance(dim, int) or dim == size for dim, size in zip(dims, array.shape, strict=True))
        )
        return has_sizes and code == tensor_type.tensor_type.elem_type


def _refuse(node: Any, arrays: Sequence[AnyArray | None], opset: int) -> None:
    """Refuse a node whose outputs are not determined by its inputs, or that the reference does not compute right."""
    kind = node.op_type
    if node.domain not in ("", "ai.onnx"):
        raise UnknownError(f"{kind} is not of ONNX's own domain")
    drops = kind == "Dropout" and (opset < 7 or (len(arrays) > 2 and arrays[2] is not None and bool(np.any(arrays[2]))))
    if kind in _RANDOM or drops:
        raise UnknownError(f"{kind} is random")
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise UnknownError(f"{kind} contains a graph, which is not run")
    if opset < _FIRST_OPSET.get(kind, 0) or _is_ambiguous(node, arrays):
        raise UnknownError(f"{kind} of this kind, opset {opset}, is not computed")
    if any(array is not None and array.dtype.kind in "OSU" for array in arrays):
        raise UnknownError(f"{kind} has an input of text")


def _is_ambiguous(node: Any, arrays: Sequence[AnyArray | None]) -> bool:
    """Whether runtimes compute a node differently: Resize to sizes that are not whole, Unique without sorting."""
    if node.op_type == "Resize" and len(arrays) > 2 and arrays[0] is not None and arrays[2] is not None:
        sizes = arrays[2] * arrays[0].shape if arrays[2].shape == (arrays[0].ndim,) else arrays[2][:0]
        return bool(np.any(sizes != np.floor(sizes)))
    return node.op_type == "Unique" and any(a.name == "sorted" and a.i == 0 for a in node.attribute)


def _attribute_product(node: Any) -> int:
    """Return a bound of the positions in a node's windows: the product of 1 + abs(n) over its integer attributes."""
    integers = [n for attribute in node.attribute for n in (attribute.i, *attribute.ints)]
    return prod(1 + abs(n) for n in integers)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of NumPy and of the reference, for what overflows here overflows in the model's runtime too."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
