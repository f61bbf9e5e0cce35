"""Chains of convolutions as one convolution and a map on border rows: equal to the product, bit for bit."""

from functools import reduce
from itertools import product

import numpy as np
import pytest

import convmtx as cm
from convmtx.maps.combined import Product
from strategies import BOUNDARIES

#: Chains of each run; 10,000 of them passed too.
CHAINS = 120


def random_chain(rng):
    """Integer convolutions, the first one first, each of what the one before makes; None if one does not fit."""
    d, groups, layout = int(rng.integers(1, 4)), int(rng.integers(1, 3)), [None, "last", "first"][rng.integers(3)]
    shape, channels = tuple(int(n) for n in rng.integers(2, (8, 7, 4)[d - 1], d)), 2 * groups
    full = {None: shape, "last": (*shape, channels), "first": (channels, *shape)}[layout]
    layers = []
    for _ in range(rng.integers(1, 4)):
        taps = tuple(int(n) for n in rng.integers(1, 4, d))
        split = int(rng.choice([1, groups])) if layout else 1
        filters = split * int(rng.integers(1, 3))
        kernel = {None: taps, "last": (*taps, channels // split, filters), "first": (filters, channels // split, *taps)}
        options = {"groups": split, "channels": layout} if layout else {}
        pads = rng.integers(0, 3, (d, 2)) * rng.integers(2)
        try:
            layer = cm.conv(
                rng.integers(-4, 5, kernel[layout]), full, stride=int(rng.integers(1, 3)),
                dilation=int(rng.integers(1, 3)), padding=[tuple(map(int, ends)) for ends in pads],
                boundary=[BOUNDARIES[rng.integers(len(BOUNDARIES))] if rng.integers(2) else "zero" for _ in taps],
                flip=bool(rng.integers(2)), **options,
            )  # fmt: skip
        except ValueError:  # the kernel is wider than what there is
            return None
        layers.append(layer)
        full, channels = layer.out_shape, filters
        groups = 1 if channels % groups else groups
    return layers


def leaving(layers):
    """Which outputs read beyond an output of a layer before the last, by following their windows."""
    masks = []
    for j in range(len(layers[0].geometry.axes)):
        axes = [layer.geometry.axes[j] for layer in layers]
        along = []
        for o in range(axes[-1].out):
            places, leaves = {o}, False
            for axis, before in zip(axes[:0:-1], axes[-2::-1], strict=True):
                steps = product(places, range(axis.kernel))
                places = {q * axis.stride - axis.lo + p * axis.dilation for q, p in steps}
                leaves |= not places <= set(range(before.out))
            along.append(leaves)
        masks.append(np.array(along))
    whole = reduce(np.logical_or.outer, masks)
    layout = layers[-1].geometry.layout.value
    whole = whole[..., None] if layout == "last" else whole[None] if layout == "first" else whole
    return np.broadcast_to(whole, layers[-1].out_shape).ravel()


def check(layers, rng):
    whole = reduce(lambda inner, outer: outer @ inner, layers)
    D = reduce(lambda inner, outer: outer @ inner, [layer.to_dense() for layer in layers])
    for product_ in (whole, Product(*reversed(layers))):  # joined where they can be, and layer by layer
        fused = assert_fused(product_, D, leaving(layers), rng)
    return fused.exact


def assert_fused(whole, D, leaves, rng):
    """Both parts are the product with the matrix D, and the border lives where windows leave a layer."""
    fused = cm.fuse(whole)
    border = fused.border.to_sparse()
    assert isinstance(fused.conv, cm.ConvOperator)
    assert np.array_equal(fused.conv.to_dense() + border.toarray(), D)
    assert np.array_equal((fused.conv + fused.border).to_sparse().toarray(), D)
    x = rng.integers(-9, 10, (2, *whole.in_shape))
    assert np.array_equal((fused.conv(x) + fused.border(x)).reshape(2, -1), x.reshape(2, -1) @ D.T)
    assert fused.border.in_shape == whole.in_shape
    assert fused.border.out_shape == whole.out_shape
    is_border = np.diff(border.indptr) > 0
    assert not (is_border & ~leaves).any()
    assert fused.exact or leaves.any()
    if fused.exact:
        assert not border.nnz
        assert np.array_equal(fused.conv.to_dense(), D)
    return fused


def test_random_chains():
    rng, exact = np.random.default_rng(0), []
    while len(exact) < CHAINS:
        layers = random_chain(rng)
        if layers is not None:
            exact.append(check(layers, rng))
    assert 0.2 < np.mean(exact) < 0.8


def layer(torch, filters, channels, taps, padding, bias=False):
    module = torch.nn.Conv2d(channels, filters, taps, padding=padding, bias=bias).double()
    with torch.no_grad():
        module.weight.copy_(torch.randint(-4, 5, module.weight.shape))
        if bias:
            module.bias.copy_(torch.randint(-4, 5, module.bias.shape))
    return module


def map_of(module, shape):
    """A layer without bias as a map whose kernel is NumPy's."""
    return cm.conv(module.weight.detach().numpy(), shape, padding=module.padding, channels="first")


def test_two_padded_layers_of_pytorch_as_one():
    """PyTorch's forum, 154268: conv2(conv1(x)) is not conv_rep(x) "in 20 of 36" pixels of each channel."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    first, second = layer(torch, 4, 5, 3, 1), layer(torch, 3, 4, 3, 1)
    maps = [map_of(first, (5, 6, 6)), map_of(second, (4, 6, 6))]
    fused = cm.fuse(maps[1] @ maps[0])
    x = torch.randint(-4, 5, (2, 5, 6, 6)).double()
    with torch.no_grad():
        expected = second(first(x)).numpy()
        one = torch.nn.functional.conv2d(x, torch.from_numpy(np.array(fused.conv.kernel)), padding=2).numpy()
    differs = (one != expected).any(axis=(0, 1))
    inside = np.zeros((6, 6), bool)
    inside[1:-1, 1:-1] = True
    assert differs.sum() == 20
    assert np.array_equal(differs, ~inside)
    assert np.array_equal(one + fused.border(x.numpy()), expected)
    assert np.array_equal(np.unique(fused.border.to_sparse().nonzero()[0] % 36), np.flatnonzero(~inside))


def test_padding_first_makes_layers_one_convolution():
    """The advice in that thread: pad by 2 once, and let no layer pad."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    first, second = layer(torch, 4, 5, 3, 2), layer(torch, 3, 4, 3, 0)
    fused = cm.fuse(map_of(second, (4, 8, 8)) @ map_of(first, (5, 6, 6)))
    assert fused.exact
    x = torch.randint(-4, 5, (2, 5, 6, 6)).double()
    assert np.array_equal(fused.conv(x.numpy()), second(first(x)).detach().numpy())


def test_a_branch_of_a_diverse_branch_block():
    """DiverseBranchBlock issue 9: 1x1 with a bias, then 3x3 that pads zeros. The fused bias varies at the border."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    block = torch.nn.Sequential(layer(torch, 4, 3, 1, 0, bias=True), layer(torch, 2, 4, 3, 1, bias=True))
    affine = cm.from_torch(block, (3, 6, 6))
    fused, offset = cm.fuse(affine.op), affine.offset.detach().numpy()
    assert fused.exact
    assert fused.conv.kernel.shape == (2, 3, 3, 3)
    x = torch.randint(-4, 5, (2, 3, 6, 6)).double()
    expected = block(x).detach().numpy()
    assert np.array_equal(fused.conv(x).detach().numpy() + offset, expected)
    inside = offset[:, 1:-1, 1:-1]
    assert (inside == inside[:, :1, :1]).all()
    assert not (offset == inside[:, :1, :1]).all()


def test_three_layers_of_an_online_reparameterization():
    """OREPA issue 9: three 3x3 layers that pad, merged into one of 7x7, differ by 365 at the border."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = [layer(torch, 3, 3, 3, 1) for _ in range(3)]
    maps = [map_of(module, (3, 8, 8)) for module in layers]
    fused = cm.fuse(maps[2] @ maps[1] @ maps[0])
    x = torch.randint(-4, 5, (2, 3, 8, 8)).double()
    with torch.no_grad():
        expected = torch.nn.Sequential(*layers)(x).numpy()
        one = torch.nn.functional.conv2d(x, torch.from_numpy(np.array(fused.conv.kernel)), padding=3).numpy()
    assert fused.conv.kernel.shape == (3, 3, 7, 7)
    assert np.abs(one - expected).max() > 365
    assert np.array_equal(one[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])
    assert np.array_equal(one + fused.border(x.numpy()), expected)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_layers_of_other_libraries(name):
    module = pytest.importorskip(name)
    make = module.tensor if name == "torch" else module.numpy.asarray
    K, L, x = np.arange(3.0), np.arange(1.0, 3.0), np.arange(5.0)
    pairs = [cm.conv(k(L), 5, padding=1) @ cm.conv(k(K), 5, padding=1) for k in (np.asarray, make)]
    ours, theirs = map(cm.fuse, pairs)
    assert type(theirs.conv.kernel) is type(make(K))
    assert np.array_equal(theirs.conv(make(x)) + theirs.border(make(x)), pairs[0](x))
    assert np.array_equal(theirs.border.to_dense(), ours.border.to_dense())
    assert theirs.exact is ours.exact is False


def test_errors_say_what_was_expected():
    op = cm.conv([1, 2], 5)
    with pytest.raises(TypeError, match=r"fuse: a factor is a Diagonal\. Expected a convolution.*Fuse its parts"):
        cm.fuse(cm.diagonal(np.ones(4)) @ op)
    stretched = cm.conv([1, 2], 4, input_dilation=2)
    with pytest.raises(TypeError, match=r"fuse: .*Expected layers of one layout that read outputs without zeros"):
        cm.fuse(stretched @ cm.conv([1, 2, 3], 5, padding=[(1, 0)], boundary="edge"))
    with pytest.raises(TypeError, match=r"fuse: A is an affine map.*Pass A\.op"):
        cm.fuse(cm.Affine(op, np.ones(4)))
    with pytest.raises(TypeError, match="fuse: a factor is a DenseMap"):
        cm.fuse(np.ones((2, 2)))
    fused = cm.fuse(op)
    assert fused.exact
    assert fused.conv is op
