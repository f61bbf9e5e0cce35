"""
A filter, from an image before and after it
===========================================

What does the filter of a program do, and does it flip the kernel? One image before and after the filter is enough to
find out: the output is linear in the kernel too, so ``cm.fit_kernel`` computes the kernel by least squares. Here we use
filters of Pillow, whose kernels are documented. Needs matplotlib and pillow.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageFilter

import convmtx as cm

with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photograph:  # it comes with matplotlib
    before = photograph.convert("L").crop((128, 32, 384, 288)).point(lambda value: 80 + value // 3)
x = np.asarray(before, float)  # with a third of the contrast, so that no filtered value is cut off at 0 or 255

# %%
# How large is the kernel? Try larger sizes until the misfit no longer decreases. Pixels are whole numbers. Rounding to
# them gives an error of standard deviation ``1 / sqrt(12)``, or no error if the taps are whole numbers. At the right
# size the misfit is just this error.


def fit(y, size):
    """Return the kernel, and the standard deviation of the misfit over all complete windows."""
    edge = size // 2
    inner = y[edge : y.shape[0] - edge, edge : y.shape[1] - edge]
    kernel = cm.fit_kernel(x, inner, (size, size))
    return kernel, np.std(cm.conv(kernel, x.shape)(x) - inner)


filters = {"SMOOTH_MORE": ImageFilter.SMOOTH_MORE, "SHARPEN": ImageFilter.SHARPEN, "EMBOSS": ImageFilter.EMBOSS}
after = {name: np.asarray(before.filter(f), float) - f.filterargs[2] for name, f in filters.items()}  # less an offset
print(f"rounding: {12**-0.5:.3f}")
for name, y in after.items():
    print(f"{name:12}", *(f" {size} x {size}: {fit(y, size)[1]:.3f}" for size in (1, 3, 5, 7)))

# %%
# The kernels, in Pillow's units. EMBOSS shows the direction: Pillow documents -1 in the upper left corner, but the
# filter has it in the lower left one.

learned, documented = {}, {}
for name, pillow_filter in filters.items():
    shape, scale, _, taps = pillow_filter.filterargs
    learned[name] = fit(after[name], shape[0])[0] * scale
    documented[name] = np.reshape(taps, shape)
    print(name, "learned, and documented:")
    print(np.hstack([learned[name].round(1) + 0, documented[name]]))
    assert np.abs(learned[name] - documented[name][::-1]).max() < 0.2

# %%
# The output of each filter, and its kernel.

figure, axes = plt.subplots(2, 3, figsize=(8, 6), layout="constrained")
for (above, below), (name, y) in zip(axes.T, after.items(), strict=True):
    above.imshow(y, cmap="gray")
    above.set_title(name)
    above.set_axis_off()
    cm.plot.kernel(cm.conv(learned[name].round(1) + 0, x.shape), below)
    below.set(title="its kernel", xticks=[], yticks=[])

plt.show()
