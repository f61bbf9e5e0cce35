"""
Spectral normalization of a trained network
===========================================

How much can a network stretch the difference of two inputs? At most by the product of the norms of its layers, if its
activations stretch nothing. PyTorch's ``spectral_norm`` is meant to make these norms 1. But it divides by the norm of
the weights reshaped to a matrix, and this is not the norm of the layer. How far are both apart in a network that was
trained: in Basic Pitch, which finds the notes in a recording? Needs matplotlib, onnxruntime, torch, and of the package
basic-pitch only its files (``pip install --no-deps basic-pitch``).
"""

from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
import torch
from torch.nn.utils import parametrizations

import convmtx as cm

[package] = find_spec("basic_pitch").submodule_search_locations
model = onnx.load(Path(package) / "saved_models/icassp_2022/nmp.onnx")
[sound] = model.graph.input
found = cm.from_onnx(model, {sound.name: (1, 43844, 1)})  # two seconds
_, *layers = (
    layer for layer in found.layers.values() if layer.op_type == "Conv" and min(layer.op.kernel.shape[2:]) > 1
)

# %%
# These are the five convolutions on the way to contours, notes and onsets. Make layers of PyTorch from them, and maps
# of these for a fifth of a second: 20 frames.


def module(layer):
    filters, channels, *size = layer.op.kernel.shape
    axes = layer.op.geometry.axes
    conv = torch.nn.Conv2d(channels, filters, size, [a.stride for a in axes], [a.lo for a in axes])
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(layer.op.kernel))
        conv.bias.copy_(torch.tensor(layer.offset[:, 0, 0]))
    return conv


print(f"{'weights':16}{'reshaped':>9}   norm of the layer")
numbers, bounds = {}, {}
for layer in layers:
    conv, (channels, _, bins) = module(layer), layer.op.in_shape
    with torch.no_grad():
        op = cm.from_torch(conv, (channels, 20, bins)).op
        norm, bounds[layer] = cm.norm(op, rtol=0.05), cm.norm_bound(op).upper
    reshaped = np.linalg.norm(layer.op.kernel.reshape(len(layer.op.kernel), -1), 2)
    name = " x ".join(map(str, layer.op.kernel.shape))
    numbers[name] = reshaped, norm.lower, bounds[layer]
    print(f"{name:16}{reshaped:9.4f}   from {norm.lower:.3f} to {bounds[layer]:.3f}")
    assert norm.lower > 1.5 * reshaped

# %%
# In training, every filter was kept at norm 1 (``UnitNorm`` of Keras). So the layers of one filter have a reshaped norm
# of 1, and stretch up to three times. The bound needs no iteration, and is near to the norm.

reshaped, lower, upper = np.transpose(list(numbers.values()))
assert np.isclose(reshaped, 1, atol=1e-6).sum() == 3
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.barh(list(numbers), upper / reshaped, color="tab:blue", label="norm_bound")
ax.barh(list(numbers), lower / reshaped, color="tab:green", label="norm, at least")
ax.axvline(1, color="tab:red", label="spectral_norm of PyTorch")
ax.set(xlabel="relative to the norm of the reshaped weights")
ax.invert_yaxis()
ax.legend()

# %%
# What does it matter? Take two layers in a row, with the ReLU between them, and normalize both. Listen to a bell. The
# change of their input that is stretched most is found by the power method with derivatives.

time = np.arange(43844) / 22050
partials = enumerate((220, 554, 880, 1230), 1)
bell = sum(np.sin(2 * np.pi * f * time) * np.exp(-3 * k * time) for k, f in partials).astype(np.float32)
first, second, *_ = layers
model.graph.output.append(onnx.ValueInfoProto(name=first.input_name))
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
[heard] = session.run([first.input_name], {sound.name: bell[None, :, None]})
x = torch.tensor(heard[:, :, :20])


def by_norm(layer):
    conv = module(layer)
    with torch.no_grad():
        conv.weight /= bounds[layer]
    return conv


def by_pytorch(layer):
    return parametrizations.spectral_norm(module(layer), n_power_iterations=30).eval()


def worst_change(network):
    change = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(10):
        _, stretched = torch.func.jvp(network, (x,), (change / change.norm(),))
        [change] = torch.func.vjp(network, x)[1](stretched)
    return 0.001 * x.norm() * change / change.norm()


changes, stretch = {}, {}
for name, normalized in {"as trained": module, "spectral_norm": by_pytorch, "by the true norm": by_norm}.items():
    network = torch.nn.Sequential(normalized(first), torch.nn.ReLU(), normalized(second))
    changes[name] = change = worst_change(network)
    with torch.no_grad():
        stretch[name] = float((network(x + change) - network(x)).norm() / change.norm())
    print(f"{name:18} the difference is stretched {stretch[name]:.3f} times")
assert stretch["spectral_norm"] > 1.3
assert stretch["by the true norm"] <= 1

figure, axes = plt.subplots(2, 1, figsize=(8, 4), layout="constrained", sharex=True)
pictures = {
    "what the layers hear": (x, "magma"),
    "its change that is stretched most": (changes["spectral_norm"], "RdBu"),
}
for ax, (title, (image, colors)) in zip(axes, pictures.items(), strict=True):
    shown = image[0, 1].detach()
    limits = {"vmin": -shown.abs().max(), "vmax": shown.abs().max()} if image is not x else {}
    ax.imshow(shown, aspect="auto", cmap=colors, origin="lower", **limits)
    ax.set(title=title, ylabel="frame")
axes[1].set(xlabel="pitch, three bins for each semitone")

plt.show()
