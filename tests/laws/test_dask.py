"""Maps of arrays of Dask: lazily, whatever the chunks, and exactly what arrays of NumPy give."""

import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import scipy.ndimage

import convmtx as cm
import reference

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

BOUNDARIES = list(reference.PAD_MODES)
IMAGE = np.random.default_rng(0).integers(-9, 10, (30, 26)).astype(float)


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture
def no_tasks():
    """Fails if any task is run."""

    def refuse(*_, **__):
        raise AssertionError("a task was run")

    with dask.config.set(scheduler=refuse):
        yield


def some_chunks(rng, size):
    """Chunks of 1, of the whole, or of any sizes."""
    most = rng.choice([1, 3, size])
    sizes = []
    while sum(sizes) < size:
        sizes.append(
            min(rng.randint(1, most) if most < size else rng.choice([size, rng.randint(1, size)]), size - sum(sizes))
        )
    return tuple(sizes)


def some_map(rng, dtype):
    """A convolution of one to four axes with every option drawn."""
    while True:
        d = rng.choice((1, 1, 2, 2, 3, 4))
        sizes = [rng.randint(1, (24, 10, 6, 4)[d - 1]) for _ in range(d)]
        kernel = [rng.randint(1, (6, 4, 3, 2)[d - 1]) for _ in range(d)]
        channels = rng.choice(("last", "first", None))
        groups = rng.choice((1, 1, 2, 3)) if channels else 1
        per_c, per_f = (rng.randint(1, 2), rng.randint(1, 2)) if channels else (1, 1)
        options = {
            "stride": [rng.randint(1, 4) for _ in sizes],
            "dilation": [rng.randint(1, 2) for _ in sizes],
            "input_dilation": [rng.choice((1, 1, 2, 3)) for _ in sizes],
            "boundary": [rng.choice(BOUNDARIES) for _ in sizes],
            "padding": rng.choice(("valid", "same", "full", [(rng.randint(-2, 9), rng.randint(-2, 9)) for _ in sizes])),
            "flip": rng.random() < 0.5,
            "groups": groups,
        }
        shapes = {
            "last": ((*kernel, per_c, groups * per_f), (*sizes, groups * per_c)),
            "first": ((groups * per_f, per_c, *kernel), (groups * per_c, *sizes)),
            None: (tuple(kernel), tuple(sizes)),
        }
        kernel_shape, shape = shapes[channels]
        numbers = np.random.default_rng(rng.randrange(1 << 30)).integers(-9, 10, kernel_shape)
        values = numbers * (1 + 1j) if dtype is complex else numbers
        try:
            op = cm.conv(values, shape, **options, **({"channels": channels} if channels else {}))
        except ValueError:  # the kernel does not fit
            continue
        if op.shape[0] < 3000:
            return op


@pytest.mark.parametrize("seed", range(12))
def test_every_chunking_of_every_geometry(seed):
    rng = random.Random(seed)
    for _ in range(6):
        op = some_map(rng, rng.choice((int, int, complex)))
        batch = tuple(rng.randint(1, 3) for _ in range(rng.randrange(3)))
        for applied in (op, op.T, op.H):
            x = np.random.default_rng(seed).integers(-9, 10, batch + applied.in_shape)
            lazy = da.from_array(x, chunks=tuple(some_chunks(rng, n) for n in x.shape))
            with dask.config.set(scheduler=lambda *_, **__: pytest.fail("a task was run")):
                y = applied(lazy)
            known, expected = y.compute(), applied(x)
            # Integers are exact; numbers below 10^4 in double precision may go through transforms.
            assert np.array_equal(known, expected) if expected.dtype == int else np.allclose(known, expected, 0, 1e-10)
            assert y.dtype == known.dtype == expected.dtype
            assert y.shape == expected.shape
            assert y.chunks[: len(batch)] == lazy.chunks[: len(batch)]
            tasks = len(y.__dask_graph__()) - len(lazy.__dask_graph__())
            assert tasks <= y.npartitions + lazy.npartitions + 1


