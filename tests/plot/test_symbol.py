"""The symbol against NumPy's transforms, and what is drawn."""

import numpy as np
import pytest

import convmtx as cm


def test_one_axis_is_the_transform_of_the_kernel(ax):
    kernel = np.array([1.0, -2.0, 0.5, 3.0])
    op = cm.conv(kernel, 9)
    data = cm.plot.symbol_data(op)
    cm.plot.symbol(op, ax)

    (frequencies,) = data.frequencies
    assert np.array_equal(frequencies, np.fft.fftshift(np.fft.fftfreq(512)))
    assert np.allclose(data.magnitude, np.abs(np.fft.fftshift(np.fft.fft(kernel, 512))[[0, *range(511, 0, -1)]]))
    assert np.array_equal(ax.lines[0].get_xydata(), np.stack([frequencies, data.magnitude], axis=1))
    assert ax.get_ylabel() == "magnitude of the symbol"


def at(kernel, dilation, frequencies):
    """``sum_p K[p] exp(2 pi i f p t)``, a matrix of channels."""
    taps = np.exp(2j * np.pi * np.multiply.outer(frequencies, np.arange(len(kernel)) * dilation))
    return np.tensordot(taps, kernel, 1)


def test_two_axes_and_channels_give_the_largest_singular_value(ax):
    kernel = np.random.default_rng(0).normal(size=(3, 2, 2, 3))
    op = cm.conv(kernel, (9, 8, 2))
    data = cm.plot.symbol_data(op)
    cm.plot.symbol(op, ax)

    assert data.shape == (3, 2)
    assert data.magnitude.shape == (96, 96)
    for i, j in [(0, 0), (48, 48), (3, 70), (95, 1)]:
        f, g = data.frequencies[0][i], data.frequencies[1][j]
        matrix = at(at(kernel, 1, f), 1, g)
        assert np.isclose(data.magnitude[i, j], np.linalg.norm(matrix, 2))
    assert np.array_equal(np.asarray(ax.images[0].get_array()), data.magnitude)
    half = 0.5 / 96
    assert np.allclose(ax.images[0].get_extent(), (-0.5 - half, 0.5 - half, 0.5 - half, -0.5 - half))
    assert ax.get_xlabel().startswith("frequency along i2")


@pytest.mark.parametrize(("stride", "dilation"), [(2, 1), (3, 2)])
def test_a_stride_joins_the_frequencies_that_it_cannot_tell_apart(stride, dilation):
    kernel = np.random.default_rng(0).normal(size=5)
    data = cm.plot.symbol_data(cm.conv(kernel, 60, stride=stride, dilation=dilation))

    (frequencies,) = data.frequencies
    assert frequencies[0] == -0.5 / stride
    joined = frequencies[:, None] + np.arange(stride) / stride
    expected = np.linalg.norm(at(kernel, dilation, joined), axis=1) / np.sqrt(stride)
    assert np.allclose(data.magnitude, expected)
    assert data.shape == (1, stride)


def test_many_channels_are_drawn_at_fewer_frequencies():
    data = cm.plot.symbol_data(cm.conv(np.ones((3, 3, 64, 64)), (8, 8, 64)))

    assert data.magnitude.shape == (32, 32)
    assert np.isclose(data.magnitude.max(), 9 * 64)


def test_more_axes_than_two_are_refused():
    with pytest.raises(cm.UnsupportedError, match=r"a convolution along 3 axes. One or two can be drawn"):
        cm.plot.symbol(cm.conv(np.ones((2, 2, 2)), (4, 4, 4)))


def test_magnitudes_of_a_kernel_of_zeros_have_a_scale_from_zero(ax):
    cm.plot.symbol(cm.conv(np.zeros((3, 3)), (5, 5)), ax)

    assert ax.images[0].get_clim() == (0, 1)
