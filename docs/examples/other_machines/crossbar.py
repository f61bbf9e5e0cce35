"""
Analog hardware: a layer on crossbars
=====================================

A crossbar of memory cells multiplies a vector by a matrix, for example of 64 x 64, in one step. The matrix of a layer
is cut into tiles of this size. A tile that contains only zeros needs no crossbar. How many crossbars does a layer need,
and how much of each is used? This depends more on the order of the channels than on the layer. Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import convmtx as cm

rng = np.random.default_rng(0)
kernel = rng.standard_normal((3, 3, 16, 32))
last = cm.conv(kernel, (16, 16, 16), padding="same")
first = cm.conv(kernel.transpose(3, 2, 0, 1), (16, 16, 16), padding="same", channels="first")
print(f"{last.shape[0]} x {last.shape[1]}, {last.nnz} entries")

# %%
# ``rows=`` builds one row of tiles at a time. So you can also cut a matrix that does not fit in memory.


def rows_of_tiles(op, tile):
    for start in range(0, op.shape[0], tile):
        yield op.to_sparse("csr", rows=slice(start, min(start + tile, op.shape[0])))


def count_entries(op, tile):
    """Number of entries in each tile."""
    across = -(-op.shape[1] // tile)
    return np.stack([np.bincount(strip.indices // tile, minlength=across) for strip in rows_of_tiles(op, tile)])


# %%
# With channels last, the channels of a pixel are neighbours in the matrix. They form small full blocks, which fill few
# tiles. With channels first, each tile gets a few entries of many pairs of channels.

counts = {}
print("tile   channels   crossbars   of      used")
for tile in (64, 128):
    for name, op in {"last": last, "first": first}.items():
        counts[tile, name] = count = count_entries(op, tile)
        assert count.sum() == op.nnz
        needed = count[count > 0]
        print(f"{tile:<7}{name:11}{needed.size:<12}{count.size:<8}{needed.mean() / tile**2:.1%}")

figure, axes = plt.subplots(1, 2, figsize=(9, 6.5), layout="constrained")
for ax, name in zip(axes, ("last", "first"), strict=True):
    share = counts[64, name] / 64**2
    picture = ax.imshow(np.where(share > 0, share, np.nan), vmin=0, vmax=0.65)
    ax.set(title=f"channels {name}: {(share > 0).sum()} tiles of 64 x 64", xlabel="inputs / 64", ylabel="outputs / 64")
figure.colorbar(picture, ax=axes, label="used part of a tile", shrink=0.6)
assert (counts[64, "last"] > 0).sum() < (counts[64, "first"] > 0).sum() / 5

# %%
# The chip computes tile by tile, and the result is that of the layer.

x = rng.standard_normal(last.in_shape)
y = np.zeros(last.shape[0])
for r, strip in enumerate(rows_of_tiles(last, 64)):
    for c in np.flatnonzero(counts[64, "last"][r]):
        y[64 * r : 64 * r + 64] += strip[:, 64 * c : 64 * c + 64] @ x.ravel()[64 * c : 64 * c + 64]
assert np.allclose(y, last(x).ravel())

# %%
# The alternative: store the kernel as one matrix of 32 x 144 on few crossbars, and read one window after the other.

windows, tiles = last.shape[0] // 32, -(-32 // 64) * -(-144 // 64)
print(f"all at once: {(counts[64, 'last'] > 0).sum()} crossbars, 1 step")
print(f"window by window: {tiles} crossbars, {windows} steps")

plt.show()