def test_declared_chunks_are_those_that_are_computed():
    op = cm.conv(np.ones((3, 4, 2, 5)), (20, 17, 2), stride=(2, 1), padding="same", boundary=("wrap", "edge"))
    for applied in (op, op.T):
        y = applied(da.ones((3, *applied.in_shape), chunks=(2, 5, 4, 1)))
        for place in np.ndindex(*y.numblocks):
            assert y.blocks[place].compute().shape == y.blocks[place].shape


ODD = cm.conv(np.arange(15.0).reshape(5, 3), (12, 10), padding="same", boundary="reflect")
EVEN = cm.conv(np.arange(8.0).reshape(2, 4), (12, 10), padding="same", boundary="wrap")
JOINED = {
    "sum": ODD + EVEN,
    "product": ODD @ EVEN,
    "multiple": 2.5 * (ODD @ EVEN),
    "adjoint": (ODD @ EVEN).H,
    "weights": cm.diagonal(np.arange(120.0).reshape(12, 10)) @ ODD,
    "gram": cm.gram(ODD),
    "below": cm.vstack([ODD, 2 * EVEN]),
    "beside": cm.hstack([ODD, EVEN]),
    "blocks": cm.block_diag([ODD, EVEN]),
    "joined": cm.concat([ODD, EVEN], 1),
    "joined adjoint": cm.concat([ODD, EVEN, 3 * ODD], 0).T,
    "weighted join": cm.diagonal(np.arange(240.0).reshape(24, 10)) @ cm.concat([ODD, EVEN], 0),
    "varying": cm.varying(
        np.arange(18.0).reshape(2, 3, 3), np.arange(240.0).reshape(2, 12, 10), (12, 10), padding="same"
    ),
    "rows": ODD[2:9, ::2],
    "padded": cm.pad((12, 10), 2, "symmetric"),
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_maps(name, no_tasks):
    op = JOINED[name]
    x = np.random.default_rng(0).integers(-9, 10, (3, *op.in_shape)).astype(float)
    y = op(da.from_array(x, chunks=(2, *(5 for _ in op.in_shape))))
    with dask.config.set(scheduler="sync"):
        assert np.array_equal(y.compute(), op(x))
    assert y.chunks[0] == (2, 1)


def test_flattened_columns():
    v = np.arange(120.0)
    for columns, chunks in ((v, 50), (np.stack([v, v[::-1]], axis=1), (60, 1))):
        lazy = da.from_array(columns, chunks=chunks)
        assert np.array_equal((ODD @ lazy).compute(), ODD @ columns)
        assert np.array_equal(
            ODD.rmatmat(lazy).compute() if columns.ndim == 2 else ODD.rmatvec(lazy).compute(), ODD.H @ columns
        )


def test_a_map_that_is_not_cut_takes_images_that_are_one_chunk():
    op = abs(ODD)
    x = np.arange(360.0).reshape(3, 12, 10)
    assert np.array_equal(op(da.from_array(x, chunks=(1, 12, 10))).compute(), op(x))
    with pytest.raises(cm.ArgumentError, match=r"cuts images .* into chunks.*Pass x\.rechunk\(\{-2: -1, -1: -1\}\)"):
        op(da.from_array(x, chunks=(1, 12, 5)))


def test_a_user_s_own_map_is_applied_to_images():
    class RunningSum(cm.LinearMap):
        in_shape, out_shape, dtype = (4,), (4,), np.dtype(int)

        def _apply(self, x):
            return np.cumsum(x, axis=1)

        def _apply_transposed(self, y):
            return self._apply(y[:, ::-1])[:, ::-1]

    x = np.arange(20).reshape(5, 4)
    lazy = da.from_array(x, chunks=(2, 4))
    assert np.array_equal(RunningSum()(lazy).compute(), np.cumsum(x, axis=1))
    assert np.array_equal(RunningSum().T(lazy).compute(), RunningSum().T(x))


# What others give wrong values for, with the right ones


@pytest.mark.parametrize(("kernel", "expected"), [
    (scipy.ndimage.gaussian_filter(np.eye(1, 81, 40).reshape(9, 9), 1, mode="constant"),
     lambda x, kernel: scipy.ndimage.correlate(x, kernel, mode="grid-wrap")),
    (np.ones((5, 5)) / 25, lambda x, _: scipy.ndimage.uniform_filter(x, 5, mode="grid-wrap")),
    (np.outer([1, 2, 1], [-1, 0, 1]), lambda x, _: scipy.ndimage.sobel(x, 1, mode="grid-wrap")),
])  # fmt: skip
def test_wrapping_filters_at_seams(kernel, expected):
    op = cm.conv(kernel, IMAGE.shape, padding="same", boundary="wrap")
    y = op(da.from_array(IMAGE, chunks=(9, 7))).compute()
    assert np.allclose(y, expected(IMAGE, kernel), rtol=1e-13, atol=1e-12)


def test_a_kernel_longer_than_the_array():
    x, kernel = np.arange(8.0), np.arange(19.0)
    y = cm.conv(kernel, 8, padding="same", boundary="symmetric")(da.from_array(x, chunks=3)).compute()
    assert np.array_equal(y, scipy.ndimage.correlate1d(x, kernel, mode="reflect"))


def test_complex_weights_of_real_numbers():
    y = cm.conv(np.array([1j, 2, 3]), 12, padding="same")(da.ones(12, chunks=5))
    assert y.dtype == y.compute().dtype == complex


def test_chunks_below_the_halo_and_an_uneven_last_one():
    x = np.ones(12)
    for chunks in (2, 5):
        y = cm.conv(np.arange(7.0), 12, padding=3)(da.from_array(x, chunks=chunks)).compute()
        assert np.array_equal(y, np.convolve(x, np.arange(7.0)[::-1], "same"))
        assert y[5] == 21


def test_strided_chunks_meet_the_windows_of_the_whole():
    x = np.arange(37.0)
    for stride in (2, 3, 5):
        y = cm.conv(np.ones(3), 37, stride=stride, padding="same")(da.from_array(x, chunks=4)).compute()
        assert np.array_equal(y, cm.conv(np.ones(3), 37, stride=stride, padding="same")(x))


# What Dask sees


def test_equal_work_has_equal_names():
    kernel = np.arange(9.0).reshape(3, 3)
    x = da.ones((12, 10), chunks=5)
    names = {cm.conv(kernel.copy(), (12, 10))(x).name, pickle.loads(pickle.dumps(cm.conv(kernel, (12, 10))))(x).name}
    assert len(names) == 1
    others = (
        cm.conv(kernel + 1, (12, 10)),
        cm.conv(kernel, (12, 10), padding=1),
        cm.conv(kernel, (12, 10)).conj() * 1j,
    )
    assert len({op(x).name for op in others} | names) == 4
    program = (
        "import convmtx as cm, numpy as np, dask.array as da; print(cm.conv(np.ones(3), 9)(da.ones(9, chunks=4)).name)"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                           env=os.environ | {"PYTHONHASHSEED": seed}).stdout for seed in "12"]  # fmt: skip
    assert runs[0] == runs[1]


