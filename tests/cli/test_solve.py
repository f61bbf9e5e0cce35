"""``solve``: pictures against least squares by SciPy, files in and out, and what is not written."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage
import scipy.sparse.linalg
from PIL import Image

import convmtx as cm
from convmtx.cli import main
from convmtx.cli.kernels import read_kernel
from convmtx.solves import predict_seconds

N, M = 16, 18


def smooth(*shape):
    """A picture from 0.1 to 0.9."""
    x = scipy.ndimage.gaussian_filter(np.random.default_rng(3).normal(size=shape), (2, 2, 0)[: len(shape)])
    return 0.1 + 0.8 * (x - x.min()) / np.ptp(x)


def blurred(x, name, mode="reflect"):  # ndimage's reflect is numpy.pad's symmetric
    """Correlation by scipy.ndimage, each colour by itself."""
    kernel = read_kernel(name)
    kernel = kernel if x.ndim == 2 else kernel[..., None]
    return scipy.ndimage.correlate(x, kernel, mode=mode)


def least_squares(seen, name, damp, mode="reflect", rough=None):
    """By SciPy's lsmr on scipy.ndimage alone; the adjoint from the matrix, column by column."""

    def matrix(kernel):
        columns = [blurred(e.reshape(seen.shape), kernel, mode).ravel() for e in np.eye(seen.size)]
        return np.array(columns).T

    penalty = np.eye(seen.size) if rough is None else matrix(rough)
    stacked = np.concatenate([matrix(name), damp * penalty])
    right = np.concatenate([seen.ravel(), np.zeros(seen.size)])
    return np.linalg.lstsq(stacked, right, rcond=None)[0].reshape(seen.shape)


@pytest.fixture
def grey(here):
    """A blurred picture with noise, as floats in a .npy file."""
    seen = blurred(smooth(N, M), "gaussian:5:1") + 0.01 * np.random.default_rng(0).normal(size=(N, M))
    np.save("seen.npy", seen)
    return seen


def test_damped_least_squares_with_a_mirror_around(grey, facts):
    found = facts("solve", "gaussian:5:1", "seen.npy", "--damp", "0.1", "-o", "x.npy")
    x = np.load("x.npy")
    np.testing.assert_allclose(x, least_squares(grey, "gaussian:5:1", 0.1), atol=1e-6)
    assert found["converged"] is True
    assert np.isclose(found["residual"], np.linalg.norm(blurred(x, "gaussian:5:1") - grey))
    assert np.isclose(found["norm"], np.linalg.norm(grey))
    assert (found["damp"], found["chosen"], found["clipped"]) == (0.1, "as given", 0)


def test_boundary_and_regularizer(grey, said):
    said("solve", "motion:5:30", "seen.npy", "--damp", "0.2", "--boundary", "zero", "--regularizer", "laplacian", "-o",
         "x.npy")  # fmt: skip
    wanted = least_squares(grey, "motion:5:30", 0.2, "constant", "laplacian")
    np.testing.assert_allclose(np.load("x.npy"), wanted, atol=1e-5)


def test_colours_each_by_itself(here, said):
    seen = blurred(smooth(9, 10, 3), "box:3")
    np.save("seen.npy", seen)
    np.save("first.npy", np.moveaxis(seen, -1, 0))
    said("solve", "box:3", "seen.npy", "--damp", "0.1", "-o", "x.npy")
    said("solve", "box:3", "first.npy", "--damp", "0.1", "--channels", "first", "-o", "y.npy")
    for c in range(3):
        wanted = least_squares(seen[..., c], "box:3", 0.1)
        np.testing.assert_allclose(np.load("x.npy")[..., c], wanted, atol=1e-6)
        np.testing.assert_allclose(np.load("y.npy")[c], wanted, atol=1e-6)


def test_a_kernel_that_mixes_channels(here, said):
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=(1, 1, 2, 3)), rng.normal(size=(4, 5, 2))
    np.save("k.npy", kernel)
    np.save("seen.npy", x @ kernel[0, 0])
    said("solve", "k.npy", "seen.npy", "--input", "4,5,2", "--damp", "0", "-o", "x.npy")
    np.testing.assert_allclose(np.load("x.npy"), x, atol=1e-9)


def test_a_larger_picture_from_what_was_seen_of_it(here, said, refusal):
    x = np.random.default_rng(0).normal(size=(6, 7))
    kernel = read_kernel("gaussian:3:1")
    np.save("seen.npy", scipy.ndimage.correlate(x, kernel)[1:-1, 1:-1])
    valid = ("--padding", "valid", "--damp", "0.001", "-o", "x.npy")
    assert "Give --input" in refusal("solve", "gaussian:3:1", "seen.npy", *valid)
    said("solve", "gaussian:3:1", "seen.npy", "--input", "6,7", *valid)
    again = scipy.ndimage.correlate(np.load("x.npy"), kernel)[1:-1, 1:-1]
    np.testing.assert_allclose(again, np.load("seen.npy"), atol=1e-3)


