"""Layers of Keras beside the maps made of them."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import convmtx as cm

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
L = keras.layers
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _single_precision():
    """Whatever others set."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy(before)


CASES = [
    (lambda: L.Conv1D(3, 4, padding="causal", dilation_rate=2), (9, 2)),
    (lambda: L.Conv1D(3, 2, strides=2, use_bias=False), (9, 2)),
    (lambda: L.Conv2D(4, (3, 2), strides=2, padding="same"), (8, 9, 2)),
    (lambda: L.Conv2D(4, 3, dilation_rate=(2, 1), groups=2), (8, 9, 2)),
    (lambda: L.Conv3D(2, 2, padding="same"), (3, 4, 5, 2)),
    (lambda: L.DepthwiseConv1D(3, depth_multiplier=2), (9, 2)),
    (lambda: L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2), (8, 9, 3)),
    (lambda: L.SeparableConv1D(4, 3, padding="same"), (9, 2)),
    (lambda: L.SeparableConv2D(4, 3, depth_multiplier=2), (8, 9, 3)),
    (lambda: L.Conv1DTranspose(3, 4, strides=3), (5, 2)),
    (lambda: L.Conv1DTranspose(3, 3, strides=2, padding="same"), (5, 2)),
    (lambda: L.Conv2DTranspose(3, (3, 4), strides=(2, 3), padding="same"), (4, 5, 2)),
    (lambda: L.Conv2DTranspose(3, 2, strides=3, padding="same"), (4, 5, 2)),
    (lambda: L.Conv1DTranspose(3, 1, strides=3), (5, 2)),
    (lambda: L.Conv2DTranspose(3, (2, 4), strides=3), (4, 5, 2)),
    (lambda: L.Conv3DTranspose(2, (1, 2, 3), strides=(3, 4, 2)), (2, 3, 2, 2)),
    (lambda: L.Conv3DTranspose(2, 2, strides=2), (2, 3, 2, 2)),
    (lambda: L.AveragePooling1D(3, strides=2, padding="same"), (8, 2)),
    (lambda: L.AveragePooling2D((3, 2), padding="same"), (8, 9, 2)),
    (lambda: L.AveragePooling3D(2), (4, 5, 4, 2)),
    (lambda: L.GlobalAveragePooling1D(), (8, 2)),
    (lambda: L.GlobalAveragePooling2D(keepdims=True), (8, 9, 2)),
    (lambda: L.BatchNormalization(), (4, 5, 3)),
    (lambda: L.BatchNormalization(axis=1, scale=False, epsilon=0.1), (4, 5)),
    (lambda: L.ZeroPadding1D((1, 2)), (5, 2)),
    (lambda: L.ZeroPadding2D(((1, 2), (0, 3))), (5, 4, 2)),
    (lambda: L.ZeroPadding3D(1), (2, 3, 4, 2)),
    (lambda: L.UpSampling1D(3), (5, 2)),
    (lambda: L.UpSampling2D((2, 3)), (5, 4, 2)),
    (lambda: L.UpSampling3D(2), (2, 3, 2, 2)),
    (lambda: L.Cropping1D((1, 2)), (5, 2)),
    (lambda: L.Cropping2D(((1, 2), (0, 3))), (5, 4, 2)),
    (lambda: L.Cropping2D(1, data_format="channels_first"), (2, 5, 4)),
    (lambda: L.Cropping3D((1, 0, 1)), (3, 3, 4, 2)),
    (lambda: L.Permute((3, 1, 2)), (3, 4, 2)),
    (lambda: L.Reshape((4, -1)), (3, 4, 2)),
    (lambda: L.RepeatVector(3), (4,)),
    (lambda: L.Rescaling(1 / 127.5, offset=-1), (3, 4, 2)),
    (lambda: L.Rescaling([0.5, 2.0], offset=[1.0, -1.0]), (3, 4, 2)),
    (lambda: L.Normalization(mean=[1.0, 2.0], variance=[0.5, 4.0]), (3, 4, 2)),
    (lambda: L.Normalization(axis=None, mean=1.0, variance=0.5, invert=True), (3, 2)),
    (lambda: L.Normalization(axis=(1, 2), mean=np.eye(3, 2), variance=1 + np.eye(3, 2)), (3, 2)),
    (lambda: L.TimeDistributed(L.Conv1D(3, 2)), (3, 4, 2)),
    (lambda: L.SpectralNormalization(L.Dense(3)), (4, 2)),
    (lambda: L.GaussianNoise(1.0), (4, 2)),
    (lambda: L.EinsumDense("abc,cd->adb", (3, None), bias_axes="d"), (4, 2)),
    (lambda: L.EinsumDense("...x,xyz->...yz", (3, 2), bias_axes="yz"), (4, 2)),
    (lambda: L.EinsumDense("abcd,cde->abe", (None, 5)), (2, 4, 2)),
    (lambda: L.UpSampling2D((3, 2), interpolation="bilinear"), (5, 4, 2)),
    (lambda: L.UpSampling2D(2, interpolation="lanczos3", data_format="channels_first"), (2, 5, 4)),
    (lambda: L.Resizing(3, 7), (5, 4, 2)),
    (lambda: L.AdaptiveAveragePooling1D(3), (7, 2)),
    (lambda: L.AdaptiveAveragePooling2D((3, 5), data_format="channels_first"), (2, 7, 11)),
    (lambda: L.AdaptiveAveragePooling3D((1, 2, 3)), (2, 5, 4, 2)),
    (lambda: L.Flatten(), (3, 4, 2)),
    (lambda: L.Flatten(data_format="channels_first"), (2, 3, 4)),
    (lambda: L.Dense(3), (4, 5)),
    (lambda: L.AveragePooling1D(3, padding="same", dtype="float64"), (8, 2)),
    (lambda: L.Dropout(0.3), (4, 5)),
    (lambda: L.Activation("linear"), (4, 5)),
    (
        lambda: keras.Sequential(
            [L.ZeroPadding2D(1), L.Conv2D(3, 3), L.BatchNormalization(), L.AveragePooling2D(2), L.Flatten(), L.Dense(4)]
        ),
        (6, 8, 2),
    ),
]


