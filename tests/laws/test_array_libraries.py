"""What comes in comes out: the same operator in every array library, and its gradients."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

import convmtx as cm
import reference
from convmtx._xp import library
from convmtx.maps.along_axis import AlongAxis
from convmtx.maps.convolution import ConvOperator
from strategies import cases

strict = pytest.importorskip("array_api_strict")
torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(0)
FLOATS = [np.float32, np.float64, np.complex128]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning"),
]


def as_numpy(array):
    if isinstance(array, torch.Tensor):
        array = array.detach().to_dense()
    return np.asarray(array.todense() if hasattr(array, "todense") else array)


def same(case, make, formats):
    """Every form and product of the operator of ``make``'s arrays beside NumPy's."""
    op, theirs = case.op, ConvOperator(case.op.geometry, make(case.op.kernel.copy()), "auto")
    x, y = RNG.integers(-4, 5, (2, *op.in_shape)), RNG.integers(-4, 5, (2, *op.out_shape))
    x, y = x.astype(op.dtype), y.astype(op.dtype)
    name = library(theirs.kernel)
    for found, expected in [
        (theirs(make(x)), op(x)), (theirs.T(make(y)), op.T(y)), (theirs.H(make(y)), op.H(y)), (op(make(x)), op(x)),
        (theirs @ make(x[0].reshape(-1)), op @ x[0].reshape(-1)),
        (theirs.matmat(make(x.reshape(2, -1).T.copy())), op.matmat(x.reshape(2, -1).T)),
        (theirs.rmatvec(make(y[0].reshape(-1))), op.rmatvec(y[0].reshape(-1))),
        (theirs.to_tensor(), op.to_tensor()), (theirs.to_dense(), op.to_dense()),
        (theirs.to_dense("F"), op.to_dense("F")), (theirs.T.to_dense(), op.T.to_dense()),
    ]:  # fmt: skip
        assert library(found) == name
        assert str(found.dtype).rpartition(".")[2] == expected.dtype.name
        assert np.array_equal(as_numpy(found), expected)  # small integers: nothing rounds
    for each in formats:
        for order in "CF":
            assert np.array_equal(as_numpy(theirs.to_sparse(each, order)), op.to_dense(order))
        assert np.array_equal(as_numpy(theirs.to_sparse(each, rows=[0, -1])), op.to_dense()[[0, -1]])


@given(cases(dims=(1, 2, 3)))
@settings(max_examples=60)
def test_torch(case):
    if case.op.dtype != np.uint16:  # PyTorch has no arithmetic for it
        same(case, torch.from_numpy, ("csr", "csc", "coo"))


@given(cases(dims=(1, 2, 3), dtypes=FLOATS))
@settings(max_examples=25)
def test_array_api_strict(case):
    same(case, strict.asarray, ())


@given(cases(dims=(1, 2)))
@settings(max_examples=2)
def test_jax(case):
    same(case, jax.numpy.asarray, ("csr", "coo"))


def test_jax_has_what_every_axis_can_have():
    """One map with everything in it: JAX compiles for each shape, so few are tried."""
    K = RNG.standard_normal((4, 1, 3, 2))
    kind = {"stride": (2, 1), "dilation": (1, 2), "input_dilation": (2, 1), "padding": [(3, -1), (2, 4)], "groups": 2}
    op = cm.conv(K, (2, 5, 6), boundary=("reflect", "edge"), channels="first", **kind)
    theirs = cm.conv(jax.numpy.asarray(K), (2, 5, 6), boundary=("reflect", "edge"), channels="first", **kind)
    x, y = RNG.standard_normal(op.in_shape), RNG.standard_normal(op.out_shape)

    assert np.allclose(theirs(jax.numpy.asarray(x)), op(x))
    assert np.allclose(theirs.H(jax.numpy.asarray(y)), op.H(y))
    assert np.array_equal(theirs.to_dense(), op.to_dense())
    assert np.array_equal(theirs.to_sparse().todense(), op.to_dense())


@pytest.mark.parametrize("stretch", [1, 2])
@pytest.mark.parametrize("pads", [(-2, 3), (4, -3), (-1, 4)])
def test_pads_that_cut_all_there_is(pads, stretch):
    op = cm.conv(np.array([1.0, 2.0]), 2, padding=[pads], input_dilation=stretch)
    for make in (torch.tensor, jax.numpy.asarray, strict.asarray):
        theirs = cm.conv(make(np.array([1.0, 2.0])), 2, padding=[pads], input_dilation=stretch)
        assert np.array_equal(theirs(make(np.array([3.0, 5.0]))), op([3.0, 5.0]))
        assert np.array_equal(theirs.T(make(np.ones(op.out_shape))), op.T(np.ones(op.out_shape)))


def test_a_read_only_kernel_of_numpy_meets_any_library():
    K = np.arange(1.0, 4.0)
    K.setflags(write=False)
    op = cm.conv(K, 5)
    for make in (torch.ones, jax.numpy.ones, strict.ones):
        assert as_numpy(op(make(5))).tolist() == [6.0, 6.0, 6.0]


@pytest.mark.parametrize(
    ("make", "kinds"),
    [(torch.from_numpy, kinds) for kinds in (("f8", "f8"), ("i8", "f4"), ("f4", "i1"), ("u1", "i8"))]
    + [(jax.numpy.asarray, ("u1", "i8"))],
)
def test_numpys_maps_and_those_of_another_library_add_up(make, kinds):
    (K, L), options = (np.array([[1, 2], [3, 250]]).astype(kind) for kind in kinds), {"padding": 1, "boundary": "edge"}
    eager = make is torch.from_numpy  # JAX compiles each application
    for setting in ({}, options, {"padding": [(1, -1), (0, 0)]}) if eager else (options,):
        ours, theirs = cm.conv(K, (4, 5), padding=setting.get("padding", 0)), cm.conv(make(L), (4, 5), **setting)
        if ours.out_shape != theirs.out_shape:
            ours = cm.conv(K, (4, 5), **setting)
        D, E = (as_numpy(op.to_dense()).astype(np.result_type(K, L)) for op in (ours, theirs))
        for op, matrix in [
            (ours + theirs, D + E), (theirs + ours, D + E), (ours - theirs, D - E), (theirs - ours, E - D),
            (ours.T + theirs.T, (D + E).T), (ours.T - theirs.T, (D - E).T), (theirs.T @ ours, E.T @ D),
        ]:  # fmt: skip
            assert library(op.to_dense()) == library(theirs.kernel)
            assert np.array_equal(as_numpy(op.to_dense()), matrix)
            if eager:
                assert np.array_equal(as_numpy(op(np.ones(op.in_shape, "i4"))).ravel(), matrix.sum(1))


def test_a_tensor_times_a_map_of_numpy():
    two = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    op = cm.conv([1.0, 3.0], 4, padding=1, boundary="edge")

    (two * op).to_dense().sum().backward()
    assert two.grad == op.to_dense().sum()
    assert np.array_equal((op.T * two).to_dense().detach(), 2 * op.T.to_dense())
    assert np.array_equal((op / two.detach()).to_dense(), op.to_dense() / 2)
    with pytest.raises(TypeError, match=r"a \* op: a is tensor.* and the map is NumPy's.*Pass a\.item\(\)"):
        two * cm.permutation((2, 2), "HW", "WH")


SHARDED = """
import jax, numpy as np, convmtx as cm
from convmtx.boundary import BY_NAME
from jax.sharding import Mesh, NamedSharding, PartitionSpec
assert len(jax.devices()) == 2
mesh = Mesh(np.array(jax.devices()), ("pieces",))
rng = np.random.default_rng(0)
x, K, more = (rng.integers(-4, 5, shape).astype("f4") for shape in ((4, 8, 6), (3, 3), (10, 8)))
one = jax.device_put(x[0], NamedSharding(mesh, PartitionSpec("pieces")))
for boundary, *spec in (("wrap", "pieces"), ("reflect", None, "pieces")):
    pieces = jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))
    options = {"padding": 2, "boundary": boundary}
    ours, theirs = (cm.conv(kernel, (8, 6), **options) for kernel in (K, jax.numpy.asarray(K)))
    D = ours.to_dense()
    y = ours(pieces)
    assert len(y.devices()) == 2
    assert np.array_equal(np.asarray(y).reshape(4, -1), x.reshape(4, -1) @ D.T), boundary
    assert np.array_equal(theirs.T(y).reshape(4, -1), x.reshape(4, -1) @ D.T @ D), boundary
    assert np.array_equal(cm.Affine(theirs, more)(pieces), ours(x) + more), boundary
