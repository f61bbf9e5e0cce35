"""Resizing is what each library computes: the matrix is its function of the identity."""

import random
import warnings

import numpy as np
import pytest

import convmtx as cm
from convmtx.interop import layers
from convmtx.resizing import onnx_axis, torch_axis

from .agreement import import_tensorflow

#: Sizes of one axis before and after: both ways, by integers and not, and down to one. (41, 18), (59, 58), (39, 10)
#: and (52, 71) have outputs whose nearest input, or last one read, is a question of rounding.
PAIRS = [(1, 5), (5, 1), (6, 12), (12, 6), (7, 10), (21, 7), (41, 18), (59, 58), (39, 10), (52, 71)]
#: Sizes with an output whose place is an integer in real numbers, and in some orders of rounding a little less.
TIES = [(6, 37), (10, 25), (2, 249), (4, 110), (12, 246)]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def interpolated(torch, shape, **options):
    """Matrix of `interpolate` of arrays of a shape: its outputs of the identity, beside a channel of two."""
    n = int(np.prod(shape))
    identity = torch.eye(n, dtype=torch.float64).reshape(n, 1, *shape).repeat(1, 2, *(1 for _ in shape))
    return torch.nn.functional.interpolate(identity, **options)[:, 1].reshape(n, -1).T.numpy()


MODES = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}
SHAPES = {1: ((9,), (5,)), 2: ((5, 6), (7, 4)), 3: ((3, 4, 5), (4, 2, 5))}


@pytest.mark.parametrize(
    ("d", "mode"), [(d, mode) for d in MODES for mode in ["nearest", "nearest-exact", "area", *MODES[d]]]
)
def test_torch(torch, d, mode):
    shape, target = SHAPES[d]
    for corners in (False, True) if mode in MODES[d] else (False,):
        for antialias in (False, True) if mode in ("bilinear", "bicubic") else (False,):
            op = cm.resize(shape, target, mode, align_corners=corners, antialias=antialias)
            options = {"align_corners": corners} if mode in MODES[d] else {}
            W = interpolated(torch, shape, size=target, mode=mode, antialias=antialias, **options)
            assert np.allclose(op.to_dense(), W, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("n", "m"), PAIRS)
def test_torch_on_many_sizes(torch, n, m):
    for mode in ("nearest", "nearest-exact", "area"):
        identity = torch.eye(n)[:, None]
        W = torch.nn.functional.interpolate(identity, size=m, mode=mode)[:, 0].T.numpy()
        assert np.allclose(cm.resize(n, m, mode).to_dense(), W, rtol=0, atol=1e-7)
    for mode in ("bilinear", "bicubic"):
        for antialias in (False, True):
            # Two columns: PyTorch is wrong along the first axis of images that are one pixel wide.
            W = interpolated(torch, (n, 2), size=(m, 2), mode=mode, antialias=antialias)[::2, ::2]
            op = cm.resize(n, m, mode, antialias=antialias)
            assert np.allclose(op.to_dense(), W, rtol=0, atol=1e-13)


@pytest.mark.parametrize("factor", [0.3, 0.5, 1 / 3, 1.1, 1.5, 2.0, 2.3])
def test_scale_factors_of_torch(torch, factor):
    rng = random.Random(0)
    for n in (2, 9, *rng.sample(range(10, 80), 3)):
        m = int(np.floor(n * factor))
        for mode in ("bilinear", "bicubic"):
            for again in (False, True) if m else ():
                W = interpolated(torch, (n, 2), scale_factor=(factor, 1.0), mode=mode, recompute_scale_factor=again)[
                    ::2, ::2
                ]
                ours = torch_axis(n, m, mode[2:], scale_factor=None if again else factor)
                assert np.allclose(ours.toarray(), W, rtol=0, atol=1e-13)


