"""
Encrypted inference: a network in the slots of a ciphertext
===========================================================

A server that computes with encrypted vectors can add them, multiply them slot by slot, and rotate them. Rotations are
expensive. So each layer is applied by its generalized diagonals (Halevi, Shoup, CRYPTO 2014), which take a rotation
each, and numbers are placed so that there are few of them. ``cm.to_diagonals`` returns the diagonals of any map.
Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import convmtx as cm


class Ciphertext:
    """A slot simulator: no more than what the server can do."""

    rotations = 0

    def __init__(self, numbers):
        self._numbers = numbers

    def __add__(self, other):
        return Ciphertext(self._numbers + getattr(other, "_numbers", other))

    def __mul__(self, other):
        return Ciphertext(self._numbers * getattr(other, "_numbers", other))

    def rotate(self, step):
        Ciphertext.rotations += step != 0
        return Ciphertext(np.roll(self._numbers, -step))


# %%
# The network has two convolutions of stride 2, with x^2 after each (a server computes polynomials), and a dense layer.
# Outputs stay in the slots of their pixels. That leaves gaps, into which the channels go (Lee et al., ICML 2022). So
# all arrays fit into one ciphertext of 1024 slots.

rng, slots = np.random.default_rng(0), 1024
shapes = [(1, 32, 32), (4, 16, 16), (16, 8, 8), (10,)]
places = [*(cm.multiplex(shape, gap) for shape, gap in zip(shapes, (1, 2, 4), strict=False)), np.arange(10)]
same = {"padding": 1, "stride": 2, "channels": "first"}
ops = [cm.conv(rng.standard_normal((4, 1, 3, 3)) / 3, shapes[0], **same)]
ops += [cm.conv(rng.standard_normal((16, 4, 3, 3)) / 6, shapes[1], **same)]
ops += [cm.aslinearmap(rng.standard_normal((10, 1024)) / 32, shapes[2])]

# %%
# The dense layer has few rows. With ``hybrid=True`` its diagonals repeat after 16 rows (GAZELLE, USENIX 2018), and six
# rotations add up what is 16 slots apart. Baby steps and giant steps save rotations in every layer.

layers = []
for op, ins, outs in zip(ops, places, places[1:], strict=False):
    layers.append(cm.to_diagonals(op, slots, in_places=ins, out_places=outs, hybrid=True))
    count = [len(diagonals[0, 0]) for diagonals in (cm.to_diagonals(op, slots), layers[-1])]
    count += [layers[-1].rotations(bsgs=bsgs).count for bsgs in (False, True)]
    print("{} diagonals one channel after the other, {} here, {} rotations, {} with baby steps".format(*count))


def multiply(diagonals, x):
    """Rotate the input by less than n, partial sums by multiples of n, and add up the outputs."""
    block, plan, y = diagonals[0, 0], diagonals.rotations(bsgs=True), 0
    baby = {step: x.rotate(step) for step in {k % plan.baby for k in block}}
    for giant in {k - k % plan.baby for k in block}:
        terms = [baby[k - giant] * np.roll(d, giant) for k, d in block.items() if giant <= k < giant + plan.baby]
        y = sum(terms[1:], terms[0]).rotate(giant) + y
    for step in plan.outputs[0]:
        y += y.rotate(step)
    return y


x = rng.standard_normal(shapes[0])
hidden = multiply(layers[1], (y := multiply(layers[0], Ciphertext(x.ravel()))) * y)
output = multiply(layers[2], hidden * hidden)._numbers[:10]
assert np.allclose(output, ops[2](ops[1](ops[0](x) ** 2) ** 2))
assert Ciphertext.rotations == sum(diagonals.rotations(bsgs=True).count for diagonals in layers)

# %%
# The channel that is in each slot, in the corner of the image after each convolution.

figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
for ax, shape, where in zip(axes, shapes[1:], places[1:], strict=False):
    corner = np.repeat(np.arange(shape[0]), shape[1] * shape[2])[np.argsort(where)].reshape(32, 32)[:8, :8]
    ax.imshow(corner, cmap="tab20")
    for (i, j), number in np.ndenumerate(corner):
        ax.text(j, i, number, ha="center", va="center")
    ax.set(title=f"{shape[0]} channels of {shape[1]} x {shape[2]}", xticks=[], yticks=[])

plt.show()
