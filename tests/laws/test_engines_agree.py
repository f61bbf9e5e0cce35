"""Law 4: whatever the engine, the result is the same."""

import numpy as np
import pytest
from hypothesis import given

from convmtx.engines import direct, fft, tapwise
from convmtx.engines.parts import Plan
from strategies import cases


@given(cases(dtypes=[np.float64, np.complex128, np.float32]))
@pytest.mark.parametrize("engine", [direct, fft, tapwise], ids=lambda e: e.__name__)
def test_every_engine_is_the_matrix_product(engine, case):
    rng = np.random.default_rng(0)
    plan = Plan(case.op.geometry, case.op.geometry.taps(case.op.kernel))
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
    plan = Plan(case.op.geometry, case.op.geometry.taps(case.op.kernel))
    x = np.random.default_rng(0).integers(-4, 5, (2, *case.op.in_shape)).astype(case.op.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, "SMALL", limits[0])
        patch.setattr(direct, "TILE_BYTES", limits[1])
        patch.setattr(direct, "WORTH", 0)
        patch.setattr(direct, "LONG", 2)
        for number in range(3 * direct.MOST):
            chosen = []

            def way(part, dtype, images, number=number, chosen=chosen):
                ways = list(direct._ways(part, dtype))
                chosen.append(number < len(ways))
                return ways[number % len(ways)], 1.0

            patch.setattr(direct, "fastest", way)
            for one in plan.parts:
                one._kept.clear()
            y = plan.forward(x, direct.correlate)
            assert np.array_equal(y.reshape(2, -1), x.reshape(2, -1) @ case.matrix.T)
            if not any(chosen):
                break
