"""What the comparisons share: arrays on which float arithmetic is exact, and what has to agree on them."""

from contextlib import contextmanager

import numpy as np
import pytest


def whole(*shape, seed=0, dtype=np.float64):
    """Small whole numbers as floats (Gaussian integers where ``dtype`` is complex): every order of summing is exact."""
    rng = np.random.default_rng([seed, *shape])
    values = rng.integers(-9, 10, shape).astype(dtype)
    if np.iscomplexobj(values):
        values += 1j * rng.integers(-9, 10, shape)
    return values


def assert_same_map(op, x, y):
    """``op`` takes ``x`` to ``y``, both with one batch axis: applied, as a dense and as a sparse matrix."""
    x, y = np.asarray(x), np.asarray(y)
    np.testing.assert_array_equal(op(x), y, strict=True)
    columns, expected = x.reshape(len(x), -1).T, y.reshape(len(y), -1).T
    np.testing.assert_array_equal(op.to_dense() @ columns, expected, strict=True)
    np.testing.assert_array_equal(op.to_sparse() @ columns, expected, strict=True)


def import_tensorflow():
    """TensorFlow on the CPU, or a skip; the settings are gone afterwards, for other libraries read them too."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CUDA_VISIBLE_DEVICES", "-1")
        environment.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        tensorflow = pytest.importorskip("tensorflow")
        tensorflow.config.list_logical_devices()  # devices are looked for here, and never again
    return tensorflow


@contextmanager
def double_precision_jax(jax):
    """JAX in 64 bits on the CPU; as it was afterwards."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        with jax.default_device(jax.devices("cpu")[0]):
            yield
    finally:
        jax.config.update("jax_enable_x64", before)


@contextmanager
def one_torch_thread(torch):
    """Arrays this small are done before threads have met; as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
