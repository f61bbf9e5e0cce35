"""The command line: what it writes is the convolution, and what it cannot do is one line and no file."""

import contextlib
import io
import os
import pickle
import random
import re
import stat
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.io
import scipy.signal
import scipy.sparse

from convmtx.cli import main

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, limits and pipes as POSIX has them")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with one good kernel in it."""
    monkeypatch.chdir(tmp_path)
    np.save("k.npy", np.random.default_rng(0).normal(size=(3, 2)))
    return tmp_path


def array(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


def read(path):
    """What the help says: how to get the matrix back without this package."""
    if path.endswith(".npz"):
        return scipy.sparse.load_npz(path).toarray()
    return np.load(path) if path.endswith(".npy") else scipy.io.mmread(path, spmatrix=False).toarray()


def built(tmp_path, kernel, *arguments, suffix=".npz"):
    """The matrix that the command writes for this kernel."""
    np.save(tmp_path / "K.npy", kernel)
    target = str(tmp_path / f"W{suffix}")
    assert main(["matrix", str(tmp_path / "K.npy"), *arguments, "-o", target]) == 0
    return read(target)


def process(*arguments, **settings):
    command = [sys.executable, "-m", "convmtx", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **settings)


def windows(x, kernel, stride=1, dilation=1):
    """Correlation of (n1, n2, C) with (k1, k2, C, F) by sliding windows: another route than the package's."""
    span = [dilation * (k - 1) + 1 for k in kernel.shape[:2]]
    seen = np.lib.stride_tricks.sliding_window_view(x, span, axis=(0, 1))[::stride, ::stride, :, ::dilation, ::dilation]
    return np.einsum("abcpq,pqcf->abf", seen, kernel)


def stuffed(x, e):
    spread = np.zeros([(n - 1) * e + 1 for n in x.shape])
    spread[tuple(slice(None, None, e) for _ in x.shape)] = x
    return spread


# Numbers: the file against SciPy's and NumPy's own convolutions


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".mtx", ".NPZ"])
def test_a_file_of_each_kind_is_the_convolution(tmp_path, suffix):
    kernel, x = array(3, 2), array(6, 7)
    np.save(tmp_path / "K.npy", kernel)
    target = tmp_path / f"W{suffix}"
    assert main(["matrix", str(tmp_path / "K.npy"), "--input", "6,7", "-o", str(target)]) == 0
    W = read(str(target)) if suffix != ".NPZ" else scipy.sparse.load_npz(target).toarray()
    wanted = scipy.signal.correlate2d(x, kernel, "valid")
    np.testing.assert_allclose(W @ x.ravel(), wanted.ravel(), rtol=0, atol=1e-14)


def test_the_question_itself(tmp_path):
    kernel, A = array(3, 2, 3, 4), array(5, 6, 3)
    W = built(tmp_path, kernel, "--input", "5,6,3", suffix=".npy").reshape(3, 5, 4, 5, 6, 3)
    np.testing.assert_allclose(np.tensordot(W, A, 3), windows(A, kernel), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "padded"),
    [
        (["--padding", "1"], lambda x: np.pad(x, 1)),
        (["--padding", "1,2"], lambda x: np.pad(x, [(1, 1), (2, 2)])),
        (["--padding", "0:1,2:2"], lambda x: np.pad(x, [(0, 1), (2, 2)])),
        (["--padding", "1,0:3"], lambda x: np.pad(x, [(1, 1), (0, 3)])),
        (["--padding=-1,0:1"], lambda x: np.pad(x, [(0, 0), (0, 1)])[1:-1]),
        (["--padding", "-1,0:1"], lambda x: np.pad(x, [(0, 0), (0, 1)])[1:-1]),
        (["--padding", "-1"], lambda x: x[1:-1, 1:-1]),
        (["--padding=-1:2,0"], lambda x: np.pad(x, [(0, 2), (0, 0)])[1:]),
        (["--padding", "full"], lambda x: np.pad(x, [(2, 2), (1, 1)])),
        (["--padding", "same"], lambda x: np.pad(x, [(1, 1), (0, 1)])),
        (["--padding", "same_lower"], lambda x: np.pad(x, [(1, 1), (1, 0)])),
        (["--padding", "2", "--boundary", "wrap"], lambda x: np.pad(x, 2, "wrap")),
        (["--padding", "2", "--boundary", "edge"], lambda x: np.pad(x, 2, "edge")),
        (
            ["--padding", "1,2", "--boundary", "reflect,zero"],
            lambda x: np.pad(np.pad(x, [(1, 1), (0, 0)], "reflect"), [(0, 0), (2, 2)]),
        ),
        (["--input-dilation", "2"], lambda x: stuffed(x, 2)),
    ],
)
def test_padding_boundary_and_input_dilation(tmp_path, arguments, padded):
    kernel, x = array(3, 2), array(5, 6)
    wanted = scipy.signal.correlate2d(padded(x), kernel, "valid")
    W = built(tmp_path, kernel, "--input", "5,6", *arguments)
    np.testing.assert_allclose(W @ x.ravel(), wanted.ravel(), rtol=0, atol=1e-14)


