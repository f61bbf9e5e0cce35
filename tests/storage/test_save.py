"""Matrices to files and back: of any map, read by SciPy, Zarr, h5py and AnnData, killed and resumed, and refused."""

import os
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import zarr

import convmtx as cm
from convmtx.storage import slabs
from convmtx.storage.formats import hdf5
from convmtx.storage.formats import zarr as zarr_format

K = np.random.default_rng(0).normal(size=(3, 2))
SUFFIXES = [".zarr", ".h5", ".petsc", ".mtx", ".npz", ".npy", ".mat"]
BY_SLABS = SUFFIXES[:4]
MAPS = {
    "blur": cm.conv(K, (7, 6), padding=1),
    "reflect": cm.conv(np.ones((5, 5)), (9, 8), padding="same", boundary="reflect"),
    "channels": cm.conv(np.random.default_rng(1).normal(size=(3, 3, 2, 4)), (5, 6, 2), stride=2, padding="same"),
    "complex": cm.conv(K + 1j, (4, 5)),
    "integers": cm.conv([3, 0, -250], 9, padding=4, stride=3),
    "stores nothing": cm.conv([1.0], 2, padding=[(3, 0)], stride=10),
    "sum": cm.conv(K, (5, 4), padding=[(1, 1), (1, 0)]) + cm.diagonal(np.arange(20.0).reshape(5, 4)),
    "product": cm.conv(K, (6, 5)) @ cm.conv(K, (8, 6)),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Slabs and chunks of a few rows, so that a small matrix has many."""
    monkeypatch.setattr(slabs, "SLAB_BYTES", 700)
    monkeypatch.setattr(slabs, "_BLOCK", 5)
    monkeypatch.setattr(zarr_format, "SLAB_BYTES", 700)
    monkeypatch.setattr(zarr_format, "CHUNK", 16)


def assert_same(found, wanted, suffix):
    assert isinstance(found, scipy.sparse.csr_array)
    assert found.shape == wanted.shape
    assert np.array_equal(found.toarray(), wanted.toarray())
    assert found.indices.dtype == found.indptr.dtype == np.int32
    if suffix in (".zarr", ".h5", ".npz"):
        assert (found.dtype, found.nnz) == (wanted.dtype, wanted.nnz)
    assert found.has_canonical_format


@pytest.fixture
def in_this_process(monkeypatch):
    """HDF5 is read here, because a new process takes half a second."""
    monkeypatch.setattr(hdf5, "read_in_sandbox", lambda source, reader, *options: reader(source, *options))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", MAPS)
def test_what_is_saved_is_loaded(tmp_path, in_this_process, name, suffix):
    op = MAPS[name]
    for order in ("C", "F"):
        path = tmp_path / f"{order}{suffix}"
        cm.save(op, path, order=order)
        assert_same(cm.load(path), op.to_sparse(order=order), suffix)
        for rows in (slice(2, 5), slice(1), slice(-1, None), slice(3, 1)):
            assert_same(cm.load(path, rows=rows), op.to_sparse(order=order, rows=rows), suffix)
    assert sorted(os.listdir(tmp_path)) == [f"C{suffix}", f"F{suffix}"]


def test_maps_beyond_memory_are_counted_slab_by_slab(tmp_path, monkeypatch):
    monkeypatch.setattr(slabs, "_whole", lambda *_: None)
    for suffix in BY_SLABS:
        cm.save(MAPS["sum"], tmp_path / f"W{suffix}")
        assert_same(cm.load(tmp_path / f"W{suffix}"), MAPS["sum"].to_sparse(), suffix)


# As other libraries read them


def test_anndata_reads_both(tmp_path):
    anndata = pytest.importorskip("anndata")
    op = MAPS["blur"]
    cm.save(op, tmp_path / "W.zarr")
    cm.save(op, tmp_path / "W.h5")
    lazily = anndata.experimental.read_elem_lazy
    with h5py.File(tmp_path / "W.h5") as file:
        for group in (zarr.open_group(tmp_path / "W.zarr", mode="r"), file["/"]):
            eager = anndata.io.read_elem(group)
            assert np.array_equal(eager.toarray(), op.to_dense())
            lazy = lazily(group, chunks=(10, op.shape[1]))
            assert lazy.numblocks[0] > 1
            assert np.array_equal(lazy[3:20].compute().toarray(), op.to_dense()[3:20])


def test_matlab_and_petsc_names_are_the_same_numbers(tmp_path):
    """Column j of the group is row j of the matrix."""
    op = MAPS["channels"]
    cm.save(op, tmp_path / "W.h5")
    with h5py.File(tmp_path / "W.h5") as file:
        group = file["WT"]
        assert (group.attrs["MATLAB_class"], group.attrs["MATLAB_sparse"]) == (b"double", op.shape[1])
        transpose = scipy.sparse.csc_array((group["data"][:], group["ir"][:], group["jc"][:]))
        assert np.array_equal(transpose.toarray(), op.to_dense().T)
        assert [file[a].id.get_offset() for a in ("data", "indices", "indptr")] == [
            group[b].id.get_offset() for b in ("data", "ir", "jc")
        ]
    assert os.path.getsize(tmp_path / "W.h5") < op.nnz * 12 + op.shape[0] * 4 + 10_000


@pytest.mark.parametrize("name", ["blur", "complex", "integers", "stores nothing"])
def test_scipy_reads_matrix_market(tmp_path, name):
    cm.save(MAPS[name], tmp_path / "W.mtx")
    found = scipy.io.mmread(tmp_path / "W.mtx", spmatrix=False)
    assert np.array_equal(found.toarray(), MAPS[name].to_dense())
    assert found.nnz == MAPS[name].nnz


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_numbers_of_single_precision_are_the_doubles_that_equal_them(tmp_path, dtype):
    K = np.random.default_rng(0).normal(size=(4, 5, 2)).astype("f4").view(dtype)[..., 0]
    K.flat[:3] = 0.1, -np.finfo("f4").smallest_subnormal, np.finfo("f4").max
    op = cm.conv(K, (6, 7), padding=1)
    cm.save(op, tmp_path / "W.mtx")
    S = op.to_sparse()
    found = scipy.io.mmread(tmp_path / "W.mtx", spmatrix=False).tocsr()
    assert np.array_equal(found.data, S.data)
    assert np.array_equal(found.indices, S.indices)
    assert np.array_equal(cm.load(tmp_path / "W.mtx").data, S.data)
    head, _, *lines = (tmp_path / "W.mtx").read_bytes().splitlines()
    assert {len(line) for line in lines[1:]} == {len(lines[0])}
    assert head.endswith(b"complex general" if dtype == np.complex64 else b"real general")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_zeros_are_stored_except_in_two_formats(tmp_path, in_this_process, suffix):
    op = MAPS["integers"]
    cm.save(op, tmp_path / f"W{suffix}")
    found = cm.load(tmp_path / f"W{suffix}")
    assert found.nnz == (np.count_nonzero(op.to_dense()) if suffix in (".npy", ".mat") else op.nnz)
    assert np.count_nonzero(op.to_dense()) < op.nnz


@pytest.mark.parametrize("index", ["int32", "int64"])
def test_petsc_files_are_laid_out_as_documented(tmp_path, index):
    op = MAPS["integers"]
    cm.save(op, tmp_path / "W.petsc", index=index)
    S, kind = op.to_sparse(), ">" + np.dtype(index).str[1:]
    wanted = np.array([1211216, *op.shape, op.nnz, *np.diff(S.indptr), *S.indices], kind).tobytes()
    assert (tmp_path / "W.petsc").read_bytes() == wanted + S.data.astype(">f8").tobytes()


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".petsc"])
def test_indices_of_64_bits(tmp_path, suffix):
    cm.save(MAPS["blur"], tmp_path / f"W{suffix}", index="int64")
    if suffix == ".zarr":
        group = zarr.open_group(tmp_path / "W.zarr", mode="r")
        assert group["indices"].dtype == group["indptr"].dtype == np.int64
    assert_same(cm.load(tmp_path / f"W{suffix}"), MAPS["blur"].to_sparse(), suffix)


def test_a_cluster_writes_the_same_bytes(tmp_path, client):
    for name in ("blur", "sum"):
        cm.save(MAPS[name], tmp_path / "W.h5", client=client)
        cm.save(MAPS[name], tmp_path / "V.h5")
        assert (tmp_path / "W.h5").read_bytes() == (tmp_path / "V.h5").read_bytes()


# Sizes beyond 32 bits, of which no array exists


def test_offsets_of_ten_billion_rows():
    op = cm.conv(np.arange(1.0, 8), 10**10, padding="same")
    table = slabs.slabs_of(op, "C")
    start = time.perf_counter()
    middle = table.row_of(op.nnz // 2)
    assert table.starts(range(middle, middle)) <= op.nnz // 2 < table.starts(range(middle + 1, middle + 1))
    assert table.row_of(0) == 0
    assert table.row_of(op.nnz - 1) == 10**10 - 1
    last = range(10**10 - 3, 10**10)
    assert (op.nnz - table.starts(last)).tolist() == [15, 9, 4, 0]
    assert time.perf_counter() - start < 1
    data, indices = table.entries(op.nnz - 4, op.nnz, np.dtype(np.int64))
    assert data.tolist() == [1, 2, 3, 4]
    assert indices.tolist() == [10**10 - 4, 10**10 - 3, 10**10 - 2, 10**10 - 1]


def test_what_the_disk_has_no_room_for_is_refused_at_once(tmp_path):
    huge = cm.conv(np.ones((7, 7)), (10**6, 10**6), padding="same")
    for suffix in (".h5", ".petsc", ".mtx"):
        with pytest.raises(cm.ArgumentError, match=r"cannot be written: it takes at least .* There is room for"):
            cm.save(huge, tmp_path / f"W{suffix}")
    assert os.listdir(tmp_path) == []


# Killed


PROGRAM = """
import sys
import numpy as np
import convmtx as cm
from convmtx.storage import slabs
from convmtx.storage.formats import zarr

slabs.SLAB_BYTES = zarr.SLAB_BYTES = 1 << 16
zarr.CHUNK = 1 << 12
build = slabs.Slabs.build

def announced(self, rows):
    print(rows.start, flush=True)
    return build(self, rows)

slabs.Slabs.build = announced
cm.save(cm.conv(np.random.default_rng(0).normal(size=(3, 3)), (90, 90), padding="same"), sys.argv[1])
"""


def run(path, lines=None, pause=0.0):
    """Write a matrix in a new process, or kill it after so many lines; how many slabs it built."""
    command, built = [sys.executable, "-c", PROGRAM, str(path)], 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in process.stdout:
            built += 1
            if built == lines:
                time.sleep(pause)
                process.kill()
                break
        else:
            assert process.wait() == 0
    return built


def content(path):
    """Every file and its bytes."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(("suffix", "lines"), [(".zarr", 3), (".zarr", 11), (".h5", 2), (".petsc", 9), (".mtx", 6)])
def test_killed_and_resumed(tmp_path, suffix, lines):
    path, other = tmp_path / f"W{suffix}", tmp_path / f"V{suffix}"
    run(path, lines, pause=np.random.default_rng(lines).uniform(0, 0.004))
    assert not path.exists()
    finished = len(list(tmp_path.glob(".W*.part/*/done/*")))
    built, wanted = run(path), run(other)
    assert content(path) == content(other)
    if suffix != ".zarr":  # whose jobs may build several slabs, or none
        assert built == wanted - finished
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, other.name])


