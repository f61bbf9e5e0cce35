"""Files of matrices that are truncated, damaged or hostile: each is one clear error, before memory is allocated."""

import json
import shutil

import h5py
import numpy as np
import pytest
import scipy.sparse
import zarr

import convmtx as cm

OP = cm.conv(np.random.default_rng(0).normal(size=(3, 3)), (9, 8), padding="same")
FILES = [".h5", ".petsc", ".mtx", ".npz", ".npy", ".mat"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The map in every format."""
    folder = tmp_path_factory.mktemp("saved")
    for suffix in (*FILES, ".zarr"):
        cm.save(OP, folder / f"W{suffix}")
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of one of the files, to be damaged."""

    def make(suffix):
        put = shutil.copytree if suffix == ".zarr" else shutil.copy
        put(saved / f"W{suffix}", tmp_path / f"W{suffix}")
        return tmp_path / f"W{suffix}"

    return make


def refused(path, words="W", rows=None):
    with pytest.raises((cm.ArgumentError, cm.FormTooLargeError), match=words) as error:
        cm.load(path, rows=rows)
    assert str(error.value).startswith("load: ")
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.97])
def test_a_truncated_file(copy, suffix, part):
    path = copy(suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(path)


@pytest.mark.parametrize("suffix", [".petsc", ".mtx", ".npz"])
def test_random_bytes(copy, suffix):
    """Whatever stands in a file, it is an error of ours or a matrix."""
    path = copy(suffix)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert cm.load(path).has_canonical_format
        except cm.ConvmtxError as error:
            assert error.call == "load"  # noqa: PT017 - either of two ends


def header(path, *numbers):
    """Replace the beginning of a file of PETSc."""
    content = path.read_bytes()
    head = np.array(numbers, ">i4").tobytes()
    path.write_bytes(head + content[len(head) :])


def test_headers_of_petsc_that_claim_too_much(copy):
    path = copy(".petsc")
    n, nnz = OP.shape[0], OP.nnz
    header(path, 1211214, n, n, nnz)
    refused(path, "does not begin as matrices of PETSc do")
    header(path, 1211216, n, n, -1)
    refused(path, "a size below zero")
    header(path, 1211216, 1 << 30, n, nnz)
    refused(path, "Its header claims 1073741824 rows")
    header(path, 1211216, n, n, nnz, 9)
    refused(path, f"Its rows have {nnz + 5} entries, and its header claims {nnz}")
    header(path, 1211216, n, n, nnz, -1)
    refused(path, "A row has fewer than no entries")


def test_columns_that_the_matrix_does_not_have(copy):
    path = copy(".petsc")
    content = bytearray(path.read_bytes())
    at = 16 + 4 * OP.shape[0]
    content[at : at + 4] = np.array(OP.shape[1], ">i4").tobytes()
    path.write_bytes(content)
    refused(path)
    refused(path, rows=slice(0, 1))
    assert cm.load(path, rows=slice(1, None)).shape == (OP.shape[0] - 1, OP.shape[1])


@pytest.mark.parametrize("rows", [None, slice(2, 5)])
@pytest.mark.parametrize(("name", "at", "value"), [("indices", 20, 1000), ("indices", 20, -1), ("indptr", 3, 10**6)])
def test_numbers_of_hdf5_and_zarr_that_contradict(copy, name, at, value, rows):
    path = copy(".zarr")
    zarr.open_group(path, mode="r+")[name][at] = value
    refused(path, rows=rows)
    path = copy(".h5")
    with h5py.File(path, "r+") as file:
        file[name][at] = value
    refused(path, rows=rows)


@pytest.mark.parametrize("rows", [None, slice(2, 5)])
def test_arrays_of_zarr_that_do_not_fit_together(copy, rows):
    path = copy(".zarr")
    chunk = path / "indices" / "c" / "0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2])
    refused(path, rows=rows)
    chunk.unlink()
    refused(path, "indices/c/0 is missing", rows=rows)
    chunk.write_bytes(content)
    group = zarr.open_group(path, mode="r+")
    group.attrs["shape"] = [10**12, OP.shape[1]]
    refused(path, "It claims 1000000000000 rows", rows=rows)
    shutil.rmtree(path / "data")
    refused(path, "The array data is missing", rows=rows)


def test_arrays_of_zarr_that_would_run_a_program(copy):
    path = copy(".zarr")
    metadata = json.loads((path / "data" / "zarr.json").read_text())
    metadata["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    (path / "data" / "zarr.json").write_text(json.dumps(metadata))
    refused(path, "numbers in the code numcodecs.pickle")


@pytest.mark.parametrize("suffix", [".zarr", ".petsc"])
def test_sizes_beyond_memory_are_refused_before_they_are_allocated(copy, monkeypatch, suffix):
    path = copy(suffix)
    monkeypatch.setattr("convmtx.memory.available", lambda: 3000)
    refused(path, "More than fits in memory twice")
    if suffix == ".petsc":
        assert cm.load(path, rows=slice(0, 1)).nnz == 4


def test_a_slab_reads_no_other_chunk(tmp_path, monkeypatch):
    from convmtx.storage.formats import zarr as zarr_format

    monkeypatch.setattr(zarr_format, "CHUNK", 32)
    cm.save(OP, tmp_path / "W.zarr")
    rows = slice(32, 38)
    first, last = OP.to_sparse().indptr[[32, 38]]
    for name in ("data", "indices"):
        for chunk in (tmp_path / "W.zarr" / name / "c").iterdir():
            if not first // 32 <= int(chunk.name) <= (last - 1) // 32:
                chunk.unlink()
    assert np.array_equal(cm.load(tmp_path / "W.zarr", rows=rows).toarray(), OP.to_dense()[rows])


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(cm.ArgumentTypeError, match=r"load: path=3. Expected a file name"):
        cm.load(3)
    for rows in (slice(0, 4, 2), slice(0, 4, 0), slice(3, 0, -1), slice(1.5, 3), slice("a"), [1], 3):
        with pytest.raises(cm.ArgumentTypeError, match=r"load: rows=.* Expected a slice of consecutive rows"):
            cm.load("W.npz", rows=rows)
    refused("W.txt", "the suffix '.txt'. Expected .npz or")
    with pytest.raises(FileNotFoundError):
        cm.load(tmp_path / "W.petsc")
    (tmp_path / "W.h5").mkdir()
    refused(tmp_path / "W.h5", "is a folder")
    np.save(tmp_path / "W.npy", np.zeros(3))
    refused(tmp_path / "W.npy", "Expected a matrix")


def test_other_things_than_a_matrix_of_zarr(tmp_path):
    for version in (2, 3):
        zarr.create_array(str(tmp_path / f"x{version}.zarr"), data=np.ones(3), zarr_format=version)
        refused(tmp_path / f"x{version}.zarr", r"load: .*x\d.zarr is not a matrix in CSR. Expected a group of Zarr")
        zarr.open_group(str(tmp_path / f"g{version}.zarr"), zarr_format=version)
        refused(tmp_path / f"g{version}.zarr", "is not a matrix in CSR")
    (tmp_path / "text.zarr").write_text("1 2 3")
    (tmp_path / "empty.zarr").mkdir()
    for name in ("text", "empty"):
        refused(tmp_path / f"{name}.zarr", r"is not a store of Zarr. Expected a group .* Pass another path")


def test_consolidated_metadata_are_not_read_because_others_are_checked(copy):
    path = copy(".zarr")
    members = {name: json.loads((path / name / "zarr.json").read_text()) for name in ("data", "indices", "indptr")}
    members["data"]["codecs"][0]["configuration"]["endian"] = "big"
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": members}
    (path / "zarr.json").write_text(json.dumps(metadata))
    assert np.array_equal(cm.load(path).toarray(), OP.to_dense())


def test_numbers_that_scipy_has_no_sparse_arrays_of(tmp_path):
    cm.save(cm.conv(np.ones(3, np.float16), 5), tmp_path / "W.npy")
    refused(tmp_path / "W.npy", "W.npy contains float16. SciPy has no sparse arrays of it. Read it by numpy.load")
    np.savez(tmp_path / "W.npz", np.load(tmp_path / "W.npy"))
    refused(tmp_path / "W.npz", "Read it by numpy.load", rows=slice(1))
    cm.save(OP, tmp_path / "W.zarr")
    group = zarr.open_group(str(tmp_path / "W.zarr"))
    group.create_array("data", data=group["data"][:].astype("f2"), overwrite=True)
    refused(tmp_path / "W.zarr", "contains float16. .* Write it in single precision")


def test_numbers_in_the_other_byte_order(tmp_path):
    np.save(tmp_path / "W.npy", OP.to_dense().astype(np.dtype(float).newbyteorder("S")))
    assert np.array_equal(cm.load(tmp_path / "W.npy", rows=slice(2, 9)).toarray(), OP.to_dense()[2:9])


def test_dense_and_other_formats_of_scipy(tmp_path):
    S = scipy.sparse.random_array((5, 6), density=0.5, format="dia", rng=0)
    scipy.sparse.save_npz(tmp_path / "W.npz", S)
    found = cm.load(tmp_path / "W.npz", rows=slice(1, 3))
    assert found.format == "csr"
    assert np.array_equal(found.toarray(), S.toarray()[1:3])