def test_tokens_of_maps_do_not_depend_on_what_they_were_used_for():
    for op in (ODD, cm.gram(ODD), abs(ODD), cm.local(np.ones((4, 3)), 6)):
        before = dask.base.tokenize(op)
        op(np.ones(op.in_shape))
        assert dask.base.tokenize(op) == before


def test_interior_chunks_share_one_convolution_and_a_wrap_reads_strips():
    op = cm.conv(np.ones(7), 1000, padding=3, boundary="wrap")
    y = op(da.ones(1000, chunks=100))
    cuts = [value for key, value in dict(y.__dask_graph__()).items() if str(key).startswith("('cut-")]
    assert len(cuts) == 10


def test_a_task_cuts_nothing_out_of_the_chunk_that_it_reads():
    for boundary in BOUNDARIES:
        op = cm.conv(np.ones(7), 1000, padding=3, boundary=boundary)
        x = da.ones(1000, chunks=1000)
        assert len(op(x).__dask_graph__()) - len(x.__dask_graph__()) == op.explain(chunks=-1).chunked.tasks == 2


def test_rows_of_dask_times_a_map_stay_lazy(no_tasks):
    rows = da.ones((3, ODD.shape[0]), chunks=(1, 60))
    assert isinstance(rows @ ODD, da.Array)
    assert isinstance(rows[0] @ ODD, da.Array)


