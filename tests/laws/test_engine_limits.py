"""What engines promise beside the result: exact integers, stated rounding, bounded memory, any number of threads."""

import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np
import pytest
import threadpoolctl

import convmtx as cm
from convmtx.engines import direct, fft, parts, sparse, threads, tile_kinds
from convmtx.engines.select import ENGINES
from convmtx.structure import batched
from convmtx.taps import taps_of

RNG = np.random.default_rng(0)
#: Libraries that engines need.
LIBRARIES = {"torch": "torch", "compiled": "numba"}


def extra_memory(op, x):
    """Bytes allocated at the peak of a call, beyond its result and what is kept for the next time."""
    y = op(x)
    with pytest.MonkeyPatch.context() as patch:  # what threads keep counts every time
        for module in (direct, parts):
            patch.setattr(module, "scratch", lambda _, *like: np.empty(*like))
        tracemalloc.start()
        op(x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak - y.nbytes


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("bits", [4, 10, 14, 22, 24, 26, 31, 50, 53, 61])
@pytest.mark.parametrize("engine", ["direct", "compiled"])
def test_integers_are_exact_up_to_their_own_wrap_around(engine, dtype, bits):
    """Python's integers are the oracle; the sizes go past what float32, float64 and int64 hold."""
    info = np.iinfo(dtype)
    least, most = max(-(2**bits), info.min), min(2**bits, info.max)
    x = RNG.integers(least, most, (6, 7), dtype=dtype, endpoint=True)
    K = RNG.integers(max(-5, info.min), 5, (3, 2), dtype=dtype, endpoint=True)
    exact = sum(int(K[p, q]) * x[p : p + 4, q : q + 6].astype(object) for p in range(3) for q in range(2))
    wrapped = (exact - info.min) % (info.max - info.min + 1) + info.min

    if engine in LIBRARIES:
        pytest.importorskip(LIBRARIES[engine])
    assert np.array_equal(cm.conv(K, (6, 7), engine=engine)(x), wrapped.astype(dtype))


def test_sums_at_the_edge_of_each_float_are_exact():
    for bits in (22, 23, 24, 51, 52, 53, 54):
        x = np.array([2**bits - 1, 1, 2**bits + 1])
        assert cm.conv([1, 1], 3)(x).tolist() == [2**bits, 2**bits + 2]
        assert cm.conv([3, -1], 3)(-x).tolist() == [-3 * 2**bits + 4, 2**bits - 2]


@pytest.mark.parametrize("engine", ["direct", "fft", "separable", "sparse", "torch", "compiled"])
@pytest.mark.parametrize("make", [np.float32, np.complex64], ids=["float32", "complex64"])
def test_single_precision_stays_so_within_the_stated_bound(engine, make, monkeypatch):
    monkeypatch.setattr(sparse, "MOST_ENTRIES", 1 << 23)
    if engine in LIBRARIES:
        pytest.importorskip(LIBRARIES[engine])
    if engine == "torch" and make is np.complex64:
        return
    K = np.multiply.outer(RNG.standard_normal((2, 3, 7)), RNG.standard_normal(9)).astype(make)
    x = RNG.standard_normal((3, 90, 70)).astype(make)
    op = cm.conv(K, x.shape, channels="first", padding="same", boundary="reflect", engine=engine)
    y = op(x)
    exact = cm.conv(K.astype(complex), x.shape, channels="first", padding="same", boundary="reflect")
    absolute = cm.conv(np.abs(K).astype(float), x.shape, channels="first", padding="same", boundary="reflect")
    eps = np.finfo(np.float32).eps
    bound = (K[0].size + 4) * eps * absolute(np.abs(x).astype(float))
    if engine == "fft":
        bound = eps * np.log2(96 * 80) * np.linalg.norm(K) * np.linalg.norm(x)

    assert y.dtype == make
    assert (np.abs(y - exact(x.astype(complex))) <= bound).all()


@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize(
    ("filters", "size", "options"),
    [
        ((1, 1), (3, 3), {}), ((4, 8), (5, 5), {"stride": 2}), ((2, 16), (3, 3), {"padding": 1}),
        ((1, 1), (9, 9), {"padding": "same", "boundary": "reflect"}), ((64, 1), (3, 3), {"dilation": 2}),
        ((1, 1), (1, 21), {}), ((30, 30), (5, 5), {}), ((1, 64), (3, 3), {}),
    ],
)  # fmt: skip
def test_extra_memory_of_the_direct_engine_does_not_grow_with_the_image(filters, size, options, channels, monkeypatch):
    monkeypatch.setattr(tile_kinds, "TILE_BYTES", 1 << 17)
    monkeypatch.setattr(parts, "CLOSE_BYTES", 1 << 17)
    K = RNG.standard_normal((*filters, *size) if channels == "first" else (*size, *filters[::-1]))
    # Of many channels less is enough: the larger array has more bytes than the bound of two threads.
    spaces = [(50, 100), (100, 100), (size[0] + 6, 1000), (1000, size[1] + 6)]
    if max(filters) < 30:
        spaces = [(100, 200), (300, 200), (size[0] + 6, 4000), (4000, size[1] + 6)]
    for space in spaces:
        shape = (filters[1], *space) if channels == "first" else (*space, filters[1])
        for dtype in (np.float64, np.int64):
            op = cm.conv((4 * K).astype(dtype), shape, channels=channels, engine="direct", **options)
            for applied in (op, op.T):
                x = (9 * RNG.standard_normal(applied.in_shape)).astype(dtype)
                border = 0
                if applied is not op and options.get("boundary"):  # what is read outside takes part until it is folded
                    border = (prod(n + k - 1 for n, k in zip(space, size, strict=True)) - prod(space)) * x.itemsize
                objects = 1 << 16  # views and steps: a twentieth of these small tiles, a thousandth of those in use
                assert extra_memory(applied, x) <= threads.threads() * 5 * tile_kinds.TILE_BYTES + border + objects


def test_extra_memory_of_the_direct_engine_is_what_the_documentation_says():
    x = np.zeros((3000, 2000), np.float32)
    op = cm.conv(RNG.standard_normal((7, 7)).astype(np.float32), x.shape, engine="direct")
    assert extra_memory(op, x) <= threads.threads() * 5 * 4 * 2**20


def test_half_precision_is_rounded_once():
    K, x = RNG.standard_normal((5, 5)).astype(np.float16), RNG.standard_normal((40, 30)).astype(np.float16)
    y = cm.conv(K, x.shape, engine="direct")(x)
    exact = cm.conv(K.astype(float), x.shape)(x.astype(float))
    sums = 30 * np.finfo(np.float32).eps * cm.conv(np.abs(K).astype(float), x.shape)(np.abs(x).astype(float))

    assert y.dtype == np.float16
    assert (np.abs(y - exact) <= np.spacing(np.abs(y)) / 2 + sums).all()


@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "separable", "sparse", "torch", "compiled"])
def test_what_is_not_finite_reaches_its_windows_alone_in_every_engine(engine, poison, boundary):
    if engine in LIBRARIES:
        pytest.importorskip(LIBRARIES[engine])
    K = np.ones((5, 3), np.float32)
    K[1], K[:, 1] = 0, 0  # taps, so what stands under them is reached too
    op = cm.conv(K, (40, 60), stride=(1, 2), padding=2, boundary=boundary, engine=engine)
    reached = cm.conv(np.ones((5, 3), int), (40, 60), stride=(1, 2), padding=2, boundary=boundary)
    x, y = np.ones(op.in_shape, np.float32), np.ones(op.out_shape, np.float32)
    x[7, 11] = x[0, 59] = poison
    y[30, 0] = y[3, 4] = poison

    for applied, clean, a in [(op, reached, x), (op.T, reached.T, y)]:
        with np.errstate(invalid="ignore"):
            assert np.array_equal(~np.isfinite(applied(a)), clean((~np.isfinite(a)).astype(int)) > 0)