def test_torch_rounds_to_the_nearest_as_here(torch):
    rng = random.Random(0)
    interpolate = torch.nn.functional.interpolate
    for n, m in [*TIES, *((rng.randint(1, 300), rng.randint(1, 300)) for _ in range(300))]:
        factor = rng.choice([0.1, 0.3, 0.7, 1.1, 2.7, rng.random() * 3])
        scaled = max(int(np.floor(n * factor)), 1)
        for mode in ("nearest", "nearest-exact"):
            for kind, dtype in ((torch.float32, np.float32), (torch.float64, np.float64)):
                line = torch.arange(n).to(kind)[None, None]
                plain = interpolate(line, size=m, mode=mode)[0, 0].numpy()
                assert np.array_equal(torch_axis(n, m, mode, dtype=dtype).indices, plain)
                image = interpolate(line[..., None].repeat(1, 1, 1, 2), size=(m, 2), mode=mode)[0, 0, :, 0].numpy()
                small = m + 2 <= 128
                assert np.array_equal(torch_axis(n, m, mode, dtype=dtype, small_image=small).indices, image)
                if n * factor >= 1:
                    stretched = interpolate(line, scale_factor=factor, mode=mode)[0, 0].numpy()
                    ours = torch_axis(n, scaled, mode, scale_factor=factor, dtype=dtype)
                    assert np.array_equal(ours.indices, stretched)


@pytest.mark.parametrize(("mode", "antialias"), [("bilinear", True), ("bicubic", False), ("area", False)])
def test_adjoint_is_autograd_of_torch(torch, mode, antialias):
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    op = cm.resize((3, 9, 8), (3, 5, 11), mode, antialias=antialias)
    image = torch.nn.functional.interpolate(x, size=(5, 11), mode=mode, antialias=antialias)
    y = torch.randn_like(image)
    image.backward(y)
    assert torch.allclose(op.H(y), x.grad, rtol=0, atol=1e-13)
    leaf = x.detach().clone().requires_grad_(True)
    op(leaf).backward(y)
    assert torch.allclose(leaf.grad, x.grad, rtol=0, atol=1e-13)


def test_adaptive_average_is_that_of_torch(torch):
    x = torch.randn(2, 3, 10, 7, dtype=torch.float64)
    op = layers.adaptive_average((3, 10, 7), {1: 4, 2: 9}, x[:0])
    assert torch.allclose(op(x), torch.nn.functional.adaptive_avg_pool2d(x, (4, 9)), rtol=0, atol=1e-15)


JAX_METHODS = ["nearest", "linear", "cubic", "lanczos3", "lanczos5"]


@pytest.mark.parametrize("method", JAX_METHODS)
def test_jax(method):
    jax = pytest.importorskip("jax")
    for n, m in [PAIRS[-1], *TIES] if method == "nearest" else PAIRS[5:7]:  # JAX compiles for each
        for antialias in (True, False) if method != "nearest" else (None,):
            options = {} if antialias is None else {"antialias": antialias}
            W = jax.image.resize(jax.numpy.eye(n, dtype="float32"), (m, n), method, **options)
            op = cm.resize(n, m, method, antialias=antialias, like="jax")
            # Positions in float32 are off by 4e-6 at 59, and weights as much.
            assert np.allclose(op.to_dense(), np.asarray(W), rtol=0, atol=2e-5)


def test_adjoint_is_autograd_of_jax():
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 8)).astype("float32"), rng.standard_normal((5, 11)).astype("float32")
    _, pull = jax.vjp(lambda x: jax.image.resize(x, (5, 11), "cubic"), x)
    op = cm.resize((9, 8), (5, 11), "cubic", like="jax")
    assert np.allclose(op.H(y), pull(jax.numpy.asarray(y))[0], rtol=0, atol=1e-5)
    _, pull = jax.vjp(op, jax.numpy.asarray(x))
    assert np.allclose(op.H(y), pull(op(jax.numpy.asarray(x)) * 0 + y)[0], rtol=0, atol=1e-5)