def test_padding_of_one_axis_as_a_pair(tmp_path):
    W = built(tmp_path, np.array([1, 10]), "--input", "3", "--padding", "0:2")
    assert W.tolist() == [[1, 10, 0], [0, 1, 10], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("arguments", "stride", "dilation"),
    [(["--stride", "2"], 2, 1), (["--dilation", "2,2"], 1, 2), (["--stride", "2,2", "--dilation", "2"], 2, 2)],
)
def test_stride_and_dilation(tmp_path, arguments, stride, dilation):
    kernel, x = array(3, 2, 2, 3), array(7, 8, 2)
    W = built(tmp_path, kernel, "--input", "7,8,2", *arguments)
    wanted = windows(x, kernel, stride, dilation)
    np.testing.assert_allclose(W @ x.ravel(), wanted.ravel(), rtol=0, atol=1e-13)


def test_channels_first_and_groups(tmp_path):
    kernel, x = array(6, 1, 3, 2), array(2, 5, 6)
    W = built(tmp_path, kernel, "--input", "2,5,6", "--channels", "first", "--groups", "2")
    wanted = [scipy.signal.correlate2d(x[f // 3], kernel[f, 0], "valid") for f in range(6)]
    np.testing.assert_allclose(W @ x.ravel(), np.ravel(wanted), rtol=0, atol=1e-14)


def test_flip_is_true_convolution_and_order_f_is_matlabs(tmp_path):
    kernel, x = array(3, 2), array(5, 6)
    W = built(tmp_path, kernel, "--input", "5,6", "--flip", "--padding", "full", "--order", "F", suffix=".mtx")
    wanted = scipy.signal.convolve2d(x, kernel)
    np.testing.assert_allclose(W @ x.ravel("F"), wanted.ravel("F"), rtol=0, atol=1e-14)


@pytest.mark.parametrize("extra", [[], ["--output-padding", "1,0"]])
def test_transpose_spreads_the_kernel(tmp_path, extra):
    kernel, x = array(3, 2), array(4, 5)
    W = built(tmp_path, kernel, "--input", "4,5", "--transpose", "--stride", "2", *extra)
    wanted = np.pad(scipy.signal.convolve2d(stuffed(x, 2), kernel), [(0, len(extra) // 2), (0, 0)])
    np.testing.assert_allclose(W @ x.ravel(), wanted.ravel(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "CSR"])
def test_sparse_formats(folder, form):
    assert main(["matrix", "k.npy", "--input", "5,6", "--format", form, "-o", "W.npz"]) == 0
    W, x = scipy.sparse.load_npz("W.npz"), array(5, 6)
    assert isinstance(W, scipy.sparse.sparray)
    assert W.format == form.lower()
    wanted = scipy.signal.correlate2d(x, np.load("k.npy"), "valid")
    np.testing.assert_allclose(W @ x.ravel(), wanted.ravel(), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "names",
    [["--padding", "SAME"], ["--padding", "Same_Lower"], ["--padding", "1", "--boundary", "Wrap,REFLECT"],
     ["--padding", "full", "--boundary", "Circular"], ["--order", "f"], ["--format", "CSC"], ["--channels", "LAST"]],
)  # fmt: skip
def test_names_are_read_in_any_case(folder, names):
    shape = ["--input", "5,6"] if "--channels" not in names else ["--input", "5,6,1"]
    np.save("k.npy", array(3, 2) if "--channels" not in names else array(3, 2, 1, 1))
    lower = [text if text.startswith("--") else text.lower() for text in names]
    assert main(["matrix", "k.npy", *shape, *names, "-o", "W.npz"]) == 0
    assert main(["matrix", "k.npy", *shape, *lower, "-o", "V.npz"]) == 0
    W, V = scipy.sparse.load_npz("W.npz"), scipy.sparse.load_npz("V.npz")
    assert W.format == V.format
    assert np.array_equal(W.toarray(), V.toarray())


@pytest.mark.parametrize(
    ("names", "remedy"),
    [(["--padding", "SAME_UPPER"], "Pass padding='same'"), (["--boundary", "Mirror"], "pass boundary='reflect'"),
     (["--boundary", "wrap,GRID-MIRROR"], "pass boundary='symmetric'")],
)  # fmt: skip
def test_names_of_other_libraries_are_translated(folder, capsys, names, remedy):
    assert main(["matrix", "k.npy", "--input", "5,6", *names, "-o", "W.npz"]) == 2
    assert remedy in one_line(capsys)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".mtx"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "u8", "f4", ">f8", "c8", ">c16"])
def test_every_digit_survives_the_file(tmp_path, suffix, dtype):
    if np.dtype(dtype).kind in "iu":
        kernel = (np.iinfo(dtype).max - np.arange(6, dtype=dtype)).reshape(3, 2)
    else:
        kernel = (array(3, 2) + (1j * array(3, 2, 1)[..., 0] if "c" in dtype else 0)).astype(dtype)
    W = built(tmp_path, kernel, "--input", "3,2", suffix=suffix)  # one output: its row is the kernel
    assert np.array_equal(W.astype(dtype), kernel.reshape(1, 6))
    assert suffix == ".mtx" or W.dtype == kernel.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    ("dtype", "suffix", "fine"),
    [("f2", ".npz", False), ("f2", ".mtx", False), ("f2", ".npy", True), ("g", ".npz", True), ("g", ".mtx", None)],
)
def test_what_scipy_would_write_wrong_is_refused(folder, capsys, dtype, suffix, fine):
    kernel = np.arange(6).reshape(3, 2).astype(dtype)
    np.save("K.npy", kernel)
    fine = kernel.itemsize == 8 if fine is None else fine  # long double is double on some machines
    code = main(["matrix", "K.npy", "--input", "3,2", "-o", f"W{suffix}"])
    assert code == (0 if fine else 2)
    assert os.path.exists(f"W{suffix}") is fine
    assert fine or "or use .npy" in one_line(capsys)


def test_zeros_of_the_kernel_and_symmetric_matrices_are_written_out(tmp_path):
    built(tmp_path, np.array([1.0, 0.0, 1.0]), "--input", "4", "--padding", "same", suffix=".mtx")
    head, size, *entries = (tmp_path / "W.mtx").read_text().splitlines()
    assert head.split()[-1] == "general"
    assert size.split() == ["4", "4", "10"]
    assert len(entries) == 10


def test_the_report(folder, capsys):
    assert main(["matrix", "k.npy", "--input", "5,6", "--stride", "2,1", "-o", "W.npz"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for words in ("k.npy, (3, 2) float64", "(5, 6) -> (2, 5)", "10 x 30", "nnz 60", "csr ", "stride 2", "written in"):
        assert words in said.out
    assert re.search(r"W.npz written, [0-9.]+ kB\n$", said.out)


# Errors: one line, exit code 2, nothing written


def one_line(capsys):
    """The line on stderr, of which there must be exactly one."""
    said = capsys.readouterr().err
    assert said.startswith("convmtx: ")
    assert said.count("\n") == 1
    assert said.endswith("\n")
    return said


NUMBERS = ["5,,3", "5,6,", ",5,6", "5;6", "5.0,6", "5, 6", "1_0,6", "0x5,6", "\u0665,6", "", "+5,6", "9" * 5000, "5\n6"]


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("option", ["--input", "--stride", "--dilation", "--input-dilation", "--padding"])
def test_numbers_are_read_strictly(folder, capsys, option, text):
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "W.npz", f"{option}={text}"]) == 2
    assert option in one_line(capsys)
    assert os.listdir() == ["k.npy"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--padding", "1:2:3,1"], "--padding"),
        (["--padding", "1:,1"], "--padding"),
        (["--padding", "Some"], "padding='Some'"),
        (["--padding", "nearest"], "'same_lower'"),
        (["--padding", "1,2,3"], "2 spatial axes"),
        (["--boundary", "mirror"], "'reflect'"),
        (["--boundary", "wrap,"], "boundary"),
        (["--groups", "2"], "groups"),
        (["--groups", "2,1"], "--groups"),
        (["--stride", "0"], "stride"),
        (["--stride", "1,1,1"], "stride"),
        (["--channels", "middle"], "--channels"),
        (["--order", "K"], "--order"),
        (["--format", "lil"], "--format"),
        (["--form", "csr"], "--form"),
        (["--flip=yes"], "--flip"),
        (["--nonsense"], "--nonsense is not an option (see convmtx matrix --help)"),
        (["--strid", "2"], "--strid is not an option: did you mean --stride?"),
        (["--imput=5,6"], "--imput is not an option: did you mean --input?"),
        (["--" + "x" * 5000], "--" + "x" * 55 + "... is not an option"),
        (["7"], "'7' is one argument too many: lists are written with commas, such as 64,64"),
        (["--input", "99999999999999999999,3"], "'99999999999999999999,3' has a number of 20 digits, and at most 18"),
        (["--input", "9" * 5000], "999...' has a number of 5000 digits, and at most 18"),
        (["--stride", "-1"], "stride=-1"),
        (["--padding", "-9,0"], "positions after padding (-9, -9)"),
        (["more"], "more"),
        (["--transpose", "--boundary", "wrap"], "--boundary came with --transpose"),
        (["--transpose", "--boundary", "zero"], "--boundary came with --transpose"),
        (["--transpose", "--input-dilation", "1"], "--input-dilation came with --transpose"),
        (["--output-padding", "0"], "--output-padding came without --transpose"),
        (["--format", "csr", "-o", "W.npy"], "--format"),
        (["--format", "coo", "-o", "W.mtx"], "--format"),
        (["--input", "2,2"], "fits"),
        (["--input", "5"], "kernel of shape (3, 2)"),
        (["--input", "5,6,3,2"], "kernel of shape (3, 2)"),
        (["--input", "5,0"], "input_shape"),
        (["--input=-5,6"], "input_shape"),
        (["-o", "W"], "Expected .npz or .npy or .mtx"),
        (["-o", "W.txt"], "'.txt'"),
        (["-o", ""], "It is a folder"),
        (["-o", "k.npy"], "the kernel itself"),
    ],
)
def test_what_cannot_be_done(folder, capsys, arguments, words):
    kernel = (folder / "k.npy").read_bytes()
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "W.npz", *arguments]) == 2
    assert words in one_line(capsys)
    assert os.listdir() == ["k.npy"]
    assert (folder / "k.npy").read_bytes() == kernel


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["paint"], "'paint' is not a command (see"),
        (["matirx"], "'matirx' is not a command: did you mean matrix?"),
        (["Info"], "did you mean info?"),
        (["version"], "did you mean --version?"),
        (["--verison"], "--verison is not an option: did you mean --version?"),
        (["matrix"], "--input"),
        (["matrix", "k.npy", "-o", "W.npz"], "--input"),
        (["matrix", "k.npy", "--input", "5,,3", "-o", "W.npz"], "--input: '5,,3' is not a list of integers"),
        (["matrix", "k.npy", "--input", "5,6", "--boundary", "warp", "-o", "W.npz"], "boundary='warp'"),
        (["matrix", "none.npy", "--input", "5,6", "-o", "W.npz"], "none.npy: No such file"),
        (["matrix", ".", "--input", "5,6", "-o", "W.npz"], ". is a folder"),
        (["matrix", "junk.npy", "--input", "5,6", "-o", "W.npz"], "junk.npy cannot be read as .npy"),
        (["matrix", "k.npy", "--input", "5,6", "-o", "k.npy/W.npz"], "k.npy is not a folder"),
        (["matrix", "k.npy", "--input", "5,6", "-o", "missing/W.npz"], "missing is not a folder"),
        (["matrix", "k.npy", "--input", "30000,30000", "-o", "W.npy"], "takes 6.48 EB"),
        (["matrix", "k.npy", "--input", "9" * 18, "-o", "W.npz"], "input_shape"),
        (["demo", "--size", "5"], "16 to 512"),
        (["demo", "--picture", "missing/a.png"], "missing is not a folder"),
    ],
)
def test_commands_fail_in_one_line(folder, capfd, arguments, words):
    (folder / "junk.npy").write_bytes(b"not an array\n" * 20)
    assert main(arguments) == 2
    assert words in one_line(capfd)
    assert sorted(os.listdir()) == ["junk.npy", "k.npy"]


