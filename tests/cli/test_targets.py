"""Where matrices go: each file read back by the program or library that it is for, and nothing left behind."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.signal
import scipy.sparse
import zarr

from convmtx.cli import main

K = np.random.default_rng(0).normal(size=(3, 2))
K[0, 0] = 0
SHAPE = ("--input", "5,6")


def csr(group):
    """What the help says."""
    return scipy.sparse.csr_array(
        (group["data"][:], group["indices"][:], group["indptr"][:]), shape=group.attrs["shape"]
    )


def read(path):
    if path.endswith(".mat"):
        return scipy.io.loadmat(path, spmatrix=False)["W"]
    if path.endswith(".zarr"):
        return csr(zarr.open_group(path, mode="r"))
    with h5py.File(path) as file:
        return csr(file)


@pytest.mark.parametrize("suffix", [".mat", ".h5", ".hdf5", ".zarr"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_each_target_is_the_convolution(here, said, suffix, order):
    np.save("k.npy", K)
    text = said("matrix", "k.npy", *SHAPE, "--order", order, "-o", f"W{suffix}")
    assert f"W{suffix} written, " in text
    x = np.random.default_rng(1).normal(size=(5, 6))
    wanted = scipy.signal.correlate2d(x, K, "valid")
    np.testing.assert_allclose(read(f"W{suffix}") @ x.ravel(order), wanted.ravel(order), rtol=0, atol=1e-14)
    assert sorted(os.listdir()) == sorted(["k.npy", f"W{suffix}"])


def test_zarr_arrays_of_several_chunks(here, said):
    kernel = np.random.default_rng(0).normal(size=(61, 59))
    np.save("k.npy", kernel)
    said("matrix", "k.npy", "--input", "71,70", "-o", "W.zarr")
    data = zarr.open_group("W.zarr", mode="r")["data"]
    assert data.shape[0] % data.chunks[0]  # the last one is cut
    x = np.random.default_rng(1).normal(size=(71, 70))
    wanted = scipy.signal.correlate2d(x, kernel, "valid")
    np.testing.assert_allclose(read("W.zarr") @ x.ravel(), wanted.ravel(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("suffix", [".mat", ".h5", ".zarr"])
def test_a_matrix_that_stores_nothing(here, said, suffix):
    np.save("k.npy", np.ones(1))
    said("matrix", "k.npy", "--input", "2", "--padding", "3:0", "--stride", "10", "-o", f"W{suffix}")
    assert np.array_equal(read(f"W{suffix}").toarray(), [[0, 0]])


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "c16"])
def test_types_and_zeros_are_kept(here, said, suffix, dtype):
    kernel = (9 * K).astype(dtype)
    np.save("k.npy", kernel)
    said("matrix", "k.npy", "--input", "3,2", "-o", f"W{suffix}")
    found = read(f"W{suffix}")
    assert (found.dtype, found.nnz) == (kernel.dtype, 6)
    assert np.array_equal(found.toarray(), kernel.reshape(1, 6))


def test_the_layout_is_the_one_that_anndata_documents(here, said):
    said("matrix", "sobel", *SHAPE, "-o", "W.h5")
    said("matrix", "sobel", *SHAPE, "-o", "W.zarr")
    with h5py.File("W.h5") as file:
        for group in (file, zarr.open_group("W.zarr", mode="r")):
            assert group.attrs["encoding-type"] == "csr_matrix"
            assert group.attrs["encoding-version"] == "0.1.0"
            assert list(group.attrs["shape"]) == [12, 30]
            assert set(group) - {"WT"} == {"data", "indices", "indptr"}


def test_matlab_gets_doubles_without_zeros(here, said, refusal):
    np.save("k.npy", np.array([[3, 0, 250]], np.uint8))
    said("matrix", "k.npy", "--input", "4,4", "-o", "W.mat")
    found = scipy.io.loadmat("W.mat", spmatrix=False)["W"]
    assert (found.dtype, found.nnz) == (np.float64, 16)
    assert found.toarray()[0, :4].tolist() == [3, 0, 250, 0]
    np.save("k.npy", np.array([2**53 + 1]))
    assert "lose digits" in refusal("matrix", "k.npy", "--input", "4", "-o", "W.mat")
    np.save("k.npy", np.array([1 + 2j]))
    said("matrix", "k.npy", "--input", "1", "-o", "W.mat")
    assert scipy.io.loadmat("W.mat", spmatrix=False)["W"].toarray() == [[1 + 2j]]


def test_variables_beyond_what_a_mat_file_holds(here, refusal):
    told = refusal("matrix", "box:9", "--input", "3000,3000", "-o", "W.mat")
    assert "Use .h5" in told
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".mat", "f2"), (".h5", "f2"), (".mat", "g"), (".h5", "g"), (".zarr", "G")]
)
def test_numbers_that_would_be_written_wrong(here, refusal, suffix, dtype):
    if np.dtype(dtype).itemsize in (8, 16) and dtype in "gG" and np.dtype("g").itemsize == 8:
        pytest.skip("long double is double here")
    np.save("k.npy", np.arange(6).reshape(3, 2).astype(dtype))
    assert "or use .npy" in refusal("matrix", "k.npy", *SHAPE, "-o", f"W{suffix}")
    assert os.listdir() == ["k.npy"]


def test_options_without_effect(here, refusal):
    for suffix, kind in ((".mat", "csc"), (".h5", "csr"), (".zarr", "csr")):
        assert f"always {kind}" in refusal("matrix", "sobel", *SHAPE, "--format", "csr", "-o", f"W{suffix}")


def test_a_folder_is_never_replaced(here, refusal):
    (here / "W.zarr").mkdir()
    (here / "W.zarr" / "precious").write_text("data")
    assert "W.zarr is there already" in refusal("matrix", "sobel", *SHAPE, "-o", "W.zarr")
    assert (here / "W.zarr" / "precious").read_text() == "data"
    assert "missing is not a folder" in refusal("matrix", "sobel", *SHAPE, "-o", "missing/W.zarr")


@pytest.mark.parametrize("suffix", [".mat", ".h5", ".zarr"])
@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left"), 2), (MemoryError(), 2), (KeyboardInterrupt(), 130)]
)
def test_a_failure_midway_leaves_nothing(here, monkeypatch, capsys, suffix, error, code):
    def fail(*arguments, **_):
        raise error

    made = {".mat": "scipy.io.savemat", ".h5": "convmtx.storage.slabs.Slabs.build", ".zarr": "zarr.Array.__setitem__"}
    monkeypatch.setattr(made[suffix], fail)
    assert main(["matrix", "sobel", *SHAPE, "-o", f"W{suffix}"]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir() == []


@pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")
@pytest.mark.parametrize("suffix", [".mat", ".h5", ".zarr"])
def test_a_file_system_that_gives_out(here, suffix):
    np.save("k.npy", np.random.default_rng(0).normal(size=(60, 60)))
    command = f"ulimit -f 8; exec {sys.executable} -m convmtx matrix k.npy --input 70,70 -o W{suffix}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    assert os.listdir() == ["k.npy"]


@pytest.mark.parametrize(("suffix", "library"), [(".h5", "h5py"), (".zarr", "zarr")])
def test_libraries_that_are_missing_are_named_before_the_work(here, refusal, monkeypatch, suffix, library):
    monkeypatch.setitem(sys.modules, library, None)
    assert 'pip install "convmtx[files]"' in refusal("matrix", "sobel", *SHAPE, "-o", f"W{suffix}")


def test_the_json_object(here, facts):
    found = facts("matrix", "sobel", *SHAPE, "-o", "W.npz")
    assert (found["kernel"], found["output"], found["format"], found["order"]) == ("sobel", "W.npz", "csr", "C")
    assert found["bytes"] == os.path.getsize("W.npz")
    told = found["explanation"]
    assert (told["shape"], told["nnz"], told["axes"][1]["pads"]) == ([12, 30], 12 * 9, [0, 0])
    assert told["bytes"]["dense"] == 12 * 30 * 8