def built(layer, shape):
    layer.build((None, *shape))
    return layer


def changed(layer, change):
    change(built(layer, (4,)))
    return layer


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_a_layer_and_its_map(make, shape):
    layer = make()
    x = RNG.standard_normal((2, *shape)).astype(np.float32)
    layer(x)
    layer.set_weights([RNG.uniform(0.3, 1.3, w.shape) * np.sign(w.mean() + 0.1) for w in layer.get_weights()])
    expected = np.asarray(layer(x, training=False) if "training" in layer.call.__code__.co_varnames else layer(x))
    ours = cm.from_keras(layer, shape)

    assert ours.out_shape == expected.shape[1:]
    assert np.allclose(ours(x), expected, rtol=1e-4, atol=1e-4)
    product = x.reshape(2, -1) @ ours.op.to_dense().T + ours.offset.ravel()
    assert np.allclose(product, expected.reshape(2, -1), rtol=1e-4, atol=1e-4)


def test_channels_first_reads_the_same_kernel():
    """TensorFlow has no such convolutions on a CPU, so the layer is compared with its twin."""
    last, first = L.Conv2D(4, (3, 2), padding="same"), L.Conv2D(4, (3, 2), padding="same", data_format="channels_first")
    last.build((None, 5, 6, 2))
    first.build((None, 2, 5, 6))
    first.set_weights(last.get_weights())
    x = RNG.standard_normal((2, 5, 6))
    ours = cm.from_keras(first, (2, 5, 6))(x)

    assert np.allclose(ours.transpose(1, 2, 0), cm.from_keras(last, (5, 6, 2))(x.transpose(1, 2, 0)))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # TensorFlow's, while quantizing
