"""Deblur a photograph under three boundaries: convmtx beside SciPy, PyLops and scikit-image, whichever are installed.

``python deblur.py --picture deblurring.png`` prints PSNR, iterations and seconds of each. Needs matplotlib and pillow.
Least is ``norm(blur(x) - seen)**2 + damp**2 * norm(R(x))**2``, R the identity or the Laplacian, with one damp for each
kernel: by the discrepancy under wrap, where choosing it needs no solver. scikit-image's images always wrap.
"""

import argparse
import time
from contextlib import suppress
from operator import attrgetter

import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image
from scipy.sparse.linalg import lsmr

import convmtx as cm

pylops = restoration = None
with suppress(ImportError):
    import pylops
with suppress(ImportError):
    from skimage import restoration

NOISE, RTOL = 0.01, 1e-6  # standard deviation, of a photograph from 0 to 1; tolerance of every solver
BELL = np.exp(-(np.arange(-4.0, 5.0) ** 2) / 8)
KERNELS = {"Gauss": np.outer(BELL, BELL) / BELL.sum() ** 2, "motion": np.eye(15) / 15}
LAPLACIAN = [[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]


def restored(kernel, seen, boundary, damp):
    """Name, image, iterations and seconds of each method that is installed, one after the other."""
    blur, rough = (cm.conv(each, seen.shape, padding="same", boundary=boundary) for each in (kernel, LAPLACIAN))
    flat, psf, told = seen.ravel(), kernel[::-1, ::-1], attrgetter("x", "iterations")
    ways = {"blurred": lambda: (seen, 0), "convmtx": lambda: told(cm.solve(blur, seen, damp=damp, rtol=RTOL))}
    ways["convmtx, Laplacian"] = lambda: told(cm.solve(blur, seen, damp=damp, regularizer=rough, rtol=RTOL))
    if boundary == "wrap":
        ways["convmtx, Wiener"] = lambda: (cm.wiener(blur, seen, np.var(seen) / NOISE**2), 0)
    ways["SciPy, CSR"] = lambda: lsmr(blur.to_sparse("csr"), flat, damp=damp, atol=RTOL, btol=RTOL)[:3:2]
    if pylops and boundary == "zero":
        other = pylops.signalprocessing.ConvolveND(seen.shape, h=psf, offset=[k // 2 for k in psf.shape])
        tol = (RTOL * np.linalg.norm(blur.H(seen))) ** 2
        ways["PyLops, CGLS"] = lambda: pylops.cgls(other, flat, niter=2000, damp=damp, tol=tol)[:3:2]
    if restoration:
        ways["skimage, Laplacian"] = lambda: (restoration.wiener(seen, psf, damp**2, clip=False), 0)
        ways["skimage, unsupervised"] = lambda: (restoration.unsupervised_wiener(seen, psf, clip=False, rng=0)[0], 0)
    for name, way in ways.items():
        start, (image, iterations) = time.perf_counter(), way()
        yield name, np.reshape(image, seen.shape), iterations, time.perf_counter() - start


def draw(shown, path):
    figure = Figure(figsize=(1.3 * len(shown), 5.8), layout="constrained")
    for ax, (title, image) in zip(figure.subplots(2, len(shown) // 2).flat, shown, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    figure.savefig(path, dpi=100)


def main(size=256, picture=None):
    """Print the table, draw the picture of the zero boundary, return PSNR by kernel, boundary and method."""
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:  # it comes with matplotlib
        true = np.asarray(image.convert("L").crop((128, 32, 128 + size, 32 + size))) / 255.0
    noise, levels, shown = NOISE * np.random.default_rng(0).standard_normal(true.shape), {}, []
    print("| kernel, boundary, damp | method | PSNR, dB | iterations | seconds |\n|---|---|---|---|---|")
    for name, kernel in KERNELS.items():
        for boundary in ("wrap", "zero", "reflect"):
            blur = cm.conv(kernel, true.shape, padding="same", boundary=boundary)
            seen = blur(true) + noise
            if boundary == "wrap":
                damp = cm.choose_damp(blur, seen, "discrepancy", noise=NOISE).damp
            shown += [("photograph", true)] if boundary == "zero" else []
            for method, image, iterations, seconds in restored(kernel, seen, boundary, damp):
                levels[name, boundary, method] = level = -10 * np.log10(np.mean((image - true) ** 2))
                told = f"{method} | {level:.2f} | {iterations or ''} | {seconds:.3f}"
                print(f"| {name}, {boundary}, {damp:.3f} | {told} |", flush=True)
                if boundary == "zero" and "SciPy" not in method and "PyLops" not in method:  # these look like ours
                    shown.append((f"{method}: {level:.1f} dB", image))
    if picture:
        draw(shown, picture)
    return levels


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", help="where the picture goes")
    main(picture=parser.parse_args().picture)
