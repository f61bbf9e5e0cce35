"""Weights, masks, masked arrays and scenes beyond the picture, against dense least squares of NumPy."""

import numpy as np
import pytest

import convmtx as cm

RNG = np.random.default_rng(0)
KERNEL = np.array([[1.0, 2.0, 0.5], [2.0, 4.0, 1.0], [0.0, 1.0, 3.0]])
BOUNDARIES = ["zero", "wrap", "symmetric", "reflect", "edge"]


def weighted_solution(op, b, weights, damp):
    """Solve the normal equations of the outputs whose weight is not 0."""
    matrix, w = op.to_dense(), np.broadcast_to(weights, op.out_shape).ravel()
    scaled = np.sqrt(w)[:, None] * matrix
    right = np.where(w > 0, np.sqrt(w) * b.ravel(), 0)
    stacked = np.vstack([scaled, damp * np.eye(matrix.shape[1])])
    x = np.linalg.lstsq(stacked, np.concatenate([right, np.zeros(matrix.shape[1])]), rcond=None)[0]
    return x.reshape(op.in_shape)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("method", ["auto", "dense", "lsmr", "preconditioned"])
def test_weights_are_those_of_squared_residuals(boundary, method):
    op = cm.conv(KERNEL, (9, 10), padding="same", boundary=boundary)
    b, weights = RNG.standard_normal((9, 10)), RNG.random((9, 10)) * (RNG.random((9, 10)) > 0.3)
    s = cm.solve(op, np.where(weights > 0, b, np.nan), weights=weights, damp=0.1, method=method, rtol=1e-12)
    assert s.converged
    assert np.allclose(s.x, weighted_solution(op, np.where(weights > 0, b, 0), weights, 0.1), atol=1e-8)
    assert np.isclose(s.residual, np.sqrt((weights * (op(s.x) - b) ** 2).sum()))


def test_masks_and_masked_arrays_are_weights_of_0_and_1():
    op = cm.conv(KERNEL, (9, 10), padding="same", boundary="symmetric")
    b, measured = RNG.standard_normal((9, 10)), RNG.random((9, 10)) > 0.2
    expected = weighted_solution(op, b, measured.astype(float), 0.2)
    gaps = np.where(measured, b, np.nan)
    for s in (
        cm.solve(op, gaps, mask=measured, damp=0.2),
        cm.solve(op, np.ma.array(gaps, mask=~measured), damp=0.2),
        cm.solve(op, np.ma.masked_invalid(gaps), damp=0.2),
        cm.solve(op, np.ma.array(gaps, mask=~measured | (b > 9)), mask=b < 9, weights=np.ones(10), damp=0.2),
    ):
        assert s.converged
        assert np.allclose(s.x, expected, atol=1e-9)


def test_a_masked_array_with_nothing_masked_is_solved_as_any_other():
    op = cm.conv(KERNEL, (9, 10), padding="same", boundary="wrap")
    b = RNG.standard_normal((9, 10))
    s = cm.solve(op, np.ma.array(b), damp=0.2)
    assert "fourier" in s.method
    assert np.array_equal(s.x, cm.solve(op, b, damp=0.2).x)


def test_masks_that_differ_between_the_arrays_of_a_batch():
    op = cm.conv(KERNEL, (7, 6), padding="same")
    b, measured = RNG.standard_normal((2, 3, 7, 6)), RNG.random((2, 3, 7, 6)) > 0.2
    starts = RNG.standard_normal((2, 3, 7, 6))
    for x0 in (None, starts, starts[0, 0]):
        s = cm.solve(op, np.ma.array(np.where(measured, b, np.nan), mask=~measured), damp=0.3, x0=x0)
        assert s.x.shape == (2, 3, 7, 6)
        assert s.residual.shape == s.error.shape == (2, 3)
        for at in np.ndindex(2, 3):
            assert np.allclose(s.x[at], weighted_solution(op, b[at], measured[at] * 1.0, 0.3), atol=1e-8)
    same = np.broadcast_to(measured[0, 0], b.shape)
    assert np.allclose(cm.solve(op, b, mask=same, damp=0.3).x, cm.solve(op, b, mask=same[0, 0], damp=0.3).x)


