"""The examples of the documentation do what they say."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def test_deblurring_with_constraints():
    pytest.importorskip("cvxpy")
    blurred, restored = runpy.run_path(str(EXAMPLES / "deblur_cvxpy.py"))["solve"](size=20)

    assert blurred > 0.2
    assert restored < blurred / 2


def test_deblurring_a_photograph():
    levels = runpy.run_path(str(EXAMPLES / "deblur.py"))["main"](size=64)

    for kernel in ("Gauss", "motion"):
        for boundary in ("wrap", "zero", "reflect"):
            of = {name: level for (k, b, name), level in levels.items() if (k, b) == (kernel, boundary)}
            assert of["convmtx"] > of["blurred"] + 1
            assert abs(of["convmtx"] - of["SciPy, CSR"]) < 0.01
            if boundary == "wrap":
                assert abs(of["convmtx, Laplacian"] - of.get("skimage, Laplacian", of["convmtx, Laplacian"])) < 0.1
