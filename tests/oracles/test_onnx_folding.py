"""Constants that follow from constants: what nodes give, beside the cases that onnx ships and onnxruntime."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
import onnx.backend.test.case.node as node_cases  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from convmtx.interop.onnx.files import load_model  # noqa: E402
from convmtx.interop.onnx.graph import Graph  # noqa: E402


def model(nodes, constants, opset, inputs=(), outputs=()):
    """A model; outputs have no shape."""
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    ends = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "g", list(inputs), ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def computed(nodes, constants, opset, outputs):
    """What the graph knows of outputs; something reads all of them."""
    readers = [helper.make_node("Identity", [name], [f"r {name}"]) for name in outputs]
    graph = Graph(onnx, load_model(onnx, model([*nodes, *readers], constants, opset)), {})
    [*graph.walk()]
    return [graph.constant(f"r {name}") for name in outputs]


def shipped():
    """(name, node, opset, inputs, outputs) of the cases of one node and of numbers."""
    for path in sorted(Path(node_cases.__path__[0]).glob("*.py")):
        importlib.import_module(f"{node_cases.__name__}.{path.stem}")  # its cases register
    for case in node_cases._NodeTestCases:
        ((inputs, outputs), *_), nodes = case.data_sets, case.model.graph.node
        names = [value.name for value in case.model.graph.input]
        plain = all(isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc" for value in inputs)
        if len(nodes) == 1 and plain and case.model.ir_version > 3 and not nodes[0].domain:
            yield (
                case.name,
                nodes[0],
                case.model.opset_import[0].version,
                dict(zip(names, inputs, strict=True)),
                outputs,
            )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the cases, which overflow and divide by zero
def test_what_is_computed_is_what_onnx_expects():
    counts, kinds = {"same": 0, "unknown": 0}, set()
    for name, node, opset, inputs, outputs in shipped():
        names = [output for output in node.output if output]
        arrays = computed([node], inputs, opset, names)
        if any(array is None for array in arrays):
            counts["unknown"] += 1
            continue
        for array, output in zip(arrays, outputs, strict=True):
            expected = np.asarray(output)
            if expected.dtype.kind == "O":  # a list where an array was meant
                continue
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape), name
            wide = complex if expected.dtype.kind == "c" else float
            assert np.allclose(array.astype(wide), expected.astype(wide), rtol=1e-3, atol=1e-5, equal_nan=True), name
        counts["same"] += 1
        kinds.add(node.op_type)
    assert counts["same"] > 700
    assert len(kinds) > 100


rng = np.random.default_rng(0)
X = rng.standard_normal((2, 3, 4)).astype(np.float32)
Q = rng.integers(-99, 99, (4, 3)).astype(np.int8)
OLD = [  # (kind, constants, attributes, outputs): as the opsets from 7 on have them
    ("Unsqueeze", [X], {"axes": [0, 2]}, 1),
    ("Unsqueeze", [X, np.array([0, 2])], {}, 1),
    ("Squeeze", [X[:1]], {"axes": [0]}, 1),
    ("Squeeze", [X[:1], np.array([0])], {}, 1),
    ("Slice", [X], {"starts": [0, 1], "ends": [2, -1], "axes": [1, 2]}, 1),
    ("Slice", [X, np.array([3]), np.array([-99]), np.array([2]), np.array([-2])], {}, 1),
    ("Split", [X], {"axis": 1, "split": [1, 2]}, 2),
    ("Split", [X, np.array([1, 3])], {"axis": 2}, 2),
    ("ReduceL2", [X], {"axes": [1, 2], "keepdims": 0}, 1),
    ("ReduceSum", [X], {"axes": [-1]}, 1),
    ("ReduceSum", [X, np.array([1])], {}, 1),
    ("Clip", [X], {"min": -0.5, "max": 0.5}, 1),
    ("Clip", [X, np.float32(-0.5), np.float32(0.5)], {}, 1),
    ("Concat", [X, X], {"axis": -1}, 1),
    ("Softmax", [X], {"axis": 1}, 1),
    ("Dropout", [X], {}, 1),
    ("Div", [np.array([-7, 7]), np.array([2, -2])], {}, 1),
    ("Mod", [np.array([-7, 7]), np.array([2, -2])], {}, 1),
    ("BatchNormalization", [X, *(np.float32([1, 2, 3]),) * 4], {}, 1),
    ("DequantizeLinear", [Q, np.float32([0.1, 0.2, 0.3]), np.zeros(3, np.int8)], {}, 1),
    ("DequantizeLinear", [Q, np.float32(0.1), np.int8(3)], {}, 1),
    ("Upsample", [X[None], np.float32([1, 1, 2, 3])], {}, 1),
    ("Resize", [X[None], np.float32([1, 1, 2, 2])], {}, 1),
    ("Resize", [X[None], np.float32([]), np.float32([1, 1, 1.4, 1.6])], {"mode": "cubic"}, 1),
    ("LRN", [X[None]], {"size": 3}, 1),
    ("Unique", [np.round(X)], {"sorted": 0}, 1),
    ("TopK", [X, np.array([2])], {"axis": 1}, 2),
    ("Where", [X > 0, X, -X], {}, 1),
    ("OneHot", [np.array([0, 2]), np.array(3), np.float32([2, 5])], {}, 1),
]
#: Nodes, as they are in this list, for which the reference has other numbers than the runtime.
DISPUTED = ("LRN", "Resize", "Unique")


@pytest.mark.parametrize(("kind", "arrays", "attributes", "count"), OLD)
def test_each_opset_means_what_the_runtime_means(kind, arrays, attributes, count):
    """Either the runtime's numbers or none, and the right ones where it matters: in at least one opset."""
    runtime = pytest.importorskip("onnxruntime")
    runtime.set_default_logger_severity(4)
    constants, outputs = {f"c{j}": array for j, array in enumerate(arrays)}, [f"y{j}" for j in range(count)]
    node, same = helper.make_node(kind, [*constants], outputs, **attributes), 0
    for opset in (7, 9, 10, 11, 12, 13, 18):
        whole = model([node], constants, opset, outputs=outputs)
        try:
            options = runtime.SessionOptions()
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = runtime.InferenceSession(whole.SerializeToString(), options, ["CPUExecutionProvider"])
            expected = session.run(None, {})
        except Exception:  # this opset has no such node
            continue
        ours = computed([node], constants, opset, outputs)
        if ours[0] is not None:
            same += 1
            for array, output in zip(ours, expected, strict=True):
                assert array.dtype == output.dtype
                assert np.allclose(array, output, rtol=1e-5, atol=1e-6), opset
    assert (same == 0) == (kind in DISPUTED)


W = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)


@pytest.mark.parametrize("code", [TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT16])
def test_weights_of_narrow_types_keep_their_numbers(code):
    tensor = helper.make_tensor("W", code, (2, 1, 2), [0.5, -1.25, 0.75, 3])
    x = helper.make_tensor_value_info("x", code, [1, 1, 5])
    whole = model([helper.make_node("Conv", ["x", "W"], ["y"])], {}, 22, [x], ["y"])
    whole.graph.initializer.append(tensor)
    report = cm.from_onnx(whole)
    layer = report.layers["y"]
    narrow = code != TensorProto.FLOAT16
    assert layer.op.kernel.tolist() == [[[0.5, -1.25]], [[0.75, 3]]]
    assert layer.op.dtype == (np.float32 if narrow else np.float16)
    assert len(layer.widened) == narrow
    assert ("in a wider type" in str(report)) == narrow
    assert layer.weight_bytes == (4 if code == TensorProto.FLOAT8E4M3FN else 8)


def test_sizes_in_an_open_batch():
    """Flattening as PyTorch writes it, and a picture doubled by arithmetic on its sizes: the batch has a name only."""
    make, B = helper.make_node, np.ones((72, 2), np.float32)
    nodes = [
        make("Shape", ["x"], ["s"]), make("Gather", ["s", "0"], ["n"]), make("Slice", ["s", "2s", "4s"], ["hw"]),
        make("Mul", ["hw", "2s"], ["hw2"]), make("Slice", ["s", "0s", "2s"], ["nc"]),
        make("Concat", ["nc", "hw2"], ["sizes"], axis=0), make("Resize", ["x", "", "", "sizes"], ["up"]),
        make("Conv", ["up", "W"], ["c"]), make("Unsqueeze", ["n", "0s"], ["n1"]),
        make("Concat", ["n1", "-1s"], ["flat"], axis=0), make("Reshape", ["x", "flat"], ["f"]),
        make("MatMul", ["f", "B"], ["y"]),
    ]  # fmt: skip
    numbers = {"0": 0, "0s": [0], "2s": [2], "4s": [4], "-1s": [-1]}
    constants = {"W": W, "B": B} | {name: np.array(value) for name, value in numbers.items()}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 6])
    layers = cm.from_onnx(model(nodes, constants, 17, [x], ["y", "c"])).layers
    assert (layers["c"].in_shape, layers["c"].out_shape) == ((3, 8, 12), (4, 6, 10))
    assert (layers["y"].in_shape, layers["y"].out_shape) == ((72,), (2,))


