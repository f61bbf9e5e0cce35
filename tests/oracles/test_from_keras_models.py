"""Models of Keras beside the maps made of them."""

import os

import numpy as np
import pytest

import convmtx as cm
from convmtx.interop.keras.operations import OPERATIONS as TABLE

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from . import keras_models  # noqa: E402

L, ops = keras.layers, keras.ops
RNG = np.random.default_rng(0)
OPERATIONS, MERGES = keras_models.operations(ops), keras_models.merges(L)
NETWORKS, BENT = keras_models.networks(L), keras_models.bent(keras)


@pytest.fixture(autouse=True)
def _single_precision():
    """Whatever others set."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy(before)


def model_of(function, shape):
    """Return the model of a function of a tensor, with random weights."""
    start = keras.Input(shape)
    model = keras.Model(start, function(start))
    model.set_weights([RNG.uniform(0.3, 1.3, w.shape) * np.sign(w.mean() + 0.1) for w in model.get_weights()])
    return model


def assert_same(model, shape, tolerance=1e-4):
    """Assert that a map and its sparse matrix are a model, up to a part of its largest output; return the map."""
    x = RNG.standard_normal((2, *shape)).astype(np.float32)
    expected = np.asarray(model(x))
    ours = cm.from_keras(model, shape)
    allowed = tolerance * max(1, np.abs(expected).max())
    assert ours.out_shape == expected.shape[1:]
    assert np.abs(ours(x) - expected).max() <= allowed
    product = (ours.op.to_sparse("csr") @ x.reshape(2, -1).T).T + ours.offset.ravel()
    assert np.abs(product.reshape(expected.shape) - expected).max() <= allowed
    return ours


def assert_rows_are_gradients(ours, model, at):
    """Assert that some rows of a map's sparse matrix are TensorFlow's gradients of outputs at an input."""
    rows, x = RNG.choice(ours.op.shape[0], 3, replace=False), tf.Variable(at)
    for row, ours_of_row in zip(rows, ours.op.to_sparse("csr", rows=rows).toarray(), strict=True):
        with tf.GradientTape() as tape:
            output = tf.reshape(model(x), [-1])[int(row)]
        gradient = tf.convert_to_tensor(tape.gradient(output, x)).numpy().ravel()
        assert np.abs(ours_of_row - gradient).max() <= 1e-4 * max(np.abs(gradient).max(), 1e-3)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    model = model_of(OPERATIONS[name], (4, 3))

    assert name.split(",")[0] in {type(operation).__name__ for operation in model.operations}
    assert_same(model, (4, 3))


def test_all_operations_are_compared():
    assert {name.split(".")[1] for name in TABLE} == {name.split(",")[0] for name in OPERATIONS}


@pytest.mark.parametrize("name", MERGES)
def test_merging_layers(name):
    assert_same(model_of(MERGES[name], (4, 3)), (4, 3))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_and_their_jacobians(name):
    """Rows of the sparse matrix are TensorFlow's gradients of outputs."""
    model = model_of(NETWORKS[name], (8, 8, 3))
    ours = assert_same(model, (8, 8, 3))

    assert_rows_are_gradients(ours, model, np.zeros((1, 8, 8, 3), np.float32))


@pytest.mark.parametrize("name", BENT)
def test_tangents_at_an_input(name):
    """The output at the input is the model's, and rows of the matrix are TensorFlow's gradients there."""
    model = model_of(BENT[name], (8, 8, 3))
    at = RNG.standard_normal((1, 8, 8, 3)).astype(np.float32)
    ours, expected = cm.from_keras(model, (8, 8, 3), at=at), np.asarray(model(at))

    assert np.abs(ours(at) - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    assert_rows_are_gradients(ours, model, at)
    with pytest.raises(cm.UnsupportedError):
        cm.from_keras(model, (8, 8, 3))


def test_tangents_of_what_mixes_numbers_are_refused():
    for function, message in (
        (lambda x: L.Dense(3, activation="softmax")(x), "activation='softmax'.*by itself"),
        (lambda x: L.Dense(3, activation=lambda y: y * y)(x), "activation=.*by itself"),
        (lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), "both depend on the input"),
        (lambda x: L.LayerNormalization()(x), "layer LayerNormalization"),
    ):
        with pytest.raises(cm.UnsupportedError, match=message):
            cm.from_keras(model_of(function, (4, 3)), (4, 3), at=np.ones((4, 3)))
    with pytest.raises(cm.ArgumentError, match=r"at has shape \(3, 4\)"):
        cm.from_keras(L.ReLU(), (4, 3), at=np.ones((3, 4)))


def test_layers_that_are_used_twice():
    dense = L.Dense(3)
    assert_same(model_of(lambda x: dense(dense(x)) + dense(x), (4, 3)), (4, 3))


def test_models_inside_models():
    two = keras.Input((4, 3)), keras.Input((4, 3))
    difference = keras.Model(two, L.Subtract()(two), name="difference")
    inner = keras.Sequential([L.Dense(3), L.Permute((2, 1)), L.Dense(4), L.Permute((2, 1))])

    assert_same(model_of(lambda x: difference([inner(x), x]), (4, 3)), (4, 3))
    assert_same(
        model_of(lambda x: L.TimeDistributed(model_of(lambda y: y + ops.roll(y, 1, axis=1), (3,)))(x), (4, 3)), (4, 3)
    )


