"""Tensors of PyTorch in the main memory: the engines of NumPy in their memory, with derivatives of every order."""

import copy

import numpy as np
import pytest

import convmtx as cm
from strategies import BOUNDARIES

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
functional = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")

#: Kernel, sizes and options: every boundary, strides, groups, layouts and directions.
KINDS = [
    ((3,), (6,), {"padding": 2, "boundary": "reflect", "stride": 2}),
    ((2, 3), (4, 4), {"padding": (1, 2), "boundary": "edge", "flip": True}),
    ((3, 2), (3, 4), {"padding": 1, "boundary": "symmetric", "dilation": (1, 2)}),
    ((2, 2), (4, 5), {"padding": 1, "boundary": "wrap", "stride": (2, 1)}),
    ((2, 2, 2, 2), (3, 4, 2), {"channels": "last", "padding": "same", "boundary": "wrap"}),
    ((4, 1, 2, 2), (2, 4, 3), {"channels": "first", "groups": 2, "stride": 2, "padding": 1}),
    ((2, 3, 2), (3, 5), {"channels": "first"}),
    ((2, 1, 2), (3, 2), {"channels": "last", "groups": 2, "input_dilation": 2, "boundary": "reflect", "padding": 1}),
]


def tensor(*shape, dtype=torch.float64):
    return torch.tensor(RNG.standard_normal(shape)).to(dtype) * (1 + 0.5j if dtype.is_complex else 1)


def made(kernel, shape, options, forward):
    """Apply the map, or its adjoint, as a function of kernel and argument; and the shape of the argument."""
    op = cm.conv(torch.zeros(kernel), shape, **options)

    def function(K, x):
        op = cm.conv(K, shape, **options)
        return op(x) if forward else op.H(x)

    return function, op.in_shape if forward else op.out_shape


@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
def test_every_engine_is_the_convolution_of_pytorch(engine, dtype):
    K, x = tensor(6, 2, 5, 3, dtype=dtype), tensor(3, 4, 17, 19, dtype=dtype)
    op = cm.conv(K, (4, 17, 19), channels="first", groups=2, stride=(2, 1), padding=2, engine=engine)
    expected = functional.conv2d(x, K, stride=(2, 1), padding=2, groups=2)
    back = functional.conv_transpose2d(expected, K.conj(), stride=(2, 1), padding=2, groups=2)
    assert op(x).dtype == dtype
    tolerance = 1000 * torch.finfo(dtype).eps
    assert (op(x) - expected).abs().max() <= tolerance
    assert (op.H(expected) - back).abs().max() <= 30 * tolerance


def test_outer_products_are_applied_one_axis_after_the_other():
    row, x = tensor(9), tensor(2, 30, 30)
    K = torch.outer(row, row.flip(0)).requires_grad_()
    op = cm.conv(K, (30, 30), engine="separable")
    expected = functional.conv2d(x[:, None], K[None, None])[:, 0]
    assert torch.allclose(op(x), expected)
    (ours,) = torch.autograd.grad(op(x).square().sum(), K)
    (theirs,) = torch.autograd.grad(expected.square().sum(), K)
    assert torch.allclose(ours, theirs)
    tangent = tensor(9, 9)  # which is no outer product
    _, derivative = torch.func.jvp(lambda K: cm.conv(K, (30, 30), engine="separable")(x), (K.detach(),), (tangent,))
    assert torch.allclose(derivative, functional.conv2d(x[:, None], tangent[None, None])[:, 0])


