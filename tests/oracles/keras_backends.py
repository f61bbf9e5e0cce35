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


def compared(keras, cm, layer, shape):
    """Whether the map is what the layer computes, or the refusal."""
    rng = np.random.default_rng(0)
    layer.build((None, *shape))
    layer.set_weights([rng.uniform(0.3, 1.3, w.shape) for w in layer.get_weights()])
    x = rng.standard_normal((2, *shape)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(layer(x))
    try:
        ours = cm.from_keras(layer, shape)
    except cm.UnsupportedError as error:
        return "refused" if "adds the bias along the last axis" in str(error) else str(error)
    return "same" if np.allclose(ours(x), expected, atol=1e-4) else "other numbers"


def main():
    """Print how often each family is what."""
    import keras

    import convmtx as cm

    counts = Counter()
    for family, layer, shape in settings(keras.layers):
        counts[f"{family} {compared(keras, cm, layer, shape)}"] += 1
    json.dump({"backend": keras.backend.backend(), "counts": counts}, sys.stdout)


if __name__ == "__main__":
    main()