def test_inputs_by_name():
    """Keras takes them by name, whatever the order of the names."""
    minuend, subtrahend = keras.Input((4, 3), name="z"), keras.Input((4, 3), name="a")
    listed = keras.Model([minuend, subtrahend], minuend - 2 * subtrahend)

    assert_same(model_of(lambda x: listed({"a": x, "z": L.Dense(3)(x)}), (4, 3)), (4, 3))


def test_pictures_of_integers():
    start = keras.Input((4, 5, 3), dtype="uint8")
    model = keras.Model(start, L.Rescaling(1 / 255)(start))
    x = RNG.integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)

    assert np.allclose(cm.from_keras(model, (4, 5, 3))(x), model(x), atol=1e-6)
    with pytest.raises(cm.UnsupportedError, match="numbers of type uint8"):  # which Keras rounds
        cm.from_keras(keras.Model(start, L.Resizing(2, 2)(start)), (4, 5, 3))


def test_inputs_of_any_size():
    start = keras.Input((None, None, 2))
    model = keras.Model(start, keras_models.residual(L, start, 2))

    assert_same(model, (5, 6, 2))
    with pytest.raises(cm.UnsupportedError, match=r"an input of shape \(5, 6, 3\).*\(None, None, 2\)"):
        cm.from_keras(model, (5, 6, 3))


def test_mixed_precision_keeps_the_weights_of_float32():
    keras.config.set_dtype_policy("mixed_float16")
    model = model_of(lambda x: x + L.Normalization(axis=None, mean=1.0, variance=4.0)(L.Dense(3)(x)), (4, 3))
    ours = cm.from_keras(model, (4, 3))
    kernel = model.layers[1].get_weights()[0]

    assert ours.op.dtype == np.float32
    assert np.allclose(ours.op.to_dense(), np.kron(np.eye(4), np.eye(3) + kernel.T / 2), rtol=1e-6)


def test_double_precision():
    """Numbers in Python code are numbers of the model's type."""
    keras.config.set_dtype_policy("float64")
    start = keras.Input((4, 3), dtype="float64")
    y = 0.1 * L.Dense(3)(start) + ops.mean(start, axis=1, keepdims=True) / 3
    model = keras.Model(start, ops.relu(ops.pad(y - 0.7, ((0, 0), (1, 0), (0, 0)), constant_values=0.1)))
    at = RNG.standard_normal((1, 4, 3))
    ours = cm.from_keras(model, (4, 3), at=at)

    assert ours.op.dtype == ours.offset.dtype == np.float64
    assert np.abs(ours(at) - np.asarray(model(at))).max() < 1e-14


REFUSED = {
    "ReLU": (lambda x: L.ReLU(name="cut")(L.Dense(3)(x)), r"operation 2 of '.*', 'cut' \(ReLU\): layer ReLU"),
    "function": (lambda x: ops.relu(x), r"operation 1 of '.*' \(Relu\): operation Relu"),
    "product": (lambda x: x * L.Dense(3)(x), "Multiply.*both depend on the input"),
    "product of a layer": (lambda x: L.Multiply()([x, L.Dense(3)(x)]), "both depend on the input"),
    "quotient": (lambda x: 1 / x, "division by a tensor"),
    "quotient of tensors": (lambda x: x / (x + 1), "division by a tensor"),
    "matrix product": (lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), "both depend on the input"),
    "maximum": (lambda x: L.Maximum()([x, -x]), "Maximum of 2 inputs"),
    "training": (lambda x: L.Dropout(0.5)(x, training=True), "training=True"),
    "all axes": (lambda x: ops.sum(x), "axis=None"),
    "the batch": (lambda x: ops.mean(x, axis=0), "axis 0 of inputs.*do not mix"),
    "part of a batch": (lambda x: x[:1, 0], "of the batch"),
    "a batch reshaped": (lambda x: ops.reshape(x, (-1, 6)), r"reshaped to \(6,\)"),
    "a batch transposed": (lambda x: ops.transpose(x), "Expected the batch first"),
    "integers": (lambda x: ops.cast(x, "int32"), "numbers of type int32"),
    "inside": (
        lambda x: keras.Sequential([L.Dense(3), L.Activation("tanh", name="bend")], name="inner")(x),
        r"'inner' \(Sequential\): operation 2 of 'inner', 'bend' \(Activation\).*tanh",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_affine_is_named_with_its_place(name):
    function, message = REFUSED[name]
    with pytest.raises(cm.UnsupportedError, match=message):
        cm.from_keras(model_of(function, (4, 3)), (4, 3))


def test_several_outputs_and_inputs_are_refused():
    start = keras.Input((4,))
    with pytest.raises(cm.UnsupportedError, match=r"1 inputs and 2 outputs.*one_input, one_output"):
        cm.from_keras(keras.Model(start, [L.Dense(2)(start), start + 1]), (4,))
    other = keras.Input((4,))
    with pytest.raises(cm.UnsupportedError, match="2 inputs"):
        cm.from_keras(keras.Model([start, other], start + other), (4,))


def test_subclasses_are_refused():
    class Mine(keras.Model):
        def call(self, x):
            return x * x

    with pytest.raises(cm.UnsupportedError, match="model Mine"):
        cm.from_keras(Mine(), (4,))
    start = keras.Input((4,))
    with pytest.raises(cm.UnsupportedError, match="model Mine"):
        cm.from_keras(Mine(start, L.Dense(2)(start)), (4,))
