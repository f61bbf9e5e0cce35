"""
Resizing as a matrix: libraries disagree
========================================

"Bicubic" is five different matrices. ``cm.resize`` gives the one of each library, without importing it: as a map with
an exact adjoint, exact singular values, and solves that take its axes apart. Needs matplotlib and pillow.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

import convmtx as cm

calls = {
    "torch": {},
    "torch, antialias=True": {"antialias": True},
    "torch, align_corners=True": {"align_corners": True},
    "onnx, antialias=True": {"like": "onnx", "antialias": True},
    "tf": {"like": "tf"},
    "pil": {"like": "pil"},
}

# %%
# One row of the matrix from 12 positions to 5: what the second output reads. PyTorch and ONNX have a steeper window
# (the slope -3/4 of Keys's cubic where others have -1/2), except PyTorch with ``antialias=True``. Pillow always
# stretches the window, so that each input counts; PyTorch's default reads 4 inputs, however many there are.

figure, axes = plt.subplots(2, 3, figsize=(9, 4.4), layout="constrained", sharex=True, sharey=True)
for ax, (name, options) in zip(axes.flat, calls.items(), strict=True):
    row = cm.resize(12, 5, "cubic", **options).to_dense()[1]
    ax.stem(row, basefmt=" ")
    ax.axhline(0, color="gray", linewidth=0.5)
    ax.set_title(f"{name}: reads {np.count_nonzero(row)}", fontsize=10)

# %%
# The map of Pillow is what Pillow does, for images of floats. (It rounds images of integers after each axis.)

with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photograph:  # it comes with matplotlib
    picture = photograph.convert("F").crop((160, 64, 352, 256))
true = np.asarray(picture)
small = (60, 50)
pillow = np.asarray(picture.resize(small[::-1], Image.Resampling.BICUBIC))
assert np.allclose(cm.resize(true.shape, small, "cubic", like="pil")(true), pillow, atol=1e-4)

# %%
# On the photograph most of them differ from Pillow, by 2 to 22 of 255 grey levels (root mean square).

maps = {name: cm.resize(true.shape, small, "cubic", **options) for name, options in calls.items()}
apart = {name: np.sqrt(np.mean((op(true) - pillow) ** 2)) for name, op in maps.items()}
for name, op in maps.items():
    print(f"{name:27}{apart[name]:6.2f} grey levels from Pillow; norm {cm.norm(op):.4f}, {op.to_sparse().nnz} entries")
assert apart["torch, antialias=True"] < 1e-3 < 1 < apart["onnx, antialias=True"] < 10 < apart["torch"]

# %%
# A small image, enlarged. The adjoint of the map is not its inverse, nor is enlarging by the same function. A
# least-squares solve is consistent with the small image; solved for the wrong library, it is not.

x = np.random.default_rng(0).random(true.shape)
y = np.random.default_rng(1).random(small)
shrink = maps["pil"]
assert np.isclose(np.vdot(shrink(x), y), np.vdot(x, shrink.H(y)))  # the adjoint
rough = cm.conv([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]], true.shape, padding=1, boundary="symmetric")
images = {"enlarged by Pillow": cm.resize(small, true.shape, "cubic", like="pil")(pillow)}
for name in ("pil", "torch"):
    images[f"solved for {name}"] = cm.solve(maps[name], pillow, damp=0.03, regularizer=rough, rtol=1e-5).x
levels = {name: np.sqrt(np.mean((image - true) ** 2)) for name, image in images.items()}
for name, level in levels.items():
    print(f"{name:20} off by {level:.2f} grey levels")
assert levels["solved for pil"] < levels["enlarged by Pillow"] < levels["solved for torch"]

figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
for ax, (name, image) in zip(axes, {"true": true, **images}.items(), strict=True):
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()

plt.show()
