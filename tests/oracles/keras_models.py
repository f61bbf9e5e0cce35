"""Models of Keras that are affine, as functions of the tensor that they begin with."""

import numpy as np

RNG = np.random.default_rng(5)
PLANE, MATRIX, ROWS = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 3), (3, 5), (2, 4)))


def operations(ops):
    """Return functions of inputs (batch, 4, 3) by a name: each ends in the operation that its name begins with."""
    return {
        "Add": lambda x: x + ops.flip(x, axis=1),
        "Add, constant": lambda x: x + PLANE,
        "Add, of a batch of 1": lambda x: x + PLANE[None],
        "Add, broadcast": lambda x: ops.sum(x, axis=-1, keepdims=True) + ops.mean(x, axis=1, keepdims=True),
        "Average": lambda x: ops.average(x, axis=1),
        "Cast": lambda x: ops.cast(x, "float64") + x,
        "Concatenate": lambda x: ops.concatenate([x, 2 * x, x[:, :, :1]], axis=-1),
        "Copy": lambda x: ops.copy(x) + x,
        "DepthToSpace": lambda x: ops.depth_to_space(ops.reshape(x, (-1, 1, 3, 4)), 2),
        "SpaceToDepth": lambda x: ops.space_to_depth(ops.reshape(x, (-1, 2, 2, 3)), 2),
        "SpaceToDepth, channels first": lambda x: ops.space_to_depth(
            ops.reshape(x, (-1, 3, 2, 2)), 2, "channels_first"
        ),
        "Divide": lambda x: ops.divide(x, PLANE),
        "ExpandDims": lambda x: ops.expand_dims(x, -1),
        "Flip": lambda x: ops.flip(x, axis=(1, 2)),
        "GetItem": lambda x: x[:, 1:, ::2],
        "GetItem, integer": lambda x: x[..., -1],
        "GetItem, new axis": lambda x: x[:, None, ..., 1:3],
        "Matmul": lambda x: ops.matmul(x, MATRIX),
        "Matmul, left": lambda x: ops.matmul(ROWS, x),
        "Mean": lambda x: ops.mean(x, axis=(1, 2), keepdims=True),
        "Moveaxis": lambda x: ops.moveaxis(x, 1, -1),
        "Multiply": lambda x: 0.5 * x * PLANE,
        "Multiply, integers": lambda x: x * np.arange(3),
        "Multiply, broadcast": lambda x: ops.mean(x, axis=1, keepdims=True) * PLANE,
        "Negative": lambda x: -x,
        "Pad": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=3.0),
        "Pad, reflect": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0)), mode="reflect"),
        "Repeat": lambda x: ops.repeat(x, 3, axis=1),
        "Reshape": lambda x: ops.reshape(x, (-1, 2, 6)),
        "Resize": lambda x: ops.image.resize(ops.expand_dims(x, -1), (3, 5), "bicubic", data_format="channels_last"),
        "Roll": lambda x: ops.roll(x, (1, -1), axis=(1, 2)),
        "Split": lambda x: ops.split(x, [1, 3], axis=1)[1],
        "Squeeze": lambda x: ops.squeeze(ops.sum(x, axis=1, keepdims=True), axis=1),
        "Stack": lambda x: ops.stack([x, -x], axis=2),
        "StopGradient": lambda x: ops.stop_gradient(x) + x,
        "Subtract": lambda x: x - 0.25 * x - 1,
        "Sum": lambda x: ops.sum(x, axis=2),
        "Swapaxes": lambda x: ops.swapaxes(x, 1, -1),
        "Take": lambda x: ops.take(x, np.array([[0, 1], [2, -1]]), axis=1),
        "Tile": lambda x: ops.tile(x, (1, 2, 3)),
        "Transpose": lambda x: ops.transpose(x, (0, 2, 1)),
        "TrueDivide": lambda x: x / 4,
        "Unstack": lambda x: ops.unstack(x, axis=1)[2],
    }


def merges(layers):
    """Return functions of inputs (batch, 4, 3) that end in a merging layer."""
    return {
        "Add": lambda x: layers.Add()([x, layers.Dense(3)(x), x]),
        "Add, of two ranks": lambda x: layers.Add()([x, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))]),
        "Average": lambda x: layers.Average()([x, layers.Dense(3)(x), x]),
        "Concatenate": lambda x: layers.Concatenate(axis=1)([x, layers.Dense(3)(x)]),
        "Subtract": lambda x: layers.Subtract()([x, layers.Dense(3)(x)]),
    }


def residual(layers, x, filters, stride=1):
    """Return a block of a residual network without its activations."""
    y = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
    y = layers.Conv2D(filters, 3, padding="same")(layers.BatchNormalization()(y))
    return layers.Add()([layers.BatchNormalization()(y), layers.Conv2D(filters, 1, strides=stride)(x)])


def inverted_residual(layers, x):
    """Return a block of a mobile network without its activations: wide, each channel by itself, narrow."""
    y = layers.BatchNormalization()(layers.Conv2D(6 * x.shape[-1], 1, use_bias=False)(x))
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
    return layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(x.shape[-1], 1, use_bias=False)(y))])


def networks(layers):
    """Return functions of inputs (batch, 8, 8, 3) that are small networks."""

    def unet(x):
        top = layers.Conv2D(4, 3, padding="same")(x)
        low = layers.Conv2D(6, 3, padding="same")(layers.AveragePooling2D(2)(top))
        up = layers.UpSampling2D(2, interpolation="bilinear")(low)
        joined = layers.Concatenate()([up, top, layers.Resizing(8, 8)(low)])
        return layers.Conv2D(2, 3, padding="same")(joined)

    return {
        "residual network": lambda x: layers.Dense(3)(
            layers.GlobalAveragePooling2D()(residual(layers, residual(layers, layers.Rescaling(0.1)(x), 4), 6, 2))
        ),
        "U-Net": unet,
        "mobile network": lambda x: inverted_residual(
            layers, layers.Conv2D(4, 3, strides=2, padding="same")(layers.ZeroPadding2D(1)(x))
        ),
    }


def bent(keras):
    """Return functions of inputs (batch, 8, 8, 3) that are not affine, but have a tangent at almost every input."""
    layers, ops = keras.layers, keras.ops

    def gated(x):
        y = layers.Conv2D(4, 3, padding="same", activation="silu")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        return layers.Multiply()([y, layers.Conv2D(4, 1, activation="sigmoid")(gate)])

    def pooled(x):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))
        y = layers.MaxPooling2D(3, strides=2, padding="same")(y)
        return layers.Dense(3, activation="tanh")(layers.GlobalMaxPooling2D()(layers.LeakyReLU()(y - 1)))

    return {
        "gate": gated,
        "pooling": pooled,
        "functions": lambda x: ops.relu(x - ops.flip(x, axis=1)) * ops.tanh(x) / (2 + ops.square(x)),
        "quotient": lambda x: 1 / (3 + ops.sigmoid(x)) + ops.absolute(x) * ops.hard_silu(x),
        "times": lambda x: layers.TimeDistributed(
            keras.Sequential([layers.Conv1D(3, 3, activation="elu"), layers.MaxPooling1D(2)])
        )(x),
        "shared": lambda x: layers.PReLU()(x) + layers.Concatenate()([x[..., :1], ops.clip(x[..., 1:], -0.5, 0.5)]),
        "largest": lambda x: ops.max_pool(x, 2, 1, padding="same", data_format="channels_last"),
        "channels first": lambda x: layers.GlobalMaxPooling2D(data_format="channels_first", keepdims=True)(x),
    }
