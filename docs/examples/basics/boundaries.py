"""
One kernel, five boundaries
===========================

Near the end of an image, a kernel reads past the end. The boundary rule decides what it reads there. This changes only
a few rows of the matrix. But these rows decide whether constants stay constant, whether the sum of an image is kept,
and what its ends look like. To deblur, to differentiate or to pad a layer, you choose one of the five rules.
Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import convmtx as cm

kernel = np.array([1.0, 2.0, 4.0, 2.0, 1.0]) / 10
names = ["zero", "wrap", "reflect", "symmetric", "edge"]
maps = {name: cm.conv(kernel, 9, padding="same", boundary=name) for name in names}

# %%
# The middle rows of the five matrices are the same. In the first two and the last two rows, the entries that belong
# outside are dropped (zero), come in at the other end (wrap), or are added to an entry inside (the other three).

figure, axes = plt.subplots(2, 3, figsize=(10, 7), layout="constrained")
figure.get_layout_engine().set(hspace=0.1)
for ax, (name, op) in zip(axes.flat, maps.items(), strict=False):
    cm.plot.matrix(op, ax)
    ax.set_title(name)
    legend = ax.get_legend()
    legend.remove()
axes[1, 2].set_axis_off()
axes[1, 2].legend(handles=legend.legend_handles, loc="center")

inner = maps["zero"].to_dense()[2:-2]
assert all(np.array_equal(op.to_dense()[2:-2], inner) for op in maps.values())

# %%
# If every row sums to the kernel's sum, constants stay constant. If every column does, the sum of every input is kept.

print("boundary   keeps constants   keeps sums")
kept = {}
for name, op in maps.items():
    kept[name] = [np.allclose(op.to_dense().sum(axis), kernel.sum()) for axis in (1, 0)]
    print(f"{name:11}{kept[name][0]!s:18}{kept[name][1]}")
assert kept["wrap"] == kept["symmetric"] == [True, True]
assert not any(kept["zero"])

# %%
# Now smooth a signal with a slope. Zeros pull its ends down, and the circle joins its two ends. The other three rules
# guess values outside. In the middle all outputs are the same.

x = np.linspace(1, 2, 60) + 0.1 * np.sin(np.arange(60))
hann = np.hanning(17)[1:-1] / 8
outputs = {name: cm.conv(hann, x.shape, padding="same", boundary=name)(x) for name in names}

figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
ax.plot(x, color="0.6", lw=4, label="input")
for name, y in outputs.items():
    ax.plot(y, label=name)
ax.legend()

for name, y in outputs.items():
    error = np.abs(y - np.linspace(1, 2, 60))
    ends, middle = error.max(), error[7:-7].max()
    print(f"{name:10} farthest from the slope: at the ends {ends:.2f}, in the middle {middle:.2f}")
    assert np.allclose(y[7:-7], outputs["zero"][7:-7])

plt.show()
