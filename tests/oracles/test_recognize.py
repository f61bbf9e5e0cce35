"""Layers, functions and operators of other libraries are recognized, with the numbers that they were made from."""

import numpy as np
import pytest
import scipy.io
import scipy.ndimage

import convmtx as cm


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"stride": 2, "padding": 1}, "stride=2, padding=[(1, 1), (1, 1)], channels='first'"),
        ({"dilation": 2, "groups": 2}, "dilation=2, groups=2, channels='first'"),
        (
            {"padding": "same", "padding_mode": "circular"},
            "padding=[(1, 1), (0, 1)], boundary='wrap', channels='first'",
        ),
        ({"padding": 1, "padding_mode": "reflect"}, "padding=[(1, 1), (1, 1)], boundary='reflect', channels='first'"),
    ],
)
def test_layers_of_pytorch(options, call):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 6, (3, 2), dtype=torch.float64, **options)
    result = cm.recognize(layer, (4, 11, 13))
    assert result.exact
    assert result.call.endswith(f"(4, 11, 13), {call})")
    np.testing.assert_allclose(result.op.kernel, layer.weight.detach().numpy(), rtol=0, atol=1e-15)
    bias = np.broadcast_to(layer.bias.detach().numpy()[:, None, None], result.op.out_shape)
    np.testing.assert_allclose(result.offset, bias, rtol=0, atol=1e-15)


def test_transposed_layers_of_pytorch():
    torch = pytest.importorskip("torch")
    layer = torch.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1, bias=False, dtype=torch.float64)
    result = cm.recognize(layer, (2, 9, 8))
    assert result.exact
    assert result.offset is None
    assert {axis.input_dilation for axis in result.op.geometry.axes} == {2}
    flipped = layer.weight.detach().numpy().swapaxes(0, 1)[:, :, ::-1, ::-1]
    np.testing.assert_allclose(result.op.kernel, flipped, rtol=0, atol=1e-15)


def test_functions_of_jax():
    jax = pytest.importorskip("jax")
    kernel = np.random.default_rng(0).integers(-9, 9, (3, 3, 2, 4)).astype(np.float32)

    def layer(x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x[None], kernel, (2, 1), "SAME", dimension_numbers=numbers)[0]

    with jax.enable_x64(False):  # other tests switch it on
        result = cm.recognize(layer, (14, 9, 2), channels="last")
    assert result.exact
    np.testing.assert_array_equal(result.op.kernel, kernel)
    assert [axis.stride for axis in result.op.geometry.axes] == [2, 1]


def test_operators_of_pylops():
    pylops = pytest.importorskip("pylops")
    kernel = np.random.default_rng(0).normal(size=(3, 5))
    operator = pylops.signalprocessing.Convolve2D((16, 18), kernel, offset=(1, 2))
    result = cm.recognize(operator, (16, 18), (16, 18))
    assert result.exact
    np.testing.assert_allclose(result.op.kernel, kernel[::-1, ::-1], rtol=0, atol=1e-14)
    assert result.applications < 60


MODES = {"constant": "zero", "wrap": "wrap", "mirror": "reflect", "reflect": "symmetric", "nearest": "edge"}


@pytest.mark.parametrize(("mode", "boundary"), MODES.items())
def test_filters_of_scipy(mode, boundary):
    kernel = np.random.default_rng(0).normal(size=(4, 5))
    result = cm.recognize(lambda x: scipy.ndimage.correlate(x, kernel, mode=mode), (20, 24))
    assert result.exact
    assert {axis.boundary.name for axis in result.op.geometry.axes} == {boundary}
    np.testing.assert_array_equal(result.op.kernel, kernel)


def test_matrices_of_matlab(tmp_path):
    """MATLAB flattens images column by column: the matrix of an image of 7 by 8 is one in column-major order."""
    kernel = np.random.default_rng(0).integers(1, 9, (3, 3))
    units = [np.reshape(row, (7, 8), order="F") for row in np.eye(56, dtype=int)]
    W = np.stack([scipy.ndimage.correlate(x, kernel, mode="constant").ravel(order="F") for x in units], axis=1)
    scipy.io.savemat(tmp_path / "W.mat", {"W": W})
    W = scipy.io.loadmat(tmp_path / "W.mat")["W"]
    result = cm.recognize(W, (7, 8), (7, 8), order="F")
    assert result.exact
    np.testing.assert_array_equal(result.op.kernel, kernel)
    assert "in column-major order, of cm.conv(K (3, 3), (7, 8), padding" in cm.recognize(W, (7, 8), (7, 8)).verdict
