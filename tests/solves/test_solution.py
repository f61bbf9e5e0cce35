"""What a solution tells of itself, at any scale and in any type."""

import pickle

import numpy as np
import pytest

import convmtx as cm
from solves.dense import condition, least, matrix_of, numbers, stacked

BORDER = {"padding": "same", "boundary": "reflect"}
K = np.array([[0.5, 1, 0], [1, 6, -1], [2, 0, 1.0]])
OPS = {
    "band": cm.conv(K, (7, 6), padding="same"),
    "circle": cm.conv(K, (7, 6), padding="same", boundary="wrap"),
    "tall": cm.conv(K, (5, 6), padding="full"),
    "wide": cm.conv(K, (7, 8)),
    "complex": cm.conv(K + 1j * K.T, (6, 7), **BORDER),
}
METHODS = ("auto", "dense", "lsmr")


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("damp", [0.0, 0.7])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_fields_are_what_they_say(name, damp, method, batch):
    op = OPS[name]
    A = matrix_of(op)
    b = numbers(np.random.default_rng(0), (*batch, *op.out_shape), "c")
    s = cm.solve(op, b, damp=damp, method=method, rtol=1e-10)
    x, flat = s.x.reshape(*batch, -1), b.reshape(*batch, -1)
    r = flat - x @ A.T
    g = r @ A.conj() - damp**2 * x
    size = np.linalg.norm(A, 2) * np.linalg.norm(b)

    assert s.x.shape == (*batch, *op.in_shape)
    assert np.allclose(x, least(A, flat, damp), rtol=0, atol=1e-7)
    assert np.shape(s.residual) == np.shape(s.normal_residual) == batch
    assert np.abs(s.residual - np.linalg.norm(r, axis=-1)).max() <= 1e-13 * size
    assert np.abs(s.normal_residual - np.linalg.norm(g, axis=-1)).max() <= 1e-12 * size
    assert s.converged is True
    assert (s.iterations > 0) == (len(s.history) > 0) == ("LSMR" in s.method)
    assert "converged" in repr(s)
    assert "NOT" not in repr(s)


@pytest.mark.parametrize("name", ["circle", "band", "complex"])
@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_condition(name, damp):
    op = OPS[name]
    exactly = condition(stacked(matrix_of(op), damp))
    assert np.isclose(cm.factorize(op, damp=damp, method="dense").condition, exactly, rtol=0.02) or not damp
    near = cm.solve(op, np.ones(op.out_shape), damp=damp).condition
    assert exactly / 100 <= near <= 100 * exactly
    if name == "circle":
        blocks = cm.solve(op, np.ones(op.out_shape), damp=damp, method="blocks").condition
        assert np.isclose(blocks, exactly, rtol=1e-10)


def test_history_falls_to_the_tolerance():
    op = OPS["tall"]
    b = op(np.random.default_rng(1).standard_normal((2, *op.in_shape)))
    s = cm.solve(op, b, method="lsmr", rtol=1e-9)
    assert len(s.history) == s.iterations
    assert (np.diff(s.history) <= 0).all()  # LSMR's normal residuals never grow
    assert s.history[-1] <= 1e-7  # of what they were, as rtol is of norms of the map, of b and x
    assert s.history[0] > 1e-3


def test_a_start_at_the_solution_takes_no_iterations():
    op = OPS["tall"]
    x = np.random.default_rng(2).standard_normal((2, *op.in_shape))
    s = cm.solve(op, op(x), x0=x, method="lsmr")
    assert s.iterations == 0
    assert s.converged
    assert np.abs(s.x - x).max() <= 1e-14 * np.abs(x).max()


@pytest.mark.parametrize("damp", [0.0, 0.7])
@pytest.mark.parametrize("kind", "fc")
def test_starts_of_one_and_of_each(damp, kind):
    op, rng = OPS["tall"], np.random.default_rng(3)
    b = rng.standard_normal((2, *op.out_shape))
    expected = least(matrix_of(op), b.reshape(2, -1), damp).reshape(2, *op.in_shape)
    for shape in (op.in_shape, (2, *op.in_shape)):
        s = cm.solve(op, b, damp=damp, x0=numbers(rng, shape, kind), method="lsmr", rtol=1e-12)
        assert s.converged
        assert np.abs(s.x - expected).max() <= 1e-10


def test_a_near_start_saves_iterations():
    op, rng = OPS["band"], np.random.default_rng(4)
    x = rng.standard_normal(op.in_shape)
    cold = cm.solve(op, op(x), method="lsmr")
    warm = cm.solve(op, op(x), method="lsmr", x0=x + 1e-5 * rng.standard_normal(x.shape))
    assert warm.iterations < cold.iterations


