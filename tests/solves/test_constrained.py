"""Bounds, sums of magnitudes and total variation: the objective is least, and how near it is is never claimed wrongly.

Oracles: SciPy's bounded least squares, CVXPY, scikit-image's total variation, and the conditions of optimality.
"""

import pickle

import numpy as np
import pytest
import scipy.optimize

import convmtx as cm
from convmtx.solves.constrained.admm import FIRST, LOOK, Alternation
from convmtx.solves.constrained.objectives import Objectives
from convmtx.solves.constrained.solve import constrained
from convmtx.solves.problem import problem_of
from convmtx.solves.result import Request

RNG = np.random.default_rng(0)
BLUR = np.outer([1.0, 2.0, 1.0], [1.0, 3.0, 2.0]) / 24
NOISE = RNG.standard_normal((3, 3))


def same(boundary="zero", kernel=NOISE, shape=(6, 7), **options):
    return cm.conv(kernel, shape, padding="same", boundary=boundary, **options)


MAPS = {
    "zero": same(),
    "wrap": same("wrap"),
    "reflect": same("reflect"),
    "symmetric": same("symmetric", np.outer([1, 2, 1], [1, 3, 1.0])),
    "edge and wrap": same(("edge", "wrap")),
    "valid": cm.conv(NOISE, (7, 8)),
    "full": cm.conv(NOISE, (6, 7), padding="full"),
    "strided": same("edge", stride=(1, 2)),
    "strided circle": same("wrap", stride=(1, 2), shape=(6, 8)),
    "dilated": same(dilation=2),
    "one axis": cm.conv([1.0, 2.0, 1.0, 0.5], 30, padding="same"),
    "channels": cm.conv(RNG.standard_normal((3, 3, 2, 3)), (5, 6, 2), padding="same"),
    "groups first": cm.conv(RNG.standard_normal((4, 1, 3, 3)), (2, 5, 6), padding="same", groups=2, channels="first"),
    "transposed": cm.conv_transpose(NOISE, (4, 4), stride=2),
    "masked": same("reflect")[RNG.random((6, 7)) > 0.2],
    "weighted": cm.diagonal(RNG.random((6, 7)) * (RNG.random((6, 7)) > 0.2)) @ same("edge"),
    "identity": cm.identity((6, 7)),
    "sampled": cm.select((6, 7), RNG.random((6, 7)) > 0.3),
    "matrix": cm.aslinearmap(RNG.standard_normal((40, 30))),
    "sum": same("wrap") + same("reflect"),
    "kronecker": cm.kron(cm.aslinearmap(RNG.standard_normal((7, 6))), cm.aslinearmap(RNG.standard_normal((6, 5)))),
}


def run(
    op,
    b,
    damp=0.0,
    regularizer=None,
    tolerance=1e-7,
    maxiter=4000,
    x0=None,
    callback=None,
    penalty="squares",
    bounds=None,
):
    problem = problem_of(op, damp, regularizer).prepare()
    batch = np.asarray(b).reshape(-1, *op.out_shape)
    request = Request(1e-8, maxiter=maxiter, x0=x0, callback=callback)
    return constrained(problem, batch, request, penalty, bounds, tolerance)


def data(op, noise=0.3):
    rng = np.random.default_rng(1)
    return op(np.maximum(rng.standard_normal(op.in_shape), -0.2)) + noise * rng.standard_normal(op.out_shape)


@pytest.mark.parametrize(("bounds", "damp"), [((0, None), 0.2), ((-0.1, 0.2), 0.0)], ids=str)
@pytest.mark.parametrize("name", MAPS)
def test_bounded_least_squares_are_those_of_scipy(name, bounds, damp):
    op = MAPS[name]
    b = data(op)
    result = run(op, b, damp, tolerance=1e-6, bounds=bounds)

    A, right = np.vstack([op.to_dense(), damp * np.eye(op.shape[1])]), np.append(b, np.zeros(op.shape[1]))
    ends = [infinite if end is None else end for end, infinite in zip(bounds, (-np.inf, np.inf), strict=True)]
    theirs = scipy.optimize.lsq_linear(A, right, ends, tol=1e-13, max_iter=1000)
    least, x = 2 * theirs.cost, result.x.ravel()
    objective = np.sum((A @ x - right) ** 2)
    assert result.converged.all()
    assert (x >= ends[0]).all()
    assert (x <= ends[1]).all()
    assert objective - least <= result.gap[0] * objective + 1e-10 * np.sum(b**2)
    assert result.gap[0] <= 1e-6
    assert result.residual[0] == pytest.approx(np.linalg.norm(op(result.x[0]) - b))
    if damp:
        assert np.linalg.norm(x - theirs.x) <= result.accuracy.error[0] + 1e-6
        assert result.accuracy.error[0] < 0.1 * np.linalg.norm(x)
    else:
        assert np.isnan(result.accuracy.error[0])
    assert result.normal_residual[0] < 1e-2 * np.linalg.norm(op.H(b))
    assert result.reason.endswith("the least of all x")


