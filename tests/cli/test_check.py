"""``check``: the first entry that differs, against matrices changed by hand, and readings of what was meant."""

import os
import re

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.linalg
import scipy.signal
import scipy.sparse

from convmtx.cli import main

K = np.random.default_rng(0).normal(size=(3, 2))
SHAPE = ("--input", "5,6")


def reference(kernel, shape, flip=False, full=False):
    """The matrix, column by column, by SciPy's correlation of single pixels."""
    columns = []
    for j in range(np.prod(shape)):
        x = np.zeros(shape)
        x.flat[j] = 1
        filtered = scipy.signal.convolve2d if flip else scipy.signal.correlate2d
        columns.append(filtered(x, kernel, "full" if full else "valid").ravel())
    return np.array(columns).T


@pytest.fixture
def W(here):
    """The matrix of K, which lies in k.npy."""
    np.save("k.npy", K)
    return reference(K, (5, 6))


def write(path, W):
    suffix = path.rpartition(".")[2]
    if suffix == "npy":
        np.save(path, W)
    elif suffix == "npz":
        scipy.sparse.save_npz(path, scipy.sparse.csc_array(W))
    elif suffix == "mtx":
        scipy.io.mmwrite(path, scipy.sparse.coo_array(W))
    elif suffix == "mat":
        scipy.io.savemat(path, {"text": "abc", "W": scipy.sparse.csc_array(W), "other": W}, do_compression=True)
    else:
        with h5py.File(path, "w") as file:
            file["W"] = W


def mismatch(capsys, *arguments):
    """A comparison that finds a difference: what it says."""
    capsys.readouterr()
    assert main([*arguments]) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(r"convmtx: check: .* is not the matrix of .*\n", err)
    return out


SUFFIXES = ["npy", "npz", "mtx", "mat", "h5"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_matrices(W, said, facts, suffix):
    write(f"W.{suffix}", W)
    assert "equal, 15 x 30\n" in said("check", f"W.{suffix}", "k.npy", *SHAPE)
    assert facts("check", f"W.{suffix}", "k.npy", *SHAPE)["equal"] is True


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_first_difference_in_coordinates(W, capsys, suffix):
    W[7, 9] += 1  # output (1, 2), input (1, 3)
    W[9, 3] = -5  # outside the window
    write(f"W.{suffix}", W)
    told = mismatch(capsys, "check", f"W.{suffix}", "k.npy", *SHAPE)
    line = f"first difference: row 7 = output (1, 2), column 9 = input (1, 3), tap (0, 1): the file has {W[7, 9]}"
    assert line in told
    assert f"2 entries differ, by at most {5:.3g}" in told


def test_differences_as_json(W, capsys):
    W[14, 29] = np.nan
    W[3, 5] = 0.5
    np.save("W.npy", W)
    import json

    assert main(["check", "W.npy", "k.npy", *SHAPE, "--json"]) == 2
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    first, second = found["differences"]
    assert first == {"row": 3, "output": [0, 3], "column": 5, "input": [0, 5], "tap": None, "file": 0.5, "kernel": 0.0}
    assert second == {"row": 14, "output": [2, 4], "column": 29, "input": [4, 5], "tap": [2, 1], "file": "nan",
                      "kernel": K[2, 1]}  # fmt: skip
    assert (found["differing"], found["equal"], found["explanations"]) == (2, False, [])
    assert found["largest_difference"] == "nan"


def test_coordinates_with_channels_and_column_major(here, said, capsys):
    said("matrix", "sobel", "--input", "5,6,2", "--order", "F", "-o", "W.npy")
    W = np.load("W.npy")
    row = np.ravel_multi_index((2, 1, 1), (3, 4, 2), order="F")
    column = np.ravel_multi_index((4, 5, 0), (5, 6, 2), order="F")
    W[row, column] = 7
    np.save("W.npy", W)
    told = mismatch(capsys, "check", "W.npy", "sobel", "--input", "5,6,2", "--order", "F")
    assert (
        f"row {row} = output (2, 1, 1), column {column} = input (4, 5, 0): the file has 7.0, the kernel gives 0.0"
        in told
    )


def test_tolerance(W, said, capsys):
    W[2, 3] += 1e-7
    np.save("W.npy", W)
    mismatch(capsys, "check", "W.npy", "k.npy", *SHAPE)
    mismatch(capsys, "check", "W.npy", "k.npy", *SHAPE, "--tolerance", "9e-8")
    assert "equal" in said("check", "W.npy", "k.npy", *SHAPE, "--tolerance", "1.1e-7")


def test_files_of_fewer_digits_are_compared_in_theirs(W, said, capsys):
    np.save("W.npy", W.astype(np.float32))
    assert "equal, 15 x 30, to float32" in said("check", "W.npy", "k.npy", *SHAPE)
    np.save("W.npy", np.nextafter(W.astype(np.float32), np.float32(9)))
    mismatch(capsys, "check", "W.npy", "k.npy", *SHAPE)


@pytest.mark.parametrize("dtype", ["f4", "u1", "i8", "c8"])
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".mtx", ".mat", ".h5"])
def test_what_matrix_writes_is_equal(here, said, dtype, suffix):
    np.save("k.npy", (K * 9 + (1j if dtype == "c8" else 0)).astype(dtype))
    said("matrix", "k.npy", *SHAPE, "--padding", "same", "-o", f"W{suffix}")
    assert "equal" in said("check", f"W{suffix}", "k.npy", *SHAPE, "--padding", "same")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_formats(here, said, form):
    said("matrix", "sobel", *SHAPE, "--format", form, "-o", "W.npz")
    assert "equal" in said("check", "W.npz", "sobel", *SHAPE)


