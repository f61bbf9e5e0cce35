"""
A locally connected layer
=========================

A locally connected layer is a convolution with an own kernel at every output. Keras 3 has removed it, and PyTorch never
had it. ``cm.local`` is that map, with every option of a convolution, with its matrix and its gradients. We convert the
weights of Keras 2, of Flax, and of a layer written in PyTorch. Needs torch and matplotlib.
"""

from contextlib import suppress

import matplotlib.pyplot as plt
import numpy as np
import torch

import convmtx as cm

jax = None
with suppress(ImportError):
    import jax

rng = np.random.default_rng(0)
x = rng.standard_normal((10, 9, 8, 3)).astype(np.float32)  # a batch of images, channels last

# %%
# ``LocallyConnected2D(5, 3)`` of Keras 2 keeps a kernel of shape ``(o1 * o2, k1 * k2 * C, F)``. ``cm.local`` takes
# ``(o1, o2, k1, k2, C, F)``, which has the same numbers in the same order.

kernel = rng.standard_normal((7 * 6, 3 * 3 * 3, 5)).astype(np.float32)  # layer.get_weights()[0]
bias = rng.standard_normal((7, 6, 5)).astype(np.float32)  # layer.get_weights()[1]
op = cm.local(kernel.reshape(7, 6, 3, 3, 3, 5), (9, 8, 3))
layer = cm.Affine(op, bias)

windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))  # (batch, o1, o2, C, k1, k2)
expected = np.einsum("nijckl,ijklcf->nijf", windows, kernel.reshape(7, 6, 3, 3, 3, 5)) + bias
assert np.allclose(layer(x), expected, atol=1e-4)
print(op, f"with {kernel.size} weights; a convolution has {kernel[0].size}")

# %%
# ``ConvLocal`` of Flax has ``(o1, o2, C * k1 * k2, F)``, with the channel slowest. It calls this function of JAX:

if jax:
    flax = np.moveaxis(kernel.reshape(7, 6, 3, 3, 3, 5), 4, 2).reshape(7, 6, 27, 5)
    axes = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated_local(x, flax, (1, 1), "VALID", (3, 3), dimension_numbers=axes)
    back = np.moveaxis(flax.reshape(7, 6, 3, 3, 3, 5), 2, 4)
    assert np.allclose(cm.local(back, (9, 8, 3))(x), y, atol=1e-4)

# %%
# In PyTorch the layer is usually written with windows and a sum. Gradients reach its weights through the map.

images, torch_weight = torch.as_tensor(x).permute(0, 3, 1, 2), torch.randn(1, 5, 3, 7, 6, 9, requires_grad=True)


def forward(images):
    windows = images.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)  # (batch, C, o1, o2, k1 * k2)
    return (windows[:, None] * torch_weight).sum([2, -1])


by_position = torch_weight[0].permute(2, 3, 0, 1, 4).reshape(7, 6, 5, 3, 3, 3)  # (o1, o2, F, C, k1, k2)
torch_op = cm.local(by_position, (3, 9, 8), channels="first")
gradients = [torch.autograd.grad(f(images).square().sum(), torch_weight)[0] for f in (forward, torch_op)]
assert torch.allclose(torch_op(images), forward(images), atol=1e-4)
assert torch.allclose(*gradients, rtol=1e-4, atol=1e-2)

# %%
# The matrix has the pattern of the convolution. Each row has values of its own.

shared = cm.conv(kernel[0].reshape(3, 3, 3, 5), (9, 8, 3))
assert np.array_equal(op.to_sparse().indices, shared.to_sparse().indices)
figure, (above, below) = plt.subplots(2, 1, figsize=(7, 6.4), layout="constrained")
weights = rng.uniform(1, 9, (4, 4, 3, 3))
cm.plot.matrix(cm.conv(weights[0, 0], (6, 6)), above).set_title("convolution: 9 weights")
cm.plot.matrix(cm.local(weights, (6, 6)), below).set_title("locally connected: 144 weights")

plt.show()