taps, known = (cm.conv(array, (8, 6), padding=3, boundary="edge") for array in (one[:4, :2], x[0, :4, :2]))
assert np.array_equal(taps.to_dense(), known.to_dense())
assert np.array_equal(cm.kernel_operator(one, (3, 3), **options)(K), ours(x[0]))
for boundary in dict.fromkeys(rule.name for rule in BY_NAME.values()):
    op = cm.conv(jax.numpy.asarray(K), (8, 6), padding=1, boundary=boundary)
    D = cm.conv(K, (8, 6), padding=1, boundary=boundary).to_dense().astype("f8")
    G, b = D.T @ D, x[0].ravel().astype("f8")
    right = D.T @ b
    for gram, wanted in ((op.T @ op, G @ b), (2 * (op.T @ op), 2 * G @ b), ((op.H @ op).H, G @ b)):
        y = gram(one)
        assert len(y.devices()) == 2
        assert np.array_equal(np.ravel(y), wanted), boundary
    damped = np.linalg.solve(G + 0.25 * np.eye(48), right)
    for solution in (cm.solve(op, one, damp=0.5), cm.factorize(op, damp=0.5).solve(one)):
        assert np.allclose(np.ravel(solution.x), damped, rtol=1e-5, atol=1e-5), boundary
    filtered = np.linalg.solve(G + 0.1 * np.eye(48), right)
    assert np.allclose(np.ravel(cm.wiener(op, one, 10.0)), filtered, rtol=1e-4, atol=1e-4), boundary
