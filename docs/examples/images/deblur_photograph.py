"""
Deblurring a photograph: the boundary matters
=============================================

A camera's blur is a convolution, and we do not know what lies outside the picture. One division of transforms is quick,
but it assumes that the picture continues with its opposite edge. For most pictures that is wrong. ``cm.solve`` uses the
boundary of the blur. We compare it with SciPy, PyLops and scikit-image, if they are installed.
Needs matplotlib and pillow.
"""

from contextlib import suppress
from operator import attrgetter

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from scipy.sparse.linalg import lsmr

import convmtx as cm

pylops = restoration = None
with suppress(ImportError):
    import pylops
with suppress(ImportError):
    from skimage import restoration

NOISE, RTOL = 0.01, 1e-5  # standard deviation of the noise, for values from 0 to 1; tolerance of every solver
with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:  # it comes with matplotlib
    true = np.asarray(image.convert("L").crop((160, 64, 288, 192))) / 255.0
noise = NOISE * np.random.default_rng(0).standard_normal(true.shape)
bell = np.exp(-(np.arange(-4.0, 5.0) ** 2) / 8)
kernels = {"Gauss": np.outer(bell, bell) / bell.sum() ** 2, "motion": np.eye(15) / 15}
laplacian = [[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]

# %%
# Each method minimizes ``norm(blur(x) - seen)**2 + damp**2 * norm(R(x))**2``, where R is the identity or the Laplacian.
# scikit-image always assumes that images wrap, and PyLops' convolution always has zeros outside.


def restore(kernel, seen, boundary, damp):
    """Yield the name of each method and its image."""
    blur, rough = (cm.conv(taps, seen.shape, padding="same", boundary=boundary) for taps in (kernel, laplacian))
    flat, psf, x = seen.ravel(), kernel[::-1, ::-1], attrgetter("x")
    yield "blurred", seen
    yield "convmtx", x(cm.solve(blur, seen, damp=damp, rtol=RTOL))
    yield "convmtx, Laplacian", x(cm.solve(blur, seen, damp=damp, regularizer=rough, rtol=RTOL))
    yield "SciPy, CSR", lsmr(blur.to_sparse(), flat, damp=damp, atol=RTOL, btol=RTOL)[0]
    if pylops and boundary == "zero":
        other = pylops.signalprocessing.ConvolveND(seen.shape, h=psf, offset=[k // 2 for k in psf.shape])
        tol = (RTOL * np.linalg.norm(blur.H(seen))) ** 2
        yield "PyLops, CGLS", pylops.cgls(other, flat, niter=2000, damp=damp, tol=tol)[0]
    if restoration:
        yield "skimage, Laplacian", restoration.wiener(seen, psf, damp**2, clip=False)


# %%
# One damp for each kernel. Under wrap all singular values are known. So the discrepancy rule can make the misfit as
# large as the noise without a solve. The table shows the PSNR in dB: more is better.

images, levels = {}, {}
for name, kernel in kernels.items():
    for boundary in ("wrap", "zero", "reflect"):
        blur = cm.conv(kernel, true.shape, padding="same", boundary=boundary)
        seen = blur(true) + noise
        if boundary == "wrap":
            damp = cm.choose_damp(blur, seen, "discrepancy", noise=NOISE).damp
        print(f"\n{name}, {boundary}, damp {damp:.3f}")
        for method, image in restore(kernel, seen, boundary, damp):
            images[name, boundary, method] = np.reshape(image, true.shape)
            error = np.mean((images[name, boundary, method] - true) ** 2)
            levels[name, boundary, method] = -10 * np.log10(error)
            print(f"{levels[name, boundary, method]:8.2f}  {method}")

# %%
# - ``convmtx``, ``SciPy, CSR`` and ``PyLops, CGLS`` find the same image, up to the tolerance.
# - The two methods with a Laplacian agree under wrap. Under the other boundaries scikit-image still solves the problem
#   with wrap, and its errors at the edges spread over the picture.

shown = {k: image for k, image in images.items() if k[1] == "zero" and not k[2].startswith(("SciPy", "PyLops"))}
figure, axes = plt.subplots(2, len(shown) // 2, figsize=(10, 5.4), layout="constrained")
for ax, (key, image) in zip(axes.flat, shown.items(), strict=True):
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"{key[2]}: {levels[key]:.1f} dB", fontsize=9)
    ax.set_axis_off()
for key, level in levels.items():
    assert key[2] != "convmtx" or abs(level - levels[*key[:2], "SciPy, CSR"]) < 0.05
    assert key[2] != "convmtx" or level > levels[*key[:2], "blurred"] + 1

plt.show()