@pytest.mark.parametrize("name", ["zero", "full", "valid", "matrix"])
def test_nothing_is_claimed_of_all_x_where_nothing_bounds_them(name):
    op = MAPS[name]
    b = data(op)
    result = run(op, b, tolerance=1e-5, bounds=(0, None), maxiter=500)

    least = scipy.optimize.nnls(op.to_dense(), b.ravel())[1] ** 2
    objective = np.sum((op(result.x[0]) - b) ** 2)
    assert "differ from it by at most the largest magnitude" in result.reason
    assert result.converged[0] == (name != "valid")  # which fits b, along a way that no other point is near
    assert result.verdict == ("out of steps" if name == "valid" else "solved")
    assert objective - least <= result.gap[0] * objective + 1e-10 * np.sum(b**2)


def test_nonnegative_solutions_fulfil_the_conditions_of_optimality():
    op = same("reflect", BLUR, (20, 21))
    b, damp = data(op), 0.1
    result = run(op, b, damp, bounds=(0, None), tolerance=1e-10)

    x = result.x[0]
    gradient = op.H(op(x) - b) + damp**2 * x
    scale = np.abs(op.H(b)).max()
    assert (x == 0).sum() > 20
    assert (gradient > -1e-4 * scale).all()
    assert np.abs(gradient * x).max() < 1e-4 * scale


def variation(x):
    steps = np.zeros((2, *x.shape))
    steps[0, :-1], steps[1, :, :-1] = np.diff(x, axis=0), np.diff(x, axis=1)
    return np.sqrt((steps**2).sum(axis=0)).sum()


SECOND = cm.conv([[1.0, -2.0, 1.0]], (8, 9))
PENALTIES = {
    "l1": ("l1", None, lambda x: np.abs(x).sum()),
    "l1 of second differences": ("l1", SECOND, lambda x: np.abs(SECOND(x)).sum()),
    "squares of second differences": ("squares", SECOND, lambda x: np.sum(SECOND(x) ** 2)),
    "tv": ("tv", None, variation),
}


PENALIZED = {
    "zero": same("zero", BLUR, (8, 9)),
    "wrap": same("wrap", BLUR, (8, 9)),
    "masked": same("edge", BLUR, (8, 9))[RNG.random((8, 9)) > 0.2],
    "identity": cm.identity((8, 9)),
    "sum": same("wrap", BLUR, (8, 9)) + same("edge", NOISE, (8, 9)),
}


def least_by_cvxpy(op, b, damp, name, bounds):
    """The least objective that CVXPY reaches."""
    cp = pytest.importorskip("cvxpy")
    x = cp.Variable(op.in_shape)
    flat = cp.vec(x, order="C")
    if name == "tv":
        down = cp.vstack([x[1:] - x[:-1], np.zeros((1, op.in_shape[1]))])
        right = cp.hstack([x[:, 1:] - x[:, :-1], np.zeros((op.in_shape[0], 1))])
        steps = cp.vstack([cp.vec(down, order="C"), cp.vec(right, order="C")])
        penalty = cp.sum(cp.norm(steps, 2, axis=0))
    else:
        image = flat if PENALTIES[name][1] is None else SECOND.to_dense() @ flat
        penalty = cp.norm1(image) if name.startswith("l1") else cp.sum_squares(image)
    objective = cp.sum_squares(op.to_dense() @ flat - b.ravel()) + damp**2 * penalty
    problem = cp.Problem(cp.Minimize(objective), [] if bounds is None else [x >= bounds[0]])
    problem.solve(solver="CLARABEL")
    return problem.value


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("border", PENALIZED)
def test_penalties_are_those_of_cvxpy(border, name):
    op, bounds = PENALIZED[border], (0, None) if border in ("wrap", "masked") else None
    b, damp = data(op, 0.1), 0.4
    penalty, regularizer, value = PENALTIES[name]
    result = run(op, b, damp, regularizer, 1e-4, penalty=penalty, bounds=bounds)

    x = result.x[0]
    objective = np.sum((op(x) - b) ** 2) + damp**2 * value(x)
    least = least_by_cvxpy(op, b, damp, name, bounds)
    assert result.converged.all()
    assert -1e-6 <= objective / least - 1 <= result.gap[0] + 1e-6