# How much damping


def test_gcv_is_the_default(grey, facts):
    found = facts("solve", "gaussian:5:1", "seen.npy", "-o", "x.npy")
    assert found["chosen"] == "chosen by gcv"
    columns = [blurred(e.reshape(grey.shape), "gaussian:5:1").ravel() for e in np.eye(grey.size)]
    U, s, _ = np.linalg.svd(np.array(columns).T)
    energies = (U.T @ grey.ravel()) ** 2

    def score(damp):  # Golub, Heath, Wahba 1979
        left = damp**2 / (s**2 + damp**2)
        return (left**2 @ energies) / left.sum() ** 2

    assert score(found["damp"]) <= min(score(damp) for damp in np.geomspace(1e-3, 1, 400)) * (1 + 1e-6)


def test_discrepancy_leaves_the_noise(grey, facts):
    found = facts("solve", "gaussian:5:1", "seen.npy", "--choose", "discrepancy", "--noise", "0.01", "-o", "x.npy")
    assert np.isclose(found["residual"], 0.01 * (N * M) ** 0.5, rtol=1e-3)


def test_damping_is_chosen_without_a_fast_spectrum(here, said, facts):
    x = np.kron(np.random.default_rng(1).random((8, 8)), np.ones((12, 12)))
    seen = blurred(x, "motion:7:30") + 0.01 * np.random.default_rng(0).normal(size=x.shape)
    np.save("seen.npy", seen)
    arguments = ("solve", "motion:7:30", "seen.npy", "-o", "x.npy")
    assert facts(*arguments)["chosen"] == "chosen by gcv"
    assert np.linalg.norm(np.load("x.npy") - x) < 0.75 * np.linalg.norm(seen - x)
    text = said(*arguments)
    assert text.index("choosing damp") < text.index("chosen by gcv")  # before what may take seconds


def test_damping_is_chosen_with_a_regularizer(grey, facts):
    arguments = ("solve", "gaussian:5:1", "seen.npy", "--regularizer", "laplacian", "-o", "x.npy")
    found = facts(*arguments, "--choose", "discrepancy", "--noise", "0.01")
    assert np.isclose(found["residual"], 0.01 * (N * M) ** 0.5, rtol=1e-3)


@pytest.mark.parametrize("boundary", ["wrap", "symmetric", "zero", "reflect"])
def test_complex_pictures(here, facts, boundary):
    rng = np.random.default_rng(0)
    x = smooth(12, 12) + 1j * smooth(12, 12).T
    mode = {"wrap": "wrap", "symmetric": "reflect", "zero": "constant", "reflect": "mirror"}[boundary]
    seen = blurred(x, "box:3", mode) + 0.01 * (rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape))
    np.save("seen.npy", seen)
    found = facts("solve", "box:3", "seen.npy", "--boundary", boundary, "-o", "x.npy")
    wanted = [least_squares(part, "box:3", found["damp"], mode) for part in (seen.real, seen.imag)]
    np.testing.assert_allclose(np.load("x.npy"), wanted[0] + 1j * wanted[1], atol=1e-7)