@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: L.Conv2D(3, 2, activation="relu"), (4, 4, 1), "activation='relu'"),
        (lambda: L.Activation("tanh"), (4,), "activation='tanh'"),
        (lambda: L.ReLU(), (4,), "layer ReLU"),
        (lambda: L.MaxPooling2D(), (4, 4, 1), "layer MaxPooling2D"),
        (lambda: built(L.Conv2DTranspose(1, 3, strides=2, output_padding=1), (4, 4, 1)), (4, 4, 1), "output_padding"),
        (lambda: type("Mine", (L.Dense,), {})(3), (4,), "layer Mine"),
        (lambda: 3, (4,), "an int"),
        (lambda: built(L.Dense(3), (4,)), (5,), "on an axis of 5"),
        (lambda: built(L.BatchNormalization(axis=1), (4, 3)), (5, 3), "on an axis of 5"),
        (lambda: changed(L.Dense(3), lambda layer: layer.quantize("int8")), (4,), "quantization_mode='int8'"),
        (lambda: changed(L.Dense(3), lambda layer: layer.enable_lora(2)), (4,), "lora_enabled"),
        (lambda: L.AveragePooling1D(2, dtype="int32"), (4, 1), "numbers of type int32"),
        (lambda: changed(L.Dense(3), lambda layer: setattr(layer, "call", abs)), (4,), "layer Dense"),
        (lambda: "model.keras", (4,), r"'model.keras'.*load_model\(path, safe_mode=True\)"),
        (lambda: Path("model.tflite"), (4,), "'model.tflite'.*ONNX"),
        (lambda: built(L.Normalization(), (4,)), (3,), "shape"),
        (lambda: L.Lambda(abs), (4,), "layer Lambda"),
        (lambda: L.Permute((1, 2)), (4, 5, 3), r"shape \(4, 5, 3\) for Permute.*2 axes"),
        (lambda: L.AdaptiveAveragePooling2D(2), (4, 1), "3 axes"),
        (lambda: L.TimeDistributed(L.Flatten()), (4,), "TimeDistributed"),
        (lambda: L.RepeatVector(10**12), (4,), "8 TB"),
        (lambda: L.UpSampling2D(10**9), (4, 4, 1), "32 GB"),
        (lambda: L.Resizing(10**9, 2), (4, 4, 1), "600 GB"),
        (lambda: built(L.EinsumDense("abc,bcd->abd", (4, 3)), (4, 2)), (4, 2), "abc,bcd->abd"),
        (lambda: L.Discretization(num_bins=2), (4,), "layer Discretization"),
        (lambda: L.LayerNormalization(), (4,), "layer LayerNormalization"),
        (lambda: L.Conv2D(3, 2), (4, 4, 1), "Conv2D that is not built.*call it once"),
        (lambda: keras.Sequential([L.Flatten(), L.Dense(2)]), (4, 4), "Dense that is not built"),
    ],
)
def test_what_is_no_such_map_is_refused_by_name(make, shape, message):
    with pytest.raises(cm.UnsupportedError, match=message):
        cm.from_keras(make(), shape)


def test_transposes_of_either_layout_leave_the_same_gaps():
    last, first = L.Conv1DTranspose(3, 2, strides=4), L.Conv1DTranspose(3, 2, strides=4, data_format="channels_first")
    x = RNG.standard_normal((1, 5, 2)).astype(np.float32)
    expected = np.asarray(last(x))[0]
    built(first, (2, 5)).set_weights(last.get_weights())

    assert np.allclose(cm.from_keras(first, (2, 5))(x[0].T).T, expected, atol=1e-5)


def test_bfloat16_is_widened_to_float32():
    """Their numbers are numbers of float32, too."""
    layer = built(L.Dense(3, dtype="bfloat16"), (4,))
    weights = np.asarray(layer.kernel.value).astype(np.float32)

    assert np.array_equal(cm.from_keras(layer, (4,)).op.to_dense(), weights.T)


def test_half_precision_has_every_dense_form():
    layer = built(L.Dense(3, dtype="float16"), (4,))
    ours, weights = cm.from_keras(layer, (2, 4)), np.asarray(layer.kernel)

    assert ours.op.to_dense().dtype == np.float16
    assert np.array_equal(ours.op.to_dense(), np.kron(np.eye(2), weights.T))
    assert ours.augmented().to_dense().dtype == np.float16
    with pytest.raises(cm.ArgumentTypeError, match="dtype float16"):
        ours.op.to_sparse()
    pool = cm.from_keras(L.AveragePooling1D(2, padding="same", dtype="float16"), (3, 1))
    assert pool.op.to_dense().tolist() == [[0.5, 0.5, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("backend", "counts"),
    [
        ("torch", {"depthwise same": 54, "resizing same": 13, "upsampling same": 6}),
        ("tensorflow", {"depthwise same": 52, "depthwise refused": 2, "resizing same": 25, "upsampling same": 12}),
        ("jax", {"depthwise same": 54, "resizing same": 21, "upsampling same": 10}),
    ],
)
def test_a_map_is_what_the_backend_of_keras_computes(backend, counts):
    """Backends pad means of unequal pads, interpolate and order blocks differently; one adds biases elsewhere."""
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, os.path.join(os.path.dirname(__file__), "keras_backends.py")]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=True).stdout
    counts |= {
        "pool same": 126,
        "adaptive same": 2,
        "operation same": 43,
        "merge same": 5,
        "network same": 3,
        "tangent same": 8,
    }
    assert json.loads(text.splitlines()[-1]) == {"backend": backend, "counts": counts}