@pytest.mark.parametrize("arguments", [[], ["matrix", "junk.npy", "--input", "5,6", "-o", "W.npz"]])
def test_the_program_fails_in_the_same_line(folder, capfd, arguments):
    """In a process of its own; all that the tests above show of `main` is true of the program."""
    (folder / "junk.npy").write_bytes(b"not an array\n" * 20)
    done = process(*arguments)
    assert (main(arguments), one_line(capfd)) == (done.returncode, done.stderr)


def test_sizes_beyond_any_machine_are_explained_and_refused(folder, capsys):
    for sizes, words in (("1000000,1000000", "takes"), ("1000000000000,1000000000000", "counted in 64 bits")):
        shape = ["--input", sizes, "--padding", "same", "--boundary", "edge"]
        assert main(["matrix", "k.npy", *shape, "-o", "W.npz"]) == 2
        assert words in one_line(capsys)


# Kernels from outside


def npy(header, data=b"", version=(1, 0), length=None):
    text = header.encode("latin1")
    size = (len(text) if length is None else length).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text + data


def described(descr, shape):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


GOOD = npy(described("'<f8'", "(3, 2)"), bytes(48))
BAD = {
    "empty": (b"", "cannot be read as .npy (it is empty)"),
    "truncated": (GOOD[:-1], "48 bytes, and 47 follow"),
    "longer": (GOOD + b"?", "48 bytes, and 49 follow"),
    "no data": (GOOD[:40], "cannot be read as .npy"),
    "claims terabytes": (npy(described("'<f8'", "(999999999999, 2)"), bytes(48)), "and 48 follow"),
    "claims more than any integer": (npy(described("'<f8'", f"({10**30}, 2)"), bytes(48)), "48 follow"),
    "negative": (npy(described("'<f8'", "(-3, -2)"), bytes(48)), "damaged"),
    "too many axes": (npy(described("'<f8'", f"({'1,' * 99})"), bytes(8)), "cannot be read as .npy"),
    "header of gigabytes": (npy(described("'<f8'", "(3, 2)"), bytes(48), (2, 0), 2**32 - 1), "cannot be read as .npy"),
    "long header": (npy(described("'<f8'", "(3, 2)") + " " * 11_000, bytes(48)), "cannot be read as .npy"),
    "brackets": (npy("(" * 9000), "cannot be read as .npy"),
    "code": (
        npy("{'descr': __import__('os').mkdir('sprung'), 'fortran_order': False, 'shape': ()}"),
        "cannot be read as .npy",
    ),
    "other version": (npy(described("'<f8'", "(3, 2)"), bytes(48), (3, 0)), "version (3, 0)"),
    "objects": (npy(described("'|O'", "(1,)"), pickle.dumps([Trap()])), "contains objects"),
    "structured": (npy(described("[('a', '<f8')]", "(3,)"), bytes(24)), "contains [('a', '<f8')]"),
    "bool": (npy(described("'|b1'", "(3, 2)"), bytes(6)), "contains bool"),
    "text": (npy(described("'<U1'", "(3, 2)"), bytes(24)), "contains <U1"),
    "dates": (npy(described("'<M8[s]'", "(3, 2)"), bytes(48)), "contains datetime64[s]"),
    "no axes": (npy(described("'<f8'", "()"), bytes(8)), "at least one axis"),
    "no taps": (npy(described("'<f8'", "(0, 2)")), "at least one axis and one tap"),
}