def test_gradients_are_those_of_pytorch():
    K, x = tensor(6, 2, 3, 3).requires_grad_(), tensor(5, 4, 9, 8).requires_grad_()
    weights = tensor(5, 6, 5, 8)
    options = {"groups": 2, "stride": (2, 1), "padding": 1}
    ours = torch.autograd.grad((cm.conv(K, (4, 9, 8), channels="first", **options)(x) * weights).sum(), (K, x))
    theirs = torch.autograd.grad((functional.conv2d(x, K, **options) * weights).sum(), (K, x))
    assert all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("engine", ["auto", "direct", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize(
    ("kernel", "sizes", "options"),
    [
        ((6, 2, 3, 3), (4, 9, 8), {"groups": 2, "stride": (2, 1), "padding": 1}),
        ((16, 8, 1, 1), (8, 7, 7), {}),
        ((8, 1, 3, 3), (8, 12, 12), {"groups": 8, "padding": 1, "dilation": 2}),
        ((3, 4, 5), (4, 40), {"stride": 3}),
        ((2, 3, 2, 3, 2), (3, 5, 6, 7), {"stride": 2, "padding": (0, 1, 1)}),
    ],
)
def test_gradients_of_many_channels_are_those_of_pytorch(kernel, sizes, options, dtype, engine):
    """Again and again, with kernels that change, and of the transpose: what is kept must not be kept too long."""
    convolution = getattr(functional, f"conv{len(sizes) - 1}d")
    tolerance = 3000 * torch.finfo(dtype).eps
    K = tensor(*kernel, dtype=dtype).requires_grad_()
    op = cm.conv(K, sizes, channels="first", engine=engine, **options)
    for samples in (5, 5, 2):
        x = tensor(samples, *sizes, dtype=dtype).requires_grad_()
        y = convolution(x, K, **options)
        weights = tensor(*y.shape, dtype=dtype).requires_grad_()
        for arguments in ((x,), (K,), (K, x)):
            ours = (op(x), *torch.autograd.grad(op(x), arguments, weights))
            theirs = (y, *torch.autograd.grad(convolution(x, K, **options), arguments, weights))
            assert all((a - b).abs().max() <= tolerance * len(b) for a, b in zip(ours, theirs, strict=True))
        (back,) = torch.autograd.grad(convolution(x, K.conj(), **options), x, weights, create_graph=True)
        theirs = torch.autograd.grad(back, (K, weights), x)
        ours = torch.autograd.grad(op.T(weights), (K, weights), x)
        assert torch.allclose(op.T(weights), back, atol=tolerance, rtol=tolerance)
        if not dtype.is_complex:  # else PyTorch's second derivative conjugates
            assert all((a - b).abs().max() <= tolerance * len(b) for a, b in zip(ours, theirs, strict=True))
        with torch.no_grad():
            op._kernel.mul_(-0.5)
            if op.kernel is not K:
                K.mul_(-0.5)


@pytest.mark.parametrize("engine", ["auto", "direct", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [6, 60])
def test_gradients_that_are_not_finite_reach_what_they_meet(engine, dtype, size):
    """Output 0 reads padding through tap 0, whose gradient stays finite, and so do all inputs that it does not read."""
    K, x = torch.ones(8, 8, 3, 3, dtype=dtype).requires_grad_(), tensor(1, 8, size, size, dtype=dtype).requires_grad_()
    op = cm.conv(K, (8, size, size), channels="first", padding=1, engine=engine)
    weights = torch.ones(1, 8, size, size, dtype=dtype)
    weights[0, 3, 0, 0] = torch.nan
    in_kernel, in_input = torch.autograd.grad(op(x), (K, x), weights)
    expected = torch.zeros(8, 8, 3, 3, dtype=bool)
    expected[3, :, 1:, 1:] = True
    assert torch.equal(~torch.isfinite(in_kernel), expected)
    assert torch.equal(~torch.isfinite(torch.autograd.grad(op(x), K, weights)[0]), expected)
    expected = torch.zeros(1, 8, size, size, dtype=bool)
    expected[0, :, :2, :2] = True
    assert torch.equal(~torch.isfinite(in_input), expected)


@pytest.mark.parametrize(("kernel", "shape", "options"), KINDS)
@pytest.mark.parametrize("forward", [True, False], ids=["map", "adjoint"])
@pytest.mark.parametrize("dtypes", [(torch.float64,) * 2, (torch.float64, torch.complex128)], ids=["real", "mixed"])
def test_derivatives_of_every_order(kernel, shape, options, forward, dtypes):
    function, argument = made(kernel, shape, options, forward)
    K, x = (tensor(*s, dtype=t).requires_grad_() for s, t in zip((kernel, (2, *argument)), dtypes, strict=True))
    assert torch.autograd.gradcheck(function, (K, x), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (K, x), fast_mode=True)


@pytest.mark.parametrize(("kernel", "shape", "options"), KINDS)
@pytest.mark.parametrize("forward", [True, False], ids=["map", "adjoint"])
def test_transforms(kernel, shape, options, forward):
    function, argument = made(kernel, shape, options, forward)
    K, x = tensor(3, *kernel), tensor(3, 2, *argument)
    vmap, grad, jacrev = torch.func.vmap, torch.func.grad, torch.func.jacrev
    assert torch.allclose(vmap(function, (None, 0))(K[0], x), torch.stack([function(K[0], a) for a in x]))
    assert torch.allclose(vmap(function, (0, None))(K, x[0]), torch.stack([function(k, x[0]) for k in K]))
    expected = torch.stack([function(k, a) for k, a in zip(K, x, strict=True)])
    assert torch.allclose(vmap(function)(K, x), expected)
    assert torch.allclose(vmap(function, (0, 1))(K, x.movedim(0, 1)), expected)

    def loss(K, x):
        return function(K, x).square().sum()

    for number in (0, 1):
        each = torch.stack([grad(loss, number)(k, a) for k, a in zip(K, x, strict=True)])
        assert torch.allclose(vmap(grad(loss, number))(K, x), each)
    matrix = cm.conv(K[0], shape, **options).to_dense()
    matrix = matrix if forward else matrix.T
    assert torch.allclose(jacrev(lambda x: function(K[0], x))(x[0, 0]).reshape(matrix.shape), matrix)
    assert torch.allclose(torch.func.jacfwd(lambda x: function(K[0], x))(x[0, 0]).reshape(matrix.shape), matrix)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_tensor_is_the_array(boundary):
    """The same engine in the same memory: equal to the last bit, for every type, in any order of memory."""
    for dtype in ("float16", "float32", "complex128", "int8", "int64", "uint8"):
        K = RNG.integers(0, 5, (3, 2)).astype(dtype)
        x = RNG.integers(0, 9, (6, 5, 4)).astype(dtype)
        here = cm.conv(K, (5, 6), padding=1, boundary=boundary, stride=(1, 2))
        theirs = cm.conv(torch.tensor(K), (5, 6), padding=1, boundary=boundary, stride=(1, 2))
        turned, expected = torch.tensor(x).permute(2, 1, 0), x.transpose(2, 1, 0)
        for op in (here, theirs):
            assert np.array_equal(op(turned).numpy(), here(expected))
        assert np.array_equal(theirs.T(theirs(turned)).numpy(), here.T(here(expected)))


def test_types_are_those_of_pytorch():
    for K, x in (("int64", "float32"), ("float32", "int64"), ("float16", "float32"), ("int8", "int64")):
        kernel, inputs = torch.ones(2, 3, dtype=getattr(torch, K)), torch.ones(4, 5, dtype=getattr(torch, x))
        for boundary in ("zero", "reflect"):
            for op in (cm.conv(kernel, (4, 5), boundary=boundary), cm.conv(kernel.numpy(), (4, 5), boundary=boundary)):
                y = op(inputs)
                assert y.dtype == op.T(y).dtype == torch.result_type(kernel, inputs)
                assert torch.equal(y, torch.full((3, 3), 6, dtype=y.dtype))


@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "torch"])
def test_a_kernel_that_is_changed_in_place_is_read_again(engine):
    K = torch.nn.Parameter(tensor(5, 5))
    x = tensor(20, 20).requires_grad_()
    op = cm.conv(K, (20, 20), engine=engine)
    layer = cm.conv(K.detach(), (20, 20), engine=engine).to_torch()
    for _ in range(2):
        expected = functional.conv2d(x[None, None], op._kernel[None, None])[0, 0]
        assert torch.allclose(op(x), expected)
        assert torch.allclose(op.T(expected), functional.conv_transpose2d(expected[None, None], op._kernel[None, None]))
        assert torch.allclose(layer(x), functional.conv2d(x[None, None], layer.kernel[None, None])[0, 0])
        with torch.no_grad():
            op._kernel.mul_(-3)
            layer.kernel.data[0, 0] += 1
    with torch.inference_mode():
        inner = cm.conv(K, (20, 20), engine=engine)
        before = inner(x)
        inner._kernel.mul_(2)
        assert torch.allclose(inner(x), 2 * before)


@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "torch"])
def test_what_is_not_finite_reaches_its_windows_alone(engine):
    op = cm.conv(torch.ones(5, 3, dtype=torch.float64), (20, 30), padding=2, engine=engine)
    reached = cm.conv(np.ones((5, 3), int), (20, 30), padding=2)
    x = tensor(20, 30)
    x[7, 11], x[0, 29] = torch.nan, torch.inf
    assert np.array_equal(~np.isfinite(op(x).numpy()), reached((~np.isfinite(x.numpy())).astype(int)) > 0)