@pytest.mark.parametrize("boundary", ["zero", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "separable", "sparse"])
@pytest.mark.parametrize("filters", [(1, 1), (1, 2), (2, 1), (2, 4)])
def test_the_adjoint_of_a_strided_map_in_every_engine(filters, engine, boundary):
    """Its parts have fewer taps, or none along an axis, and are not those of the map itself."""
    K = RNG.standard_normal((*filters[::-1], 5, 1)) * RNG.standard_normal((*filters[::-1], 1, 3)) * (1 + 2j)
    kind = {"stride": (2, 3), "padding": 2, "boundary": boundary, "channels": "first"}
    op = cm.conv(K, (filters[0], 19, 18), engine=engine, **kind)
    y = RNG.standard_normal(op.out_shape)

    assert np.allclose(op.T(y).ravel(), op.to_dense().T @ y.ravel(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [np.float32, np.int32])
def test_factors_are_as_exact_as_the_results(kernel):
    K = np.multiply.outer(RNG.standard_normal(21), RNG.standard_normal(21))
    K = (K.astype(np.float32) if kernel is np.float32 else 1e8 * K).astype(kernel)  # rounded, so no outer product
    x = RNG.standard_normal((200, 200))
    exact = cm.conv(K.astype(float), x.shape, engine="direct")(x)

    assert np.abs(cm.conv(K, x.shape)(x) - exact).max() <= 1e-13 * np.abs(exact).max()


def test_small_entries_of_a_kernel_are_not_dropped():
    K = np.multiply.outer([*np.ones(20), 0], [*np.ones(20), 0.0])
    K[20, 20] = 1e-20
    with pytest.raises(ValueError, match="outer product"):
        cm.conv(K, (256, 256), engine="separable")(np.ones((256, 256)))


@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "separable"])
def test_large_numbers_are_neither_warned_of_nor_done_twice(engine):
    K = np.ones((9, 9))
    x = np.full((100, 100), 1e305)
    with np.errstate(all="raise"):
        assert cm.conv(K, x.shape, engine=engine)(x)[0, 0] == pytest.approx(8.1e306)
    half = cm.conv(np.ones((2, 2), np.float16), x.shape, engine="auto" if engine == "separable" else engine)
    with np.errstate(all="raise"):
        assert half(np.full((100, 100), 9000, np.float16))[0, 0] == 36000


