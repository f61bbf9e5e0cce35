"""
The Lipschitz constant of a layer
=================================

How much can a layer stretch the difference of two inputs? The answer is the largest singular value of its matrix. It
has to stay below a limit if you train a robust network, an invertible one, or the critic of a GAN. PyTorch's
``spectral_norm`` divides by a different number: the norm of the weights reshaped to a matrix. Needs torch and
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
# The norm lies between two ends, and the result says by which method they were computed.

with torch.no_grad():
    r = cm.norm(op)
    print(f"between {r.lower:.7f} and {r.upper:.7f}, {r.kind}: {r.method}")

# %%
# There are cheaper numbers that people use instead. All bounds of the library are above the norm. The norm of the
# reshaped weights is not a bound.

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
# There are three methods to get a norm of 1: divide, clip the singular values once, or take the nearest kernel of the
# same size. The larger the change of the weights, the more of the trained layer is lost.

kernels, change = {"weights": op}, {}
for method in (cm.spectral_normalize, cm.clip, cm.project):
    name = method.__name__
    kernels[name] = limited = method(op, 1.0)
    with torch.no_grad():
        change[name] = float(torch.linalg.norm(limited.kernel - op.kernel) / torch.linalg.norm(op.kernel))
        print(f"{name:20} norm {cm.norm(limited).upper:.6f}, weights changed by {change[name]:.1%}")
        assert cm.norm(limited).upper <= 1 + 1e-6
assert change["project"] < change["clip"] < change["spectral_normalize"]

# %%
# Draw all singular values before and after. With wrap they cost only transforms. Dividing makes all of them smaller.
# The nearest kernel reduces only the largest ones.

figure, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
for name, layer_map in kernels.items():
    ring = cm.conv(layer_map.kernel.detach().numpy(), (8, 20, 20), padding=1, boundary="wrap", channels="first")
    ax.plot(cm.svdvals(ring), label=name)
ax.axhline(1, color="0.5", ls="--")
ax.set(xlabel="singular values on a circle")
ax.legend()

# %%
# Write the new kernel back into the layer.

with torch.no_grad():
    layer.weight.copy_(kernels["project"].kernel)
    x = torch.randn(100, 8, 20, 20)
    y = layer(x) - layer(torch.zeros(1, 8, 20, 20))
    stretched = y.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
print(f"longest of 100 random outputs, relative to its input: {stretched.max():.3f}")

plt.show()