def test_weights_of_complex_data_and_other_types():
    op = cm.conv(KERNEL * (1 + 0.5j), (6, 7), padding="same")
    b, weights = RNG.standard_normal((6, 7)) + 1j * RNG.standard_normal((6, 7)), RNG.integers(0, 3, (6, 7))
    expected = weighted_solution(op, b, weights, 0.1)
    assert np.allclose(cm.solve(op, b, weights=weights, damp=0.1).x, expected, atol=1e-9)
    single = cm.conv(KERNEL.astype("f4"), (6, 7), padding="same")
    x = cm.solve(single, b.real.astype("f4"), weights=weights.astype("f4"), damp=0.1).x
    assert x.dtype == np.float32
    assert np.allclose(x, weighted_solution(single, b.real, weights, 0.1), atol=1e-4)


def test_weights_of_tensors_have_gradients():
    torch = pytest.importorskip("torch")
    b = torch.tensor(RNG.standard_normal(8), requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 0.0, 1.0, 0.5, 3.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    kernel = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64, requires_grad=True)

    def solution(kernel, b, weights):
        return cm.solve(cm.conv(kernel, 8, padding="same"), b, weights=weights, damp=0.3, rtol=1e-13).x

    def expected(kernel, b, weights):
        eye = torch.eye(10, dtype=torch.float64)
        matrix = sum(kernel[p] * eye[p : p + 8, 1:9] for p in range(3))
        normal = matrix.T @ (weights[:, None] * matrix) + 0.09 * torch.eye(8, dtype=torch.float64)
        return torch.linalg.solve(normal, matrix.T @ (weights * b))

    for numbers in (solution, expected):
        for tensor in (kernel, b, weights):
            tensor.grad = None
        (numbers(kernel, b, weights) ** 2).sum().backward()
        gradients = [tensor.grad.clone() for tensor in (kernel, b)] + [weights.grad[weights > 0]]
        if numbers is solution:
            ours = gradients
    for got, right in zip(ours, gradients, strict=True):
        assert torch.allclose(got, right, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": -np.ones(8)}, "weights are not all finite real numbers >= 0"),
        ({"weights": np.full(8, np.nan)}, "weights are not all finite real numbers >= 0"),
        ({"weights": np.ones(7)}, r"weights has shape \(7,\)"),
        ({"mask": np.ones(8)}, "mask has dtype float64"),
        ({"mask": np.ones((3, 8), bool)}, r"mask has shape \(3, 8\)"),
        ({"mask": np.zeros(8, bool)}, "no output was measured"),
        ({"border": "unknown"}, "border='unknown'"),
        ({"border": "free", "x0": np.ones(8)}, "x0 with border='free'"),
        ({"border": "free", "bounds": (np.zeros(8), None)}, "bounds that are arrays"),
        ({"bounds": (0, None), "method": "dense"}, "method='dense' with bounds or a penalty"),
        ({"penalty": "l2", "damp": 1}, "penalty='l2'"),
        ({"rcond": 1.5}, "rcond=1.5"),
        ({"rcond": 0.1, "damp": 0.1}, "rcond=0.1 with damping"),
        ({"rcond": 0.1, "method": "lsmr"}, "method='lsmr'"),
        ({"xtol": 0}, "xtol=0"),
    ],
)
def test_what_is_no_weight_is_refused(options, message):
    op = cm.conv([1.0, 3.0, 1.0], 8, padding="same")
    with pytest.raises((ValueError, TypeError), match=message):
        cm.solve(op, np.ones(8), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same"},
        {"padding": "valid"},
        {"padding": [(2, 0), (0, 1)], "boundary": "reflect"},
        {"padding": "same", "stride": 2, "dilation": 2},
        {"padding": [(-1, 2), (1, -1)]},
    ],
)
def test_a_free_border_is_the_valid_map_of_a_larger_scene(options):
    op = cm.conv(KERNEL, (8, 9), **options)
    b = RNG.standard_normal(op.out_shape)
    s = cm.solve(op, b, border="free", damp=0.3)
    # The scene is so large that every output reads inside, and its middle is the picture.
    scene = cm.conv(KERNEL, (20, 21), stride=options.get("stride", 1), dilation=options.get("dilation", 1))
    lo = [axis.lo for axis in op.geometry.axes]
    step = options.get("stride", 1)
    rows = [6 - lo[0] + step * np.arange(op.out_shape[0]), 6 - lo[1] + step * np.arange(op.out_shape[1])]
    whole = (
        cm.conv(KERNEL, (20, 21), dilation=options.get("dilation", 1))
        .to_dense()
        .reshape(20 - (2 * options.get("dilation", 1)), 21 - (2 * options.get("dilation", 1)), -1)
    )
    matrix = whole[np.ix_(*rows)].reshape(-1, 420)
    x = np.linalg.solve(matrix.T @ matrix + 0.09 * np.eye(420), matrix.T @ b.ravel()).reshape(20, 21)
    assert scene.in_shape == (20, 21)
    assert s.converged
    assert s.x.shape == (8, 9)
    assert np.allclose(s.x, x[6:14, 6:15], atol=1e-8)


