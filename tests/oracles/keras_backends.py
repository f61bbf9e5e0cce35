"""Compares layers of Keras with their maps on the backend that the environment names, and prints the counts as JSON."""

import json
import sys
from collections import Counter
from itertools import product

import numpy as np


def settings(layers):
    """(family, layer, shape): pooling with every pad there is, and convolutions as wide as they have channels."""
    for padding, n, k, s in product(("valid", "same"), (4, 5, 6), (2, 3, 4), (1, 2, 3)):
        data = ("last", "first")[(n + k + s) % 2]  # by turns, because each layer is compiled
        options = {"padding": padding, "data_format": f"channels_{data}", "strides": s}
        for sizes, kernel in (((n,), k), ((n, 7), (k, 2)), ((n, 7), (k, 3))):
            if max(k, n) > 5 and len(sizes) > 1:
                continue
            shape = (*sizes, 2) if data == "last" else (2, *sizes)
            yield "pool", getattr(layers, f"AveragePooling{len(sizes)}D")(kernel, **options), shape
        shape = (n, 2) if data == "last" else (2, n)
        yield "depthwise", layers.DepthwiseConv1D(k, depth_multiplier=2, **options), shape


def resizings(keras):
    """(family, layer, shape): every method that a backend has, smaller and larger, and all ways to keep proportions."""
    layers, backend = keras.layers, keras.backend.backend()
    methods = ["nearest", "bilinear", "bicubic", *([] if backend == "torch" else ["lanczos3", "lanczos5"])]
    methods += ["area"] if backend == "tensorflow" else []
    sizes = ((5, 9), (11, 3), (7, 6), (1, 13))
    for number, (method, antialias) in enumerate(product(methods, (False, True))):
        for j, size in list(enumerate(sizes))[number % 2 :: 2]:  # by turns, because each layer is compiled
            keep = {"crop_to_aspect_ratio": j % 3 == 1, "pad_to_aspect_ratio": j % 3 == 2, "fill_value": 0.5}
            layer = layers.Resizing(*size, method, antialias=antialias, data_format="channels_last", **keep)
            yield "resizing", layer, (7, 6, 2)
    for method, data in product(methods, ("channels_last", "channels_first")):
        shape = (4, 5, 2) if data == "channels_last" else (2, 4, 5)
        yield "upsampling", layers.UpSampling2D((2, 3), data, method), shape
    yield "resizing", layers.Resizing(90, 70, "nearest"), (40, 61, 1)  # too large for PyTorch's kernel of small images
    for n, m in ((7, 3), (4, 6)):
        yield "adaptive", layers.AdaptiveAveragePooling2D((m, 2), data_format="channels_last"), (n, 7, 2)


def models(keras):
    """(family, model, shape): every operation, merging layers, and small networks."""
    import keras_models  # beside this file, which is run as a script

    functions = [("operation", f, (4, 3)) for f in keras_models.operations(keras.ops).values()]
    functions += [("merge", f, (4, 3)) for f in keras_models.merges(keras.layers).values()]
    functions += [("network", f, (8, 8, 3)) for f in keras_models.networks(keras.layers).values()]
    for family, function, shape in functions:
        start = keras.Input(shape)
        yield family, keras.Model(start, function(start)), shape


def tangents(keras, cm):
    """Yield whether the map at an input has the model's output, and its slope in a direction."""
    import keras_models

    rng, to_numpy = np.random.default_rng(1), keras.ops.convert_to_numpy
    for function in keras_models.bent(keras).values():
        start = keras.Input((8, 8, 3))
        model = keras.Model(start, function(start))
        at, direction = rng.standard_normal((2, 1, 8, 8, 3)).astype(np.float32)
        ours, output = cm.from_keras(model, (8, 8, 3), at=at), to_numpy(model(at))
        # Two steps of 1e-3: rounding makes an error of about 1e-4, and a kink between them a larger one.
        slope = (to_numpy(model(at + 1e-3 * direction)) - to_numpy(model(at - 1e-3 * direction))) / 2e-3
        is_same = np.allclose(ours(at), output, atol=1e-5) and np.median(np.abs(ours.op(direction) - slope)) < 1e-3
        yield "same" if is_same else "other numbers"


def compared(keras, cm, layer, shape):
    """Whether the map is what the layer computes, or the refusal."""
    rng = np.random.default_rng(0)
    if not layer.built:
        layer.build((None, *shape))
    layer.set_weights([rng.uniform(0.3, 1.3, w.shape) for w in layer.get_weights()])
    x = rng.standard_normal((2, *shape)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(layer(x))
    try:
        ours = cm.from_keras(layer, shape)
    except cm.UnsupportedError as error:
        return "refused" if "adds the bias along the last axis" in str(error) else str(error)
    tolerance = 1e-4 if expected.dtype == np.float32 else 1e-2
    return (
        "same" if np.allclose(ours(x), expected, atol=tolerance * max(1, np.abs(expected).max())) else "other numbers"
    )


def main():
    """Print how often each family is what."""
    import keras

    import convmtx as cm

    keras.utils.set_random_seed(0)  # weights for which no kink lies between the two steps of a slope
    counts = Counter()
    for family, layer, shape in (*settings(keras.layers), *resizings(keras), *models(keras)):
        counts[f"{family} {compared(keras, cm, layer, shape)}"] += 1
    counts.update(f"tangent {word}" for word in tangents(keras, cm))
    json.dump({"backend": keras.backend.backend(), "counts": counts}, sys.stdout)


if __name__ == "__main__":
    main()