here, there = (jax.device_put(K, device) for device in jax.devices())
with jax.default_device(jax.devices()[1]):
    loose = jax.numpy.asarray(K) + 0
put, also, free = (cm.conv(kernel, (8, 6), padding=1, boundary="edge") for kernel in (here, there, loose))
assert also(x[0]).devices() == there.devices()
for op, data in ((put, x[0]), (also, x[0]), (free, x[0]), (free, one)):
    assert np.array_equal(np.ravel(op(data)), D @ b)
for call in (lambda: put(one), lambda: cm.solve(put, one, damp=0.5), lambda: put + also, lambda: put.T @ also):
    try:
        call()
    except cm.ArgumentTypeError as error:
        assert "Expected both on the same devices. Move one of them, as with jax.device_put" in str(error), error
    else:
        raise AssertionError
"""


def test_sharded_arrays_of_jax():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SHARDED], env=os.environ | flags, check=True, timeout=300)


ALL = tuple(reference.PAD_MODES)


@pytest.mark.parametrize(
    ("make", "boundaries", "engines"),
    [(np.asarray, ALL, ("direct", "fft", "separable")), (torch.from_numpy, ALL, ("auto",)),
     (strict.asarray, ALL, ("auto",)), (jax.numpy.asarray, ("reflect",), ("auto",))],
    ids=["numpy", "torch", "strict", "jax"],
)  # fmt: skip
def test_no_inputs_have_no_outputs(make, boundaries, engines):
    ops = [
        cm.conv(make(np.ones((3, 2))), (5, 6), padding=1, boundary=boundary, engine=engine)
        for boundary in boundaries
        for engine in engines
    ]
    ops.append(cm.conv(make(np.ones((4, 2, 3))), (2, 6), channels="first", stride=2))
    for op in ops:
        for each in (op, op.T, op.T @ op + 2 * cm.permutation(op.in_shape, "HW", "HW")):
            M, N = each.shape
            for batch in ((0,), (2, 0)):
                y = each(make(np.empty((*batch, *each.in_shape))))
                assert tuple(y.shape) == (*batch, *each.out_shape)
                assert library(y) == library(op.kernel)
            assert tuple((each @ make(np.empty((N, 0)))).shape) == (M, 0)
            assert tuple(each.rmatmat(make(np.empty((M, 0)))).shape) == (N, 0)
        if make is np.asarray:
            for form in ("csr", "csc", "coo", "bsr", "dia"):
                assert op.to_sparse(form, rows=[]).shape == (0, op.shape[1])
    empty = cm.kernel_operator(make(np.empty((0, 5, 6))), (3, 2), input_shape=(5, 6))
    assert tuple(empty(make(np.ones((3, 2)))).shape) == (0, 3, 5)
    assert np.array_equal(as_numpy(empty.H(make(np.empty((0, 3, 5))))), np.zeros((3, 2)))
    assert tuple(empty.to_dense().shape) == (0, 6)


def test_mixed_libraries_are_refused():
    with pytest.raises(TypeError, match="one array is of torch and the other of jax"):
        cm.conv(torch.ones(2), 3)(jax.numpy.ones(3))
    for combine in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a @ b):
        with pytest.raises(TypeError, match="one array is of torch and the other of jax"):
            combine(cm.conv(torch.ones(1), 3), cm.conv(jax.numpy.ones(1), 3))
    with pytest.raises(ValueError, match="engine='jax' on an array of torch"):
        cm.conv(torch.ones(2, dtype=torch.bfloat16), 3, engine="jax")(torch.ones(3))
    with pytest.raises(TypeError, match=r"kernel has dtype torch\.bool"):
        cm.conv(torch.ones(2, dtype=torch.bool), 3)
    with pytest.raises(TypeError, match="Only NumPy has views with negative strides"):
        cm.conv(torch.ones(2), 3).tensor_view()
    with pytest.raises(ValueError, match="jax has 'csr' and 'coo'"):
        cm.conv(jax.numpy.ones(2), 3).to_sparse("bsr")
    with pytest.raises(ValueError, match="array_api_strict has no sparse arrays"):
        cm.conv(strict.ones(2), 3).to_sparse()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
def test_tensors_that_cannot_meet_are_refused():
    op = cm.conv(torch.ones(2), 3)
    with pytest.raises(TypeError, match="one tensor is on cpu and the other on meta"):
        op(torch.ones(3, device="meta"))
    for sparse in (torch.ones(3).to_sparse(), torch.ones(2, 3).to_sparse_csr()):
        with pytest.raises(TypeError, match=r"x is a tensor of layout torch.sparse.*to_dense"):
            op(sparse)
    with pytest.raises(TypeError, match="kernel is a tensor of layout"):
        cm.conv(torch.ones(2).to_sparse(), 3)


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_nested_tensors_are_refused(layout):
    nested = torch.nested.nested_tensor([torch.ones(3), torch.ones(2)], layout=layout)
    with pytest.raises(cm.ArgumentTypeError, match=r"^conv: kernel is a nested tensor\. .* each of x\.unbind\(\)\.$"):
        cm.conv(nested, 3)
    with pytest.raises(cm.ArgumentTypeError, match=r"^op\(x\): x is a nested tensor\. "):
        cm.conv(torch.ones(2), 3)(nested)


def torch_zeros(size, name):
    return torch.zeros(size, dtype=getattr(torch, name))


def numpy_zeros(size, name):
    return np.zeros(size, jax.numpy.dtype(name))


@pytest.mark.parametrize(
    ("make", "name"),
    [*((torch_zeros, name) for name in ("float8_e4m3fn", "float8_e5m2", "complex32")),
     *((jax.numpy.zeros, name) for name in ("float8_e4m3fn", "float8_e5m2", "int4", "uint4")),
     *((numpy_zeros, name) for name in ("float8_e5m2", "bfloat16", "int4")),
     (lambda *_: torch.quantize_per_tensor(torch.zeros(3), 1, 0, torch.qint8), "qint8")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:ComplexHalf support:UserWarning", "ignore:.*quantized:UserWarning")
def test_types_of_numbers_that_numpy_lacks_are_refused(make, name):
    array = make(3, name)
    wanted = re.escape(
        f"has dtype {array.dtype}. Expected integers, floats or complex numbers of a type that NumPy has."
    )
    with pytest.raises(cm.ArgumentTypeError, match=rf"^conv: kernel {wanted} Cast it first.*\.$"):
        cm.conv(array, 3)
    with pytest.raises(cm.ArgumentTypeError, match=rf"^op\(x\): x {wanted} Cast it first.*\.$"):
        cm.conv(np.ones(2), 3)(array)


def test_tensors_without_numbers_say_so():
    empty = torch.ones(3, 3, device="meta")
    op = cm.conv(empty, (6, 6), padding=1)
    message = r"^{}: a tensor is on the meta device and has no numbers\. Expected its numbers\. Pass one on a device"
    for name, call in (
        ("norm", lambda: cm.norm(op)),
        ("solve", lambda: cm.solve(op, np.ones((6, 6)), damp=0.5)),
        ("solve", lambda: cm.solve(cm.conv(np.ones((3, 3)), (6, 6)), torch.ones(4, 4, device="meta"))),
    ):
        with pytest.raises(cm.ArgumentTypeError, match=message.format(name)):
            call()
    with pytest.raises(cm.ArgumentTypeError, match=r"PyTorch transforms or traces it"):
        torch.func.vmap(lambda kernel: kernel * float(cm.norm(cm.conv(kernel, (6, 6)))))(torch.ones(2, 3, 3))


def test_numpy_does_not_take_what_requires_grad():
    op = cm.conv(torch.ones(2, requires_grad=True), 3)
    with pytest.raises(TypeError, match=r"detach"):
        np.asarray(op)
    assert np.asarray(cm.conv(torch.ones(2), 3)).tolist() == [[1, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("format", ["csr", "csc"])
def test_sparse_tensors_that_pytorch_cannot_differentiate_are_refused(format):
    K = torch.ones(2, dtype=torch.complex128, requires_grad=True)
    for op in (cm.conv(K, 3), cm.conv(K, 3) + cm.conv(K, 3, boundary="edge").T.T):
        with pytest.raises(TypeError, match=r"complex128 with gradients.*Use format='coo'"):
            op.to_sparse(format)
        (op.to_sparse("coo").to_dense().real.sum()).backward()
        assert K.grad is not None
    with pytest.raises(TypeError, match=r"with gradients.*Use format='coo'"):
        torch.func.grad(lambda K: cm.conv(K, 3).to_sparse(format).values().sum())(torch.ones(2))
    with pytest.raises(TypeError, match=r"vmap.*Use to_dense"):
        torch.func.vmap(lambda K: cm.conv(K, 3).to_sparse(format))(torch.ones(4, 2))


def test_an_operator_keeps_its_kernel_when_the_tensor_changes():
    K = torch.ones(2)
    op = cm.conv(K, 3)
    K.fill_(9)

    assert op.to_dense().tolist() == [[1, 1, 0], [0, 1, 1]]


def test_sums_multiples_and_products_of_tensors_maps():
    a = cm.conv(torch.tensor([1.0, 2.0]), 4, padding="same", boundary="reflect")
    b = cm.conv(torch.tensor([3.0, 1.0]), 4, padding="same", boundary="edge")
    A, B = as_numpy(a.to_dense()), as_numpy(b.to_dense())
    for op, expected in [
        (a + b, A + B),
        (2 * a - b, 2 * A - B),
        (a @ b, A @ B),
        ((a @ b).T, (A @ B).T),
        (3j * a, 3j * A),
    ]:
        x = torch.arange(4.0)
        assert np.allclose(as_numpy(op.to_dense()), expected)
        assert np.allclose(as_numpy(op(x)), expected @ x.numpy())
        assert str(op.dtype) == str(op.to_dense().dtype)
        assert np.allclose(as_numpy(op.H.to_dense()), expected.conj().T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("a", [np.int8(3), np.uint64(2**63), np.float16(0.5), np.float64(0.5), np.complex64(1j)])
def test_numbers_of_numpy_multiply_tensors_as_pythons_do(dtype, a):
    """PyTorch itself drops the imaginary part of NumPy's numbers, and makes arrays of NumPy with large integers."""
    kernel = torch.tensor([1.0, 2.0]).to(dtype)
    op = cm.conv(kernel, 3)
    for ours, expected in [(a * op, kernel * a.item()), (op / a, kernel / a.item())]:
        assert isinstance(ours.kernel, torch.Tensor)
        assert ours.kernel.dtype == expected.dtype
        assert torch.equal(ours.kernel, expected)
    general = cm.conv(kernel, 3, padding="same", boundary="edge").T
    assert torch.equal((a * general).to_dense(), general.to_dense() * a.item())
    with pytest.raises(ValueError, match=r"does not fit in torch\.int8"):
        cm.conv(torch.ones(2, dtype=torch.int8), 3) * np.int64(300)


