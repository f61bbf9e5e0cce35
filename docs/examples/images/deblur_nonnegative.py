"""
Nonnegative deconvolution: a quadratic program
==============================================

Light is never negative. Least squares with this constraint is a quadratic program: minimize ``x P x / 2 - h x`` over
``x >= 0``, where P is the matrix of the normal equations. ``cm.gram(blur)`` is that map. Solvers that multiply take it
as it is, and solvers that factorize take its sparse matrix, which is symmetric to the last bit. Here SciPy does both.
Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from scipy.sparse.linalg import splu

import convmtx as cm

rng = np.random.default_rng(0)
true = np.zeros((40, 40))
true[tuple(rng.integers(3, 37, (2, 25)))] = rng.uniform(1, 4, 25)  # stars
bell = np.exp(-(np.arange(-4.0, 5.0) ** 2) / 3)
blur = cm.conv(np.outer(bell, bell) / bell.sum() ** 2, true.shape, padding="same")
sigma = np.where(np.arange(40) < 20, 0.005, 0.02) + np.zeros(true.shape)  # the right half is noisier
seen = blur(true) + sigma * rng.standard_normal(true.shape)

# %%
# With weights ``1 / sigma**2`` the misfit is ``norm((blur(x) - seen) / sigma)**2``.

gram = cm.gram(blur, 1 / sigma**2)
h = blur.T(seen / sigma**2)
P = gram.to_sparse("csc")
print("P", P.shape, f"with {P.nnz} entries, {P.nnz / P.shape[0] ** 2:.0%} of all")
assert (P != P.T).nnz == 0
assert np.allclose(P @ true.ravel(), gram(true).ravel())

# %%
# L-BFGS-B needs the objective and its gradient, and no matrix.


def objective(x):
    image = x.reshape(true.shape)
    slope = gram(image) - h
    return np.vdot(image, slope - h) / 2, slope.ravel()


options = {"maxiter": 5000, "maxfun": 10000, "maxcor": 30, "ftol": 0, "gtol": 1e-5}
first = minimize(objective, h.ravel(), jac=True, method="L-BFGS-B", bounds=[(0, None)] * true.size, options=options)
print(first.nit, "iterations;", np.count_nonzero(first.x), "pixels are positive")

# %%
# The last digits need the matrix. The positive pixels solve a linear system, which has their rows and columns of P. The
# solution is optimal if no pixel is negative, and if the objective rises from all pixels that are zero.

positive = first.x > 0
x = np.zeros(true.size)
x[positive] = splu(P[positive][:, positive]).solve(h.ravel()[positive])
slope = P @ x - h.ravel()
print(f"smallest positive pixel {x[positive].min():.1e}, smallest slope at zero {slope[~positive].min():.1e}")
assert x[positive].min() > 0
assert slope[~positive].min() > 0
assert abs(slope[positive]).max() < 1e-9 * abs(h).max()
assert np.allclose(x, first.x, atol=1e-3)

# %%
# Damped least squares with the same weights has negative pixels around each star, here with about the best damp.

damped = cm.solve(cm.diagonal(1 / sigma) @ blur, seen / sigma, damp=3).x
images = {"true": true, "seen": seen, "damped least squares": damped, "nonnegative": x.reshape(true.shape)}
errors = {name: np.linalg.norm(image - true) / np.linalg.norm(true) for name, image in images.items()}
for name, image in images.items():
    print(f"{name:22} relative error {errors[name]:.2f}, least pixel {image.min():6.2f}")
assert errors["nonnegative"] < errors["damped least squares"] / 2

figure, axes = plt.subplots(2, 2, figsize=(7, 7), layout="constrained")
for ax, (name, image) in zip(axes.flat, images.items(), strict=True):
    ax.imshow(image, cmap="RdBu_r", vmin=-2, vmax=2)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()

plt.show()
