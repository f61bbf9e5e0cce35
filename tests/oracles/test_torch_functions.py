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
    "cat": lambda x: torch.cat([x, 2 * x, W[None]], 1),
    "cat of constants": lambda x: torch.cat([x, torch.zeros_like(x[:, :1]), x.new_full((1, 1, 8, 8), 2.0)], dim=-3),
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
    "col2im": lambda x: F.fold(x.reshape(1, 32, 8)[:, :24, :6], (5, 3), (3, 2), padding=(0, 0)),
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
    "gather": lambda x: x.gather(1, torch.zeros(1, 2, 8, 8, dtype=torch.long)),
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
        (lambda x: x + torch.ones(2, 4, 8), "same numbers for all samples"),
        (lambda x: x.long(), "long in module Calls"),
        (lambda x: x.to(torch.int32), "rounds to integers"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "rounding_mode='floor'"),
        (lambda x: x.mystery, "AttributeError: .*mystery"),
        (view_in_place, "add, which changes a tensor in place.*Other tensors share its memory"),
        (into_a_buffer, "__setitem__ into a tensor that does not depend on the input"),
    ],
)
def test_what_is_not_affine_is_refused_by_name(function, message):
    with pytest.raises(cm.UnsupportedError, match=message):
        cm.from_torch(Calls(function), (4, 8))
