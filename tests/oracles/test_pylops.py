"""PyLops' convolution, whose offset says which tap is the middle one."""

import numpy as np
import pytest

import convmtx as cm

from .agreement import whole

pylops = pytest.importorskip("pylops")


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_the_offset_in_the_middle_is_same_of_a_convolution(k):
    h = whole(k, dtype=float)
    theirs = pylops.signalprocessing.Convolve1D(7, h=h, offset=k // 2) @ np.eye(7)
    np.testing.assert_array_equal(theirs, cm.conv(h, 7, padding="same", flip=True).to_dense())
