"""Layers and functions of PyTorch and JAX are the maps that they should be, or the assertion says why not."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.testing import assert_same_map


def test_layers_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, (3, 2), stride=2, padding=1)
    affine = cm.from_torch(layer, (3, 8, 7))
    assert_same_map(layer, affine)
    kernel = layer.weight.detach().numpy()
    options = {"stride": 2, "padding": 1, "channels": "first"}
    with pytest.raises(AssertionError, match=r"f\(0\) differs from the offset"):
        assert_same_map(layer, cm.conv(kernel, (3, 8, 7), **options))
    bare = torch.nn.Conv2d(3, 4, (3, 2), stride=2, padding=1, bias=False)
    bare.weight = layer.weight
    assert_same_map(bare, cm.conv(kernel, (3, 8, 7), **options))
    with pytest.raises(AssertionError, match="with the kernel flipped along axes 0 and 1"):
        assert_same_map(bare, cm.conv(kernel, (3, 8, 7), flip=True, **options))


def test_functions_of_jax():
    jax = pytest.importorskip("jax")
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 2)).astype(np.float32)

    def layer(x):
        return jax.lax.conv_general_dilated(
            x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )[0]

    with jax.enable_x64(False):  # other tests switch it on
        assert_same_map(layer, cm.conv(kernel, (6, 5, 2), padding="same"))
        with pytest.raises(AssertionError, match="with the input and output channels of the kernel swapped"):
            assert_same_map(layer, cm.conv(kernel.swapaxes(2, 3), (6, 5, 2), padding="same"))
