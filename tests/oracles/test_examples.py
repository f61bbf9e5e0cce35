"""The gallery does what it says: each script runs, and what it found is found again in another way."""

import ast
import runpy
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import convolve2d, correlate2d

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
SCRIPTS = {path.stem: path for path in EXAMPLES.rglob("*.py")}
ALWAYS = {"numpy", "scipy", "convmtx", *sys.stdlib_module_names}


def libraries(script):
    """The optional libraries that a script cannot do without: imported without asking whether they are there."""
    names = set()
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    return {"pillow" if name == "PIL" else name for name in names - ALWAYS}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_scripts_are_short_and_name_what_they_need(name):
    script = SCRIPTS[name]
    words = " ".join(ast.get_docstring(ast.parse(script.read_text())).split())

    assert len(script.read_text().splitlines()) <= 90
    assert set(words.partition("Needs ")[2].removesuffix(".").split(" and ")) == libraries(script)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_scripts_run_and_say_what_is_so(name, monkeypatch, tmp_path):
    for library in libraries(SCRIPTS[name]):
        pytest.importorskip("PIL" if library == "pillow" else library)
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        with plt.rc_context({"backend": "agg"}):
            found = runpy.run_path(str(SCRIPTS[name]))
        assert plt.get_fignums()
    finally:
        plt.close("all")
    CHECKS[name](found)


def question(found):
    per_channel = [
        [correlate2d(found["A"][..., c], found["K"][..., c, f], "valid") for c in range(2)] for f in range(2)
    ]
    np.testing.assert_allclose(found["B"], np.moveaxis(np.sum(per_channel, 1), 0, -1), atol=1e-12)


def boundaries(found):
    x, mode = np.random.default_rng(1).standard_normal(9), {"zero": "constant"}
    for name, op in found["maps"].items():
        outside = np.pad(x, 2, mode.get(name, name))
        np.testing.assert_allclose(op(x), np.correlate(outside, found["kernel"], "valid"), atol=1e-12)
    assert found["kept"] == {
        "zero": [False, False], "wrap": [True, True], "reflect": [True, False], "symmetric": [True, True],
        "edge": [True, False],
    }  # fmt: skip


def every_matrix(found):
    sizes = [(5, 7), (7, 7), (9, 7), (7, 7), (4, 7), (7, 7), (9, 7), (7, 4)]
    assert [op.shape for op in found["maps"].values()] == sizes
    assert "<html" in found["page"].read_text(encoding="utf-8")


def deblur_photograph(found):
    levels = found["levels"]
    for kernel, boundary in {key[:2] for key in levels}:
        of = {name: level for (k, b, name), level in levels.items() if (k, b) == (kernel, boundary)}
        assert of["convmtx"] > of["blurred"] + 1
        assert abs(of["convmtx"] - of["SciPy, CSR"]) < 0.05
        if boundary == "wrap" and "skimage, Laplacian" in of:
            assert abs(of["convmtx, Laplacian"] - of["skimage, Laplacian"]) < 0.1
        if boundary == "zero" and "PyLops, CGLS" in of:
            assert abs(of["convmtx"] - of["PyLops, CGLS"]) < 0.05


def deblur_constraints(found):
    true, kernel = found["true"], np.outer(found["line"], found["line"])
    clean = convolve2d(true, kernel, "same", boundary="symm")
    assert abs(np.std(found["seen"] - clean) - 0.02) < 0.002
    for image in found["restored"].values():
        assert image.min() > -1e-6
        assert image.max() < 1 + 1e-6
    best = np.linalg.norm(found["restored"]["weight 0.005"] - true)
    assert best < np.linalg.norm(found["seen"] - true) / 4


def deblur_unknown_border(found):
    restored, true = found["images"]["the larger scene"], found["scene"][7:-7, 7:-7]
    assert found["levels"]["the larger scene"] > found["levels"]["edge"] + 1 > found["levels"]["wrap"] + 10
    assert np.isclose(found["levels"]["the larger scene"], -10 * np.log10(np.mean((restored - true) ** 2)))
    windows = correlate2d(restored, np.eye(15) / 15, "valid")
    assert abs(np.std(windows - found["seen"][7:-7, 7:-7]) - 0.005) < 0.001


def learn_kernel(found):
    emboss = np.zeros((3, 3))
    emboss[2, 0], emboss[1, 1] = -1, 1
    np.testing.assert_allclose(found["learned"]["EMBOSS"], emboss, atol=1e-9)
    inner = correlate2d(found["x"], found["learned"]["SHARPEN"] / 16, "valid")
    assert np.abs(inner - found["after"]["SHARPEN"][1:-1, 1:-1]).max() < 0.6


