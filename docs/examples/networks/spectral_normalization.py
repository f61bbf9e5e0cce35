"""
Spectral normalization of a trained network
===========================================

How much can a network stretch the difference of two inputs? At most by the product of the norms of its layers, if its
activations stretch nothing. PyTorch's ``spectral_norm`` is meant to make these norms 1. But it divides by the norm of
the weights reshaped to a matrix, and this is not the norm of the layer. How far are both apart in a network that was
trained: in Basic Pitch, which finds the notes in a recording? Only the files of its package are read (``pip install
--no-deps basic-pitch``). Needs basic-pitch, matplotlib, onnx, onnxruntime and torch.
"""

from importlib.metadata import distribution

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
import torch
from torch.nn.utils.parametrizations import spectral_norm

import convmtx as cm

model = onnx.load(distribution("basic-pitch").locate_file("basic_pitch/saved_models/icassp_2022/nmp.onnx"))
[sound] = model.graph.input
maps = cm.from_onnx(model, {sound.name: (1, 43844, 1)}).layers.values()  # for two seconds of sound
_, *layers = (layer for layer in maps if layer.op_type == "Conv" and min(layer.op.kernel.shape[2:]) > 1)

# %%
# These are the five convolutions on the way to contours, notes and onsets. Their norms are those of maps of images with
# 172 frames.


@torch.no_grad()
def divisor(kernel):
    """Return the number by which PyTorch divides."""
    filters, channels, *size = kernel.shape
    conv = torch.nn.Conv2d(channels, filters, size)
    conv.weight.data = torch.tensor(kernel)
    return np.linalg.norm(kernel) / float(spectral_norm(conv, n_power_iterations=30).weight.norm())


torch.manual_seed(0)
kernels = [layer.op.kernel for layer in layers]
by_pytorch = [divisor(kernel) for kernel in kernels]
norms = [cm.norm(layer.op, rtol=0.1) for layer in layers]
names = [" x ".join(map(str, kernel.shape)) for kernel in kernels]
print(f"{'weights':14}{'PyTorch':>9}   norm of the layer")
for name, wrong, norm in zip(names, by_pytorch, norms, strict=True):
    print(f"{name:14}{wrong:9.3f}   from {norm.lower:.3f} to {norm.upper:.3f}")
    assert norm.lower > 1.5 * wrong

# %%
# In training, every filter was kept at norm 1 (``UnitNorm`` of Keras). So PyTorch leaves the layers of one filter as
# they are, and yet they stretch up to three times.
#
# What does it matter? Normalize two layers in a row, with the ReLU between them, and listen to a bell. Near this sound
# the ReLU keeps some units and drops others, so the derivative is a linear map: layer, mask, layer.

time = np.arange(43844) / 22050
partials = zip((220, 554, 880, 1230), (3, 6, 9, 12), strict=True)
bell = sum(np.sin(2 * np.pi * pitch * time) * np.exp(-decay * time) for pitch, decay in partials)
first, second, *_ = layers
model.graph.output.append(onnx.ValueInfoProto(name=first.input_name))
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
[[heard]] = session.run([first.input_name], {sound.name: bell[None, :, None].astype(np.float32)})

changes, stretch = {}, {}
numbers = {"as trained": (1, 1), "spectral_norm": by_pytorch, "true norm": [norm.upper for norm in norms]}
for name, (a, b, *_) in numbers.items():
    kept = first.op(heard) / a + first.offset > 0
    derivative = (second.op / b) @ cm.diagonal(kept.astype(np.float32)) @ (first.op / a)
    change = np.random.default_rng(0).standard_normal(heard.shape, np.float32)
    for _ in range(10):  # the power method: towards the change that is stretched most
        change = derivative.T(derivative(change / np.linalg.norm(change)))
    changes[name] = change / np.linalg.norm(change)
    stretch[name] = np.linalg.norm(derivative(changes[name]))
    print(f"{name:14} stretches a change {stretch[name]:.3f} times")
assert stretch["spectral_norm"] > 1.3
assert stretch["true norm"] <= 1

change = changes["spectral_norm"][1, :60]
figure, axes = plt.subplots(2, 1, figsize=(8, 4.5), layout="constrained", sharex=True)
axes[0].imshow(heard[1, :60], aspect="auto", cmap="magma", origin="lower")
axes[0].set(title="the bell, as the layers hear it", ylabel="frame")
axes[1].imshow(change, aspect="auto", cmap="RdBu", origin="lower", vmin=-abs(change).max(), vmax=abs(change).max())
axes[1].set(title=f"its change that is stretched {stretch['spectral_norm']:.2f} times after spectral_norm")
axes[1].set(xlabel="pitch, three bins for each semitone", ylabel="frame")

plt.show()