def test_a_batch_that_may_be_small_is_not_taken_for_a_large_one():
    make = helper.make_node
    nodes = [
        make("Shape", ["x"], ["s"]), make("Slice", ["s", "0", "1"], ["n"]), make("Min", ["n", "64"], ["m"]),
        make("Concat", ["1", "m"], ["sizes"], axis=0), make("Expand", ["k", "sizes"], ["z"]),
        make("MatMul", ["x", "z"], ["y"]),
    ]  # fmt: skip
    constants = {name: np.array([int(name)]) for name in ("0", "1", "64")} | {"k": np.ones((1, 1), np.float32)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1])
    assert "sizes" in cm.from_onnx(model(nodes, constants, 17, [x], ["y"])).skipped["y"]


def test_reasons_are_those_of_the_model():
    make = helper.make_node
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    nodes = [
        make("RandomNormal", [], ["r"], shape=[4, 3, 3, 3]), make("Conv", ["x", "r"], ["a"]),
        make("Transpose", ["W"], ["t"], perm=[0]), make("Conv", ["x", "t"], ["b"]), make("Relu", ["x"], ["d"]),
        make("Conv", ["x", "d"], ["e"]), make("Conv", ["x", "W"], ["y"]), make("MatMul", ["W", "W"], ["w"]),
    ]  # fmt: skip
    report = cm.from_onnx(model(nodes, {"W": W}, 17, [x], ["y"]))
    assert [*report.layers] == ["y"]
    assert "not known: RandomNormal is random" in report.skipped["a"]
    assert "not known: Transpose fails" in report.skipped["b"]
    assert "'d', not a constant" in report.skipped["e"]
    assert "computed from constants alone" in report.skipped["w"]
    open_ = model(nodes[-2:-1], {"W": W}, 17, [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)], ["y"])
    assert "Pass input_shapes for 'x'" in cm.from_onnx(open_).skipped["y"]
    assert cm.from_onnx(open_, {"x": (1, 3, 8, 8)}).layers["y"].out_shape == (4, 6, 6)


def test_a_default_of_an_input_is_data_and_a_weight():
    x, w = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 8, 8]), ("W", [4, 3, 3, 3]))
    )
    nodes = [helper.make_node("Conv", ["x", "W"], ["y"]), helper.make_node("GlobalAveragePool", ["y"], ["z"])]
    constants = {"W": W, "x": np.ones((1, 3, 8, 8), np.float32)}
    assert {*cm.from_onnx(model(nodes, constants, 17, [x, w], ["z"])).layers} == {"y", "z"}
