"""Functions of PyTorch that a module calls, beside the maps made of them."""

import numpy as np
import pytest

import convmtx as cm

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Calls(nn.Module):
    """Module that applies a function; its buffer makes maps double."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("zero", torch.zeros(1, dtype=torch.float64))

    def forward(self, x):
        return self.function(x)


def numbers(*shape):
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


W = numbers(4, 8, 8)
MASK = torch.tensor([True, False, True, True])


def written(x):
    y = x.clone()
    y[:, :2] = 3 * x[:, 2:]
    y[:, 0, 1] = 7.0
    return y


def into_zeros(x):
    y = torch.zeros_like(x)
    y[:, 1:3] = x[:, :2]
    y += 1
    return y


def in_place(x):
    y = 2 * x
    y.add_(x, alpha=2)
    y *= W
    y -= 1
    return y


AFFINE = {
    "add": lambda x: 1 + x + W[0],
    "sub": lambda x: torch.sub(x, W, alpha=2) - x.flip(1),
    "rsub": lambda x: 1 - x,
    "mul": lambda x: x * W * 2,
    "mul of channels": lambda x: x * W[:, :1, :1],
    "div": lambda x: x / W / 3,
    "neg": lambda x: -x,
    "broadcast up": lambda x: x[:, :1, :, :1] + W,
    "broadcast up by factors": lambda x: x[:, :1, :, :1] * W,
    "cat": lambda x: torch.cat([x, 2 * x, W.expand(x.shape[0], -1, -1, -1)], 1),
    "cat of constants": lambda x: torch.cat(
        [x, torch.zeros_like(x[:, :1]), x.new_full((len(x), 1, 8, 8), 2.0)], dim=-3
    ),
    "stack": lambda x: torch.stack([x, -x], 2),
    "stack behind": lambda x: torch.stack([x, -x], dim=-1),
    "hstack": lambda x: torch.hstack([x, x]),
    "slice": lambda x: x[:, 1:3, ::2, -3:],
    "index": lambda x: x[:, [2, 0, 2]],
    "mask": lambda x: x[:, MASK],
    "None": lambda x: x[:, None, 1, ..., 2],
    "flip": lambda x: x.flip(2, 3),
    "roll": lambda x: torch.roll(x, (1, -2), (2, 3)),
    "rot90": lambda x: torch.rot90(x, 1, (2, 3)),
    "mean": lambda x: x.mean((2, 3)),
    "mean of all axes, kept": lambda x: torch.mean(x, dim=[1, 2, -1], keepdim=True),
    "sum": lambda x: x.sum(axis=1, keepdims=True) + x.sum(-1, keepdim=True),
    "cumsum": lambda x: x.cumsum(2),
    "pad reflect": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    "pad constant": lambda x: F.pad(x, (1, 2), value=3.0),
    "pad channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)),
    "view": lambda x: x.view(x.size(0), -1),
    "view of any batch": lambda x: x.reshape(-1, x.shape[1] * 64),
    "unflatten": lambda x: x.flatten(2).unflatten(1, (2, 2)).unsqueeze(2).squeeze(2),
    "permute": lambda x: x.permute(0, 2, 3, 1).movedim(1, -1).transpose(1, 2).mT,
    "expand": lambda x: x[:, :1].expand(-1, 5, -1, -1).repeat(1, 1, 2, 1).repeat_interleave(2, dim=3),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "windows along an axis": lambda x: x.unfold(2, 3, 2),
    "im2col": lambda x: F.unfold(x, (3, 2), padding=1, stride=2, dilation=(1, 2)),
    "col2im": lambda x: F.fold(x.reshape(-1, 32, 8)[:, :24, :6], (5, 3), (3, 2), padding=(0, 0)),
    "chunk": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "split": lambda x: sum(x.split([1, 2, 1], 1)[::2]),
    "unbind": lambda x: sum(x.unbind(1)),
    "matmul": lambda x: x @ W[0, :, :3],
    "matmul from the left": lambda x: torch.matmul(W[0, :5], x),
    "matmul of a vector": lambda x: x @ W[0, 0],
    "einsum": lambda x: torch.einsum("bchw,cd->bdhw", x, W[:, :3, 0]),
    "einsum of one": lambda x: torch.einsum("bchw->bwch", [x]),
    "addmm": lambda x: torch.addmm(W[0, 0], x.sum((1, 2)), W[1]),
    "masked_fill": lambda x: x.masked_fill(W[0] > 0, 2.0),
    "where": lambda x: torch.where(W > 0, x, torch.where(W < -1, 0.5, -x)),
    "tril": lambda x: x.tril(1) + x.triu(),
    "written": written,
    "in place": in_place,
    "conv": lambda x: F.conv2d(x, W[:3, :2, :2].reshape(3, 4, 1, 1), W[0, 0, :3], padding="same"),
    "conv of groups": lambda x: F.conv_transpose2d(x, W[:, :4, :6].reshape(4, 2, 4, 3), stride=2, groups=2),
    "adaptive_avg_pool": lambda x: F.adaptive_avg_pool2d(x, (3, None)),
    "interpolate": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "area": lambda x: F.interpolate(x, size=(3, 5), mode="area"),
    "avg_pool1d": lambda x: F.avg_pool1d(x.flatten(2), 3, ceil_mode=True),
    "dropout": lambda x: F.dropout(x, training=False).contiguous().double().to(x.device),
    "rows of a difference": lambda x: x[:, :, 1:] - x[:, :, :-1],
    "vector from the left": lambda x: W[0, 0] @ x,
    "matrix from the left": lambda x: x.__rmatmul__(W[0]),
    "a copy changed": lambda x: (lambda y: y.mul_(3) + x)(x.to(torch.float64, copy=True)),
    "shapes of others": lambda x: x[:, :1].expand_as(x) + x.view_as(x).to(x),
    "by keywords": lambda x: torch.flip(input=x, dims=(1,)),
    "division by integers": lambda x: x / torch.arange(1, 9),
    "where that is broadcast": lambda x: torch.where(W > 0, x[:, :1, :1, :1], 0.5) + x.where(W > 0, x[:, :1]),
    "written into zeros": lambda x: into_zeros(x),
    "gather": lambda x: x.gather(1, torch.zeros(len(x), 2, 8, 8, dtype=torch.long)),
}
#: Functions that mix samples of a batch, although a batch of one would not show it.
MIXING = {
    "last sample": lambda x: x - x[-1:],
    "first sample": lambda x: x[:1],
    "samples by number": lambda x: x[[1, 0]],
    "flip": lambda x: x + x.flip(0),
    "roll": lambda x: x + x.roll(1, 0),
    "roll of all": lambda x: x.roll(1),
    "rot90": lambda x: x.reshape(-1, 2, 16).rot90(2, (0, 1)),
    "forgotten keepdim": lambda x: x - x.sum(1),
    "forgotten keepdim of a channel": lambda x: x + x[:, 0],
    "a batch of one": lambda x: x.view(1, -1),
    "written sample": lambda x: (lambda y: (y.__setitem__(0, 0.0), y)[1])(x.clone()),
    "mean of samples": lambda x: x - x[None].mean(1),
    "repeated": lambda x: x.repeat(1, 2, 1, 1),
    "narrow": lambda x: x.narrow(0, 0, 1),
}
AROUND = {
    "relu": F.relu,
    "relu in place": lambda x: (lambda y: F.relu(y, inplace=True) + y)(2 * x),
    "leaky_relu": lambda x: F.leaky_relu_(x.clone(), 0.2),
    "prelu": lambda x: F.prelu(x, W[:, 0, 0]),
    "hardtanh": lambda x: F.hardtanh(x).clamp(-0.5, 0.5),
    "hardswish": F.hardswish,
    "gelu": F.gelu,
    "square": lambda x: x**2 + x * x,
    "squeeze and excite": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "quotient": lambda x: x / (1 + x * x),
    "maximum": lambda x: torch.maximum(x, -0.1 * x),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "max_pool1d": lambda x: F.max_pool1d(x.flatten(2), 5, dilation=2),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 2)),
    "amax": lambda x: x.amax(1) - x.amin(-1, keepdim=True).sum(3, keepdim=True).squeeze(3).sum(1, keepdim=True),
}


@pytest.mark.parametrize("name", AFFINE)
def test_a_function_and_its_map(name):
    module, x = Calls(AFFINE[name]), numbers(2, 4, 8, 8)
    A = cm.from_torch(module, (4, 8, 8))
    expected = torch.cat([module(x[:1]), module(x[1:])])

    assert A.out_shape == tuple(expected.shape[1:])
    assert torch.allclose(A(x), expected, rtol=0, atol=1e-12)
    assert_jacobian(A, module, x[:1])


@pytest.mark.parametrize("name", AROUND)
def test_a_function_and_its_tangent(name):
    module, x = Calls(AROUND[name]), numbers(1, 4, 8, 8)
    with pytest.raises(cm.UnsupportedError, match=r"not affine\. Pass at=x"):
        cm.from_torch(module, (4, 8, 8))
    A = cm.from_torch(module, (4, 8, 8), at=x[0])

    assert torch.allclose(A(x), module(x), rtol=0, atol=1e-12)
    assert_jacobian(A, module, x)


def assert_jacobian(A, module, x):
    """Compare some rows of the sparse matrix, and the transpose, with those of autograd."""
    x = x.clone().requires_grad_()
    y = module(x).reshape(-1)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype)
    (total,) = torch.autograd.grad(y @ weights, x, retain_graph=True)
    assert torch.allclose(A.op.T @ weights, total.reshape(-1), rtol=0, atol=1e-11)
    rows = [0, y.numel() // 2, y.numel() - 1] if y.numel() > 2 else [0]
    expected = torch.stack([torch.autograd.grad(y[row], x, retain_graph=True)[0].reshape(-1) for row in rows])
    assert torch.allclose(A.op.to_sparse(rows=rows).to_dense(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MIXING)
def test_samples_of_a_batch_are_not_mixed(name):
    with pytest.raises(cm.UnsupportedError, match=r"batch|sample|axes"):
        cm.from_torch(Calls(MIXING[name]), (4, 8))


def test_masked_entries_may_be_infinite():
    mask = torch.tensor([True, False, False])
    x = torch.tensor([[1.0, 2.0, 3.0]]).double()
    for function in (lambda x: x.masked_fill(mask, -torch.inf), lambda x: torch.where(mask, torch.nan, x)):
        torch.testing.assert_close(cm.from_torch(Calls(function), (3,))(x), function(x), equal_nan=True)


def test_complex_numbers():
    x = numbers(2, 3)
    for function in (lambda x: 1j * x + (2 - 1j), lambda x: x * (W[0, 0, :3] * (1 + 2j))):
        A = cm.from_torch(Calls(function), (3,))
        assert A.op.to_dense().dtype == torch.complex128
        assert torch.allclose(A(x), function(x.to(torch.complex128)))
    for function in (lambda x: (1j * x).real, lambda x: (1j * x).conj(), lambda x: (1j * x).abs()):
        with pytest.raises(cm.UnsupportedError):
            cm.from_torch(Calls(function), (3,))


def test_tangents_of_complex_functions_are_refused():
    with pytest.raises(cm.UnsupportedError, match="mul with complex numbers"):
        cm.from_torch(Calls(lambda x: (1j * x) * (1j * x)), (3,), at=[1.0, 2.0, 3.0])


def test_gradients_of_a_tangent_reach_the_weights():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.PReLU(), nn.Linear(4, 2)).double()
    x, parameters = numbers(3), list(module.parameters())
    ours = cm.from_torch(module, (3,), at=x).op.to_dense()
    weights = numbers(2, 3)

    def jacobian(values):
        return torch.func.jacrev(lambda v: torch.func.functional_call(module, values, (v,)))(x)

    values = dict(module.named_parameters())
    theirs = jacobian(values)
    assert torch.allclose(ours, theirs)
    mine = torch.autograd.grad((ours * weights).sum(), parameters, allow_unused=True, materialize_grads=True)
    expected = torch.autograd.grad((theirs * weights).sum(), parameters, allow_unused=True, materialize_grads=True)
    assert all(torch.allclose(*pair) for pair in zip(mine, expected, strict=True))


def test_tangents_that_do_not_exist_are_refused():
    with pytest.raises(cm.UnsupportedError, match="sqrt with an infinite slope"):
        cm.from_torch(Calls(torch.sqrt), (2,), at=[0.0, 1.0])
    with pytest.raises(cm.UnsupportedError, match="windows that lie outside"):
        cm.from_torch(Calls(lambda x: F.max_pool1d(x, 2, padding=1, dilation=2)), (2, 1), at=[[5.0], [7.0]])
    with pytest.raises(cm.UnsupportedError, match="training=True"):
        cm.from_torch(Calls(lambda x: F.rrelu(x, training=True)), (2,), at=[-1.0, 1.0])
    with pytest.raises(TypeError, match="from_torch: at"):
        cm.from_torch(Calls(torch.sqrt), (2,), at="a")


def test_ties_are_shared_as_gradients_share_them():
    A = cm.from_torch(Calls(lambda x: x.amax(1)), (3,), at=[2.0, 2.0, 1.0])
    assert A.op.to_dense().tolist() == [[0.5, 0.5, 0.0]]


def test_comparisons_are_fixed_at_an_input():
    def function(x):
        return torch.where(x > 0, x, x**2) * (x < 1)

    x = numbers(1, 5)
    A = cm.from_torch(Calls(function), (5,), at=x[0])
    assert torch.allclose(A(x), function(x))
    assert_jacobian(A, Calls(function), x)


def test_attributes_of_a_module_stay_as_they_are():
    module = Calls(lambda x: x)
    module.register_buffer("average", torch.zeros(3, dtype=torch.float64))
    module.function = lambda x: (setattr(module, "average", 0.9 * module.average + x), x)[1]
    cm.from_torch(module, (3,))
    assert module.average.tolist() == [0.0, 0.0, 0.0]


def view_in_place(x):
    y = 2 * x
    y[:, 0].add_(1)
    return y


def into_a_buffer(x):
    y = torch.zeros(1, 4, 8, dtype=torch.float64)
    y[:, 0] = x[:, 0]
    return y


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.softmax(1), "softmax in module Calls. It is not affine"),
        (lambda x: F.layer_norm(x, (8,)), "layer_norm in module Calls"),
        (lambda x: F.bilinear(x, x, torch.ones(3, 8, 8).double()), "bilinear in module Calls"),
        (lambda x: x * x, "mul in module Calls. It is not affine"),
        (lambda x: x if x.sum() > 0 else -x, "sum with dim=None.*samples of a batch"),
        (lambda x: x if (x > 0).all() else -x, "gt in module Calls"),
        (lambda x: x * x.mean((1, 2)).item(), "item in module Calls"),
        (lambda x: torch.as_tensor(x.numpy()), "numpy in module Calls"),
        (lambda x: (x, x), "returns a tuple of 2. Expected one tensor"),
        (lambda _: torch.ones(1, 3), "does not depend on its input"),
        (lambda x: x[0], r"result of shape \(4, 8\).*batch left as it is"),
        (lambda x: x.permute(1, 0, 2), "permute with a result of shape"),
        (lambda x: torch.cat([x, x]), "cat with dim=0.*samples of a batch"),
        (lambda x: x + W[:, 0, :3], "add fails in module Calls. PyTorch says"),
        (lambda x: x + numbers(2, 4, 8), "same numbers for all samples"),
        (lambda x: x.long(), "long in module Calls"),
        (lambda x: x.to(torch.int32), "to with a result of torch.int32.*It rounds"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "rounding_mode='floor'"),
        (lambda x: x.mystery, "AttributeError: .*mystery"),
        (view_in_place, "add, which changes a tensor in place.*Other tensors share its memory"),
        (into_a_buffer, "__setitem__ into a tensor that does not depend on the input"),
    ],
)
def test_what_is_not_affine_is_refused_by_name(function, message):
    with pytest.raises(cm.UnsupportedError, match=message):
        cm.from_torch(Calls(function), (4, 8))