def test_results_have_memory_of_their_own():
    x = tensor(2, 1, 1)
    for K in (torch.ones(1, 1, dtype=torch.float64), np.ones((1, 1))):
        op = cm.conv(K, (1, 1))
        for y in (op(x), op.T(x), op @ x[0, 0], cm.conv(K, (1, 1), boundary="edge")(x)):
            assert y.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
            y.zero_()
    assert (x != 0).all()


def test_nothing_that_a_map_gives_changes_it():
    """Also through memory that PyTorch does not watch; the tensor that the kernel was copied from is another one."""
    op = cm.conv(torch.tensor([1.0, 2.0], requires_grad=True), 4)
    x = torch.ones(4)
    for kernel in (op.kernel, copy.deepcopy(op).kernel, copy.deepcopy(cm.Affine(op, torch.zeros(3))).op.kernel):
        kernel.data.mul_(100)
        assert op(x).tolist() == [3.0, 3.0, 3.0]
        assert op.to_dense()[0].tolist() == [1.0, 2.0, 0.0, 0.0]
    assert op.kernel.sum().requires_grad


def test_what_has_no_numbers_is_left_to_pytorch():
    from torch.fx.experimental.proxy_tensor import make_fx

    op, x = cm.conv(torch.ones(3), 5), torch.arange(5.0)
    assert cm.conv(torch.ones(3, device="meta"), 5)(torch.ones(5, device="meta")).device.type == "meta"
    assert torch.equal(make_fx(op)(x)(x + 1), op(x + 1))
    half = cm.conv(torch.ones(3, dtype=torch.bfloat16), 5)
    assert half(x.to(torch.bfloat16)).dtype == torch.bfloat16
    assert half.explain().engine == "torch"