def test_area_and_cubic_pytorch_of_jax():
    jax = pytest.importorskip("jax")
    known = {method.name.lower() for method in jax.image.ResizeMethod}
    for method in ("area", "cubic-pytorch"):
        for n, m in PAIRS[5:7] if method.replace("-", "_") in known else ():  # JAX has them from 0.9 on
            for antialias in (True, False) if method != "area" else (None,):
                options = {} if antialias is None else {"antialias": antialias}
                W = jax.image.resize(jax.numpy.eye(n, dtype="float32"), (m, n), method, **options)
                op = cm.resize(n, m, method, antialias=antialias, like="jax")
                assert np.allclose(op.to_dense(), np.asarray(W), rtol=0, atol=2e-5)


TF_METHODS = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic", "area": "area", "lanczos3": "lanczos3",
              "lanczos5": "lanczos5", "gaussian": "gaussian", "mitchellcubic": "mitchellcubic"}  # fmt: skip


def test_tensorflow():
    tf = import_tensorflow()
    for method, name in TF_METHODS.items():
        for antialias in (False,) if method in ("nearest", "area") else (False, True):
            for n, m in PAIRS if method in ("nearest", "cubic", "gaussian") else PAIRS[::3]:
                identity = np.eye(n, dtype=np.float32).reshape(n, n, 1, 1)
                W = tf.image.resize(identity, (m, 1), name, antialias=antialias).numpy()[:, :, 0, 0].T
                op = cm.resize(n, m, name, antialias=antialias, like="tf")
                assert np.allclose(op.to_dense(), W, rtol=0, atol=2e-5), (method, antialias, n, m)


@pytest.mark.parametrize("method", ["nearest", "box", "linear", "hamming", "cubic", "lanczos"])
def test_pillow(method):
    image = pytest.importorskip("PIL.Image")
    name = {"linear": "bilinear", "cubic": "bicubic"}.get(method, method)
    for n, m in PAIRS:
        picture = image.fromarray(np.eye(n, dtype=np.float32))
        W = np.asarray(picture.resize((n, m), image.Resampling[name.upper()]))
        assert np.allclose(cm.resize(n, m, method, like="pil").to_dense(), W, rtol=0, atol=1e-6)
    x = np.random.default_rng(0).random((9, 8), dtype=np.float32)
    y = np.asarray(image.fromarray(x).resize((11, 5), image.Resampling[name.upper()]))
    assert np.allclose(cm.resize((9, 8), (5, 11), method, like="pil")(x), y, rtol=0, atol=1e-6)


