"""``layers``: the table of a model that is made here, against numbers worked out by NumPy."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

rng = np.random.default_rng(0)
W = rng.normal(size=(4, 3, 3, 3)).astype("f4")
B = rng.normal(size=(10, 36)).astype("f4")


@pytest.fixture
def model(here):
    """Convolution with stride, mean pooling, and a matrix; sizes are open."""
    nodes = [
        onnx.helper.make_node("Conv", ["x", "W"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        onnx.helper.make_node("Relu", ["c"], ["r"]),
        onnx.helper.make_node("AveragePool", ["r"], ["p"], kernel_shape=[2, 2]),
        onnx.helper.make_node("Flatten", ["p"], ["f"]),
        onnx.helper.make_node("Gemm", ["f", "B"], ["y"], transB=1),
    ]
    graph = onnx.helper.make_graph(
        nodes, "g", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])],
        [onnx.numpy_helper.from_array(W, "W"), onnx.numpy_helper.from_array(B, "B")],
    )  # fmt: skip
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), "model.onnx"
    )
    return here


SHAPE = ("--shape", "x=1,3,8,8")


def dense(layer):
    """The matrix of the convolution: windows of single pixels times the kernel."""
    columns = []
    for e in np.eye(3 * 8 * 8):
        padded = np.pad(e.reshape(3, 8, 8), [(0, 0), (1, 1), (1, 1)])
        seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
        columns.append(np.einsum("cabpq,fcpq->fab", seen, layer).ravel())
    return np.array(columns).T


@pytest.mark.parametrize("norm", ["bound", "interval", "none"])
def test_every_number_of_the_table(model, facts, norm):
    found = facts("layers", "model.onnx", *SHAPE, "--norm", norm)
    conv, pool, flat, gemm = found["layers"]
    assert [each["node"] for each in found["layers"]] == ["Conv", "AveragePool", "Flatten", "Gemm"]
    assert (flat["in_shape"], flat["out_shape"], flat["nnz"], flat["whole"]) == ([4, 3, 3], [36], 36, False)
    assert (conv["output"], conv["in_shape"], conv["out_shape"]) == ("c", [3, 8, 8], [4, 4, 4])
    matrix = dense(W)
    assert conv["nnz"] == (matrix != 0).sum()
    assert conv["csr_bytes"] == conv["nnz"] * 8 + 65 * 4
    assert conv["weight_bytes"] == W.nbytes
    assert (pool["nnz"], pool["out_shape"]) == (4 * 9 * 4, [4, 3, 3])
    assert (gemm["nnz"], gemm["weight_bytes"], gemm["in_shape"]) == (360, B.nbytes, [36])
    tops = [np.linalg.norm(matrix, 2), None, 1, np.linalg.norm(B.astype(float), 2)]
    for layer, top in zip(found["layers"], tops, strict=True):
        if norm == "none":
            assert layer["norm"] is None
        elif top is not None:
            assert layer["norm"]["lower"] * (1 - 1e-6) <= top <= layer["norm"]["upper"] * (1 + 1e-6)
    if norm != "none":
        assert conv["norm"]["kind"] == ("upper" if norm == "bound" else "exact")
    assert set(found["skipped"]) == {"r"}


def test_the_table(model, said):
    text = said("layers", "model.onnx", *SHAPE)
    head, first, *_ = text.splitlines()
    assert head.split() == ["node", "takes", "makes", "nnz", "norm", "kind", "csr", "weights", "output", "name"]
    assert first.split()[:4] == ["Conv", "3x8x8", "4x4x4", str((dense(W) != 0).sum())]
    assert first.split()[-2:] == ["c", "-"]
    assert "4 nodes converted, 1 skipped" in text
    assert "1 not linear: 1 Relu" in text


def test_names_of_nodes_and_bytes_of_weights_are_those_of_the_file(here, facts, said):
    """As exporters write them: 4 statistics a channel, means without weights, and 16-bit numbers that NumPy lacks."""
    half = onnx.helper.make_tensor("h", onnx.TensorProto.BFLOAT16, (4, 3, 1, 1), np.linspace(-1, 1, 12))
    make, statistics = onnx.helper.make_node, [np.linspace(1, 2, 4).astype("f4")] * 4
    nodes = [
        make("Conv", ["x", "W", "s"], ["c"], name="/stem/Conv"),
        make("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], name="/stem/bn"),
        make("GlobalAveragePool", ["n"], ["g"], name="/head/pool"),
        make("Cast", ["x"], ["x16"], to=onnx.TensorProto.BFLOAT16),
        make("Conv", ["x16", "h"], ["d"]),
        make("Pad", ["x", "pads"], ["p"]),
    ]
    values = {"W": W, "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), **dict(zip("sbmv", statistics, strict=True))}
    graph = onnx.helper.make_graph(
        nodes, "g", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])], [],
        [half, *(onnx.numpy_helper.from_array(value, name) for name, value in values.items())],
    )  # fmt: skip
    graph.output.append(onnx.helper.make_tensor_value_info("g", onnx.TensorProto.FLOAT, [1, 4, 1, 1]))
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10), "model.onnx"
    )
    rows = {row["output"]: row for row in facts("layers", "model.onnx", "--norm", "none")["layers"]}
    assert {name: (row["name"], row["weight_bytes"]) for name, row in rows.items()} == {
        "c": ("/stem/Conv", W.nbytes + 4 * 4), "n": ("/stem/bn", 4 * 4 * 4), "g": ("/head/pool", 0),
        "x16": ("", 0), "d": ("", 12 * 2), "p": ("", 0),
    }  # fmt: skip
    assert [row["widened"] for row in rows.values()] == [[], [], [], [], ["bfloat16"], []]
    text = said("layers", "model.onnx", "--norm", "none")
    assert text.splitlines()[1].split()[-2:] == ["c", "/stem/Conv"]
    assert "  d: weights of bfloat16, in a wider type without rounding" in text


def test_sizes_that_are_open_say_what_to_give(model, said, refusal):
    assert "Give --shape" in said("layers", "model.onnx")
    assert "inputs are" in refusal("layers", "model.onnx", "--shape", "z=1,2")
    assert "'x' is not a name and sizes" in refusal("layers", "model.onnx", "--shape", "x")
    assert "--shape" in refusal("layers", "model.onnx", "--shape", "=1,2")


def test_norms_that_cannot_be_had_are_told(model, facts, said, monkeypatch):
    from convmtx.errors import UnsupportedError

    def fail(*_, **__):
        raise UnsupportedError("too much", "Expected less", "Wait")

    monkeypatch.setattr("convmtx.norm_bound", fail, raising=False)
    conv = facts("layers", "model.onnx", *SHAPE)["layers"][0]
    assert (conv["norm"], conv["no_norm"]) == (None, "too much. Expected less. Wait.")
    text = said("layers", "model.onnx", *SHAPE)
    assert text.splitlines()[1].split()[4:6] == ["-", "-"]
    assert f"\n  {conv['output']}: no norm (too much. Expected less. Wait.)\n" in text


@pytest.mark.parametrize("content", [b"", b"junk" * 50])
def test_models_that_are_none(here, refusal, content):
    (here / "bad.onnx").write_bytes(content)
    assert "bad.onnx is not a valid ONNX model" in refusal("layers", "bad.onnx")


def test_without_onnx(model, refusal, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert 'pip install "convmtx[onnx]"' in refusal("layers", "model.onnx")
