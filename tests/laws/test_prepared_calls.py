"""Law: a call that is repeated gives what the first gave, whatever came between, and what maps keep is bounded."""

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given

import convmtx as cm
from convmtx.engines import prepared, select, sparse, tapwise
from convmtx.engines.parts import Plan
from convmtx.taps import taps_of
from strategies import cases

RNG = np.random.default_rng(0)


@given(cases(dtypes=[np.float64, np.complex64, np.int16, np.uint8]))
@pytest.mark.parametrize("engine", ["auto", "direct", "sparse"])
def test_a_repeated_call_is_the_matrix_product(engine, case):
    """Types and numbers of images alternate, so that programs are built, left and taken again."""
    op = cm.ConvOperator(case.op.geometry, case.op.kernel, engine)
    forward, back = case.matrix.T, case.matrix
    for images in (1, 2, 1, 1, 2):
        for kind in (op.dtype, np.float64, np.complex128, np.int64, op.dtype):
            for applied, matrix in ((op, forward), (op.T, back)):
                x = RNG.integers(0, 4, (images, *applied.in_shape)).astype(kind)
                try:
                    y = applied(x)
                except cm.ArgumentError as error:  # a transpose around small circles reads through many more taps
                    assume("at most 65536 taps" not in str(error))
                    raise
                expected = x.reshape(images, -1).astype(y.dtype) @ matrix.astype(y.dtype)
                assert y.dtype == np.result_type(op.dtype, kind)
                assert np.array_equal(y.reshape(images, -1), expected)


@pytest.mark.parametrize("engine", ["direct", "sparse"])
@pytest.mark.parametrize("boundary", ["zero", "reflect", "wrap", "edge", "symmetric"])
def test_nothing_of_a_call_is_left_to_the_next(engine, boundary):
    K = RNG.integers(-4, 5, (3, 5)).astype(float)
    op = cm.conv(K, (9, 11), padding="same", boundary=boundary, engine=engine)
    D, clean = op.to_dense(), RNG.integers(-4, 5, (9, 11)).astype(float)
    for poison in (np.nan, np.inf, 0.0):
        with np.errstate(invalid="ignore"):
            op(np.full((9, 11), poison)), op.H(np.full((9, 11), poison))
        assert np.array_equal(op(clean).ravel(), D @ clean.ravel())
        assert np.array_equal(op.H(clean).ravel(), D.T @ clean.ravel())


@pytest.mark.parametrize("engine", ["direct", "sparse"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_inputs_may_lie_in_memory_in_any_way(engine, order):
    K, V = RNG.integers(-4, 5, (3, 3, 2, 3)), RNG.integers(-4, 5, (2 * 8 * 9, 4)).astype(float)
    op = cm.conv(K.astype(float), (8, 9, 2), engine=engine)
    x = np.asfortranarray(V[:, 0].reshape(8, 9, 2)) if order == "F" else V[:, 0].reshape(8, 9, 2)[::-1, ::-1]
    D = op.to_dense()
    for _ in range(2):
        assert np.array_equal(op @ V, D @ V)
        assert np.array_equal(op @ V[:, 1], D @ V[:, 1])
        assert np.array_equal(op(x).ravel(), D @ x.ravel())


@pytest.mark.parametrize("engine", ["direct", "sparse"])
def test_threads_share_a_map_that_keeps_its_calls(engine):
    op = cm.conv(RNG.integers(-4, 5, (5, 5)).astype(float), (40, 40), padding="same", engine=engine)
    xs = RNG.integers(-4, 5, (400, 40, 40)).astype(float)
    with ThreadPoolExecutor(8) as pool:
        ys = np.array(list(pool.map(op, xs)))
    assert np.array_equal(ys.reshape(400, -1), xs.reshape(400, -1) @ op.to_dense().T)


def test_what_a_map_keeps_is_bounded_and_not_pickled():
    op = cm.conv(RNG.standard_normal((5, 5)), (50, 50))
    size = len(pickle.dumps(op))
    for images in (*range(1, 60), 400):
        op(np.ones((images, 50, 50)))
    programs = [program for free in op._application._calls._free.values() for program in free or ()]
    assert 0 < sum(program.bytes for program in programs) <= prepared.KEPT_BYTES
    assert len(op._application._calls._free) <= prepared.MOST_KEPT
    assert len(op._plan.choices) <= select.MOST_CHOICES
    assert len(pickle.dumps(op)) == size


def test_what_a_map_keeps_goes_with_it():
    op = cm.conv([1.0, 2.0, 3.0], 50, padding=1, boundary="reflect")
    op(np.ones(50)), op.H(np.ones(50))
    kept = [weakref.ref(free[0]) for free in op._application._calls._free.values()]
    gc.disable()
    try:
        del op
        assert len(kept) == 2
        assert [reference() for reference in kept] == [None, None]
    finally:
        gc.enable()


@given(cases(dtypes=[np.float64, np.complex128]))
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_the_sparse_engine_places_nan_and_inf_as_the_definition_does(poison, case):
    """Also where a boundary folds taps of opposite signs onto one input: the sum of their products is nan, not inf."""
    plan = Plan(case.op.geometry, taps_of(case.op.geometry, case.op.kernel))
    x = RNG.integers(-4, 5, (2, *case.op.in_shape)).astype(float)
    x.flat[:: max(x.size // 3, 1)] = poison
    with np.errstate(invalid="ignore"):
        y, expected = plan.forward(x, sparse.correlate), plan.forward(x, tapwise.correlate)
    assert np.array_equal(np.isfinite(y), np.isfinite(expected))
    if y.dtype.kind == "f":
        assert np.array_equal(y, expected, equal_nan=True)


def test_a_map_with_many_taps_is_refused_by_the_sparse_engine():
    op = cm.conv(np.ones((9, 9)), (64, 64), engine="sparse")
    with pytest.raises(ValueError, match="at most 65536 taps of all outputs"):
        op(np.ones((64, 64)))
