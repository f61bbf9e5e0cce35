"""
Encrypted inference: a layer as generalized diagonals
=====================================================

Homomorphic encryption can add two encrypted vectors, multiply one by known numbers, and rotate it. The rotations are
expensive. So a matrix is applied diagonal by diagonal (Halevi, Shoup, CRYPTO 2014), with one rotation for each
generalized diagonal that is not zero. To compile a network you need these diagonals, and only a few of them.
Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import convmtx as cm

rng = np.random.default_rng(0)


def diagonals(op, slots, places=None):
    """Return ``d[k][i] = W[i, (i + k) % slots]`` for every k with an entry; output m is in slot ``places[m]``."""
    matrix = op.to_sparse("coo")
    rows = matrix.row if places is None else places[matrix.row]
    vectors = {}
    for k in np.unique((matrix.col - rows) % slots):
        here = (matrix.col - rows) % slots == k
        vectors[int(k)] = np.zeros(slots)
        vectors[int(k)][rows[here]] = matrix.data[here]
    return vectors


def apply_diagonals(vectors, x):
    """Compute as the server does: rotations, products with known numbers, sums."""
    return sum(vector * np.roll(x, -k) for k, vector in vectors.items())


# %%
# An image of 32 x 32 pixels fills 1024 slots. At stride 1 a kernel of 3 x 3 has nine diagonals, one for each tap.

image = rng.standard_normal((32, 32))
taps = rng.standard_normal((3, 3))
plain = cm.conv(taps, image.shape, padding="same")
vectors = diagonals(plain, 1024)
print(sorted(vectors))
assert np.allclose(apply_diagonals(vectors, image.ravel()), plain(image).ravel())

# %%
# At stride 2, pack the outputs one after the other. They move away from their inputs, so most diagonals have an entry.
# Instead, leave each output in the slot of its pixel, with gaps between them. Then the same nine diagonals are enough.

strided = cm.conv(taps, image.shape, padding="same", stride=2)
gaps = np.arange(1024).reshape(32, 32)[::2, ::2].ravel()
for name, places in {"packed": np.arange(256), "with gaps": gaps}.items():
    vectors = diagonals(strided, 1024, places)
    print(f"stride 2, {name:10}{len(vectors):4} diagonals")
    assert np.allclose(apply_diagonals(vectors, image.ravel())[places], strided(image).ravel())

# %%
# The gaps can hold channels. Take a layer from 4 to 16 channels at stride 2: the 16 outputs of a place go into the gaps
# of 4 images. In the order of a framework, one channel after the other, it needs 64 times as many rotations.

layer = cm.conv(rng.standard_normal((16, 4, 3, 3)), (4, 32, 32), padding="same", stride=2, channels="first")
shuffled = np.arange(4096).reshape(4, 16, 2, 16, 2).transpose(0, 2, 4, 1, 3).ravel()  # slots, as pixel shuffle has them
x = rng.standard_normal(layer.in_shape)
counts = {}
for name, places in {"channel by channel": np.arange(4096), "shuffled": shuffled}.items():
    vectors = diagonals(layer, 4096, places)
    counts[name] = len(vectors)
    print(f"4 to 16 channels, {name:20}{len(vectors):5} diagonals")
    assert np.allclose(apply_diagonals(vectors, x.ravel())[places], layer(x).ravel())
assert counts["shuffled"] * 64 == counts["channel by channel"]

# %%
# A picture for 8 x 8 pixels: with gaps, the entries of each tap are on one line.

small = cm.conv(taps, (8, 8), padding="same", stride=2)
slots = np.arange(64).reshape(8, 8)[::2, ::2].ravel()
matrix = small.to_sparse("coo")
figure, axes = plt.subplots(1, 2, figsize=(10, 5.6), layout="constrained")
for ax, places, title in zip(axes, (np.arange(16), slots), ("packed", "with gaps"), strict=True):
    ax.scatter(matrix.col, places[matrix.row], c=(matrix.col - places[matrix.row]) % 64, cmap="tab20", marker="s", s=14)
    ax.set(title=f"{title}: {len(diagonals(small, 64, places))} diagonals", xlabel="input slot")
    ax.set(ylabel="output slot", xlim=(-1, 64), ylim=(64, -1), aspect="equal")

plt.show()