@pytest.mark.parametrize("make", [torch.tensor, jax.numpy.asarray])
def test_the_transpose_of_a_map_that_reads_nothing_gives_zeros(make):
    """Stride 3 on inputs that are 3 apart, moved by 2: the two taps fall on the gaps between them."""
    op = cm.conv(make(np.float32([1, 1])), 2, stride=3, input_dilation=3, padding=[(2, -2)], boundary="reflect")
    assert as_numpy(op.to_dense()).tolist() == [[0, 0]]
    assert as_numpy(op.T(make(np.float32([5])))).tolist() == [0, 0]


@pytest.mark.parametrize("kernel", [np.float32([4]), np.int8([4]), torch.tensor([4.0]), jax.numpy.asarray([4.0])])
def test_maps_are_divided_by_integers_of_any_size(kernel):
    assert float((cm.conv(kernel, 3) / 2**70).kernel[0]) == 2.0**-68


def composites(make, rng):
    """Maps that are no single convolution, of every class, with NumPy's small integers between them."""
    K, L, x = (make(rng.integers(1, 9, shape).astype(float)) for shape in ((3, 3), (2, 2), (5, 6)))
    a = cm.conv(K, (5, 6), padding="same", boundary="reflect")
    b = cm.conv(L, (5, 6), padding="same", boundary="edge")
    P = cm.permutation((5, 6), "HW", "WH")
    along = AlongAxis(make(rng.integers(1, 9, (4, 5)).astype(float)), (5, 6), 0)
    moment = cm.kernel_operator(x, (3, 2))
    layer = cm.Affine(a @ b, x)
    return [a.T, a + b, a - b, a @ b, 2 * (a + b), P @ a, P @ (a @ b) @ P.T, along @ (a + b), moment, moment.T,
            (a + b).H @ along.T, layer.augmented(), layer.augmented().T]  # fmt: skip


