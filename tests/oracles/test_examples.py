"""The gallery does what it says: each script runs, and what it found is found again in another way."""

import ast
import re
import runpy
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
from scipy.fft import dct, idct
from scipy.ndimage import laplace
from scipy.optimize import linprog, nnls
from scipy.signal import convolve2d, correlate2d, fftconvolve
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import xlogy

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
SCRIPTS = {path.stem: path for path in EXAMPLES.rglob("*.py")}
ALWAYS = {"numpy", "scipy", "convmtx", *sys.stdlib_module_names}


def libraries(script):
    """The optional packages that a script needs: imported without asking whether they are there, or read for data."""
    names, tree = set(), ast.parse(script.read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    read = re.findall(r'distribution\("(.+?)"\)', script.read_text())
    called = {"PIL": "pillow", "pywt": "PyWavelets", "skimage": "scikit-image"}
    return {called.get(name, name) for name in names - ALWAYS} | set(read)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_scripts_are_short_and_name_what_they_need(name):
    script = SCRIPTS[name]
    words = " ".join(ast.get_docstring(ast.parse(script.read_text())).split())

    assert len(script.read_text().splitlines()) <= 90
    assert set(re.split(", | and ", words.partition("Needs ")[2].removesuffix("."))) == libraries(script)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_scripts_run_and_say_what_is_so(name, monkeypatch, tmp_path):
    for library in libraries(SCRIPTS[name]):
        try:
            distribution(library)
        except PackageNotFoundError:
            pytest.skip(f"{library} is not installed")
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


def backwards(found):
    filters = {name: result.op for name, result in found["results"].items()}
    bell = np.exp(-(np.arange(-4, 5) ** 2) / (2 * 1.5**2))
    bell /= bell.sum()
    kernels = [np.outer(bell, bell), np.outer([1, 2, 1], [-1, 1]), np.full((5, 5), 1 / 25), [[-1], [1]]]
    for op, kernel in zip(filters.values(), kernels, strict=True):
        np.testing.assert_allclose(op.kernel, kernel, atol=1e-15)
    assert [op.out_shape for op in filters.values()] == [(300, 451), (300, 451), (100, 150), (296, 451)]
    assert max(result.applications for result in found["results"].values()) < 30
    wrong = np.unravel_index(13, (5, 6)), np.unravel_index(47, (9, 11))
    assert (found["wrong"].output, found["wrong"].input) == wrong
    assert (found["result"].count, found["result"].distance, found["result"].op.kernel[1, 2]) == (1, 3.0, 6)
    [explained] = found["other"].alternatives
    np.testing.assert_array_equal(explained.op.kernel, np.arange(1, 10).reshape(3, 3))


def wavelet_adjoint(found):
    """Solve the normal equations of the dense matrices, of which the wavelets' is PyWavelets' own, column by column."""
    import pywt

    n, damp = found["ecg"].size, found["damp"]
    columns = [np.concatenate(pywt.wavedec(unit, "db4", level=5)[1:]) for unit in np.eye(n)]
    blurs = [
        np.convolve(np.pad(unit, 20, "symmetric"), found["taps"] / found["taps"].sum(), "valid") for unit in np.eye(n)
    ]
    matrix = np.vstack([np.stack(blurs, axis=1), damp * np.stack(columns, axis=1)])
    least = np.linalg.solve(matrix.T @ matrix, matrix[:n].T @ found["seen"])
    np.testing.assert_allclose(found["exact"].x, least, atol=1e-6)
    assert 1.0 < np.abs(found["inverse"] - found["transpose"]).max() < 1.1
    assert 1e-3 < np.linalg.norm(found["off"]) / np.linalg.norm(least) < 0.1


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
    """Solve for the larger scene by conjugate gradients, from the normal equations."""
    lens, x, true = found["lens"], found["free"].x, found["scene"][6:-6, 6:-6]

    def normal(scene):
        scene = scene.reshape(180, 180)
        blurred = fftconvolve(fftconvolve(scene, lens, "valid"), lens)  # the lens is symmetric
        return (blurred + 0.03**2 * laplace(laplace(scene))).ravel()

    operator = LinearOperator((180**2, 180**2), normal, dtype=float)
    guess = np.pad(x, 6, "edge").ravel()
    scene, failed = cg(operator, fftconvolve(found["seen"], lens).ravel(), guess, rtol=1e-6)
    assert not failed
    assert np.linalg.norm(x - scene.reshape(180, 180)[6:-6, 6:-6]) < 1e-3 * np.linalg.norm(x)
    assert np.isclose(found["level"](x), -20 * np.log10(np.linalg.norm(x - true) / 168))


def star_field(found):
    """Compute the divergence from its definition, and sum the pixels of every star."""
    x, known, counts = found["masked"].x, found["known"], found["counts"]
    assert x.min() >= 0
    model = fftconvolve(x, found["psf"], "same") + 100
    divergence = np.sum((xlogy(counts, counts / model) - counts + model)[known])
    assert np.isclose(found["masked"].divergence, divergence)
    stars = list(zip(found["rows"], found["columns"], strict=True))
    sums = [[np.pad(image, 3)[i : i + 7, j : j + 7].sum() for i, j in stars] for image in (x, found["scene"])]
    error = np.abs(np.subtract(*sums)) / found["flux"]
    saturated = [counts[star] == 20_000 for star in stars]
    assert np.isclose(np.median(error[saturated]), found["medians"]["masked, convmtx"][0])
    assert np.median(error[saturated]) < 0.02


def deblur_missing(found):
    known, psf = found["known"], np.outer(found["bell"], found["bell"]) / found["bell"].sum() ** 2
    x = found["images"]["known pixels alone"]

    def blur(image, kernel):
        return convolve2d(image, kernel, "same", boundary="symm")

    def adjoint(image, kernel):
        """Spread each pixel, and fold what lies outside back in, axis by axis."""
        reach = len(kernel) // 2
        wide = convolve2d(image, kernel)
        for _ in range(2):
            inner = wide[:, reach:-reach].copy()
            inner[:, :reach] += wide[:, reach - 1 :: -1]
            inner[:, -reach:] += wide[:, : -reach - 1 : -1]
            wide = inner.T
        return wide

    laplacian = np.array([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
    data = adjoint(np.where(known, found["seen"], 0), psf)
    normal = adjoint(np.where(known, blur(x, psf), 0), psf) + 0.05**2 * adjoint(blur(x, laplacian), laplacian)
    assert np.linalg.norm(normal - data) < 1e-5 * np.linalg.norm(data)
    assert 0.15 < 1 - known.mean() < 0.2


def deblur_varying(found):
    size, spread = found["size"], found["spread"]
    image, place = np.zeros((2, size, size)), (30, 71)
    image[0][place], image[1][place] = 1, 1
    seen = np.zeros((size + 14, size + 14))
    seen[30:45, 71:86] = spread(*place)
    np.testing.assert_allclose(found["lens"](image[0]), seen[7:-7, 7:-7], atol=1e-12)
    mixed = sum(
        fftconvolve(w * found["true"], psf, "same") for w, psf in zip(found["weights"], found["psfs"], strict=True)
    )
    np.testing.assert_allclose(found["blur"](found["true"]), mixed, atol=1e-12)
    np.testing.assert_allclose(found["weights"].sum(axis=0)[:73, :73], 1, atol=1e-12)


def resize_libraries(found):
    def cubic(n, m, a=-0.75):
        """The matrix of PyTorch without antialiasing: four inputs around each output, the ends repeated."""
        W = np.zeros((m, n))
        for i in range(m):
            place = (i + 0.5) * n / m - 0.5
            for j in range(int(place) - 1, int(place) + 3):
                t = abs(j - place)
                near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
                W[i, min(max(j, 0), n - 1)] += near if t <= 1 else far
        return W

    true, shrunk = found["true"], found["maps"]["torch"](found["true"])
    first, second = (cubic(n, m) for n, m in zip(true.shape, shrunk.shape, strict=True))
    np.testing.assert_allclose(shrunk, first @ true @ second.T, atol=1e-10)
    for name in ("pil", "torch"):
        x, op = found["images"][f"solved for {name}"], found["maps"][name]
        gradient = op.T(op(x) - found["pillow"]) + 0.03**2 * laplace(laplace(x, mode="reflect"), mode="reflect")
        assert np.linalg.norm(gradient) < 1e-3 * np.linalg.norm(op.T(found["pillow"]))


def deblur_nonnegative(found):
    psf, sigma = np.outer(found["bell"], found["bell"]) / found["bell"].sum() ** 2, found["sigma"]
    units = np.eye(1600).reshape(1600, 40, 40)
    A = np.stack([(convolve2d(unit, psf, "same") / sigma).ravel() for unit in units], axis=1)
    best, _ = nnls(A, (found["seen"] / sigma).ravel())
    np.testing.assert_allclose(found["x"], best, atol=1e-8)


def learn_kernel(found):
    emboss = np.zeros((3, 3))
    emboss[2, 0], emboss[1, 1] = -1, 1
    np.testing.assert_allclose(found["learned"]["EMBOSS"], emboss, atol=1e-9)
    inner = correlate2d(found["x"], found["learned"]["SHARPEN"] / 16, "valid")
    assert np.abs(inner - found["after"]["SHARPEN"][1:-1, 1:-1]).max() < 0.6


def room_response(found):
    """The kernel solves the normal equations of the samples that were kept."""
    sweep, known, fitted = found["sweep"], found["known"], found["fitted"]
    residual = known * (np.nan_to_num(found["seen"]) - fftconvolve(sweep, fitted))
    slope = fftconvolve(residual, sweep[::-1], "valid") - 0.5**2 * fitted
    assert np.abs(slope).max() < 1e-9 * np.abs(fftconvolve(known, sweep[::-1], "valid")).max()
    assert np.count_nonzero(known == 0) == 599
    assert found["error"](fitted) < 0.02


def seismic_section(found):
    """Minimize the same sum once more, by the normal equations of each wave across the traces (a cosine basis)."""
    pulse, seen, damp = found["pulse"], found["seen"], found["damp"]
    times, traces = found["true"].shape
    A = np.tril(np.pad(pulse, (0, times - pulse.size))[np.subtract.outer(np.arange(times), np.arange(times))])
    b = dct(A.T @ seen, axis=1, norm="ortho")
    slopes = 4 * np.sin(np.pi * np.arange(traces) / (2 * traces)) ** 2  # squares of differences of a cosine
    values, vectors = np.linalg.eigh(A.T @ A)
    x = vectors @ ((vectors.T @ b) / (values[:, None] + damp**2 * (1 + 25 * slopes)))
    np.testing.assert_allclose(found["solution"].x, idct(x, axis=1, norm="ortho"), atol=1e-9)
    assert found["error"](found["solution"].x) < 0.5


def fmri_response(found):
    """A design matrix of shifted events, as nitime writes it, with drifts and penalties."""
    from nitime.utils import fir_design_matrix

    runs, damp, ours = found["runs"], found["damp"], found["ours"]
    design = np.concatenate([fir_design_matrix(kinds, 15) for kinds in found["kind"][runs]])
    drifts = np.kron(np.eye(3), np.vander(np.linspace(-1, 1, 280), 3))
    smooth = 2 * np.eye(15) - np.eye(15, k=1) - np.eye(15, k=-1)
    alike = np.kron(np.eye(6, k=1) - np.eye(6), np.eye(15))[:75]
    penalties = np.pad(damp * np.concatenate([np.kron(np.eye(6), smooth), alike]), ((0, 0), (0, 9)))
    A = np.concatenate([np.hstack([design, drifts]), penalties])
    x = np.linalg.lstsq(A, np.pad(found["signal"][runs].ravel(), (0, len(penalties))))[0]
    np.testing.assert_allclose(ours[..., 0].T.ravel(), x[:90], atol=1e-10)


def lipschitz(found):
    import torch

    weight = found["op"].kernel.detach().double()
    x = torch.randn(1, 8, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(300):
        x = torch.nn.functional.conv2d(x / x.norm(), weight, padding=1)
        x = torch.nn.functional.conv_transpose2d(x, weight, padding=1)
    assert abs(float(x.norm()) ** 0.5 / float(found["r"].upper) - 1) < 1e-4
    assert found["numbers"]["reshaped weights"] < 0.7 * float(found["r"].lower)


def spectral_normalization(found):
    """Stretch changes of the bell by PyTorch's convolutions, in float64."""
    import torch

    def network(x, a, b):
        first, second = (torch.tensor(kernel).double() for kernel in found["kernels"][:2])
        inner = torch.nn.functional.conv2d(x, first / a, padding=(1, 19)) + torch.tensor(found["first"].offset)
        return torch.nn.functional.conv2d(inner.relu(), second / b, padding=2)

    heard = torch.tensor(found["heard"]).double()[None]
    for name, scales in found["numbers"].items():
        change = 1e-6 * torch.tensor(found["changes"][name])[None]
        stretched = network(heard + change, *scales[:2]) - network(heard, *scales[:2])
        assert np.isclose(stretched.norm() / change.norm(), found["stretch"][name], rtol=1e-3)
    reshaped = [np.linalg.norm(kernel.reshape(len(kernel), -1), 2) for kernel in found["kernels"]]
    np.testing.assert_allclose(found["by_pytorch"], reshaped, rtol=1e-4)
    x = torch.randn(1, 8, 172, 264, generator=torch.Generator().manual_seed(1))
    weight = torch.tensor(found["kernels"][1])
    for _ in range(30):
        x = torch.nn.functional.conv2d(x / x.norm(), weight, padding=2)
        x = torch.nn.functional.conv_transpose2d(x, weight, padding=2)
    assert 0.98 * found["norms"][1].lower < float(x.norm()) ** 0.5 < found["norms"][1].upper


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


def whole_network(found):
    network, image, J = found["network"], found["image"], found["J"]
    for pixel in (0, 37, 200, 255):
        change = 1e-6 * (found["np"].arange(256) == pixel).reshape(1, 1, 16, 16)
        up, down = (network(image[None] + sign * found["torch"].from_numpy(change)) for sign in (1, -1))
        np.testing.assert_allclose((up - down).numpy().ravel() / 2e-6, J[:, pixel], atol=1e-7)
    assert np.isclose(found["gain"], np.linalg.norm(J, 2), rtol=1e-2)


def locally_connected(found):
    x, K = found["x"], found["kernel"].reshape(7, 6, 27, 5)
    for i, j in np.ndindex(7, 6):
        y = x[:, i : i + 3, j : j + 3].reshape(10, 27) @ K[i, j]
        np.testing.assert_allclose(found["op"](x)[:, i, j], y, atol=1e-4)
    weight = found["torch_weight"].detach().numpy()
    row = found["torch_op"].to_dense().detach().numpy().reshape(5, 7, 6, 3, 9, 8)[4, 2, 3]
    np.testing.assert_array_equal(row[:, 2:5, 3:6], weight[0, 4, :, 2, 3].reshape(3, 3, 3))


def relu_network(found):
    """Compare with the best of all patterns of units that are on, each of which makes the network affine."""
    x0, radius, (b1, b2) = found["x0"], 0.02, (found[name].offset.ravel() for name in ("first", "second"))

    def matrix(name, shape, pads, stride):
        def convolve(x):
            x, kernel = np.pad(x, [*pads, (0, 0)]), found[name].kernel
            pairs = [
                [correlate2d(x[..., c], k[..., c], "valid") for c in range(shape[2])] for k in np.moveaxis(kernel, 3, 0)
            ]
            return np.moveaxis(np.sum(pairs, axis=1), 0, -1)[::stride, ::stride].ravel()

        return np.stack([convolve(unit) for unit in np.eye(np.prod(shape)).reshape(-1, *shape)], axis=1)

    W1, W2 = matrix("conv1", (7, 7, 1), [(1, 1)] * 2, 2), matrix("conv2", (4, 4, 2), [(0, 0)] * 2, 1)
    low1, high1 = (W1 @ x0.ravel() + b1 + sign * radius * abs(W1).sum(axis=1) for sign in (-1, 1))
    low, high = np.maximum(low1, 0), np.maximum(high1, 0)
    low2 = np.maximum(W2, 0) @ low + np.minimum(W2, 0) @ high + b2
    high2 = np.maximum(W2, 0) @ high + np.minimum(W2, 0) @ low + b2
    lows, highs, w = np.r_[low1, low2], np.r_[high1, high2], found["weighted_sum"].to_dense()[0]
    undecided, best = np.flatnonzero((lows < 0) & (highs > 0)), -np.inf
    assert 4 < undecided.size < 9
    for pattern in np.ndindex(*[2] * undecided.size):
        is_on = lows >= 0
        is_on[undecided] = pattern
        on1, on2 = is_on[: b1.size], is_on[b1.size :]
        A, b = np.concatenate([W1, W2 @ (on1[:, None] * W1)]), np.r_[b1, W2 @ (on1 * b1) + b2]
        sign = np.where(is_on, 1, -1)
        box = np.stack([x0.ravel() - radius, x0.ravel() + radius], axis=1)
        program = linprog(-w @ (on2[:, None] * A[b1.size :]), -sign[:, None] * A, sign * b, bounds=box)
        if program.status == 0:  # some input of the box has this pattern
            best = max(best, w @ (on2 * b[b1.size :]) - program.fun + found["dense"].offset[0])
    np.testing.assert_allclose(found["largest"](radius, found["is_integer"])[0], best, atol=1e-6)


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
    x = found["x"]
    for op in found["ops"][:2]:
        planes = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        parts = [[correlate2d(planes[c], taps, "valid") for c, taps in enumerate(filters)] for filters in op.kernel]
        x = np.sum(parts, axis=1)[:, ::2, ::2] ** 2
    np.testing.assert_allclose(found["output"], found["ops"][2].to_dense() @ x.ravel(), atol=1e-12)

    def place(channel, i, j, gap):
        return 32 * (gap * i + channel // gap) + gap * j + channel % gap

    numbers = {
        (place(c, 2 * i + di, 2 * j + dj, 2) - place(f, i, j, 4)) % 1024
        for f, i, j, c, di, dj in np.ndindex(16, 8, 8, 4, 3, 3)
        for di, dj in [(di - 1, dj - 1)]
        if {2 * i + di, 2 * j + dj} <= set(range(16))
    }
    assert set(found["layers"][1][0, 0]) == numbers
    counts = [diagonals.rotations(bsgs=True).count for diagonals in found["layers"]]
    assert found["Ciphertext"].rotations == sum(counts) < 40


CHECKS = {check.__name__: check for check in (
    question, boundaries, every_matrix, deblur_photograph, deblur_constraints, deblur_unknown_border, deblur_missing,
    deblur_varying, deblur_nonnegative, learn_kernel, lipschitz, stride_spectrum, transposed, worst_case, relu_network,
    locally_connected, crossbar, homomorphic, room_response, seismic_section, fmri_response, star_field,
    spectral_normalization, backwards, resize_libraries, wavelet_adjoint, whole_network,
)}  # fmt: skip