def warned(capsys, *arguments):
    """A run that succeeds with one line on stderr; what it printed, and the line."""
    assert main([*map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("convmtx: solve: ")
    assert err.count("\n") == 1
    return out, err


def test_a_choice_at_an_end_of_its_curve_is_told(here, capsys, facts):
    """White noise has no corner."""
    np.save("seen.npy", np.random.default_rng(0).normal(size=(12, 12)))
    arguments = ("solve", "box:3", "seen.npy", "--boundary", "zero", "-o", "x.npy")
    for choose, words in (("lcurve", "the least that is tried"), ("gcv", "the largest that is tried")):
        out, err = warned(capsys, *arguments, "--choose", choose, "--json")
        assert words in err
        assert "give --damp, or another --choose" in err
        assert json.loads(out)["at_end"] is True
    np.save("seen.npy", blurred(smooth(12, 12), "box:3", "constant") + 0.01)
    assert facts(*arguments, "--damp", "0.1").get("at_end") is None


def test_tolerance_and_iterations(here, facts, refusal):
    x = smooth(80, 80)
    np.save("seen.npy", blurred(x, "motion:9:30"))
    arguments = ("solve", "motion:9:30", "seen.npy", "--damp", "0.03", "-o", "x.npy")
    steps = {rtol: facts(*arguments, "--rtol", rtol)["iterations"] for rtol in ("1e-4", "1e-6", "1e-8")}
    assert 0 < steps["1e-4"] <= steps["1e-6"] < steps["1e-8"] == facts(*arguments)["iterations"]
    os.remove("x.npy")
    told = refusal(*arguments, "--maxiter", "3")
    assert "iterations ran out" in told
    assert "Give a larger --damp, --maxiter or --rtol" in told
    assert os.listdir() == ["seen.npy"]
    assert facts(*arguments, "--maxiter", "5000")["iterations"] == steps["1e-8"]


def test_what_should_take_long_says_so_first(grey, capsys, monkeypatch):
    begun = []
    solve = cm.solve

    def told_before(*arguments, **options):
        begun.append(capsys.readouterr().err)
        return solve(*arguments, **options)

    monkeypatch.setattr("convmtx.solve", told_before)
    for seconds, words in ((30, "about 30 seconds"), (540, "about 9 minutes")):
        monkeypatch.setattr("convmtx.solves.predict_seconds", lambda *_, seconds=seconds: seconds)
        assert main(["solve", "gaussian:5:1", "seen.npy", "--damp", "0.1", "-o", "x.npy", "--json"]) == 0
        assert f"convmtx: solve: this may take {words}" in begun[-1]
        assert capsys.readouterr().err == ""


def test_seconds_are_predict_seconds():
    """More for less damping, and no more than the iterations that are allowed."""
    op = cm.conv(read_kernel("motion:9:30"), (600, 512), padding="same", boundary="symmetric")
    damped = [predict_seconds(op, 1, damp, None, 1e-8, None) for damp in (0.3, 0.03, 0.003)]
    assert damped[0] < damped[1] / 2 < damped[2] / 4
    none = predict_seconds(op, 1, 0.0, None, 1e-8, None)
    assert none > 10
    assert np.isclose(predict_seconds(op, 1, 0.0, None, 1e-8, 100), 100 / 10_000 * none)
    assert np.isclose(predict_seconds(op, 3, 0.0, None, 1e-8, 100), 300 / 10_000 * none)
    assert (
        predict_seconds(cm.conv(op.kernel, (600, 512), padding="same", boundary="wrap"), 1, 0.0, None, 1e-8, None) < 2
    )


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--rtol", "0"], "--rtol 0.0. Expected a number between 0 and 1"),
        (["--rtol", "1"], "--rtol 1.0. Expected a number between 0 and 1"),
        (["--maxiter", "0"], "--maxiter 0. Expected at least 1"),
        (["--maxiter", "1.5"], "--maxiter"),
        (["--damp", "0.1", "--choose", "gcv"], "--damp and --choose"),
        (["--damp", "0.1", "--noise", "0.1"], "--damp and --noise"),
        (["--noise", "0.1"], "--noise without --choose discrepancy"),
        (["--noise", "0.1", "--choose", "lcurve"], "--noise without --choose discrepancy"),
        (["--choose", "discrepancy"], "--choose discrepancy without --noise"),
        (["--choose", "discrepancy", "--noise", "0"], "noise=0.0"),
        (["--damp=-1"], "damp"),
        (["--damp", "nan"], "--damp"),
        (["--damp", "0.1", "--regularizer", "nonsense"], "neither a file nor a built-in kernel"),
        (["--input", "9,9"], "Expected the same"),
        (["--boundary", "mirror"], "'reflect'"),
        (["-o", "x.jpg"], "Expected .png or .tif or .tiff or .npy"),
        (["-o", "seen.npy"], "the picture itself"),
    ],
)
def test_what_cannot_be_done(grey, refusal, extra, words):
    assert words in refusal("solve", "gaussian:5:1", "seen.npy", "-o", "x.npy", *extra)
    assert os.listdir() == ["seen.npy"]
    assert np.array_equal(np.load("seen.npy"), grey)


# Pictures in and out


def save(path, x, depth=8):
    top, kind = {8: (255, np.uint8), 16: (65535, np.uint16)}[depth]
    Image.fromarray(np.round(x * top).astype(kind)).save(path)


@pytest.mark.parametrize(("suffix", "depth"), [(".png", 8), (".png", 16), (".tif", 16), (".tiff", 8)])
def test_grey_pictures_keep_their_depth(here, said, suffix, depth):
    x = smooth(N, M)
    save(f"seen{suffix}", blurred(x, "gaussian:5:1"), depth)
    said("solve", "gaussian:5:1", f"seen{suffix}", "--damp", "0.01", "-o", f"x{suffix}")
    said("solve", "gaussian:5:1", f"seen{suffix}", "--damp", "0.01", "-o", "x.npy")
    with Image.open(f"x{suffix}") as image:
        assert image.mode == {8: "L", 16: "I;16"}[depth]
        assert np.array_equal(np.asarray(image), np.round(np.load("x.npy").clip(0, 1) * (2**depth - 1)))
    tolerance = 0.15 if depth == 8 else 0.02
    np.testing.assert_allclose(np.load("x.npy"), x, atol=tolerance)


