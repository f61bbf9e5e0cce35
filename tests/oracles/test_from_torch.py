"""Modules of PyTorch beside the maps made of them."""

import numpy as np
import pytest

import convmtx as cm

torch = pytest.importorskip("torch")
from torch.nn.utils import prune  # noqa: E402

nn = torch.nn


def seeded(make):
    torch.manual_seed(0)
    module = make()
    for name, value in module.named_buffers():
        if name.endswith("running_var"):
            value.copy_(torch.rand_like(value) + 0.5)
        elif name.endswith("running_mean"):
            value.copy_(torch.randn_like(value))
    return module.eval()


def with_attribute(module, name, value):
    setattr(module, name, value)
    return module


CASES = [
    (lambda: nn.Conv1d(2, 3, 3), (2, 9)),
    (lambda: nn.Conv1d(2, 3, 4, padding="same", padding_mode="circular"), (2, 9)),
    (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(1, 2), groups=2), (4, 9, 8)),
    (lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect", bias=False), (4, 9, 8)),
    (lambda: nn.Conv2d(4, 6, (3, 4), padding="same", padding_mode="replicate", dilation=2), (4, 9, 8)),
    (lambda: nn.Conv3d(2, 4, 2, padding=1, padding_mode="circular", stride=2), (2, 4, 5, 3)),
    (lambda: nn.Conv2d(2, 3, 3, dtype=torch.complex64), (2, 5, 6)),
    (lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 3, 3)), (2, 5, 6)),
    (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 7)),
    (lambda: nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 3), dilation=(2, 1), groups=2, output_padding=1), (4, 5, 4)),
    (lambda: nn.ConvTranspose3d(2, 1, 2, stride=2, bias=False), (2, 3, 2, 3)),
    (lambda: nn.AvgPool1d(3), (2, 9)),
    (lambda: nn.AvgPool2d((3, 2), stride=2, padding=1), (2, 9, 8)),
    (lambda: nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 8, 9)),
    (lambda: nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), (2, 8, 9)),
    (lambda: nn.AvgPool2d(4, stride=3, ceil_mode=True, divisor_override=5), (2, 9, 9)),
    (lambda: nn.AvgPool2d(3, stride=3, ceil_mode=True), (2, 10, 11)),
    (lambda: nn.AvgPool3d(2, padding=1, count_include_pad=False), (2, 3, 4, 5)),
    (lambda: nn.BatchNorm1d(3), (3,)),
    (lambda: nn.BatchNorm1d(3, affine=False), (3, 5)),
    (lambda: nn.BatchNorm2d(3, eps=0.1), (3, 4, 5)),
    (lambda: nn.BatchNorm3d(2), (2, 3, 2, 4)),
    (lambda: nn.Upsample(scale_factor=2), (2, 3, 4)),
    (lambda: nn.Upsample(scale_factor=(1.7, 2.3)), (2, 5, 7)),
    (lambda: nn.Upsample(size=(7, 3), mode="nearest-exact"), (2, 5, 7)),
    (lambda: nn.Flatten(), (2, 3, 4)),
    (lambda: nn.Flatten(2, 3), (2, 3, 4, 5)),
    (lambda: nn.ZeroPad2d((1, -1, 2, 3)), (2, 5, 6)),
    (lambda: nn.ConstantPad1d((1, 2), 0.0), (2, 5)),
    (lambda: nn.ConstantPad2d((1, 2, 0, -1), 2.5), (2, 5, 3)),
    (lambda: nn.CircularPad2d((1, 2, 3, 0)), (2, 5, 6)),
    (lambda: nn.CircularPad2d((-1, 2, 3, -2)), (2, 5, 6)),
    (lambda: nn.ReflectionPad2d((-1, 2, 3, -2)), (2, 5, 6)),
    (lambda: nn.ReplicationPad2d((-1, 2, 3, -2)), (2, 5, 6)),
    (lambda: nn.ReflectionPad1d((3, 2)), (2, 5)),
    (lambda: nn.ReplicationPad3d((1, 2, 3, 0, 0, 4)), (2, 3, 2, 4)),
    (lambda: nn.Identity(), (2, 5)),
    (lambda: nn.Dropout(0.5), (2, 5)),
    (lambda: nn.Linear(5, 3), (5,)),
    (lambda: nn.Linear(5, 3, bias=False), (2, 4, 5)),
    (lambda: nn.Sequential(), (2, 5)),
    (
        lambda: nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Upsample(scale_factor=2),
            nn.Sequential(nn.AvgPool2d(2), nn.ConvTranspose2d(4, 2, 3)), nn.Flatten(), nn.Linear(2 * 7 * 6, 5),
        ),
        (3, 10, 8),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_a_module_and_its_map(make, shape):
    module = seeded(make)
    layer = cm.from_torch(module, shape)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    x = torch.randn((2, *shape), dtype=dtype)
    expected = module(x)
    matrix, sparse = layer.op.to_dense(), layer.op.to_sparse("coo")

    assert torch.allclose(sparse.to_dense(), matrix, rtol=1e-5, atol=1e-6)
    assert matrix.dtype == layer.offset.dtype == dtype
    assert layer.out_shape == tuple(expected.shape[1:])
    assert torch.allclose(layer(x), expected, rtol=1e-4, atol=1e-5)
    product = x.reshape(2, -1) @ matrix.T + layer.offset.reshape(-1)
    assert torch.allclose(product, expected.reshape(2, -1), rtol=1e-4, atol=1e-5)
    y = torch.randn_like(expected[0]).reshape(-1)
    assert torch.allclose(layer.op.T @ y, matrix.T @ y, rtol=1e-4, atol=1e-4)
    ones = torch.cat([x[0].reshape(-1), torch.ones(1, dtype=dtype)])
    assert torch.allclose(layer.augmented() @ ones, expected[0].reshape(-1), rtol=1e-4, atol=1e-5)