@pytest.mark.parametrize(("make", "formats"), [(torch.tensor, ("csr", "csc", "coo")), (jax.numpy.asarray, ("coo",))])
@pytest.mark.parametrize("number", range(13))
def test_sparse_composites(number, make, formats):
    theirs, ours = (composites(each, np.random.default_rng(0))[number] for each in (make, np.asarray))
    rows = [2, 0, -1]
    eager = make is torch.tensor  # JAX compiles each matrix
    for order in "CF":
        expected = ours.to_dense(order)
        for each in formats if eager or order == "C" else ():
            matrix = theirs.to_sparse(each, order)
            assert library(matrix.values() if each == "csr" else matrix.data) == library(make([1.0]))
            assert np.array_equal(as_numpy(matrix), expected)
        if eager or order == "F":
            assert np.array_equal(as_numpy(theirs.to_sparse(formats[-1], order, rows)), expected[rows])


def test_sparse_composites_have_gradients():
    K = torch.tensor(RNG.standard_normal((3, 3)), requires_grad=True)
    other = cm.conv(torch.tensor(RNG.standard_normal((2, 2))), (5, 6), padding="same", boundary="edge")

    def product(K):
        op = cm.conv(K, (5, 6), padding="same", boundary="reflect") @ other
        return (op + 3 * op).to_sparse("csr").values()

    assert torch.autograd.gradcheck(product, K)