def test_explanations_are_those_of_arrays():
    kernel = RNG.standard_normal((41, 41))
    for engine in ("auto", "direct", "fft"):
        here = cm.conv(kernel, (512, 512), engine=engine).explain()
        theirs = cm.conv(torch.tensor(kernel), (512, 512), engine=engine).explain()
        assert theirs.engine == here.engine
        assert theirs.dtype == here.dtype == "float64"
        assert theirs.engines.keys() - {"compiled"} == {"direct", "fft", "torch"}
    whole = cm.conv(np.ones(3, np.int32), 5)
    assert cm.conv(torch.ones(3, dtype=torch.int32), 5).explain().engine == whole.explain().engine
    torch.func.grad(lambda K: len(cm.conv(K, 5).explain().reason) * K.sum())(torch.ones(3))


@pytest.mark.parametrize(("kernel", "shape", "options"), KINDS[:3])
@pytest.mark.parametrize("engine", ["auto", "direct", "torch"])
def test_batches_of_gradients(engine, kernel, shape, options):
    """They are vectors of zeros and ones, and PyTorch's own vmap of them is not that of ``torch.func``."""

    def forward(K, x):
        return cm.conv(K, shape, engine=engine, **options)(x)

    K, x = tensor(*kernel).requires_grad_(), tensor(*shape).requires_grad_()
    torch.autograd.gradcheck(
        forward, (K, x), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    op = cm.conv(K.detach(), shape, engine=engine, **options)
    y = op(x)
    units = torch.eye(y.numel(), dtype=y.dtype).reshape(-1, *y.shape)
    (rows,) = torch.autograd.grad(y, x, units, is_grads_batched=True)
    assert torch.allclose(rows.reshape(y.numel(), -1), op.to_dense())
    for strategy in ("reverse-mode", "forward-mode"):
        jacobian = torch.autograd.functional.jacobian(op, x.detach(), vectorize=True, strategy=strategy)
        assert torch.allclose(jacobian.reshape(y.numel(), -1), op.to_dense())
