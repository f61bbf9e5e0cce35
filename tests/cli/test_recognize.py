"""``recognize``: kernels out of files, whose matrices are made by SciPy or by the loops of the definition."""

import json
import os

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.linalg
import scipy.sparse

import convmtx as cm
from convmtx.cli import main
from reference import tensor

K = np.random.default_rng(0).normal(size=(3, 2))


def matrix(kernel, sizes, stride=1, dilation=1, pads=(0, 0), boundary="zero", groups=1):
    """The matrix of a kernel (k1..kd, C, F), by loops; the same settings along every axis."""
    d = len(sizes)
    settings = ((value,) * d for value in (stride, dilation, pads, 1, boundary))
    W = tensor(kernel, sizes, *settings, groups, False)
    return W.reshape(np.prod(W.shape[: d + 1]), -1)


@pytest.fixture
def W(here):
    return matrix(K[..., None, None], (5, 6))


def write(path, W):
    suffix = path.rpartition(".")[2]
    if suffix == "npy":
        np.save(path, W)
    elif suffix == "npz":
        scipy.sparse.save_npz(path, scipy.sparse.csc_array(W))
    elif suffix == "mtx":
        scipy.io.mmwrite(path, scipy.sparse.coo_array(W))
    elif suffix == "mat":
        scipy.io.savemat(path, {"text": "abc", "W": scipy.sparse.csc_array(W), "other": W + 1})
    else:
        with h5py.File(path, "w") as file:
            file["W"] = W


@pytest.fixture
def mismatch(capsys):
    """A run on a matrix that is not a convolution; what it prints."""

    def run(*arguments):
        capsys.readouterr()
        assert main(["recognize", *arguments]) == 2
        out, err = capsys.readouterr()
        assert err == f"convmtx: recognize: {arguments[0]} is not the matrix of a convolution as it is\n"
        return out

    return run


@pytest.fixture
def mismatch_facts(mismatch):
    """The same, as JSON."""
    return lambda *arguments: json.loads(mismatch(*arguments, "--json"), parse_constant=pytest.fail)


def rebuilt(facts):
    """The dense matrix of the arguments of `conv` that a JSON object has."""
    names = ("stride", "dilation", "padding", "boundary", "groups", "flip", "channels", "input_dilation")
    settings = {name: facts[name] for name in names}
    settings["padding"] = [tuple(pair) for pair in settings["padding"]]
    op = cm.conv(np.array(facts["kernel"], facts["dtype"]), facts["in_shape"], **settings)
    assert list(op.out_shape) == facts["out_shape"]
    return op.to_dense().reshape(op.shape)


@pytest.mark.parametrize("suffix", ["npy", "npz", "mtx", "mat", "h5"])
def test_the_kernel_in_a_file(W, said, facts, suffix):
    write(f"W.{suffix}", W)
    text = said("recognize", f"W.{suffix}", "--input", "5,6")
    assert "\ncm.conv(K (3, 2), (5, 6))\nkernel: (3, 2) float64\n  [[" in text
    result = facts("recognize", f"W.{suffix}", "--input", "5,6")
    np.testing.assert_array_equal(result["kernel"], K)
    assert (result["exact"], result["differing"], result["differences"]) == (True, 0, [])
    assert (result["distance"], result["changes"], result["alternatives"]) == (0, [], [])


def test_every_member_of_the_json_object(W, facts):
    np.save("W.npy", W)
    result = facts("recognize", "W.npy", "--input", "5,6", "--output-shape", "3,5")
    assert result == {
        "file": "W.npy", "file_shape": [15, 30], "differences": [], "differing": 0, "exact": True, "changes": [],
        "kernel": K.tolist(), "kernel_shape": [3, 2], "dtype": "float64", "in_shape": [5, 6], "out_shape": [3, 5],
        "stride": [1, 1], "dilation": [1, 1], "padding": [[0, 0], [0, 0]], "boundary": ["zero", "zero"], "groups": 1,
        "flip": False, "channels": None, "input_dilation": [1, 1], "distance": 0.0, "boundaries": [[], []],
        "unseen": [[], []], "alternatives": [],
    }  # fmt: skip


