"""``info``, ``spectrum``, ``plot`` and ``explore``: what they tell and draw, and in which words they refuse."""

import io
import json
import os
import sys

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
from PIL import Image

import convmtx as cm
from convmtx.cli import main
from convmtx.cli.report import Report, can_show_progress, describe_certified, to_json

K = np.random.default_rng(0).normal(size=(3, 2))


@pytest.fixture
def kernel(here):
    np.save("k.npy", K)
    return here


def singular_values(kernel, n, m):
    """Of the valid correlation, by SciPy alone."""
    columns = []
    for j in range(n * m):
        x = np.zeros((n, m))
        x.flat[j] = 1
        columns.append(scipy.signal.correlate2d(x, kernel, "valid").ravel())
    return scipy.linalg.svdvals(np.array(columns).T)


# info


def test_info_tells_what_the_operator_tells(kernel, said, facts):
    text = said("info", "k.npy", "--input", "5,6", "--stride", "2,1")
    for words in ("(5, 6) -> (2, 5)", "10 x 30", "nnz 60", "tensor_view()", "a convolution again, ConvOperator"):
        assert words in text
    found = facts("info", "k.npy", "--input", "5,6", "--stride", "2,1")
    assert (found["nnz"], found["toeplitz"], found["adjoint_is_convolution"]) == (60, True, True)
    assert "measured" not in found["explanation"]["engines"]["direct"]


def test_info_of_a_boundary_that_folds(facts, said):
    shape = ("--input", "9,9", "--padding", "same", "--boundary", "reflect")
    found = facts("info", "sobel", *shape)
    assert (found["toeplitz"], found["adjoint_is_convolution"]) == (False, False)
    assert "folds taps" in said("info", "sobel", *shape)


def test_info_measures_where_it_is_asked_to(facts):
    engines = facts("info", "sobel", "--input", "9,9", "--measure")["explanation"]["engines"]
    assert all(each["measured"] > 0 for each in engines.values())


def test_the_bound_holds(kernel, facts):
    found = facts("info", "k.npy", "--input", "8,9")["norm"]
    top = singular_values(K, 8, 9)[0]
    assert found["kind"] == "upper"
    assert top <= found["upper"] < 1.3 * top


# spectrum


def test_all_singular_values(kernel, facts, said):
    wanted = singular_values(K, 6, 7)
    found = facts("spectrum", "k.npy", "--input", "6,7", "-o", "s.npy")
    np.testing.assert_allclose(found["singular_values"]["value"], wanted, rtol=1e-10)
    np.testing.assert_allclose(np.load("s.npy"), wanted, rtol=1e-10)
    for name, value in (("norm", wanted[0]), ("condition", wanted[0] / wanted[-1]), ("rank", len(wanted))):
        assert np.isclose(found[name]["value"], value, rtol=1e-8)
        assert found[name]["kind"] == "exact"
    assert f"norm {wanted[0]:.8g} (exact: " in said("spectrum", "k.npy", "--input", "6,7", "-o", "s.csv")
    np.testing.assert_allclose(np.loadtxt("s.csv"), wanted, rtol=1e-10)


def test_some_singular_values(kernel, facts):
    wanted = singular_values(K, 6, 7)
    for extra, part in ((["-k", "3"], wanted[:3]), (["-k", "2", "--smallest"], wanted[-2:])):
        found = facts("spectrum", "k.npy", "--input", "6,7", *extra)
        np.testing.assert_allclose(found["singular_values"]["value"], part, rtol=1e-8)
        assert np.isclose(found["condition"]["value"], wanted[0] / wanted[-1], rtol=1e-6)


def test_derived_numbers_are_those_of_the_functions(here, facts):
    for name, shape in (("laplacian", "6,6"), ("box:3", "7,7")):
        extra = ("--padding", "same", "--boundary", "wrap")
        found = facts("spectrum", name, "--input", shape, *extra)
        n = int(shape[0])
        op = cm.conv(cm.cli.kernels.read_kernel(name), (n, n), padding="same", boundary="wrap")
        assert found["rank"]["value"] == int(cm.rank(op))
        assert np.isclose(found["norm"]["value"], float(cm.norm(op)))
        if name == "laplacian":  # singular: rounding alone says how large the condition is
            assert float(found["condition"]["value"]) > 1e14


@pytest.mark.parametrize(("scale", "rank"), [(1e308, 64), (1e-310, 64)])
def test_condition_and_rank_at_the_ends_of_the_range(here, facts, scale, rank):
    kernel = np.array([[1, 0.5], [0.3, -1]])
    np.save("k.npy", kernel * scale)
    found = facts("spectrum", "k.npy", "--input", "8,8", "--padding", "same", "--boundary", "wrap")
    responses = abs(np.fft.fft2(kernel, (8, 8)))
    assert np.isclose(found["condition"]["value"], responses.max() / responses.min(), rtol=1e-9)
    assert found["rank"]["value"] == rank


