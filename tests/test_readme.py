"""The README's examples run, and its commands are the ones that exist."""

import doctest
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from convmtx.cli import main
from pages import evaluate

README = Path(__file__).parent.parent / "README.md"


def test_every_example_prints_what_the_readme_says():
    flags = doctest.ELLIPSIS
    failed, tried = doctest.testfile(str(README), module_relative=False, optionflags=flags)

    assert tried > 15
    assert failed == 0


def test_every_block_runs_one_after_the_other(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    np.save(tmp_path / "kernel.npy", np.random.default_rng(0).random((3, 3, 3, 2)))  # as the README's python -c does

    assert evaluate(README, tmp_path) > 25
    assert {"W.npz", "matrix.png", "conv.html"} <= {path.name for path in tmp_path.iterdir()}

    sys.modules["matplotlib.pyplot"].close("all")


def test_the_matrix_command_does_what_it_says(tmp_path, monkeypatch, capsys):
    import scipy.signal
    import scipy.sparse

    [line] = re.findall(r"^convmtx (matrix .*)$", README.read_text(), re.MULTILINE)
    rng = np.random.default_rng(0)
    K, A = rng.standard_normal((3, 3, 3, 2)), rng.standard_normal((5, 6, 3))
    monkeypatch.chdir(tmp_path)
    np.save("kernel.npy", K)

    assert main(line.split()) == 0
    W = scipy.sparse.load_npz("W.npz")
    full = np.stack(
        [sum(scipy.signal.correlate(A[..., c], K[..., c, f], "same") for c in range(3)) for f in range(2)], axis=-1
    )
    # n=5: pads (1, 1), so rows 0, 2, 4 of 'same'; n=6: pads (0, 1), so columns 1, 3, 5.
    np.testing.assert_allclose((W @ A.ravel()).reshape(3, 3, 2), full[::2, 1::2], rtol=0, atol=1e-12)
    assert "nnz" in capsys.readouterr().out
