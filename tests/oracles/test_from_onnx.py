"""Nodes of ONNX beside the maps made of them: the cases that onnx ships, and trained networks."""

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import convmtx as cm

onnx = pytest.importorskip("onnx")
import onnx.backend.test.case.node as node_cases  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from .onnx_model import of_node  # noqa: E402

OCR = "rapidocr_onnxruntime"
OPS = ("Conv", "ConvTranspose", "AveragePool", "GlobalAveragePool", "Gemm", "MatMul", "Pad", "BatchNormalization")


def shipped():
    """(name, model with all inputs but the first as constants, input, output) of the node cases."""
    for path in sorted(Path(node_cases.__path__[0]).glob("*.py")):
        if re.search(rf'"({"|".join(OPS)})"', path.read_text(encoding="utf-8")):
            importlib.import_module(f"{node_cases.__name__}.{path.stem}")  # its cases register
    for case in sorted(node_cases._NodeTestCases, key=lambda case: case.name):
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in OPS:
            for inputs, outputs in case.data_sets:
                model = onnx.ModelProto()
                model.CopyFrom(case.model)
                for value, array in zip(list(model.graph.input)[1:], inputs[1:], strict=True):
                    model.graph.input.remove(value)
                    model.graph.initializer.append(numpy_helper.from_array(array, value.name))
                yield case.name, model, inputs[0], outputs[0]


CASES = list(shipped())
#: Nodes that take statistics of a batch, by the reason.
NO_MAPS = {
    "test_batchnorm_epsilon_training_mode": "training_mode=1",
    "test_batchnorm_example_training_mode": "training_mode=1",
}


@pytest.mark.parametrize(("name", "model", "x", "y"), CASES, ids=[case[0] for case in CASES])
def test_shipped_case(name, model, x, y):
    found = cm.from_onnx(model)
    (node,) = model.graph.node
    if node.output[0] in found.skipped:
        assert NO_MAPS[name] in found.skipped[node.output[0]]
        return
    layer = found.layers[node.output[0]]
    assert (layer.op_type, layer.input_name) == (node.op_type, model.graph.input[0].name)
    assert np.shape(layer(x)) == np.shape(y)
    eps = np.finfo(y.dtype).eps if y.dtype.kind == "f" else 0
    terms = layer.op.nnz if isinstance(layer.op, cm.ConvOperator) else max(layer.op.shape)
    atol = eps * max(terms, 8) * max(np.abs(x).max(), 1)
    if name == "test_averagepool_2d_ceil_last_window_starts_on_pad":  # what it expects has four digits
        atol = 6e-5
    assert np.allclose(layer(x), y, rtol=1e-5, atol=min(atol, 1e-4))
    flat = x.reshape(1 if layer.whole else len(x), -1).astype(np.float64)
    assert np.allclose(
        (layer.op.to_sparse() @ flat.T).T + layer.offset.ravel(), y.reshape(len(flat), -1), rtol=1e-5, atol=1e-4
    )


def test_every_kind_of_node_has_a_shipped_case():
    kinds = {model.graph.node[0].op_type for _, model, *_ in CASES}
    assert kinds == set(OPS)
    assert len(CASES) >= 60


def run(model, feeds):
    """Every tensor of a graph, as onnxruntime computes it."""
    import onnxruntime

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    whole.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, feeds), strict=True)) | feeds


POOL = {"kernel_shape": [2], "count_include_pad": 1}
BESIDE_A_RUNTIME = [
    ("AveragePool", {}, {**POOL, "strides": [2], "pads": [1, 0]}, (1, 5)),
    ("AveragePool", {}, {**POOL, "strides": [2], "pads": [0, 1]}, (1, 5)),
    ("AveragePool", {}, {**POOL, "auto_pad": "SAME_LOWER"}, (1, 5)),
    ("AveragePool", {}, {**POOL, "auto_pad": "SAME_UPPER"}, (1, 5)),
    ("AveragePool", {}, {"kernel_shape": [3], "pads": [2, 1], "dilations": [2]}, (2, 7)),
    ("AveragePool", {}, {"kernel_shape": [3, 2], "pads": [2, 0, 0, 1], "strides": [2, 1], "ceil_mode": 1}, (2, 6, 5)),
    ("BatchNormalization", {name: np.float32([1, 2, 3]) for name in ("scale", "B", "mean", "var")}, {}, (3,)),
    ("Gemm", {"B": np.ones((5, 4), np.float32), "C": np.float32(3)}, {"beta": 0.5}, (5,)),
    *(
        ("Pad", {"pads": np.array([0, 0, *lows, 0, 0, *highs])}, {"mode": mode}, (2, 6, 5))
        for mode in ("constant", "wrap", "reflect", "edge")
        for lows, highs in [((1, 2), (3, 0)), ((-1, 2), (2, -2)), ((-2, -1), (-1, 0)), ((-2, 3), (0, -1))]
    ),
]


