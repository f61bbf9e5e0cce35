"""Functions of others, recognized from a few of their images: the same matrix as from all unit vectors."""

from math import prod

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from convmtx.geometry import Layout
from convmtx.recognition import impulses
from convmtx.recognition.functions import Box
from convmtx.recognition.impulses import from_impulses


def promise(in_channels, strides):
    return 2 * (in_channels * prod(strides) + 2 * 3 ** len(strides)) + 8


def matrix(f, in_shape, dtype=int):
    units = np.eye(prod(in_shape), dtype=dtype).reshape(-1, *in_shape)
    return np.stack([np.ravel(f(unit)) for unit in units], axis=1)


def recognized(f, in_shape, strides, layout=Layout.PLAIN, dtype=int):
    """The map that a function is, recognized within the promise; its matrix is the one of all unit vectors."""
    box = Box(f, in_shape, dtype=dtype)
    op = from_impulses(box, layout)
    in_channels = 1 if layout is Layout.PLAIN else in_shape[-1 if layout is Layout.LAST else 0]
    assert box.applications <= promise(in_channels, strides)
    np.testing.assert_array_equal(op.to_dense(), matrix(f, in_shape, dtype))
    return op


MODES = {"constant": "zero", "wrap": "wrap", "mirror": "reflect", "reflect": "symmetric", "nearest": "edge"}


@pytest.mark.parametrize(("mode", "boundary"), MODES.items())
@pytest.mark.parametrize(("kernel_shape", "in_shape"), [((5,), (60,)), ((4, 5), (13, 16)), ((5, 1, 4), (9, 5, 8))])
def test_filters_of_ndimage(mode, boundary, kernel_shape, in_shape):
    kernel = np.arange(1, prod(kernel_shape) + 1).reshape(kernel_shape)
    op = recognized(lambda x: scipy.ndimage.correlate(x, kernel, mode=mode), in_shape, (1,) * len(in_shape))
    np.testing.assert_array_equal(op.kernel, kernel)
    assert {axis.boundary.name for axis in op.geometry.axes if axis.reads_outside} == {boundary}


def test_each_axis_has_its_own_boundary():
    def filtered(x):
        along_rows = scipy.ndimage.correlate1d(x, [1, 2, 4], axis=0, mode="wrap")
        return scipy.ndimage.correlate1d(along_rows, [3, 5, -1, 2, 7], axis=1, mode="nearest")

    op = recognized(filtered, (14, 15), (1, 1))
    assert [axis.boundary.name for axis in op.geometry.axes] == ["wrap", "edge"]


@pytest.mark.parametrize(("up", "down"), [(1, 2), (1, 3), (2, 1), (3, 2), (2, 3), (5, 4), (1, 7)])
def test_rates_of_upfirdn(up, down):
    h = np.array([1.0, -2.0, 3.0, 5.0, 0.0, 7.0, 11.0])
    op = recognized(lambda x: scipy.signal.upfirdn(h, x, up, down), (80,), (down,), dtype=float)
    assert (op.geometry.axes[0].stride, op.geometry.axes[0].input_dilation) == (down, up)


@pytest.mark.parametrize(("size", "step"), [(2, 2), (3, 3), (3, 2), (2, 3), (1, 3), (4, 1)])
def test_sums_over_windows_whose_taps_are_all_one(size, step):
    def sums(x):
        return np.lib.stride_tricks.sliding_window_view(x, (size, size))[::step, ::step].sum(axis=(2, 3))

    op = recognized(sums, (19, 22), (step, step))
    assert [axis.stride for axis in op.geometry.axes] == [step, step]


