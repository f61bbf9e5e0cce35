"""
The Lipschitz constant of a layer
=================================

How much can a layer stretch a difference between two inputs? That is the largest singular value of its matrix, and
whoever trains a network to be robust, an invertible one or a critic of a GAN keeps it below a limit. The norm of the
weights reshaped to a matrix, which PyTorch's ``spectral_norm`` divides by, is another number. Needs torch and
matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import convmtx as cm

torch.manual_seed(0)
layer = torch.nn.Conv2d(8, 8, 3, padding=1)
op = cm.from_torch(layer, (8, 20, 20)).op

# %%
# The norm lies between two ends, and the library says how it knows.

with torch.no_grad():
    r = cm.norm(op)
    print(f"between {r.lower:.7f} and {r.upper:.7f}, {r.kind}: {r.method}")

# %%
# Cheaper numbers that are used in its place. All bounds by structure are above it; the norm of the reshaped weights is
# no bound.

weight = layer.weight.detach().numpy()
numbers = {"reshaped weights": np.linalg.norm(weight.reshape(8, -1), 2)}
for method in ("theta", "gram", "sup", "fantastic4", "young"):
    numbers[method] = float(cm.norm_bound(op, method).upper)
for name, number in numbers.items():
    print(f"{name:18}{number:7.4f}  {number / r.upper - 1:+.1%}")
    assert (number >= r.lower) == (name != "reshaped weights")

figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.barh(list(numbers), list(numbers.values()), color=["tab:red"] + 5 * ["tab:blue"])
ax.axvline(r.upper, color="0.5", ls="--", label="the norm")
ax.invert_yaxis()
ax.legend()

# %%
# Three ways to a norm of 1: divide, clip the singular values once, or take the nearest kernel of the same size. The
# farther one goes from the weights, the more of the layer is lost.

kernels, change = {"weights": op}, {}
for bring in (cm.spectral_normalize, cm.clip, cm.project):
    kernels[bring.__name__] = tame = bring(op, 1.0)
    with torch.no_grad():
        change[bring.__name__] = float(torch.linalg.norm(tame.kernel - op.kernel) / torch.linalg.norm(op.kernel))
        print(f"{bring.__name__:20} norm {cm.norm(tame).upper:.6f}, weights changed by {change[bring.__name__]:.1%}")
        assert cm.norm(tame).upper <= 1 + 1e-6
assert change["project"] < change["clip"] < change["spectral_normalize"]

# %%
# All singular values, before and after, which a circle gives at once: dividing shrinks every one, the nearest kernel
# the largest alone.

figure, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
for name, each in kernels.items():
    ring = cm.conv(each.kernel.detach().numpy(), (8, 20, 20), padding=1, boundary="wrap", channels="first")
    ax.plot(cm.svdvals(ring), label=name)
ax.axhline(1, color="0.5", ls="--")
ax.set(xlabel="singular values on a circle")
ax.legend()

# %%
# Back into the layer: its weights are the new kernel.

with torch.no_grad():
    layer.weight.copy_(kernels["project"].kernel)
    x = torch.randn(100, 8, 20, 20)
    y = layer(x) - layer(torch.zeros(1, 8, 20, 20))
    stretched = y.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
print(f"longest of 100 random outputs, relative to its input: {stretched.max():.3f}")

plt.show()
