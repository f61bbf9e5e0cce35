"""Reasons why nodes of ONNX are not maps, by kind; and those of ONNX's operators that are not linear."""

from __future__ import annotations

from enum import Enum

from convmtx.errors import UnsupportedError


class Kind(Enum):
    """Kind of a reason why a node has no map; the value describes it in summaries."""

    NOT_LINEAR = "not linear"
    SEVERAL = "linear in several tensors"
    CONSTANT = "computed from constants alone"
    OPEN = "of sizes that are not known"
    OTHER = "left out for other reasons"

    @property
    def may_change(self) -> bool:
        """Whether other sizes or options may make such nodes maps."""
        return self in (Kind.OPEN, Kind.OTHER)


class Skipped(str):
    """Reason why a node has no map. It is a string that also has the node's operator and the kind of the reason."""

    op_type: str
    kind: Kind

    def __new__(cls, reason: str, op_type: str, kind: Kind) -> Skipped:
        """Return a string with two more attributes."""
        text = super().__new__(cls, reason)
        text.op_type, text.kind = op_type, kind
        return text


class SkippedError(UnsupportedError):
    """Error that says why a node has no map, and of which kind the reason is."""

    def __init__(self, kind: Kind, got: str, expected: str, remedy: str = "Leave this layer out") -> None:
        super().__init__(got, expected, remedy)
        self.kind = kind


def not_linear(got: str) -> SkippedError:
    """Return the error of a node that is not affine in the tensor that it takes."""
    return SkippedError(Kind.NOT_LINEAR, got, "A map is affine in one tensor")


def not_known(got: str, expected: str, remedy: str = "Leave this layer out") -> SkippedError:
    """Return the error of a node of which sizes are not known."""
    return SkippedError(Kind.OPEN, got, expected, remedy)


#: Why operators are not affine, and their names.
_GROUPS = {
    "it bends each number by a function": """
        Abs Acos Acosh Asin Asinh Atan Atanh Celu Cos Cosh Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log
        Mish PRelu Pow Reciprocal Relu Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh
        ThresholdedRelu BitCast BitShift IsInf IsNaN SwiGLU""",
    "it rounds each number": "Ceil DynamicQuantizeLinear Floor Mod QuantizeLinear Round",
    "it chooses the largest or smallest number": """
        ArgMax ArgMin GlobalMaxPool Hardmax MaxPool MaxRoiPool NonMaxSuppression ReduceMax ReduceMin TopK""",
    "it compares numbers, or combines truth values": """
        And BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Equal Greater GreaterOrEqual Less LessOrEqual Not Or Xor""",
    "it divides by statistics of its input": """
        GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization MeanVarianceNormalization
        RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization""",
    "it divides exponentials by their sum": "LogSoftmax Softmax SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss",
    "it sums magnitudes, powers or exponentials, or multiplies numbers with each other": """
        CumProd GlobalLpPool LpPool ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd ReduceSumSquare Det""",
    "its gates multiply and bend its state": "GRU LSTM RNN LinearAttention",
    "it multiplies projections of its input with each other": "Attention MultiHeadAttention",
    "it reads positions, indices or counts from its input": """
        Bernoulli BlackmanWindow ConstantOfShape EyeLike HammingWindow HannWindow MelWeightMatrix Multinomial NonZero
        OneHot RandomNormalLike RandomUniformLike Range Shape Size TfIdfVectorizer Unique""",
    "it contains graphs, which are not run": "If Loop Scan SequenceMap",
    "it handles sequences, text or optional values": """
        ConcatFromSequence ImageDecoder Optional OptionalGetElement OptionalHasElement RegexFullMatch SequenceAt
        SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence StringConcat
        StringNormalizer StringSplit""",
}  # fmt: skip
#: Why an operator of ONNX is not affine, by its name.
NOT_LINEAR = {name: reason for reason, names in _GROUPS.items() for name in names.split()}
