"""Numbers: each entry and each result is rounded once, from sums in a type that holds what is on the way to them."""

import numpy as np
import pytest

import convmtx as cm
import reference

BOUNDARIES = list(reference.PAD_MODES)
# 60000 is below the largest half, 65504, and two of them are above it.
LARGE = np.array([60000, 60000, -60000, -60000, 1], np.float16)


def loop(K, n, boundary, pads):
    one = (1,)
    return reference.tensor(K[:, None, None], (n,), one, one, [pads], one, [boundary], 1, False).reshape(-1, n)


def library(name):
    if name == "numpy":
        return np.array
    module = pytest.importorskip(name)
    return module.tensor if name == "torch" else module.numpy.asarray


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "torch", "jax"])
def test_half_precision_is_rounded_once_forwards_and_back(engine, boundary):
    rng = np.random.default_rng(0)
    make = library(engine if engine in ("torch", "jax") else "numpy")
    for pads in ((2, 2), (9, 12)):
        K = rng.standard_normal(5).astype(np.float16)
        op = cm.conv(
            make(K), 7, padding=[pads], boundary=boundary, engine=engine if engine in ("direct", "fft") else "auto"
        )
        matrix = loop(K.astype(float), 7, boundary, pads)
        for applied, exact in ((op, matrix), (op.T, matrix.T)):
            x = rng.standard_normal(exact.shape[1]).astype(np.float16)
            y = np.asarray(applied(make(x)), dtype=float)
            expected = exact @ x.astype(float)
            sums = 40 * np.finfo(np.float32).eps * (np.abs(exact).sum(axis=1).max() * np.abs(x.astype(float)).max())

            assert (np.abs(y - expected) <= np.spacing(np.abs(y).astype(np.float16)).astype(float) / 2 + sums).all()


@pytest.mark.parametrize("boundary", ["wrap", "edge"])
@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_sums_of_halves_that_fit_do_not_overflow_on_the_way(name, boundary):
    make = library(name)
    op = cm.conv(make(LARGE), 1, padding=2, boundary=boundary)  # all taps fold onto one position: their sum is 1

    assert np.asarray(op.to_dense()).tolist() == [[1.0]]
    assert np.asarray(op(make(np.ones(1, np.float16)))).tolist() == [1.0]
    assert np.asarray(op.T(make(np.ones(1, np.float16)))).tolist() == [1.0]


def test_a_kernel_with_inf_adds_halves_in_float32_too():
    K = np.append(LARGE, np.float16(np.inf))
    op = cm.conv(K, 5, padding=[(0, 1)])  # its one output reads no inf: beyond the end is nothing

    assert op(np.ones(5, np.float16))[0] == 1.0


def test_bfloat16_adjoints_are_rounded_once():
    torch = pytest.importorskip("torch")
    K = torch.full((9,), 1.0, dtype=torch.bfloat16)
    op = cm.conv(K, 1, padding=130, boundary="edge")  # 253 outputs of 9 taps each read the one input
    y = torch.full((253,), 1.0, dtype=torch.bfloat16)

    assert float(op.T(y)[0]) == float(torch.tensor(9 * 253.0).bfloat16())


@pytest.mark.parametrize("stride", [1, 2])
def test_strided_adjoints_of_tensors_add_in_float32(stride):
    torch = pytest.importorskip("torch")
    for dtype in (torch.float16, torch.bfloat16):
        K, y = torch.tensor([2048.0, 1.0, 1.0, 1.0, 1.0, -2048.0]).to(dtype), torch.ones(12, dtype=dtype)
        op = cm.conv(K, 6 + 11 * stride, stride=stride)
        matrix = loop(K.double().numpy(), op.in_shape[0], "zero", (0, 0))[::stride]

        assert np.array_equal(op.T(y).double().numpy(), torch.tensor(matrix.T.sum(axis=1)).to(dtype).double().numpy())


def test_products_of_maps_of_halves_are_rounded_once():
    a = cm.conv(np.full(3, 60000, np.float16), 12)
    b = cm.conv(np.array([-1, 1, 1, -1], np.float16), 15)
    both = a @ b

    assert isinstance(both, cm.ConvOperator)
    assert both.kernel.tolist() == [-60000, 0, 60000, 60000, 0, -60000]  # 120000 on the way to two of them


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "separable"])
def test_long_doubles_are_computed_as_such(engine, complex_):
    """The kernel is double, the input wider: NumPy's own sums in long double are the oracle."""
    rng = np.random.default_rng(0)
    K = np.multiply.outer(rng.integers(1, 10, 4), rng.integers(1, 10, 5)).astype(float)
    x = rng.standard_normal((8, 9)).astype(np.longdouble)
    x = x + 1j * x[::-1] if complex_ else x
    windows = np.lib.stride_tricks.sliding_window_view(x, K.shape)
    expected = (windows * K.astype(np.longdouble)).sum(axis=(2, 3))
    y = cm.conv(K, x.shape, engine=engine)(x)
    bound = 60 * np.finfo(np.longdouble).eps * np.abs(K).sum() * np.abs(x).max()

    assert y.dtype == x.dtype
    assert np.abs(y - expected).max() <= bound


def test_integer_forms_are_refused_for_entries_alone():
    K = np.array([[100, -100], [100, -100]], np.int8)
    folded = cm.conv(K, (1, 1), padding=[(0, 1), (0, 1)], boundary="wrap")  # the four taps are one entry: 0
    empty = cm.conv(
        np.array([[100, 100]], np.int8), (1, 1), stride=(4, 1), padding=[(2, 0), (0, 1)], boundary=["zero", "wrap"]
    )  # reads zeros alone along the first axis
    for op in (folded, empty):
        for form in (op.to_dense(), op.to_sparse().toarray(), op.T.to_sparse(rows=[0]).toarray(), op.to_tensor()):
            assert form.ravel().tolist() == [0]
        assert op.tensor_view().ravel().tolist() == [0]
    over = cm.conv(np.array([100, 100], np.int8), 1, padding=[(0, 1)], boundary="wrap")
    calls = (over.to_dense, over.to_sparse, over.tensor_view, lambda: over.to_sparse(rows=[0]), over.T.to_dense)
    for call in calls:
        with pytest.raises(ValueError, match="their sum 200 does not fit in int8"):
            call()