def test_dense_arrays_in_npz_and_tensors(W, said):
    np.savez("W.npz", a=W, b=W + 1)
    assert "equal" in said("check", "W.npz:a", "k.npy", *SHAPE)
    np.save("T.npy", W.reshape(3, 5, 5, 6))
    assert "equal" in said("check", "T.npy", "k.npy", *SHAPE)


def test_duplicates_are_sums_and_stored_zeros_none(W, said):
    coo = scipy.sparse.coo_array(W)
    rows, columns = (np.concatenate([each, each, [0]]) for each in coo.coords)
    scipy.io.mmwrite("W.mtx", scipy.sparse.coo_array((np.r_[coo.data, coo.data, 0.0] / 2, (rows, columns)), (15, 30)))
    assert "equal" in said("check", "W.mtx", "k.npy", *SHAPE)


def test_not_a_number_equals_itself(here, said):
    np.save("k.npy", np.array([np.nan, np.inf, 1.0]))
    said("matrix", "k.npy", "--input", "5", "-o", "W.npz")
    assert "equal" in said("check", "W.npz", "k.npy", "--input", "5")


def test_large_matrices_in_pieces(here, said, capsys, monkeypatch):
    monkeypatch.setattr("convmtx.recognition.matrices.SLAB", 1000)
    said("matrix", "gaussian:5:1", "--input", "40,41", "-o", "W.npz")
    assert "equal" in said("check", "W.npz", "gaussian:5:1", "--input", "40,41")
    W = scipy.sparse.load_npz("W.npz")
    W.data[-1] += 1
    scipy.sparse.save_npz("W.npz", W)
    last = (36 * 37 - 1, 40 * 41 - 1)
    told = mismatch(capsys, "check", "W.npz", "gaussian:5:1", "--input", "40,41")
    assert f"row {last[0]} = output (35, 36), column {last[1]} = input (39, 40)" in told
    assert "1 entry differs, by at most 1" in told


# Readings


@pytest.mark.parametrize(
    ("made", "reading"),
    [
        (lambda W: W.T, "the transpose of the matrix"),
        (lambda _: reference(K, (5, 6), flip=True), "the matrix with the kernel flipped along axes 0 and 1"),
        (
            lambda W: W.reshape(3, 5, 5, 6).transpose(1, 0, 3, 2).reshape(15, 30),
            "the matrix with outputs and inputs in column-major order",
        ),
        (
            lambda _: reference(K, (5, 6), flip=True, full=True),
            "the matrix with the kernel flipped along axes 0 and 1 and with padding ((2, 2), (1, 1))",
        ),
        (lambda W: W + 1, None),
        (lambda W: W[:, :7], None),
    ],
)
def test_what_may_have_been_meant(W, capsys, made, reading):
    np.save("W.npy", made(W))
    told = mismatch(capsys, "check", "W.npy", "k.npy", *SHAPE)
    assert told.endswith(f"the file is {reading}\n") if reading else "the file is" not in told


