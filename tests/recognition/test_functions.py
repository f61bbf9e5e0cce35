"""A box calls a function as it can be called, and refuses one that is not linear by what it is."""

import numpy as np
import pytest
import scipy.ndimage as ndi

import convmtx as cm
from convmtx.recognition.functions import Box


class Counted:
    """A function that counts its calls."""

    def __init__(self, f):
        self.f, self.calls = f, 0

    def __call__(self, x):
        self.calls += 1
        return self.f(x)


def batch(box, count=3):
    return np.random.default_rng(5).standard_normal((count, *box.in_shape)).astype(box.in_dtype)


def test_a_function_of_single_arrays_is_called_for_each():
    f = Counted(lambda x: ndi.gaussian_filter(x, 1))
    box = Box(f, (7, 5))
    X, calls = batch(box), f.calls

    np.testing.assert_array_equal(box(X), np.stack([ndi.gaussian_filter(x, 1) for x in X]))
    assert f.calls == calls + 3
    assert (box.out_shape, box.dtype, box.offset) == ((7, 5), float, None)


def test_a_function_of_batches_is_called_once():
    f = Counted(lambda x: 2 * x[..., ::-1])
    box = Box(f, (7, 5))
    X, calls = batch(box), f.calls

    np.testing.assert_array_equal(box(X), 2 * X[..., ::-1])
    assert f.calls == calls + 1


def test_batches_are_not_assumed():
    """A batch of three has the right shape for a matrix of three columns, and for a sum along the first axis."""
    square = np.arange(9.0).reshape(3, 3)

    for f in (lambda x: square @ x, np.cumsum, lambda x: x - x.mean(axis=0)):
        box = Box(f, 3)
        X = batch(box)
        np.testing.assert_allclose(box(X), np.stack([f(x) for x in X]), rtol=1e-15, atol=1e-15)


def test_applications_are_counted_in_inputs():
    single, whole = Box(np.cumsum, 9), Box(lambda x: 2 * x, 9)
    assert (single.applications, whole.applications) == (6, 9)

    single(batch(single, 4))
    whole(batch(whole, 4))

    assert (single.applications, whole.applications) == (10, 13)


def test_a_function_may_write_to_its_input_and_reuse_its_output():
    kept = np.empty(5)

    def writes(x):
        x *= 2
        kept[:] = x
        return kept

    box = Box(writes, 5)
    X = batch(box)
    before = X.copy()

    np.testing.assert_array_equal(box(X), 2 * before)
    np.testing.assert_array_equal(X, before)
    op = cm.aslinearmap(writes, 5)
    np.testing.assert_array_equal(op(X), 2 * before)


def test_an_offset_is_subtracted():
    box = Box(lambda x: 2 * x + np.arange(4), 4)

    np.testing.assert_array_equal(box.offset, np.arange(4))
    np.testing.assert_allclose(box(np.eye(4)), 2 * np.eye(4), rtol=1e-15)


@pytest.mark.parametrize("dtype", [int, np.int32, np.int16, np.uint8])
def test_integers_stay_integers_and_may_wrap_around(dtype):
    taps = np.array([[3, 1, 2], [0, 5, 7], [4, 0, 1]], dtype)
    box = Box(lambda x: ndi.correlate(x, taps, mode="constant"), (6, 6), dtype=dtype)

    assert box.is_exact
    assert box.dtype == box.in_dtype == dtype
    assert box.noise == 0


def test_complex_functions():
    assert Box(np.fft.fft, 8).in_dtype.kind == "c"
    real = Box(np.fft.rfft, 8)
    assert (real.in_dtype, real.dtype, real.out_shape) == (float, complex, (5,))
    assert Box(np.conj, 8).dtype == float  # on real inputs it is the identity


def test_the_adjoint_is_a_box_too():
    box = Box(np.cumsum, 6, adjoint=lambda y: np.cumsum(y[::-1])[::-1])

    np.testing.assert_array_equal(box.adjoint(np.eye(6)), np.triu(np.ones((6, 6))).T)
    assert Box(np.cumsum, 6).adjoint is None


def refuse(match, f, in_shape=16, most=4, error=cm.ArgumentError, **options):
    counted = Counted(f)
    with pytest.raises(error, match=match):
        Box(counted, in_shape, **options)
    assert counted.calls <= most


def test_functions_that_are_not_linear_are_refused_within_four_applications():
    rng = np.random.default_rng(0)

    refuse(r"does not take -2 x to -2 f\(x\)", lambda x: np.maximum(x, 0))
    refuse(r"does not take -2 x to -2 f\(x\)", np.square)
    refuse(r"does not take -2 x to -2 f\(x\)", lambda x: np.maximum(x + 3, 1))
    refuse(r"does not take -2 x to -2 f\(x\)", lambda x: np.maximum(x, 0), dtype=int)
    refuse(r"does not take -2 x to -2 f\(x\)", lambda x: (x - x.mean()) / (1 + x.std()))
    refuse("is random: two calls", lambda x: x * (rng.random(16) < 0.5), most=2)
    refuse("returns inf or nan", lambda x: x * np.nan, most=2)
    refuse("an array of shape", lambda x: x[:0], most=1)


def test_functions_that_pass_four_applications_are_refused_by_the_next():
    refuse(r"does not take x \+ y to f\(x\) \+ f\(y\)", lambda x: ndi.median_filter(x, 3), most=6)
    for f in (np.conj, np.real, lambda x: x + 2 * np.conj(x)):
        refuse("is real-linear only: it does not take i x to i", f, dtype=complex, most=5)
    refuse(r"does not take -2 x to -2 f\(x\)", lambda x: x * np.abs(x), dtype=complex, most=5)


def test_what_is_not_a_function_of_such_arrays():
    refuse("f raises ValueError: operands", lambda x: x + np.ones(5), most=8)
    for f, options in ((3, {}), (np.cumsum, {"adjoint": 3}), (np.cumsum, {"dtype": str}), (np.cumsum, {"dtype": bool})):
        with pytest.raises(cm.ArgumentTypeError):
            Box(f, 5, **options)
    with pytest.raises(cm.ArgumentError, match="in_shape"):
        Box(np.cumsum, 0)


def test_an_adjoint_that_is_none():
    with pytest.raises(cm.ArgumentError, match="adjoint is not the adjoint of f"):
        _ = Box(np.cumsum, 6, adjoint=np.cumsum).adjoint
    with pytest.raises(cm.ArgumentError, match=r"adjoint returns an array of shape \(4,\)"):
        _ = Box(np.diff, 6, adjoint=np.diff).adjoint