@pytest.mark.parametrize(("kind", "constants", "attributes", "shape"), BESIDE_A_RUNTIME)
def test_a_node_and_its_map(kind, constants, attributes, shape):
    pytest.importorskip("onnxruntime")
    model = of_node(kind, constants, attributes, shape, 19)
    x = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(1, *shape)
    expected, layer = run(model, {"x": x})["y"], cm.from_onnx(model).layers["y"]

    assert layer(x).shape == expected.shape
    assert np.allclose(layer(x), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["AveragePool", "GlobalAveragePool"])
def test_means_are_of_the_type_of_the_data(kind):
    attributes = {"kernel_shape": [3]} if kind == "AveragePool" else {}
    model = of_node(kind, {}, attributes, (1, 3))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    x = np.random.default_rng(0).standard_normal((1, 1, 3))
    assert np.allclose(cm.from_onnx(model).layers["y"](x), x.mean(), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("kind", "constants", "attributes", "shape", "opset", "reason"),
    [
        ("BatchNormalization", {n: np.ones((2, 3), "f4") for n in "sbmv"}, {"spatial": 0}, (2, 3), 7, "spatial=0"),
        ("BatchNormalization", {n: -np.ones(2, "f4") for n in "sbmv"}, {}, (2, 3), 15, "a variance of -1"),
        (
            "ConvTranspose",
            {"W": np.ones((1, 1, 1), "f4")},
            {"auto_pad": "SAME_UPPER", "strides": [3]},
            (1, 3),
            11,
            "Runtimes disagree",
        ),
        (
            "AveragePool",
            {},
            {"kernel_shape": [1], "auto_pad": "SAME_UPPER", "strides": [3]},
            (1, 6),
            22,
            "spans [1] under strides [3]",
        ),
        (
            "AveragePool",
            {},
            {"kernel_shape": [2], "auto_pad": "SAME_LOWER", "dilations": [2]},
            (1, 5),
            22,
            "Runtimes disagree",
        ),
    ],
)
def test_what_has_no_one_meaning_is_skipped(kind, constants, attributes, shape, opset, reason):
    assert reason in cm.from_onnx(of_node(kind, constants, attributes, shape, opset)).skipped["y"]


def photograph(height, width):
    """Matplotlib's own photograph, as (3, height, width) between -1 and 1."""
    import matplotlib.cbook
    import matplotlib.image

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        image = matplotlib.image.imread(file, format="jpg")
    rows = np.linspace(0, image.shape[0] - 1, height).astype(int)
    columns = np.linspace(0, image.shape[1] - 1, width).astype(int)
    return (image[rows][:, columns].transpose(2, 0, 1) / 127.5 - 1).astype(np.float32)


def sound(samples):
    """A bell: partials that fade."""
    t = np.arange(samples) / 22050
    return sum(np.sin(2 * np.pi * f * t) * np.exp(-3 * t * k) for k, f in enumerate((220, 554, 880, 1230), 1)).astype(
        np.float32
    )


def folder(package):
    """Where a package lies, which is not imported."""
    found = find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return Path(found.submodule_search_locations[0])


