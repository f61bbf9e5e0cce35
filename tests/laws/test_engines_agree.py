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
