"""Law 4: whatever the engine, the result is the same."""

import numpy as np
import pytest
from hypothesis import given

from convmtx.engines.select import ENGINES, TAPWISE
from strategies import cases


@given(cases(dtypes=[np.int64, np.complex128]))
@pytest.mark.parametrize("engine", [*ENGINES.values(), TAPWISE], ids=lambda e: e.name)
def test_every_engine_is_the_matrix_product(engine, case):
    rng = np.random.default_rng(0)
    geometry, taps = case.op.geometry, case.op.geometry.taps(case.op.kernel)
    x, y = rng.integers(-4, 5, (2, *case.op.in_shape)), rng.integers(-4, 5, (2, *case.op.out_shape))

    forward = engine.forward(geometry, taps, x)
    back = engine.transposed(geometry, taps, y) if engine is TAPWISE or geometry.T is None else case.op.T(y)

    assert np.array_equal(forward.reshape(2, -1), x.reshape(2, -1) @ case.matrix.T)
    assert np.array_equal(back.reshape(2, -1), y.reshape(2, -1) @ case.matrix)
