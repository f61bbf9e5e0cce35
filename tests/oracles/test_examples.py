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