# Refusals


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((3, "W.h5"), {}, "op is an int. Expected a map of convmtx"),
        ((MAPS["blur"], 3), {}, "path=3. Expected a file name"),
        ((MAPS["blur"], "W.txt"), {}, "Expected .npz or .npy"),
        ((MAPS["blur"], "W.h5"), {"order": "K"}, "order='K'"),
        ((MAPS["blur"], "W.h5"), {"index": "int16"}, "index='int16'"),
        ((MAPS["blur"], "W.npz"), {"index": "int64"}, "index='int64' for a .npz file"),
        ((MAPS["blur"], "W.mtx"), {"index": "int64"}, "index='int64' for a .mtx file"),
        ((MAPS["blur"], "W.h5"), {"resume": 1}, "resume=1"),
        ((MAPS["blur"], "W.h5"), {"client": 1}, "Expected a distributed.Client"),
        ((cm.conv(np.ones(3, np.float16), 5), "W.h5"), {}, "a kernel of float16"),
        ((cm.conv(np.ones(3, np.longdouble), 5), "W.petsc"), {}, "at most double precision"),
        ((cm.conv([2**53 + 1], 5), "W.petsc"), {}, "lose digits"),
        ((cm.conv([1.0], 2**33), "W.petsc"), {"index": "int32"}, "Indices of 32 bits are too small"),
        ((MAPS["blur"], "missing/W.h5"), {}, "missing is not a folder"),
    ],
)
def test_what_cannot_be_saved(tmp_path, monkeypatch, arguments, options, words):
    monkeypatch.chdir(tmp_path)
    if "client" in options:
        pytest.importorskip("distributed")
    with pytest.raises((cm.ArgumentError, cm.ArgumentTypeError), match=words) as error:
        cm.save(*arguments, **options)
    assert str(error.value).startswith("save: ")
    assert os.listdir() == []


def test_another_map_does_not_go_on(tmp_path, monkeypatch):
    """What an interrupted call has written belongs to its map, order and index type alone."""
    build = slabs.Slabs.build

    def fail(self, rows):
        if rows.start > 20:
            raise ZeroDivisionError
        return build(self, rows)

    with monkeypatch.context() as patched:
        patched.setattr(slabs.Slabs, "build", fail)
        with pytest.raises(ZeroDivisionError):
            cm.save(MAPS["blur"], tmp_path / "W.h5")
    for op, options, words in (
        (-MAPS["blur"], {}, "another map."),
        (MAPS["blur"], {"order": "F"}, "another order."),
        (MAPS["blur"], {"index": "int64"}, "another index."),
    ):
        with pytest.raises(cm.ArgumentError, match=f"save: .*W.h5 was begun with {words}"):
            cm.save(op, tmp_path / "W.h5", **options)
    cm.save(-MAPS["blur"], tmp_path / "W.h5", resume=False)
    assert_same(cm.load(tmp_path / "W.h5"), -MAPS["blur"].to_sparse(), ".h5")
    assert os.listdir(tmp_path) == ["W.h5"]