SINGULAR = {
    "blocks": cm.conv([1.0, -1], 9, padding="same", boundary="wrap"),
    "kronecker": cm.conv(np.multiply.outer([1.0, 0, -1], [1.0, 3, 1]), (7, 6), padding="same"),
    "lattices": cm.conv([1.0, 0, -1], 14, dilation=2, padding="same"),
    "dense": cm.conv([1.0, 0, -1], 9, padding="same"),
}


@pytest.mark.parametrize("method", SINGULAR)
@pytest.mark.parametrize("reached", [True, False])
def test_singular_maps_say_so(method, reached):
    op = SINGULAR[method]
    A, rng = matrix_of(op), np.random.default_rng(5)
    b = rng.standard_normal((2, *op.out_shape))
    b = op(rng.standard_normal((2, *op.in_shape))) if reached else b
    for each in (method, "auto"):
        s = cm.solve(op, b, method=each)
        missing = min(op.shape) - np.linalg.matrix_rank(A)
        assert not s.converged
        assert s.reason.startswith(f"singular: {missing} of {min(op.shape)} singular values are taken as 0")
        assert s.verdict == ("singular" if reached else "singular and out of range")
        assert ("not in the range" in s.reason) != reached
        assert s.condition == np.inf
        assert np.allclose(s.x.reshape(2, -1), least(A, b.reshape(2, -1)), atol=1e-12)
        assert "NOT converged" in repr(s)


@pytest.mark.parametrize("method", ["band", "sparse"])
def test_factorizations_that_find_it_singular_give_no_numbers(method):
    op = SINGULAR["dense"]
    s = cm.solve(op, np.ones((2, 9)), method=method)
    assert not s.converged
    assert np.isnan(s.x).all()
    assert np.isnan(s.residual).all()
    assert s.verdict == "failed"
    assert "singular or ill-conditioned" in s.reason
    with pytest.raises(cm.SolveError, match="factorize: op is singular or ill-conditioned"):
        cm.factorize(op, method=method)
    assert cm.factorize(op).solve(np.ones(9)).reason.startswith("singular: 1 of 9")


def test_throw():
    op = SINGULAR["blocks"]
    with pytest.raises(cm.SolveError, match="solve: singular: 1 of 9 singular values") as caught:
        cm.solve(op, np.ones(9), throw=True)
    assert isinstance(caught.value, np.linalg.LinAlgError)
    with pytest.raises(cm.SolveError, match="iterations ran out"):
        cm.factorize(OPS["tall"], method="lsmr").solve(np.ones((7, 8)), maxiter=3, throw=True)
    assert cm.solve(OPS["tall"], np.ones((7, 8)), throw=True).converged


def test_too_few_iterations():
    op = OPS["band"]
    b = np.random.default_rng(6).standard_normal(op.out_shape)
    whole = cm.solve(op, b, method="lsmr")
    s = cm.solve(op, b, method="lsmr", maxiter=4)
    assert not s.converged
    assert s.iterations == 4
    assert s.verdict == "out of steps"
    assert s.history == whole.history[:4]
    A = matrix_of(op)
    r = b.ravel() - A @ s.x.ravel()
    assert np.isclose(s.residual, np.linalg.norm(r), rtol=1e-12)
    assert np.isclose(s.normal_residual, np.linalg.norm(A.T @ r), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_residuals_of_an_iterate_at_any_scale(scale):
    op = OPS["tall"].with_kernel(OPS["tall"].kernel * scale)
    b = np.random.default_rng(6).standard_normal(op.out_shape)
    s = cm.solve(op, b, method="lsmr", maxiter=3)
    A = matrix_of(OPS["tall"])
    r = b.ravel() - A @ (s.x.ravel() * scale)
    assert np.isclose(s.residual, np.linalg.norm(r), rtol=1e-12)
    assert np.isclose(s.normal_residual / scale, np.linalg.norm(A.T @ r), rtol=1e-12)


def test_callbacks():
    op, seen = OPS["band"], []
    b = np.random.default_rng(7).standard_normal((2, *op.out_shape))

    def third(x):
        seen.append(x.copy())
        return len(seen) == 3

    def raising(x):
        if third(x):
            raise StopIteration

    for callback in (third, raising):
        seen.clear()
        s = cm.solve(op, b, method="lsmr", callback=callback)
        assert len(seen) == s.iterations == len(s.history) == 3
        assert not s.converged
        assert s.verdict == "stopped"
        assert (s.x.reshape(seen[-1].shape) == seen[-1]).all()
        assert seen[-1].reshape(2, -1).shape == (2, op.shape[1])
        assert np.isclose(np.linalg.norm(b[0] - op(s.x[0])), s.residual[0])
    seen.clear()
    s = cm.solve(op, b, method="lsmr", callback=seen.append)
    assert s.converged
    assert len(seen) == s.iterations
    seen.clear()
    s = cm.solve(op, b, method="dense", callback=seen.append)
    assert len(seen) == 1
    assert (seen[0].reshape(s.x.shape) == s.x).all()


@pytest.mark.parametrize("kind", "fc")
def test_callbacks_see_iterates_at_the_scale_of_the_solution(kind):
    op = OPS["band"].with_kernel(K * 1e30)
    b, seen = 1e50 * numbers(np.random.default_rng(8), op.out_shape, kind), []
    s = cm.solve(op, b, method="lsmr", callback=seen.append)
    assert np.abs(seen[-1].reshape(s.x.shape) - s.x).max() <= 1e-14 * np.abs(s.x).max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kernel", "right", "wanted"),
    [
        (np.float32, np.float32, np.float32),
        (np.float32, np.complex64, np.complex64),
        (np.complex64, np.float32, np.complex64),
        (np.float16, np.float32, np.float32),
        (np.float32, np.float64, np.float64),
        (np.float64, np.float32, np.float64),
        (np.int8, np.int8, np.float64),
        (np.int64, np.float32, np.float64),
        (np.float32, np.complex128, np.complex128),
    ],
)
def test_types(method, kernel, right, wanted):
    op = cm.conv((2 * K).astype(kernel), (7, 6), padding="same")
    b = np.arange(42).reshape(7, 6).astype(right)
    s = cm.solve(op, b, method=method)
    expected = least(matrix_of(op), b.ravel().astype(np.result_type(right, float))).reshape(7, 6)
    assert s.x.dtype == wanted
    assert np.abs(s.x - expected).max() <= (1e-6 if np.finfo(wanted).bits == 32 else 1e-7) * np.abs(expected).max()


