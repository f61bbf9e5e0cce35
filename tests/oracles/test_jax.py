"""JAX's general convolution, which dilates the input too, and its transposed one."""

import numpy as np
import pytest

import convmtx as cm

from .agreement import assert_same_map, double_precision_jax, whole

jax = pytest.importorskip("jax")
lax = jax.lax

KERNEL = {1: (4,), 2: (3, 2), 3: (2, 3, 2)}
SIZES = {1: (7,), 2: (7, 6), 3: (3, 7, 5)}
SPACE = "DHW"

every_d = pytest.mark.parametrize("d", [1, 2, 3])
every_layout = pytest.mark.parametrize("channels", ["last", "first"])
# axes, layout, and groups with input and output channels of one group; (3, 1, 2) is depthwise, two filters a channel
every_layout_and_grouping = pytest.mark.parametrize(
    ("d", "channels", "grouping"),
    [
        (1, "last", (1, 3, 2)),
        (1, "first", (2, 2, 2)),
        (2, "last", (3, 1, 2)),
        (2, "first", (1, 2, 3)),
        (2, "first", (2, 2, 2)),
        (3, "last", (2, 1, 2)),
        (3, "first", (1, 3, 2)),
    ],
    ids=str,
)


@pytest.fixture(autouse=True)
def _double_precision_on_the_cpu():
    with double_precision_jax(jax):
        yield


def cut(value, d):
    """The entries that ``d`` axes need, of a value for three."""
    return value[-d:]


def layout(channels, d):
    """JAX's names of the axes of input, kernel and output."""
    space = SPACE[-d:]
    if channels == "last":
        return (f"N{space}C", f"{space}IO", f"N{space}C")
    return (f"NC{space}", f"OI{space}", f"NC{space}")


def arrays(channels, d, grouping, *, dtype=np.float64):
    """A kernel and a batch of two inputs."""
    groups, c, f = grouping
    if channels == "last":
        return whole(*KERNEL[d], c, groups * f, dtype=dtype), whole(2, *SIZES[d], groups * c, dtype=dtype)
    return whole(groups * f, c, *KERNEL[d], dtype=dtype), whole(2, groups * c, *SIZES[d], dtype=dtype)


every_window = pytest.mark.parametrize(
    ("stride", "pads", "input_dilation", "dilation"),
    [
        ((1, 1, 1), ((0, 0), (0, 0), (0, 0)), (1, 1, 1), (1, 1, 1)),
        ((2, 1, 3), ((1, 2), (3, 0), (0, 5)), (1, 1, 1), (1, 2, 1)),
        ((1, 1, 1), ((2, 0), (1, 4), (2, 3)), (2, 3, 2), (1, 1, 1)),
        ((2, 3, 2), ((4, 3), (0, 2), (1, 6)), (3, 2, 3), (2, 1, 3)),
        ((1, 1, 1), ((3, -1), (-1, 3), (-2, 2)), (1, 1, 1), (1, 1, 1)),
        ((3, 2, 2), ((-1, 4), (6, -2), (-3, -2)), (2, 3, 4), (1, 2, 2)),
    ],
    ids=["plain", "strided", "input dilated", "all", "cropped", "all and cropped"],
)


@every_layout_and_grouping
@every_window
def test_conv_general_dilated(d, channels, grouping, stride, pads, input_dilation, dilation):
    stride, pads, input_dilation, dilation = (cut(v, d) for v in (stride, pads, input_dilation, dilation))
    K, x = arrays(channels, d, grouping)
    y = lax.conv_general_dilated(
        x, K, stride, pads, input_dilation, dilation, layout(channels, d), feature_group_count=grouping[0]
    )
    options = {"stride": stride, "padding": pads, "input_dilation": input_dilation, "dilation": dilation}
    assert_same_map(cm.conv(K, x.shape[1:], groups=grouping[0], channels=channels, **options), x, y)


@pytest.mark.parametrize("d", [1, 2])
@every_window
def test_vector_jacobian_product_is_the_transpose(d, stride, pads, input_dilation, dilation):
    stride, pads, input_dilation, dilation = (cut(v, d) for v in (stride, pads, input_dilation, dilation))
    K, x = arrays("first", d, (2, 1, 2))
    y, pull = jax.vjp(
        lambda x: lax.conv_general_dilated(x, K, stride, pads, input_dilation, dilation, feature_group_count=2), x
    )
    options = {"stride": stride, "padding": pads, "input_dilation": input_dilation, "dilation": dilation}
    op = cm.conv(K, x.shape[1:], groups=2, channels="first", **options)
    g = whole(*y.shape, seed=7)
    np.testing.assert_array_equal(op.T(g), pull(g)[0], strict=True)


@every_d
@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [(1, 1, 1), (3, 2, 3)], ids=str)
@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 3, 1)], ids=str)
def test_named_padding(d, padding, stride, dilation):
    stride, dilation = cut(stride, d), cut(dilation, d)
    K, x = arrays("last", d, (1, 3, 2))
    y = lax.conv_general_dilated(x, K, stride, padding, None, dilation, layout("last", d))
    op = cm.conv(K, x.shape[1:], stride=stride, dilation=dilation, padding=padding.lower())
    assert_same_map(op, x, y)


@every_d
@every_layout
def test_complex_kernels_are_not_conjugated(d, channels):
    K, x = arrays(channels, d, (2, 2, 3), dtype=complex)
    y = lax.conv_general_dilated(x, K, (2,) * d, [(1, 2)] * d, None, None, layout(channels, d), 2)
    op = cm.conv(K, x.shape[1:], stride=2, padding=[(1, 2)] * d, groups=2, channels=channels)
    assert_same_map(op, x, y)


@every_d
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("stride", "dilation"),
    [((1, 1, 1), (1, 1, 1)), ((2, 3, 2), (1, 1, 1)), ((4, 5, 3), (1, 1, 1)), ((2, 3, 2), (2, 1, 3))],
    ids=["plain", "strided", "strided beyond the kernel", "dilated"],
)
@pytest.mark.parametrize(("channels", "transpose_kernel"), [("last", True), ("first", False)])
def test_conv_transpose(d, padding, stride, dilation, channels, transpose_kernel):
    stride, dilation = cut(stride, d), cut(dilation, d)
    K, x = arrays(channels, d, (1, 2, 2))
    y = lax.conv_transpose(x, K, stride, padding, dilation, layout(channels, d), transpose_kernel=transpose_kernel)
    # With transpose_kernel JAX reads the array as the forward map's; without, channels and taps the other way round.
    if not transpose_kernel:
        K = K.swapaxes(-1, -2) if channels == "last" else K.swapaxes(0, 1)
    spans = [t * (k - 1) + 1 for t, k in zip(dilation, KERNEL[d], strict=True)]
    options = {"stride": stride, "dilation": dilation, "padding": padding.lower(), "flip": not transpose_kernel}
    if padding == "VALID":  # JAX makes n*s outputs at least
        options["output_padding"] = [max(s - span, 0) for s, span in zip(stride, spans, strict=True)]
    assert_same_map(cm.conv_transpose(K, x.shape[1:], channels=channels, **options), x, y)


@pytest.mark.parametrize("n", [3, 4, 7])
@pytest.mark.parametrize("k", [2, 3])
def test_convolve(n, k):
    h, x = whole(k), whole(5, n)
    y = np.stack([jax.numpy.convolve(one, h, mode="same") for one in x])
    assert_same_map(cm.conv(h, n, padding="same_lower", flip=True), x, y)