def test_channels_at_the_other_end(here, said, capsys):
    kernel = np.random.default_rng(0).normal(size=(3, 2, 2, 3))
    np.save("last.npy", kernel)
    np.save("first.npy", kernel.transpose(3, 2, 0, 1))
    said("matrix", "first.npy", "--input", "2,5,6", "--channels", "first", "-o", "W.npz")
    told = mismatch(capsys, "check", "W.npz", "last.npy", "--input", "5,6,2")
    assert "the file is the matrix with the channels of outputs and inputs first" in told
    said("matrix", "last.npy", "--input", "5,6,2", "-o", "V.npz")
    told = mismatch(capsys, "check", "V.npz", "first.npy", "--input", "2,5,6", "--channels", "first")
    assert "the file is the matrix with the channels of outputs and inputs last" in told


def test_matlabs_convmtx2(W, capsys):
    full = reference(K, (5, 6), flip=True, full=True)
    columns = full.reshape(7, 7, 5, 6).transpose(1, 0, 3, 2).reshape(49, 30)
    scipy.io.savemat("W.mat", {"W": scipy.sparse.csc_array(columns)})
    told = mismatch(capsys, "check", "W.mat", "k.npy", *SHAPE)
    flipped, padded = "with the kernel flipped along axes 0 and 1", "with padding ((2, 2), (1, 1))"
    assert f"the matrix with outputs and inputs in column-major order and {flipped} and {padded}\n" in told


def test_boundaries_and_transposed_convolution(W, said, capsys):
    same = (*SHAPE, "--padding", "same")
    said("matrix", "k.npy", *same, "--boundary", "wrap", "-o", "W.npz")
    assert "the file is the matrix with boundary wrap" in mismatch(capsys, "check", "W.npz", "k.npy", *same)
    said("matrix", "k.npy", "--input", "3,5", "--transpose", "-o", "V.npz")
    assert "the transpose of the matrix" in mismatch(capsys, "check", "V.npz", "k.npy", *SHAPE)


# Files that are not trusted


def sparse_npz(path, **arrays):
    base = {"format": np.array(b"csr"), "shape": np.array([15, 30]), "data": np.ones(2), "indices": np.array([0, 1]),
            "indptr": np.minimum(np.arange(16), 2)}  # fmt: skip
    np.savez(path, **(base | arrays))


@pytest.mark.parametrize(
    "arrays",
    [
        {"indices": np.array([0, 30])}, {"indices": np.array([-1, 0])}, {"indptr": np.arange(16)[::-1].copy()},
        {"indptr": np.arange(16)}, {"format": np.array(b"evil")}, {"shape": np.array([15, -30])},
        {"shape": np.array([10**15, 30])}, {"data": np.array(["a", "b"])}, {"data": np.ones(2, bool)},
        {"shape": np.array([15])},
    ],
)  # fmt: skip
def test_sparse_files_that_would_lead_astray(W, refusal, arrays):
    sparse_npz("W.npz", **arrays)
    assert "W.npz" in refusal("check", "W.npz", "k.npy", *SHAPE)


MARKET = "%%MatrixMarket matrix coordinate real general\n"


@pytest.mark.parametrize(
    "text",
    ["", "1 2 3\n", MARKET, MARKET + "15 30 1\n", MARKET + "15 30 999999999999\n1 1 1\n", MARKET + "15 30 1\n16 1 1\n",
     MARKET + "15 30 1\n0 1 1\n", MARKET + "15 30 1\n1 1\n", MARKET + "15 30 -1\n", MARKET + "15 30 1\n1 1 x\n",
     MARKET + "15 30 1\n1 1 1\n1 2 1\n", MARKET + "999999999999999 30 1\n1 1 1\n", MARKET.replace("real", "quaternion"),
     "%%MatrixMarket matrix array real general\n100000 100000\n1\n",
     "%%MatrixMarket matrix array real symmetric\n2 1\n1\n2\n3\n"],
)  # fmt: skip
def test_market_files_that_are_none(W, refusal, text):
    with open("W.mtx", "w") as file:
        file.write(text)
    assert "W.mtx" in refusal("check", "W.mtx", "k.npy", *SHAPE)


@pytest.mark.parametrize("symmetry", ["symmetric", "skew-symmetric", "hermitian"])
@pytest.mark.parametrize("dense", [False, True])
def test_symmetric_market_files(here, said, capsys, symmetry, dense):
    taps = {"symmetric": [1, 3.5, 1], "skew-symmetric": [-1.5, 0, 1.5], "hermitian": [1j, 2, -1j]}[symmetry]
    np.save("k.npy", np.array(taps))
    W = scipy.linalg.toeplitz([taps[1], taps[0], 0, 0, 0], [taps[1], taps[2], 0, 0, 0])
    scipy.io.mmwrite("W.mtx", W if dense else scipy.sparse.coo_array(W), symmetry=symmetry)
    with open("W.mtx") as file:
        assert f" {symmetry}" in file.readline()
    assert "equal, 5 x 5" in said("check", "W.mtx", "k.npy", "--input", "5", "--padding", "same")