def test_a_free_border_with_channels_regularizers_and_masks():
    kernel, shape = RNG.standard_normal((3, 2, 2, 2)), (7, 6, 2)
    op = cm.conv(kernel, shape, padding="same")
    difference = np.zeros((2, 1, 2, 2))
    difference[0, 0] = np.eye(2)
    difference[1, 0] = -np.eye(2)
    b, measured = RNG.standard_normal(op.out_shape), RNG.random(op.out_shape) > 0.1
    penalties = [cm.conv(difference, shape), cm.conv(np.eye(2)[None, None], shape)]
    s = cm.solve(op, b, border="free", damp=0.4, regularizer=penalties, mask=measured)
    larger = (9, 7, 2)
    matrix = cm.conv(kernel, larger).to_dense()[measured.ravel()]
    penalty = np.vstack([cm.conv(difference, larger).to_dense(), np.eye(126)])
    stacked, right = np.vstack([matrix, 0.4 * penalty]), np.concatenate([b[measured], np.zeros(len(penalty))])
    x = np.linalg.lstsq(stacked, right, rcond=None)[0].reshape(larger)
    lo = [axis.lo for axis in op.geometry.axes]
    assert s.converged
    assert np.allclose(s.x, x[lo[0] : lo[0] + 7, lo[1] : lo[1] + 6], atol=1e-7)


def test_a_free_border_needs_a_convolution():
    op = cm.conv(KERNEL, (8, 9))
    with pytest.raises(cm.UnsupportedError, match="border='free' with a"):
        cm.solve(cm.diagonal(np.ones((6, 7))) @ op, np.ones((6, 7)), border="free")
    with pytest.raises(cm.UnsupportedError, match="border='free' and a regularizer"):
        cm.solve(
            op,
            np.ones((6, 7)),
            border="free",
            damp=1,
            regularizer=cm.diagonal(np.ones((8, 9))),
        )
    with pytest.raises(cm.ArgumentError, match="border='free' with input dilation"):
        cm.solve(cm.conv(KERNEL, (8, 9), input_dilation=2), np.ones((13, 15)), border="free")


