"""
A whole network as one map: what it does around an input
========================================================

Around an input, a network of convolutions, ReLU and max pooling is an affine map: the signs of its activations stay as
they are. Its matrix is the Jacobian. Here it is a sparse matrix and an operator, so that its largest singular value
tells how much the smallest change of the input can do. Needs torch and matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import convmtx as cm

torch.manual_seed(0)


class Network(nn.Module):
    """Two levels of a small U-Net."""

    def __init__(self):
        super().__init__()
        self.first, self.deep = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.last = nn.Conv2d(10, 1, 3, padding=1)

    def forward(self, x):
        level = torch.relu(self.first(x))
        below = torch.relu(self.deep(nn.functional.max_pool2d(level, 2)))
        above = nn.functional.interpolate(below, scale_factor=2, mode="bilinear")
        return x + self.last(torch.cat([level, above], 1))


network = Network().double().requires_grad_(False)
rows, columns = np.mgrid[-1:1:16j, -1:1:16j]
image = torch.from_numpy(np.exp(-6 * (rows**2 + (columns - 0.2) ** 2)))[None]

A = cm.from_torch(network, image.shape, at=image)
print("at the input:", torch.allclose(A(image), network(image[None])[0], rtol=0, atol=1e-12))
J = A.op.to_sparse("coo").to_dense().numpy()
theirs = torch.autograd.functional.jacobian(network, image[None]).reshape(J.shape).numpy()
print(f"largest difference from autograd's Jacobian {abs(J - theirs).max():.1e}")
assert np.allclose(J, theirs, rtol=0, atol=1e-12)

# %%
# Each row is what one pixel of the output reads. Rows on the diagonal come from the skip connections, blocks around it
# from the level below.

figure, ax = plt.subplots(figsize=(5.6, 5), layout="constrained")
reach = abs(J).max()
picture = ax.imshow(J, cmap="RdBu_r", vmin=-reach / 4, vmax=reach / 4)
ax.set(title="Jacobian of the network", xlabel="input pixel", ylabel="output pixel")
figure.colorbar(picture, ax=ax)

# %%
# The direction in which a small change of the input changes the output most is a singular vector. The network confirms
# it: along the direction, its output changes as the map says, as long as no activation changes its sign.

U, s, V = cm.svd(A.op, 1)
step = 1e-3
moved = network(image[None] + step * torch.from_numpy(V[0])[None])[0]
gain = float((moved - network(image[None])[0]).norm()) / step
print(f"largest singular value {s[0]:.4f}, gain of the network {gain:.4f}")
assert abs(gain - s[0]) < 1e-2 * s[0]

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
panels = {"input": image[0].numpy(), "direction of largest gain": V[0][0], "what it changes": U[0][0]}
for ax, (name, values) in zip(axes, panels.items(), strict=True):
    reach = float(abs(values).max())
    ax.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach)
    ax.set(title=name, xticks=[], yticks=[])

plt.show()
