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
from scipy.ndimage import maximum_filter, median_filter, uniform_filter
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

row, column, angle = rng.uniform(0, (size, size, np.pi), (40, 3)).T[..., None]
along = np.arange(12)
track = np.array([row + along * np.sin(angle), column + along * np.cos(angle)]).astype(int) % size
rays = np.zeros(scene.shape, bool)
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
print(f"divergence for each pixel: {masked.divergence / known.sum():.2f}; for Poisson noise alone: about 0.5")

# %%
# The brightness of a star is the sum over 7 x 7 pixels. Its error is relative to that of the star. The core of a
# saturated star is known from its wings.


def brightness(image):
    return 49 * uniform_filter(image, 7, mode="constant")[rows, columns]


images = {"filled, scikit-image": common, "masked, convmtx": masked.x}
is_saturated = saturated[rows, columns]
is_hit = maximum_filter(rays, 13)[rows, columns] & ~is_saturated
groups = {"saturated": is_saturated, "near a trail": is_hit, "other": ~is_saturated & ~is_hit}
print(f"{'median error of stars':24}" + "".join(f"{name:>14}" for name in groups))
medians = {}
for name, image in images.items():
    error = np.abs(brightness(image) - brightness(scene)) / flux
    medians[name] = [np.median(error[group]) for group in groups.values()]
    print(f"{name:24}" + "".join(f"{median:14.2%}" for median in medians[name]))
before, now = medians.values()
assert now[0] < before[0] / 3
assert now[1] < before[1]
assert now[2] < 0.01

figure, axes = plt.subplots(2, 2, figsize=(9, 9.3), layout="constrained")
images = {"counts, missing pixels in red": counts - sky, **images, "true": scene}
for ax, (name, image) in zip(axes.flat, images.items(), strict=True):
    ax.imshow(np.arcsinh(image / 30), cmap="gray", vmin=0, vmax=8)  # linear for the faint, logarithmic for the bright
    ax.set_title(f"{name}: saturated stars wrong by {medians[name][0]:.1%}" if name in medians else name, fontsize=10)
    ax.set_axis_off()
axes[0, 0].imshow(np.where(known, np.nan, 1.0), cmap="autumn")

plt.show()