@pytest.mark.parametrize("method", [*METHODS, "band", "sparse"])
@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e-300])
@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_right_hand_sides_of_any_scale(method, scale, damp):
    op = OPS["band"]
    b = np.random.default_rng(9).standard_normal((2, *op.out_shape))
    expected = least(matrix_of(op), b.reshape(2, -1), damp).reshape(2, *op.in_shape)
    s = cm.solve(op, b * np.array([scale, 1])[:, None, None], damp=damp, method=method, rtol=1e-12)
    assert s.converged
    assert np.abs(s.x / np.array([scale, 1])[:, None, None] - expected).max() <= 1e-9
    assert np.isfinite(s.residual).all()
    assert np.isfinite(s.normal_residual).all()


@pytest.mark.parametrize("method", [*METHODS, "band", "sparse"])
@pytest.mark.parametrize("name", ["band", "tall"])
@pytest.mark.parametrize("scale", [1e-150, 1e150, 1e-30])
@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_kernels_of_any_scale(method, name, scale, damp):
    op = OPS[name]
    b = np.random.default_rng(10).standard_normal(op.out_shape)
    expected = least(matrix_of(op), b.ravel(), damp).reshape(op.in_shape)
    s = cm.solve(op.with_kernel(op.kernel * scale), b, damp=damp * scale, method=method, rtol=1e-12)
    assert s.converged
    assert np.abs(s.x * scale - expected).max() <= 1e-9


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_regularizer_keeps_its_weight_where_the_map_is_scaled(scale):
    op, R = OPS["band"], cm.conv([[1.0, -1]], (7, 6))
    b = np.random.default_rng(11).standard_normal(op.out_shape)
    expected = least(matrix_of(op), b.ravel(), 0.7, matrix_of(R)).reshape(op.in_shape)
    for method in ("auto", "lsmr", "band"):
        s = cm.solve(op.with_kernel(op.kernel * scale), b, damp=0.7 * scale, regularizer=R, method=method, rtol=1e-12)
        assert np.abs(s.x * scale - expected).max() <= 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_of_zero_comes_zero(method, name, damp):
    op = OPS[name]
    s = cm.solve(op, np.zeros((2, *op.out_shape)), damp=damp, method=method)
    assert s.converged
    assert not s.x.any()
    assert not s.residual.any()
    assert not s.normal_residual.any()


