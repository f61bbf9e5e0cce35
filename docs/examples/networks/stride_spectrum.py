"""
Is a strided layer invertible? Its spectrum, certified
======================================================

Invertible networks, wavelets and compressive sensors use layers with stride 2 that must not lose information: the
smallest singular value must stay away from zero. On a circle (wrap) all singular values follow from the structure. With
zeros outside they do not, but each lies in an interval that needs no decomposition of the matrix. Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import convmtx as cm

# Haar's wavelets plus small random numbers, as after some training: one channel to four, at a quarter of the places.
haar = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
kernel = 0.1 * np.random.default_rng(0).standard_normal((3, 3, 1, 4))
kernel[:2, :2, 0] += np.einsum("pi,qj->pqij", haar, haar).reshape(2, 2, 4)
ring = cm.conv(kernel, (32, 32, 1), stride=2, padding="same", boundary="wrap")
full = cm.conv(kernel, (32, 32, 1), stride=2, padding="full")
print("on a circle ", ring.shape, "  zeros around", full.shape)

# %%
# On a circle, stride 2 couples groups of four frequencies of the input. For each group there is a matrix of 4 x 4. The
# singular values of these matrices are those of the layer. ``cm.symbol`` returns the same matrices.

exact = cm.svdvals(ring)
print(exact)
symbols = cm.symbol(ring, 32)
print("symbol", symbols.shape)
from_symbols = np.sort(np.linalg.svd(symbols, compute_uv=False).ravel())[::-1]
assert np.allclose(exact, from_symbols)

# %%
# With zeros outside, the matrix is a part of the matrix of a larger circle, and the singular values of both interlace.
# With ``full`` only columns are missing. So even the smallest value has a lower bound.

bounds = cm.singular_value_bounds(full)
print(bounds)
print(f"the smallest is at least {bounds.lower[-1]:.3f}, so the layer is invertible")

# %%
# Compare with a decomposition of the whole matrix, which is possible at this size. Each value lies in its interval.

true = np.linalg.svd(full.to_dense(), compute_uv=False)
assert np.all(bounds.lower <= true + 1e-12)
assert np.all(true <= bounds.upper + 1e-12)
print(f"smallest: {true[-1]:.3f} with zeros around, {exact[-1]:.3f} on the circle")
print(f"largest:  {true[0]:.3f} with zeros around, {exact[0]:.3f} on the circle")

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
cm.plot.spectrum(ring, axes[0])
axes[0].set_title("on a circle")
cm.plot.spectrum(full, axes[1])
axes[1].plot(np.arange(1, true.size + 1), true, "k:", label="decomposition")
axes[1].set_title("zeros around")
axes[1].legend()

# %%
# The same for an image whose matrix is too large to decompose.

large = cm.conv(kernel, (512, 512, 1), stride=2, padding="full")
bounds = cm.singular_value_bounds(large)
print(f"{large.shape[0]} x {large.shape[1]}: between {bounds.lower[-1]:.3f} and {bounds.upper[0]:.3f}")
assert bounds.lower[-1] > 0.7

plt.show()
