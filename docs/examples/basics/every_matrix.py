"""
Every matrix of one kernel
==========================

For people who teach or learn convolutions: the kernel (1, 2, 3), and eight matrices that textbooks and libraries build
from it. Each row is an output, each column an input, and each colour one entry of the kernel. Needs matplotlib.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import circulant, convolution_matrix

import convmtx as cm

K, n = [1, 2, 3], 7
maps = {
    "valid: whole windows only": cm.conv(K, n),
    "same: as many outputs as inputs": cm.conv(K, n, padding="same"),
    "full: every window that touches": cm.conv(K, n, padding="full"),
    "wrap: on a circle": cm.conv(K, n, padding="same", boundary="wrap"),
    "stride 2: every second row": cm.conv(K, n, padding="same", stride=2),
    "dilation 2: taps farther apart": cm.conv(K, n, padding="same", dilation=2),
    "flip: convolution, not correlation": cm.conv(K, n, padding="full", flip=True),
    "transposed, stride 2": cm.conv_transpose(K, 4, stride=2, padding=1),
}

figure, axes = plt.subplots(4, 2, figsize=(8, 13), layout="constrained")
for ax, (title, op) in zip(axes.flat, maps.items(), strict=True):
    cm.plot.matrix(op, ax, values=True)
    ax.set_title(title)
    ax.get_legend().remove()

# %%
# Check what the titles say. Some of the matrices come from other libraries too. The others follow from each other.

valid, same, full, ring, strided, dilated, flipped, transposed = (op.to_dense() for op in maps.values())
assert np.array_equal(valid, full[2:-2])
assert np.array_equal(same, full[1:-1])
assert np.array_equal(strided, same[::2])
assert np.array_equal(flipped, convolution_matrix(K, n))
assert np.array_equal(full, convolution_matrix(K[::-1], n))
assert np.array_equal(ring, circulant([2, 1, 0, 0, 0, 0, 3]))
assert np.array_equal(dilated, cm.conv([1, 0, 2, 0, 3], n, padding="same").to_dense())
assert np.array_equal(transposed, strided.T)
for title, op in maps.items():
    print(f"{title:36}{op.shape[0]} x {op.shape[1]}, {op.nnz} entries")

# %%
# An interactive page: ``cm.explore`` writes one HTML file. It shows kernel, input, output and matrix side by side, with
# sliders for stride, dilation, padding and boundary. The file needs no network, so you can give it to students.

page = cm.explore(maps["stride 2: every second row"], Path(tempfile.mkdtemp()) / "conv.html")
print(page.name, f"{page.stat().st_size / 1000:.0f} kB")

plt.show()