KINDS = [
    ((3,), (7,), {}),
    ((3, 2), (5, 4), {"stride": 2, "padding": 2, "boundary": "reflect"}),
    ((2, 2, 2, 4), (4, 3, 2), {"channels": "last", "input_dilation": 2, "padding": 1, "stride": 3}),
    ((4, 1, 3, 3), (2, 4, 5), {"channels": "first", "groups": 2, "padding": "same", "boundary": "wrap"}),
    ((1, 1, 2, 2, 2, 2), (1, 2, 3, 2, 2), {"channels": "first", "boundary": "edge", "padding": 1}),
]


@pytest.mark.parametrize(("kernel", "shape", "options"), KINDS)
@pytest.mark.parametrize("form", ["apply", "transpose", "dense", "csr"])
def test_gradients_of_torch(form, kernel, shape, options):
    K = torch.tensor(RNG.standard_normal(kernel), requires_grad=True)
    out = cm.conv(K.detach(), shape, **options).out_shape
    size = {"apply": shape, "transpose": out}.get(form, (1,))
    x = torch.tensor(RNG.standard_normal(size), requires_grad=True)

    def function(K, x):
        op = cm.conv(K, shape, **options)
        if form == "csr":
            return (op.to_sparse() @ torch.ones(op.shape[1], dtype=K.dtype)) * x
        return {"apply": op, "transpose": op.T, "dense": lambda x: op.to_dense() * x}[form](x)

    assert torch.autograd.gradcheck(function, (K, x), fast_mode=True)
    if form != "csr":  # PyTorch has no second derivatives of products with its sparse matrices
        assert torch.autograd.gradgradcheck(function, (K, x), fast_mode=True)


