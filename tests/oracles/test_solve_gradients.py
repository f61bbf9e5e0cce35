"""Derivatives of solutions, by finite differences of PyTorch and JAX."""

import numpy as np
import pytest

import convmtx as cm

from .agreement import double_precision_jax, one_torch_thread

torch = pytest.importorskip("torch")

WRAP = {"padding": "same", "boundary": "wrap"}
LAPLACE = [[0, 1.0, 0], [1, -4, 1], [0, 1, 0]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_torch_thread(torch):
        yield


def tensors(kernel, op_of, dtype):
    rng = np.random.default_rng(0)
    real, imaginary = rng.standard_normal((2, *kernel))
    K = torch.tensor(real + (1j * imaginary if dtype.is_complex else 0), dtype=dtype)
    shape = (2, *op_of(K).out_shape)
    b = torch.tensor(rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype.is_complex else 0))
    return K.requires_grad_(), b.to(dtype).requires_grad_()


CASES = {  # kernel, input, options, damping, regularizer
    "square": ((3,), 6, {"padding": 1}, 0.0, None),
    "tall": ((3,), 6, {"padding": 2}, 0.0, None),
    "wide": ((3,), 6, {}, 0.0, None),
    "square, damped": ((3,), 6, {"padding": 1}, 0.3, None),
    "tall, damped": ((3,), 6, {"padding": 2}, 0.3, None),
    "wide, damped": ((3,), 6, {}, 0.3, None),
    "strided": ((3,), 9, {"stride": 2}, 0.0, None),
    "to fewer channels": ((2, 3, 2, 1), (3, 4, 2), WRAP, 0.0, None),
    "to more channels": ((2, 2, 1, 2), (3, 3, 1), WRAP, 0.0, None),
    "reflect": ((2, 3, 2, 2), (3, 4, 2), {"padding": "same", "boundary": "reflect"}, 0.2, None),
    "regularized circle": ((2, 2), (4, 3), WRAP, 0.3, cm.conv(LAPLACE, (4, 3), **WRAP)),
    "regularized": ((2, 2), (4, 3), {"padding": "same"}, 0.3, cm.conv(LAPLACE, (4, 3), padding="same")),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
def test_gradients_in_kernel_and_right_hand_side(name, dtype):
    kernel, shape, options, damp, R = CASES[name]

    def op_of(K):
        return cm.conv(K, shape, **options)

    def f(K, b):
        return cm.solve(op_of(K), b, damp=damp, regularizer=R).x

    K, b = tensors(kernel, op_of, dtype)
    x = f(K, b).detach().numpy()
    A = op_of(K.detach().numpy()).to_dense()
    D = A if not damp else np.concatenate([A, damp * (np.eye(A.shape[1]) if R is None else R.to_dense())])
    right = np.pad(b.detach().numpy().reshape(2, -1), ((0, 0), (0, len(D) - len(A))))
    assert np.allclose(x.reshape(2, -1), right @ np.linalg.pinv(D).T, atol=1e-10)
    assert torch.autograd.gradcheck(f, (K, b), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["blocks", "band", "sparse", "dense", "lsmr"])
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_gradients_by_every_method(method, damp):
    """Differences need solutions exact to 1e-9 or so."""

    def op_of(K):
        K = torch.cat([K, K[:1]])  # its own mirror image: blocks by sines
        return cm.conv(K, 5, padding=1)

    def f(K, b):
        return cm.solve(op_of(K), b, damp=damp, method=method, rtol=1e-13).x

    K, b = tensors((2,), op_of, torch.float64)
    K = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(f, (K, b), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_gradients_through_products_transposes_and_sums(damp):
    other = cm.conv(torch.tensor([1.0, -3, 0.5], dtype=torch.float64), 6, padding=1)

    def product(K):
        return cm.conv(K, 6, padding=1) @ other

    def transpose(K):
        return cm.conv(K, 6, padding=[(1, 2)], boundary="edge").T

    def total(K):
        return cm.conv(K, 6, padding=1, boundary="reflect") + 2.0 * other

    for op_of in (product, transpose, total):
        K, b = tensors((3,), op_of, torch.float64)

        def f(K, b, op_of=op_of):
            return cm.solve(op_of(K), b, damp=damp).x

        assert torch.autograd.gradcheck(f, (K, b), atol=1e-5, rtol=1e-4)


def test_gradients_in_the_kernel_of_a_regularizer():
    """Which is a kernel like the map's."""
    rng = np.random.default_rng(1)
    K, L, b = (torch.tensor(rng.standard_normal(n), requires_grad=True) for n in (3, 2, (2, 6)))

    def f(K, L, b):
        return cm.solve(cm.conv(K, 6, padding=1), b, damp=0.7, regularizer=cm.conv(L, 6)).x

    assert torch.autograd.gradcheck(f, (K, L, b), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_gradients_of_what_was_made_ready(damp, padding):
    def op_of(K):
        return cm.conv(K, 6, padding=padding)

    def f(K, b):
        return cm.factorize(op_of(K), damp=damp).solve(b).x

    K, b = tensors((3,), op_of, torch.float64)
    assert torch.autograd.gradcheck(f, (K, b), atol=1e-5, rtol=1e-4)
    F = cm.factorize(op_of(K.detach()), damp=damp)
    assert torch.autograd.gradcheck(lambda b: F.solve(b).x, (b,), atol=1e-6, rtol=1e-5)


def test_a_factorization_that_fails_says_so_with_a_gradient_too():
    K = torch.tensor([1.0, 0, -1], dtype=torch.float64, requires_grad=True)
    s = cm.solve(cm.conv(K, 9, padding=1), torch.ones(9, dtype=torch.float64), method="band")
    assert torch.isnan(s.x).all()
    assert s.verdict == "failed"
    with pytest.raises(cm.SolveError, match="op is singular or ill-conditioned"):
        s.x.sum().backward()


def test_what_needs_no_gradient_has_none():
    K, b = torch.tensor([1.0, 3, 1]), torch.ones(2, 6)
    s = cm.solve(cm.conv(K, 6, padding=1), b)
    assert isinstance(s.x, torch.Tensor)
    assert s.x.dtype == torch.float32
    assert not s.x.requires_grad
    mixed = cm.solve(cm.conv(K.numpy(), 6, padding=1), b.requires_grad_())
    assert mixed.x.requires_grad
    assert isinstance(cm.solve(cm.conv(np.ones(3), 6), torch.ones(4, dtype=torch.float64)).x, torch.Tensor)


jax = pytest.importorskip("jax")


@pytest.fixture
def jnp():
    with double_precision_jax(jax):
        yield jax.numpy


@pytest.mark.parametrize("padding", ["same", "valid", "full"])
@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("kind", "fc")
def test_jax(jnp, padding, damp, kind):
    from jax.test_util import check_grads

    rng = np.random.default_rng(0)
    shape = (2, {"same": 6, "valid": 4, "full": 8}[padding])
    K, b = rng.standard_normal(3) + np.array([0, 3, 0]), rng.standard_normal(shape)
    if kind == "c":
        K, b = K + 1j * rng.standard_normal(3), b + 1j * rng.standard_normal(shape)
    K, b = jnp.asarray(K), jnp.asarray(b)

    def f(K, b):
        return cm.solve(cm.conv(K, 6, padding=padding), b, damp=damp).x

    A = cm.conv(np.asarray(K), 6, padding=padding).to_dense()
    D = np.concatenate([A, damp * np.eye(6)]) if damp else A
    expected = np.asarray(b) @ np.linalg.pinv(D)[:, : len(A)].T
    assert np.abs(f(K, b) - expected).max() <= 1e-12
    assert np.abs(jax.jit(f)(K, b) - expected).max() <= 1e-12
    check_grads(f, (K, b), 1, modes=["rev"], atol=1e-4, rtol=1e-4)
    check_grads(jax.jit(f), (K, b), 1, modes=["rev"], atol=1e-4, rtol=1e-4)


def test_jax_maps_over_right_hand_sides_and_kernels(jnp):
    rng = np.random.default_rng(0)
    Ks, b = rng.standard_normal((3, 3)) + np.array([0, 3, 0]), rng.standard_normal((3, 6))

    def f(K, b):
        return cm.solve(cm.conv(K, 6, padding=1), b).x

    expected = [np.linalg.solve(cm.conv(K, 6, padding=1).to_dense(), c) for K, c in zip(Ks, b, strict=True)]
    assert np.abs(jax.vmap(f)(jnp.asarray(Ks), jnp.asarray(b)) - np.array(expected)).max() <= 1e-13
    of_one = jax.vmap(lambda b: f(jnp.asarray(Ks[0]), b))(jnp.asarray(b))
    A = cm.conv(Ks[0], 6, padding=1).to_dense()
    assert np.abs(of_one - np.linalg.solve(A, b.T).T).max() <= 1e-13


def test_jax_traces_what_a_solution_tells(jnp):
    K, b = jnp.asarray([1.0, 3, 1]), jnp.ones(6)

    def f(b):
        s = cm.solve(cm.conv(K, 6, padding=2), b[:, None] * jnp.ones(8))
        return s.residual, s.normal_residual, s.converged

    residual, normal, converged = jax.jit(f)(b)
    A = cm.conv([1.0, 3, 1], 6, padding=2).to_dense()
    r = np.ones(8) - A @ np.linalg.pinv(A) @ np.ones(8)
    assert np.allclose(residual, np.linalg.norm(r), atol=1e-12)
    assert np.abs(normal).max() <= 1e-12
    assert converged.all()
