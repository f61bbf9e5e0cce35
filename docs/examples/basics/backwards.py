"""
Which convolution is it?
========================

Somebody's filter is only a function, and somebody's layer only a matrix. ``cm.recognize`` returns the convolution that
it is: kernel, stride, dilation, padding and boundary. If it is none, it says which entries are wrong. Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

import convmtx as cm

# %%
# Filters of SciPy as black boxes. Each is applied to a few arrays only, however large they are.

filters = {
    "gaussian_filter": lambda x: ndimage.gaussian_filter(x, 1.5, radius=4),
    "sobel": lambda x: ndimage.sobel(x, mode="nearest"),
    "every third mean": lambda x: ndimage.uniform_filter(x, 5, mode="wrap")[::3, 1::3],
    "shifted difference": lambda x: x[4:] - x[:-4],
}
results = {name: cm.recognize(f, (300, 451)) for name, f in filters.items()}
for name, result in results.items():
    print(f"{name}, applied to {result.applications} arrays of {300 * 451} pixels:\n    {result.call}")

# %%
# The kernel is that of a correlation, and ``result.op`` is the map, with its matrix, adjoint, norm and solves.

image = np.random.default_rng(0).standard_normal((300, 451))
for name, f in filters.items():
    assert np.allclose(results[name].op(image), f(image), atol=1e-13)
blur = results["gaussian_filter"].op
print(f"norm of gaussian_filter: {float(cm.norm(blur)):.6f}")

# %%
# What depends on the data in another way is refused.

try:
    cm.recognize(lambda x: ndimage.median_filter(x, 3), (300, 451))
except ValueError as error:
    print(error)

# %%
# Now a matrix. It was written by hand, one entry is wrong, and its kernel was lost.

written = cm.conv([[1, 2, 3], [4, 5, 6], [7, 8, 9]], (9, 11), stride=2, padding=1).to_sparse()
written[13, 47] = 9
result = cm.recognize(written, (9, 11), (5, 6))
[wrong] = result.differs
print(result.verdict)
print(result.op.kernel)

# %%
# The order in which arrays were flattened is found as well. Here it is column by column, as in MATLAB.

other = cm.recognize(result.op.to_sparse(order="F"), (9, 11), (5, 6))
print(other.verdict)

# %%
# The kernels of the filters, and the wrong entry in the matrix.

figure = plt.figure(figsize=(9, 6.2), layout="constrained")
axes = figure.subplot_mosaic([[0, 1, 2, 3], ["matrix"] * 4], height_ratios=[1, 1.9])
for j, (name, found) in enumerate(results.items()):
    size = np.abs(found.op.kernel).max()
    axes[j].imshow(found.op.kernel, cmap="RdBu_r", vmin=-size, vmax=size)
    axes[j].set(title=name, xticks=[], yticks=[])
ax = cm.plot.matrix(result.op, axes["matrix"])
row = np.ravel_multi_index(wrong.output, result.op.out_shape)
column = np.ravel_multi_index(wrong.input, result.op.in_shape)
ax.plot(column, row, "o", mfc="none", mec="red", ms=16, mew=2)
ax.set_title(f"output {wrong.output}, input {wrong.input}: {wrong.theirs} instead of {wrong.ours}")

plt.show()
