"""What a small file can ask for is not made: files that name huge sizes, contradict themselves, or are no files."""

import os
import time
import tracemalloc

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
from .onnx_model import of_node  # noqa: E402

I64 = lambda *values: np.array(values, np.int64)  # noqa: E731
F32 = lambda *values: np.array(values, np.float32)  # noqa: E731
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
    ("Expand", {"s": I64(1, 10**9, 10**9, 10**9)}, {}, (1, 1, 1)),
    ("Tile", {"s": I64(1, 1 << 62, 1 << 62)}, {}, (3, 4)),
    ("Resize", {"roi": F32(), "s": F32(1, 1, 1e9)}, {"mode": "linear"}, (3, 4)),
    ("CenterCropPad", {"s": I64(1, 10**9, 10**9)}, {}, (3, 4)),
    ("CumSum", {"s": np.array(2)}, {}, (3, 10**9)),
    ("Trilu", {}, {}, (10**9, 10**9)),
    ("ReduceSum", {}, {}, (10**9, 10**9)),
    ("DFT", {}, {}, (10**9, 1)),
    ("GatherND", {"s": I64(0).reshape(1, 1)}, {}, (10**9,)),
    ("ScatterND", {"s": I64(0).reshape(1, 1), "u": np.ones((1, 10**3), "f4")}, {}, (10**9,)),
    ("Einsum", {"c": np.ones(2, "f4")}, {"equation": "bii,i->b"}, (10**9, 10**9)),
    ("Concat", {"c": np.ones((1, 1, 10**3), "f4")}, {"axis": 1}, (10**7, 10**3)),
    ("DepthToSpace", {}, {"blocksize": 1 << 40}, (3, 4, 4)),
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
        ("Conv", {"W": np.ones((4, 3, 1), np.float32), "B": np.ones(3, np.float32)}, {}, (3, 5), "Expected (4,)"),
        ("Conv", {"W": np.ones((4, 3, 1), np.float32), "B": np.ones(1, np.float32)}, {}, (3, 5), "Expected (4,)"),
        ("Conv", {"W": np.ones((4, 3, 1), np.float32)}, {"pads": [1, 0, 0]}, (3, 5), "contradict each other"),
        ("Conv", {"W": np.ones((4, 3, 1), np.float32)}, {"strides": [1, 1]}, (3, 5), "stride"),
        ("AveragePool", {}, {"kernel_shape": [9]}, (3, 5), "windows of 9 on 5"),
        ("Gemm", {"B": np.ones((3, 4), np.float32)}, {}, (5,), "shape (4, 3) on an axis of 5"),
        ("Gemm", {"B": np.ones((5, 4), np.float32), "C": np.ones(3, np.float32)}, {}, (5,), "Expected (4,)"),
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
        with pytest.raises(cm.ModelFileError, match="not an ordinary file"):
            cm.from_onnx(path)
    with pytest.raises(cm.ModelFileError, match="has 1099511627776 bytes"):
        cm.from_onnx(tmp_path / "long.onnx")


@pytest.mark.parametrize("shapes", [[("x", (1, 3, 5))], "x", 3, {"x": None}, {"x": "large"}, {"x": (1, None, 5)}])
def test_input_shapes_of_another_type_are_refused(shapes):
    model = of_node("Conv", {"W": np.ones((4, 3, 1), np.float32)}, {}, (3, 5))
    with pytest.raises(cm.ArgumentTypeError, match="input_shapes"):
        cm.from_onnx(model, shapes)


