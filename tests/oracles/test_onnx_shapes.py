"""Shapes of tensors follow from the nodes: not from what a file says of them, nor from what onnx infers wrong."""

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

from .test_onnx_nodes import runtime  # noqa: E402
from .test_onnx_paths import F32, graph  # noqa: E402

make = helper.make_node
NEG = make("Neg", ["t"], ["y"])
FLAT = make("Flatten", ["t"], ["y"])
POOL = {"kernel_shape": [2], "strides": [3], "ceil_mode": 1}
INFERRED_WRONG = {
    "means": ([make("AveragePool", ["x"], ["t"], **POOL), NEG], {}, (1, 1, 6)),
    "output_shape": ([make("ConvTranspose", ["x", "w"], ["t"], output_shape=[5]), NEG], {"w": F32(1, 2, 3)}, (1, 1, 7)),
    "output_padding": (
        [make("ConvTranspose", ["x", "w"], ["t"], auto_pad="SAME_UPPER", strides=[2], output_padding=[1]), NEG],
        {"w": F32(1, 2, 3)}, (1, 1, 7),
    ),
}  # fmt: skip
LIES = {  # nodes, constants, what the file says of t
    "reshape": ([make("Reshape", ["x", "s"], ["t"]), make("ReduceSum", ["t", "a"], ["y"], keepdims=0)],
                {"s": np.array([2, 6, 2]), "a": np.array([2])}, (2, 2, 6)),
    "identity": ([make("Identity", ["x"], ["t"]), make("Transpose", ["t"], ["y"], perm=[0, 2, 1])], {}, (2, 4, 3)),
    "identity to reshape": ([make("Identity", ["x"], ["t"]), make("Flatten", ["t"], ["y"], axis=2)], {}, (2, 4, 3)),
    "sum": ([make("Identity", ["x"], ["t"]), make("Add", ["t", "c"], ["y"])], {"c": F32(4)}, (2, 3, 5)),
    "rank": ([make("Neg", ["x"], ["t"]), make("Neg", ["t"], ["y"])], {}, (2, 12)),
    "one more behind": ([make("Neg", ["x"], ["t"]), make("Relu", ["t"], ["r"]), make("Flatten", ["r"], ["y"])], {},
                        (2, 6, 2)),
}  # fmt: skip


def compare(model, shape):
    """Compare a map with the runtime."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,), A = runtime(model, x), cm.from_onnx(model).map("y")
    assert A(x).shape == expected.shape
    assert np.allclose(A(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", INFERRED_WRONG)
def test_maps_behind_nodes_of_which_onnx_infers_other_shapes(name):
    nodes, constants, shape = INFERRED_WRONG[name]
    compare(graph(nodes, constants, shape), shape)


def test_maps_of_means_that_runtimes_themselves_take_for_more():
    """Onnxruntime refuses this model, which PyTorch exports: it infers three means."""
    nodes = [make("AveragePool", ["x"], ["t"], **POOL), FLAT, make("Gemm", ["y", "M"], ["z"])]
    M, x = F32(2, 3), F32(1, 1, 6)
    expected = np.stack([x[:, 0, 0:2].mean(1), x[:, 0, 3:5].mean(1)], 1) @ M
    assert np.allclose(cm.from_onnx(graph(nodes, {"M": M}, (1, 1, 6), "z")).map("z")(x), expected, rtol=1e-6, atol=1e-6)


def test_layers_behind_a_maximum_of_which_onnx_infers_another_shape():
    nodes = [make("MaxPool", ["x"], ["t"], **POOL), make("Neg", ["t"], ["y"])]
    model = graph(nodes, {}, (1, 1, 6))
    assert (1, *cm.from_onnx(model).layers["y"].out_shape) == runtime(model, np.ones((1, 1, 6), np.float32))[0].shape


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("where", ["value_info", "output"])
def test_shapes_that_a_file_says_do_not_count(name, where):
    nodes, constants, lied = LIES[name]
    model = graph(nodes, constants, (2, 3, 4))
    honest = runtime(model, np.ones((2, 3, 4), np.float32))[0].shape
    getattr(model.graph, where).append(helper.make_tensor_value_info("t", TensorProto.FLOAT, lied))
    report = cm.from_onnx(model)
    layer = report.layers["y"]
    assert layer.out_shape == honest[0 if layer.whole else 1 :]
    if "r" not in report.skipped:
        clean = graph(nodes, constants, (2, 3, 4))
        x = F32(2, 3, 4)
        assert np.allclose(report.map("y")(x), runtime(clean, x)[0], rtol=1e-5, atol=1e-5)


def test_the_shape_of_an_output_that_a_file_says_does_not_count():
    model = graph([make("Neg", ["x"], ["n"]), make("Neg", ["n"], ["y"])], {}, (1, 3, 4))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 9)))
    compare(model, (1, 3, 4))
