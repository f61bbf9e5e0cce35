"""
Stars with saturated pixels and cosmic rays
===========================================

A telescope counts electrons: the sky blurred by its point-spread function, plus a background, with Poisson noise.
Bright stars fill pixels to the brim, and cosmic rays leave trails. How bright is each star? ``cm.richardson_lucy``
leaves out the pixels that say nothing, and takes the background into account. scikit-image's function of this name
needs a number in every pixel. Needs matplotlib and scikit-image.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import maximum_filter, median_filter
from skimage import data, restoration

import convmtx as cm

rng = np.random.default_rng(0)
size, sky, full = 160, 100.0, 20_000  # pixels, electrons of the background, electrons that a pixel can hold
hubble = data.hubble_deep_field()[60 : 60 + size, 240 : 240 + size].mean(axis=-1)  # it comes with scikit-image
scene = 3 * np.maximum(hubble - 20, 0)

# %%
# Into this field of galaxies we put 100 stars, so that we know how bright they are.

rows, columns = np.mgrid[8:size:16, 8:size:16].reshape(2, -1) + rng.integers(-3, 4, (2, 100))
flux = 10 ** rng.uniform(3.5, 6, 100)
scene[rows, columns] += flux

y, x = np.mgrid[-12:13, -12:13]
psf = (1 + (y**2 + x**2) / 9.0) ** -2.5  # Moffat's profile, of a telescope below an atmosphere
psf /= psf.sum()
telescope = cm.conv(psf, scene.shape, padding="same", flip=True)
counts = rng.poisson(telescope(scene) + sky).astype(float)

rays = np.zeros(scene.shape, bool)
for row, column, angle in rng.uniform(0, (size, size, np.pi), (40, 3)):
    along = np.arange(12)
    track = np.array([row + along * np.sin(angle), column + along * np.cos(angle)]).astype(int) % size
    rays[tuple(track)] = True
counts[rays] += rng.uniform(500, 5000, rays.sum())
saturated = counts > full
counts = np.minimum(counts, full)
known = ~(saturated | rays)
print(f"{rays.sum()} pixels have trails, {saturated.sum()} are saturated")

# %%
# People fill trails with the median around, subtract the background, and leave saturated pixels as they are. We pass
# the counts as they are, and a mask.

filled = np.maximum(np.where(rays, median_filter(counts, 5), counts) - sky, 0)
common = restoration.richardson_lucy(filled, psf, num_iter=100, clip=False)
masked = cm.richardson_lucy(telescope, counts, mask=known, background=sky, maxiter=100, accelerate=True)
print(masked.reason)
print(f"divergence for each pixel: {masked.divergence / known.sum():.2f}; for Poisson noise alone: about 0.5")

# %%
# The brightness of a star is the sum over 7 x 7 pixels. Its error is told relative to that of the star. The core of a
# saturated star is known from its wings.


def brightness(image):
    padded = np.pad(image, 3)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7))
    return windows[rows, columns].sum(axis=(1, 2))


errors = {
    "filled, scikit-image": np.abs(brightness(common) - brightness(scene)) / flux,
    "masked, convmtx": np.abs(brightness(masked.x) - brightness(scene)) / flux,
}
is_saturated = saturated[rows, columns]
is_hit = maximum_filter(rays, 13)[rows, columns] & ~is_saturated
groups = {"saturated": is_saturated, "near a trail": is_hit, "other": ~is_saturated & ~is_hit}
print(f"{'median error of stars':24}" + "".join(f"{name:>14}" for name in groups))
medians = {}
for name, error in errors.items():
    medians[name] = [np.median(error[group]) for group in groups.values()]
    print(f"{name:24}" + "".join(f"{median:14.2%}" for median in medians[name]))
before, now = medians.values()
assert now[0] < before[0] / 3
assert now[1] < before[1]
assert now[2] < 0.01

# %%
# All images have the same colours, on a scale that is linear for the faint and logarithmic for the bright.

figure, axes = plt.subplots(2, 2, figsize=(9, 9.3), layout="constrained")
images = {
    "counts, missing pixels in red": counts - sky,
    **dict(zip(errors, (common, masked.x), strict=True)),
    "true": scene,
}
for ax, (name, image) in zip(axes.flat, images.items(), strict=True):
    ax.imshow(np.arcsinh(image / 30), cmap="gray", vmin=0, vmax=8)
    ax.set_title(name)
    ax.set_axis_off()
axes[0, 0].imshow(np.where(known, np.nan, 1.0), cmap="autumn")

figure, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
for (name, error), color in zip(errors.items(), ("tab:red", "tab:blue"), strict=True):
    ax.loglog(flux, error, "o", color=color, ms=4, label=name)
    ax.loglog(flux[is_saturated], error[is_saturated], "o", color=color, ms=9, mfc="none")
ax.set(xlabel="electrons of the star; circles are saturated", ylabel="relative error")
ax.legend()

plt.show()