WEIGHTLESS = [
    (nn.AvgPool2d(3), (2, 6, 6)),
    (nn.AvgPool2d(3, padding=1, count_include_pad=False), (2, 6, 6)),
    (nn.ConstantPad2d(1, 0.1), (2, 6, 6)),
    (nn.CircularPad2d((1, -1, 1, 1)), (2, 6, 6)),
    (nn.Upsample(scale_factor=2), (2, 3, 4)),
    (nn.Flatten(), (2, 3)),
    (nn.Identity(), (2, 3)),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("layer", "shape"), WEIGHTLESS)
def test_layers_without_weights_are_of_their_neighbours_type(layer, shape, dtype):
    conv = nn.Conv2d if len(shape) == 3 else nn.Conv1d
    module = nn.Sequential(conv(2, 2, 1), layer).to(dtype).requires_grad_(False)
    x = torch.rand(shape, dtype=dtype)
    ours, expected = cm.from_torch(module, shape), module(x[None])[0]

    assert ours.op.to_dense().dtype == ours.offset.dtype == ours(x).dtype == dtype
    assert (ours(x) - expected).abs().max() <= 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize(("layer", "shape"), WEIGHTLESS)
def test_layers_without_weights_alone_are_of_the_default_type(layer, shape):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        ours = cm.from_torch(layer, shape)
        x = torch.rand(shape)
    finally:
        torch.set_default_dtype(before)
    forms = (ours.op.to_dense(), ours.op.to_sparse("coo"), ours.offset, ours.augmented().to_dense())
    assert {form.dtype for form in forms} == {torch.float64}
    assert torch.allclose(ours(x), layer(x[None])[0], rtol=0, atol=1e-15)


def test_layers_without_weights_are_where_their_neighbours_are():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 2, device="meta"))
    ours = cm.from_torch(module, (2, 3))
    x = torch.empty(2, 3, device="meta")
    assert {each.device.type for each in (ours.op.to_dense(), ours.offset, ours(x), ours.op.T(ours(x)))} == {"meta"}


def test_a_map_is_a_snapshot_of_the_weights():
    module, x = nn.Conv1d(2, 3, 2).double(), torch.randn(2, 5, dtype=torch.float64)
    ours, before = cm.from_torch(module, (2, 5)), module(x).detach()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1

    assert torch.allclose(ours(x), before)
    assert torch.allclose(cm.from_torch(module, (2, 5))(x), module(x))


def test_gradients_reach_the_weights():
    module = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    x = torch.randn(2, 4, 4)
    theirs = torch.autograd.grad(module(x[None]).square().sum(), list(module.parameters()))
    ours = torch.autograd.grad(cm.from_torch(module, (2, 4, 4))(x).square().sum(), list(module.parameters()))

    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(ours, theirs, strict=True))