def test_a_toeplitz_and_a_circulant_matrix_without_shapes(here, facts):
    taps = [5.0, -2.0, 1.0]
    np.save("T.npy", scipy.linalg.toeplitz([taps[0], 0, 0, 0, 0, 0], [*taps, 0, 0, 0, 0, 0]))
    result = facts("recognize", "T.npy")
    assert (result["kernel"], result["in_shape"], result["padding"]) == (taps, [8], [[0, 0]])
    np.save("C.npy", scipy.linalg.circulant([*taps, 0, 0, 0, 0]))
    result = facts("recognize", "C.npy")
    assert (sorted(result["kernel"]), result["boundary"]) == (sorted(taps), ["wrap"])
    np.testing.assert_array_equal(rebuilt(result), scipy.linalg.circulant([*taps, 0, 0, 0, 0]))


@pytest.mark.parametrize(
    ("kernel", "sizes", "settings"),
    [
        ((3, 3, 1, 1), (7, 8), {"stride": 2}),
        ((3, 2, 1, 1), (8, 9), {"dilation": 2, "pads": (2, 1)}),
        ((4, 3, 1, 1), (8, 9), {"pads": (3, 2), "boundary": "reflect"}),
        ((3, 2, 3), (9,), {"pads": (1, 1)}),
        ((3, 1, 4), (9,), {"pads": (1, 1), "groups": 2}),
        ((3, 1, 1), (12,), {"pads": (4, 0), "boundary": "symmetric"}),
    ],
)
def test_the_arguments_of_conv_build_the_file_again(here, facts, kernel, sizes, settings):
    W = matrix(np.random.default_rng(1).integers(1, 99, kernel), sizes, **settings)
    np.save("W.npy", W)
    channels = kernel[-2] * settings.get("groups", 1)
    plain = kernel[-2:] == (1, 1)
    shape = ",".join(map(str, sizes if plain else (*sizes, channels)))
    result = facts("recognize", "W.npy", "--input", shape, *([] if plain else ["--channels", "last"]))
    assert result["exact"]
    assert result["channels"] == (None if plain else "last")
    assert result["groups"] == settings.get("groups", 1)
    rows = rebuilt(result)
    assert rows.dtype == W.dtype
    np.testing.assert_array_equal(rows, W)


def test_channels_first(here, facts):
    torch = pytest.importorskip("torch")
    weight = torch.arange(1.0, 1 + 4 * 3 * 3 * 2).reshape(4, 3, 3, 2)
    pixels = torch.eye(90).reshape(90, 3, 5, 6)
    np.save("W.npy", torch.conv2d(pixels, weight).reshape(90, -1).T.contiguous().numpy())
    result = facts("recognize", "W.npy", "--input", "3,5,6", "--channels", "FIRST", "--output-shape", "4,3,5")
    assert result["kernel_shape"] == [4, 3, 3, 2]
    np.testing.assert_array_equal(result["kernel"], weight.numpy())


def test_a_file_in_column_major_order(W, said, mismatch, mismatch_facts):
    columns = W.reshape(3, 5, 5, 6).transpose(1, 0, 3, 2).reshape(15, 30)
    scipy.io.savemat("W.mat", {"W": scipy.sparse.csc_array(columns)})
    assert "\ncm.conv(K (3, 2), (5, 6))\n" in said("recognize", "W.mat", "--input", "5,6", "--order", "F")
    reading = "for the matrix with outputs and inputs in column-major order"
    shapes = ("--input", "5,6", "--output-shape", "3,5")
    text = mismatch("W.mat", *shapes)
    assert f"kernel {reading}: (3, 2) float64\n" in text
    result = mismatch_facts("W.mat", *shapes)
    (other,) = result["alternatives"]
    assert (result["exact"], other["exact"]) == (False, True)
    assert other["changes"] == [{"kind": "order", "numbers": ["column-major"], "sides": ["outputs", "inputs"]}]
    np.testing.assert_array_equal(other["kernel"], K)


