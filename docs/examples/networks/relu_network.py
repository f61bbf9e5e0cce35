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
# The unknowns are the input x and, for each layer, ``t = W y + b`` (y is the output of the layer before), the output
# ``y = max(t, 0)``, and whether each unit is on (z = 1). The rows ``W y + b - t = 0`` are those of ``to_sparse()``.
# Three more rows for each unit are ReLU: ``y >= t``, ``y <= t - low (1 - z)`` and, for y >= 0, ``y <= high z``. The
# bounds low and high of t go through the network layer by layer: cut off at zero, they are the next layer's box.

x0, eps = rng.random(first.in_shape), 0.1
low, high = x0 - eps, x0 + eps
box, rows, source = {"x": (low, high)}, [], "x"  # ends of all unknowns; blocks of the matrix with least and most
for t, y, z, layer in zip(("t1", "t2", "t3"), ("y1", "y2", ""), ("z1", "z2", ""), (first, second, dense), strict=True):
    low, high = box[t] = cm.bounds(layer, low, high, rounding="outward")
    one, b, inf = eye_array(low.size), layer.offset.ravel(), np.full(low.size, np.inf)
    rows += [({source: layer.op.to_sparse(), t: -one}, -b, -b)]
    if layer is not dense:
        print(f"{np.count_nonzero((low < 0) & (high > 0))} of {low.size} units may be on or off")
        off, low, high = np.minimum(low, 0).ravel(), np.maximum(low, 0), np.maximum(high, 0)
        rows += [({y: one, t: -one}, 0 * b, inf), ({y: one, t: -one, z: diags_array(-off)}, -inf, -off)]
        rows += [({y: one, z: diags_array(-high.ravel())}, -inf, 0 * b)]
        box[y], box[z], source = (0 * low, high), (0 * low, 0 * low + 1), y

matrix = block_array([[blocks.get(name) for name in box] for blocks, _, _ in rows], format="csr")
constraints = LinearConstraint(matrix, *(np.concatenate(ends) for ends in list(zip(*rows, strict=True))[1:]))
print("constraints", matrix.shape, f"with {matrix.nnz} entries")
is_integer = np.concatenate([np.full(ends[0].size, name[0] == "z") for name, ends in box.items()])
cost = np.r_[np.zeros(is_integer.size - 1), -1]  # the last unknown is the output


def largest(radius, is_integer):
    ends = list(zip(*(box | {"x": (x0 - radius, x0 + radius)}).values(), strict=True))
    bounds = Bounds(*(np.concatenate([end.ravel() for end in side]) for side in ends))
    solution = milp(cost, constraints=constraints, bounds=bounds, integrality=is_integer, options={"mip_rel_gap": 0})
    return -solution.fun, solution.x[: x0.size].reshape(x0.shape)


# %%
# Without a change of the input, the program is the network. The network confirms the worst input, too. Its output is
# negative, as that of x0: no change of at most eps changes the answer. The cheaper bounds do not show this.

assert np.isclose(largest(0.0, is_integer)[0], network(x0), atol=1e-6)
optimum, worst = largest(eps, is_integer)
assert np.isclose(network(worst), optimum, atol=1e-6)
corners = network(x0 + eps * rng.choice([-1, 1], (20000, *x0.shape)))
values = {"x0": network(x0), "20000 random corners": corners.max(), "worst input": optimum}
values |= {"linear relaxation": largest(eps, 0 * is_integer)[0], "bounds": high[0]}
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