@pytest.mark.parametrize("options", [{}, {"stride": 3}, {"dilation": 2}, {"padding": "same", "boundary": "reflect"}])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_pieces_of_a_line_are_transformed_together(batch, options):
    """13 pieces of about 16000 inputs make stacks of 10 (batches: 5), 2 and a rest; whole numbers make all exact."""
    K, x = RNG.integers(-4, 5, (2, 3, 41)).astype(float), RNG.integers(-4, 5, (*batch, 3, 200_000)).astype(float)
    op = cm.conv(K, (3, 200_000), channels="first", engine="fft", **options)
    exact = cm.ConvOperator(op.geometry, op.kernel.astype(np.int64), "direct")
    assert len(fft.plan_line(op.geometry.axes[0], fft.LONG).starts) == 13
    assert np.array_equal(np.rint(op(x)), exact(x.astype(np.int64)))


def test_transforms_are_cut_where_they_would_not_fit(monkeypatch):
    K, x = RNG.standard_normal((3, 2, 9, 9)), RNG.standard_normal((5, 2, 300, 200))
    make = {"channels": "first", "padding": "same", "engine": "fft"}
    expected = cm.conv(K, (2, 300, 200), **make)(x)
    before = extra_memory(cm.conv(K, (2, 300, 200), **make), x)
    monkeypatch.setattr(fft, "PIECE_BYTES", 1 << 20)
    op = cm.conv(K, (2, 300, 200), **make)

    assert np.allclose(op(x), expected, rtol=0, atol=1e-12)
    assert extra_memory(op, x) < 5 << 20 < before
    (part,) = op._plan.parts
    transform = [kept for key, kept in part._kept.items() if "spectrum" in key]
    assert sum(kept.nbytes for kept in transform) <= 1 << 20