def test_a_chain_of_convolutions_is_one():
    chain = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 2, stride=2, bias=False))
    layer = cm.from_torch(chain, (2, 8, 8))

    assert isinstance(layer.op, cm.ConvOperator)
    assert tuple(layer.op.kernel.shape) == (4, 2, 4, 4)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: nn.ReLU(), (2, 3), "module ReLU"),
        (lambda: nn.BatchNorm2d(2).train(), (2, 3, 3), "training=True"),
        (lambda: nn.BatchNorm2d(2, track_running_stats=False).eval(), (2, 3, 3), "track_running_stats=False"),
        (lambda: nn.Dropout(0.2).train(), (2, 3), "training=True"),
        (lambda: nn.Flatten(0), (2, 3), "flatten with a result of shape.*module Flatten"),
        (lambda: nn.Linear(5, 2), (4,), "linear fails in module Linear.*without the batch"),
        (lambda: nn.AvgPool2d(2), (1, 2, 3, 3), "avg_pool2d fails in module AvgPool2d.*without the batch"),
        (lambda: nn.AvgPool2d(2), (4, 4), "avg_pool2d with input_shape.*Expected .*2 sizes"),
        (lambda: nn.Conv2d(2, 1, 2), (4, 2, 3, 3), "conv2d fails in module Conv2d.*without the batch"),
        (lambda: nn.Conv2d(1, 1, 2), (4, 4), "conv2d fails.*without the batch"),
        (lambda: nn.ConvTranspose1d(2, 1, 2), (4, 2, 3), "conv_transpose1d fails.*without the batch"),
        (lambda: nn.BatchNorm2d(2).eval(), (2, 3), "module BatchNorm2d.*leaves the batch out"),
        (lambda: nn.BatchNorm1d(2).eval(), (2, 3, 4), "module BatchNorm1d.*leaves the batch out"),
        (lambda: nn.Conv1d(2, 1, 2).to(torch.float8_e4m3fn), (2, 3), "Conv1d of torch.float8_e4m3fn"),
        (lambda: nn.LazyConv2d(2, 3), (2, 5, 5), "LazyConv2d.*Run it once on an input"),
        (lambda: nn.Sequential(nn.LazyBatchNorm1d().eval()), (2, 5), "LazyBatchNorm1d.*Run it once on an input"),
        (lambda: with_attribute(nn.Conv1d(1, 1, 2), "padding_mode", "mirror"), (1, 3), "mode='mirror'"),
        (lambda: with_attribute(nn.Linear(3, 1), "forward", torch.relu), (3,), "relu in module Linear"),
        (lambda: nn.Sequential(nn.Conv1d(1, 1, 1), nn.Tanh()), (1, 3), "module Tanh"),
        (lambda: 3, (1, 3), "an int"),
    ],
)
def test_what_is_no_such_map_is_refused_by_name(make, shape, message):
    with pytest.raises(cm.UnsupportedError, match=message):
        cm.from_torch(make(), shape)


def test_hooks_run_as_in_the_module():
    module = nn.Conv1d(1, 2, 2)
    module.register_forward_hook(lambda _module, _inputs, output: 3 * output + 1)
    x = torch.randn(1, 5)

    assert torch.allclose(cm.from_torch(module, (1, 5))(x), module(x[None])[0], atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda module: prune.l1_unstructured(module, "weight", 2),
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.orthogonal,
    ],
)
def test_weights_that_are_computed_are_read_as_they_stand(change):
    torch.manual_seed(0)
    module, x = change(nn.Conv1d(2, 3, 2)).eval(), torch.randn(2, 6)
    with torch.no_grad():
        next(module.parameters()).mul_(1.5)  # after which an older hook has to run for the weight to follow

    assert torch.allclose(cm.from_torch(module, (2, 6))(x), module(x[None])[0], atol=1e-6)


def test_statistics_of_a_module_stay_as_they_are():
    module = nn.utils.parametrizations.spectral_norm(nn.Conv1d(2, 3, 2)).train()
    before = [buffer.clone() for buffer in module.buffers()]
    cm.from_torch(module, (2, 6))

    assert all(torch.equal(*pair) for pair in zip(before, module.buffers(), strict=True))


def test_permutations_turn_matrices_of_one_order_into_the_other():
    rng = np.random.default_rng(0)
    K = rng.standard_normal((4, 2, 3, 3))
    first = cm.conv(K, (2, 5, 6), channels="first", padding=1)
    last = cm.conv(K.transpose(2, 3, 1, 0), (5, 6, 2), padding=1)
    P_in, P_out = cm.permutation((2, 5, 6), "NCHW", "NHWC"), cm.permutation(first.out_shape, "CHW", "HWC")
    both = P_out @ first @ P_in.T

    assert np.array_equal(P_out.to_sparse() @ first.to_dense() @ P_in.to_sparse().T, last.to_dense())
    assert np.array_equal(both.to_dense(), last.to_dense())
    assert np.array_equal(both.to_dense("F"), last.to_dense("F"))
    x = rng.standard_normal((5, 6, 2))
    assert np.array_equal(both(x), last(x))
    back = x.transpose(2, 0, 1)
    assert np.array_equal(P_in(back), x)
    assert np.array_equal(P_in.T(x), back)
    assert np.array_equal((P_in.T @ P_in).to_dense(), np.eye(60))
    for bad in [("NCHW", "NCH"), ("CC", "CC"), ("NHW", "NWH")]:
        with pytest.raises(ValueError, match="permutation:"):
            cm.permutation((2, 5, 6, 7), *bad)