@pytest.mark.parametrize("name", BAD)
def test_kernels_that_are_none(folder, capsys, name):
    content, words = BAD[name]
    (folder / "bad.npy").write_bytes(content)
    assert main(["matrix", "bad.npy", "--input", "5,6", "-o", "W.npz"]) == 2
    assert words in one_line(capsys)
    assert sorted(os.listdir()) == ["bad.npy", "k.npy"]


def test_headers_that_python_2_and_version_2_wrote(folder):
    for header, version in ((described("'<f8'", "(3L, 2L)"), (1, 0)), (described("'<f8'", "(3, 2)"), (2, 0))):
        (folder / "old.npy").write_bytes(npy(header, bytes(48), version))
        done = process("matrix", "old.npy", "--input", "5,6", "-o", "W.npz")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["claims terabytes", "header of gigabytes"])
def test_what_a_header_claims_is_not_allocated(folder, capsys, name):
    (folder / "bad.npy").write_bytes(BAD[name][0])
    tracemalloc.start()
    try:
        assert main(["matrix", "bad.npy", "--input", "5,6", "-o", "W.npz"]) == 2
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_column_major_kernels(folder):
    kernel = np.asfortranarray(array(3, 2))
    np.save("F.npy", kernel)
    assert main(["matrix", "F.npy", "--input", "3,2", "-o", "W.npy"]) == 0
    assert np.array_equal(np.load("W.npy"), kernel.reshape(1, 6))


