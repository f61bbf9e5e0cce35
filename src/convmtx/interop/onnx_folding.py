"""The values of ONNX nodes whose inputs are constants, computed by onnx's own reference in bounded time and memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.typing import AnyArray


def names(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


#: Nodes whose time and memory are those of reading their inputs and writing their outputs.
_LINEAR = names(
    "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitCast BitShift BitwiseAnd "
    "BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil CenterCropPad Clip Compress Concat Constant ConstantOfShape "
    "Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Elu Equal Exp Expand EyeLike Flatten Floor Gather "
    "GatherElements Greater GreaterOrEqual HardSigmoid Identity IsInf IsNaN LayerNormalization LeakyRelu Less "
    "LessOrEqual Log LogSoftmax LpNormalization Max Mean Min Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow "
    "QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
    "ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax "
    "Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu "
    "Unique Unsqueeze Where Xor"
)
#: Nodes that the reference computes with a step of Python for each number, which takes as long as so many bytes.
_STEPWISE, _STEP = names("Erf GatherND ScatterElements ScatterND"), 64
#: Matrix products, whose time is that of the outputs times the common size.
_PRODUCTS = names("Gemm MatMul MatMulInteger")
#: Nodes whose output sizes depend on values, and that write no more than an index into each axis for each input.
_SELECTING = names("Compress NonZero Unique")
#: Nodes whose outputs are random.
_RANDOM = names("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike")
#: The first opset from which the reference computes a node as runtimes do; LRN it never does.
_SINCE = {"Softmax": 13, "LogSoftmax": 13, "Hardmax": 13, "Resize": 11, "LRN": 1 << 30}
#: Opsets that mean the same as older ones and do it better: for these the reference has nothing, or something wrong,
#: or nothing for axes that count from the end, which runtimes take.
_AS_OF = {"BatchNormalization": 14, "Concat": 11, "DequantizeLinear": 19, "Squeeze": 11, "Unsqueeze": 11}
#: Bytes that a node costs beside its arrays, for evaluating one takes as long as moving these.
_OVERHEAD = 512


class UnknownError(Exception):
    """Signals a value that is constant and not computed; the message is the reason."""


class Folding:
    """Computes nodes of constants until their arrays have taken ``allowance`` bytes, read and written."""

    def __init__(self, onnx: Any, opset: int, allowance: int) -> None:
        self._onnx, self._opset, self._left = onnx, opset, allowance

    def outputs(
        self, node: Any, wanted: Sequence[str], arrays: Sequence[AnyArray | None], types: Mapping[str, Any]
    ) -> list[AnyArray | None]:
        """Return the arrays of a node's outputs from those of its inputs; None for outputs that are not wanted.

        ``wanted`` has the names of the outputs, empty for others, and ``types`` their inferred types. Raises
        `UnknownError` where sizes are not inferred or too large and where the node has no fixed value. Where the
        reference fails it raises whatever it raises.
        """
        _refuse(node, arrays, self._opset)
        self.spend(self._cost(node, wanted, [a for a in arrays if a is not None], types))
        results = self._evaluate(node, wanted, arrays)
        for name, array in zip(wanted, results, strict=True):
            if array is not None and not self._fits(array, types.get(name)):
                raise UnknownError(f"{node.op_type} has an output that is not of the inferred type and shape")
        return results

    def spend(self, cost: int) -> None:
        """Take bytes of the allowance; `UnknownError` where it is used up."""
        if cost > self._left:
            raise UnknownError("constants of this model would take too much time or memory")
        self._left -= cost

    def _cost(self, node: Any, wanted: Sequence[str], arrays: Sequence[AnyArray], types: Mapping[str, Any]) -> int:
        """Return the bytes that computing a node takes, before it is computed."""
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
        steps = prod(max(a.size, 1) for a in arrays) * max(sum(count for count, _ in sizes), 1)
        return _OVERHEAD + steps * _attribute_product(node)

    def _size(self, node: Any, arrays: Sequence[AnyArray], kind: Any) -> tuple[int, int]:
        """Return how many numbers an output has at most, and the bytes of one."""
        if kind is None or not kind.tensor_type.elem_type:
            raise UnknownError(f"{node.op_type} has an output of unknown type")
        if kind.tensor_type.elem_type == self._onnx.TensorProto.STRING:
            raise UnknownError(f"{node.op_type} has an output of text")
        item = np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)).itemsize
        dims = dims_of(kind)
        if dims is not None and all(isinstance(n, int) for n in dims):
            return prod(dims), item  # type: ignore[arg-type]
        if node.op_type in _SELECTING:
            return max(a.size * max(a.ndim, 1) for a in arrays), item
        raise UnknownError(f"the sizes of an output of {node.op_type} are not known")

    def _evaluate(self, node: Any, wanted: Sequence[str], arrays: Sequence[AnyArray | None]) -> list[AnyArray | None]:
        from onnx.reference import ReferenceEvaluator

        helper, sources = self._onnx.helper, [f"i{j}" if array is not None else "" for j, array in enumerate(arrays)]
        alone = self._onnx.NodeProto()
        alone.CopyFrom(node)
        alone.domain, alone.input[:], alone.output[:] = "", sources, wanted  # an array that is read twice has two names
        ends = [[helper.make_empty_tensor_value_info(name) for name in names if name] for names in (sources, wanted)]
        opsets = {"": opset_of(node, self._opset)}
        evaluator = ReferenceEvaluator(helper.make_graph([alone], "one", *ends), opsets=opsets)
        feeds: Any = {name: array for name, array in zip(sources, arrays, strict=True) if array is not None}
        results: Iterator[Any] = iter(evaluator.run(None, feeds))
        return [np.asarray(next(results)) if name else None for name in wanted]

    def _fits(self, array: AnyArray, kind: Any) -> bool:
        dims, code = dims_of(kind), self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        same = dims is None or (
            len(dims) == array.ndim
            and all(not isinstance(d, int) or d == n for d, n in zip(dims, array.shape, strict=True))
        )
        return same and code == kind.tensor_type.elem_type


def _refuse(node: Any, arrays: Sequence[AnyArray | None], opset: int) -> None:
    """Refuse a node that has no one value, or whose value the reference does not compute."""
    kind = node.op_type
    if node.domain not in ("", "ai.onnx"):
        raise UnknownError(f"{kind} is not of ONNX's own domain")
    trains = kind == "Dropout" and (
        opset < 7 or (len(arrays) > 2 and arrays[2] is not None and bool(np.any(arrays[2])))
    )
    if kind in _RANDOM or trains:
        raise UnknownError(f"{kind} is random")
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise UnknownError(f"{kind} contains a graph, which is not run")
    if opset < _SINCE.get(kind, 0) or _is_ambiguous(node, arrays):
        raise UnknownError(f"{kind} of this kind, opset {opset}, is not computed")
    if any(array is not None and array.dtype.kind in "OSU" for array in arrays):
        raise UnknownError(f"{kind} has an input of text")


def opset_of(node: Any, opset: int) -> int:
    """Return the opset that a node of a model of ``opset`` is computed by."""
    return max(opset, _AS_OF.get(node.op_type, 0))


def _is_ambiguous(node: Any, arrays: Sequence[AnyArray | None]) -> bool:
    """Whether runtimes disagree with the reference on what a node gives."""
    if node.op_type == "Resize" and len(arrays) > 2 and arrays[0] is not None and arrays[2] is not None:
        sizes = arrays[2] * arrays[0].shape if arrays[2].shape == (arrays[0].ndim,) else arrays[2][:0]
        return bool(np.any(sizes != np.floor(sizes)))
    return node.op_type == "Unique" and any(a.name == "sorted" and a.i == 0 for a in node.attribute)


def _attribute_product(node: Any) -> int:
    """Return what the integers among a node's attributes multiply to: windows and pads are as large as these say."""
    integers = [n for attribute in node.attribute for n in (attribute.i, *attribute.ints)]
    return prod(1 + abs(n) for n in integers)


def dims_of(kind: Any) -> tuple[int | str | None, ...] | None:
    """Return the sizes of a tensor type, a name or None for one that is open; None where their number is not known."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or None
        for d in kind.tensor_type.shape.dim
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of NumPy and of the reference: what overflows in a model overflows in its runtime too."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
