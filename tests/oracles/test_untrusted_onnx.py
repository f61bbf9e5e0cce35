"""What a small file can ask for is not made: files that name huge sizes, contradict themselves, or are no files."""

import os
import tracemalloc

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
from .onnx_model import of_node  # noqa: E402

HUGE = [
    ("AveragePool", {}, {"kernel_shape": [20000, 20000], "pads": [19999] * 4}, (1, 2, 2)),
    ("AveragePool", {}, {"kernel_shape": [20000, 20000], "pads": [19999] * 4, "count_include_pad": 1}, (1, 2, 2)),
    ("AveragePool", {}, {"kernel_shape": [2], "count_include_pad": 0, "pads": [1, 1]}, (3, 10**9)),
    ("AveragePool", {}, {"kernel_shape": [2]}, (10**9, 4)),
    ("GlobalAveragePool", {}, {}, (3, 20000, 20000)),
    ("GlobalAveragePool", {}, {}, (3, 10**12)),
    ("Conv", {"W": np.ones((4, 3, 3, 3), np.float32), "B": np.ones(4, np.float32)}, {}, (3, 10**5, 10**5)),
    ("Conv", {"W": np.ones((4, 3, 3, 3), np.float32)}, {}, (3, 10**10, 10**10)),
    ("Pad", {"pads": np.array([0, 0, 1, 0, 0, 0]), "value": np.float32(2)}, {}, (10**6, 10**6)),
    ("Pad", {"pads": np.array([0, 0, 1, 0, 0, 0])}, {}, (10**10, 3)),
    ("BatchNormalization", {name: np.ones(10**5, np.float32) for name in "sbmv"}, {}, (10**5,)),
]


@pytest.mark.parametrize(("kind", "constants", "attributes", "shape"), HUGE)
def test_huge_sizes_take_neither_time_nor_memory(kind, constants, attributes, shape):
    model = of_node(kind, constants, attributes, shape)
    tracemalloc.start()
    try:
        found = cm.from_onnx(model)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 30e6
    assert bool(found.layers) != bool(found.skipped)
    assert all(len(reason) > 20 for reason in found.skipped.values())


def test_constants_that_double_again_and_again_are_not_worked_out():
    model = of_node("Conv", {"W": np.ones((1, 1, 3), np.float32)}, {}, (1, 8))
    node = model.graph.node[0]
    for j in range(40):
        model.graph.node.insert(j, onnx.helper.make_node("Concat", [node.input[1]] * 2, [f"W{j}"], axis=2))
        node.input[1] = f"W{j}"
    assert "too much time or memory" in cm.from_onnx(model).skipped["y"]


@pytest.mark.parametrize(
    ("kind", "constants", "attributes", "shape", "reason"),
    [
        ("Conv", {"W": np.ones((4, 3, 1), np.float32), "B": np.ones(3, np.float32)}, {}, (3, 5), "Wanted (4,)"),
        ("Conv", {"W": np.ones((4, 3, 1), np.float32), "B": np.ones(1, np.float32)}, {}, (3, 5), "Wanted (4,)"),
        ("Conv", {"W": np.ones((4, 3, 1), np.float32)}, {"pads": [1, 0, 0]}, (3, 5), "contradict each other"),
        ("Conv", {"W": np.ones((4, 3, 1), np.float32)}, {"strides": [1, 1]}, (3, 5), "stride"),
        ("AveragePool", {}, {"kernel_shape": [9]}, (3, 5), "windows of 9 on 5"),
        ("Gemm", {"B": np.ones((3, 4), np.float32)}, {}, (5,), "shape (4, 3) on an axis of 5"),
        ("Gemm", {"B": np.ones((5, 4), np.float32), "C": np.ones(3, np.float32)}, {}, (5,), "Wanted (4,)"),
        ("MatMul", {"B": np.ones((3, 4), np.float32)}, {}, (5,), "shape (4, 3) on an axis of 5"),
        ("BatchNormalization", {name: np.ones(2, np.float32) for name in "sbmv"}, {}, (3, 5), "BatchNormalization: "),
        ("BatchNormalization", {name: np.ones(2, np.float32) for name in "sbmv"}, {}, (3,), "BatchNormalization: "),
    ],
)
def test_nodes_that_contradict_themselves_are_skipped_with_the_reason(kind, constants, attributes, shape, reason):
    skipped = cm.from_onnx(of_node(kind, constants, attributes, shape)).skipped["y"]
    assert skipped.startswith(f"{kind}: ")
    assert reason in skipped


def test_only_ordinary_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with open(tmp_path / "long.onnx", "wb") as file:
        file.truncate(1 << 40)  # takes no space on the disk
    for path in (tmp_path, tmp_path / "pipe.onnx", "/dev/zero"):
        with pytest.raises(cm.ModelFileError, match="no ordinary file"):
            cm.from_onnx(path)
    with pytest.raises(cm.ModelFileError, match="has 1099511627776 bytes"):
        cm.from_onnx(tmp_path / "long.onnx")


@pytest.mark.parametrize("shapes", [[("x", (1, 3, 5))], "x", 3, {"x": None}, {"x": "large"}, {"x": (1, None, 5)}])
def test_input_shapes_of_another_type_are_refused(shapes):
    model = of_node("Conv", {"W": np.ones((4, 3, 1), np.float32)}, {}, (3, 5))
    with pytest.raises(cm.ArgumentTypeError, match="input_shapes"):
        cm.from_onnx(model, shapes)
