"""Maps given to PyTorch, ONNX, PyLops and CVXPY are the same maps there."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings

import convmtx as cm
from strategies import cases

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx.reference")
RNG = np.random.default_rng(0)


@given(cases(dtypes=[np.float32], dims=(1, 2, 3)))  # the runtime has no Conv of float64
@settings(max_examples=40)
def test_onnx_models(case):
    runtime = pytest.importorskip("onnxruntime")
    model = case.op.to_onnx()
    kinds = {node.op_type for node in model.graph.node}
    x = RNG.integers(-4, 5, (2, *case.op.in_shape)).astype(case.op.dtype)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})

    assert kinds & {"Conv", "ConvTranspose", "MatMul"}
    assert y.shape == (2, *case.op.out_shape)
    assert np.array_equal(y, case.op(x))


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (cm.conv(np.ones((3, 3)), (6, 6), padding=1, boundary="reflect"), "Conv"),
        (cm.conv(np.ones((3, 3)), (6, 6), padding=(-1, 2), boundary=("zero", "wrap")), "Conv"),
        (cm.conv_transpose(np.ones((3, 3, 2, 4)), (6, 6, 4), stride=2, padding=1), "ConvTranspose"),
        (cm.conv(np.ones((3, 3)), (6, 6), padding=1, boundary="symmetric"), "MatMul"),
        (cm.conv(np.ones(2), 4, padding=1, boundary="edge").T, "MatMul"),
    ],
)
def test_onnx_nodes(op, kind):
    assert kind in [node.op_type for node in op.to_onnx().graph.node]


def test_onnx_needs_no_pads_for_what_strides_leave_over():
    op = cm.conv(np.ones((2, 2)), (5, 6), stride=3)
    assert [node.op_type for node in op.to_onnx().graph.node] == ["Unsqueeze", "Conv", "Squeeze"]
    model, x = op.to_onnx(), RNG.standard_normal((2, 5, 6))
    (y,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    assert np.allclose(
        y, torch.nn.functional.conv2d(torch.tensor(x)[:, None], torch.ones(1, 1, 2, 2).double(), stride=3)[:, 0]
    )


def test_onnx_there_and_back():
    op = cm.conv(RNG.standard_normal((4, 2, 3, 3)), (2, 7, 8), channels="first", stride=2, padding=1)
    layer = cm.from_onnx(op.to_onnx()).layers["y"]

    assert np.array_equal(layer.op.to_dense(), op.to_dense())


def test_onnx_refuses_what_it_cannot_hold():
    with pytest.raises(cm.UnsupportedError, match="complex128"):
        cm.conv([1j], 3).to_onnx()
    with pytest.raises(cm.UnsupportedError, match="int64"):
        cm.conv([1], 3).to_onnx()
    with pytest.raises(cm.UnsupportedError, match="a map of bfloat16"):
        cm.conv(torch.ones(2, dtype=torch.bfloat16), 3).to_onnx()


def run(model, x):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (torch.nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False), (2, 5, 6)),
        (torch.nn.ConvTranspose1d(2, 3, 3, stride=2, bias=False), (2, 5)),
        (torch.nn.Linear(4, 3, bias=False), (2, 4)),
        (torch.nn.Sequential(torch.nn.Upsample(scale_factor=2), torch.nn.AvgPool1d(3)), (2, 5)),
        (torch.nn.Flatten(), (2, 5)),
        (torch.nn.Sequential(torch.nn.Conv1d(2, 3, 2, bias=False), torch.nn.Flatten()), (2, 5)),
    ],
)
def test_onnx_models_of_modules(layer, shape):
    x = torch.randn(2, *shape)
    y = run(cm.from_torch(layer, shape).op.to_onnx(), x.numpy())
    assert np.allclose(y, layer(x).detach(), atol=1e-5)


def test_onnx_models_of_jaxs_kernels():
    jax = pytest.importorskip("jax")
    K, x = RNG.standard_normal((3, 2)).astype(np.float32), RNG.standard_normal((1, 5, 6)).astype(np.float32)
    expected = jax.lax.conv(x[:, None], K[None, None], (1, 1), "VALID")[:, 0]
    assert np.allclose(run(cm.conv(jax.numpy.asarray(K), (5, 6)).to_onnx(), x), expected, atol=1e-5)


def test_onnx_models_of_permutations():
    op = cm.permutation((2, 3, 4), "CHW", "HWC")
    x = RNG.standard_normal((5, 2, 3, 4)).astype(np.float32)
    assert np.array_equal(run(op.to_onnx(), x), x.transpose(0, 2, 3, 1))
    assert np.array_equal(run((op.T @ op).to_onnx(), x), x)


def test_modules_learn_and_are_saved(tmp_path):
    op = cm.conv(RNG.standard_normal((4, 2, 3, 3)), (2, 7, 8), channels="first", padding=2, boundary="reflect")
    module, x = op.to_torch(), torch.tensor(RNG.standard_normal((3, 2, 7, 8)))
    assert torch.allclose(module(x), torch.tensor(op(x.numpy())))
    module(x).square().sum().backward()
    assert module.kernel.grad.shape == op.kernel.shape
    torch.save(module.state_dict(), tmp_path / "map.pt")
    other = op.with_kernel(np.zeros(op.kernel.shape)).to_torch()
    other.load_state_dict(torch.load(tmp_path / "map.pt", weights_only=True))
    assert torch.equal(other(x), module(x))
    transposed = op.T.to_torch()
    y = torch.tensor(RNG.standard_normal(op.out_shape))
    assert torch.allclose(transposed(y), torch.tensor(op.T(y.numpy())))


@pytest.mark.parametrize("protocol", [pickle.dumps, copy.deepcopy, torch.save])
def test_whole_modules_are_kept(protocol, tmp_path):
    op = cm.conv(torch.randn(4, 2, 3), (2, 7), channels="first", boundary="reflect", padding=1)
    module, x = op.to_torch(), torch.randn(3, 2, 7)
    with torch.no_grad():
        module.kernel += 1
    if protocol is torch.save:
        torch.save(module, tmp_path / "map.pt")
        again = torch.load(tmp_path / "map.pt", weights_only=False)
    else:
        again = protocol(module)
        again = pickle.loads(again) if isinstance(again, bytes) else again

    assert torch.equal(again(x), module(x))
    assert [name for name, _ in again.named_parameters()] == ["kernel"]
    assert type(again) is type(module)
    again(x).sum().backward()
    assert again.kernel.grad is not None
    assert module.kernel.grad is None


def test_pylops_takes_maps_of_numpy_only():
    op = cm.conv(np.ones(2), 3)
    for wrong, message in [
        (np.ones((3, 3)), "op is an ndarray"),
        (cm.Affine(op, np.ones(2)), "op is an Affine.*its .op"),
        (cm.conv(torch.ones(2), 3), "a map of torch.*Make it with NumPy's kernel"),
    ]:
        with pytest.raises(cm.ArgumentTypeError, match=message):
            cm.to_pylops(wrong)


def test_pylops_solves_with_our_operator():
    pylops = pytest.importorskip("pylops")
    op = cm.conv(np.outer([1, 4, 1], [1.0, 5, 1]), (6, 7), padding="same")
    x = RNG.standard_normal((6, 7))
    theirs = cm.to_pylops(op)
    assert theirs.dims == (6, 7)
    assert np.allclose(theirs @ x, op(x))
    assert pylops.utils.dottest(theirs, *theirs.shape)
    assert np.allclose(theirs / op(x).ravel(), x.ravel(), atol=1e-6)


def test_scipys_solvers_take_operators():
    from scipy.sparse import linalg

    op = cm.conv(np.outer([1, 4, 1], [1.0, 5, 1]), (6, 7), padding="same")
    x = RNG.standard_normal(42)
    assert np.allclose(linalg.lsqr(op, op @ x, atol=1e-14, btol=1e-14)[0], x, atol=1e-8)
    assert np.allclose(linalg.cg(op, op @ x, rtol=1e-12)[0], x, atol=1e-8)
