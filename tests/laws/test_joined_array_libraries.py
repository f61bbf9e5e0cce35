"""Maps that join in are of the array library of their parts, with gradients in the inputs and in all numbers."""

import numpy as np
import pytest

import convmtx as cm
from convmtx._xp import library

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

SHAPE = (4, 5)
MASK = np.random.default_rng(1).random(SHAPE) < 0.6
WEIGHTS = np.random.default_rng(2).integers(-3, 4, SHAPE)


def conv(K, **options):
    return cm.conv(K, SHAPE, **{"padding": "same", **options})


def border(K, L):
    return cm.fuse(cm.conv(L, SHAPE, padding=1) @ conv(K)).border


#: Shapes of the numbers of each kind, and the map that they make.
KINDS = {
    "diagonal": ([SHAPE], cm.diagonal),
    "diagonal of a product": ([(3, 3), SHAPE], lambda K, w: cm.diagonal(w) @ conv(K, boundary="edge")),
    "mask": ([(3, 3)], lambda K: conv(K)[MASK]),
    "steps": ([(3, 3)], lambda K: conv(K, boundary="reflect")[1:, ::2]),
    "numbers": ([(3, 3)], lambda K: conv(K)[[2, 0, 2], [1, -1, 1]]),
    "restricted": ([(3, 3)], lambda K: conv(K) @ cm.select(SHAPE, MASK).T),
    "odd padding": ([(3, 3)], lambda K: cm.conv(K, (8, 9)) @ cm.pad(SHAPE, 2, "reflect", "odd")),
    "vstack": ([(3, 3), (2, 2)], lambda K, L: cm.vstack([conv(K), cm.conv(L, SHAPE)])),
    "stack with numpy": ([(3, 3)], lambda K: cm.vstack([conv(K), cm.diagonal(WEIGHTS), cm.identity(SHAPE, np.int8)])),
    "hstack": ([(3, 3), (2, 2)], lambda K, L: cm.hstack([conv(K), conv(L, boundary="wrap")])),
    "block_diag": ([(3, 3), (2, 3)], lambda K, A: cm.block_diag([conv(K), A])),
    "concat": ([(3, 3), (2, 2)], lambda K, L: cm.concat([conv(K), cm.conv(L, SHAPE, padding=[(0, 1), 0])], 1)),
    "kron": ([(3,), (2, 3)], lambda K, A: cm.kron(cm.conv(K, 4, padding=1, boundary="edge"), A)),
    "kron with numpy": ([(3,)], lambda K: cm.kron(np.array([[1.0, 2.0], [0.0, 1.0]]), cm.conv(K, 4))),
    "abs": ([(3, 3)], lambda K: abs(conv(K, boundary="symmetric"))),
    "abs of a stack": ([(3, 3), (2, 20)], lambda K, A: abs(cm.vstack([conv(K), cm.aslinearmap(A, SHAPE)]))),
    "gram": ([(3, 3)], lambda K: cm.gram(conv(K, boundary="reflect"))),
    "weighted gram": ([(2, 2), (3, 4)], lambda K, w: cm.gram(cm.conv(K, SHAPE), w)),
    "gram of a mask": ([(3, 3)], lambda K: cm.gram(conv(K)[MASK])),
    "local": ([(*SHAPE, 3, 3)], lambda K: cm.local(K, SHAPE, padding=1, boundary="edge")),
    "local per input": ([(*SHAPE, 2, 3)], lambda K: cm.local(K, SHAPE, per="input", padding=1)),
    "local channels": ([(3, 4, 2, 3, 2, 2)], lambda K: cm.local(K, (3, *SHAPE), channels="first")),
    "varying": ([(2, 3, 3), (2, *SHAPE)], lambda K, w: cm.varying(K, w, SHAPE, padding=1)),
    "varying outputs": (
        [(2, 3, 3), (2, *SHAPE)], lambda K, w: cm.varying(K, w, SHAPE, per="output", padding=1, boundary="wrap"),
    ),
    "dense": ([(6, 20)], lambda A: cm.aslinearmap(A, SHAPE, (2, 3))),
    "border": ([(3, 3), (3, 3)], border),
    "identity": ([(3, 3)], lambda K: conv(K) - 2 * cm.identity(SHAPE)),
}  # fmt: skip
#: Kinds with sparse products and joins of their own. JAX compiles for each shape, so few are tried.
OF_JAX = ["kron with numpy", "varying"]
LIBRARIES = {"torch": (torch.tensor, ("csr", "csc", "coo")), "jax": (jax.numpy.asarray, ("csr", "coo"))}