def test_files_that_cannot_be_read(W, refusal):
    os.mkdir("W.zarr")
    assert "W.zarr is not a store of Zarr. Expected a group" in refusal("check", "W.zarr", "k.npy", *SHAPE)
    os.mkdir("W.txt")
    assert "Expected .npz or .npy" in refusal("check", "W.txt", "k.npy", *SHAPE)
    assert "none.npz: No such file" in refusal("check", "none.npz", "k.npy", *SHAPE)
    np.save("W.npy", np.array(["a"]))
    assert "contains <U1" in refusal("check", "W.npy", "k.npy", *SHAPE)
    assert "at least 0" in refusal("check", "W.npy", "k.npy", *SHAPE, "--tolerance=-1")
    assert "'1e400' is too large" in refusal("check", "W.npy", "k.npy", *SHAPE, "--tolerance", "1e400")
    np.savez("W.npz", a=K, b=K)
    assert "contains a, b" in refusal("check", "W.npz", "k.npy", *SHAPE)
    np.save("W.npy", np.zeros(3))
    assert main(["check", "W.npy", "k.npy", *SHAPE]) == 2


def test_indices_that_are_no_integers_are_not_cut_to_some(here, refusal):
    S = scipy.sparse.csr_array(np.eye(9))
    np.save("k.npy", np.ones((1, 1)))
    np.savez("W.npz", format=b"csr", shape=S.shape, data=S.data, indices=S.indices + 0.5, indptr=S.indptr)

    assert "Expected integers" in refusal("check", "W.npz", "k.npy", "--input", "3,3")


def test_halves_are_compared_too(here, said, facts, capsys):
    taps = np.array([[0.1, 0.2], [0.3, -7.0]])
    np.save("k.npy", taps)
    np.save("half.npy", taps.astype("f2"))
    said("matrix", "half.npy", "--input", "3,3", "-o", "W.npy")
    assert np.load("W.npy").dtype == np.float16
    assert "equal, 4 x 9\n" in said("check", "W.npy", "half.npy", "--input", "3,3")
    assert "equal, 4 x 9, to float16\n" in said("check", "W.npy", "k.npy", "--input", "3,3")
    assert facts("check", "W.npy", "k.npy", "--input", "3,3")["rounded_to"] == "float16"
    W = np.load("W.npy")
    W[2, 3] = np.nextafter(W[2, 3], np.float16(9))
    np.save("W.npy", W)
    assert main(["check", "W.npy", "k.npy", "--input", "3,3"]) == 2
    assert "row 2" in capsys.readouterr().out


def test_rounding_is_told_and_overflow_is_none(here, said, facts, capsys):
    np.save("k.npy", np.array([2**53 + 1, 2, 3]))
    np.save("W.npy", np.array([[2.0**53, 2, 3]]))
    assert "equal, 1 x 3, to float64\n" in said("check", "W.npy", "k.npy", "--input", "3")
    np.save("k.npy", np.array([2**53, 2, 3]))
    assert facts("check", "W.npy", "k.npy", "--input", "3")["rounded_to"] is None
    np.save("k.npy", np.array([1e300, 2, 3]))
    np.save("W.npy", np.array([[np.inf, 2, 3]], "f4"))
    assert main(["check", "W.npy", "k.npy", "--input", "3"]) == 2
    assert "first difference: row 0 = output (0,), column 0" in capsys.readouterr().out
    np.save("k.npy", np.array([np.inf, 2, np.nan]))
    np.save("W.npy", np.array([[np.inf, 2, np.nan]], "f4"))
    assert "equal, 1 x 3\n" in said("check", "W.npy", "k.npy", "--input", "3")


def test_files_beyond_memory_are_told_as_such(here, refusal):
    np.save("k.npy", K)
    with open("W.mtx", "w") as file:
        file.write(MARKET + "9999999999999 9999999999999 1\n1 1 1\n")
    told = refusal("check", "W.mtx", "k.npy", *SHAPE)
    assert "More than fits in memory twice. Use a smaller matrix." in told
    assert "--input" not in told