def node_tests():
    """Return the tests of the operator Resize that the standard ships."""
    cases = pytest.importorskip("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases of other operators overflow while they are made
        listed = cases.collect_testcases("Resize")
    return [case for case in listed if case.model.graph.node[0].op_type == "Resize"]  # the list is shared, and grows


def resize_node(attributes, x, roi, scales, sizes):
    """Return the output of a node: `onnx_axis` along each axis, and what the attributes say of sizes and values."""
    axes = list(attributes.get("axes", range(x.ndim)))
    policy = attributes.get("keep_aspect_ratio_policy", b"stretch")
    if sizes is None:
        scale_of = dict(zip(axes, map(float, scales), strict=True))
        size_of = {axis: int(scale * x.shape[axis]) for axis, scale in scale_of.items()}
    else:
        size_of, scale_of = dict(zip(axes, map(int, sizes), strict=True)), dict.fromkeys(axes)
    if policy != b"stretch":
        pick = min if policy == b"not_larger" else max
        scale = pick(size / x.shape[axis] for axis, size in size_of.items())
        scale_of = dict.fromkeys(axes, scale)
        size_of = {axis: int(scale * x.shape[axis] + 0.5) for axis in axes}
    text = {
        "coordinates": ("coordinate_transformation_mode", "half_pixel"),
        "nearest": ("nearest_mode", "round_prefer_floor"),
    }
    options = {name: attributes.get(key, usual.encode()).decode() for name, (key, usual) in text.items()}
    options |= {name: bool(attributes.get(name)) for name in ("exclude_outside", "antialias")}
    options["a"] = attributes.get("cubic_coeff_a", -0.75)
    outside = np.zeros((1,) * x.ndim, bool)
    for j, axis in enumerate(axes):
        ends = (0.0, 1.0) if roi is None or not len(roi) else (float(roi[j]), float(roi[j + len(axes)]))
        mode = attributes.get("mode", b"nearest").decode()
        W = onnx_axis(x.shape[axis], size_of[axis], mode, scale=scale_of[axis], roi=ends, **options)
        x = np.moveaxis(np.tensordot(W.toarray(), x, (1, axis)), 0, axis)
        outside = outside | (np.diff(W.indptr) == 0).reshape([-1 if b == axis else 1 for b in range(x.ndim)])
    return np.where(outside, attributes.get("extrapolation_value", 0.0), x)


def test_node_tests_of_onnx():
    helper = pytest.importorskip("onnx.helper")
    tests = node_tests()
    assert len(tests) >= 39
    for test in tests:
        node, (arrays, outputs) = test.model.graph.node[0], test.data_sets[0]
        by_name = dict(zip([i.name for i in test.model.graph.input], arrays, strict=True))
        inputs = [by_name.get(name) for name in node.input] + [None] * (4 - len(node.input))
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        y = resize_node(attributes, *inputs)
        assert y.shape == outputs[0].shape
        assert np.allclose(y, outputs[0], rtol=1e-5, atol=1e-5), test.name


def model(n, m, mode, factor, attributes):
    """Return a model that resizes an axis of n positions to m, or by a factor."""
    onnx = pytest.importorskip("onnx")
    make, kinds = onnx.helper, onnx.TensorProto
    if factor is None:
        constant = make.make_tensor("sizes", kinds.INT64, [2], [n, m])
    else:
        constant = make.make_tensor("scales", kinds.FLOAT, [2], [1.0, factor])
    inputs = ["x", "", "", "sizes"] if factor is None else ["x", "", "scales"]
    ends = [make.make_tensor_value_info(name, kinds.FLOAT, None) for name in "xy"]
    graph = make.make_graph(
        [make.make_node("Resize", inputs, ["y"], mode=mode, **attributes)], "g", ends[:1], ends[1:], [constant]
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 19)], ir_version=9)


@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
)
def test_onnxruntime(coordinates):
    runtime = pytest.importorskip("onnxruntime")
    rules = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    choices = [("nearest", {"nearest_mode": rule}) for rule in rules]
    choices += [("linear", {}), ("linear", {"antialias": 1}), ("cubic", {"cubic_coeff_a": -0.5, "antialias": 1})]
    choices += [("cubic", {}), ("cubic", {"exclude_outside": 1})]
    for n, m, factor in ((7, 10, None), (21, 7, None), (12, 7, 0.6), (9, 19, 2.2)):
        for mode, attributes in choices:
            if mode == "nearest" and coordinates == "half_pixel_symmetric" and factor == 0.6:
                continue  # the first output is at 1/2 + 5e-8 here, and at 1/2 there: in real numbers it is 1/2
            names = {"nearest_mode": "nearest", "cubic_coeff_a": "a"}
            options = {names.get(name, name): value for name, value in attributes.items()}
            scale = None if factor is None else float(np.float32(factor))
            W = onnx_axis(n, m, mode, scale=scale, length=m, coordinates=coordinates, **options)
            proto = model(n, m, mode, factor, {"coordinate_transformation_mode": coordinates, **attributes})
            session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
            y = session.run(None, {"x": np.eye(n, dtype=np.float32)})[0]
            assert np.allclose(W.toarray(), y.T, rtol=0, atol=1e-5), (n, m, factor, mode, attributes)


def test_models_multiply_along_axes():
    pytest.importorskip("onnx.reference")
    from onnx.reference import ReferenceEvaluator

    x = np.random.default_rng(0).standard_normal((2, 3, 9, 8))
    op = cm.resize((3, 9, 8), (3, 5, 11), "cubic", antialias=True)
    exported = op.to_onnx()
    assert exported.ByteSize() < 20_000  # of the matrices of both axes, 5 x 9 and 11 x 8, and not of 165 x 216
    assert np.allclose(ReferenceEvaluator(exported).run(None, {"x": x})[0], op(x), rtol=0, atol=1e-14)
