"""Solves on arrays of Dask, beside those in memory: iterates, endings, checkpoints, and what the graphs do."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import convmtx as cm
from convmtx import costs
from convmtx.solves import chunked

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
from dask.callbacks import Callback  # noqa: E402


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def blur(n=(30, 20), boundary="zero", dtype=float):
    return cm.conv(np.outer([1, 4, 6, 4, 1], [1, 2, 1]).astype(dtype) / 64, n, padding="same", boundary=boundary)


def laplacian(n):
    return cm.conv([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], n, padding="same")


B = da.from_array(normal(30, 20), chunks=(16, 11))


def gap(x, other):
    return np.linalg.norm(x - other) / np.linalg.norm(other)


WIDE = (300, 300)
PROBLEMS = {
    "undamped": {},
    "damped": {"damp": 0.05},
    "start": {"damp": 0.05, "x0": normal(*WIDE, seed=1)},
    "regularizers": {"damp": 0.1, "regularizer": [laplacian(WIDE), cm.identity(WIDE)]},
    "weights": {"damp": 0.05, "weights": normal(*WIDE, seed=2) ** 2, "mask": normal(*WIDE, seed=3) < 1},
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_iterates_are_those_in_memory(name):
    op, b, options = blur(WIDE), normal(*WIDE), PROBLEMS[name]
    iterates = [], []
    lazy = {key: da.from_array(v, chunks=160) if isinstance(v, np.ndarray) else v for key, v in options.items()}
    cm.solve(
        op,
        da.from_array(b, chunks=(150, 170)),
        maxiter=6,
        callback=lambda x: iterates[0].append(x.compute()),
        **lazy,
    )
    cm.solve(op, b, maxiter=6, method="lsmr", callback=lambda x: iterates[1].append(x), **options)
    assert len(iterates[0]) == len(iterates[1]) == 6
    assert max(map(gap, *iterates)) <= 1e-12


STRIDED = cm.conv(normal(3, 3), (31, 20), stride=(2, 1))
CHANNELS = cm.conv(normal(4, 2, 3, 3), (2, 12, 14), channels="first", padding="same")
STACK = cm.vstack([blur(), 0.5 * cm.conv([[1.0, -1]], (30, 20), padding="same")])
KINDS = {
    "stride": (STRIDED, normal(*STRIDED.out_shape), (7, 9)),
    "wrap, a batch": (
        blur(boundary="wrap"),
        normal(3, 2, 30, 20) * np.array([1, 1e-4, 0])[:, None, None, None],
        (2, 1, 10, 7),
    ),
    "complex": ((1 + 2j) * blur(boundary="reflect"), normal(30, 20), (16, 11)),
    "a stack": (STACK, normal(*STACK.out_shape), (300,)),
    "one that is finished early": (blur(boundary="wrap"), np.stack([normal(30, 20), np.ones((30, 20))]), (2, 16, 20)),
    "chunks of one": (blur((4, 3)), normal(4, 3), (1, 1)),
    "no chunks of its own": (cm.aslinearmap(normal(12, 10)), normal(5, 12), (2, 12)),
}


@pytest.mark.parametrize("name", KINDS)
def test_solutions_are_those_in_memory(name):
    op, b, chunks = KINDS[name]
    s, m = cm.solve(op, da.from_array(b, chunks=chunks), damp=1.0), cm.solve(op, b, damp=1.0, method="lsmr")
    assert isinstance(s.x, da.Array)
    assert s.converged
    assert s.method == "LSMR"
    assert s.iterations == m.iterations
    assert gap(s.x.compute(), m.x) < 1e-9
    assert np.allclose(s.residual, m.residual, rtol=1e-12)
    assert np.allclose(s.error, m.error, rtol=1e-3)
    assert s.error_kind == m.error_kind == "bound"


def test_weights_of_each_array_of_a_batch_and_data_that_are_not_there():
    op, b, weights = blur(), normal(2, 30, 20), normal(2, 30, 20, seed=1) ** 2
    mask = normal(2, 30, 20, seed=2) < 1
    expected = cm.solve(op, b, damp=1.0, weights=weights, mask=mask).x
    b[~mask] = np.nan
    lazy = da.from_array(b, chunks=(1, 16, 20))
    for kind in (np.asarray, lambda array: da.from_array(array, chunks=(2, 30, 11))):
        s = cm.solve(op, lazy, damp=1.0, weights=kind(weights), mask=kind(mask))
        assert s.converged
        assert gap(s.x.compute(), expected) < 1e-6


def test_single_precision_stays_single():
    op, b = blur(dtype=np.float32), normal(30, 20).astype(np.float32)
    s = cm.solve(op, da.from_array(b, chunks=(16, 11)), damp=1.0)
    exact = cm.solve(op, b.astype(float), damp=1.0).x
    assert s.converged
    assert s.x.dtype == s.x.compute().dtype == np.float32
    assert gap(s.x.compute(), exact) <= s.error < 1e-4


class Watch(Callback):
    """Counts tasks, and the bytes of the largest array that one of them makes."""

    def __init__(self):
        super().__init__()
        self.tasks, self.largest = 0, 0

    def _posttask(self, _key, result, *_):
        self.tasks += 1
        self.largest = max(self.largest, getattr(result, "nbytes", 0))


def test_each_step_is_one_persist_of_as_many_tasks_and_no_chunk_is_larger(monkeypatch):
    op, b = blur((200, 180)), da.from_array(normal(200, 180), chunks=(60, 60))
    runs = []
    persist = dask.persist
    monkeypatch.setattr(dask, "persist", lambda *args: runs.append(args) or persist(*args))
    tasks = {}
    for steps in (2, 3, 6):
        runs.clear()
        with Watch() as watch:
            cm.solve(op, b, damp=0.1, maxiter=steps)
        tasks[steps] = watch.tasks
        assert len(runs) == steps + 3  # and the first vectors, the last norms, and x
        assert watch.largest <= 8 * 66 * 64
    assert tasks[6] - tasks[3] == 3 * (tasks[3] - tasks[2])
    assert tasks[3] - tasks[2] < 16 * b.npartitions


def test_the_bound_of_the_error_holds():
    op, b = blur((40, 30)), normal(40, 30)
    exact = cm.solve(op, b, damp=0.1).x
    for steps in (3, 12):
        s = cm.solve(op, da.from_array(b, chunks=(20, 15)), damp=0.1, maxiter=steps)
        assert not s.converged
        assert s.verdict == "out of steps"
        x = s.x.compute()
        assert np.linalg.norm(x - exact) <= s.error * np.linalg.norm(x)


def test_what_is_not_known_of_x_is_not_claimed():
    op, b = blur(), da.from_array(normal(30, 20), chunks=(16, 11))
    s = cm.solve(op, b, damp=1.0, regularizer=laplacian((30, 20)), x0=normal(30, 20))
    assert s.converged
    assert s.error_kind == "unknown"
    assert np.isnan(s.error)
    assert "how far x is off is not known" in s.reason
    assert "x0 is not used" in s.reason
    s = cm.solve(op, b, damp=1e-7, rtol=0.1, maxiter=5)
    assert not s.converged
    assert s.error > 1e-3


def test_steps_begin_again_at_x_if_true_residuals_are_not_small(monkeypatch):
    passes, calls = chunked.passes, []
    monkeypatch.setattr(chunked, "passes", lambda *args: passes(*args) & (calls.append(1) or len(calls) > 1))
    s = cm.solve(blur(), B, damp=1.0, rtol=1e-6)
    assert s.converged
    assert len(calls) == 2
    assert gap(s.x.compute(), cm.solve(blur(), B.compute(), damp=1.0).x) <= s.error < 1e-5
    assert (np.diff(np.log(s.history)) < 0).all()


def test_an_empty_batch_and_zeros():
    op = blur()
    assert cm.solve(op, da.zeros((0, 30, 20)), damp=0.1).x.shape == (0, 30, 20)
    s = cm.solve(op, da.zeros((30, 20), chunks=10), damp=0.1)
    assert s.converged
    assert not s.x.compute().any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bounds": (0, None)}, "bounds=.*with an array of Dask"),
        ({"penalty": "l1", "damp": 1.0}, "penalty='l1' with an array of Dask"),
        ({"border": "free"}, "border='free' with an array of Dask"),
        ({"rcond": 1e-3}, "rcond=0.001 with an array of Dask"),
        ({"method": "blocks"}, "method='blocks' with an array of Dask"),
        ({"x0": np.zeros((2, 2))}, "x0 has shape"),
        ({"weights": -np.ones((30, 20))}, "weights are not all finite real numbers"),
        ({"weights": da.full((30, 20), np.nan)}, "weights are not all finite real numbers"),
        ({"mask": np.zeros((30, 20), bool)}, "no output was measured"),
        ({"mask": da.zeros((30, 20), dtype=int)}, "mask has dtype int64"),
        ({"checkpoint": 3}, "checkpoint=3. Expected the path of a folder"),
    ],
)
def test_the_rest_is_refused(options, words):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=words):
        cm.solve(blur(), B, **{"damp": 0.1, **options} if "rcond" not in options else options)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="b or x0 contains inf or nan"):
        cm.solve(blur(), B.map_blocks(lambda b: b + np.nan), damp=0.1)
    with pytest.raises(ValueError, match="op or damp has numbers near 1e-81"):
        cm.solve(1e-80 * blur(), B)
    with pytest.raises(ValueError, match="b has shape"):
        cm.solve(blur(), B[:20])


def test_a_wrong_path_is_refused_before_anything_is_computed():
    with Watch() as watch, pytest.raises(TypeError, match="checkpoint=3"):
        cm.solve(blur(), B, damp=0.1, checkpoint=3)
    assert watch.tasks == 0


# Checkpoints


def test_a_run_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    starts = {"damp": 1.0, "x0": normal(30, 20)}, {"damp": 1.0, "regularizer": laplacian((30, 20))}
    for path, options in zip((tmp_path / "start", tmp_path / "regularizer"), starts, strict=True):
        whole = cm.solve(blur(), B, maxiter=7, **options)
        assert cm.solve(blur(), B, maxiter=3, checkpoint=path, **options).iterations == 3
        for _ in range(2):  # the second finds it finished
            s = cm.solve(blur(), B, maxiter=7, checkpoint=str(path), **options)
            assert s.history == whole.history
            assert (s.x == whole.x).all().compute()
            assert len(os.listdir(path)) == 2


@pytest.mark.parametrize(("name", "calls"), [("save", 12), ("savez", 1)])
def test_a_checkpoint_is_replaced_whole(tmp_path, monkeypatch, name, calls):
    monkeypatch.setattr(costs, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("convmtx.solves.checkpoints.SHARE", 0.0)
    cm.solve(blur(), B, damp=1.0, maxiter=2, checkpoint=tmp_path)
    before = (tmp_path / "run.npz").read_bytes()
    write, count = getattr(np, name), []

    def fail(*args, **options):
        count.append(1)
        if len(count) > calls:
            raise KeyboardInterrupt
        write(*args, **options)

    monkeypatch.setattr(np, name, fail)
    with pytest.raises(KeyboardInterrupt):
        cm.solve(blur(), B, damp=1.0, maxiter=9, checkpoint=tmp_path)
    monkeypatch.setattr(np, name, write)
    with np.load(tmp_path / "run.npz") as numbers:
        steps = len(numbers["history"])
    assert ((tmp_path / "run.npz").read_bytes() == before) == (steps == 2)
    s = cm.solve(blur(), B, damp=1.0, maxiter=7, checkpoint=tmp_path)
    assert s.history == cm.solve(blur(), B, damp=1.0, maxiter=7).history


KILLED = """
import sys
import dask.array as da, numpy as np
import convmtx as cm
from convmtx import costs
from convmtx.solves import checkpoints
costs.CHECKPOINT_SECONDS = checkpoints.SHARE = 0.0
op = cm.conv(np.ones((3, 3)), (60, 40), padding="same")
b = da.from_array(np.random.default_rng(0).standard_normal((60, 40)), chunks=(30, 20))
cm.solve(op, b, damp=1e-3, rtol=1e-14, checkpoint=sys.argv[1])
"""


def test_a_run_that_is_killed_goes_on(tmp_path):
    path = tmp_path / "run"
    run = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
    until = time.monotonic() + 60
    while not (path / "run.npz").exists() and run.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)  # somewhere in a step, or in the next checkpoint
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    op = cm.conv(np.ones((3, 3)), (60, 40), padding="same")
    b = da.from_array(np.random.default_rng(0).standard_normal((60, 40)), chunks=(30, 20))
    with np.load(path / "run.npz") as numbers:
        steps = len(numbers["history"])
    s = cm.solve(op, b, damp=1e-3, rtol=1e-14, maxiter=steps + 5, checkpoint=path)
    assert s.iterations == steps + 5
    whole = cm.solve(op, b, damp=1e-3, rtol=1e-14, maxiter=steps + 5)
    assert s.history == whole.history
    assert (s.x == whole.x).all().compute()


def test_checkpoints_of_other_problems_are_refused(tmp_path):
    op, path = blur(), tmp_path / "run"
    cm.solve(op, B, damp=1.0, maxiter=2, checkpoint=path)
    others = {
        "there damp=1.0, here damp=2.0": (op, B, {"damp": 2.0}),
        "op is another one": (blur(boundary="wrap"), B, {"damp": 1.0}),
        "regularizer is another one": (op, B, {"damp": 1.0, "regularizer": laplacian((30, 20))}),
        "weights or mask is another one": (op, B, {"damp": 1.0, "weights": np.full((30, 20), 1.0)}),
        "b is another one": (op, -B, {"damp": 1.0}),
        "Its vectors have other chunks": (op, B.rechunk(15), {"damp": 1.0}),
    }
    for words, (other, b, options) in others.items():
        with pytest.raises(ValueError, match=words):
            cm.solve(other, b, checkpoint=path, **options)


def test_folders_and_files_that_are_no_checkpoints_are_refused(tmp_path):
    op = blur()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"It contains notes\.txt, which is not of a checkpoint"):
        cm.solve(op, B, damp=1.0, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="cannot be used"):
        cm.solve(op, B, damp=1.0, checkpoint=tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="checkpoint with b in memory"):
        cm.solve(op, B.compute(), damp=1.0, checkpoint=tmp_path)
    path = tmp_path / "run"
    cm.solve(op, B, damp=1.0, maxiter=2, checkpoint=path)
    vector = next(path.glob("steps-*/w-1-1.npy"))
    np.save(vector, np.zeros(3))
    with pytest.raises(ValueError, match=r"w-1-1\.npy has float64 of shape \(3,\)"):
        cm.solve(op, B, damp=1.0, maxiter=4, checkpoint=path)
    with np.load(path / "run.npz") as file:
        numbers = dict(file)
    whole = (path / "run.npz").read_bytes()
    wrongs = {"tau": np.ones(3)}, {"first": np.array([None])}, {"what": np.array("{}")}, {"state": np.ones((4, 1))}
    for wrong in wrongs:
        np.savez(path / "run.npz", **{**numbers, **wrong})
        with pytest.raises(ValueError, match=r"run\.npz is damaged"):
            cm.solve(op, B, damp=1.0, checkpoint=path)
    (path / "run.npz").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"run\.npz is damaged"):
        cm.solve(op, B, damp=1.0, checkpoint=path)


@pytest.mark.filterwarnings("default")
def test_a_cluster_computes_the_same_and_forgets_what_is_over(tmp_path, monkeypatch, caplog):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(costs, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("convmtx.solves.checkpoints.SHARE", 0.0)
    op, expected = blur(), cm.solve(blur(), B, damp=1.0)
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with (
        dask.config.set(scheduler=None),
        distributed.LocalCluster(**options) as cluster,
        cluster.get_client() as client,
    ):

        def known():
            return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

        counts = []
        s = cm.solve(op, B, damp=1.0, maxiter=6, checkpoint=tmp_path, callback=lambda _: counts.append(known()))
        assert max(counts) < 150  # about 60 a step, and those of 6 steps without checkpoints
        s = cm.solve(op, B, damp=1.0, checkpoint=tmp_path)
        assert gap(s.x.compute(), expected.x.compute()) < 1e-13
        assert s.iterations == expected.iterations
        b = da.ones((300, 200), chunks=100)  # which has to be rechunked, as its weights
        for weights in (None, 2 * b):
            cm.solve(cm.conv(np.ones((4, 4)), b.shape, padding="same", boundary="wrap"), b, maxiter=2, weights=weights)
    assert "run_spec" not in caplog.text
