"""PyTorch's convolutions and their gradients are the map and its adjoint."""

import numpy as np
import pytest

import convmtx as cm

from .agreement import assert_same_map, one_torch_thread, whole

torch = pytest.importorskip("torch")
# PyTorch says, once a process, that it may copy the input there.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")

F, nn = torch.nn.functional, torch.nn

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
LAYER = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSE_LAYER = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}

SIZES = {1: (13,), 2: (7, 9), 3: (4, 7, 3)}
LARGE = {1: (13,), 2: (8, 9), 3: (7, 8, 7)}
SMALL = {1: (5,), 2: (4, 3), 3: (4, 3, 3)}
KERNEL = {1: (3,), 2: (3, 2), 3: (2, 3, 1)}

every_d = pytest.mark.parametrize("d", [1, 2, 3])
every_stride = pytest.mark.parametrize("stride", [1, 2, (3, 1, 2)], ids=str)
every_dilation = pytest.mark.parametrize("dilation", [1, 2, (1, 3, 2)], ids=str)
# groups, and input and output channels of one group; the last is depthwise with two filters a channel
every_grouping = pytest.mark.parametrize("grouping", [(1, 3, 2), (2, 2, 3), (4, 1, 2)], ids=str)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_torch_thread(torch):
        yield


def cut(value, d):
    """The entries that ``d`` axes need, of a value for three."""
    return value[:d] if isinstance(value, tuple) else value


def check(op, theirs, x):
    """``theirs`` on the batch ``x`` is ``op``, and its vector-Jacobian product is the adjoint."""
    x = torch.tensor(x, requires_grad=True)
    y = theirs(x)
    assert_same_map(op, x.detach(), y.detach())
    g = torch.tensor(whole(*y.shape, seed=7, dtype=x.detach().numpy().dtype))
    (back,) = torch.autograd.grad(y, x, g)
    np.testing.assert_array_equal(op.H(g.numpy()), back.numpy(), strict=True)
    np.testing.assert_array_equal(op.to_dense().conj().T @ g[0].ravel().numpy(), back[0].ravel().numpy())


@every_d
@every_stride
@every_dilation
@every_grouping
@pytest.mark.parametrize("padding", [0, 3, (1, 0, 4)], ids=str)
def test_conv(d, stride, dilation, grouping, padding):
    groups, c, f = grouping
    stride, dilation, padding = cut(stride, d), cut(dilation, d), cut(padding, d)
    K, x = whole(groups * f, c, *KERNEL[d]), whole(2, groups * c, *SIZES[d])
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    op = cm.conv(K, x.shape[1:], channels="first", **options)
    check(op, lambda x: CONV[d](x, torch.tensor(K), **options), x)


@every_d
@every_dilation
@pytest.mark.parametrize("kernel", [(4, 3, 2), (3, 2, 1), (2, 2, 4)], ids=str)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_named_padding(d, dilation, kernel, padding):
    dilation = cut(dilation, d)
    K, x = whole(3, 2, *kernel[:d]), whole(2, 2, *LARGE[d])
    op = cm.conv(K, x.shape[1:], dilation=dilation, padding=padding, channels="first")
    check(op, lambda x: CONV[d](x, torch.tensor(K), dilation=dilation, padding=padding), x)


@every_d
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [2, (3, 0, 1), "same"], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_mode(d, mode, padding, stride):
    if padding == "same":
        stride = 1  # PyTorch knows no other
    padding, grouping = cut(padding, d), {"groups": 2, "channels": "first"}
    K, x = whole(4, 2, *KERNEL[d]), whole(2, 4, *SIZES[d])
    layer = LAYER[d](4, 4, KERNEL[d], stride, padding, 1, 2, bias=False, padding_mode=mode).double()
    layer.weight.data = torch.tensor(K)
    check(cm.conv(K, x.shape[1:], stride=stride, padding=padding, boundary=mode, **grouping), layer, x)


@every_d
def test_complex_kernels_are_not_conjugated_and_gradients_are(d):
    K, x = whole(4, 2, *KERNEL[d], dtype=complex), whole(2, 4, *SIZES[d], dtype=complex)
    options = {"stride": 2, "padding": 1, "groups": 2}
    op = cm.conv(K, x.shape[1:], channels="first", **options)
    check(op, lambda x: CONV[d](x, torch.tensor(K), **options), x)


@every_d
@every_grouping
@pytest.mark.parametrize(
    ("stride", "dilation", "output_padding"),  # PyTorch wants output_padding below stride or dilation
    [(1, 1, 0), (2, 1, 0), (2, 1, 1), (3, 2, 2), (1, 2, 1), (1, 3, 2), ((3, 4, 2), (1, 3, 2), (2, 0, 1))],
    ids=str,
)
@pytest.mark.parametrize("padding", [0, 1, (2, 0, 1)], ids=str)
def test_conv_transpose(d, grouping, stride, dilation, output_padding, padding):
    groups, c, f = grouping
    K, x = whole(groups * c, f, *KERNEL[d]), whole(2, groups * c, *SMALL[d])
    options = {"stride": cut(stride, d), "dilation": cut(dilation, d), "groups": groups}
    options |= {"padding": cut(padding, d), "output_padding": cut(output_padding, d)}
    op = cm.conv_transpose(K, x.shape[1:], channels="first", **options)
    check(op, lambda x: CONV_TRANSPOSE[d](x, torch.tensor(K), **options), x)


@every_d
@pytest.mark.parametrize(("stride", "beyond"), [(1, 0), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_output_size(d, stride, beyond, dilation, padding):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 2}
    K, x = whole(4, 3, *KERNEL[d]), whole(2, 4, *SMALL[d])
    layer = TRANSPOSE_LAYER[d](4, 6, KERNEL[d], bias=False, **options).double()
    layer.weight.data = torch.tensor(K)
    size = [n + beyond for n in layer(torch.tensor(x)).shape[2:]]
    op = cm.conv_transpose(K, x.shape[1:], output_shape=size, channels="first", **options)
    check(op, lambda x: layer(x, output_size=size), x)