def test_what_an_array_of_dask_must_be(no_tasks):
    op = cm.conv(np.ones(3), 12)
    for x, message in (
        (da.ones(13, chunks=5), r"x has shape \(13,\)"),
        (da.ones(12, chunks=5).map_blocks(np.ma.asarray, meta=np.ma.ones(0)), "chunks of numpy.ma"),
        (da.ones(24, chunks=5)[da.ones(24, chunks=5) > 0], "unknown shape"),
        (da.from_array(np.full(12, "a"), chunks=5), "dtype <U1"),
    ):
        with pytest.raises(cm.ConvmtxError, match=message):
            op(x)


def test_explanation_of_chunks(no_tasks):
    op = cm.conv(np.ones((7, 7), np.float32), (10**5, 10**5), padding="same")
    told = op.explain(chunks=2000).chunked
    assert told.in_chunks == told.out_chunks == ((2000,) * 50,) * 2
    assert told.halo == ((3, 3), (3, 3))
    # Inner chunks read 2006 inputs along an axis, and the first and last 2003.
    assert told.bytes_read == 4 * (48 * 2006 + 2 * 2003) ** 2
    assert told.bytes_needed == 4 * 10**10
    assert told.tasks == 2 * 2500 + 1
    assert told.bytes_of_task == 4 * (2 * 2006**2 + 2000**2)
    assert "1.006 times the inputs; at most 5001 tasks of 48.2 MB" in str(op.explain(chunks=2000))
    assert op.explain().chunked is None


@pytest.mark.parametrize(("chunks", "message"), [
    (0, ">= 1"), (((5, 5, 5), 5), "along an axis of 12"), (((6, 5), 5), "along an axis of 12"), ("auto", "an int"),
    ((), "Pass"),
])  # fmt: skip
def test_chunks_that_do_not_fit_are_refused(chunks, message):
    op = cm.conv(np.ones((3, 3)), (12, 10))
    with pytest.raises(cm.ConvmtxError, match=message):
        op.explain(chunks=chunks)


# The matrix


@pytest.mark.parametrize("order", ["C", "F"])
def test_slabs_of_rows_are_the_matrix(order, no_tasks):
    for op in (ODD, ODD.T, ODD + EVEN, cm.diagonal(np.arange(5))):
        slabs = op.to_dask(rows=7, order=order)
        assert slabs.shape == op.shape
        with dask.config.set(scheduler="sync"):
            blocks = [slabs.blocks[j].compute() for j in range(slabs.numblocks[0])]
        assert [block.shape[0] for block in blocks] == list(slabs.chunks[0])
        assert np.array_equal(np.concatenate([block.toarray() for block in blocks]), op.to_dense(order))


def test_slabs_of_a_matrix_of_any_size(no_tasks):
    op = cm.conv(np.ones((7, 7), np.float32), (10**5, 10**5), padding="same")
    slabs = op.to_dask(rows=10**6)
    assert slabs.numblocks == (10**4, 1)
    with dask.config.set(scheduler="sync"):
        last = op.to_dask(rows=[10**10 - 100, 100]).blocks[1].compute()
    assert last.indices.dtype == np.int64
    assert last.indices.max() == 10**10 - 1
    assert last.nnz == sum(4 * min(7, 10**5 - j + 3) for j in range(10**5 - 100, 10**5))


def test_sizes_of_slabs_that_are_not_all_rows_are_refused():
    with pytest.raises(cm.ArgumentError, match="whose sum is 120, the number of rows"):
        ODD.to_dask(rows=[100, 30])