def test_total_variation_denoises_as_that_of_scikit_image_does():
    restoration = pytest.importorskip("skimage.restoration")
    rng = np.random.default_rng(2)
    clean = np.zeros((12, 15))
    clean[3:8, 5:12] = 1
    noisy = clean + 0.2 * rng.standard_normal(clean.shape)
    weight = 0.3  # scikit-image minimizes |x - b|^2 / 2 + weight * tv(x)
    theirs = restoration.denoise_tv_chambolle(noisy, weight=weight, eps=1e-9, max_num_iter=2000)

    ours = run(cm.identity(clean.shape), noisy, (2 * weight) ** 0.5, penalty="tv", tolerance=1e-6).x[0]

    objective = [np.sum((x - noisy) ** 2) / 2 + weight * variation(x) for x in (ours, theirs)]
    assert objective[0] <= objective[1] * (1 + 1e-6)
    assert objective[1] <= objective[0] * (1 + 1e-4)
    assert np.abs(ours - theirs).max() < 0.02


def test_total_variation_of_channels_is_the_sum_of_theirs():
    rng = np.random.default_rng(3)
    b = rng.standard_normal((6, 7, 2))
    blur = cm.conv(BLUR[..., None, None] * np.ones((1, 2)), (6, 7, 2), padding="same", boundary="wrap", groups=2)
    both = run(blur, b, 0.5, penalty="tv", tolerance=1e-6).x[0]
    for c in range(2):
        alone = run(same("wrap", BLUR), b[..., c], 0.5, penalty="tv", tolerance=1e-6).x[0]
        assert np.abs(both[..., c] - alone).max() < 1e-2


def test_scales_change_nothing():
    op, damp = same("reflect", BLUR), 0.3
    b = data(op)
    x = run(op, b, damp, penalty="l1", bounds=(0, 0.4)).x
    for size, unit in ((1e-9, 1e-7), (1e5, 1e8)):
        # |s A x - t b|^2 + d^2 |x|, with x = (t / s) z, is t^2 (|A z - b|^2 + d^2 / (s t) |z|)
        z = run(size * op, unit * b, damp * (size * unit) ** 0.5, penalty="l1", bounds=(0, 0.4 * unit / size)).x
        assert z * size / unit == pytest.approx(x, abs=1e-3)


@pytest.mark.parametrize("penalty", ["squares", "l1", "tv"])
@pytest.mark.parametrize("name", ["zero", "reflect", "channels", "masked", "weighted"])
def test_first_steps_are_in_single_precision_and_later_ones_in_double(name, penalty):
    op = MAPS[name]
    objectives = Objectives(problem_of(op, 0.2).prepare(), penalty)
    run = Alternation(objectives.objective(data(op), np.zeros(()), np.full((), np.inf), 1.0), None)
    types = []

    run.advance(FIRST + LOOK, 0.0, lambda run: types.append({a.dtype.name for a in (run.x, *run.v, *run.m)}))

    assert types == FIRST * [{"float32"}] + LOOK * [{"float64"}]