def test_random_damage_never_gets_past_the_door(folder):
    rng = random.Random(0)
    for _ in range(300):
        content = bytearray(GOOD)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(GOOD) - 48)] = rng.choice(b"()[]{},'\\0123456789-:TFLOx \n\x00\xff")
        (folder / "bad.npy").write_bytes(content)
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main(["matrix", "bad.npy", "--input", "5,6", "-o", "W.npy"])
        assert (code, said.getvalue().count("\n")) in ((0, 0), (2, 1)), bytes(content)


def test_a_kernel_larger_than_memory(folder, capsys, monkeypatch):
    monkeypatch.setattr("convmtx.memory.available", lambda: 95)
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "W.npz"]) == 2
    assert "takes 48 B" in one_line(capsys)


@posix
def test_a_pipe_in_place_of_the_kernel(folder, capsys):
    os.mkfifo("pipe.npy")
    assert main(["matrix", "pipe.npy", "--input", "5,6", "-o", "W.npz"]) == 2
    assert "not an ordinary file" in one_line(capsys)


# Files are whole or not there


def writer(error):
    def fail(file, *_, **__):
        with contextlib.suppress(AttributeError):
            file.write(b"half of it")
        raise error

    return fail


@pytest.mark.parametrize("before", [None, b"what was there"])
@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (OSError("60 requested and 10 written"), 2, "60 requested and 10 written"),
        (MemoryError(), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (".npz", "scipy.sparse.save_npz"),
        (".npy", "numpy.save"),
        (".mtx", "convmtx.storage.slabs.Slabs.build"),
    ],
)
def test_a_failure_midway_leaves_the_target_as_it_was(
    folder, capsys, monkeypatch, suffix, name, error, code, words, before
):
    target = folder / f"W{suffix}"
    if before:
        target.write_bytes(before)
    monkeypatch.setattr(name, writer(error))
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", target.name]) == code
    assert words in one_line(capsys)
    assert sorted(os.listdir()) == sorted([*([target.name] if before else []), "k.npy"])
    assert not before or target.read_bytes() == before


