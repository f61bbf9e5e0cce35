"""
Transposed is not inverse
=========================

Decoders and generators enlarge images with "transposed convolutions", also called deconvolutions. They do not undo a
convolution: the result is a different image, and it has the pattern of a checkerboard. The pseudo-inverse undoes what
can be undone. What the convolution lost, you have to choose. Needs matplotlib and pillow.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

import convmtx as cm

# sphinx_gallery_thumbnail_number = 2

with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photograph:  # it comes with matplotlib
    x = np.asarray(photograph.convert("L").crop((190, 110, 311, 231))) / 255.0

mean = np.ones((3, 3)) / 9
down = cm.conv(mean, x.shape, stride=2)
y = down(x)
print(x.shape, "->", y.shape)

# %%
# The name is exact: the matrix of the transposed convolution is the transpose of the matrix of the convolution with the
# same kernel, stride and pads.

up = cm.conv_transpose(mean, y.shape, stride=2)
assert (up.to_sparse() != down.to_sparse().T).nnz == 0

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, op in zip(axes, (cm.conv([1, 2, 3], 13, stride=2), cm.conv_transpose([1, 2, 3], 6, stride=2)), strict=True):
    cm.plot.matrix(op, ax, values=True)
axes[0].set_title("convolution, stride 2")
axes[1].set_title("transposed")

# %%
# The cause of the checkerboard: at stride 2, a kernel of 3 x 3 writes to a pixel 1, 2 or 4 times. So a constant input
# does not give a constant output. It does if the size of the kernel is a multiple of the stride.

written = {}
for k in (3, 4):
    enlarge = cm.conv_transpose(np.ones((k, k)), (8, 8), stride=2)
    written[k] = enlarge(np.ones((8, 8)))
    print(f"kernel {k} x {k}: a pixel inside is written to", *np.unique(written[k][k:-k, k:-k]).astype(int), "times")

# %%
# The pseudo-inverse is a map too. Of all images that ``down`` maps to ``y``, it returns the shortest. The image of the
# transposed convolution is not one of them. Both are sums of the same overlapping kernels, so both have the pattern. A
# better choice is the smoothest image that ``down`` maps to ``y``. A penalty on the Laplacian finds it.

undo = cm.pinv(down)
laplacian = [[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]
rough = cm.conv(laplacian, x.shape, padding="same", boundary="symmetric")
smoothest = cm.solve(down, y, damp=1e-3, regularizer=rough, rtol=1e-5)
back = {"transposed, times 4": 4 * up(y), "pseudo-inverse": undo(y), "smoothest": smoothest.x}
for name, image in back.items():
    far = np.linalg.norm(image - x) / np.linalg.norm(x)
    again = np.abs(down(image) - y).max()
    print(f"{name:20} relative error {far:.3f}, farthest from y when applied again {again:.1e}")
    assert (again > 0.1) == name.startswith("transposed")
print("pseudo-inverse:", undo)
print("smoothest:", smoothest.method, "in", smoothest.iterations, "steps")

shown = {"image": x, "convolved, stride 2": y, "written to, of a constant": written[3] / 4, **back}
figure, axes = plt.subplots(2, 3, figsize=(10, 7), layout="constrained")
for ax, (name, image) in zip(axes.flat, shown.items(), strict=True):
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()

plt.show()
