"""
Deblurring with constraints, in CVXPY
=====================================

Who knows more of the image than its blur, that it lies between 0 and 1 and has few edges, states that as a convex
problem. CVXPY has no convolution of images; it takes the blur as the sparse matrix that it is, made once and used again
for each weight. Needs cvxpy and matplotlib.
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
# The unknown image is a vector, so that the matrix applies to it. Misfit and total variation are made small together.

image = cvxpy.Variable(blur.shape[1])
misfit = cvxpy.sum_squares(blur.to_sparse() @ image - seen.ravel())
weight = cvxpy.Parameter(nonneg=True)
variation = cvxpy.tv(cvxpy.reshape(image, true.shape, order="C"))
problem = cvxpy.Problem(cvxpy.Minimize(misfit + weight * variation), [image >= 0, image <= 1])


def error(each):
    return np.linalg.norm(each - true) / np.linalg.norm(true)


restored = {}
for weight.value in (0.0005, 0.005, 0.05):
    problem.solve(solver=cvxpy.CLARABEL)
    restored[f"weight {weight.value}"] = image.value.reshape(true.shape)

# %%
# Beside it, damped least squares, which knows nothing of edges.

damp = cm.choose_damp(blur, seen, "discrepancy", noise=0.02).damp
shown = {"true": true, "blurred": seen, "damped": cm.solve(blur, seen, damp=damp).x, **restored}
for name, each in shown.items():
    print(f"{name:14} relative error {error(each):.3f}")
assert error(restored["weight 0.005"]) < min(error(shown["damped"]), error(seen) / 2)

figure, axes = plt.subplots(1, len(shown), figsize=(12, 2.4), layout="constrained")
for ax, (name, each) in zip(axes, shown.items(), strict=True):
    ax.imshow(each, cmap="gray", vmin=0, vmax=1)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()

plt.show()