def test_a_transposed_file(here, mismatch, mismatch_facts):
    kernel = np.random.default_rng(2).integers(1, 99, (5, 5)).astype(float)
    np.save("V.npy", matrix(kernel[..., None, None], (12, 13), boundary="reflect", pads=(2, 2)).T)
    shapes = ("--input", "12,13", "--output-shape", "12,13")
    text = mismatch("V.npy", *shapes)
    assert "it is the transpose of the matrix" in text
    assert "\nkernel for the matrix transposed: (5, 5) float64\n" in text
    (other,) = mismatch_facts("V.npy", *shapes)["alternatives"]
    assert other["changes"] == [{"kind": "transposed", "numbers": [], "sides": []}]
    np.testing.assert_array_equal(other["kernel"], kernel)


def test_entries_that_differ(W, mismatch, mismatch_facts):
    W[7, 9] += 1  # output (1, 2), input (1, 3)
    W[9, 3] = -5  # outside the window
    np.save("W.npy", W)
    text = mismatch("W.npy", "--input", "5,6", "--output-shape", "3,5")
    place = "row 7 = output (1, 2), column 9 = input (1, 3), tap (0, 1)"
    line = f"{place}: the file has {W[7, 9]}, the kernel gives {K[0, 1]}"
    assert f"\nfirst difference: {line}\nsecond difference: row 9 = output (1, 4), column 3 = input (0, 3): " in text
    assert text.endswith(f"2 entries differ, at distance {np.hypot(1, 5):.3g}\n")
    result = mismatch_facts("W.npy", "--input", "5,6", "--output-shape", "3,5")
    np.testing.assert_array_equal(result["kernel"], K)
    assert result["differences"][1] == {"row": 9, "output": [1, 4], "column": 3, "input": [0, 3], "tap": None,
                                        "file": -5.0, "kernel": 0.0}  # fmt: skip
    assert (result["differing"], result["unseen"]) == (2, [[], []])
    assert result["distance"] == pytest.approx(np.hypot(1, 5), rel=1e-15)


def test_rows_and_columns_are_numbered_in_the_order_of_the_file(W, mismatch_facts):
    W[7, 9] += 1
    np.save("W.npy", W.reshape(3, 5, 5, 6).transpose(1, 0, 3, 2).reshape(15, 30))
    (first,) = mismatch_facts("W.npy", "--input", "5,6", "--order", "F")["differences"]
    row, column = np.ravel_multi_index((1, 2), (3, 5), order="F"), np.ravel_multi_index((1, 3), (5, 6), order="F")
    assert (first["row"], first["column"], first["output"], first["input"]) == (row, column, [1, 2], [1, 3])


def test_boundaries_that_read_alike(here, said, facts):
    np.save("W.npy", matrix(np.array([1.0, 2, 4])[:, None, None], (7,), pads=(1, 1), boundary="edge"))
    result = facts("recognize", "W.npy", "--input", "7")
    assert sorted([*result["boundary"], *result["boundaries"][0]]) == ["edge", "symmetric"]
    assert "gives the same matrix along axis 0" in said("recognize", "W.npy", "--input", "7")


def test_complex_numbers_and_integers(here, facts):
    np.save("W.npy", scipy.linalg.toeplitz([1j, 0, 0], [1j, 2, 0, 0]))
    assert facts("recognize", "W.npy")["kernel"] == [[0.0, 1.0], [2.0, 0.0]]
    np.save("W.npy", scipy.linalg.toeplitz([3, 0, 0], [3, 2**62 + 1, 0, 0]))
    assert facts("recognize", "W.npy")["kernel"] == [3, 2**62 + 1]


def test_a_tensor_of_both_shapes(W, said, refusal):
    np.save("T.npy", W.reshape(3, 5, 5, 6))
    assert "cm.conv(K (3, 2), (5, 6))" in said("recognize", "T.npy", "--input", "5,6", "--output-shape", "3,5")
    assert "T.npy has shape (3, 5, 5, 6). Expected a matrix" in refusal("recognize", "T.npy", "--input", "5,6")


# What is written


