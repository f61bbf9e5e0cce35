"""
A network as a mixed-integer program
====================================

The sign of a network's output is its answer. Can the answer change if no pixel changes by more than eps? A solver of
mixed-integer programs decides it. The program has the sparse matrix of each layer, and bounds of each unit. These
bounds must hold in spite of rounding, or the proof has a hole: ``cm.bounds`` rounds them outwards if you ask for it.
Needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_array, diags_array, eye_array

import convmtx as cm

rng = np.random.default_rng(21)
conv1 = cm.conv(rng.standard_normal((3, 3, 1, 2)) / 3, (7, 7, 1), stride=2, padding=1)
conv2 = cm.conv(rng.standard_normal((2, 2, 2, 3)) / 3, conv1.out_shape)
weighted_sum = cm.aslinearmap(rng.standard_normal((1, 27)), conv2.out_shape)
first, second, dense = (cm.Affine(op, 0.1 * rng.standard_normal(op.out_shape)) for op in (conv1, conv2, weighted_sum))


def network(x):
    return dense(np.maximum(second(np.maximum(first(x), 0)), 0))[..., 0]


# %%
# Bounds go through the network layer by layer: those of one layer's outputs, cut off at zero, are the next one's box.

x0, eps = rng.random(first.in_shape), 0.1
low1, high1 = cm.bounds(first, x0 - eps, x0 + eps, rounding="outward")
low2, high2 = cm.bounds(second, np.maximum(low1, 0), np.maximum(high1, 0), rounding="outward")
_, high3 = cm.bounds(dense, np.maximum(low2, 0), np.maximum(high2, 0), rounding="outward")
for low, high in ((low1, high1), (low2, high2)):
    print(f"{np.count_nonzero((low < 0) & (high > 0))} of {low.size} units may be on or off")

# %%
# The unknowns are the input x, the outputs y of both layers, and whether each unit is on (z = 1). Three
# constraints for each unit say so: ``y >= W x + b``, ``y <= W x + b - low (1 - z)`` and, for y >= 0, ``y <= high z``.


def relu(layer, low, high):
    """Return the blocks in x, y and z, and the lower and upper ends, of a layer's constraints."""
    W, unit, b, inf = layer.op.to_sparse(), eye_array(low.size), layer.offset.ravel(), np.full(low.size, np.inf)
    off, on = np.minimum(low.ravel(), 0), np.maximum(high.ravel(), 0)
    blocks = [[-W, unit, None], [-W, unit, diags_array(-off)], [None, unit, diags_array(-on)]]
    return blocks, np.r_[b, -inf, -inf], np.r_[inf, b - off, 0 * b], on


blocks1, least1, most1, on1 = relu(first, low1, high1)
blocks2, least2, most2, on2 = relu(second, low2, high2)
rows = [[x, y, None, z, None] for x, y, z in blocks1] + [[None, x, y, None, z] for x, y, z in blocks2]
matrix = block_array(rows, format="csr")
constraints = LinearConstraint(matrix, np.r_[least1, least2], np.r_[most1, most2])
print("constraints", matrix.shape, f"with {matrix.nnz} entries")
units = on1.size + on2.size
is_integer = np.r_[np.zeros(x0.size + units), np.ones(units)]
cost = np.r_[np.zeros(x0.size + on1.size), -dense.op.to_dense()[0], np.zeros(units)]


def largest(radius, is_integer):
    box = Bounds(np.r_[x0.ravel() - radius, np.zeros(2 * units)], np.r_[x0.ravel() + radius, on1, on2, np.ones(units)])
    solution = milp(cost, constraints=constraints, bounds=box, integrality=is_integer, options={"mip_rel_gap": 0})
    return dense.offset[0] - solution.fun, solution.x[: x0.size].reshape(x0.shape)


# %%
# Without a change of the input, the program is the network. The network confirms the worst input, too. Its output is
# negative, as that of x0: no change of at most eps changes the answer. The cheaper bounds do not show this.

assert np.isclose(largest(0.0, is_integer)[0], network(x0), atol=1e-6)
optimum, worst = largest(eps, is_integer)
assert np.isclose(network(worst), optimum, atol=1e-6)
corners = network(x0 + eps * rng.choice([-1, 1], (20000, *x0.shape)))
values = {"x0": network(x0), "20000 random corners": corners.max(), "worst input": optimum}
values |= {"linear relaxation": largest(eps, 0 * is_integer)[0], "bounds": high3[0]}
for name, value in values.items():
    print(f"{name:21}{value:7.3f}")
assert list(values.values()) == sorted(values.values())
assert values["worst input"] < 0 < values["linear relaxation"]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=[1.4, 1], layout="constrained")
left.spy(matrix, markersize=1)
right.barh(list(values), list(values.values()))
right.invert_yaxis()
figure.suptitle("The matrix of the constraints, and the outputs")

plt.show()