@pytest.mark.parametrize(("kernel", "shape", "options"), KINDS)
def test_transforms_of_torch(kernel, shape, options):
    kernels = torch.tensor(RNG.standard_normal((3, *kernel)))
    op = cm.conv(kernels[0], shape, **options)
    x = torch.tensor(RNG.standard_normal((2, *shape)))
    jacrev, jacfwd, vmap = torch.func.jacrev, torch.func.jacfwd, torch.func.vmap

    def dense(K):
        return cm.conv(K, shape, **options).to_dense()

    matrix = op.to_dense()
    assert torch.allclose(jacrev(op)(x[0]).reshape(op.shape), matrix)
    assert torch.allclose(jacfwd(op)(x[0]).reshape(op.shape), matrix)
    assert torch.allclose(vmap(op)(x), op(x))
    assert torch.allclose(vmap(lambda K: cm.conv(K, shape, **options)(x))(kernels)[0], op(x))
    assert torch.equal(vmap(dense)(kernels), torch.stack([dense(K) for K in kernels]))
    assert torch.allclose(jacrev(dense)(kernels[0]), jacfwd(dense)(kernels[0]))
    assert torch.allclose(torch.tensordot(jacrev(dense)(kernels[0]), kernels[0], len(kernel)), matrix)


@pytest.mark.parametrize("formats", [("coo", "csr"), ("csc",)])
def test_pytorchs_warning_of_its_sparse_tensors_is_not_heard(formats):
    """PyTorch warns once a process, and not of coo, so it takes a new one to see it."""
    code = f"import convmtx as cm, torch; [cm.conv(torch.ones(2), (3,)).to_sparse(each) for each in {formats}]"
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_torch_compiles_what_it_can_trace():
    op = cm.conv(torch.ones(4, 2, 3, 3), (2, 8, 8), channels="first", padding=1, boundary="reflect")
    x = torch.tensor(RNG.standard_normal((3, 2, 8, 8)), dtype=torch.float32)

    assert torch.allclose(torch.compile(op, backend="eager")(x), op(x))


