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


UP, ADD = make("ConvTranspose", ["x", "w"], ["a"], strides=[2, 2]), make("Add", ["a", "b"], ["y"])
W = {"w": F32(1, 1, 2, 2)}
SIZES = [
    make("Shape", ["x"], ["shape"]), make("Slice", ["shape", "from", "to"], ["front"]),
    make("Concat", ["front", "hw"], ["sizes"], axis=0), make("Resize", ["x", "", "", "sizes"], ["b"]),
]  # fmt: skip
OPEN = {  # nodes and constants of skip connections beside nodes that keep a batch of open size
    "scales": ([UP, make("Resize", ["x", "", "s"], ["b"]), ADD], {**W, "s": np.float32([1, 1, 2, 2])}, 17),
    "joined": ([UP, make("Resize", ["x", "", "s"], ["b"], mode="linear"), make("Concat", ["a", "b"], ["y"], axis=1)],
               {**W, "s": np.float32([1, 1, 2, 2])}, 17),
    "axes": ([UP, make("Resize", ["x", "", "s"], ["b"], axes=[2, 3]), ADD], {**W, "s": np.float32([2, 2])}, 18),
    "a region": (
        [UP, make("Resize", ["x", "roi", "s"], ["b"], coordinate_transformation_mode="tf_crop_and_resize",
                  mode="linear"), ADD],
        {**W, "roi": np.float32([0, 0, 0.25, 0, 1, 1, 0.75, 1]), "s": np.float32([1, 1, 2, 2])}, 17,
    ),
    "sizes": ([UP, *SIZES, ADD], {**W, "from": np.array([0]), "to": np.array([2]), "hw": np.array([8, 8])}, 17),
    "upsample": ([UP, make("Upsample", ["x", "s"], ["b"]), ADD], {**W, "s": np.float32([1, 1, 2, 2])}, 9),
    "behind": ([UP, make("Resize", ["x", "", "s"], ["r"]), make("Neg", ["r"], ["b"]), ADD],
               {**W, "s": np.float32([1, 1, 2, 2])}, 17),
    "reshape": ([make("Reshape", ["x", "flat"], ["r"]), make("Reshape", ["r", "back"], ["a"]),
                 make("Add", ["a", "x"], ["y"])], {"flat": np.array([-1, 16]), "back": np.array([-1, 1, 4, 4])}, 17),
    "expand": ([make("ReduceMean", ["x"], ["m"], axes=[2, 3]), make("Expand", ["m", "shape"], ["a"]),
                make("Add", ["a", "x"], ["y"])], {"shape": np.array([1, 1, 4, 4])}, 17),
    "tile": ([make("Slice", ["x", "from", "to", "axis"], ["s"]), make("Tile", ["s", "r"], ["a"]),
              make("Add", ["a", "x"], ["y"])],
             {"from": np.array([0]), "to": np.array([2]), "axis": np.array([3]), "r": np.array([1, 1, 1, 2])}, 17),
}  # fmt: skip


@pytest.mark.parametrize("name", OPEN)
def test_a_batch_of_open_size_is_kept(name):
    nodes, constants, opset = OPEN[name]
    model = graph(nodes, constants, ("N", 1, 4, 4))
    model.opset_import[0].version = opset
    assert not cm.from_onnx(model).map("y").whole
    compare(model, (3, 1, 4, 4))


def test_a_policy_of_sizes_that_depends_on_an_open_one_is_not_guessed():
    nodes = [*SIZES[:-1], make("Resize", ["x", "", "", "sizes"], ["y"], keep_aspect_ratio_policy="not_larger")]
    model = graph(nodes, {"from": np.array([0]), "to": np.array([2]), "hw": np.array([8, 8])}, ("N", 1, 4, 4))
    model.opset_import[0].version = 18
    assert "Pass input_shapes for 'x'" in cm.from_onnx(model).skipped["y"]
