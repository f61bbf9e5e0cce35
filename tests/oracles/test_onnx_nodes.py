"""Nodes of ONNX beside the maps made of them, each input the data in turn: the cases that onnx ships, and a runtime."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
import onnx.backend.test.case.node as node_cases  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from convmtx.interop.onnx.nodes import CONVERTERS  # noqa: E402
from convmtx.interop.onnx.reasons import NOT_LINEAR  # noqa: E402

rng = np.random.default_rng(0)


def cases():
    """(name, model, values by the name of the input, outputs) of the cases of one node that is converted."""
    for path in sorted(Path(node_cases.__path__[0]).glob("*.py")):
        importlib.import_module(f"{node_cases.__name__}.{path.stem}")  # its cases register
    for case in node_cases._NodeTestCases:
        (inputs, outputs), *_ = case.data_sets
        (node, *others), names = case.model.graph.node, [value.name for value in case.model.graph.input]
        plain = all(isinstance(v, np.ndarray | np.generic) and v.dtype.kind in "biuf" for v in inputs)
        if not others and plain and node.op_type in CONVERTERS:
            yield case.name, case.model, dict(zip(names, map(np.asarray, inputs), strict=True)), outputs


def of_one_input(model, values, data):
    """The model with all inputs but one as constants."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in list(fixed.graph.input):
        if value.name != data:
            fixed.graph.input.remove(value)
            fixed.graph.initializer.append(numpy_helper.from_array(values[value.name], value.name))
    return fixed