def test_batches_starts_and_callbacks():
    op, damp = same("zero", BLUR), 0.1
    b = np.stack([data(op), -data(op), 0 * data(op)])
    shown = []
    result = run(op, b, damp, bounds=(0, None), callback=lambda x: shown.append(x.copy()))

    assert result.converged.all()
    assert result.gap.shape == result.accuracy.error.shape == result.residual.shape == (3,)
    assert not result.x[2].any()
    for j in range(3):
        assert result.x[j] == pytest.approx(run(op, b[j], damp, bounds=(0, None)).x[0], abs=1e-9)
    assert all(x.shape == (3, 6, 7) and (x >= 0).all() for x in shown)
    again = run(op, b, damp, bounds=(0, None), x0=result.x)
    assert again.iterations <= result.iterations

    stopped = run(op, b, damp, bounds=(0, None), callback=lambda x: bool(x.any()))
    assert stopped.verdict == "stopped"
    assert not stopped.converged.any()
    assert stopped.iterations == 1
    short = run(op, b[0], damp, bounds=(0, None), maxiter=3)
    assert short.verdict == "out of steps"
    assert short.iterations == 3
    assert short.gap[0] > 1e-7


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((6,), (5,), {"padding": "full"}),
        ((5, 6), (3, 4), {"padding": "full"}),
        ((7,), (3,), {"padding": 9, "stride": 4}),
    ],
)
def test_circles_may_be_gone_around_more_than_once(shape, kernel, options):
    """More outputs than the circle has places: several are measurements of the same convolution there."""
    rng = np.random.default_rng(0)
    op = cm.conv(rng.standard_normal(kernel), shape, boundary="wrap", **options)
    b = rng.standard_normal(op.out_shape)
    s = cm.solve(op, b, bounds=(-0.1, 0.2), gtol=1e-8)
    theirs = scipy.optimize.lsq_linear(op.to_dense(), b.ravel(), (-0.1, 0.2), tol=1e-13)
    assert s.converged
    assert s.method.startswith("alternating directions (transforms of circles")
    assert abs(s.residual**2 - 2 * theirs.cost) <= 1e-7 * 2 * theirs.cost


def test_a_map_that_is_zero_within_bounds():
    s = cm.solve(cm.conv([0.0, 0.0], 6), np.ones(5), bounds=(0, 1), damp=1.0)
    assert s.converged
    assert not s.x.any()


@pytest.mark.parametrize("options", [{"bounds": (0, None)}, {"penalty": "tv"}, {"penalty": "l1"}], ids=str)
def test_empty_batches_and_numbers_of_any_size(options):
    op = MAPS["reflect"]
    assert cm.solve(op, np.zeros((0, *op.out_shape)), damp=0.1, **options).x.shape == (0, *op.in_shape)
    b, expected = data(op), cm.solve(op, data(op), damp=0.1, bounds=(0, None)).x
    for scale in (1e-200, 1e-60, 1e60):
        s = cm.solve(op, scale * b, damp=0.1, maxiter=200, **options)
        assert np.isfinite(s.x).all()
        assert s.residual == pytest.approx(scale * np.linalg.norm(b - op(s.x / scale)), rel=1e-9)
        if "bounds" in options:
            assert np.allclose(s.x / scale, expected)


def test_open_bounds_are_none():
    op, b = MAPS["zero"], data(MAPS["zero"])
    assert np.array_equal(cm.solve(op, b, damp=0.1, bounds=(None, None)).x, cm.solve(op, b, damp=0.1).x)


def test_tensors_whose_gradient_would_be_lost_are_refused():
    torch = pytest.importorskip("torch")
    op, b = MAPS["zero"], torch.ones(6, 7, dtype=torch.float64, requires_grad=True)
    with pytest.raises(cm.ArgumentError, match="gradient would be lost"):
        cm.solve(op, b, bounds=(0, None))
    assert cm.solve(op, b.detach(), bounds=(0, None)).converged


def test_bounds_may_differ_from_place_to_place():
    op = same("wrap", BLUR)
    low = np.where(RNG.random((6, 7)) > 0.5, 0.1, -np.inf)
    high = np.where(RNG.random((6, 7)) > 0.5, 0.1, np.inf)
    x = run(op, data(op), 0.1, bounds=(low, high)).x[0]

    theirs = scipy.optimize.lsq_linear(
        np.vstack([op.to_dense(), 0.1 * np.eye(42)]),
        np.append(data(op), np.zeros(42)),
        (low.ravel(), np.nextafter(high, np.inf).ravel()),
        tol=1e-13,
    )
    assert x.ravel() == pytest.approx(theirs.x, abs=2e-3)
    assert (x[(low == 0.1) & (high == 0.1)] == 0.1).all()


