"""PyWavelets' coefficients, in every mode, and the adjoints that its inverse is not."""

import numpy as np
import pytest

import convmtx as cm
from matrices import assert_is

pywt = pytest.importorskip("pywt")

MODES = pywt.Modes.modes
#: Error of their tables of filters, of which the products should be 0 and 1: about 12 digits are right.
TABLES = 1e-10
# Levels beyond those at which every coefficient reads past the ends; PyWavelets warns of them, and computes them.
pytestmark = pytest.mark.filterwarnings("ignore:Level value:UserWarning")

every_mode = pytest.mark.parametrize("mode", MODES)


def theirs(x, wavelet, mode="symmetric", level=1, axes=None):
    """Their coefficients of one array, in one vector."""
    axes = range(x.ndim) if axes is None else axes
    return pywt.ravel_coeffs(pywt.wavedecn(x, wavelet, mode, level, axes), axes)[0]


def matrix(n, wavelet, mode, level=1):
    """Their matrix, column by column."""
    return np.stack([theirs(column, wavelet, mode, level) for column in np.eye(n)], axis=1)


def assert_close(ours, theirs, summed=10.0):
    """A few roundings of sums of at most 102 taps, of terms up to ``summed`` or the largest result."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13 * (summed + np.abs(theirs).max()), strict=True)


@every_mode
def test_every_wavelet(mode):
    rng = np.random.default_rng(0)
    for name in pywt.wavelist(kind="discrete"):
        for n in (7, 120):
            x, op = rng.standard_normal((2, n)), cm.dwt(n, name, mode=mode)
            # In mode "smooth" a straight line goes on for as many entries as there are taps, which is up to 102.
            summed = 10 * op.shape[0] if mode == "smooth" else 10
            assert_close(op(x), np.stack([theirs(row, name, mode) for row in x]), summed)


@every_mode
@pytest.mark.parametrize("name", ["haar", "db3", "bior2.2"])
def test_matrices_of_every_size(name, mode):
    for n in range(1 + ("reflect" in mode), 14):
        for level in (1, 2):
            if "reflect" in mode and level == 2 and name == "haar" and n == 2:
                continue  # the second level has one entry, which PyWavelets does not reflect
            W, op = matrix(n, name, mode, level), cm.dwt(n, name, level, mode)
            assert_close(op.to_dense(), W)
            assert_close(op.to_sparse().toarray(), W)
            assert_close(op(np.eye(n)), W.T.copy())
            assert_close(op.H(np.eye(len(W))), W)
            assert_close(op.T.to_dense(), W.T)


@every_mode
@pytest.mark.parametrize(("shape", "level"), [(9, 2), (6, 1), ((4, 5), 2)])
def test_every_form_and_relative(shape, level, mode):
    """Filters of integers have no roundings, in their floats either."""
    rng = np.random.default_rng(0)
    bank = rng.integers(-3, 4, (2, 4))
    op = cm.dwt(shape, tuple(bank), level, mode)
    same = pywt.Wavelet("integers", filter_bank=[*bank.tolist(), *bank.tolist()])
    columns = [theirs(unit.reshape(op.in_shape), same, mode, level) for unit in np.eye(op.shape[1])]
    assert_is(op, np.stack(columns, axis=1).astype(int), rng)


@every_mode
@pytest.mark.parametrize("shape", [(5, 6), (9, 12), (4, 5, 3), (2, 3, 4, 5)])
def test_several_axes_and_levels(shape, mode):
    x = np.random.default_rng(0).standard_normal(shape)
    for name in ("haar", "db2", "rbio1.3"):
        for level in (0, 1, 2 if "reflect" not in mode or name != "haar" else 1):  # they do not reflect single entries
            assert_close(cm.dwt(shape, name, level, mode)(x), theirs(x, name, mode, level))


@pytest.mark.parametrize("axes", [(0,), (1,), (-1, 0), (2, 1, 0), (1, 2)])
def test_some_axes_with_their_own_wavelets_and_modes(axes):
    x = np.random.default_rng(0).standard_normal((2, 6, 7, 5))
    wavelets, modes = ["db2", "haar", "sym4"][: len(axes)], ["smooth", "periodization", "zero"][: len(axes)]
    op = cm.dwt(x.shape[1:], wavelets, 2, modes, axes)
    assert_close(op(x), np.stack([theirs(image, wavelets, modes, 2, axes) for image in x]))
    listed = op.coefficients(op(x[0]))
    back = pywt.waverecn(listed, wavelets, modes, axes)[:6, :7, :5]
    np.testing.assert_allclose(back, x[0], rtol=0, atol=TABLES)
    assert_close(op(x[0]), pywt.ravel_coeffs(listed, axes)[0])


def test_one_axis_by_its_number():
    x = np.random.default_rng(0).standard_normal((6, 7))
    assert_close(cm.dwt((6, 7), "db2", axes=-1)(x), theirs(x, "db2", axes=(1,)))


@every_mode
def test_the_adjoint_is_exact(mode):
    """Sums of integers have no roundings, so both sides are one number."""
    rng = np.random.default_rng(0)
    bank = rng.integers(-9, 9, (2, 6))
    for shape, level in ((9, 2), (10, 1), ((5, 6), 2)):
        op = cm.dwt(shape, tuple(bank), level, mode)
        x, y = rng.integers(-9, 9, op.in_shape), rng.integers(-9, 9, op.out_shape)
        assert op.dtype == int
        assert np.vdot(op(x), y) == np.vdot(x, op.H(y))


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("zero", "periodization")])
def test_their_inverse_is_not_the_adjoint(mode):
    op = cm.dwt(16, "db4", mode=mode)
    inverse = np.stack([pywt.waverecn(op.coefficients(y), "db4", mode) for y in np.eye(op.shape[0])], axis=1)
    assert np.abs(inverse - op.H(np.eye(op.shape[0])).T).max() > 0.5
    assert_close(inverse @ op.to_dense(), np.eye(16))


@pytest.mark.parametrize("name", ["haar", "db4", "sym5", "coif2"])
@pytest.mark.parametrize(("shape", "level"), [(16, 4), ((8, 12), 2)])
def test_orthogonal_wavelets_on_a_circle_are_orthogonal(name, shape, level):
    op = cm.dwt(shape, name, level, "periodization")
    np.testing.assert_allclose((op.T @ op).to_dense(), np.eye(op.shape[1]), rtol=0, atol=TABLES)
    y = np.random.default_rng(0).standard_normal(op.out_shape)
    np.testing.assert_allclose(op.H(y), pywt.waverecn(op.coefficients(y), name, "periodization"), rtol=0, atol=TABLES)
    assert cm.norm(op).value == pytest.approx(1, abs=TABLES)


@every_mode
def test_least_squares_reconstruct(mode):
    op = cm.dwt((9, 6), "bior2.2", 2, mode)
    x = np.random.default_rng(0).standard_normal((9, 6))
    assert_close(cm.solve(op, op(x)).x, x)
    assert_close(pywt.waverecn(op.coefficients(op(x)), "bior2.2", mode)[:9, :6], x)


@pytest.mark.parametrize(("name", "shape"), [("haar", 1), ("haar", 64), ("db4", 6), ("db4", 55), ("db4", (64, 7))])
def test_the_levels_they_take(name, shape):
    op = cm.dwt(shape, name, level=None)
    assert len(op.coefficients(np.zeros(op.out_shape))) - 1 == pywt.dwtn_max_level(op.in_shape, name)


def test_filters_as_names_objects_and_arrays():
    bank = pywt.Wavelet("db3")
    x = np.random.default_rng(0).standard_normal(10)
    expected = cm.dwt(10, "DB3")(x)
    np.testing.assert_array_equal(cm.dwt(10, bank)(x), expected)
    np.testing.assert_array_equal(cm.dwt(10, [bank])(x), expected)
    np.testing.assert_array_equal(cm.dwt(10, (bank.dec_lo, bank.dec_hi))(x), expected)


def test_types():
    x = np.random.default_rng(0).standard_normal((2, 6, 7))
    z = x[0] + 1j * x[1]
    assert_close(cm.dwt((6, 7), "db2", 2)(z), theirs(z, "db2", level=2))
    single = tuple(np.float32(taps) for taps in pywt.Wavelet("db2").filter_bank[:2])
    for mode in MODES:
        y = cm.dwt((6, 7), single, 2, mode)(np.float32(x))
        assert y.dtype == np.float32
        np.testing.assert_allclose(y[0], theirs(x[0], "db2", mode, 2), rtol=0, atol=1e-4)


@every_mode
def test_tensors_keep_gradients(mode):
    torch = pytest.importorskip("torch")
    taps = [torch.tensor(taps, dtype=torch.float64, requires_grad=True) for taps in pywt.Wavelet("db2").filter_bank[:2]]
    op, x = cm.dwt((5, 6), taps, 2, mode), torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(5, 6)
    y = op(x)
    assert_close(y.detach().numpy(), theirs(x.numpy(), "db2", mode, 2))
    listed = op.coefficients(y)
    y.sum().backward()
    # An output of level k of 2 axes is a product of 2k taps for each term: Euler's rule for homogeneous functions.
    degrees = np.repeat([4, 2], [sum(b.numel() for b in (listed[0], *listed[1].values())), listed[2]["ad"].numel() * 3])
    euler = sum(float((tap.grad * tap).sum().detach()) for tap in taps)
    assert euler == pytest.approx(float(degrees @ y.detach().numpy()), abs=1e-11)


@pytest.mark.parametrize(
    ("wavelet", "error", "message"),
    [
        ("db44", ValueError, "dwt: wavelet='db44'. Expected a discrete wavelet of PyWavelets, such as 'haar'"),
        ("db44", ValueError, "is 'db4' meant"),
        ("morl", ValueError, r"pywt.wavelist\(kind='discrete'\) lists all"),
        (pywt.ContinuousWavelet("morl"), TypeError, "Expected a name such as 'db4', an object with dec_lo and dec_hi"),
    ],
)
def test_wavelets_that_they_do_not_have(wavelet, error, message):
    with pytest.raises(error, match=message):
        cm.dwt(20, wavelet)
