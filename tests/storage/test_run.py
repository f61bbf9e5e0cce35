"""Maps applied from storage to storage: every source and boundary, killed and resumed, on a cluster, refused."""

import itertools
import json
import os
import pickle
import subprocess
import sys
import time
from functools import partial
from math import prod

import numpy as np
import pytest
import scipy.ndimage

import convmtx as cm
from convmtx.storage import blocks, strips
from convmtx.storage.arrays import stored_array
from convmtx.storage.run import _chunked, _writer

zarr, h5py = pytest.importorskip("zarr"), pytest.importorskip("h5py")

#: Names of NumPy's pads and SciPy's modes for our boundaries.
NUMPY = {"zero": "constant", "wrap": "wrap", "reflect": "reflect", "symmetric": "symmetric", "edge": "edge"}
SCIPY = {"zero": "constant", "wrap": "grid-wrap", "reflect": "mirror", "symmetric": "reflect", "edge": "nearest"}


def integers(shape, seed=0, dtype=float):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def stored(path, x, chunks, **options):
    return zarr.create_array(str(path), data=x, chunks=chunks, **options)


def read(path):
    return zarr.open_array(str(path), mode="r")


def by_sums(x, K, stride, pads, boundary):
    """Outputs of one channel as explicit sums over the taps of a padded input."""
    padded = np.pad(x, pads, NUMPY[boundary])
    outs = [(n - k) // stride + 1 for n, k in zip(padded.shape, K.shape, strict=True)]
    y = np.zeros(outs)
    for tap in itertools.product(*map(range, K.shape)):
        key = tuple(slice(t, t + stride * (out - 1) + 1, stride) for t, out in zip(tap, outs, strict=True))
        y += K[tap] * padded[key]
    return y


def by_columns(shape, apply, y):
    """The transpose applied to y: its inner products with the outputs of all unit inputs."""
    units = np.eye(prod(shape)).reshape(-1, *shape)
    return np.array([np.vdot(apply(unit), y) for unit in units]).reshape(shape)


@pytest.mark.parametrize("boundary", SCIPY)
def test_outputs_are_those_of_scipy(tmp_path, boundary):
    x, K = np.random.default_rng(0).random((150, 130)).astype("f4"), np.random.default_rng(1).random((5, 4), "f4")
    stored(tmp_path / "x.zarr", x, (64, 50))
    op = cm.conv(K, x.shape, padding=[(2, 2), (2, 1)], boundary=boundary)
    cm.run(op, tmp_path / "x.zarr", tmp_path / "y.zarr")
    y = read(tmp_path / "y.zarr")
    assert np.allclose(y[:], scipy.ndimage.correlate(x, K, mode=SCIPY[boundary]), rtol=1e-5)
    assert (y.dtype, y.chunks) == (np.float32, (64, 50))
    assert sorted(os.listdir(tmp_path)) == ["x.zarr", "y.zarr"]


@pytest.mark.parametrize("seed", range(40))
def test_any_blocks_of_any_chunks_are_the_map(monkeypatch, seed):
    """Blocks of one chunk or many, strips that are kept, given up or not worth it: outputs and adjoints, exactly."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", int(rng.choice([1, 200, 5000])))
    monkeypatch.setattr(strips, "STRIP_BYTES", int(rng.choice([100, 1 << 20])))
    monkeypatch.setattr(strips, "_THIN", int(rng.choice([1, 2, 8])))
    shape, stride, boundary = tuple(rng.integers(4, 13, 2).tolist()), int(rng.integers(1, 4)), rng.choice(list(NUMPY))
    K, pads = integers(rng.integers(1, 5, 2), seed), rng.integers(0, 4, (2, 2)).tolist()
    op = cm.conv(K, shape, padding=[tuple(pair) for pair in pads], boundary=str(boundary), stride=stride)
    sums = partial(by_sums, K=K, stride=stride, pads=pads, boundary=boundary)
    for map_, expected in ((op, sums), (op.H, partial(by_columns, shape, sums))):
        x = integers((2, *map_.in_shape), seed + 1)
        chunks = tuple(int(rng.integers(1, n + 1)) for n in x.shape)
        source = x if seed % 5 == 0 else zarr.create_array({}, data=x, chunks=chunks)
        given = None if seed % 2 else tuple(int(rng.integers(1, n + 1)) for n in (2, *map_.out_shape))
        writer = _writer(_chunked(map_), stored_array(source), given)
        y = np.full((2, *map_.out_shape), np.nan)
        for number in rng.permutation(writer.blocks.count).tolist():
            outputs = writer.blocks.ranges(number)
            y[tuple(slice(r.start, r.stop) for r in outputs)] = writer.values(outputs)
        assert np.array_equal(y, [expected(image) for image in x])


def test_zeros_stand_between_inputs_that_are_dilated(monkeypatch):
    """Also in memory that the block before has filled."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    x, K = integers((15, 14)), integers((4, 3), 1)
    op = cm.conv(K, x.shape, padding=2, input_dilation=2, boundary="reflect")
    writer = _writer(_chunked(op), stored_array(zarr.create_array({}, data=x, chunks=(4, 5))), (7, 6))
    y = np.full(op.out_shape, np.nan)
    for number in range(writer.blocks.count):
        outputs = writer.blocks.ranges(number)
        y[tuple(slice(r.start, r.stop) for r in outputs)] = writer.values(outputs)
    stretched = np.zeros((29, 27))
    stretched[::2, ::2] = x
    assert np.array_equal(y, by_sums(stretched, K, 1, [(2, 2)] * 2, "reflect"))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("chunks", [None, (1, 40, 40, 1), (2, 64, 30, 3)])
def test_channels_and_batches(tmp_path, groups, chunks):
    x, K = integers((3, 60, 70, 4)), integers((3, 2, 4 // groups, 6), 1)
    stored(tmp_path / "x.zarr", x, (1, 32, 32, 2))
    op = cm.conv(K, x.shape[1:], channels="last", groups=groups, stride=2)
    cm.run(op, tmp_path / "x.zarr", tmp_path / "y.zarr", chunks=chunks)
    y = read(tmp_path / "y.zarr")
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), (1, 2))[:, ::2, ::2]
    parts = zip(np.split(windows, groups, axis=3), np.split(K, groups, axis=-1), strict=True)
    expected = [np.einsum("bijcpq,pqcf->bijf", part, taps) for part, taps in parts]
    assert np.array_equal(y[:], np.concatenate(expected, axis=-1))
    assert y.chunks == ((1, 16, 16, 3 if groups == 2 else 6) if chunks is None else tuple(np.minimum(chunks, y.shape)))


def test_a_batch_of_none(tmp_path):
    cm.run(cm.conv(np.ones((3, 3)), (20, 20)), np.ones((0, 20, 20)), tmp_path / "y.zarr")
    assert read(tmp_path / "y.zarr").shape == (0, 18, 18)


# Sources


def hdf5(path, x, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("images/blue", data=x, **options)
    return path


def npy(path, x):
    np.save(path, x)
    return path


SOURCES = {
    "zarr 3": lambda f, x: stored(f / "x.zarr", x, (30, 20)),
    "zarr 3, path": lambda f, x: (stored(f / "x.zarr", x, (30, 20)), str(f / "x.zarr"))[1],
    "zarr 3, not compressed": lambda f, x: stored(f / "x.zarr", x, (30, 20), compressors=None),
    "zarr 3, big-endian": lambda f, x: stored(
        f / "x.zarr", x, (30, 20), compressors=None, serializer=zarr.codecs.BytesCodec(endian="big")
    ),
    "zarr 3, shards": lambda f, x: stored(f / "x.zarr", x, (15, 10), shards=(30, 20), compressors=None),
    "zarr 2": lambda f, x: stored(f / "x.zarr", x, (30, 20), zarr_format=2),
    "zarr 2, not compressed": lambda f, x: stored(f / "x.zarr", x, (30, 20), zarr_format=2, compressors=None),
    "zarr 2, columns": lambda f, x: stored(f / "x.zarr", x, (30, 20), zarr_format=2, compressors=None, order="F"),
    "zarr in a group": lambda f, x: zarr.open_group(str(f / "g.zarr")).create_array("a/b", data=x, chunks=(30, 20)),
    "zarr in memory": lambda _, x: zarr.create_array({}, data=x, chunks=(30, 20)),
    "hdf5": lambda f, x: hdf5(f / "x.h5", x, chunks=(30, 20), compression="gzip"),
    "hdf5, contiguous": lambda f, x: hdf5(f / "x.hdf5", x),
    "hdf5, big-endian": lambda f, x: hdf5(f / "x.h5", x.astype(">f8")),
    "hdf5, dataset": lambda f, x: h5py.File(hdf5(f / "x.h5", x), "r")["images/blue"],
    "npy": lambda f, x: npy(f / "x.npy", x),
    "npy, columns": lambda f, x: npy(f / "x.npy", np.asfortranarray(x)),
    "memmap": lambda f, x: np.load(npy(f / "x.npy", x), mmap_mode="r"),
    "part of a memmap": lambda f, x: np.load(npy(f / "x.npy", np.pad(x, 3)), mmap_mode="r")[3:-3, 3:-3],
    "ndarray": lambda _, x: x,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_is_read(tmp_path, kind):
    x = integers((50, 45))
    x[30:, 40:] = 0  # of which Zarr keeps no chunk
    op = cm.conv(integers((3, 4), 1), x.shape, padding=2, boundary="wrap")
    source = SOURCES[kind](tmp_path, x)
    cm.run(op, source, tmp_path / "y.zarr", chunks=(20, 20))
    assert np.array_equal(read(tmp_path / "y.zarr")[:], by_sums(x, op.kernel, 1, [(2, 2)] * 2, "wrap"))
    array = stored_array(source)
    if kind not in ("zarr in memory", "part of a memmap", "ndarray"):  # another process opens the file by itself
        sent = pickle.dumps(array)
        assert len(sent) < 1000
        again = pickle.loads(sent)
        assert np.array_equal(again.read([slice(30, 50), slice(20, 40)]), x[30:50, 20:40])
        assert again.key == array.key
    assert array.is_mapped == (kind in ("zarr 3, not compressed", "zarr 2, not compressed"))


def test_the_target_is_compressed_unless_the_source_is_not(tmp_path):
    x = integers((40, 40))
    op = cm.conv(np.ones((3, 3)), x.shape)
    for name, options in (("default", {}), ("raw", {"compressors": None})):
        stored(tmp_path / name, x, (20, 20), **options)
        cm.run(op, tmp_path / name, tmp_path / f"{name}_out")
        assert bool(read(tmp_path / f"{name}_out").compressors) == (name == "default")


class Counted:
    """An array in chunks that notes which of them are read."""

    def __init__(self, x, chunks):
        self.x, self.chunks, self.shape, self.dtype, self.places = x, chunks, x.shape, x.dtype, []

    def __getitem__(self, box):
        self.places.append(tuple(part.start // step for part, step in zip(box, self.chunks, strict=True)))
        assert all(part.stop <= (j + 1) * c for part, j, c in zip(box, self.places[-1], self.chunks, strict=True))
        return self.x[box]


@pytest.mark.parametrize("boundary", ["zero", "wrap"])
def test_a_chunk_is_read_twice_at_most_though_nine_blocks_need_it(monkeypatch, boundary):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    source = Counted(integers((120, 120)), (30, 30))
    op = cm.conv(np.ones((3, 3)), source.shape, padding="same", boundary=boundary)
    writer = _writer(_chunked(op), stored_array(source), None)
    y = [writer.values(writer.blocks.ranges(number)) for number in range(writer.blocks.count)]
    expected = scipy.ndimage.correlate(source.x, np.ones((3, 3)), mode=SCIPY[boundary])
    assert np.array_equal(np.block([y[4 * row : 4 * row + 4] for row in range(4)]), expected)
    assert max(source.places.count(place) for place in source.places) <= 2
    assert len(set(source.places)) == 16


def test_a_source_without_chunks_is_read_where_it_is_needed():
    x = integers((10_000, 3000), dtype="f4")
    writer = _writer(_chunked(cm.conv(np.ones((3, 3), "f4"), x.shape, padding="same")), stored_array(x), None)
    assert writer.chunks.box == (2500, 1500)  # 15 MB
    assert writer.memory() < 1e8
    outputs = writer.blocks.ranges(3)
    expected = scipy.ndimage.correlate(x[2400:5100, 1400:], np.ones((3, 3)), mode="constant")[100:2600, 100:]
    assert np.array_equal(writer.values(outputs), expected)


# Killed and resumed

PROGRAM = """
import sys, time
import numpy as np, convmtx as cm
from convmtx.storage import blocks
blocks.BLOCK_BYTES = 1
flush = blocks.flush
def slow(path):
    flush(path)
    time.sleep(0.02)
blocks.flush = slow
cm.run(cm.conv(np.ones((5, 5)) / 7, (120, 100), padding="same", boundary="reflect"), *sys.argv[1:])
"""


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("begun", [1, 7, 22])
def test_killed_and_resumed(tmp_path, monkeypatch, begun):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    source, target = tmp_path / "x.zarr", tmp_path / "y.zarr"
    stored(source, np.random.default_rng(0).random((120, 100)), (20, 25))
    op = cm.conv(np.ones((5, 5)) / 7, (120, 100), padding="same", boundary="reflect")
    with subprocess.Popen([sys.executable, "-c", PROGRAM, source, target]) as process:
        while len(list(tmp_path.glob(".y.zarr.part/*/done/*"))) < begun:
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(np.random.default_rng(begun).uniform(0, 0.02))
        process.kill()
    assert not target.exists()
    marked = [int(path.name) for path in tmp_path.glob(".y.zarr.part/*/done/*")]
    (draft,) = tmp_path.glob(".y.zarr.part/*/draft")
    written = {number: (draft / f"c/{number // 4}/{number % 4}").stat().st_mtime_ns for number in marked}
    assert begun <= len(marked) < 24
    cm.run(op, source, target)
    cm.run(op, source, tmp_path / "undisturbed.zarr", resume=False)
    assert content(target) == content(tmp_path / "undisturbed.zarr")
    for number, moment in written.items():
        assert (target / f"c/{number // 4}/{number % 4}").stat().st_mtime_ns == moment
    assert not list(tmp_path.glob(".*"))


# Clusters


@pytest.mark.parametrize("kind", ["zarr 3", "hdf5, dataset", "memmap"])
def test_a_cluster_does_it_with_one_task_a_block(tmp_path, monkeypatch, client, kind):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    x = integers((50, 45))
    op = cm.conv(integers((3, 4), 1), x.shape, padding=2, boundary="reflect").H
    source = SOURCES[kind](tmp_path, integers(op.in_shape))
    asked = []
    submit = client.submit
    monkeypatch.setattr(client, "submit", lambda *args, **options: asked.append(args) or submit(*args, **options))
    cm.run(op, source, tmp_path / "y.zarr", chunks=(20, 20), client=client)
    sums = partial(by_sums, K=op.H.kernel, stride=1, pads=[(2, 2)] * 2, boundary="reflect")
    expected = by_columns(x.shape, sums, integers(op.in_shape))
    assert np.array_equal(read(tmp_path / "y.zarr")[:], expected)
    assert len(asked) == 3 * 3 + 1  # and the map is sent once


def test_blocks_that_a_worker_has_no_memory_for_are_refused(tmp_path, client, monkeypatch):
    workers = {"workers": {"a": {"memory_limit": 1 << 20, "nthreads": 2}}}
    monkeypatch.setattr(client, "scheduler_info", lambda **_: workers)
    stored(tmp_path / "x.zarr", np.ones((1000, 1000)), (500, 500))
    op = cm.conv(np.ones((3, 3)), (1000, 1000))
    with pytest.raises(
        MemoryError, match=r"a block with what it reads takes .* MB. Available are 524 kB. Pass smaller"
    ):
        cm.run(op, tmp_path / "x.zarr", tmp_path / "y.zarr", client=client)
    assert os.listdir(tmp_path) == ["x.zarr"]


# Refused


def test_what_does_not_fit_is_refused_before_any_work(tmp_path):
    shape = (1 << 31, 1 << 30)
    source = zarr.create_array(str(tmp_path / "x.zarr"), shape=shape, chunks=(1 << 29, 1 << 20), dtype="f4")
    with pytest.raises(MemoryError, match=r"run: a block with what it reads takes .* PB.*Pass smaller chunks="):
        cm.run(cm.conv(np.ones((3, 3), "f4"), shape), source, tmp_path / "y.zarr")
    raw = zarr.create_array(
        str(tmp_path / "r.zarr"), shape=shape, chunks=(1 << 11, 1 << 11), dtype="f4", compressors=None
    )
    with pytest.raises(ValueError, match=r"run: .*y.zarr cannot be written: it takes at least 9.22 EB"):
        cm.run(cm.conv(np.ones((3, 3), "f4"), shape), raw, tmp_path / "y.zarr")
    assert sorted(os.listdir(tmp_path)) == ["r.zarr", "x.zarr"]


def refusals(folder):
    x = np.ones((20, 20))
    stored(folder / "x.zarr", x, (10, 10))
    zarr.open_group(str(folder / "g.zarr")).create_array("0", data=x)
    zarr.open_group(str(folder / "empty.zarr"), mode="w")
    stored(folder / "b.zarr", x > 0, (10, 10))
    (folder / "there.zarr").mkdir()
    (folder / "text.zarr").mkdir()
    np.save(folder / "objects.npy", np.array([{}] * 20), allow_pickle=True)
    (folder / "torn.npy").write_bytes((folder / "objects.npy").read_bytes()[:40])
    with h5py.File(folder / "two.h5", "w") as file:
        file["a"] = file["b"] = x
    with h5py.File(folder / "none.h5", "w") as file:
        file["scalar"] = 1.0
    op = cm.conv(np.ones((3, 3)), (20, 20))
    x, y = folder / "x.zarr", folder / "y.zarr"
    return [
        ((np.eye(3), x, y), TypeError, "op is an ndarray. Expected a map of convmtx. Pass what cm.conv returns"),
        ((cm.diagonal(np.ones((20, 20))), x, y), TypeError, r"Expected a convolution, its T or its H. Use op\(da"),
        ((cm.conv(np.ones((3, 3)), (20, 21)), x, y), ValueError, r"source has shape \(20, 20\). Expected \(\*batch"),
        ((op, folder / "b.zarr", y), TypeError, "source has dtype bool. Expected integers, floats or complex"),
        ((op, folder / "g.zarr", y), ValueError, "group of Zarr with the arrays 0. .* Pass .*g.zarr/NAME"),
        ((op, zarr.open_group(str(folder / "g.zarr")), y), TypeError, "source is a group of Zarr. Expected one array"),
        ((op, folder / "empty.zarr", y), ValueError, "group of Zarr with nothing in it that is one. Expected an array"),
        ((op, folder / "no.zarr", y), ValueError, "no.zarr'?.* does not exist. Expected a path of"),
        ((op, folder / "text.zarr", y), ValueError, "text.zarr cannot be read"),
        ((op, folder / "objects.npy", y), ValueError, "objects.npy cannot be read"),
        ((op, folder / "torn.npy", y), ValueError, "torn.npy cannot be read"),
        ((op, folder / "two.h5", y), ValueError, "two.h5 contains /a, /b. Expected one dataset. Pass the dataset"),
        ((op, folder / "none.h5", y), ValueError, "none.h5 contains no dataset"),
        ((op, 3, y), TypeError, "source is an int. Expected a path of .zarr"),
        ((op, x, folder / "x.zarr" / "Y.H5"), ValueError, "target has the suffix '.H5'. Outputs are a folder of Zarr"),
        ((op, x, folder / "objects.npy"), ValueError, "the suffix '.npy'. .*: expected .zarr or none. Rename it"),
        ((op, x, folder / "y.zarr.zip"), ValueError, "target has the suffix '.zip'"),
        ((op, x, folder / "there.zarr"), ValueError, "there.zarr is there already. A folder is not replaced"),
        ((op, x, folder / "no" / "y.zarr"), ValueError, "cannot be written. .*no is not a folder"),
        ((op, x, x / "y.zarr"), ValueError, "y.zarr is inside the source. Expected a folder of its own"),
        ((op, x, 3), TypeError, "target=3. Expected a path"),
        ((op, x, y, (5,)), ValueError, r"chunks=\(5,\). Expected one for each of the 2 axes of the target"),
        ((op, x, y, 0), ValueError, "chunks=0"),
        ((cm.conv(np.ones(3, np.longdouble), 20), x, y), TypeError, "outputs .* Zarr has at most doubles"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["y.ome.zarr", "level0", "blur_1.5", "y.ZARR"])
def test_names_of_targets(tmp_path, name):
    cm.run(cm.conv([1.0, 2], 4), np.arange(4.0), tmp_path / name)
    assert read(tmp_path / name)[:].tolist() == [2, 5, 8]


def test_refusals_say_what_to_do_and_leave_nothing(tmp_path):
    cases = refusals(tmp_path)
    before = sorted(os.listdir(tmp_path))
    for (op, source, target, *rest), kind, words in cases:
        options = dict(zip(("chunks",), rest, strict=False))
        with pytest.raises(kind, match=f"run: .*{words}|run: {words}"):
            cm.run(op, source, target, **options)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_client_is_one_of_distributed(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(TypeError, match=r"client='scheduler'\. Expected a distributed\.Client"):
        cm.run(cm.conv([1.0, 2], 4), np.arange(4.0), tmp_path / "y.zarr", client="scheduler")


def test_a_client_that_is_closed_is_refused(tmp_path, client):
    distributed = pytest.importorskip("distributed")
    op = cm.conv([1.0, 2], 4)
    with distributed.Client(client.cluster.scheduler_address) as closed:
        pass
    for work in (partial(cm.run, op, np.arange(4.0)), partial(cm.save, op)):
        with pytest.raises(cm.ArgumentError, match=r"client has the status 'closed'. Expected a .* that is running"):
            work(tmp_path / "y.zarr", client=closed)
    assert os.listdir(tmp_path) == []


def test_an_array_of_dask_is_told_its_own_way(tmp_path):
    da = pytest.importorskip("dask.array")
    with pytest.raises(TypeError, match=r"source is an array of Dask. .* Use op\(source\).to_zarr\(target\)"):
        cm.run(cm.conv(np.ones(3), 20), da.ones(20), tmp_path / "y.zarr")


def test_other_work_under_one_name_is_refused(tmp_path, monkeypatch):
    """A call with another kernel does not go on with the blocks of the first."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    x = integers((40, 40))
    stored(tmp_path / "x.zarr", x, (20, 20))

    values = blocks.BlockWriter.values

    def failing(self, outputs):
        if outputs[0].start and outputs[1].start:
            raise ZeroDivisionError
        return values(self, outputs)

    monkeypatch.setattr(blocks.BlockWriter, "values", failing)
    op = cm.conv(np.ones((3, 3)), x.shape, padding="same")
    with pytest.raises(ZeroDivisionError):
        cm.run(op, tmp_path / "x.zarr", tmp_path / "y.zarr")
    monkeypatch.setattr(blocks.BlockWriter, "values", values)
    with pytest.raises(ValueError, match=r"begun with another map. Only the same work goes on"):
        cm.run(op * 2, tmp_path / "x.zarr", tmp_path / "y.zarr")
    cm.run(op, tmp_path / "x.zarr", tmp_path / "y.zarr")
    assert np.array_equal(read(tmp_path / "y.zarr")[:], scipy.ndimage.correlate(x, np.ones((3, 3)), mode="constant"))


def test_pickled_objects_of_zarr_2_are_refused(tmp_path):
    """A codec that unpickles could run any program."""
    stored(tmp_path / "x.zarr", np.ones((20, 20)), (10, 10), zarr_format=2, compressors=None)
    path = tmp_path / "x.zarr" / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"filters": [{"id": "pickle", "protocol": 5}]}))
    with pytest.raises(ValueError, match=r"x.zarr cannot be read"):
        cm.run(cm.conv(np.ones((3, 3)), (20, 20)), tmp_path / "x.zarr", tmp_path / "y.zarr")


def test_a_bar_counts_blocks(tmp_path, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    seen = []

    class Bar(tqdm.tqdm):
        def close(self):
            if not self.disable:
                seen.append((self.n, self.total, self.desc))
            super().close()

    monkeypatch.setattr("tqdm.tqdm", Bar)
    stored(tmp_path / "x.zarr", np.ones((40, 30)), (20, 10))
    cm.run(cm.conv(np.ones((3, 3)), (40, 30)), tmp_path / "x.zarr", tmp_path / "y.zarr", progress=True)
    assert seen[0][:2] == (6, 6)