MOST = (1 << 63) - 1
BOMBS = [  # nodes of constants whose outputs, windows or loops are huge
    ("ConstantOfShape", [I64(10**6, 10**6)], {}),
    ("Expand", [np.ones((1, 1, 1), "f4"), I64(10**6, 10**6, 1)], {}),
    ("Tile", [np.ones((1, 1, 1), "f4"), I64(10**6, 10**6, 10)], {}),
    ("Range", [np.array(0), np.array(10**12), np.array(1)], {}),
    ("Range", [np.float32(0), np.float32(1), np.float32(1e-12)], {}),
    ("Pad", [np.ones((1, 1, 1), "f4"), I64(0, 0, 10**12, 0, 0, 0)], {}),
    ("Resize", [np.ones((1, 1, 1), "f4"), np.float32([]), np.float32([1, 1, 1e12])], {}),
    ("Resize", [np.ones((1, 1, 9), "f4"), np.float32([]), np.float32([]), I64(1, 1, 10**10)], {}),
    ("OneHot", [I64(0, 1), np.array(10**12), np.float32([0, 1])], {}),
    ("EyeLike", [np.ones((1, 1), "f4")], {"k": MOST}),
    ("CenterCropPad", [np.ones((1, 1), "f4"), I64(10**6, 10**6)], {}),
    ("AveragePool", [np.ones((1, 1, 2, 2), "f4")], {"kernel_shape": [20000] * 2, "pads": [19999] * 4}),
    ("MaxPool", [np.ones((1, 1, 2), "f4")], {"kernel_shape": [2], "strides": [10**9], "pads": [10**9] * 2}),
    ("Conv", [np.ones((1, 1, 2), "f4"), np.ones((1, 1, 1), "f4")], {"strides": [10**9], "pads": [10**9] * 2}),
    ("Einsum", [np.ones(300, "f4")] * 5, {"equation": "a,b,c,d,e->"}),
    ("BlackmanWindow", [np.array(10**12)], {}),
    ("Slice", [I64(1, 2, 3), I64(0), I64(3), I64(0), I64(MOST)], {}),
    ("Slice", [I64(1, 2, 3), I64(2), I64(-MOST), I64(0), I64(-MOST - 1)], {}),
]


@pytest.mark.parametrize(("kind", "arrays", "attributes"), BOMBS)
def test_constants_that_would_be_huge_are_not_computed(kind, arrays, attributes):
    """The convolution beside them is a map all the same, and one that wants them says why there is none."""
    model = of_node("Conv", {"W": np.ones((2, 1, 3), np.float32)}, {}, (1, 8))
    constants = {f"c{j}": array for j, array in enumerate(arrays)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    model.graph.node.append(onnx.helper.make_node(kind, [*constants], ["huge"], **attributes))
    model.graph.node.append(onnx.helper.make_node("Conv", ["x", "huge"], ["z"]))
    tracemalloc.start()
    start = time.monotonic()
    try:
        report = cm.from_onnx(model)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 30e6
    assert time.monotonic() - start < 20
    assert {*report.layers} - {"huge"} == {"y"}  # a layer of a constant is a map like any other
    assert len(report.skipped["z"]) > 20


def test_functions_that_multiply_without_end_are_not_written_out():
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("d", 1)]
    make = onnx.helper.make_node
    model = of_node("Conv", {"W": np.ones((2, 1, 3), np.float32)}, {}, (1, 8))
    model.functions.append(onnx.helper.make_function("d", "f0", ["a"], ["b"], [make("Relu", ["a"], ["b"])], opsets))
    for j in range(1, 60):
        twice = [make(f"f{j - 1}", ["a"], ["t"], domain="d"), make(f"f{j - 1}", ["t"], ["b"], domain="d")]
        model.functions.append(onnx.helper.make_function("d", f"f{j}", ["a"], ["b"], twice, opsets))
    model.opset_import.append(opsets[1])
    model.graph.node.append(make("f59", ["y"], ["z"], domain="d"))
    start = time.monotonic()
    assert [*cm.from_onnx(model).layers] == ["y"]
    assert time.monotonic() - start < 20


def test_names_and_reasons_are_of_bounded_length():
    name = "n" * 100_000
    model = of_node("Conv", {"W": np.ones((2, 1, 3), np.float32)}, {}, (1, 8))
    model.graph.node.append(onnx.helper.make_node("Relu", ["y"], [name]))
    model.graph.node.append(onnx.helper.make_node("Conv", ["y", name], ["z"]))
    report = cm.from_onnx(model)
    assert len(report.skipped["z"]) < 400
    assert len(str(report)) < 3000