def lipschitz(found):
    import torch

    weight = found["op"].kernel.detach().double()
    x = torch.randn(1, 8, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(300):
        x = torch.nn.functional.conv2d(x / x.norm(), weight, padding=1)
        x = torch.nn.functional.conv_transpose2d(x, weight, padding=1)
    assert abs(float(x.norm()) ** 0.5 / float(found["r"].upper) - 1) < 1e-4
    assert found["numbers"]["reshaped weights"] < 0.7 * float(found["r"].lower)


def stride_spectrum(found):
    kernel, joined = found["kernel"][:, :, 0], np.zeros((4, 32, 32))
    for f in range(4):
        joined[f, :3, :3] = kernel[..., f]
    spectra = np.fft.fft2(joined).reshape(4, 2, 16, 2, 16).transpose(2, 4, 0, 1, 3).reshape(16, 16, 4, 4) / 2
    values = np.sort(np.linalg.svd(spectra, compute_uv=False).ravel())[::-1]
    np.testing.assert_allclose(found["exact"], values, atol=1e-10)
    assert 0.72 < found["bounds"].lower[-1] <= found["true"][-1] < values[0]


def transposed(found):
    def down(image):
        return correlate2d(image, np.full((3, 3), 1 / 9), "valid")[::2, ::2]

    back = found["back"]
    np.testing.assert_allclose(down(back["pseudo-inverse"]), found["y"], atol=1e-10)
    assert np.abs(down(back["transposed, times 4"]) - found["y"]).max() > 0.1
    assert np.linalg.norm(back["pseudo-inverse"]) < np.linalg.norm(back["smoothest"])
    assert np.array_equal(np.unique(found["written"][3][3:-3, 3:-3]), [1, 2, 4])


def worst_case(found):
    weight, bias = (array.detach().numpy() for array in found["layer"].parameters())
    image = np.pad(found["worst"].reshape(8, 8), 1)
    layer = [correlate2d(image, w[0], "valid")[::2, ::2] + b for w, b in zip(weight, bias, strict=True)]
    assert np.isclose(found["score"] @ np.maximum(np.ravel(layer), 0), -found["solution"].fun, atol=1e-5)
    assert np.abs(found["worst"] - found["x0"]).max() <= found["eps"] + 1e-9
    assert found["values"]["10000 random corners"] < -found["solution"].fun < found["values"]["interval bounds"]


def crossbar(found):
    per_filter = [
        sum(correlate2d(found["x"][..., c], found["kernel"][..., c, f], "same") for c in range(16)) for f in range(32)
    ]
    np.testing.assert_allclose(found["y"].reshape(16, 16, 32), np.moveaxis(per_filter, 0, -1), atol=1e-10)
    reads = [
        (16 * i + j, 16 * (i + di) + j + dj)
        for i, j in np.ndindex(16, 16)
        for di, dj in np.ndindex(3, 3)
        if {i + di, j + dj} <= set(range(1, 17))
    ]
    tiles = {(out // 2, (read - 17) // 4) for out, read in reads}  # 32 filters and 16 channels a pixel
    assert (found["counts"][64, "last"] > 0).sum() == len(tiles)


def homomorphic(found):
    def diagonals(packed):
        return {
            (32 * (2 * i + di) + 2 * j + dj - (16 * i + j if packed else 64 * i + 2 * j)) % 1024
            for i, j in np.ndindex(16, 16)
            for di, dj in np.ndindex(3, 3)
            if {2 * i + di, 2 * j + dj} <= set(range(32))
        }

    counted, op = found["diagonals"], found["strided"]
    assert set(counted(op, 1024)) == diagonals(packed=True)
    assert set(counted(op, 1024, found["gaps"])) == diagonals(packed=False)
    image = found["image"]
    wanted = correlate2d(np.pad(image, ((0, 1), (0, 1))), found["taps"], "valid")[::2, ::2]
    server = found["apply_diagonals"](counted(op, 1024, found["gaps"]), image.ravel())
    np.testing.assert_allclose(server[found["gaps"]], wanted.ravel(), atol=1e-12)


CHECKS = {check.__name__: check for check in (
    question, boundaries, every_matrix, deblur_photograph, deblur_constraints, deblur_unknown_border, learn_kernel,
    lipschitz, stride_spectrum, transposed, worst_case, crossbar, homomorphic,
)}  # fmt: skip
