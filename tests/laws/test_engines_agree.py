"""Law 4: whatever the engine, the result is the same."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import convmtx as cm
from convmtx import costs
from convmtx.engines import compiled, direct, fft, gemms, pytorch, separable, sparse, tapwise, tile_kinds
from convmtx.engines.parts import Plan
from convmtx.taps import kernel_of, taps_of
from strategies import cases


@given(cases(dtypes=[np.float64, np.complex128, np.float32]))
@pytest.mark.parametrize("engine", [compiled, direct, fft, sparse, tapwise], ids=lambda e: e.__name__)
def test_every_engine_is_the_matrix_product(engine, case):
    if engine is compiled:
        pytest.importorskip("numba")
        assume(len(case.op.geometry.axes) <= 3)
    rng = np.random.default_rng(0)
    plan = Plan(case.op.geometry, taps_of(case.op.geometry, case.op.kernel))
    for kind in (np.float32, np.complex128):
        x, y = (rng.integers(-4, 5, (2, *s)).astype(kind) for s in (case.op.in_shape, case.op.out_shape))
        if kind == np.complex128:
            x, y = x * (1 + 2j), y * (2 - 1j)
        forward, back = plan.forward(x, engine.correlate), plan.transposed(y, engine.correlate)

        # A transform rounds relative to the whole of kernel and input, zeros that it pads with included.
        eps = np.finfo(forward.dtype).eps if engine is fft else 0
        scale = 30 * eps * np.linalg.norm(case.op.kernel) * np.sqrt(case.op.kernel.size)
        assert forward.dtype == np.result_type(case.op.dtype, kind)
        assert np.abs(forward.reshape(2, -1) - x.reshape(2, -1) @ case.matrix.T).max() <= scale * np.linalg.norm(x)
        assert np.abs(back.reshape(2, -1) - y.reshape(2, -1) @ case.matrix).max() <= scale * np.linalg.norm(y)


@given(cases(dtypes=[np.float64, np.complex128, np.float32, np.int32]))
@pytest.mark.parametrize("limits", [(1, 1), (60, 700), (10**6, 10**7)], ids=["least", "small", "large"])
def test_every_way_of_the_direct_engine_is_exact(limits, case):
    """All forms of GEMM, all numbers of outputs together, cut into tiles of one output and of all of them."""
    plan = Plan(case.op.geometry, taps_of(case.op.geometry, case.op.kernel))
    x = np.random.default_rng(0).integers(-4, 5, (2, *case.op.in_shape)).astype(case.op.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "ONE_THREAD", limits[0])
        patch.setattr(tile_kinds, "TILE_BYTES", limits[1])
        patch.setattr(costs, "WORTH_THREADS", 0)
        patch.setattr(gemms, "LONG", 2)
        for number in range(3 * direct.MOST):
            chosen = []

            def way(part, dtype, images, number=number, chosen=chosen):
                ways = list(direct.candidates(part, dtype))
                chosen.append(number < len(ways))
                return ways[number % len(ways)], 1.0

            patch.setattr(direct, "fastest", way)
            for one in plan.parts:
                one._kept.clear()
            y = plan.forward(x, direct.correlate)
            assert np.array_equal(y.reshape(2, -1), x.reshape(2, -1) @ case.matrix.T)
            if not any(chosen):
                break


@given(cases(dtypes=[np.float64, np.complex128]), st.integers(0, 2**32 - 1))
def test_separable_kernels_are_found_and_applied(case, seed):
    rng = np.random.default_rng(seed)
    taps = taps_of(case.op.geometry, case.op.kernel)
    pairs, sizes = taps.shape[:2], taps.shape[2:]
    kernel = np.ones((*pairs, *(1,) * len(sizes)), taps.dtype)
    for j, size in enumerate(sizes):
        line = rng.integers(-3, 4, (*pairs, size)) * (1 + 0.5j if taps.dtype.kind == "c" else 1)
        kernel = kernel * line.reshape(*pairs, *(size if i == j else 1 for i in range(len(sizes))))
    op = case.op.with_kernel(kernel_of(case.op.geometry, kernel.astype(taps.dtype)))
    plan = Plan(op.geometry, taps_of(op.geometry, op.kernel))
    x = rng.integers(-4, 5, (2, *op.in_shape)).astype(taps.dtype)
    parts = [part for part in plan.parts if part.kernel.size]
    assume(all(sum(n > 1 for n in part.kernel.shape[3:]) > 1 for part in parts))
    assert all(separable.work(part, taps.dtype, 2) is not None for part in parts)
    y = plan.forward(x, separable.correlate)
    scale = 60 * np.finfo(np.float64).eps * np.linalg.norm(kernel) * np.linalg.norm(x)
    assert np.abs(y.reshape(2, -1) - x.reshape(2, -1) @ op.to_dense().T).max() <= scale


def test_kernels_that_are_no_outer_product_are_not_taken_for_one():
    op = cm.conv([[1.0, 2.0], [3.0, 6.0 + 1e-12]], (5, 5))
    (part,) = Plan(op.geometry, taps_of(op.geometry, op.kernel)).parts
    assert separable.factors(part, np.dtype(float)) is None
    with pytest.raises(ValueError, match="cannot apply this map in float64"):
        cm.conv(op.kernel, (5, 5), engine="separable")(np.ones((5, 5)))


@given(cases(dtypes=[np.float32]))
def test_torch_is_the_matrix_product(case):
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (2, *case.op.in_shape)).astype(case.op.dtype)
    plan = Plan(case.op.geometry, taps_of(case.op.geometry, case.op.kernel))
    assume(case.op.geometry.axes[3:] == ())
    y = plan.forward(x, pytorch.correlate)
    assert np.array_equal(y.reshape(2, -1), x.reshape(2, -1) @ case.matrix.T)


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.complex64])
@pytest.mark.parametrize(
    ("kernel", "shape", "options"),
    [
        ((5,), (30_000,), {"padding": "same", "boundary": "symmetric", "stride": 3}),
        ((3, 4), (700, 90), {"padding": "full", "boundary": "wrap", "dilation": (1, 2)}),
        ((2, 1, 5, 3), (4, 700, 41), {"channels": "first", "groups": 4, "padding": 3, "stride": (2, 1)}),
        ((3, 3, 3, 1, 2), (9, 30, 50, 2), {"channels": "last", "groups": 2, "padding": "same", "boundary": "edge"}),
    ],
    ids=["long", "circle", "depthwise first", "depthwise last"],
)
def test_compiled_loops_cut_outputs_into_blocks(kernel, shape, options, dtype):
    """All sizes are larger than a block, and the last block along each axis is smaller than the others."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    if options.get("groups") == 4:
        kernel = (4, *kernel[1:])
    op = cm.conv(rng.integers(-4, 5, kernel).astype(dtype), shape, engine="compiled", **options)
    blocks = [compiled._cut(part).count for part in op._plan.parts]
    assert max(blocks) > 1
    for applied in (op, op.T):
        x = rng.integers(-4, 5, (2, *applied.in_shape)).astype(dtype)
        strided = np.repeat(x, 2, axis=-1)[..., ::2]
        y = applied(x)
        assert y.dtype == dtype
        for b in range(2):
            assert np.array_equal(y[b].ravel(), applied.to_sparse() @ x[b].ravel())
        assert np.array_equal(applied(strided), y)
        assert np.array_equal(applied(x[..., ::-1].copy()[..., ::-1]), y)


def test_compiled_loops_say_what_they_cannot_do():
    pytest.importorskip("numba")
    for kernel in (np.ones((2, 2), np.float16), np.ones((2, 2), np.longdouble), np.ones((1, 2, 1, 2))):
        with pytest.raises(ValueError, match="at most three axes"):
            cm.conv(kernel, (3,) * kernel.ndim, engine="compiled")(np.ones((3,) * kernel.ndim, kernel.dtype))
