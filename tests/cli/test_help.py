"""Every command's help: its examples are run, in a folder that holds what they name."""

import re
import shlex
from importlib import import_module

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

import convmtx as cm
from convmtx import rates
from convmtx.cli import COMMANDS, main
from convmtx.cli.kernels import read_kernel
from convmtx.tuning.engines import EngineCase


def shown(capsys, *arguments):
    assert main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def examples(text):
    """Lines that begin with the program's name, continued where they end in a backslash."""
    joined = re.sub(r"\\\n\s+", "", text)
    return re.findall(r"^ {2,4}convmtx (.*)$", joined, re.MULTILINE)


@pytest.fixture
def stocked(here):
    """The files that examples name."""
    rng = np.random.default_rng(0)
    np.save("filters.npy", rng.normal(size=(3, 3, 3, 8)))
    weight = rng.normal(size=(8, 3, 3, 3))
    np.save("weight.npy", weight)
    assert main(["matrix", "weight.npy", "--input", "3,8,8", "--channels", "first", "-o", "layer.mtx"]) == 0
    x = scipy.ndimage.gaussian_filter(rng.random((20, 22)), 2)
    Image.fromarray(np.round(255 * (x - x.min()) / np.ptp(x)).astype(np.uint8)).save("seen.png")
    psf = read_kernel("gaussian:5:1")
    Image.fromarray(np.round(255 * psf / psf.max()).astype(np.uint8)).save("psf.png")
    return here


def model():
    """An ONNX model with one convolution of open sizes."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "W")
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "h", "w"])]
        for name, count in (("x", 3), ("y", 2))
    )
    graph = helper.make_graph([helper.make_node("Conv", ["x", "W"], ["y"])], "g", inputs, outputs, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "model.onnx")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_examples_run_in_the_order_given(stocked, capsys, monkeypatch, command):
    monkeypatch.setattr("convmtx.demo.SIZE", 16)
    if command in ("", "demo"):
        pytest.importorskip("matplotlib")
    if command == "layers":
        model()
    if command == "tune":
        monkeypatch.setenv("CONVMTX_RATES", "rates.json")
        for name in ("CASES", "GRID"):
            monkeypatch.setattr(import_module("convmtx.tuning.tune"), name, [EngineCase((9,), (3,))])
        for name in ("compiled_cases", "solve_cases"):
            monkeypatch.setattr(import_module("convmtx.tuning.tune"), name, list)
    found = examples(shown(capsys, *([command] if command else [])))
    assert len(found) >= 2
    assert command in ("check", "recognize") or all(each.startswith(command) for each in found)
    for example in found:
        assert main(shlex.split(example)) == 0, (example, capsys.readouterr().err)
    rates.replace_current(None)


def test_reading_back_is_as_the_help_says(stocked, capsys):
    import scipy.sparse

    text = shown(capsys, "matrix")
    read = text[text.index("reading it back") : text.index("A negative width")]
    for suffix in ("npz", "npy", "mtx", "mat", "petsc", "h5", "zarr"):
        assert main(["matrix", "sobel", "--input", "5,6", "-o", f"W.{suffix}"]) == 0
    lines = re.sub(r",\n +", ", ", read).splitlines()[1:]
    names = {"scipy": scipy, "numpy": np, "convmtx": cm, "A": np.arange(30.0).reshape(5, 6), "out_shape": (3, 4)}
    ways = 0
    wanted = scipy.ndimage.correlate(names["A"], read_kernel("sobel"))[1:-1, 1:-1]
    for line in lines:
        code = line.strip()
        if code.startswith("W = "):
            exec(code, names)
            names["B"] = (names["W"] @ names["A"].ravel()).reshape(names["out_shape"])
            np.testing.assert_allclose(names["B"], wanted, atol=1e-12)
            ways += 1
    assert ways == 5
    for suffix in ("npz", "npy", "mtx", "mat", "petsc", "zarr"):
        assert np.array_equal(cm.load(f"W.{suffix}").toarray(), names["W"].toarray())


def test_help_fits_a_terminal(capsys):
    for command in COMMANDS:
        for line in shown(capsys, command).splitlines():
            assert len(line) <= 88, line


def test_every_command_is_listed(capsys):
    text = shown(capsys)
    for name, command in COMMANDS.items():
        assert re.search(rf"^    {name}\s", text, re.MULTILINE)
        assert command.help


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])
def test_no_command_shows_a_traceback(here, capfd, command):
    """A file of nonsense in each place."""
    for name in ("bad.npy", "bad.onnx", "bad.png"):
        (here / name).write_bytes(b"\x00nonsense" * 30)
    arguments = {
        "layers": ["bad.onnx"], "solve": ["bad.npy", "bad.png", "-o", "x.png"],
        "check": ["bad.npy", "sobel", "--input", "5,5"], "plot": ["matrix", "bad.npy", "--input", "5,5", "-o", "x.png"],
        "matrix": ["bad.npy", "--input", "5,5", "-o", "x.npy"],
    }.get(command, ["bad.npy", "--input", "5,5"])  # fmt: skip
    code = main([command, *arguments])
    out, err = capfd.readouterr()
    assert (code, out if command != "check" else "") == (2, "")
    assert err.startswith("convmtx: ")
    assert err.count("\n") == 1