@pytest.mark.parametrize("far", [1 << 20, 1 << 40])
def test_taps_that_lie_far_apart_take_no_memory_between_them(far):
    op = cm.conv(np.array([2.0, 3.0]), 5, dilation=far, padding=far, stride=far)
    x = np.arange(5.0) + 1
    assert op(x).tolist() == [3.0, 2.0]  # taps at -far and 0, then at 0 and far
    assert extra_memory(op, x) < 1 << 16


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_do_not_depend_on_the_number_of_threads(count, monkeypatch):
    cases = [
        (cm.conv(RNG.standard_normal((5, 5)), (700, 600), engine="direct"), (700, 600)),
        (cm.conv(RNG.standard_normal((3, 3, 8, 16)), (150, 140, 8), engine="direct"), (150, 140, 8)),
        (cm.conv(RNG.standard_normal((9, 9, 8, 16)), (150, 140, 8), engine="fft"), (150, 140, 8)),
    ]
    for op, shape in cases:
        x = RNG.standard_normal(shape)
        expected = op(x)
        with ThreadPoolExecutor(max(count - 1, 1)) as pool:
            monkeypatch.setattr(threads, "threads", lambda: count)
            monkeypatch.setattr(threads, "_pool", lambda pool=pool: pool)
            assert np.array_equal(op(x), expected)
            monkeypatch.undo()


