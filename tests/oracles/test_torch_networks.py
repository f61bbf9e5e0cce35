"""Whole networks of PyTorch as one map: skip connections, dense connections, resizing, and tangents at an input."""

import pytest

import convmtx as cm

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


def conv(inputs, outputs, size, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class Residual(nn.Module):
    """Block of ResNet."""

    def __init__(self, inputs, outputs, stride, act):
        super().__init__()
        self.first, self.second = conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3)
        self.short = conv(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()
        self.act = act()

    def forward(self, x):
        y = self.second(self.act(self.first(x)))
        y += self.short(x)
        return self.act(y)


class ResNet(nn.Module):
    def __init__(self, act):
        super().__init__()
        pool = nn.MaxPool2d if act is nn.ReLU else nn.AvgPool2d
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), act(), pool(3, 2, 1))
        self.body = nn.Sequential(Residual(8, 8, 1, act), Residual(8, 12, 2, act), Residual(12, 12, 1, act))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(12, 5)

    def forward(self, x):
        return self.head(torch.flatten(self.pool(self.body(self.stem(x))), 1))


class Inverted(nn.Module):
    """Block of MobileNetV3, with squeeze and excitation where it is not made affine."""

    def __init__(self, inputs, wide, act):
        super().__init__()
        self.excites = act is not nn.Identity
        self.expand, self.project = conv(inputs, wide, 1), conv(wide, inputs, 1)
        self.deep = conv(wide, wide, 5, groups=wide)
        self.squeeze, self.act = nn.Conv2d(wide, wide, 1), act()

    def forward(self, x):
        y = self.act(self.deep(self.act(self.expand(x))))
        if self.excites:
            y = y * F.hardsigmoid(self.squeeze(F.adaptive_avg_pool2d(y, 1)))
        return x + self.project(y)


class DenseNet(nn.Module):
    """Dense block: every layer takes the outputs of all layers before it."""

    def __init__(self, act):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(conv(4 + 3 * j, 3, 3), act()) for j in range(6))

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return F.avg_pool2d(torch.cat(features, 1), 2)


class UNet(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.one, self.two, self.deep = conv(3, 4, 3), conv(4, 6, 3), conv(6, 8, 3)
        self.back, self.last, self.act = conv(8 + 6, 6, 3), conv(6 + 4, 2, 3), act()

    def forward(self, x):
        first = self.act(self.one(x))
        second = self.act(self.two(F.avg_pool2d(first, 2)))
        deep = self.act(self.deep(F.avg_pool2d(second, 2)))
        up = F.interpolate(deep, size=second.shape[2:], mode="bilinear", align_corners=False)
        back = self.act(self.back(torch.cat([second, up], 1)))
        return self.last(torch.cat([first, F.interpolate(back, scale_factor=2, mode="bilinear")], 1))


NETWORKS = {
    "ResNet": (ResNet, (3, 33, 32)),
    "MobileNet": (lambda act: nn.Sequential(Inverted(4, 12, act), Inverted(4, 8, act)), (4, 7, 6)),
    "DenseNet": (DenseNet, (4, 8, 10)),
    "UNet": (UNet, (3, 12, 12)),
}


def network(name, act, dtype):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    module = make(act).to(dtype).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 1.5)
            part.running_mean.normal_()
    return module, torch.randn(shape, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_without_activations_is_one_map(name, dtype):
    module, x = network(name, nn.Identity, dtype)
    A = cm.from_torch(module, x.shape)
    expected = module(x[None])[0]
    tolerance = (1e-10 if dtype == torch.float64 else 1e-4) * expected.abs().max().item()

    assert torch.allclose(A(x), expected, rtol=0, atol=tolerance)
    assert_rows(A, module, x, tolerance)


@pytest.mark.parametrize("act", [nn.ReLU, nn.Hardswish])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_at_an_input_is_its_tangent(name, act):
    module, x = network(name, act, torch.float64)
    with pytest.raises(cm.UnsupportedError, match="not affine"):
        cm.from_torch(module, x.shape)
    A = cm.from_torch(module, x.shape, at=x)
    expected = module(x[None])[0]

    assert torch.allclose(A(x), expected, rtol=0, atol=1e-10 * expected.abs().max().item())
    assert_rows(A, module, x, 1e-10)


def assert_rows(A, module, x, tolerance):
    batch = x[None].clone().requires_grad_()
    y = module(batch).reshape(-1)
    rows = [0, y.numel() // 2, y.numel() - 1]
    theirs = torch.stack([torch.autograd.grad(y[row], batch, retain_graph=True)[0].reshape(-1) for row in rows])
    ours = A.op.to_sparse(rows=rows).to_dense()

    assert torch.allclose(ours, theirs, rtol=0, atol=tolerance * theirs.abs().max().item())


def test_an_activation_is_refused_with_its_place():
    module, x = network("ResNet", nn.Tanh, torch.float64)
    with pytest.raises(cm.UnsupportedError, match=r"tanh in module Tanh \(stem\.2\)\. It is not affine"):
        cm.from_torch(module, x.shape)


def test_the_whole_matrix_of_a_dense_block_is_that_of_its_rows():
    module, x = network("DenseNet", nn.Identity, torch.float64)
    A = cm.from_torch(module, x.shape)
    jacobian = torch.autograd.functional.jacobian(lambda v: module(v[None])[0], x).reshape(A.op.shape)

    assert torch.allclose(A.op.to_sparse().to_dense(), jacobian, rtol=0, atol=1e-12)
    assert torch.allclose(A.op.to_dense(), jacobian, rtol=0, atol=1e-12)
    columns = A.op.to_sparse("coo", order="F").to_dense()
    swapped = jacobian.reshape(*A.out_shape, *x.shape).permute(2, 1, 0, 5, 4, 3).reshape(A.op.shape)
    assert torch.allclose(columns, swapped, rtol=0, atol=1e-12)


def test_gradients_of_a_network_reach_its_weights():
    module, x = network("DenseNet", nn.Identity, torch.float64)
    theirs = torch.autograd.grad(module(x[None]).square().sum(), list(module.parameters()))
    ours = torch.autograd.grad(cm.from_torch(module, x.shape)(x).square().sum(), list(module.parameters()))

    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(ours, theirs, strict=True))


def test_parallel_convolutions_are_one():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.thin = conv(3, 3, 3), conv(3, 3, 1)

        def forward(self, x):
            return self.wide(x) + self.thin(x)

    layer = cm.from_torch(Branches().eval(), (3, 6, 6))
    assert isinstance(layer.op, cm.ConvOperator)
    assert tuple(layer.op.kernel.shape) == (3, 3, 3, 3)


def test_a_network_of_many_branches_applies_every_map_once():
    class Doubling(nn.Module):
        def forward(self, x):
            first = x
            for _ in range(60):  # 2^60 ways through the graph
                x = x.roll(1, 2) + x.flip(1) * 0.5
            return x + first

    module = nn.Sequential(Doubling())
    x = torch.randn(2, 5)
    ours, theirs = cm.from_torch(module, (2, 5))(x), module(x[None])[0]
    assert torch.allclose(ours, theirs, rtol=1e-4)


def test_an_input_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"from_torch: at has shape \(3,\). Expected \(2, 3\), one input"):
        cm.from_torch(nn.ReLU(), (2, 3), at=[1.0, 2.0, 3.0])
