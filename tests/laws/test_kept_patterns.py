"""Matrices from kept patterns are those that are written in place, in every format, and share nothing."""

import numpy as np
import pytest
from hypothesis import given

import convmtx as cm
from convmtx.forms import kept, sparse
from strategies import cases

ARRAYS = {
    "csr": ("data", "indices", "indptr"), "csc": ("data", "indices", "indptr"), "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "row", "col"), "dia": ("data", "offsets"),
}  # fmt: skip


def written(op, format, order="C"):
    """The matrix from its rows, which are written even if they are all rows."""
    return op.to_sparse(format, order, rows=slice(None))


@given(cases())
@pytest.mark.parametrize("format", ARRAYS)
def test_a_kept_pattern_gives_the_matrix_that_is_written(format, case):
    for order in "CF":
        case.op.to_sparse(format, order)
        S, expected = case.op.to_sparse(format, order), written(case.op, format, order)

        assert kept.pattern(case.op.geometry, format, order) is not None or format == "dia"
        assert np.array_equal(S.toarray(), case.matrix_in(order))
        assert type(S) is type(expected)
        assert S.shape == expected.shape
        assert S.dtype == expected.dtype
        for name in ARRAYS[format]:
            array, other = getattr(S, name), getattr(expected, name)
            assert array.dtype == other.dtype
            assert array.shape == other.shape
            assert array.tobytes() == other.tobytes()
        if format in ("csr", "csc", "bsr"):
            assert S.has_sorted_indices
            assert S.has_canonical_format
            assert type(S)((S.data, S.indices, S.indptr), shape=S.shape).has_canonical_format
        if format == "bsr":
            assert S.blocksize == expected.blocksize


@pytest.mark.parametrize("format", ARRAYS)
def test_a_matrix_that_is_changed_does_not_change_the_next(format):
    op = cm.conv(np.arange(1.0, 10).reshape(3, 3), (8, 8), padding="same", boundary="reflect")
    expected = op.to_dense()
    for _ in range(3):
        S = op.to_sparse(format)
        assert np.array_equal(S.toarray(), expected)
        for name in ARRAYS[format]:
            array = getattr(S, name)
            assert array.flags.writeable
            array[...] = 1
        S.data = S.data[:0]


def test_the_next_kernel_of_a_geometry_may_have_another_type():
    op = cm.conv(np.ones(3), 6, padding="same", boundary="edge")
    for dtype in (np.float32, np.complex128, np.int8):
        other = op.with_kernel(np.array([1, 2, 3], dtype))
        assert other.to_sparse("dia").dtype == dtype
        assert np.array_equal(other.to_sparse("dia").toarray(), other.to_dense())


def test_integer_sums_that_overflow_are_refused_each_time():
    op = cm.conv(np.array([100, 100, 100], np.int16), 6, padding="same", boundary="edge")
    op.to_sparse()
    for _ in range(2):
        with pytest.raises(cm.ArgumentError, match="does not fit in int8"):
            op.with_kernel(np.array([100, 100, 100], np.int8)).to_sparse()


def test_large_patterns_are_not_kept():
    op = cm.conv(np.ones((3, 3)), (150, 150))
    assert kept.pattern(op.geometry, "csr", "C") is None
    assert kept.pattern(cm.conv(np.ones(3), 3000, stride=2).geometry, "dia", "C") is None  # a diagonal for each row
    with pytest.raises(cm.FormTooLargeError, match="the csr form takes"):
        cm.conv([[1.0]], (2, 2), padding=10**9).to_sparse()  # 4 entries, and 4e18 rows


@pytest.mark.parametrize(("shape", "image", "options"), [
    ((9, 9), (40, 48), {"boundary": "reflect"}), ((3, 3), (70, 80), {"boundary": "wrap"}),
    ((5, 3), (64, 64), {"boundary": "edge", "dilation": 2}), ((41,), (3000,), {}),
    ((33,), (3000,), {"boundary": "symmetric"}), ((3, 3, 5, 5), (24, 24, 5), {}),
    ((3, 3, 2, 8), (24, 24, 8), {"groups": 4, "boundary": "wrap"}), ((3, 3, 3), (16, 16, 16), {"boundary": "edge"}),
])  # fmt: skip
def test_maps_without_strides_are_written_in_closed_form(monkeypatch, shape, image, options):
    monkeypatch.setattr(sparse, "_diagonals", None)  # which searches
    kernel = np.random.default_rng(0).standard_normal(shape)
    kernel.flat[1] = np.nan
    op = cm.conv(kernel, image, padding="same", **options)

    assert np.array_equal(written(op, "dia").toarray(), op.to_dense(), equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("format", ["csr", "csc", "coo"])
def test_values_of_tensors_are_numpys_and_are_differentiated_where_they_are_followed(format):
    torch = pytest.importorskip("torch")
    K = np.random.default_rng(0).standard_normal((3, 3, 2, 4)) * 1j + 1
    options = {"padding": "same", "boundary": "reflect", "groups": 2}
    expected = cm.conv(K, (6, 5, 4), **options).to_dense()
    conjugate = torch.from_numpy(K.conj()).conj()
    assert np.array_equal(cm.conv(conjugate, (6, 5, 4), **options).to_sparse(format).to_dense().numpy(), expected)

    def values(kernel):
        return cm.conv(kernel, (6, 5, 4), **options).to_sparse(format).values()

    real = torch.from_numpy(K.imag.copy())
    with pytest.raises(cm.ArgumentTypeError, match="forward AD"):  # and not values without a derivative
        torch.func.jvp(values, (real,), (torch.ones_like(real),))
    followed = real.clone().requires_grad_()
    values(followed).sum().backward()
    assert torch.equal(followed.grad.sum(), values(torch.ones_like(real)).sum())
