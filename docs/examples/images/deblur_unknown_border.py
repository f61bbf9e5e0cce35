"""
Deblurring without knowing what lies outside
============================================

A camera sees a part of the scene, and the blur mixes in pixels from just outside this part. So every boundary rule is a
guess about pixels that nobody saw. ``border="free"`` guesses nothing: pixels outside the photograph that the blur
reads are unknowns too, and a small penalty on roughness chooses one of the many scenes that explain the photograph.
This problem occurs with photographs, micrographs and sky surveys. Needs matplotlib and scikit-image.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import convolve
from skimage import data, restoration

import convmtx as cm

scene = data.camera()[60:240, 120:300] / 255.0  # it comes with scikit-image
y, x = np.mgrid[-6:7, -6:7]
lens = (y**2 + x**2 <= 40) / np.sum(y**2 + x**2 <= 40)  # out of focus by 6 pixels
camera = cm.conv(lens, scene.shape)  # every output has a complete window
seen = camera(scene) + 0.005 * np.random.default_rng(0).standard_normal(camera.out_shape)
true = scene[6:-6, 6:-6]
print(f"{camera.shape[0]} pixels seen, {camera.shape[1]} in the scene")

# %%
# Minimize ``norm(blur(x) - seen)**2 + 0.03**2 * norm(laplacian(x))**2``, with guesses of what lies outside or without.

laplacian = [[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]


def restore(boundary, damp=0.03, **options):
    blur, rough = (cm.conv(k, seen.shape, padding="same", boundary=boundary) for k in (lens, laplacian))
    return cm.solve(blur, seen, damp=damp, regularizer=rough, rtol=1e-4, **options)


free = restore("symmetric", border="free")
assert free.converged
assert free.error < 1e-3  # relative to the minimizer

# %%
# Most people take a Wiener filter, which solves the problem above for a scene that repeats itself, and soften the
# borders of the photograph before (edge tapering). The unsupervised filter estimates the damping. All other rivals get
# the damping that suits them best, which only this page can know.

line = lens.sum(axis=0)
near = np.correlate(line, line, "full")[12:]  # how much the windows of two pixels of a row have in common
fade = 1 - np.pad(near / near[0], (0, len(seen) - 13))
fade *= fade[::-1]
weight = np.outer(fade, fade)
tapered = weight * seen + (1 - weight) * convolve(seen, lens, mode="wrap")


def level(image, part=np.s_[:]):
    return -10 * np.log10(np.mean((image - true)[part] ** 2))


def best(method):
    return max((method(damp) for damp in (0.6, 0.3, 0.1, 0.03)), key=level)


images = {
    "photograph": seen,
    "zeros outside": best(lambda damp: restore("zero", damp).x),
    "a mirror outside": best(lambda damp: restore("symmetric", damp).x),
    "Wiener": best(lambda damp: restoration.wiener(seen, lens, damp**2, clip=False)),
    "Wiener, unsupervised": restoration.unsupervised_wiener(seen, lens, clip=False, rng=0)[0],
    "Wiener, tapered": best(lambda damp: restoration.wiener(tapered, lens, damp**2, clip=False)),
    "free border": free.x,
}

# %%
# The border spoils the whole image, and not only pixels beside it.

middle = np.s_[42:-42, 42:-42]
print(f"{'':22}whole image   middle half")
for name, image in images.items():
    print(f"{name:22}{level(image):8.2f} dB{level(image, middle):11.2f} dB")
*rivals, _ = images.values()
assert level(free.x) > max(map(level, rivals)) + 1.5
assert level(free.x, middle) > max(level(image, middle) for image in rivals)

images["true"] = true
figure, axes = plt.subplots(2, 4, figsize=(11, 6), layout="constrained")
for ax, (name, image) in zip(axes.flat, images.items(), strict=True):
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    ax.set_title(name if image is true else f"{name}: {level(image):.1f} dB", fontsize=10)
    ax.set_axis_off()

plt.show()