#: How many outputs the cases of an operator have, at least, that are maps of one of the inputs.
MOST = {
    "Add": 16, "AveragePool": 20, "CenterCropPad": 6, "Col2Im": 5, "Concat": 24, "ConvInteger": 2,
    "ConvTranspose": 11, "CumSum": 9, "DFT": 10, "DequantizeLinear": 5, "Einsum": 6, "Gather": 4,
    "GatherElements": 3, "GatherND": 3, "Gemm": 22, "MatMul": 14, "MatMulInteger": 2, "Mul": 18, "Pad": 6,
    "QLinearConv": 1, "QLinearMatMul": 8, "ReduceMean": 8, "ReduceSum": 10, "Resize": 39, "ScatterElements": 8,
    "ScatterND": 4, "Slice": 7, "Split": 35, "Trilu": 16, "Where": 2,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_shipped_cases_of_every_converted_operator():
    """A map makes what the case expects, or there is a reason: it never makes something else."""
    counts = dict.fromkeys(CONVERTERS, 0)
    for name, model, values, outputs in cases():
        (node,) = model.graph.node
        for data, x in values.items():
            report = cm.from_onnx(of_one_input(model, values, data))
            for output, y in zip((o for o in node.output if o), map(np.asarray, outputs), strict=True):
                layer = report.layers.get(output)
                if layer is None:
                    continue
                made = layer(x)
                if node.op_type.startswith("QLinear"):  # the map makes numbers before rounding and saturation
                    made = np.clip(np.rint(made), np.iinfo(y.dtype).min, np.iinfo(y.dtype).max)
                assert np.shape(made) == y.shape, name
                wide = float if y.dtype.kind == "f" else y.dtype
                assert np.allclose(made, y.astype(wide), rtol=1e-4, atol=1e-4), name
                counts[node.op_type] += 1
            assert report.layers or report.skipped, name
    assert {kind: counts[kind] for kind, least in MOST.items() if counts[kind] < least} == {}


def one_node(kind, arrays, attributes, opset, shape, dtype=np.float32, count=1):
    """A model of one node of x, at the place of None among the arrays, whose outputs have no shape."""
    held, names = [], []
    for j, array in enumerate(arrays):
        names.append("x" if array is None else "" if isinstance(array, str) else f"c{j}")
        if names[-1] not in ("x", ""):
            held.append(numpy_helper.from_array(np.asarray(array), names[-1]))
    code, outputs = helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [f"y{j}" for j in range(count)]
    node = helper.make_node(kind, names, outputs, **attributes)
    ends = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", code, shape)], ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def runtime(model, x):
    """What onnxruntime makes of x."""
    ort = pytest.importorskip("onnxruntime")
    ort.set_default_logger_severity(4)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


I64 = lambda *values: np.array(values, np.int64)  # noqa: E731
F32 = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
X = None
NODES = [  # kind, inputs (None is the data), attributes, opset, shape of the data, whether the map is of the whole
    ("Add", [X, F32(4, 1)], {}, 13, (2, 3, 4, 5), False),
    ("Add", [F32(2, 3, 1, 1), X], {}, 13, (2, 3, 4, 5), True),
    ("Add", [X, F32(5)], {}, 13, (2, 3, 4, 1), False),
    ("Add", [X, F32(3, 4, 5)], {}, 13, (4, 5), True),
    ("Add", [X, X], {}, 13, (2, 3), False),
    ("Sub", [F32(1, 3), X], {}, 13, (2, 3), False),
    ("Sub", [X, F32(3)], {}, 7, (2, 1), False),
    ("Mul", [F32(3, 1, 1), X], {}, 13, (2, 3, 4, 5), False),
    ("Mul", [X, F32(1, 1, 4, 5)], {}, 13, (2, 3, 1, 5), False),
    ("Mul", [X, np.float32(3)], {}, 13, (7,), True),
    ("Div", [X, F32(3)], {}, 13, (2, 4, 3), False),
    ("Sum", [X, F32(3), F32(4, 1), X], {}, 13, (2, 4, 3), False),
    ("Mean", [X, F32(3), F32(4, 1)], {}, 13, (2, 4, 3), False),
    ("Where", [rng.random((4, 3)) > 0.5, X, np.float32(-np.inf)], {}, 16, (2, 4, 3), False),
    ("Where", [rng.random((2, 4, 3)) > 0.5, np.float32(7), X], {}, 16, (2, 1, 3), True),
    ("Cast", [X], {"to": TensorProto.DOUBLE}, 13, (2, 3), False),
    ("Dropout", [X], {"ratio": 0.5}, 7, (2, 3), False),
    ("Flatten", [X], {"axis": 2}, 13, (1, 3, 4, 5), True),
    ("Reshape", [X, I64(-1, 6)], {}, 13, (4, 3, 2), False),
    ("Reshape", [X, I64(2, -1)], {}, 13, (4, 3, 2), True),
    ("Transpose", [X], {"perm": [0, 3, 1, 2]}, 13, (2, 3, 4, 5), False),
    ("Transpose", [X], {}, 13, (2, 3, 4), True),
    ("Squeeze", [X], {"axes": [0, 2]}, 11, (1, 3, 1, 5), True),
    ("Unsqueeze", [X, I64(-1, 1)], {}, 13, (2, 3), False),
    ("Slice", [X, I64(-1), I64(-100), I64(2), I64(-2)], {}, 13, (2, 3, 5), False),
    ("Slice", [X, I64(1, 0), I64(2, 1 << 40)], {}, 13, (3, 3, 5), True),
    ("Slice", [X], {"starts": [0, 1], "ends": [1 << 40, -1], "axes": [0, 2]}, 9, (3, 3, 5), False),
    ("Gather", [X, I64(2, -3).reshape(2, 1)], {"axis": 1}, 13, (2, 3, 5), False),
    ("Gather", [X, np.array(1)], {}, 13, (2, 3, 5), True),
    ("GatherND", [X, I64(1, 0, 0, 2).reshape(2, 2)], {}, 13, (2, 3, 5), True),
    ("GatherElements", [X, I64(1, 0, -1, 0).reshape(2, 2)], {"axis": 1}, 13, (2, 3), True),
    ("Expand", [X, I64(2, 1, 4, 1)], {}, 13, (2, 3, 1, 5), False),
    ("Expand", [X, I64(2, 3, 4)], {}, 13, (3, 1), True),
    ("Tile", [X, I64(1, 2, 3)], {}, 13, (2, 3, 2), False),
    ("Tile", [X, I64(2, 1)], {}, 13, (2, 3), True),
    ("Pad", [X, I64(1, 0, 2, 0, 1, -1), np.float32(3)], {}, 13, (2, 3, 4), True),
    ("DepthToSpace", [X], {"blocksize": 2}, 13, (2, 8, 3, 2), False),
    ("DepthToSpace", [X], {"blocksize": 2, "mode": "CRD"}, 13, (2, 8, 3, 2), False),
    ("SpaceToDepth", [X], {"blocksize": 2}, 13, (2, 3, 6, 4), False),
    ("ReduceMean", [X], {"axes": [-1, 1], "keepdims": 0}, 13, (2, 3, 4, 5), False),
    ("ReduceMean", [X, I64(0, 2)], {}, 18, (2, 3, 4), True),
    ("ReduceSum", [X], {}, 13, (2, 3, 4), True),
    ("ReduceSum", [X, I64()], {"noop_with_empty_axes": 1}, 13, (2, 3, 4), False),
    ("CumSum", [X, np.array(-1)], {"reverse": 1, "exclusive": 1}, 14, (2, 3, 4), False),
    ("Trilu", [X, np.array(-1)], {"upper": 0}, 14, (2, 3, 4), False),
    ("MatMul", [F32(5, 3), X], {}, 13, (2, 3, 4), False),
    ("MatMul", [F32(5, 3), X], {}, 13, (3, 4), True),
    ("MatMul", [X, F32(3, 5, 4)], {}, 13, (2, 3, 2, 5), False),
    ("MatMul", [F32(2, 3, 4, 5), X], {}, 13, (1, 3, 5, 2), True),
    ("MatMul", [X, F32(4)], {}, 13, (2, 3, 4), False),
    ("MatMul", [F32(3, 4), X], {}, 13, (4,), True),
    ("MatMul", [X, F32(3, 4, 5)], {}, 13, (4,), True),
    ("Gemm", [F32(4, 3), X, F32(5)], {"transA": 1, "alpha": 2.0}, 13, (4, 5), True),
    ("Gemm", [X, F32(5, 3), F32(2, 5)], {"transB": 1, "beta": 0.5}, 13, (2, 3), True),
    ("Einsum", [X, F32(4, 3)], {"equation": "b h w, wd -> bhd"}, 13, (2, 3, 4), False),
    ("Einsum", [F32(3, 5, 2), X], {"equation": "hdk,...hd->...hk"}, 13, (2, 4, 3, 5), False),
    ("Einsum", [X], {"equation": "bii->bi"}, 13, (2, 3, 3), False),
    ("Einsum", [X], {"equation": "ijk->k"}, 13, (2, 3, 4), True),
    ("Einsum", [X, F32(2), F32(3, 4)], {"equation": "bcd,b,de"}, 13, (2, 5, 3), True),
    ("Concat", [F32(1, 2, 3), X, X], {"axis": 1}, 13, (1, 2, 3), False),
    ("Concat", [F32(2, 2, 3), X], {"axis": -1}, 13, (2, 2, 1), True),
    ("Concat", [F32(3), X], {"axis": 0}, 13, (2,), True),
    ("Resize", [X, "", np.float32([1, 1, 2, 3])], {"mode": "nearest"}, 13, (2, 3, 4, 5), False),
    ("Resize", [X, "", np.float32([1, 2, 1.5])], {"mode": "linear"}, 18, (2, 3, 4), False),
    ("Resize", [X, "", "", I64(7, 3)], {"mode": "cubic", "axes": [2, 3], "antialias": 1}, 18, (2, 3, 4, 5), False),
    ("Resize", [X, "", "", I64(2, 3, 7, 9)], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, 13,
     (2, 3, 4, 5), False),
    ("Resize", [X, np.float32([0.2, -0.1, 0.7, 1.3]), "", I64(9, 8)], {"mode": "linear", "axes": [2, 3],
     "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0}, 18, (2, 3, 4, 5), False),
    ("Resize", [X, np.float32([1, 1, 0.5, 1.5])], {"mode": "nearest"}, 10, (2, 3, 7, 4), False),
    ("Upsample", [X], {"mode": "linear", "scales": [1.0, 1.0, 2.0, 1.5]}, 7, (2, 3, 4, 4), False),
    ("DFT", [X], {"onesided": 1}, 17, (2, 6, 1), False),
    ("DFT", [X, np.array(3), np.array(-2)], {"inverse": 1}, 20, (2, 3, 5, 2), False),
    ("STFT", [X, np.array(2), F32(4)], {}, 17, (2, 9, 1), False),
    ("Compress", [X, np.array([True, False, True])], {"axis": 2}, 13, (2, 3, 4), False),
    ("Compress", [X, np.array([False, True, True])], {}, 13, (2, 3), True),
    ("ReverseSequence", [X, I64(2, 4, 1)], {"batch_axis": 0, "time_axis": 1}, 13, (3, 4, 2), True),
    ("ScatterND", [X, I64(1, 0).reshape(2, 1), F32(2, 4)], {}, 16, (3, 4), True),
    ("ScatterElements", [F32(3, 4), I64(2, 0, 1).reshape(1, 3), X], {"axis": 0}, 16, (1, 3), True),
    ("BatchNormalization", [X, *np.abs(F32(4, 3))], {}, 15, (2, 3, 4), False),
    ("Clip", [X], {}, 13, (2, 3, 4), False),
    ("Clip", [X], {}, 6, (2, 3, 4), False),
    ("Max", [X], {}, 13, (2, 3), False),
    ("Min", [X], {}, 8, (2, 3), False),
    ("Gemm", [F32(5, 2), F32(3, 5), X], {"alpha": 0.5, "beta": 3.0, "transA": 1, "transB": 1}, 13, (2, 3), True),
    ("Gemm", [F32(2, 5), F32(5, 3), X], {}, 13, (3,), True),
    ("GatherND", [X, I64(2)], {}, 13, (4,), True),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arrays", "attributes", "opset", "shape", "whole"), NODES)
def test_a_node_and_its_map_make_the_same(kind, arrays, attributes, opset, shape, whole):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    model = one_node(kind, arrays, attributes, opset, shape)
    (expected,), layer = runtime(model, x), cm.from_onnx(model).layers["y0"]
    assert layer.whole == whole
    assert layer(x).shape == expected.shape
    assert np.allclose(layer(x), expected, rtol=1e-5, atol=1e-5)
    one = x if whole else x[:1]
    columns = one.reshape(1, -1).astype(float) @ layer.op.to_sparse().T
    assert np.allclose(columns + layer.offset.reshape(-1), layer(one).reshape(1, -1), rtol=1e-5, atol=1e-5)


def test_every_output_of_a_split_is_a_map():
    x = rng.standard_normal((2, 7, 3)).astype(np.float32)
    model = one_node("Split", [X, I64(2, 4, 1)], {"axis": 1}, 13, x.shape, count=3)
    report = cm.from_onnx(model)
    for name, expected in zip(("y0", "y1", "y2"), runtime(model, x), strict=True):
        assert np.array_equal(report.layers[name](x), expected)


def test_integers_are_summed_as_the_runtime_sums_them():
    """Zero points shift the data and the weights; pads stand for the zero point."""
    rng = np.random.default_rng(1)
    x, W = rng.integers(0, 255, (2, 3, 6, 5)).astype(np.uint8), rng.integers(-99, 99, (4, 3, 3, 2)).astype(np.int8)
    attributes = {"pads": [1, 0, 2, 1], "strides": [2, 1]}
    model = one_node("ConvInteger", [X, W, np.uint8(37)], attributes, 10, x.shape, np.uint8)
    made = cm.from_onnx(model).layers["y0"](x)
    assert made.dtype == np.int32
    assert np.array_equal(made, runtime(model, x)[0])
    scales = [np.float32(0.02), np.uint8(37)], [np.float32([0.01, 0.02, 0.005, 0.03]), np.zeros(4, np.int8)]
    rest = [np.float32(0.5), np.uint8(120), rng.integers(-999, 999, 4).astype(np.int32)]
    model = one_node("QLinearConv", [X, *scales[0], W, *scales[1], *rest], attributes, 10, x.shape, np.uint8)
    made = np.clip(cm.from_onnx(model).layers["y0"](x), 0, 255)  # the runtime rounds it, from single precision
    assert np.abs(made - runtime(model, x)[0]).max() < 0.5 + 1e-4


def test_a_constant_of_many_nodes_is_not_copied():
    W = F32(40, 40)
    held = [numpy_helper.from_array(W, "W")]
    nodes = [
        helper.make_node(kind, ["x", "W"], [f"y{j}"]) for j, kind in enumerate(("MatMul", "MatMul", "Gemm", "Mul"))
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (40, 40))
    graph = helper.make_graph(nodes, "g", [x], [helper.make_empty_tensor_value_info("y0")], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    maps = [layer.op for layer in cm.from_onnx(model).layers.values()]
    assert np.array_equal(maps[0].matrix, W.T)
    assert all(np.shares_memory(maps[0].matrix, op.matrix) for op in maps[1:3])
    assert np.shares_memory(maps[0].matrix, maps[3].weights)


@pytest.mark.parametrize(
    ("kind", "arrays", "attributes", "dtype", "reason"),
    [
        ("Softmax", [X], {}, "f4", "exponentials"),
        ("LayerNormalization", [X, F32(4)], {}, "f4", "statistics"),
        ("LRN", [X], {"size": 3}, "f4", "statistics"),
        ("Cast", [X], {"to": TensorProto.INT32}, "f4", "rounds"),
        ("Cast", [X], {"to": TensorProto.INT8}, "i4", "wraps"),
        ("Div", [np.float32(1), X], {}, "f4", "divides by a tensor"),
        ("Div", [X, np.int32(2)], {}, "i4", "rounded"),
        ("ReduceMean", [X], {"axes": [1]}, "i4", "rounded"),
        ("Mul", [X, X], {}, "f4", "with each other"),
        ("Gather", [F32(9, 4), X], {}, "i8", "positions"),
        ("Where", [X, np.float32(1), np.float32(2)], {}, "?", "condition"),
        ("Reshape", [F32(8), X], {}, "i8", "sizes"),
        ("Dropout", [X, np.float32(0.5), np.array(True)], {}, "f4", "training_mode=1"),
        ("Clip", [X, np.float32(0)], {}, "f4", "bends"),
        ("Max", [X, F32(4)], {}, "f4", "largest or smallest"),
        ("Div", [X, np.float32(1e-40)], {}, "f4", "inverses float32 has"),
        ("Transpose", [X], {"perm": [0, 1, 1]}, "f4", "Expected each axis once"),
        ("Conv", [X, X], {}, "f4", "with each other"),
        ("Conv", [F32(1, 3, 4), X], {}, "f4", "even if it is affine in this"),
        ("Pad", [F32(2), I64(1, 1), X], {}, "f4", "even if it is affine in this"),
        ("GridSample", [X, F32(2, 3, 4, 2)], {}, "f4", "not among the nodes that are converted"),
    ],
)
def test_what_is_not_affine_is_refused_with_the_reason(kind, arrays, attributes, dtype, reason):
    shape = (2,) if kind == "Reshape" else (2, 3, 4)
    report = cm.from_onnx(one_node(kind, arrays, attributes, 17, shape, dtype))
    assert report.layers == {}
    assert reason in report.skipped["y0"]
    assert report.skipped["y0"].op_type == kind


def test_operators_are_converted_or_not_linear():
    """No operator has both, and converters are of operators that ONNX has."""
    assert CONVERTERS.keys().isdisjoint(NOT_LINEAR)
    names = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert CONVERTERS.keys() <= names
