"""
Encrypted inference: a layer as generalized diagonals
=====================================================

Homomorphic encryption can add two encrypted vectors, multiply one with known numbers, and rotate it; rotations are what
costs. A matrix is then applied diagonal by diagonal (Halevi, Shoup, CRYPTO 2014): one rotation for each generalized
diagonal that is not zero. Whoever compiles a network for it needs these diagonals, and few of them. Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import convmtx as cm

rng = np.random.default_rng(0)


def diagonals(op, slots, places=None):
    """``d[k][i] = W[i, (i + k) % slots]`` for every k with an entry; output m goes to slot ``places[m]``."""
    matrix = op.to_sparse("coo")
    rows = matrix.row if places is None else places[matrix.row]
    found = {}
    for k in np.unique((matrix.col - rows) % slots):
        here = (matrix.col - rows) % slots == k
        found[int(k)] = np.zeros(slots)
        found[int(k)][rows[here]] = matrix.data[here]
    return found


def encrypted(found, x):
    """What the server computes: rotations, products with known numbers, sums."""
    return sum(diagonal * np.roll(x, -k) for k, diagonal in found.items())


# %%
# An image of 32 x 32 pixels fills 1024 slots. At stride 1 a kernel of 3 x 3 is nine diagonals, one for each tap.

image = rng.standard_normal((32, 32))
taps = rng.standard_normal((3, 3))
plain = cm.conv(taps, image.shape, padding="same")
found = diagonals(plain, 1024)
print(sorted(found))
assert np.allclose(encrypted(found, image.ravel()), plain(image).ravel())

# %%
# At stride 2 the outputs, packed one after the other, slide away from their inputs: most diagonals have an entry.
# Left at the slot of the pixel that they belong to, with gaps between them, they need the same nine.

strided = cm.conv(taps, image.shape, padding="same", stride=2)
gaps = np.arange(1024).reshape(32, 32)[::2, ::2].ravel()
for name, places in {"packed": np.arange(256), "with gaps": gaps}.items():
    found = diagonals(strided, 1024, places)
    print(f"stride 2, {name:10}{len(found):4} diagonals")
    assert np.allclose(encrypted(found, image.ravel())[places], strided(image).ravel())

# %%
# Gaps can hold channels: four channels to sixteen at stride 2, the sixteen outputs of a place in the gaps of four maps.
# Layers in the order of a framework, one channel after the other, need 64 times as many rotations.

several = cm.conv(rng.standard_normal((16, 4, 3, 3)), (4, 32, 32), padding="same", stride=2, channels="first")
shuffled = np.arange(4096).reshape(4, 16, 2, 16, 2).transpose(0, 2, 4, 1, 3).ravel()  # slots, as pixel shuffle has them
x = rng.standard_normal(several.in_shape)
counts = {}
for name, places in {"channel by channel": np.arange(4096), "shuffled": shuffled}.items():
    found = diagonals(several, 4096, places)
    counts[name] = len(found)
    print(f"4 to 16 channels, {name:20}{len(found):5} diagonals")
    assert np.allclose(encrypted(found, x.ravel())[places], several(x).ravel())
assert counts["shuffled"] * 64 == counts["channel by channel"]

# %%
# Drawn for 8 x 8 pixels: with gaps, the entries of each tap are on one line.

small = cm.conv(taps, (8, 8), padding="same", stride=2)
slots = np.arange(64).reshape(8, 8)[::2, ::2].ravel()
matrix = small.to_sparse("coo")
figure, axes = plt.subplots(1, 2, figsize=(10, 5.6), layout="constrained")
for ax, places, title in zip(axes, (np.arange(16), slots), ("packed", "with gaps"), strict=True):
    ax.scatter(matrix.col, places[matrix.row], c=(matrix.col - places[matrix.row]) % 64, cmap="tab20", marker="s", s=14)
    ax.set(title=f"{title}: {len(diagonals(small, 64, places))} diagonals", xlabel="input slot")
    ax.set(ylabel="output slot", xlim=(-1, 64), ylim=(64, -1), aspect="equal")

plt.show()
