"""
Deblurring with constraints, in CVXPY
=====================================

Suppose that you know more about an image than its blur: its values lie between 0 and 1, and it has few edges. You can
state this as a convex problem. CVXPY has no convolution of images, but it accepts the blur as a sparse matrix. The
matrix is built once and used for every weight. Needs cvxpy and matplotlib.
"""

import cvxpy
import matplotlib.pyplot as plt
import numpy as np

import convmtx as cm

true = np.zeros((24, 24))
true[6:14, 5:19] = 1.0
true[16:20, 9:13] = 0.5

line = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
blur = cm.conv(np.outer(line, line), true.shape, padding="same", boundary="symmetric")
seen = blur(true) + 0.02 * np.random.default_rng(0).standard_normal(true.shape)

# %%
# The unknown image is a vector, so that we can multiply it by the matrix. Minimize misfit and total variation together.

image = cvxpy.Variable(blur.shape[1])
misfit = cvxpy.sum_squares(blur.to_sparse() @ image - seen.ravel())
weight = cvxpy.Parameter(nonneg=True)
variation = cvxpy.tv(cvxpy.reshape(image, true.shape, order="C"))
problem = cvxpy.Problem(cvxpy.Minimize(misfit + weight * variation), [image >= 0, image <= 1])


def relative_error(picture):
    return np.linalg.norm(picture - true) / np.linalg.norm(true)


restored = {}
for weight.value in (0.0005, 0.005, 0.05):
    problem.solve(solver=cvxpy.CLARABEL)
    restored[f"weight {weight.value}"] = image.value.reshape(true.shape)

# %%
# Compare with damped least squares, which does not know about edges.

damp = cm.choose_damp(blur, seen, "discrepancy", noise=0.02).damp
shown = {"true": true, "blurred": seen, "damped": cm.solve(blur, seen, damp=damp).x, **restored}
for name, picture in shown.items():
    print(f"{name:14} relative error {relative_error(picture):.3f}")
assert relative_error(restored["weight 0.005"]) < min(relative_error(shown["damped"]), relative_error(seen) / 2)

figure, axes = plt.subplots(1, len(shown), figsize=(12, 2.4), layout="constrained")
for ax, (name, picture) in zip(axes, shown.items(), strict=True):
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()

plt.show()