def test_errors_of_our_own_making_are_not_hidden_and_leave_no_file(folder, monkeypatch):
    monkeypatch.setattr("scipy.sparse.save_npz", writer(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        main(["matrix", "k.npy", "--input", "5,6", "-o", "W.npz"])
    assert os.listdir() == ["k.npy"]


@posix
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".mtx"])
def test_a_file_system_that_gives_out(folder, suffix):
    target = folder / f"W{suffix}"
    target.write_bytes(b"before")
    limited = f"ulimit -f 1; exec {sys.executable} -m convmtx matrix k.npy --input 60,60 -o {target.name}"
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    assert target.read_bytes() == b"before"
    assert sorted(os.listdir()) == sorted([target.name, "k.npy"])


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o007])
def test_permissions_are_those_of_any_new_file(folder, mask):
    before = os.umask(mask)
    try:
        assert main(["matrix", "k.npy", "--input", "5,6", "-o", "W.npz"]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("W.npz").st_mode) == 0o666 & ~mask


@posix
def test_links_are_followed_and_devices_left_alone(folder, capsys):
    (folder / "real.npz").write_bytes(b"before")
    os.symlink("real.npz", "link.npz")
    os.symlink(os.devnull, "null.npz")
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "link.npz"]) == 0
    assert os.path.islink("link.npz")
    assert scipy.sparse.load_npz("real.npz").shape == (15, 30)
    capsys.readouterr()
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "null.npz"]) == 2
    assert "not an ordinary file" in one_line(capsys)
    assert not os.path.isfile(os.devnull)