def numbers(name, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 6, shape).astype(dtype) for shape in KINDS[name][0]]


def as_numpy(array):
    array = array.detach().to_dense() if isinstance(array, torch.Tensor) else array
    return np.asarray(array.todense() if hasattr(array, "todense") else array)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [np.int64, np.complex64])
def test_tensors_come_out_as_they_came_in(name, dtype):
    same_in(name, "torch", dtype)


@pytest.mark.parametrize("name", OF_JAX)
def test_arrays_of_jax_come_out_as_they_came_in(name):
    same_in(name, "jax", np.float64)


def same_in(name, kind, dtype):
    if name in ("gram", "weighted gram", "gram of a mask", "abs", "abs of a stack") and dtype == np.complex64:
        dtype = np.float32  # weights are real, and absolute values of complex numbers round
    make, formats = LIBRARIES[kind]
    values, (_, build) = numbers(name, dtype=dtype), KINDS[name]
    ours, theirs = build(*values), build(*map(make, values))
    rng = np.random.default_rng(3)
    x, y = (rng.integers(-4, 5, (2, *shape)).astype(dtype) for shape in (ours.in_shape, ours.out_shape))
    pairs = [(theirs(make(x)), ours(x)), (theirs.to_dense(), ours.to_dense())]
    if kind == "torch":
        pairs += [
            (theirs.T(make(y)), ours.T(y)), (theirs.H(make(y)), ours.H(y)),
            (theirs.T.to_dense("F"), ours.T.to_dense("F")), (theirs @ make(x[0].reshape(-1)), ours @ x[0].ravel()),
            (ours(make(x)), ours(x)), (theirs(x), ours(x)),
        ]  # fmt: skip
    for result, expected in pairs:
        assert library(result) == kind
        if name != "stack with numpy":  # complex64 and int64 make another type in NumPy
            assert str(result.dtype).rpartition(".")[2] == expected.dtype.name
        assert np.array_equal(as_numpy(result), expected)
    rows = [1, 0, -1]
    for order in "CF" if kind == "torch" else "C":
        expected = ours.to_dense(order)
        for each in formats:
            assert np.array_equal(as_numpy(theirs.to_sparse(each, order)), expected)
        assert np.array_equal(as_numpy(theirs.to_sparse("coo", order, rows)), expected[rows])
    assert repr(theirs)
    assert theirs._repr_html_()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("form", ["apply", "transpose", "coo"])
def test_gradients_of_torch(name, form):
    values, (_, build) = [torch.tensor(v + 0.25, requires_grad=True) for v in numbers(name)], KINDS[name]
    op = build(*(v.detach() for v in values))
    shape = {"apply": op.in_shape, "transpose": op.out_shape}.get(form, (1,))
    x = torch.tensor(np.random.default_rng(4).standard_normal(shape), requires_grad=True)

    def function(x, *values):
        op = build(*values)
        if form == "coo":
            return op.to_sparse("coo").coalesce().values() * x
        return (op if form == "apply" else op.T)(x)

    assert torch.autograd.gradcheck(function, (x, *values), fast_mode=True)