def test_many_values_are_told_by_their_ends(said):
    text = said("spectrum", "box:3", "--input", "9,9", "--padding", "same", "--boundary", "wrap")
    assert "81 singular values (exact: blocks" in text
    assert " ... " in text


def test_intervals_are_told_as_such(facts):
    arguments = ("--input", "36,36", "--padding", "same", "--boundary", "reflect", "-k", "2")
    found = facts("spectrum", "motion:5:20", *arguments)["norm"]
    assert found["kind"] == "interval"
    assert found["lower"] <= found["value"] <= found["upper"]
    assert describe_certified(cm.Certified(2.0, "interval", "way", 2.0, 3.5)) == "2 to 3.5 (interval: way)"
    assert describe_certified(cm.Certified(2.0, "upper", "way", 0.0)) == "at most 2 (upper: way)"
    assert describe_certified(cm.Certified(2.0, "exact", "way")) == "2 (exact: way)"


# plot and explore


@pytest.mark.parametrize("kind", ["matrix", "row", "kernel", "spectrum", "symbol", "cost"])
def test_pictures_of_every_kind(here, said, kind):
    assert "a.png written" in said("plot", kind, "sobel", "--input", "8,8", "--padding", "same", "-o", "a.png")
    with Image.open("a.png") as image:
        pixels = np.asarray(image.convert("L"), float)
    assert min(pixels.shape) > 500
    assert pixels.std() > 3
    assert pixels.mean() > 128
    assert os.listdir() == ["a.png"]


def test_dark_vector_and_values(here, said, facts):
    said("plot", "matrix", "sobel", "--input", "4,4", "--values", "--dark", "-o", "a.png")
    with Image.open("a.png") as image:
        assert np.asarray(image.convert("L")).mean() < 100
    facts("plot", "row", "sobel", "--input", "5,5", "--at", "1,2", "-o", "a.svg")
    with open("a.svg") as file:
        assert "<svg" in file.read()
    assert facts("plot", "row", "sobel", "--input", "5,5", "--at", "4", "-o", "a.pdf")["kind"] == "row"
    with open("a.pdf", "rb") as file:
        assert file.read(5) == b"%PDF-"


def test_the_row_that_is_asked_for_is_drawn(here, monkeypatch, said):
    asked = []
    monkeypatch.setattr("convmtx.plot.row", lambda _, o, __: asked.append(o))
    for extra in (["--at", "1,2"], ["--at", "7"], []):
        said("plot", "row", "sobel", "--input", "5,6", *extra, "-o", "a.png")
    assert asked == [(1, 2), 7, (1, 2)]


def test_pyplot_stays_out_of_pictures(here):
    import subprocess

    code = (
        "import sys; from convmtx.cli import main; main(['plot', 'matrix', 'sobel', '--input', '5,5', '-o', 'a.png'])"
    )
    code += "; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def test_options_of_another_kind_of_picture(here, refusal):
    base = ("--input", "5,5", "-o", "a.png")
    assert "It is for a row" in refusal("plot", "matrix", "sobel", *base, "--at", "1,1")
    assert "It is for a matrix" in refusal("plot", "kernel", "sobel", *base, "--values")
    assert "-k for a cost" in refusal("plot", "cost", "sobel", *base, "-k", "3")
    assert "KIND" in refusal("plot", "painting", "sobel", *base)
    assert "Outputs have shape (3, 3)" in refusal("plot", "row", "sobel", *base, "--at", "3,3")
    assert "Expected .png or .svg or .pdf" in refusal("plot", "row", "sobel", "--input", "5,5", "-o", "a.jpg")
    assert os.listdir() == []


def test_a_failure_while_drawing_leaves_the_picture_that_was_there(here, monkeypatch, refusal):
    def fail(*_, **__):
        raise MemoryError

    (here / "a.png").write_bytes(b"before")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    assert "not enough memory" in refusal("plot", "matrix", "sobel", "--input", "5,5", "-o", "a.png")
    assert os.listdir() == ["a.png"]
    assert (here / "a.png").read_bytes() == b"before"


def test_without_matplotlib(here, monkeypatch, refusal):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "convmtx[plot]"' in refusal("plot", "matrix", "sobel", "--input", "5,5", "-o", "a.png")


