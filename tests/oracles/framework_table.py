"""Your framework's call, and ours that does the same: the rows of the table in the README."""

from typing import NamedTuple


class Row(NamedTuple):
    """One row, as data: both calls are run and compared."""

    id: str
    #: What runs ``theirs``.
    library: str
    #: What one writes there. A layer's weights are ``K``.
    theirs: str
    #: What one writes here, for the same names as NumPy arrays.
    ours: str
    #: Shapes of the arrays in both, and numbers.
    names: dict[str, tuple[int, ...] | int]


ROWS = [
    Row(
        "torch conv2d",
        "torch",
        "F.conv2d(x, K, stride=2, padding=1, groups=2)",
        'cm.conv(K, x.shape[1:], stride=2, padding=1, groups=2, channels="first")(x)',
        {"x": (2, 4, 8, 7), "K": (6, 2, 3, 2)},
    ),
    Row(
        "torch conv_transpose2d",
        "torch",
        "F.conv_transpose2d(x, K, stride=2, padding=1, output_padding=1)",
        'cm.conv_transpose(K, x.shape[1:], stride=2, padding=1, output_padding=1, channels="first")(x)',
        {"x": (2, 3, 4, 5), "K": (3, 2, 3, 4)},
    ),
    Row(
        "torch Conv2d circular",
        "torch",
        'nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular", bias=False)(x)',
        'cm.conv(K, x.shape[1:], padding=1, boundary="circular", channels="first")(x)',
        {"x": (2, 3, 5, 6), "K": (4, 3, 3, 3)},
    ),
    Row(
        "tensorflow conv2d SAME",
        "tensorflow",
        'tf.nn.conv2d(x, K, strides=2, padding="SAME")',
        'cm.conv(K, x.shape[1:], stride=2, padding="same")(x)',
        {"x": (2, 8, 7, 3), "K": (3, 4, 3, 2)},
    ),
    Row(
        "keras Conv2DTranspose same",
        "tensorflow",
        'keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same", use_bias=False)(x)',
        'cm.conv_transpose(K, x.shape[1:], stride=2, padding="same")(x)',
        {"x": (2, 4, 5, 3), "K": (3, 3, 4, 3)},
    ),
    Row(
        "onnx Conv SAME_LOWER",
        "onnx",
        'onnx.helper.make_node("Conv", ["x", "K"], ["y"], auto_pad="SAME_LOWER", strides=[2, 2])',
        'cm.conv(K, x.shape[1:], stride=2, padding="same_lower", channels="first")(x)',
        {"x": (2, 3, 8, 7), "K": (4, 3, 3, 2)},
    ),
    Row(
        "jax lhs_dilation",
        "jax",
        "jax.lax.conv_general_dilated(x, K, (1, 1), [(2, 1), (0, 2)], lhs_dilation=(2, 3))",
        'cm.conv(K, x.shape[1:], padding=[(2, 1), (0, 2)], input_dilation=(2, 3), channels="first")(x)',
        {"x": (2, 3, 4, 5), "K": (4, 3, 3, 2)},
    ),
    Row(
        "scipy.signal convolve same",
        "scipy",
        'scipy.signal.convolve(x, h, "same")',
        'cm.conv(h, x.shape, padding="same_lower", flip=True)(x)',
        {"x": (7, 8), "h": (3, 4)},
    ),
    Row(
        "scipy.signal correlate2d symm",
        "scipy",
        'scipy.signal.correlate2d(x, h, "same", boundary="symm")',
        'cm.conv(h, x.shape, padding="same", boundary="symmetric")(x)',
        {"x": (7, 8), "h": (3, 4)},
    ),
    Row(
        "scipy.ndimage correlate reflect",
        "scipy",
        'scipy.ndimage.correlate(x, h, mode="reflect")',
        'cm.conv(h, x.shape, padding="same_lower", boundary="symmetric")(x)',
        {"x": (7, 8), "h": (3, 4)},
    ),
    Row(
        "scipy.ndimage convolve mirror",
        "scipy",
        'scipy.ndimage.convolve(x, h, mode="mirror")',
        'cm.conv(h, x.shape, padding="same", boundary="reflect", flip=True)(x)',
        {"x": (7, 8), "h": (3, 4)},
    ),
    Row(
        "scipy.linalg convolution_matrix",
        "scipy",
        'scipy.linalg.convolution_matrix(h, n, "same")',
        'cm.convmtx(h, n, "same", form="dense")',
        {"h": (4,), "n": 7},
    ),
    Row(
        "numpy convolve",
        "numpy",
        "np.convolve(x, h)",
        'cm.conv(h, x.shape, padding="full", flip=True)(x)',
        {"x": (7,), "h": (4,)},
    ),
    Row(
        "matlab convmtx2",
        "matlab",
        "convmtx2(h, m, n)",
        'cm.convmtx(h, (m, n), order="F")',
        {"h": (3, 2), "m": 4, "n": 5},
    ),
]
