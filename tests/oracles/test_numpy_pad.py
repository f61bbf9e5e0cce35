"""Padding is `numpy.pad` of the stretched array, and then nothing is left but a valid correlation."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import convmtx as cm

from .agreement import assert_same_map, whole

MODE = {"zero": "constant", "wrap": "wrap", "reflect": "reflect", "symmetric": "symmetric", "edge": "edge"}
every_boundary = pytest.mark.parametrize("boundary", MODE)


def stretched(x, e):
    """``x`` with ``e - 1`` zeros between neighbours along every axis but the first."""
    y = np.zeros((len(x), *((n - 1) * e + 1 for n in x.shape[1:])), x.dtype)
    y[(slice(None), *(slice(None, None, e) for _ in x.shape[1:]))] = x
    return y


def padded(x, pads, modes):
    """Batch ``x`` padded axis by axis; what a negative pad crops is still there to be continued."""
    for axis, ((lo, hi), mode) in enumerate(zip(pads, modes, strict=True), 1):
        widths = [(0, 0)] * x.ndim
        widths[axis] = (max(lo, 0), max(hi, 0))
        x = np.pad(x, widths, mode=MODE[mode])
        x = np.moveaxis(np.moveaxis(x, axis, 0)[max(-lo, 0) : x.shape[axis] - max(-hi, 0)], 0, axis)
    return x


def valid(x, K, stride, dilation):
    """The valid correlation of each array of the batch."""
    axes = tuple(range(1, x.ndim))
    windows = sliding_window_view(x, [dilation * (k - 1) + 1 for k in K.shape], axes)
    windows = windows[(slice(None), *(slice(None, None, stride) for _ in axes))]
    taps = windows[(..., *(slice(None, None, dilation) for _ in axes))]
    return np.tensordot(taps, K, K.ndim)


def check(n, k, pads, modes, *, stride=1, dilation=1, input_dilation=1):
    K, x = whole(*k), whole(2, *n)
    y = valid(padded(stretched(x, input_dilation), pads, modes), K, stride, dilation)
    options = {"stride": stride, "dilation": dilation, "input_dilation": input_dilation}
    assert_same_map(cm.conv(K, n, padding=pads, boundary=modes, **options), x, y)


@every_boundary
@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("lo", [0, 1, 4, 17])
@pytest.mark.parametrize("hi", [0, 2, 5, 23])
def test_pads_of_any_width(boundary, n, lo, hi):
    k = min(3, n + lo + hi)
    check((n,), (k,), [(lo, hi)], [boundary])


@every_boundary
@pytest.mark.parametrize(
    ("n", "k", "pads"),
    [
        ((3, 4), (2, 3), [(1, 2), (3, 0)]),
        ((3, 2), (4, 1), [(11, 8), (0, 9)]),
        ((1, 1), (2, 3), [(5, 2), (1, 7)]),
        ((1, 3, 2), (2, 2, 3), [(2, 3), (4, 0), (6, 5)]),
    ],
    ids=str,
)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 2)])
def test_more_axes(boundary, n, k, pads, stride, dilation):
    if dilation > 1:
        pads = [(lo + 2, hi + 1) for lo, hi in pads]  # room for the wider kernel
    check(n, k, pads, [boundary] * len(n), stride=stride, dilation=dilation)


@pytest.mark.parametrize("first", MODE)
@pytest.mark.parametrize("second", MODE)
def test_each_axis_has_its_own_boundary(first, second):
    check((3, 4), (2, 3), [(5, 1), (2, 9)], [first, second])


@every_boundary
@pytest.mark.parametrize("pads", [(3, -1), (-2, 6), (-1, -2)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_negative_pads_crop_what_was_continued(boundary, pads, stride):
    check((6, 5), (2, 2), [pads, pads[::-1]], [boundary] * 2, stride=stride)


@every_boundary
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("input_dilation", [2, 3])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 3)])
def test_zeros_between_neighbours_are_continued_too(boundary, n, input_dilation, stride, dilation):
    check((n,), (3,), [(13, 9)], [boundary], stride=stride, dilation=dilation, input_dilation=input_dilation)
