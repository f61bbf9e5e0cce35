"""Each row of the README's table is run on both sides and compared."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.signal

import convmtx as cm

from .agreement import double_precision_jax, import_tensorflow, whole
from .framework_table import ROWS

README = Path(__file__).parents[2] / "README.md"


def by_torch(source, names):
    torch = pytest.importorskip("torch")
    names = {name: torch.tensor(value) for name, value in names.items()}
    known = {"F": torch.nn.functional, "nn": torch.nn, **names}
    if not source.endswith(")(x)"):
        return eval(source, known)
    layer = eval(source.removesuffix("(x)"), known).double()
    layer.weight.data = names["K"]
    return layer(names["x"]).detach()


def by_tensorflow(source, names):
    tf = import_tensorflow()
    known = {"tf": tf, "keras": tf.keras, **names}
    if not source.endswith(")(x)"):
        return eval(source, known)
    before = tf.keras.config.dtype_policy()
    tf.keras.config.set_dtype_policy("float64")
    try:
        layer = eval(source.removesuffix("(x)"), known)
        layer.build(names["x"].shape)
        layer.set_weights([names["K"]])
        return layer(names["x"])
    finally:
        tf.keras.config.set_dtype_policy(before)


def by_onnx(source, names):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(eval(source, {"onnx": onnx})).run(None, names)[0]


def by_jax(source, names):
    jax = pytest.importorskip("jax")
    with double_precision_jax(jax):
        return np.asarray(eval(source, {"jax": jax, **names}))


def by_numpy(source, names):
    return eval(source, {"np": np, "scipy": scipy, **names})


RUN = {"torch": by_torch, "tensorflow": by_tensorflow, "onnx": by_onnx, "jax": by_jax} | {
    "scipy": by_numpy, "numpy": by_numpy
}  # fmt: skip


def values(row):
    """Numbers as they are, and arrays of the shapes given."""
    return {name: whole(*shape) if isinstance(shape, tuple) else shape for name, shape in row.names.items()}


@pytest.mark.parametrize("row", [row for row in ROWS if row.library in RUN], ids=lambda row: row.id)
def test_both_sides_make_the_same(row):
    names = values(row)
    theirs = np.asarray(RUN[row.library](row.theirs, names))
    np.testing.assert_array_equal(eval(row.ours, {"cm": cm, **names}), theirs, strict=True)


@pytest.mark.parametrize("row", [row for row in ROWS if row.library == "matlab"], ids=lambda row: row.id)
def test_matlab_row_keeps_matlabs_law(row):
    # T = convmtx2(h, m, n); reshape(T * X(:), size(h) + [m n] - 1) is conv2(X, h), every array column by column
    names = values(row)
    X = whole(names["m"], names["n"], seed=1)
    T = eval(row.ours, {"cm": cm, **names})
    Y = scipy.signal.convolve(X, names["h"], method="direct")
    np.testing.assert_array_equal((T @ X.ravel(order="F")).reshape(Y.shape, order="F"), Y, strict=True)


def test_every_row_is_of_a_library_that_is_run():
    assert {row.library for row in ROWS} == {*RUN, "matlab"}
    assert len({row.id for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_readme_has_the_row(row):
    table = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert any(f"`{row.theirs}`" in line and f"`{row.ours}`" in line for line in table)