def test_the_kernel_is_written_and_passes_the_check(W, said):
    np.save("W.npy", W)
    assert "\nkernel.npy written\n" in said("recognize", "W.npy", "--input", "5,6", "-o", "kernel.npy")
    np.testing.assert_array_equal(np.load("kernel.npy"), K)
    assert "equal, 15 x 30\n" in said("check", "W.npy", "kernel.npy", "--input", "5,6")


def test_large_kernels_are_written_and_not_printed(here, said, facts):
    taps = np.arange(1.0, 102)
    np.save("W.npy", scipy.linalg.toeplitz([1, *[0] * 120], [*taps, *[0] * 120]))
    text = said("recognize", "W.npy", "--input", "221", "-o", "K.npy")
    assert text.endswith("kernel: (101,) float64\nK.npy written\n")
    np.testing.assert_array_equal(np.load("K.npy"), taps)
    result = facts("recognize", "W.npy", "--input", "221")
    assert (result["kernel"], result["kernel_shape"]) == (None, [101])


def page_data(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return json.loads(text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])


def test_a_page_to_explore_it(here, said, facts):
    kernel = np.array([[1.0, 2, 4], [8, 16, 32], [64, 128, 256]])
    np.save("W.npy", matrix(kernel[..., None, None], (7, 8), stride=2, pads=(2, 1), boundary="wrap"))
    assert "; open it in a browser\n" in said("recognize", "W.npy", "--input", "7,8", "--explore", "page.html")
    data = page_data("page.html")
    assert data["kernel"] == kernel.ravel().tolist()
    assert [(axis["size"], axis["stride"], axis["boundary"]) for axis in data["axes"]] == [
        (7, 2, "wrap"),
        (8, 2, "wrap"),
    ]
    assert facts("recognize", "W.npy", "--input", "7,8", "--explore", "page.html")["explore"] == "page.html"


def test_a_page_of_the_nearest(W, mismatch):
    W[7, 9] += 1
    np.save("W.npy", W)
    mismatch("W.npy", "--input", "5,6", "--explore", "page.html")
    assert page_data("page.html")["kernel"] == K.ravel().tolist()


# Refusals


def test_targets_are_looked_at_before_the_file_is_read(W, refusal):
    np.save("W.npy", W)
    assert "Expected .npy" in refusal("recognize", "none.npy", "-o", "K.txt")
    assert "Expected .html or .htm" in refusal("recognize", "none.npy", "--explore", "page.txt")
    assert "W.npy is the matrix itself" in refusal("recognize", "W.npy", "--input", "5,6", "-o", "W.npy")
    np.testing.assert_array_equal(np.load("W.npy"), W)
    assert sorted(os.listdir()) == ["W.npy"]


def test_wrong_shapes_and_files(W, refusal):
    np.save("W.npy", W)
    assert "in_shape=(5, 5)" in refusal("recognize", "W.npy", "--input", "5,5")
    assert "out_shape=(4, 4)" in refusal("recognize", "W.npy", "--input", "5,6", "--output-shape", "4,4")
    assert "equally many axes" in refusal("recognize", "W.npy", "--input", "5,6", "--output-shape", "15")
    assert "'5x6' is not a list of integers" in refusal("recognize", "W.npy", "--input", "5x6")
    assert "in_shape[0]=-5" in refusal("recognize", "W.npy", "--input", "-5,-6")
    assert "none.npy: No such file" in refusal("recognize", "none.npy")
    assert "Expected .npz or .npy" in refusal("recognize", "W.txt")
    np.save("words.npy", np.array([["a"]]))
    assert "contains <U1" in refusal("recognize", "words.npy")
    np.savez("two.npz", a=W, b=W)
    assert "contains a, b" in refusal("recognize", "two.npz")
    for shape in ((0, 5), (5, 0), (6,)):
        np.save("W.npy", np.zeros(shape))
        assert f"W.npy has shape {shape}" in refusal("recognize", "W.npy")
    np.save("W.npy", np.full((3, 4), np.nan))
    assert "contains inf or nan" in refusal("recognize", "W.npy")
    np.savez("W.npz", format=b"csr", shape=[3, 3], data=np.ones(1), indices=[7], indptr=[0, 1, 1, 1])
    assert "W.npz" in refusal("recognize", "W.npz")