def test_read_only_targets_and_folders_in_the_way(folder, capsys, monkeypatch):
    os.mkdir("W.npz")
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "W.npz"]) == 2
    assert "It is a folder" in one_line(capsys)
    (folder / "V.npz").write_bytes(b"before")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anything, so permissions cannot show it
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "V.npz"]) == 2
    assert "read-only" in one_line(capsys)
    assert (folder / "V.npz").read_bytes() == b"before"


# The process around it


def test_an_interrupt_while_building(folder, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("convmtx.cli.arguments.conv", stop)
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "W.npz"]) == 130
    assert one_line(capsys) == "convmtx: interrupted\n"
    assert os.listdir() == ["k.npy"]


@posix
@pytest.mark.parametrize("arguments", [["matrix", "k.npy", "--input", "5,6", "-o", "W.npz"], ["matrix", "--help"]])
def test_a_reader_that_leaves_is_no_error(folder, arguments):
    reader, end = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "convmtx", *arguments]
    done = subprocess.run(command, stdout=end, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(end)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "--help" in arguments or scipy.sparse.load_npz("W.npz").shape == (15, 30)


@posix
def test_a_stdout_that_cannot_be_written_is_an_error_in_one_line(folder):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    command = [sys.executable, "-m", "convmtx", "matrix", "k.npy", "--input", "5,6", "-o", "W.npz"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_what_libraries_log_is_not_heard(folder):
    """Matplotlib would like a folder for its cache, and says so on stderr where it gets none."""
    pytest.importorskip("matplotlib")
    os.mkdir("home")
    (folder / "home" / "file").write_text("")
    settings = {**os.environ, "MPLCONFIGDIR": str(folder / "home" / "file" / "none")}
    code = "import matplotlib; matplotlib.get_configdir()"
    heard = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False, env=settings)
    done = process("plot", "matrix", "sobel", "--input", "6,6", "-o", "W.svg", env=settings)
    assert heard.stderr
    assert (done.returncode, done.stderr) == (0, "")


def test_no_streams_at_all(folder, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["matrix", "k.npy", "--input", "5,6", "-o", "W.npz"]) == 0
    assert main(["matrix", "k.npy", "--input", "5,,6", "-o", "W.npz"]) == 2


def test_names_that_the_terminal_cannot_show(folder):
    os.rename("k.npy", "k\u00fc.npy")
    done = process(
        "matrix", "k\u00fc.npy", "--input", "5,6", "-o", "W.npz", env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "k\\xfc.npy" in done.stdout


def test_line_breaks_in_names_stay_out_of_errors(folder, capsys):
    assert main(["matrix", "no\nsuch\r\x85file.npy", "--input", "5,6", "-o", "W.npz"]) == 2
    assert "no such" in one_line(capsys)


def test_help_and_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"convmtx \d+\.\d+\S*\n", capsys.readouterr().out)
    for arguments, words in (
        (["--help"], "convmtx demo"),
        (["demo", "--help"], "--picture"),
        (["matrix", "--help"], "scipy.sparse.load_npz"),
    ):
        assert main(arguments) == 0
        assert words in capsys.readouterr().out


def test_the_command_line_loads_scipy_and_matplotlib_only_when_needed():
    code = "import convmtx.cli, sys; print([m for m in ('scipy', 'matplotlib', 'PIL', "
    code += "'h5py', 'zarr', 'onnx', 'convmtx.spectra', 'convmtx.solves', 'convmtx.plot') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"