NETWORKS = {  # package, file, input, how many maps there are
    "basic-pitch": ("basic_pitch", "saved_models/icassp_2022/nmp.onnx", lambda: sound(43844)[None, :, None], 207),
    "text direction": (OCR, "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", lambda: photograph(48, 192)[None], 156),
    "text recognition": (OCR, "models/ch_PP-OCRv4_rec_infer.onnx", lambda: photograph(48, 96)[None], 295),
    "text detection": (OCR, "models/ch_PP-OCRv4_det_infer.onnx", lambda: photograph(64, 96)[None], 237),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_networks_on_real_activations(name, capsys):
    pytest.importorskip("onnxruntime")
    package, file, make, count = NETWORKS[name]
    path, x = folder(package) / file, make()
    model = onnx.load(path)
    feed = model.graph.input[0].name
    values = run(model, {feed: x})
    found = cm.from_onnx(path, {feed: x.shape})
    worst, matrices = 0.0, 0
    for output, layer in found.layers.items():
        y, inputs = values[output], values[layer.input_name]
        ours = layer(inputs)
        magnitude = np.abs(y).max() + np.abs(inputs).max() * 1e-1 + 1e-6
        difference = np.abs(ours - y).max() / magnitude
        worst = max(worst, difference)
        assert ours.shape == y.shape
        assert difference < 2e-5, (output, layer.op_type, difference)
        if isinstance(layer.op, cm.ConvOperator) and layer.op.nnz < 3_000_000:
            matrices += 1
            flat = inputs.reshape(len(inputs), -1)
            product = (layer.op.to_sparse() @ flat.T).T.reshape(y.shape) + layer.offset
            assert np.abs(product - y).max() / magnitude < 2e-5
    with capsys.disabled():
        print(f"\n{name}: {len(found.layers)} of {len(model.graph.node)} nodes, {matrices} as CSR, worst {worst:.1e}")
    assert len(found.layers) == count
    assert set(found.layers) | set(found.skipped) == {node.output[0] for node in model.graph.node}
    assert f"{len(found.layers)} maps" in str(found)


def small(**changes):
    """A model of one convolution."""
    W = np.ones((1, 1, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "W"], ["y"], **changes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, "h", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, "oh", "ow"])],
        [numpy_helper.from_array(W, "W")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_shapes_that_the_model_leaves_open():
    assert "Pass input_shapes" in cm.from_onnx(small()).skipped["y"]
    assert cm.from_onnx(small(), {"x": (2, 1, 5, 8)}).layers["y"].out_shape == (1, 3, 6)
    for shapes in [{"z": (1, 1, 5, 8)}, {"x": (1, 1, 5, 9)}, {"x": (1, 1, 5)}]:
        with pytest.raises(cm.UnsupportedError, match="The model's inputs are"):
            cm.from_onnx(small(), shapes)


def with_external_data(path, location, **more):
    model = small()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    path.write_bytes(model.SerializeToString())


def test_external_data_stays_in_the_folder(tmp_path):
    inside, outside = tmp_path / "model", tmp_path / "secret.bin"
    inside.mkdir()
    outside.write_bytes(bytes(36))
    (inside / "W.bin").write_bytes(np.ones(9, np.float32).tobytes())
    (inside / "link.bin").symlink_to(outside)
    path = inside / "model.onnx"
    with_external_data(path, "W.bin")
    assert cm.from_onnx(path, {"x": (1, 1, 5, 8)}).layers["y"].op.kernel.sum() == 9
    for location in ("../secret.bin", str(outside), "link.bin", "missing.bin"):
        with_external_data(path, location)
        with pytest.raises(cm.ModelFileError, match="inside the model's folder"):
            cm.from_onnx(path)
    for more in ({"offset": 8}, {"length": 10**12}, {"offset": -4}):
        with_external_data(path, "W.bin", **more)
        with pytest.raises(cm.ModelFileError):
            cm.from_onnx(path)


def test_damaged_files_are_one_clear_error(tmp_path):
    path = tmp_path / "model.onnx"
    whole = small().SerializeToString()
    for data in (b"", b"no model", whole[: len(whole) // 2], whole[:-3], b"\xff" * 200):
        path.write_bytes(data)
        with pytest.raises(cm.ModelFileError, match="not a valid ONNX model"):
            cm.from_onnx(path)
    short = small()
    short.graph.initializer[0].raw_data = bytes(8)
    with pytest.raises(cm.ModelFileError):
        cm.from_onnx(short, {"x": (1, 1, 5, 8)})
    with pytest.raises(FileNotFoundError):
        cm.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="model is an int"):
        cm.from_onnx(3)