@pytest.mark.parametrize("axis", [10**12, -65])
@pytest.mark.parametrize("inside", [False, True])
def test_axes_that_no_array_has_are_refused(axis, inside):
    """ONNX's inference of shapes crashes the process at such an axis of LayerNormalization."""
    node = onnx.helper.make_node("LayerNormalization", ["x", "x"], ["y"], axis=axis)
    if inside:
        y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
        branch = onnx.helper.make_graph([node], "branch", [], [y])
        node = onnx.helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    value = onnx.helper.make_tensor_value_info
    inputs = [value("x", onnx.TensorProto.FLOAT, [2]), value("c", onnx.TensorProto.BOOL, [])]
    outputs = [value(node.output[0], onnx.TensorProto.FLOAT, [2])]
    graph = onnx.helper.make_graph([node], "graph", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    with pytest.raises(cm.ModelFileError, match=rf"LayerNormalization.* with axis={axis}"):
        cm.from_onnx(model)


def test_files_of_other_formats_are_refused_by_their_name(tmp_path):
    import io
    import zipfile

    def archive(name):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr(name, "nothing")
        return file.getvalue()

    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    array = io.BytesIO()
    np.save(array, np.ones(3))
    files = {
        "TensorFlow Lite": bytes(4) + b"TFL3" + bytes(50), "format of onnxruntime": bytes(4) + b"ORTM" + bytes(50),
        "PyTorch": archive("model/data.pkl"), "pickle": b"\x80\x02}q\x00.", "Keras": archive("metadata.json"),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(50), "safetensors": len(header).to_bytes(8, "little") + header + bytes(4),
        "NumPy": array.getvalue(), "zip archive": archive("readme.txt"), "compressed": b"\x1f\x8b" + bytes(30),
    }  # fmt: skip
    names = {"pickle": "PyTorch", "hdf5": "Keras"}
    for name, content in files.items():
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(cm.ModelFileError, match=names.get(name, name)):
            cm.from_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("kind", "constants", "attributes", "reason"),
    [
        ("Split", {}, {"num_outputs": 1 << 40}, "Split' with num_outputs=1099511627776"),
        ("GatherND", {"i": I64(0).reshape(1, 1)}, {"batch_dims": -(10**9)}, "GatherND' with batch_dims=-1000000000"),
        ("Einsum", {}, {"equation": b"\xff\xfe"}, "Einsum' with equation="),
        ("Transpose", {}, {"perm": [0, 1 << 40]}, "Transpose' with perm=1099511627776"),
    ],
)
def test_attributes_at_which_the_inference_of_shapes_ends_the_process_are_refused(kind, constants, attributes, reason):
    """The first two read memory that is not theirs, and the third never ends."""
    with pytest.raises(cm.ModelFileError, match=reason):
        cm.from_onnx(of_node(kind, constants, attributes, (4,), 20))


def test_sizes_beyond_those_of_any_array_are_kept():
    huge = of_node("Identity", {}, {}, ((1 << 60) - 1,))
    assert cm.from_onnx(huge).map("y").in_shape == ((1 << 60) - 1,)


def of_nodes(nodes, shape, output):
    """A model of x and a constant 1."""
    ends = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]
    held = [onnx.numpy_helper.from_array(F32(1), "one")]
    graph = onnx.helper.make_graph(nodes, "g", ends, [onnx.helper.make_empty_tensor_value_info(output)], held)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("pair", ["aa", "ab"])
def test_offsets_that_double_again_and_again_are_not_made(pair):
    """60 nodes double a tensor; the map alone takes no memory, and that of the first 10 nodes has all its numbers."""
    make = onnx.helper.make_node
    nodes = [make("Add", ["x", "one"], ["a0"]), make("Neg", ["x"], ["b0"])]
    for j in range(60):
        names = [f"{letter}{j}" for letter in pair]
        nodes += [make("Concat", names, [f"a{j + 1}"], axis=1), make("Concat", names[::-1], [f"b{j + 1}"], axis=1)]
    report = cm.from_onnx(of_nodes(nodes, (1, 1), "a60"))
    start = time.monotonic()
    with pytest.raises(cm.UnsupportedError, match=r"the offset of 'a\d+' would take"):
        report.map("a60")
    assert time.monotonic() - start < 5
    a, b = F32(3 + 1), F32(-3)
    for _ in range(10):
        a, b = np.concatenate([a, a if pair == "aa" else b]), np.concatenate([a if pair == "aa" else b, a])
    assert np.array_equal(report.map("a10")(F32(3)), a)


@pytest.mark.parametrize("kind", ["Concat", "Sum"])
def test_nodes_of_many_inputs_take_a_time_for_each_of_them(kind):
    count, x = 10_000, F32(1, 2)
    attributes = {"axis": 1} if kind == "Concat" else {}
    model = of_nodes([onnx.helper.make_node(kind, ["x"] * count, ["y"], **attributes)], (1, 2), "y")
    start = time.monotonic()
    A = cm.from_onnx(model).map("y")
    assert time.monotonic() - start < 10
    assert np.array_equal(A(x), np.tile(x, count) if kind == "Concat" else count * x)