def test_explore_writes_a_page(here, said, facts, refusal):
    assert "conv.html written, " in said("explore", "sobel", "--input", "6,6")
    found = facts("explore", "sobel", "--input", "6,6", "-o", "b.html")
    assert found["bytes"] == os.path.getsize("b.html")
    assert (here / "b.html").read_bytes() == (here / "conv.html").read_bytes()
    assert (here / "conv.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert "suffix '.txt'" in refusal("explore", "sobel", "--input", "6,6", "-o", "a.txt")


# Words and objects


def test_numbers_that_json_has_not():
    found = to_json({"a": (np.inf, -np.inf, np.nan), "b": np.array([1.5, np.nan]), "c": 1 + 2j, 3: np.int64(4)})
    assert found == {"a": ["inf", "-inf", "nan"], "b": [1.5, "nan"], "c": [1.0, 2.0], "3": 4}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_a_terminal_would_follow_is_written_out(capsys):
    report = Report(json=False)
    report.say("a\x1b[2Jb\x07\nc\udcff\u202e")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\x07\nc\\udcff\\u202e\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "sobel"], ["spectrum", "sobel", "--input", "5,5", "-k", "0"],
        ["spectrum", "sobel", "--input", "5,5", "-k", "99"], ["spectrum", "sobel", "--input", "5,5", "-o", "s.txt"],
        ["info", "--input", "5,5"], ["plot"], ["check"],
        ["plot", "matrix", "sobel", "--input", "5,5"], ["layers"], ["layers", "none.onnx"], ["solve", "sobel"],
        ["explore", "sobel", "--input", "4,4,4,4"], ["explore", "box:3", "--input", "99,99"], ["demo", "--size", "x"],
        ["tune", "--seconds", "0"], ["tune", "--seconds", "soon"],
        ["solve", "box:3", "none.png", "-o", "b.png"], ["check", "none.npy", "sobel", "--input", "5,5"],
    ],
)  # fmt: skip
def test_bad_arguments_are_one_line_and_no_object(here, refusal, arguments):
    refusal(*arguments)
    refusal(*arguments, "--json")
    assert os.listdir() == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bars_are_for_those_who_look(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert can_show_progress()
    monkeypatch.setattr("convmtx.cli.report.find_spec", lambda _: None)
    assert not can_show_progress()
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not can_show_progress()
    monkeypatch.setattr(sys, "stderr", None)
    assert not can_show_progress()


def test_a_bar_stays_out_of_the_object(here, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    arguments = ["spectrum", "motion:5:20", "--input", "30,30", "--padding", "same", "--boundary", "wrap", "--json"]
    assert main(arguments) == 0
    assert "blocks" in terminal.getvalue()
    assert json.loads(capsys.readouterr().out)["kernel"] == "motion:5:20"


# What a fresh reader broke


def test_the_condition_of_a_singular_map_is_no_exact_number(facts):
    """A difference under a mirror: constants become zero."""
    found = facts("spectrum", "sobel", "--input", "12,12", "--padding", "same", "--boundary", "reflect")

    assert (found["condition"]["kind"], found["condition"]["upper"]) == ("interval", "inf")
    assert found["rank"]["value"] < 144


@pytest.mark.parametrize("command", [("spectrum",), ("plot", "spectrum"), ("plot", "symbol"), ("info",)])
def test_numbers_near_the_end_of_the_range_end_in_a_line(here, capsys, command):
    np.save("huge.npy", np.full((3, 3), 1e308))
    target = ("-o", "a.png") if command[0] == "plot" else ()

    assert main([*command, "huge.npy", "--input", "6,6", *target]) in (0, 2)
    assert capsys.readouterr().err.count("\n") <= 1


def test_an_archive_without_arrays_says_so(here, refusal):
    np.savez("none.npz")

    assert "contains no array of numbers" in refusal("info", "none.npz", "--input", "6,6")


def test_memory_that_is_refused_is_told_with_what_to_do(here, refusal, monkeypatch):
    np.save("ones.npy", np.ones(3))

    assert "Use a shorter input" in refusal("spectrum", "ones.npy", "--input", str(1 << 40))

    def refused_by_numpy(*_, **__):
        raise MemoryError("Unable to allocate 8.00 TiB")

    monkeypatch.setattr(cm, "svdvals", refused_by_numpy)
    assert "(Unable to allocate 8.00 TiB): give a smaller --input" in refusal("spectrum", "sobel", "--input", "9,9")


def test_all_else_is_told_of_a_map_whose_norm_is_not_known(here, said, facts):
    np.save("nan.npy", np.array([[np.nan, 1.0]]))
    np.save("box.npy", np.ones(9) / 9)
    assert "2-norm: not known (norm_bound: the kernel contains inf or nan." in said("info", "nan.npy", "--input", "3,3")
    found = facts("info", "box.npy", "--input", "1000000000")
    assert found["norm"] is None
    assert found["nnz"] == 9 * (10**9 - 8)


def test_values_too_large_for_floats_are_no_exact_ones(here, facts):
    np.save("k.npy", np.full((2, 2), 1e308))
    found = facts("spectrum", "k.npy", "--input", "6,5")
    norm, values = found["norm"], found["singular_values"]
    assert (norm["kind"], norm["lower"], norm["upper"]) == ("interval", np.finfo(float).max, "inf")
    assert values["kind"] == "interval"
    assert values["lower"][0] == np.finfo(float).max
    assert values["lower"][-1] < values["value"][-1] < values["upper"][-1] < 1e308


def test_smallest_without_a_number_is_refused(refusal):
    assert "--smallest without -k" in refusal("spectrum", "box:3", "--input", "6,6", "--smallest")
