"""
A blur that varies over the image
=================================

A simple lens is sharp at the centre, and gives points of light a tail towards the corners. Its point-spread function is
measured at a few places, and mixed between them. ``cm.varying`` is that map, with an exact adjoint. If you know the
point-spread function at every pixel, take ``cm.local``. Needs matplotlib and pillow.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

import convmtx as cm

with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photograph:  # it comes with matplotlib
    true = np.asarray(photograph.convert("L").crop((160, 64, 256, 160))) / 255.0
size = len(true)
offsets = np.arange(-7, 8.0)


def spread(row, column):
    """Return what becomes of a point of light at this pixel: a bell with a tail away from the centre."""
    y, x = np.array([row, column]) / size - 0.5
    angle = np.arctan2(y, x)
    outwards = np.cos(angle) * offsets + np.sin(angle) * offsets[:, None]
    across = np.cos(angle) * offsets[:, None] - np.sin(angle) * offsets
    tail = np.where(outwards > 0, 1 + 4 * np.hypot(y, x), 1)
    psf = np.exp(-(across**2 + (outwards / tail) ** 2) / 2)
    return psf / psf.sum()


# %%
# Measure it at 5 x 5 pixels, which are 24 pixels apart. The weights say how much of each function there is at a pixel:
# at most four of them, as in bilinear interpolation. The arrays show a point as it spreads, hence ``flip=True``.

places = np.linspace(0, size, 5)
hats = np.maximum(0, 1 - abs(np.arange(size) - places[:, None]) / 24)  # (5, size)
psfs = np.array([spread(row, column) for row in places for column in places])
weights = (hats[:, None, :, None] * hats[None, :, None, :]).reshape(25, size, size)
blur = cm.varying(psfs, weights, true.shape, padding="same", flip=True)
print("kernels", psfs.shape, " weights", weights.shape, " matrix", blur.shape)

x, y = np.random.default_rng(0).random((2, *true.shape))
assert np.isclose(np.vdot(blur(x), y), np.vdot(x, blur.H(y)))  # the adjoint
S = blur.to_sparse()  # written in closed form, from the 25 kernels mixed at each pixel
assert np.allclose(S @ x.ravel(), blur(x).ravel())

# %%
# The lens itself has an own function at each of the 9216 pixels.

every = np.array([[spread(row, column) for column in range(size)] for row in range(size)])
lens = cm.local(every, true.shape, per="input", padding="same", flip=True)
seen = lens(true) + 0.002 * np.random.default_rng(1).standard_normal(true.shape)
error = np.linalg.norm(blur(true) - lens(true)) / np.linalg.norm(lens(true))
print(f"{every.size} numbers instead of {psfs.size + weights.size}; the mixed map is off by {error:.2%}")
assert error < 0.02

# %%
# Deblur with the function at the centre for the whole image, with the 25 mixed functions, and with all of them.

centre = cm.conv(spread(size / 2, size / 2), true.shape, padding="same", flip=True)
rough = cm.conv([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]], true.shape, padding=1, boundary="symmetric")
images = {"seen": seen}
for name, op in (("one function", centre), ("25 functions", blur), ("9216 functions", lens)):
    images[name] = cm.solve(op, seen, damp=0.02, regularizer=rough, rtol=1e-4).x
levels = {name: -10 * np.log10(np.mean((image - true) ** 2)) for name, image in images.items()}
for name, level in levels.items():
    print(f"{name:15}{level:6.2f} dB")
assert levels["25 functions"] > levels["one function"] + 2

points = np.zeros(true.shape)
points[8::16, 8::16] = 8
shown = {"a grid of points": lens(points), **images, "true": true}
figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
for ax, (name, image) in zip(axes.flat, shown.items(), strict=True):
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"{name}: {levels[name]:.1f} dB" if name in levels else name, fontsize=10)
    ax.set_axis_off()

plt.show()
