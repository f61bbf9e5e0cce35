"""
Deblurring with missing pixels
==============================

Some pixels of a blurred photograph are missing: they are saturated, scratched, or covered by a date. If you fill them
in and deblur the result, the sharpening spreads the mistakes over the neighbours. Leave their equations out instead.
``blur[known]`` is the map to the known pixels alone, and ``cm.solve`` takes it as it takes any map.
Needs matplotlib and pillow.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from scipy.ndimage import distance_transform_edt

import convmtx as cm

with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photograph:  # it comes with matplotlib
    true = np.asarray(photograph.convert("L").crop((160, 64, 288, 192))) / 255.0

bell = np.exp(-(np.arange(-4.0, 5.0) ** 2) / 4.5)
blur = cm.conv(np.outer(bell, bell) / bell.sum() ** 2, true.shape, padding="same", boundary="symmetric")
rng = np.random.default_rng(0)
seen = blur(true) + 0.005 * rng.standard_normal(true.shape)

# %%
# Three scratches and a tenth of the other pixels are missing. An index of NumPy chooses the outputs of the map: here a
# mask, in other cases ``blur[2:-2, ::2]`` or ``blur[10, 20]``.

known = rng.random(true.shape) > 0.1
row, column = np.indices(true.shape)
for start in (-60, 5, 70):
    known &= abs(column - start - 0.6 * row) > 2.5
op = blur[known]
print(f"{op.shape[0]} equations for {op.shape[1]} pixels: {1 - known.mean():.0%} of the image is missing")
assert np.array_equal(op(true), blur(true)[known])

# %%
# The matrix has the rows of the known pixels, and no others were built.

S = op.to_sparse()
print("matrix", S.shape, f"with {S.nnz} entries, of {blur.nnz} for the whole image")
assert (blur.to_sparse()[known.ravel()] != S).nnz == 0

# %%
# Every method minimizes a misfit plus ``0.05**2 * norm(laplacian(x))**2``. The first two fill in the missing pixels,
# with zeros or with the nearest known pixel. The last one has the misfit of the known pixels alone.

rough = cm.conv([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]], true.shape, padding=1, boundary="symmetric")
nearest = seen[tuple(distance_transform_edt(~known, return_distances=False, return_indices=True))]
images = {"photograph": np.where(known, seen, 0.0)}
images["zeros, deblurred"] = cm.solve(blur, images["photograph"], damp=0.05, regularizer=rough).x
images["nearest, deblurred"] = cm.solve(blur, nearest, damp=0.05, regularizer=rough).x
solution = cm.solve(op, seen[known], damp=0.05, regularizer=rough)
images["known pixels alone"] = solution.x
assert solution.converged
images["if none were missing"] = cm.solve(blur, seen, damp=0.05, regularizer=rough).x

# %%
# Pixels that are known to be noisy need not be left out: ``cm.diagonal(1 / sigma) @ blur`` weights them.

levels = {name: -10 * np.log10(np.mean((image - true) ** 2)) for name, image in images.items()}
for name, level in levels.items():
    print(f"{name:20}{level:6.2f} dB")
assert levels["known pixels alone"] > max(levels["zeros, deblurred"], levels["nearest, deblurred"]) + 1

images["true"] = true
figure, axes = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
for ax, (name, image) in zip(axes.flat, images.items(), strict=True):
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"{name}: {levels[name]:.1f} dB" if name in levels else name, fontsize=9)
    ax.set_axis_off()

plt.show()