def test_pictures_in_colour(here, said):
    x = smooth(N, M, 3)
    save("seen.png", blurred(x, "gaussian:5:1"))
    said("solve", "gaussian:5:1", "seen.png", "--damp", "0.02", "-o", "x.png")
    with Image.open("x.png") as image:
        assert image.mode == "RGB"
        assert np.abs(np.asarray(image) / 255 - x).mean() < 0.05


def test_what_is_outside_is_clipped_and_told(here, said):
    save("seen.png", np.kron([[0, 1], [1, 0]], np.ones((8, 8))))
    text = said("solve", "gaussian:5:1", "seen.png", "--damp", "0.01", "-o", "x.png")
    said("solve", "gaussian:5:1", "seen.png", "--damp", "0.01", "-o", "x.npy")
    x = np.load("x.npy")
    outside = int(((x < 0) | (x > 1)).sum())
    assert outside > 0
    assert f"{outside} values outside 0 to 1 are clipped" in text
    with Image.open("x.png") as image:
        assert np.array_equal(np.asarray(image), np.round(x.clip(0, 1) * 255))


def test_floats_in_tif_keep_their_range(here, said):
    seen = 100 * smooth(N, M).astype(np.float32)
    Image.fromarray(seen).save("seen.tif")
    said("solve", "box:1", "seen.tif", "--damp", "0", "-o", "x.tif")
    with Image.open("x.tif") as image:
        assert image.mode == "F"
        np.testing.assert_allclose(np.asarray(image), seen, rtol=1e-6)


def test_whole_numbers_in_npy_are_scaled(here, said):
    np.save("seen.npy", np.array([[0, 51], [204, 255]], np.uint8))
    said("solve", "box:1", "seen.npy", "--damp", "0", "-o", "x.npy")
    np.testing.assert_allclose(np.load("x.npy"), [[0, 0.2], [0.8, 1]], atol=1e-12)


def test_results_that_are_no_picture(here, refusal):
    np.save("seen.npy", np.ones(5))
    assert "Write a .npy file" in refusal("solve", "seen.npy", "seen.npy", "--damp", "1", "-o", "x.png")
    np.save("k.npy", np.array([[1j]]))
    np.save("seen.npy", np.ones((3, 3)))
    assert "complex128 in a .png" in refusal("solve", "k.npy", "seen.npy", "--damp", "1", "-o", "x.png")


# What is not to be trusted


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_a_result_that_did_not_converge_is_not_written(grey, refusal, monkeypatch, suffix):
    solution = SimpleNamespace(x=grey, converged=False, method="LSMR", reason="10 iterations did not do", residual=1.0,
                               iterations=10, condition=1e9)  # fmt: skip
    monkeypatch.setattr("convmtx.solve", lambda *_, **__: solution)
    told = refusal("solve", "gaussian:5:1", "seen.npy", "--damp", "0.1", "-o", f"x{suffix}")
    assert "not converged: 10 iterations did not do" in told
    assert os.listdir() == ["seen.npy"]


def test_one_of_many_results_is_not_written(grey, refusal):
    told = refusal("solve", "sobel", "seen.npy", "--damp", "0", "--boundary", "wrap", "-o", "x.npy")
    assert "singular" in told
    assert "Give a larger --damp" in told
    assert os.listdir() == ["seen.npy"]


def test_a_failure_while_writing_leaves_the_picture_that_was_there(grey, refusal, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with open("x.png", "wb") as file:
        file.write(b"before")
    monkeypatch.setattr("PIL.Image.Image.save", fail)
    told = refusal("solve", "gaussian:5:1", "seen.npy", "--damp", "0.1", "-o", "x.png")
    assert "No space left on device" in told
    with open("x.png", "rb") as file:
        assert file.read() == b"before"
    assert sorted(os.listdir()) == ["seen.npy", "x.png"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_pictures_that_are_none(here, refusal, content):
    (here / "seen.png").write_bytes(content)
    assert "seen.png cannot be read as .png" in refusal("solve", "box:3", "seen.png", "-o", "x.png")
    np.save("seen.npy", np.array([[1.0, np.nan]]))
    assert "finite" in refusal("solve", "box:1", "seen.npy", "--damp", "1", "-o", "x.npy")