OP = same("wrap")
WRONG = {
    "complex b": (lambda: run(OP, 1j * data(OP), bounds=(0, None)), "complex numbers with bounds"),
    "complex map": (lambda: run(1j * OP, data(OP), bounds=(0, None)), "Expected a real map and real b"),
    "crossed": (lambda: run(OP, data(OP), bounds=(1, 0)), "no x is within. Expected low <= high"),
    "nan": (lambda: run(OP, data(OP), bounds=(np.nan, 0)), "no x is within"),
    "one end": (lambda: run(OP, data(OP), bounds=(0,)), "bounds has 1 entries. Expected a pair"),
    "number": (lambda: run(OP, data(OP), bounds=3), "bounds that cannot be read"),
    "shape": (lambda: run(OP, data(OP), bounds=(np.zeros(5), None)), "bounds that cannot be read"),
    "penalty": (lambda: run(OP, data(OP), 1.0, penalty="l2"), "penalty='l2'. Expected one of 'squares', 'l1', 'tv'"),
    "no damping": (lambda: run(OP, data(OP), penalty="tv"), "penalty='tv' with damp=0. It would have no effect"),
    "two penalties": (lambda: run(OP, data(OP), 1.0, SAME_SIZE, penalty="tv"), "penalty='tv' with a regularizer"),
}
SAME_SIZE = same("wrap", np.ones((1, 1)))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_constraints_are_refused(name):
    call, text = WRONG[name]
    with pytest.raises(cm.ArgumentError) as caught:
        call()
    assert text in str(caught.value)


@pytest.mark.parametrize("penalty", ["squares", "tv"])
def test_a_run_that_was_stopped_goes_on_where_it_stood(penalty):
    """As a run that nobody stopped; from x alone, the multipliers would begin at zero."""
    rng = np.random.default_rng(0)
    op = cm.conv(np.ones((5, 5)) / 25, (40, 40), padding="same", boundary="reflect")
    b = op(np.maximum(rng.standard_normal((2, 40, 40)), 0)) + 0.01 * rng.standard_normal((2, 40, 40))
    for weights in (None, rng.random(b.shape)):
        options = {"damp": 0.02, "bounds": (0, None), "penalty": penalty, "gtol": 1e-9, "weights": weights}
        whole = cm.solve(op, b, maxiter=60, **options)
        assert whole.verdict == "out of steps"
        first = cm.solve(op, b, maxiter=30, **options)
        second = cm.solve(op, b, maxiter=30, x0=pickle.loads(pickle.dumps(first)), **options)
        assert np.allclose(second.x, whole.x, rtol=0, atol=1e-12)
        from_x = cm.solve(op, b, maxiter=30, x0=first.x, **options)
        assert np.abs(from_x.x - whole.x).max() > 1e-3
    done = cm.solve(op, b, **options | {"gtol": 0.5})
    assert done.converged
    assert done.checkpoints is None


def test_an_interruption_leaves_nothing_behind():
    """Ctrl-C in the middle of an iteration: what maps keep between calls is as if it had not begun."""
    op = cm.conv(np.ones((3, 3)) / 9, (16, 16), padding="same", boundary="reflect")
    b = op(np.random.default_rng(0).random((16, 16)))
    calls = (
        lambda **options: cm.solve(op, b, damp=0.1, method="lsmr", **options).x,
        lambda **options: cm.solve(op, b, damp=0.1, method="preconditioned", **options).x,
        lambda **options: cm.solve(op, b, damp=0.1, bounds=(0.2, 0.7), **options).x,
        lambda **options: cm.solve(op, b, damp=0.1, penalty="tv", **options).x,
        lambda **options: cm.richardson_lucy(op, b, maxiter=9, **options).x,
    )
    for call in calls:
        seen = []

        def interrupt(x, seen=seen):
            seen.append(x)
            if len(seen) == 3:
                raise KeyboardInterrupt

        before = call()
        with pytest.raises(KeyboardInterrupt):
            call(callback=interrupt)
        assert np.array_equal(call(), before)