@pytest.mark.parametrize("layout", [Layout.FIRST, Layout.LAST])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_channels_and_groups(layout, groups):
    rng = np.random.default_rng(groups)
    kernels = rng.integers(1, 9, (6 if groups == 2 else 4, 4 // groups, 3, 2))
    axis = 0 if layout is Layout.FIRST else 2

    def f(x):
        channels = np.moveaxis(x, axis, 0)
        images = []
        for number, kernel in enumerate(kernels):
            first = number // (len(kernels) // groups) * kernel.shape[0]
            parts = zip(channels[first:], kernel, strict=False)
            images.append(sum(scipy.signal.correlate(c, k, "valid", "direct")[::2] for c, k in parts))
        return np.stack(images, axis)

    op = recognized(f, (4, 12, 11) if layout is Layout.FIRST else (12, 11, 4), (2, 1), layout)
    assert op.geometry.groups == groups
    taps = kernels if layout is Layout.FIRST else kernels.transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(op.kernel, taps)


def test_complex_kernel():
    kernel = np.array([[1 + 2j, 3], [-1j, 4 - 1j]])
    recognized(lambda x: scipy.signal.convolve(x, kernel, "full", "direct"), (9, 10), (1, 1), dtype=complex)


def test_dilation_and_zeros_in_the_kernel():
    def f(x):
        return x[6:] - 4 * x[2:-4] + 9 * x[:-6]

    op = recognized(f, (40,), (1,))
    assert (op.geometry.axes[0].dilation, op.kernel.tolist()) == (2, [9, -4, 0, 1])


def test_cumulative_sum_has_a_kernel_as_long_as_the_axis():
    op = recognized(lambda x: np.cumsum(x, axis=0), (12, 12), (1, 1))
    assert op.kernel.tolist() == [[1]] * 12


def test_short_axes_without_inside_are_known_whole():
    def f(x):
        return scipy.signal.correlate(np.pad(x, ((3, 2), (0, 0)), "wrap"), kernel, "valid", "direct")

    kernel = np.arange(1, 22).reshape(7, 3)
    recognized(f, (5, 40), (1, 1))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_narrow_integers_that_wrap_around(dtype):
    def f(x):
        return 100 * x[1:, 1:] + 3 * x[:-1, 1:] + 7 * x[1:, :-1] + 90 * x[:-1, :-1]

    assert recognized(f, (8, 9), (1, 1), dtype=dtype).dtype == dtype


def test_noise_of_transforms_is_not_taken_for_taps():
    kernel = np.random.default_rng(0).standard_normal((3, 5))
    box = Box(lambda x: scipy.signal.fftconvolve(x, kernel, "same"), (30, 31), dtype=float)
    op = from_impulses(box, Layout.PLAIN)
    np.testing.assert_allclose(op.kernel[::-1, ::-1], kernel, rtol=0, atol=1e-14)
    assert box.applications <= promise(1, (1, 1))


def test_small_taps_of_a_filter_without_noise_are_kept():
    box = Box(lambda x: scipy.ndimage.gaussian_filter(x, 1.0, truncate=8.0), (40, 41), dtype=float)
    op = from_impulses(box, Layout.PLAIN)
    assert op.kernel.shape == (17, 17)
    assert 0 < op.kernel.min() < 1e-25


PLACES = [(0, 0), (0, 399), (399, 0), (399, 399), (205, 205), (205, 398)]


@pytest.mark.parametrize(("output", "entry"), PLACES)
def test_one_entry_that_differs_is_never_accepted(output, entry):
    def f(x):
        y = scipy.ndimage.correlate(x, [[1, 2, 1], [0, 3, 5], [1, 1, 7]], mode="reflect")
        y.flat[output] += x.flat[entry]
        return y

    assert from_impulses(Box(f, (20, 20), dtype=int), Layout.PLAIN) is None


def test_random_inputs_verify_the_kernel(monkeypatch):
    def read_wrongly(*args):
        op = read_kernel(*args)
        return op.with_kernel(np.add(op.kernel, [0, 0, 1]))

    read_kernel = impulses._read_kernel
    box = Box(lambda x: np.convolve(x, [1, 2, 3]), (50,), dtype=int)
    assert from_impulses(box, Layout.PLAIN).kernel.tolist() == [3, 2, 1]
    monkeypatch.setattr(impulses, "_read_kernel", read_wrongly)
    assert from_impulses(box, Layout.PLAIN) is None


MAPS = {
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[::-1],
    "kernel that varies": lambda x: x * np.arange(1, 901).reshape(30, 30),
    "zero": np.zeros_like,
    "fewer axes": lambda x: x.sum(axis=0),
    "taps at distances that grow": lambda x: x[np.minimum(np.arange(30) ** 2 // 4, 29)],
    "rolled columns": lambda x: np.stack([np.roll(row, j) for j, row in enumerate(x)]),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_that_are_not_convolutions(name):
    box = Box(MAPS[name], (30, 30))
    assert from_impulses(box, Layout.PLAIN) is None
    assert box.applications <= promise(1, (1, 1))


def test_offset_is_not_part_of_the_map():
    def f(x):
        return scipy.signal.correlate(x, np.array([[1, 2], [3, 4]]), "valid", "direct") + 5

    op = from_impulses(Box(f, (9, 9)), Layout.PLAIN)
    assert op.kernel.tolist() == [[1, 2], [3, 4]]


def test_few_inputs_are_left_to_unit_vectors():
    box = Box(lambda x: np.convolve(x, [1, 2, 3]), (20,))
    before = box.applications
    assert from_impulses(box, Layout.PLAIN) is None
    assert box.applications == before


def test_number_of_applications_does_not_depend_on_sizes():
    counts = []
    for size in (30, 300):
        box = Box(lambda x: scipy.ndimage.gaussian_filter(x, 1.5, mode="mirror"), (size, size), dtype=float)
        assert from_impulses(box, Layout.PLAIN) is not None
        counts.append(box.applications)
    assert counts[0] == counts[1] <= 20