def test_many_threads_of_the_user_share_an_operator():
    op = cm.conv(RNG.standard_normal((5, 5)), (400, 500), engine="direct")
    inputs = [RNG.standard_normal((400, 500)) for _ in range(24)]
    expected = [op(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(op, inputs, timeout=60))

    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def blas_threads():
    """Threads of NumPy's and SciPy's BLAS; other libraries bring their own, whenever they are loaded."""
    blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    return {b["num_threads"] for b in blas if "numpy" in b["filepath"] or "scipy" in b["filepath"]}


def test_blas_is_held_to_one_thread_until_the_last_user_leaves():
    """Each user alone would put back what it saw at first: of two that overlap, the second saw one thread."""
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        assert 3 in before
        first, second = threads.one_blas_thread(), threads.one_blas_thread()
        steps = ((first.__enter__, {1}), (second.__enter__, {1}), (first.__exit__, {1}), (second.__exit__, before))
        for step, expected in steps:
            step(*(3 * [None] if step.__name__ == "__exit__" else []))
            assert blas_threads() == expected


def test_small_decompositions_are_made_with_one_blas_thread_each():
    counts = []
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        batched.shared_out(lambda some: (counts.append(blas_threads()) or some,), np.ones((40, 16, 16)))
    assert counts
    assert set().union(*counts) == {1}


def test_an_error_in_one_thread_reaches_the_caller_after_all_have_stopped():
    running = []

    def work(items):
        for item in items:
            running.append(item)
            if item == 3:
                raise ValueError(item)
            running.remove(item)

    with pytest.raises(ValueError, match="3"):
        threads.spread(work, list(range(50)), parallel=True)
    assert running == [3]


FORK = """
import os, numpy as np, convmtx as cm
op, x = cm.conv(np.ones((5, 5)), (900, 900), engine="direct"), np.ones((900, 900))
assert (op(x) == 25).all()
child = os.fork()
if child == 0:
    os._exit(0 if (op(x) == 25).all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(sys, "getwindowsflags") and sys.platform == "win32", reason="no fork there")
def test_a_forked_child_has_threads_of_its_own():
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60, check=False).returncode == 0


def test_errors_states_of_the_caller_hold_in_every_thread():
    op = cm.conv(np.full((3, 3), 1e200), (900, 900), engine="direct")
    x = np.full((900, 900), 1e200)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        op(x)


def test_choosing_imports_no_other_library():
    code = "import sys, numpy as np, convmtx as cm; cm.conv(np.ones((64, 64, 3, 3), 'f4'), (64, 56, 56), "
    code += "channels='first')(np.ones((64, 56, 56), 'f4')); raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_torch_is_chosen_where_it_is_imported_and_faster():
    pytest.importorskip("torch")
    op = cm.conv(np.ones((64, 64, 3, 3), np.float32), (64, 56, 56), channels="first")
    assert "torch" in op.explain().engines
    assert "torch" not in cm.conv(np.ones((64, 64, 3, 3)), (64, 56, 56), channels="first").explain().engines


def test_an_engine_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    op = cm.conv(np.ones(3, np.float32), 5, engine="torch")
    with pytest.raises(ImportError, match=r'pip install "convmtx\[torch\]'):
        op(np.ones(5, np.float32))


def test_explanations_measure_on_demand():
    op = cm.conv(np.outer([1.0, 2, 1], [1.0, 2, 1]), (40, 50))
    plain, timed = op.explain(), op.explain(measure=True)

    assert set(plain.engines) - {"torch", "compiled"} == {"direct", "fft", "separable", "sparse"}
    assert plain.engines["direct"].keys() == {"flops", "bytes", "predicted"}
    assert plain.engine in plain.engines
    for name, each in timed.engines.items():
        assert 0 < each["measured"] < 1
        assert f"  {name}" in str(timed)
    # 2 flops a tap, and what neighbours that are taken together add to it.
    assert 2 * 9 * 38 * 48 <= plain.engines["direct"]["flops"] <= 40 * 9 * 38 * 48


def test_work_depends_on_the_sizes_of_parts_alone():
    """So predictions are kept for all kernels of these sizes, except by engines that read the kernel."""
    K = RNG.standard_normal((4, 2, 3, 5)) * (RNG.random((4, 2, 3, 5)) < 0.2)
    for layout, shape in (("first", (4, 20, 21)), ("last", (20, 21, 4))):
        kernel = K if layout == "first" else K.transpose(2, 3, 1, 0)
        op = cm.conv(kernel, shape, channels=layout, groups=2, input_dilation=(2, 1), padding=2)
        for part in parts.Plan(op.geometry, taps_of(op.geometry, op.kernel)).parts:
            for name, engine in ENGINES.items():
                for dtype in map(np.dtype, ("float32", "complex128")):
                    sized = engine.work(part.sizes.build(), dtype, 3)
                    assert engine.reads_kernel == (name == "separable")
                    assert engine.reads_kernel or sized == engine.work(part, dtype, 3)
    assert "separable" in cm.conv(np.ones((5, 5)), (50, 50)).explain().engines
    assert "separable" not in cm.conv(RNG.standard_normal((5, 5)), (50, 50)).explain().engines


def test_a_signal_of_one_channel_has_flops_too():
    assert cm.conv([1.0, 2.0, 1.0], 1000).explain().engines["direct"]["flops"] == 2 * 3 * 998


@pytest.mark.parametrize("padding", [0, [1, 2]])
def test_torch_takes_flipped_axes_of_one_entry(padding):
    """NumPy calls these contiguous, although their strides are negative, which PyTorch refuses."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    K = rng.standard_normal((8, 2, 1, 1)).astype(np.float32)
    op = cm.conv(K, (8, 5, 3), stride=[2, 1], padding=padding, groups=4, channels="first", engine="torch")
    y = rng.standard_normal((2, *op.out_shape)).astype(np.float32)
    pads = [padding, padding] if isinstance(padding, int) else padding
    x = torch.zeros(2, 8, 5, 3, requires_grad=True)
    out = torch.nn.functional.conv2d(x, torch.from_numpy(K), stride=(2, 1), padding=pads, groups=4)
    (expected,) = torch.autograd.grad(out, x, torch.from_numpy(y))

    np.testing.assert_allclose(op.T(y), expected.numpy(), rtol=1e-5, atol=1e-6)
