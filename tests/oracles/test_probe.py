"""Probes of layers and filters of other libraries beside their unit vectors."""

import numpy as np
import pytest

import convmtx as cm
from unit_vectors import matrix_of, promised, require_probed


def check_torch(f, in_shape, most, needs_batch=False):
    """The matrix of a function of tensors, whose unit vectors are tensors in the type of the result."""
    torch = pytest.importorskip("torch")
    op = cm.probe(f, in_shape)

    def single(x):
        tensor = torch.from_numpy(x.astype(op.dtype))
        with torch.no_grad():
            return f(tensor[None])[0].numpy() if needs_batch else f(tensor).numpy()

    require_probed(op, matrix_of(single, in_shape), most)
    return op


def layers(torch):
    """Layers without bias in double precision, their inputs, and the number of combs, axes, stride and dilated axes."""
    nn = torch.nn
    return {
        "conv1d": (nn.Conv1d(2, 3, 5, stride=3, bias=False), (2, 40), 2 * 5, 3, 0),
        "conv2d": (nn.Conv2d(3, 4, 3, bias=False), (3, 10, 11), 3 * 9, 1, 0),
        "stride": (nn.Conv2d(3, 4, 3, 2, 1, bias=False), (3, 17, 20), 3 * 9, 2, 0),
        "dilation": (nn.Conv2d(2, 4, 3, padding=2, dilation=3, bias=False), (2, 17, 20), 2 * 9, 1, 2),
        "circular": (
            nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular", bias=False), (2, 16, 21), 2 * 4 * 3, 1, 0),
        "reflect": (nn.Conv2d(2, 4, 3, padding=2, padding_mode="reflect", bias=False), (2, 16, 21), 2 * 9, 1, 0),
        "replicate": (
            nn.Conv2d(2, 4, 3, padding=2, dilation=2, padding_mode="replicate", bias=False), (2, 17, 20), 50, 1, 2),
        "depthwise": (nn.Conv2d(6, 6, 3, groups=6, bias=False), (6, 9, 10), 9, 1, 0),
        "groups": (nn.Conv2d(32, 32, 3, groups=8, bias=False), (32, 9, 10), 7 * 9, 4, 0),
        "conv3d": (nn.Conv3d(1, 2, 3, padding=1, bias=False), (1, 7, 8, 9), 27, 1, 0),
        "transposed": (nn.ConvTranspose2d(3, 2, 4, 2, 1, bias=False), (3, 9, 10), 3 * 4, 1, 0),
        "average": (nn.AvgPool2d(3, 2, 1), (3, 13, 14), 9, 2, 0),
        "shuffle": (nn.PixelUnshuffle(2), (3, 12, 14), 1, 2, 0),
        "batch norm": (nn.BatchNorm2d(3, affine=False).eval(), (3, 5, 6), 1, 1, 0),
    }  # fmt: skip


NAMES = ("conv1d", "conv2d", "stride", "dilation", "circular", "reflect", "replicate", "depthwise", "groups", "conv3d",
         "transposed", "average", "shuffle", "batch norm")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_layers_of_torch(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer, in_shape, combs, stride, dilated = layers(torch)[name]

    most = promised(combs, len(in_shape), stride, dilated)
    check_torch(layer.double(), in_shape, most, needs_batch=name == "batch norm")


def test_a_layer_in_its_own_type_with_its_offset():
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    layer = torch.nn.Conv2d(2, 3, 3, padding=1)
    op = cm.probe(layer, (2, 9, 10))
    expected = cm.from_torch(layer, (2, 9, 10))

    assert op.dtype == np.float32
    np.testing.assert_allclose(op.to_dense(), expected.op.to_dense().detach(), rtol=1e-5, atol=op.noise + 1e-7)
    np.testing.assert_allclose(op.offset, expected.offset.detach().expand(3, 9, 10), rtol=1e-6)


def test_functions_of_torch_whose_weights_are_of_single_precision():
    torch = pytest.importorskip("torch")
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(np.float32))

    op = check_torch(lambda x: torch.nn.functional.conv2d(x, weight), (2, 9, 10), promised(2 * 9, 3))

    assert op.dtype == np.float32


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("size", [(24, 28), (6, 7), (17, 11)])
def test_interpolation_of_torch(mode, size):
    """Even ratios are regular; under odd ones all places are read."""
    torch = pytest.importorskip("torch")
    taps = 4 if mode == "bicubic" else 3
    most = promised(taps**2, 3, 2) if size != (17, 11) else 25 + 9 + 3 * 4 + 2 + 12 + 14

    def resized(x):
        return torch.nn.functional.interpolate(x, size=size, mode=mode)

    check_torch(resized, (2, 12, 14), most, needs_batch=True)


def test_modules_that_are_not_linear():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    for module, match in (
        (nn.ReLU(), "a function that does not take -2 x to"),
        (nn.Dropout(), "random"),
        (nn.BatchNorm2d(2), "a function that does not take -2 x to"),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()), "a function that does not take -2 x to"),
    ):
        with pytest.raises(cm.ArgumentError, match=f"probe: f is {match}"):
            cm.probe(module.train(), (2, 6, 6))
    np.testing.assert_array_equal(cm.probe(nn.Dropout().eval(), (2, 3)).to_dense(), np.eye(6))


@pytest.mark.parametrize("mode", ["zero", "symmetric", "reflect", "antisymmetric", "periodic", "periodization"])
def test_wavelet_transforms(mode):
    pywt = pytest.importorskip("pywt")
    circle = 5 if mode.startswith("period") else 4

    def transform(x):
        return np.array(pywt.dwt(x, "db2", mode=mode))

    def transform_2d(x):
        return pywt.dwt2(x, "db2", mode=mode)[0]

    require_probed(cm.probe(transform, 40), matrix_of(transform, (40,)), promised(circle, 1, 2))
    require_probed(cm.probe(transform_2d, (24, 26)), matrix_of(transform_2d, (24, 26)), promised(circle**2, 2, 2))


@pytest.mark.parametrize("name", ["sobel_h", "prewitt_v", "scharr_h", "farid_v", "laplace", "gaussian"])
def test_filters_of_skimage(name):
    filters = pytest.importorskip("skimage.filters")
    f = getattr(filters, name)
    span = {"farid_v": 5, "gaussian": 9}.get(name, 3)

    require_probed(cm.probe(f, (16, 17)), matrix_of(f, (16, 17)), promised(span**2, 2, dilated=2))


@pytest.mark.parametrize(("method", "taps"), [("linear", 2), ("cubic", 4), ("lanczos3", 6)])
def test_resizing_of_jax(method, taps):
    jax = pytest.importorskip("jax")

    def resized(x):
        return jax.image.resize(x, (22, 20), method)

    require_probed(cm.probe(resized, (11, 10)), matrix_of(resized, (11, 10)), promised((taps + 1) ** 2, 2))


def test_convolutions_of_jax_that_need_a_batch():
    jax = pytest.importorskip("jax")
    kernel = np.random.default_rng(1).standard_normal((3, 2, 3, 3)).astype(np.float32)

    def convolved(x):
        return jax.lax.conv(x, kernel, (2, 2), "SAME")

    with jax.enable_x64(False):  # other tests switch it on
        op = cm.probe(convolved, (2, 13, 15))

    require_probed(op, matrix_of(lambda x: convolved(x[None])[0], (2, 13, 15), np.float32), promised(2 * 9, 3, 2))
