"""Every way to solve, beside dense least squares: any map, and maps for which a way has to be there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
from convmtx.solves.solve import METHODS
from solves.dense import condition, distances, has_full_rank, kept, least, matrix_of, near, numbers, stacked
from spectra.dense import doubles

ITERATED = ("lsmr", "preconditioned")
DIRECT = tuple(m for m in METHODS if m not in (*ITERATED, "auto"))
RTOL = 1e-13


def factors_by(op, method, damp, R=None):
    """What a method makes ready; None where it does not apply, or says that the map is singular."""
    try:
        return cm.factorize(op, damp=damp, regularizer=R, method=method)
    except (cm.ArgumentError, cm.UnsupportedError):
        assert method not in ("auto", "lsmr")
        assert R is not None or method != "dense"
    except cm.SolveError:
        D = stacked(matrix_of(op), damp, None if R is None else matrix_of(R))
        assert method in ("band", "sparse", "substitution", "windows")
        assert not has_full_rank(D) or condition(D) > 1e6
    return None


def assert_solved(F, op, A, damp, b, R=None, transposed=False, maxiter=None):
    """``F`` gives the shortest least-squares solutions of the matrix A, and is right about whether that is all.

    A transpose is solved with the normal inverse of what it is the transpose of, and so with the square of a condition.
    """
    D = stacked(A, damp, R)
    s = F.solve(b, rtol=RTOL, maxiter=maxiter)
    flat = b.reshape(len(b), -1)
    expected = least(A, flat, damp, R)
    iterated = "LSMR" in F.method
    if iterated:  # whose tests let through rtol where rounding leaves EPS, and whose vectors lose orthogonality
        limit = 64 * near(D, b, 1) + 16 * RTOL * condition(D) ** 2 * np.linalg.norm(expected, axis=1)
        limit += RTOL * condition(D) ** 2 * np.linalg.norm(flat, axis=1) / kept(D)[-1] if kept(D).size else 0
    else:
        limit = near(D, b)
        if transposed:
            limit = limit * max(condition(D), condition(stacked(A.T, damp)))
    assert s.x.shape == (len(b), *op.in_shape)
    assert s.x.dtype == np.result_type(A, b)
    circulant = iterated and "circulant" in F.method  # which may be far off, and be told to be
    if circulant and not s.converged:
        assert s.verdict in ("out of steps", "stalled", "out of range", "near singular")
    elif not (circulant and not damp and len(kept(A)) < A.shape[1]):  # not the shortest
        assert (distances(s.x.reshape(len(b), -1), expected) <= limit).all()
    if not iterated:
        full = has_full_rank(D)
        assert s.converged == full
        assert s.verdict.is_singular != full


@given(doubles(), st.sampled_from([0.0, 0.5]), st.sampled_from("fc"), st.integers(0, 99))
@settings(max_examples=60)
def test_every_method_solves_any_convolution(case, damp, kind, seed):
    rng = np.random.default_rng(seed)
    b = numbers(rng, (2, *case.op.out_shape), kind)
    for method in METHODS:
        if method == "kronecker" and not case.matrix.any():
            continue  # see taps that cancel
        F = factors_by(case.op, method, damp)
        if F is not None and condition(stacked(case.matrix, damp)) < 1e5:
            assert_solved(F, case.op, case.matrix, damp, b)


@given(doubles(dims=(1, 2)), st.sampled_from([0.0, 0.5]), st.integers(0, 99))
@settings(max_examples=40)
def test_every_method_solves_transposes(case, damp, seed):
    """Those that are no convolutions are solved by what solves their transpose, with the square of its condition."""
    op, A = case.op.T, case.matrix.T
    b = numbers(np.random.default_rng(seed), (2, *op.out_shape), "c")
    for method in METHODS:
        if method == "kronecker" and not A.any():
            continue
        F = factors_by(op, method, damp)
        if F is not None and condition(stacked(A, damp)) < 1e4:
            assert_solved(F, op, A, damp, b, transposed=True)


@given(doubles(), st.sampled_from([0.0, 0.5]), st.integers(0, 99))
@settings(max_examples=60)
def test_the_normal_inverse_of_every_method(case, damp, seed):
    """``H^+ g``, of which gradients and transposes are made."""
    A = case.matrix
    D = stacked(A, damp)
    P = np.linalg.pinv(D, rcond=1e-10)
    g = numbers(np.random.default_rng(seed), (2, *case.op.in_shape), case.op.dtype.kind)
    flat = g.reshape(2, -1)
    expected = flat @ (P @ P.conj().T).T
    for method in METHODS:
        if method == "kronecker" and not A.any():
            continue
        F = factors_by(case.op, method, damp)
        if F is None or condition(D) > 1e4 or not kept(D).size or (method in ITERATED and not has_full_rank(D)):
            continue
        found = F._solver.chosen().factors.normal(g).reshape(2, -1)
        found = found / F._solver.problem.scale**2
        limit = 64 * sum(D.shape) * np.finfo(float).eps * condition(D) ** 2 / kept(D)[-1] ** 2
        limit *= 5e3 if "LSMR" in F.method else 1  # which stops at a tolerance of 1e-12
        assert (distances(found, expected) <= limit * np.linalg.norm(flat, axis=1)).all(), method


@pytest.mark.parametrize(("size", "padding"), [(23, 0), (23, 4), (11, 0)])
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_the_normal_inverse_of_lattices(size, padding, damp):
    """Of the last some have no outputs, and inputs that nobody reads."""
    op = cm.conv([1.0, 5, 2], size, dilation=4, padding=padding)
    P = np.linalg.pinv(stacked(matrix_of(op), damp), rcond=1e-10)
    F = cm.factorize(op, damp=damp, method="lattices")
    found = F._solver.chosen().factors.normal(np.eye(size)) / F._solver.problem.scale**2
    assert np.abs(found - P @ P.T).max() <= 1e-12 * np.abs(P).max() ** 2 * size


RNG = np.random.default_rng(0)
ANY = RNG.standard_normal((3, 3)) + 6 * np.eye(3)[1] * np.eye(3)[:, 1:2]
EVEN = (ANY + ANY[::-1] + (ANY + ANY[::-1])[:, ::-1]) / 2
CHANNELS = RNG.standard_normal((3, 3, 2, 3))
SQUARE = RNG.standard_normal((3, 3, 2, 2)) + 4 * np.eye(2)
VECTORS = np.array([1.0, 4, 2]), np.array([2.0, 1, -3, 0.5, 7])
OUTER = np.multiply.outer(*VECTORS)
MIXING = np.einsum("ij,cf->ijcf", OUTER, RNG.standard_normal((2, 3)))
CAUSAL = np.array([[0, 0, 0], [0, 5.0, 1], [2, -1, 1]])  # rows from above; within a row from the left


def around(n, stride, kernel):
    return 1, stride * (n // stride - 1) + kernel - n - 1


SIGNAL = np.random.default_rng(7).standard_normal(24)
SIGNALS = np.random.default_rng(8).standard_normal((2, 4, 9, 8))
SAME = {"padding": "same"}
WRAP = {"padding": "same", "boundary": "wrap"}
NAMED = {  # op, methods that have to apply without damping, and that only
    "circle": (cm.conv(ANY, (6, 7), **WRAP), {"blocks"}),
    "complex circle": (cm.conv(ANY + 1j * ANY.T, (6, 7), **WRAP), {"blocks"}),
    "circle of channels": (cm.conv(CHANNELS, (6, 7, 2), **WRAP), {"blocks"}),
    "circle to fewer channels": (cm.conv(CHANNELS.swapaxes(2, 3), (5, 6, 3), **WRAP), {"blocks"}),
    "circle of groups": (cm.conv(RNG.standard_normal((3, 3, 2, 6)), (6, 6, 4), groups=2, **WRAP), {"blocks"}),
    "circle, channels first": (
        cm.conv(RNG.standard_normal((4, 2, 3, 3)), (2, 6, 5), channels="first", **WRAP), {"blocks"}),
    "strided circle": (cm.conv(CHANNELS, (6, 8, 2), stride=2, boundary="wrap", padding=[
        around(6, 2, 3), around(8, 2, 3)]), {"blocks"}),
    "dilated circle": (cm.conv(ANY, (8, 9), dilation=(3, 2), **WRAP), {"blocks"}),
    "circle in 3-D": (cm.conv(RNG.standard_normal((3, 2, 2)), (4, 5, 3), **WRAP), {"blocks"}),
    "symmetric": (cm.conv(EVEN, (6, 7), padding="same", boundary="symmetric"), {"blocks"}),
    "symmetric and circle": (cm.conv(EVEN, (6, 7), padding="same", boundary=("symmetric", "wrap")), {"blocks"}),
    "three taps": (cm.conv([1.0, 3, 1], 12, **SAME), {"blocks", "band", "sparse"}),
    "sine and circle": (cm.conv(EVEN, (6, 7), padding="same", boundary=("zero", "wrap")), {"blocks"}),
    "circle and border": (cm.conv(SQUARE, (6, 5, 2), padding="same", boundary=("wrap", "reflect")), {"blocks"}),
    "outer product": (cm.conv(OUTER, (8, 9), **SAME), {"kronecker"}),
    "outer product, reflect": (cm.conv(OUTER, (8, 9), padding="same", boundary="reflect"), {"kronecker"}),
    "outer product, edge and symmetric": (
        cm.conv(OUTER, (8, 9), padding="same", boundary=("edge", "symmetric")), {"kronecker"}),
    "outer product, strided": (cm.conv(MIXING, (9, 12, 2), stride=(2, 3), padding=1), {"kronecker"}),
    "outer product, full": (cm.conv(MIXING, (5, 6, 2), padding="full"), {"kronecker"}),
    "complex outer product": (cm.conv(np.multiply.outer(VECTORS[0], 1j + VECTORS[1]), (6, 7), **SAME), {"kronecker"}),
    "lattices": (cm.conv(ANY, (7, 8), dilation=(2, 3), **SAME), {"blocks", "lattices"}),
    "lattices of channels": (cm.conv(SQUARE, (7, 6, 2), dilation=2, **SAME), {"blocks", "lattices"}),
    "lattices on an axis": (cm.conv([1.0, 5, 2], 23, dilation=4, **SAME), {"lattices", "band"}),
    "lattices beside a border": (
        cm.conv(ANY, (9, 6), dilation=(2, 1), padding="same", boundary=("zero", "reflect")), {"lattices"}),
    "causal": (cm.conv(CAUSAL, (6, 7), **SAME), {"substitution", "band", "sparse"}),
    "causal from below": (cm.conv(CAUSAL[::-1], (6, 7), **SAME), {"substitution"}),
    "causal from the right": (cm.conv(CAUSAL[:, ::-1], (6, 7), **SAME), {"substitution"}),
    "causal by columns": (cm.conv(CAUSAL.T, (6, 7), **SAME), {"substitution"}),
    "causal, groups": (cm.conv(np.stack([CAUSAL, 2 * CAUSAL], axis=-1)[:, :, None], (5, 4, 2), groups=2, **SAME),
                       {"substitution"}),
    "causal, channels first": (cm.conv(np.stack([CAUSAL, 2 * CAUSAL])[:, None], (2, 5, 4), groups=2, channels="first",
                                       **SAME), {"substitution"}),
    "causal on an axis": (cm.conv([1.0, 2, 4], 20, padding=[(2, 0)]), {"substitution", "band"}),
    "anticausal on an axis": (cm.conv([4.0, 2, 1], 20, padding=[(0, 2)]), {"substitution", "band"}),
    "full": (cm.conv(ANY, (5, 6), padding="full"), {"band", "sparse"}),
    "wide": (cm.conv(RNG.standard_normal(4), 20), {"band", "sparse"}),
    "stride": (cm.conv(CHANNELS, (8, 7, 2), stride=2), {"band", "sparse"}),
    "long second axis": (cm.conv(SQUARE, (4, 15, 2), **SAME), {"band", "sparse"}),
    "channels first": (cm.conv(np.moveaxis(SQUARE, (2, 3), (1, 0)), (2, 6, 5), channels="first", **SAME),
                       {"band", "sparse"}),
    "input dilated": (cm.conv([1.0, 2, 4, 1], 9, input_dilation=3), {"band", "sparse"}),
    "transposed": (cm.conv_transpose(CHANNELS, (4, 5, 3), stride=2), {"band", "sparse"}),
    "transpose of a reflecting one": (cm.conv(SQUARE, (5, 6, 2), padding="same", boundary="reflect").T, {"sparse"}),
    "transpose of an edge": (cm.conv(RNG.standard_normal(4), 13, padding=[(3, 4)], boundary="edge").T, {"sparse"}),
    "adjoint of an outer product": (
        cm.conv(np.multiply.outer(VECTORS[0], 1j + VECTORS[1]), (6, 7), padding="same", boundary="edge").H,
        {"kronecker", "sparse"}),
    "sum": (cm.conv(ANY, (6, 6), padding="same", boundary="edge") + cm.conv(ANY, (6, 6), **WRAP), {"sparse"}),
    "product": (cm.conv(EVEN, (6, 7), padding="same", boundary="edge") @ cm.permutation((7, 6), "HW", "WH"),
                {"sparse"}),
    "scaled": (-3j * cm.conv(ANY, (6, 7), padding="same", boundary="reflect"), {"sparse"}),
    "kernels": (cm.kernel_operator(SIGNALS, (3, 2), input_shape=(9, 8), padding="same", boundary="reflect"),
                {"windows", "sparse"}),
    "kernels with all windows": (cm.kernel_operator(SIGNAL, 5, padding=[(4, 4)]), {"windows"}),
    "kernels on a circle": (cm.kernel_operator(SIGNAL + 1j * SIGNAL[::-1], 5, **WRAP), {"windows"}),
    "kernels of channels": (
        cm.kernel_operator(SIGNALS, (6, 2, 3, 2), input_shape=(4, 9, 8), channels="first", groups=2, stride=2),
        {"windows"}),
    "kernels with few outputs": (cm.kernel_operator(SIGNAL, 17), {"windows"}),
    "kernels of few outputs in groups": (
        cm.kernel_operator(SIGNALS[0], (4, 2, 8, 6), channels="first", groups=2), {"windows"}),
    "kernels, weighted": (
        cm.diagonal(1 + SIGNAL[:20] ** 2) @ cm.kernel_operator(SIGNAL, 5), {"windows"}),
    "kernels, selected": (
        cm.diagonal(1 + SIGNAL[:15] ** 2) @ cm.kernel_operator(SIGNAL, 5)[np.arange(20) % 4 > 0], {"windows"}),
    "adjoint of kernels": (cm.kernel_operator(SIGNAL * (1 + 1j), 5, stride=2).H, {"windows"}),
    "scaled transpose": (2.5 * cm.conv(ANY, (6, 7), padding="same", boundary="reflect").T, {"sparse"}),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("kind", "fc")
def test_ways_that_have_to_apply(name, damp, kind):
    op, methods = NAMED[name]
    A, rng = matrix_of(op), np.random.default_rng(1)
    b = numbers(rng, (3, *op.out_shape), kind)
    transposed = any(word in name for word in ("adjoint", "transpose of", "scaled transpose"))
    if damp:
        methods = methods - {"substitution"}  # which the penalty makes another map
    for method in sorted(methods | {"dense", "auto"}):
        F = cm.factorize(op, damp=damp, method=method)
        assert_solved(F, op, A, damp, b, transposed=transposed)
        s = cm.solve(op, b, damp=damp, method=method)
        assert (distances(s.x, F.solve(b).x) <= near(stacked(A, damp), b, 2 if transposed else 1)).all()


@pytest.mark.parametrize("name", NAMED)
def test_ways_that_do_not_apply_are_refused(name):
    """Of what the kernel and the boundary do not allow; LU and dense matrices always do."""
    op, methods = NAMED[name]
    for method in {"blocks", "kronecker", "lattices", "substitution"} - methods:
        try:
            F = cm.factorize(op, method=method)
        except cm.ArgumentError:
            continue
        else:  # a way that was not thought of is welcome, if it is right
            assert_solved(F, op, matrix_of(op), 0.0, np.ones((1, *op.out_shape)), transposed=True)


LAPLACE = np.array([[0, 1.0, 0], [1, -4, 1], [0, 1, 0]])
BLUR = np.add.outer([1.0, 2, 1], [1.0, 3, 1])
REGULARIZED = {  # op, regularizer, methods that have to apply
    "circle": (cm.conv(BLUR, (6, 7), **WRAP), cm.conv(LAPLACE, (6, 7), **WRAP), {"blocks", "preconditioned"}),
    "circle, complex": (
        cm.conv(BLUR * 1j + ANY, (6, 7), **WRAP), cm.conv(LAPLACE, (6, 7), **WRAP), {"blocks", "preconditioned"}),
    "strided circle": (
        cm.conv(ANY, (6, 8), stride=2, boundary="wrap", padding=[around(6, 2, 3), around(8, 2, 3)]),
        cm.conv(LAPLACE, (6, 8), **WRAP), set()),
    "symmetric": (cm.conv(BLUR, (6, 7), padding="same", boundary="symmetric"),
                  cm.conv(LAPLACE, (6, 7), padding="same", boundary="symmetric"), {"blocks", "preconditioned"}),
    "zero": (cm.conv(ANY, (6, 7), **SAME), cm.conv(LAPLACE, (6, 7), **SAME), {"band", "sparse", "preconditioned"}),
    "of the sine transform": (
        cm.conv(BLUR, (6, 7), **SAME), cm.conv(LAPLACE, (6, 7), **SAME), {"blocks", "band", "preconditioned"}),
    "a lone tap": (cm.conv(ANY, (6, 7), padding="same", boundary="reflect"), cm.conv([[1.0]], (6, 7)),
                   {"sparse", "preconditioned"}),
    "differences of an axis": (
        cm.conv(RNG.standard_normal(4), 15, padding="full"), cm.conv([1.0, -1], 15), {"band", "preconditioned"}),
    "wide": (cm.conv(RNG.standard_normal(4), 15), cm.conv([1.0, -2, 1], 15, padding="full"), {"band", "sparse"}),
    "channels": (
        cm.conv(CHANNELS, (6, 5, 2), **SAME), cm.conv(RNG.standard_normal((1, 2, 2, 4)), (6, 5, 2)), {"sparse"}),
    "channels first": (
        cm.conv(np.moveaxis(SQUARE, (2, 3), (1, 0)), (2, 4, 6), channels="first", **SAME),
        cm.conv(np.stack([LAPLACE, LAPLACE])[:, None], (2, 4, 6), groups=2, channels="first", **SAME), {"sparse"}),
    "identity": (cm.conv(ANY, (6, 7), **SAME), cm.permutation((6, 7), "HW", "HW"), {"lsmr"}),
    "a map of any kind": (
        cm.conv(ANY, (6, 6), **SAME), cm.conv(LAPLACE, (6, 6), **SAME) @ cm.permutation((6, 6), "HW", "WH"), {"lsmr"}),
    "of a product": (cm.conv(ANY, (6, 7), padding="same", boundary="edge") @ cm.conv(BLUR, (6, 7), **SAME),
                     cm.conv(LAPLACE, (6, 7), **SAME), {"sparse"}),
    "kernels": (cm.kernel_operator(SIGNAL, 5), cm.conv([1.0, -2, 1], 5), {"windows"}),
    "kernels that are joined": (
        cm.kernel_operator(SIGNALS, (6, 2, 3, 2), input_shape=(4, 9, 8), channels="first", groups=2),
        cm.conv(np.ones((2, 1, 1, 1)), (6, 2, 3, 2)), {"windows"}),
    "of a transpose": (
        cm.conv(ANY, (6, 7), padding="same", boundary="edge").T, cm.conv(LAPLACE, (6, 7), **SAME), {"sparse"}),
}  # fmt: skip


@pytest.mark.parametrize("name", REGULARIZED)
@pytest.mark.parametrize("damp", [0.3, 2.0])
@pytest.mark.parametrize("kind", "fc")
def test_regularizers(name, damp, kind):
    op, R, methods = REGULARIZED[name]
    A, penalty = matrix_of(op), matrix_of(R)
    D = stacked(A, damp, penalty)
    assert has_full_rank(D)
    b = numbers(np.random.default_rng(2), (2, *op.out_shape), kind)
    for method in METHODS:
        F = factors_by(op, method, damp, R)
        if F is None:
            assert method not in methods
            continue
        assert_solved(F, op, A, damp, b, penalty, maxiter=2000)
        s = cm.solve(op, b, damp=damp, regularizer=R, method=method, rtol=RTOL, maxiter=2000)
        r = b.reshape(2, -1) - s.x.reshape(2, -1) @ A.T
        normal = r @ A.conj() - damp**2 * s.x.reshape(2, -1) @ (penalty.conj().T @ penalty).T
        assert np.allclose(s.residual, np.linalg.norm(r, axis=1), rtol=1e-10)
        assert np.abs(s.normal_residual - np.linalg.norm(normal, axis=1)).max() <= 1e-10 * np.linalg.norm(A) * 20


@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect"])
@pytest.mark.parametrize("damp", [0.05, 0.5])
@pytest.mark.parametrize("regularized", [False, True])
def test_a_preconditioner_changes_steps_and_not_the_solution(boundary, damp, regularized):
    K = np.exp(-np.add.outer(np.arange(-3.0, 4) ** 2, np.arange(-3.0, 4) ** 2) / 6) / 18
    op = cm.conv(K, (16, 17), padding="same", boundary=boundary)
    R = cm.conv(LAPLACE, (16, 17), padding="same") if regularized else None
    b = np.random.default_rng(3).standard_normal((2, 16, 17))
    A = matrix_of(op)
    D = stacked(A, damp, None if R is None else matrix_of(R))
    expected = least(A, b.reshape(2, -1), damp, None if R is None else matrix_of(R))
    steps = {}
    for method in ("lsmr", "preconditioned"):
        s = cm.solve(op, b, damp=damp, regularizer=R, method=method, rtol=1e-12)
        assert s.converged
        assert (distances(s.x.reshape(2, -1), expected) <= 1e-10 * condition(D) * np.linalg.norm(expected)).all()
        steps[method] = s.iterations
    if boundary == "zero" and damp == 0.05:
        assert steps["preconditioned"] < steps["lsmr"] / 2


AUTO = {  # op, the method that is chosen for one right-hand side, and why
    "circle": (cm.conv(ANY, (64, 64), **WRAP), "blocks (fourier x fourier", "the map falls apart into blocks"),
    "symmetric": (cm.conv(EVEN, (64, 64), padding="same", boundary="symmetric"), "blocks (cosine x cosine", "blocks"),
    "sine": (cm.conv([1.0, 3, 1], 200, **SAME), "blocks (sine", "the map falls apart into blocks"),
    "outer product": (cm.conv(OUTER, (20, 20), padding="same", boundary="edge"), "blocks (factor x factor",
                      "the kernel is an outer product"),
    "band": (cm.conv([1.0, 6, 2, 1], 300, **SAME), ("band LU of 300", "sparse LU of 300"), "its matrix is"),
    "causal": (cm.conv(CAUSAL, (20, 20), **SAME), "substitution of 400 unknowns", "the map is causal"),
    "full": (cm.conv([1.0, 6, 2, 1], 100, padding="full"), ("band LU of 203", "sparse LU of 203"), "its matrix is"),
    "lattices": (cm.conv([1.0, 6, 2], 2000, dilation=20, **SAME), "20 sub-lattices (", "dilated"),
    "kernels": (cm.kernel_operator(SIGNALS.reshape(-1), 40, padding=[(39, 39)]), "Levinson factors of",
                "the Gram matrix of windows"),
    "small": (cm.conv(ANY, (5, 5), padding="same", boundary="edge"), "dense matrix of 25 x 25", "the matrix is small"),
}  # fmt: skip


@pytest.mark.parametrize("name", AUTO)
def test_what_is_chosen_and_why(name):
    op, method, reason = AUTO[name]
    x = np.random.default_rng(4).standard_normal(op.in_shape)
    s = cm.solve(op, op(x))
    assert s.method.startswith(method)
    assert reason in s.reason
    assert s.converged
    assert s.iterations == 0
    assert s.history == ()
    assert np.abs(s.x - x).max() <= 1e-9


def test_what_no_direct_way_is_quick_for_is_iterated():
    rng = np.random.default_rng(5)
    K = rng.standard_normal((3, 3, 3))
    K[1, 1, 1] += 40
    op = cm.conv(K, (30, 30, 30), padding="same")
    x = rng.standard_normal(op.in_shape)
    s = cm.solve(op, op(x))
    assert s.method == "LSMR"
    assert s.reason == "direct methods would be slower; singular values that no step has met do not show"
    assert 0 < s.iterations == len(s.history) < 100
    assert np.linalg.norm(s.x - x) <= 1e-6 * np.linalg.norm(x)


def test_looking_at_a_preconditioner_costs_little():
    g = np.exp(-(np.arange(-6.0, 7) ** 2) / 8)
    K = np.multiply.outer(g, g) / g.sum() ** 2 + 1e-4 * RNG.standard_normal((13, 13)) / 6
    op = cm.conv(K, (180, 180), padding="same")
    b = op(np.random.default_rng(6).standard_normal(op.in_shape))
    plain, best = (cm.solve(op, b, damp=0.01, method=m) for m in ("lsmr", "auto"))
    assert best.iterations <= plain.iterations + 24
    assert (best.method == "LSMR, embedded circulant") == (best.iterations < plain.iterations / 2)
    assert np.linalg.norm(best.x - plain.x) <= 1e-4 * np.linalg.norm(plain.x)


def along_a_line(n):
    """A blur for which circulants are poor."""
    return cm.conv(np.eye(9) / 9, (n, n), padding="same"), np.random.default_rng(8)


@pytest.mark.parametrize("rtol", [1e-4, 1e-8])
def test_a_preconditioner_that_promises_too_much_is_left(rtol):
    op, rng = along_a_line(128)
    b = op(rng.random(op.in_shape)) + 0.01 * rng.standard_normal(op.out_shape)
    plain, best = (cm.solve(op, b, damp=0.01, rtol=rtol, method=m) for m in ("lsmr", "auto"))
    assert best.method == "LSMR"
    assert (best.x == plain.x).all()  # it waited, and was not begun again
    assert plain.iterations <= best.iterations <= 1.5 * plain.iterations


@pytest.mark.parametrize("damp", [1e-2, 1e-3])
@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
def test_preconditioned_steps_go_on_until_the_plain_norms_are_small(damp, rtol):
    """The norms that it goes by itself are so earlier, and to start again each time would take thousands of steps."""
    op, rng = along_a_line(32)
    b = rng.standard_normal(op.out_shape)
    s = cm.solve(op, b, damp=damp, rtol=rtol, xtol=1e9, method="preconditioned", maxiter=900)
    assert s.converged
    assert len(s.history) == s.iterations
    r = b - op(s.x)
    size = np.hypot(np.linalg.norm(r), damp * np.linalg.norm(s.x))
    assert np.linalg.norm(op.H(r) - damp**2 * s.x) <= 10 * rtol * size  # the norm of the map is 1


@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(8))
def test_taps_that_cancel_leave_nothing(damp, seed):
    """A boundary folds two taps onto one input, and their sum is zero: no singular vectors of rounding errors."""
    a = np.random.default_rng(seed).standard_normal()
    op = cm.conv([a, -a], 1, input_dilation=2, padding=[(0, 1)], boundary="wrap")
    assert not op.to_dense().any()
    for method in ("auto", "kronecker", "dense"):
        s = cm.solve(op, np.ones(1), damp=damp, method=method)
        assert np.abs(s.x).max() <= 1e-15 * abs(a)
        assert s.converged == (damp > 0)


def test_a_singular_map_does_not_end_in_a_dense_matrix(monkeypatch):
    """Every quick way finds it singular, and what is left would take hours."""
    asked = []

    def refused(op):
        asked.append(op.shape)
        raise AssertionError

    monkeypatch.setattr("convmtx.solves.methods.by_blocks.dense", refused)
    op = cm.conv([1.0, 6, 2, 1], 20_000, padding="same", dilation=40)
    cm.solve(op, np.random.default_rng(7).standard_normal(20_000), maxiter=50)
    assert all(rows <= 5000 for rows, _ in asked)


def test_methods_that_find_a_map_singular_leave_it_to_the_next():
    op = cm.conv([1.0, 0, -1], 301, padding="same")  # an odd antisymmetric matrix
    b = np.ones(301)
    s = cm.solve(op, b)
    assert not s.converged
    expected = least(matrix_of(op), b[None])[0]
    assert np.linalg.norm(s.x - expected) <= 1e-5 * np.linalg.norm(expected)
    assert s.verdict in ("near singular", "singular", "out of range", "singular and out of range")


@pytest.mark.parametrize("damp", [1e-2, 1e-7])
@pytest.mark.parametrize("method", ["dense", "band", "sparse"])
def test_adjoints_of_damped_inverses_keep_the_digits_of_the_map(method, damp):
    op = cm.conv([1.0, 3.0, 0.5], 30, padding="same", boundary="reflect")
    expected = np.linalg.pinv(np.vstack([op.to_dense(), damp * np.eye(30)]))[:, :30]
    for found in (cm.pinv(op, damp=damp, method=method).T, cm.pinv(op.T, damp=damp, method=method)):
        assert np.abs(found.to_dense() - expected.T).max() <= 1e-13
    transposed = np.linalg.pinv(np.vstack([op.to_dense().T, damp * np.eye(30)]))[:, :30]
    found = cm.pinv(op.T, damp=damp, method=method).T
    assert np.abs(found.to_dense() - transposed.T).max() <= 1e-13


@pytest.mark.parametrize("damp", [1e-3, 1e-7])
def test_preconditioners_stay_hermitian_at_small_damping(damp):
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 2, 2)), (20, 2), padding="same")
    P = cm.preconditioner(op, damp=damp).to_dense()
    assert np.abs(P - P.T).max() <= 1e-14 * np.abs(P).max()
    assert np.linalg.eigvalsh(P).min() > 0


def test_a_wide_problem_with_a_wide_regularizer_converges():
    rng = np.random.default_rng(1)
    op = cm.conv(rng.standard_normal((5, 5)), (40, 40), padding="same", stride=2)
    R = cm.conv([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], (40, 40), padding="same", stride=2)
    assert cm.solve(op, rng.standard_normal(op.out_shape), damp=0.3, regularizer=R, method="lsmr").converged
