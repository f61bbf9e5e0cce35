"""
The tensor of a convolution
===========================

A kernel ``K`` of shape ``(k1, k2, n_channel, n_filter)`` acts on an array ``A`` of shape ``(m1, m2, n_channel)``. We
want the tensor ``W_K`` with ``B = np.tensordot(W_K, A, 3)``, without Python loops. You need this tensor to prove
something about a layer, to differentiate it, or to pass it to a program that knows only linear algebra. The matrix has
the same numbers in another shape. Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import convmtx as cm

# sphinx_gallery_thumbnail_number = 2

rng = np.random.default_rng(0)
A = rng.standard_normal((4, 5, 2))
K = rng.standard_normal((2, 3, 2, 2))

# %%
# One call builds the map, another the tensor. ``W_K.shape`` is the shape of the output, and then that of the input.

op = cm.conv(K, A.shape)
W_K = op.to_tensor()
B = np.tensordot(W_K, A, 3)
print("W_K", W_K.shape, " B", B.shape)

# %%
# Compare with the definition, written with loops.

expected = np.zeros(op.out_shape)
for i, j in np.ndindex(op.out_shape[:2]):
    expected[i, j] = np.tensordot(A[i : i + 2, j : j + 3], K, 3)
assert np.allclose(B, expected)
assert np.allclose(B, op(A))  # applying the map needs no tensor at all

# %%
# For each output pixel, draw the entries of ``W_K`` for the first channel and the first filter. The kernel moves with
# the output. Everything else is zero.

rows, columns = op.out_shape[:2]
figure, axes = plt.subplots(rows, columns, figsize=(6, 5), layout="constrained")
for (i, j), ax in np.ndenumerate(axes):
    ax.imshow(W_K[i, j, 0, :, :, 0], cmap="RdBu", vmin=-2, vmax=2)
    ax.set(title=f"W_K[{i}, {j}, 0, :, :, 0]", xticks=[], yticks=[])
    ax.title.set_size(9)

# %%
# The matrix is ``W_K`` with the output axes and the input axes flattened. It has one row for each output and one column
# for each input. The picture has one colour for each entry of the kernel.

assert np.array_equal(op.to_dense(), W_K.reshape(op.shape))
figure, ax = plt.subplots(figsize=(9, 5), layout="constrained")
cm.plot.matrix(op, ax)

# %%
# Other forms hold the same numbers in less memory.

for form, size in op.explain().bytes.items():
    print(f"{form:9}{size:6} bytes")

plt.show()
