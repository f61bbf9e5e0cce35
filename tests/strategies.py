"""Hypothesis: any convolution whatever, with the loop reference's tensor beside it."""

import numpy as np
from hypothesis import strategies as st

import convmtx as cm
import reference

BOUNDARIES = list(reference.PAD_MODES)
DTYPES = [np.int8, np.int64, np.uint16, np.float32, np.float64, np.complex64, np.complex128]
LARGEST = {1: (9, 6, 9), 2: (6, 4, 5), 3: (4, 3, 4), 4: (3, 2, 2)}  # size, kernel, pad


class Case:
    def __init__(self, op, tensor, boundary):
        self.op, self.tensor, self.boundary = op, tensor, boundary

    def __repr__(self):
        return f"{self.op!r} {self.op.geometry!r}"

    @property
    def matrix(self):
        return self.tensor.reshape(self.op.shape)

    def matrix_in(self, order):
        """The reference's matrix for inputs and outputs flattened in this order."""
        if order == "C":
            return self.matrix
        out = len(self.op.out_shape)
        axes = [*reversed(range(out)), *reversed(range(out, self.tensor.ndim))]
        return self.tensor.transpose(axes).reshape(self.op.shape)


def small_integers(rng, shape, dtype):
    """Values that every dtype holds and whose sums round nowhere."""
    dtype = np.dtype(dtype)
    least = 0 if dtype.kind == "u" else -4
    values = rng.integers(least, 5, shape)
    return (values + 1j * rng.integers(-4, 5, shape) if dtype.kind == "c" else values).astype(dtype)


@st.composite
def cases(draw, boundaries=BOUNDARIES, dtypes=DTYPES, dims=(1, 2, 3, 4)):
    d = draw(st.sampled_from(dims))
    size, tap, pad = LARGEST[d]

    def per_axis(least, most):
        return tuple(draw(st.integers(least, most)) for _ in range(d))

    sizes, kernel, stride = per_axis(1, size), per_axis(1, tap), per_axis(1, 3)
    dilation, stretch = per_axis(1, 3), per_axis(1, 3 if d < 4 else 2)
    boundary = [draw(st.sampled_from(boundaries)) for _ in range(d)]
    pads = []
    for n, k, t, e in zip(sizes, kernel, dilation, stretch, strict=True):
        lo, hi = draw(st.integers(-2, pad)), draw(st.integers(-2, pad))
        short = t * (k - 1) + 1 - ((n - 1) * e + 1 + lo + hi)
        pads.append((lo, hi + max(short, 0)))  # every draw is a geometry that fits
    layout = draw(st.sampled_from(["plain", "last", "first"]))
    groups, per_c, per_f = (1, 1, 1) if layout == "plain" else per_axis_of(draw, 3)
    flip = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    K = small_integers(rng, (*kernel, per_c, per_f * groups), draw(st.sampled_from(dtypes)))
    W = reference.tensor(K, sizes, stride, dilation, pads, stretch, boundary, groups, flip)
    options = {
        "stride": stride, "dilation": dilation, "padding": pads, "boundary": boundary, "flip": flip,
        "input_dilation": stretch,
    }  # fmt: skip
    if layout == "plain":
        op = cm.conv(K[..., 0, 0], sizes, **options)
    elif layout == "last":
        op = cm.conv(K, (*sizes, per_c * groups), groups=groups, **options)
    else:
        first = np.moveaxis(K, (-1, -2), (0, 1))
        op = cm.conv(first, (per_c * groups, *sizes), groups=groups, channels="first", **options)
        W = np.moveaxis(np.moveaxis(W, d, 0), -1, d + 1)
    return Case(op, W.reshape(op.out_shape + op.in_shape), boundary)


def per_axis_of(draw, number):
    return tuple(draw(st.integers(1, 3 if j == 0 else 2)) for j in range(number))
