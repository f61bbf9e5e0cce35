"""TensorFlow's and Keras's convolutions."""

import pytest

import convmtx as cm

from .agreement import assert_same_map, import_tensorflow, whole

tf = import_tensorflow()
layers = tf.keras.layers

CONV = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSE = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
DEPTHWISE = {1: layers.DepthwiseConv1D, 2: layers.DepthwiseConv2D}

SIZES = {1: (10,), 2: (7, 9), 3: (5, 7, 4)}
SMALL = {1: (4,), 2: (4, 3), 3: (2, 3, 2)}
# groups, and input and output channels of one group; the last is depthwise with two filters a channel
GROUPINGS = [(1, 3, 2), (2, 2, 3), (4, 1, 2)]

every_d = pytest.mark.parametrize("d", [1, 2, 3])
every_kernel = pytest.mark.parametrize("kernel", [(3, 3, 3), (2, 4, 1)], ids=str)
every_padding = pytest.mark.parametrize("padding", ["same", "valid"])
# TensorFlow has strides or dilations, not both
every_step = pytest.mark.parametrize(
    ("stride", "dilation"), [((1, 1, 1), (1, 1, 1)), ((2, 3, 2), (1, 1, 1)), ((1, 1, 1), (2, 2, 1))], ids=str
)


def loaded(layer, x, K):
    """The layer in double precision, built for ``x``, with the weights ``K``."""
    layer.build(x.shape)
    layer.set_weights([K])
    return layer


@every_d
@every_kernel
@every_padding
@every_step
def test_nn_convolution(d, kernel, padding, stride, dilation):
    stride, dilation = stride[:d], dilation[:d]
    K, x = whole(*kernel[:d], 3, 2), whole(2, *SIZES[d], 3)
    y = tf.nn.convolution(x, K, stride, padding.upper(), dilations=dilation)
    assert_same_map(cm.conv(K, x.shape[1:], stride=stride, dilation=dilation, padding=padding), x, y)


@pytest.mark.parametrize("pads", [((0, 2), (3, 1)), ((2, 0), (0, 5))], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_explicit_pads(pads, stride):
    K, x = whole(3, 2, 3, 2), whole(2, *SIZES[2], 3)
    y = tf.nn.conv2d(x, K, stride, [(0, 0), *pads, (0, 0)])
    assert_same_map(cm.conv(K, x.shape[1:], stride=stride, padding=pads), x, y)


# TensorFlow knows no groups in three dimensions on a CPU
@pytest.mark.parametrize(("d", "grouping"), [*((d, g) for d in (1, 2) for g in GROUPINGS), (3, GROUPINGS[0])], ids=str)
@every_kernel
@every_padding
@every_step
def test_conv_layers(d, grouping, kernel, padding, stride, dilation):
    groups, c, f = grouping
    options = {"strides": stride[:d], "dilation_rate": dilation[:d], "groups": groups}
    if dilation[:d] == (1,) * d:
        options["strides"] = (stride[0],) * d  # Keras's grouped layers want one stride for all axes
    K, x = whole(*kernel[:d], c, groups * f), whole(2, *SIZES[d], groups * c)
    layer = CONV[d](groups * f, kernel[:d], padding=padding, use_bias=False, dtype="float64", **options)
    y = loaded(layer, x, K)(x)
    ours = {"stride": options["strides"], "dilation": options["dilation_rate"], "groups": groups}
    assert_same_map(cm.conv(K, x.shape[1:], padding=padding, **ours), x, y)


@pytest.mark.parametrize("grouping", GROUPINGS, ids=str)
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 3)])
def test_causal_padding_is_all_before(grouping, k, stride, dilation):
    groups, c, f = grouping
    K, x = whole(k, c, groups * f), whole(2, 10, groups * c)
    options = {"strides": stride, "dilation_rate": dilation, "groups": groups}
    layer = layers.Conv1D(groups * f, k, padding="causal", use_bias=False, dtype="float64", **options)
    pads = [(dilation * (k - 1), 0)]
    op = cm.conv(K, x.shape[1:], stride=stride, dilation=dilation, groups=groups, padding=pads)
    assert_same_map(op, x, loaded(layer, x, K)(x))


@every_d
@pytest.mark.parametrize("kernel", [(3, 3, 3), (2, 4, 1), (5, 4, 2)], ids=str)
@every_padding
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (3, 2, 4)], ids=str)
def test_transpose_layers(d, kernel, padding, stride):
    kernel, stride = kernel[:d], stride[:d]
    K, x = whole(*kernel, 2, 3), whole(2, *SMALL[d], 3)
    layer = TRANSPOSE[d](2, kernel, stride, padding, use_bias=False, dtype="float64")
    options = {"stride": stride, "padding": padding}
    if padding == "valid":  # Keras makes n*s outputs at least
        options["output_padding"] = [max(s - k, 0) for s, k in zip(stride, kernel, strict=True)]
    assert_same_map(cm.conv_transpose(K, x.shape[1:], **options), x, loaded(layer, x, K)(x))


@pytest.mark.parametrize("d", [1, 2])
@every_padding
@pytest.mark.parametrize(("kernel", "output_padding"), [((3, 5), 0), ((3, 5), 1), ((4, 2), 1)], ids=str)
def test_transpose_layers_with_output_padding(d, kernel, padding, output_padding):
    kernel = kernel[:d]
    K, x = whole(*kernel, 2, 3), whole(2, *SMALL[d], 3)
    layer = TRANSPOSE[d](2, kernel, 2, padding, output_padding, use_bias=False, dtype="float64")
    y = loaded(layer, x, K)(x)
    if padding == "valid":
        options = {"output_padding": output_padding}
    else:  # Keras counts it from another size than n*s; that size is what is wanted
        options = {
            "output_shape": [(n - 1) * 2 + k % 2 + output_padding for n, k in zip(SMALL[d], kernel, strict=True)]
        }
    assert_same_map(cm.conv_transpose(K, x.shape[1:], stride=2, padding=padding, **options), x, y)


@every_padding
@pytest.mark.parametrize("beyond", [0, 1, 2])
def test_nn_conv2d_transpose_with_output_shape(padding, beyond):
    K, x = whole(4, 3, 2, 3), whole(2, *SMALL[2], 3)
    # one of the three sizes that a forward convolution of stride 3 takes to x's
    if padding == "same":
        size, pads = [n * 3 - beyond for n in SMALL[2]], "same"
    else:
        size, pads = [(n - 1) * 3 + k + beyond for n, k in zip(SMALL[2], K.shape, strict=False)], 0
    y = tf.nn.conv2d_transpose(x, K, [2, *size, 2], 3, padding.upper())
    assert_same_map(cm.conv_transpose(K, x.shape[1:], stride=3, padding=pads, output_shape=size), x, y)


@pytest.mark.parametrize("d", [1, 2])
@every_kernel
@every_padding
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_layers(d, kernel, padding, stride, dilation, multiplier):
    kernel, c = kernel[:d], 4
    K, x = whole(*kernel, c, multiplier), whole(2, *SIZES[d], c)
    options = {"depth_multiplier": multiplier, "dilation_rate": dilation, "use_bias": False, "dtype": "float64"}
    y = loaded(DEPTHWISE[d](kernel, stride, padding, **options), x, K)(x)
    K = K.reshape(*kernel, 1, c * multiplier)
    op = cm.conv(K, x.shape[1:], stride=stride, dilation=dilation, padding=padding, groups=c)
    assert_same_map(op, x, y)