@pytest.mark.parametrize("name", OF_JAX)
def test_gradients_and_programs_of_jax_are_those_of_torch(name):
    values, (_, build) = [v + 0.25 for v in numbers(name)], KINDS[name]
    op, rng = build(*values), np.random.default_rng(5)
    x, c = rng.standard_normal(op.in_shape), rng.standard_normal(op.out_shape)

    def loss(x, *values):
        return (build(*values)(x) * c).sum()

    tensors = [torch.tensor(v, requires_grad=True) for v in (x, *values)]
    (build(*tensors[1:])(tensors[0]) * torch.tensor(c)).sum().backward()
    program = jax.jit(jax.value_and_grad(loss, argnums=tuple(range(len(values) + 1))))
    value, gradients = program(x, *values)
    assert np.allclose(value, (op(x) * c).sum())
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert np.allclose(gradient, tensor.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_bounds_keep_library_and_gradients(kind):
    make, _ = LIBRARIES[kind]
    K, low = np.array([[1.5, -2.0], [0.5, 3.0]]), np.arange(20.0).reshape(SHAPE)
    ours, theirs = (cm.conv(k, SHAPE, padding=1, boundary="reflect") for k in (K, make(K)))
    for result, expected in zip(
        cm.bounds(theirs, make(low), make(low + 2)), cm.bounds(ours, low, low + 2), strict=True
    ):
        assert library(result) == kind
        assert np.allclose(as_numpy(result), expected)
    infinite = [as_numpy(bound) for bound in cm.bounds(theirs, make(low), np.inf)]
    assert np.array_equal(infinite, cm.bounds(ours, low, np.inf))
    with pytest.raises(TypeError, match="bounds: rounding='outward' for arrays of another library"):
        cm.bounds(theirs, 0.0, 1.0, rounding="outward")
    if kind == "torch":
        parts = [torch.tensor(v, requires_grad=True) for v in (K, low, low + 2)]
        of_kernel = lambda K, low, high: cm.bounds(cm.conv(K, SHAPE, padding=1, boundary="reflect"), low, high)  # noqa: E731
        assert torch.autograd.gradcheck(of_kernel, parts, fast_mode=True)
    else:
        width = jax.jit(jax.grad(lambda K: cm.bounds(cm.conv(K, 4), np.zeros(4), np.ones(4))[1].sum()))
        assert np.array_equal(width(np.array([1.5, -2.0])), [3, 0])


def test_bfloat16_tensors_take_part():
    K = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16)
    op = cm.vstack([cm.conv(K, (3, 3)), cm.identity((3, 3), np.int8)])
    x = torch.arange(9, dtype=torch.bfloat16).reshape(3, 3)
    assert op(x).dtype == torch.bfloat16
    assert op(x).tolist() == [27.0, 37.0, 57.0, 67.0, *range(9)]
    for joined in (abs(op), op[1:], cm.kron(op, K), op.T):
        assert joined.to_dense().dtype == torch.bfloat16
    local = cm.local(K, 3)
    assert local(torch.ones(3, dtype=torch.bfloat16)).tolist() == [3.0, 7.0]


def test_parts_of_two_libraries_are_refused():
    one, other = cm.conv(torch.ones(2), 4), cm.conv(jax.numpy.ones(2), 4)
    for call in (lambda: cm.vstack([one, other]), lambda: cm.kron(one, other), lambda: cm.block_diag([one, other])):
        with pytest.raises(TypeError, match="one array is of torch and the other of jax"):
            call()
    for call in (
        lambda: cm.varying(torch.ones(1, 2), jax.numpy.ones((1, 4)), 4).to_dense(),
        lambda: cm.gram(one, jax.numpy.ones(3)),
        lambda: cm.diagonal(torch.ones(3)) @ other,
    ):
        with pytest.raises(TypeError, match=r"one array is of (torch|jax) and the other of (torch|jax)"):
            call()


def test_keys_can_be_tensors():
    op = cm.conv(torch.tensor([1.0, 2.0]), 5)
    for key in (torch.tensor([True, False, True, False]), torch.tensor([0, 2]), jax.numpy.asarray([0, 2])):
        assert op[key].to_dense().tolist() == op.to_dense()[[0, 2]].tolist()
    assert cm.select(4, torch.tensor([3, 0]))([5, 6, 7, 8]).tolist() == [8, 5]


@pytest.mark.parametrize("per", ["output", "input"])
def test_local_maps_keep_nothing_of_a_call(per):
    K = torch.ones(3 if per == "output" else 4, 2, requires_grad=True)
    op, x = cm.local(K, 4, per=per), torch.ones(4)
    with torch.no_grad():
        op(x)
    assert op(x).requires_grad
    assert op.T(torch.ones(3)).requires_grad
    parameter = torch.nn.Parameter(torch.ones_like(K))
    op = cm.local(parameter, 4, per=per)
    for times in (1, 2):
        op(x).square().sum().backward()
        assert torch.equal(parameter.grad, times * 4 * torch.ones_like(K) if per == "output" else parameter.grad)
    op = cm.local(jax.numpy.ones(tuple(K.shape)), 4, per=per)
    inside = jax.jit(op)(jax.numpy.ones(4))
    assert np.array_equal(inside, op(jax.numpy.ones(4)))
    magnitudes = abs(cm.conv(jax.numpy.ones(2), 4, padding=1, boundary="reflect"))
    inside = jax.jit(magnitudes)(jax.numpy.ones(4))
    assert np.array_equal(inside, magnitudes(jax.numpy.ones(4)))