def test_transforms_of_jax():
    from jax.test_util import check_grads

    options = {"channels": "first", "padding": 1, "boundary": "reflect", "groups": 2}
    K = jax.numpy.asarray(RNG.standard_normal((4, 1, 3, 2)))
    x = jax.numpy.asarray(RNG.standard_normal((2, 3, 4)))
    op = cm.conv(K, (2, 3, 4), **options)
    v = jax.numpy.ones(op.shape[1])

    apply = jax.jit(lambda K, x: cm.conv(K, (2, 3, 4), **options)(x))  # each of its steps would be compiled alone
    dense = jax.jit(lambda K: cm.conv(K, (2, 3, 4), **options).to_dense())
    check_grads(apply, (K, x), order=2)
    check_grads(dense, (K,), order=1)  # linear in K
    check_grads(jax.jit(lambda K: cm.conv(K, (2, 3, 4), **options).to_sparse() @ v), (K,), order=1)
    assert np.array_equal(dense(K), op.to_dense())
    assert np.allclose(jax.jvp(op, (x,), (x,))[1], op(x))
    assert np.allclose(jax.vmap(op)(jax.numpy.stack([x, -x]))[1], -op(x))


@pytest.mark.parametrize("form", ["to_dense", "to_sparse", "apply"])
def test_nothing_of_the_size_of_the_matrix_is_in_the_traced_program(form):
    def function(K):
        op = cm.conv(K, (4, 64, 64), channels="first", padding=1, boundary="edge")
        if form == "apply":
            return op.T(op(jax.numpy.ones(op.in_shape)))
        return op.to_dense() if form == "to_dense" else op.to_sparse().data

    program = jax.jit(function).lower(jax.numpy.ones((4, 4, 3, 3))).as_text()
    assert len(program) < 60_000  # the matrix has 268 million entries, of which half a million are stored


if torch.cuda.is_available():

    def test_torch_on_a_gpu():
        for kernel, shape, options in KINDS:
            K, x = torch.tensor(RNG.standard_normal(kernel)), torch.tensor(RNG.standard_normal(shape))
            op, here = cm.conv(K.cuda(), shape, **options), cm.conv(K, shape, **options)
            for found, expected in [
                (op(x.cuda()), here(x)), (op.to_dense(), here.to_dense()),
                (op.to_sparse("csr").to_dense(), here.to_dense()), (op.T(here(x).cuda()), here.T(here(x))),
            ]:  # fmt: skip
                assert found.is_cuda
                assert torch.allclose(found.cpu(), expected)

    def test_cupy():
        cupy = pytest.importorskip("cupy")
        for kernel, shape, options in KINDS:
            K, x = RNG.standard_normal(kernel), RNG.standard_normal(shape)
            op, here = cm.conv(cupy.asarray(K), shape, **options), cm.conv(K, shape, **options)
            for found, expected in [
                (op(cupy.asarray(x)), here(x)), (op.to_dense(), here.to_dense()),
                (op.to_sparse("csr").toarray(), here.to_dense()), (op.T(cupy.asarray(here(x))), here.T(here(x))),
            ]:  # fmt: skip
                assert np.allclose(found.get(), expected)
