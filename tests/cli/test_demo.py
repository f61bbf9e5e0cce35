"""The demo: a photograph, three matrices of it, every claim checked and one picture."""

import io
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

pytest.importorskip("matplotlib")

from PIL import Image

from convmtx import demo
from convmtx.cli import main
from convmtx.plot import costs


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """One run: exit code, what was printed, and the picture's path."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "convmtx", "demo", "--size", "24"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False), folder


def test_it_succeeds_and_says_what_it_checked(shown):
    done, _ = shown
    assert (done.returncode, done.stderr) == (0, "")
    assert "FAILED" not in done.stdout
    assert "all checks passed" in done.stdout
    assert done.stdout.count("  ok: ") == 9
    assert done.stdout.count("form @ x == op(x) on the photograph (csr, csc, bsr, coo, dia, dense, tensor)") == 3
    assert done.stdout.count("adjoint, <op(x), y> == <x, op.H(y)>: largest difference ") == 3
    assert done.stdout.count("largest difference 0, allowed 0") == 3
    assert "tensor == dense == dia == coo == bsr == csc == csr == view, entry by entry on 12 x 12" in done.stdout


def test_it_says_what_was_built(shown):
    said = shown[0].stdout
    assert "input (24, 24, 3), output (12, 12, 8), kernel (5, 5, 3, 8)" in said
    assert f"matrix 576 x 576, nnz {(3 * 24 - 2) ** 2}" in said
    for form in ("csr", "csc", "bsr", "coo", "dia", "dense", "tensor"):
        assert said.count(f"\n  {form} ") == 3
    assert "does not exist: this boundary folds taps" in said


def test_the_picture(shown):
    _, folder = shown
    assert os.listdir(folder) == ["convmtx-demo.png"]
    with Image.open(folder / "convmtx-demo.png") as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 1000
        pixels = np.asarray(image.convert("RGB"))
    # Each of the nine panels shows something.
    rows, columns = pixels.shape[0] // 3, pixels.shape[1] // 3
    for j in range(3):
        for k in range(3):
            assert pixels[j * rows : (j + 1) * rows, k * columns : (k + 1) * columns].std() > 10


def test_the_photograph():
    photo = demo.photograph(64)
    assert photo.shape == (64, 64, 3)
    assert photo.dtype == np.float64
    assert 0 <= photo.min() < 0.1 < 0.9 < photo.max() <= 1
    assert not np.array_equal(photo[..., 0], photo[..., 2])


def test_the_outputs_are_those_of_scipy():
    photo = demo.photograph(40)
    blur, edges, filters = demo.cases(photo)
    wanted = [
        scipy.ndimage.correlate(photo[..., c], blur.kernel[:, :, 0, c], mode="mirror") for c in range(3)
    ]  # its mirror is numpy.pad's reflect
    np.testing.assert_allclose(blur.operator(photo.shape)(photo), np.stack(wanted, axis=-1), rtol=0, atol=1e-14)
    wanted = scipy.signal.correlate2d(edges.image, edges.kernel, "same")
    np.testing.assert_allclose(edges.operator(edges.image.shape)(edges.image), wanted, rtol=0, atol=1e-14)
    padded = np.pad(photo, [(1, 2), (1, 2), (0, 0)])
    wanted = [
        sum(scipy.signal.correlate2d(padded[..., c], filters.kernel[..., c, f], "valid") for c in range(3))[::2, ::2]
        for f in range(8)
    ]
    np.testing.assert_allclose(filters.operator(photo.shape)(photo), np.stack(wanted, axis=-1), rtol=0, atol=1e-13)


def test_the_kernels_are_the_same_every_time():
    photo = demo.photograph(16)
    for one, other in zip(demo.cases(photo), demo.cases(photo), strict=True):
        assert np.array_equal(one.kernel, other.kernel)


# When something is wrong


@pytest.fixture
def undrawn(monkeypatch):
    """Runs without the picture, which takes most of the time."""
    monkeypatch.setattr(demo, "_draw_picture", lambda *_: b"")


def damaged(form, change):
    """One form with one entry changed."""
    make = costs.build_form

    def build(op, name):
        matrix = make(op, name)
        if name == form:
            matrix = matrix.copy()
            values = matrix.data if name == "csr" else matrix
            values[(0,) * values.ndim] += change
        return matrix

    return build


@pytest.mark.parametrize(("form", "change"), [("csr", 1e-6), ("dense", math.nan)])
def test_a_form_that_differs_is_found(tmp_path, monkeypatch, undrawn, capsys, form, change):
    monkeypatch.setattr(costs, "build_form", damaged(form, change))
    assert main(["demo", "--size", "16", "--picture", str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr()
    assert said.out.count("FAILED: form @ x == op(x)") == 3
    assert said.out.count("entry by entry") == said.out.count(", allowed 0\n") == 3
    assert "a check FAILED" in said.out
    assert said.err.count("\n") == 1
    assert said.err.startswith("convmtx: demo: failed checks: blur: ")


def test_an_adjoint_that_differs_is_found(monkeypatch, undrawn):
    from convmtx import ConvOperator

    right = ConvOperator.H
    monkeypatch.setattr(ConvOperator, "H", property(lambda op: right.fget(op) * (1 + 1e-6)))
    failed = demo.run(16, say=lambda _: None).failed
    assert len(failed) == 3
    assert all("adjoint" in words for words in failed)


def test_nan_is_no_agreement():
    assert demo.Check("", 0.0, 0.0).passed
    assert not demo.Check("", math.nan, 1.0).passed
    assert math.isnan(demo._largest([1.0, math.nan, 2.0]))


def test_forms_above_the_budget_are_named_not_made(monkeypatch, undrawn):
    said = []
    monkeypatch.setattr(demo, "BUDGET", 400_000)
    assert demo.run(16, said.append).failed == []
    said = "\n".join(said)
    assert "forms above 400 kB are not made" in said
    assert "dense      4.72 MB  not made: more than 400 kB" in said
    assert "dia                 not made: it is counted from csr" in said


def test_forms_above_memory_are_named_too(monkeypatch, undrawn):
    make = costs.build_form

    def build(op, form):
        if form == "dense" and op.shape[0] > 700:
            raise MemoryError
        return make(op, form)

    said = []
    monkeypatch.setattr(costs, "build_form", build)
    assert demo.run(16, said.append).failed == []
    assert any("dense" in line and "not made: more memory than there is" in line for line in said)


@pytest.mark.parametrize("size", ["15", "513", "-1"])
def test_sizes_out_of_range(tmp_path, capsys, size):
    assert main(["demo", f"--size={size}", "--picture", str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err.startswith(f"convmtx: demo: size={size}. Expected 16 to 512 pixels")


def test_pictures_are_png(tmp_path, capsys):
    assert main(["demo", "--picture", str(tmp_path / "a.jpg")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Expected .png" in said.err


@pytest.mark.parametrize(("error", "code"), [(MemoryError, 2), (KeyboardInterrupt, 130)])
def test_a_failure_leaves_the_picture_that_was_there(tmp_path, monkeypatch, capsys, error, code):
    def fail(*_):
        raise error

    (tmp_path / "a.png").write_bytes(b"before")
    monkeypatch.setattr(demo, "_draw_picture", fail)
    assert main(["demo", "--size", "16", "--picture", str(tmp_path / "a.png")]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"before"


@pytest.mark.parametrize("missing", ["matplotlib", "matplotlib.figure", "PIL"])
def test_without_matplotlib(tmp_path, missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from convmtx.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("convmtx: demo: ")
    assert done.stderr.count("\n") == 1
    assert 'pip install "convmtx[plot]"' in done.stderr
    assert os.listdir(tmp_path) == []


def test_pyplot_and_its_global_state_stay_out():
    code = "import sys; from convmtx import demo; demo.run(16, str); print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"


def test_the_picture_is_the_same_every_time():
    pictures = [demo.run(16, say=lambda _: None).picture for _ in range(2)]
    first, second = (np.asarray(Image.open(io.BytesIO(p))) for p in pictures)
    assert np.array_equal(first, second)


def test_json_has_the_checks_in_numbers(tmp_path, monkeypatch, undrawn, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--size", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: len(checks) for name, checks in found["checks"].items()} == {"blur": 3, "edges": 3, "filters": 3}
    for check in (each for checks in found["checks"].values() for each in checks):
        assert check["passed"] is True
        assert 0 <= check["largest"] <= check["allowed"] < 1e-6
    assert found["failed"] == []