@pytest.mark.parametrize("boundary", ["zero", "wrap", "symmetric"])
@pytest.mark.parametrize("rcond", [1e-3, 0.05, 0.4])
def test_a_cutoff_is_that_of_numpys_pinv(boundary, rcond):
    op = cm.conv(KERNEL + KERNEL[::-1, ::-1], (8, 9), padding="same", boundary=boundary)
    b = RNG.standard_normal((8, 9))
    inverse = np.linalg.pinv(op.to_dense(), rcond=rcond)
    s = cm.solve(op, b, rcond=rcond)
    kept = np.linalg.svd(op.to_dense(), compute_uv=False)
    kept = kept[kept > rcond * kept[0]]
    assert s.converged
    assert f"{72 - kept.size} of 72 singular values" in s.reason
    assert np.isclose(s.condition, kept[0] / kept[-1])
    assert np.allclose(s.x.ravel(), inverse @ b.ravel(), atol=1e-9 * np.abs(s.x).max())
    assert np.allclose(cm.pinv(op, rcond=rcond).to_dense(), inverse, atol=1e-9 * np.abs(inverse).max())
    assert np.allclose(cm.factorize(op, rcond=rcond).solve(b).x, s.x)
    assert np.allclose(cm.pinv(op.T, rcond=rcond).to_dense(), inverse.T, atol=1e-9 * np.abs(inverse).max())


def test_a_cutoff_of_blocks_with_channels():
    op = cm.conv(RNG.standard_normal((3, 3, 2, 2)), (6, 5, 2), padding="same", boundary="wrap")
    b = RNG.standard_normal((6, 5, 2))
    s = cm.solve(op, b, rcond=0.3, method="blocks")
    assert s.method.startswith("blocks")
    assert np.allclose(s.x.ravel(), np.linalg.pinv(op.to_dense(), rcond=0.3) @ b.ravel())


def test_a_cutoff_has_derivatives_with_respect_to_b():
    torch = pytest.importorskip("torch")
    op = cm.conv([1.0, 2.0, 0.5], 9, padding="same")
    b = torch.tensor(RNG.standard_normal(9), requires_grad=True)
    cm.solve(op, b, rcond=0.5).x[4].backward()
    assert np.allclose(b.grad.numpy(), np.linalg.pinv(op.to_dense(), rcond=0.5)[4])


def test_constraints_with_masks_batches_and_free_borders():
    from scipy.optimize import lsq_linear

    op = cm.conv(KERNEL, (5, 6), padding="same")
    rng = np.random.default_rng(0)
    b, measured = op(rng.standard_normal((2, 5, 6))), rng.random((2, 5, 6)) > 0.2
    gaps = np.ma.array(np.where(measured, b, np.nan), mask=~measured)
    s = cm.solve(op, gaps, bounds=(0, 1), damp=0.5, gtol=1e-10, maxiter=20_000)
    assert s.converged
    assert s.gap.shape == (2,)
    assert (s.error < 1e-3).all()
    for at in range(2):
        matrix = np.vstack([op.to_dense()[measured[at].ravel()], 0.5 * np.eye(30)])
        right = np.concatenate([b[at][measured[at]], np.zeros(30)])
        off = np.linalg.norm(s.x[at].ravel() - lsq_linear(matrix, right, (0, 1), tol=1e-14).x)
        assert off <= (s.error[at] + 1e-6) * np.linalg.norm(s.x[at])
    free = cm.solve(op, b, bounds=(0, None), border="free", damp=0.5)
    assert free.converged
    assert free.x.shape == (2, 5, 6)
    assert (free.x >= 0).all()


def test_wieners_filter_of_masked_data():
    op = cm.conv(KERNEL, (9, 10), padding="same", boundary="wrap")
    b, measured = RNG.standard_normal((9, 10)), RNG.random((9, 10)) > 0.2
    expected = weighted_solution(op, b, measured * 1.0, 25**-0.5)
    assert np.allclose(cm.wiener(op, np.where(measured, b, np.nan), 25, mask=measured), expected, atol=1e-7)
    with pytest.raises(cm.ArgumentError, match="weights or mask with snr"):
        cm.wiener(op, b, np.ones((9, 10)), mask=measured)