@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_a_map_that_is_zero(damp):
    op = cm.conv([0.0, 0], 6)
    s = cm.solve(op, np.ones(5), damp=damp)
    assert not s.x.any()
    assert np.isclose(s.residual, np.sqrt(5))
    assert s.converged == (damp > 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_empty_batches(method, shape):
    op = OPS["band"]
    s = cm.solve(op, np.zeros((*shape, *op.out_shape)), method=method)
    assert s.x.shape == (*shape, *op.in_shape)
    assert s.residual.shape == shape
    assert s.converged


def test_arguments_are_left_alone():
    op, rng = OPS["tall"], np.random.default_rng(12)
    b, x0 = rng.standard_normal((2, *op.out_shape)), rng.standard_normal(op.in_shape)
    before = b.copy(), x0.copy()
    for method in METHODS:
        cm.solve(op, b, x0=x0, method=method)
    assert (b == before[0]).all()
    assert (x0 == before[1]).all()


SYMMETRIC = np.add(K, K[::-1, ::-1]) + np.add(K, K[::-1, ::-1])[::-1]
NUMBERS = {
    "circle": cm.conv(K, (7, 6), padding="same", boundary="wrap"),
    "odd circle": cm.conv(K, (6, 7), padding="same", boundary="wrap"),
    "cosine": cm.conv(SYMMETRIC, (6, 7), padding="same", boundary="symmetric"),
    "complex cosine": cm.conv((1 + 2j) * SYMMETRIC, (6, 7), padding="same", boundary="symmetric"),
    "sub-lattices": cm.conv([[2.0, 0, 0, 1]], (1, 9), padding="same", dilation=(1, 3), boundary="wrap"),
    "singular": cm.conv([[1.0, -2, 1]], (4, 6), padding="same", boundary="wrap"),
    "large": cm.conv(K, (400, 300), padding="same", boundary="wrap"),
}


def products(op):
    """Return the map and its adjoint: by the matrix if it is small, else by NumPy's transforms of a real circulant."""
    if op.shape[0] < 1000:
        A = matrix_of(op)
        return lambda x: (A @ x.ravel()).reshape(op.out_shape), lambda y: (A.conj().T @ y.ravel()).reshape(op.in_shape)
    symbol = np.fft.fftn(op(np.eye(1, op.shape[1])[0].reshape(op.in_shape)))
    return (lambda x: np.fft.ifftn(symbol * np.fft.fftn(x)).real), (
        lambda y: np.fft.ifftn(symbol.conj() * np.fft.fftn(y)).real
    )


@pytest.mark.parametrize("damp", [0.0, 0.7])
@pytest.mark.parametrize("name", NUMBERS)
def test_residuals_by_transforms_are_those_of_the_solution(name, damp):
    """They are measured in frequencies, piece by piece."""
    op = NUMBERS[name]
    b = numbers(np.random.default_rng(5), op.out_shape, "c" if op.dtype.kind == "c" else "f")
    s = cm.solve(op, b, damp=damp, method="blocks")
    image, adjoint = products(op)
    r = b - image(s.x)
    g = adjoint(r) - damp**2 * s.x
    norm = np.abs(op.kernel).sum()
    size = norm * np.linalg.norm(s.x) + np.linalg.norm(b)
    assert s.residual == pytest.approx(np.linalg.norm(r), rel=1e-12, abs=1e-14 * size)
    assert s.normal_residual == pytest.approx(np.linalg.norm(g), rel=1e-9, abs=1e-13 * norm * size)


@pytest.mark.parametrize("name", OPS)
def test_a_map_that_is_solved_with_again_gives_the_same(name):
    """Small maps keep their last problem; another damping or number of right-hand sides is another problem."""
    op, rng = OPS[name], np.random.default_rng(3)
    right = [rng.standard_normal((*batch, *op.out_shape)) for batch in ((), (4,), (), (1,))]
    for damp in (0.0, 0.3, 0.0):
        for b in right:
            fresh = cm.solve(op.with_kernel(op.kernel), b, damp=damp)
            again = cm.solve(op, b, damp=damp)
            assert np.array_equal(again.x, fresh.x)
            assert (again.method, again.reason, again.condition) == (fresh.method, fresh.reason, fresh.condition)
            assert np.allclose(
                again.x.ravel(), least(matrix_of(op), b.reshape(-1, op.shape[0]), damp).ravel(), atol=1e-7
            )


def test_what_a_map_keeps_is_small_and_not_pickled():
    op = cm.conv(K, (7, 6), padding="same", boundary="reflect")
    b = np.ones(op.out_shape)
    x = cm.solve(op, b).x
    copied = pickle.loads(pickle.dumps(op))
    assert op._kept
    assert not copied._kept
    assert np.array_equal(cm.solve(copied, b).x, x)
    large = cm.conv(K, (300, 300), padding="same", boundary="wrap")
    cm.solve(large, np.ones(large.out_shape))
    assert not large._kept


def test_a_map_chooses_anew_for_another_number_of_right_hand_sides():
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 3, 2, 2)), (8, 8, 2), **BORDER)
    for count in (1, 40, 1):
        b = np.random.default_rng(count).standard_normal((count, *op.out_shape))
        fresh, again = (cm.solve(A, b, damp=0.1) for A in (op.with_kernel(op.kernel), op))
        assert again.method == fresh.method
        assert again.method.startswith("dense" if count == 40 else "band")
        assert np.array_equal(again.x, fresh.x)
