"""
A layer in a mixed-integer program: the worst input
===================================================

How large can the output of a small network become if no pixel changes by more than eps? Verifiers answer this with
linear constraints. The constraint ``y = W x + b`` needs W as a sparse matrix, whatever stride and padding the layer
has. Here SciPy's HiGHS solves the problem for a convolution, a ReLU and a weighted sum. Needs torch and matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, diags_array, eye_array, hstack

import convmtx as cm

torch.manual_seed(1)
layer = torch.nn.Conv2d(1, 2, 3, stride=2, padding=1, dtype=torch.float64)
A = cm.from_torch(layer, (1, 8, 8))
augmented = A.augmented().to_sparse("coo").detach()  # [W | b], a tensor of PyTorch
Wb = csr_array((augmented.values().numpy(), augmented.indices().numpy()), augmented.shape)
W, b = Wb[:, :-1], Wb[:, [-1]].toarray().ravel()
print("W", W.shape, f"with {W.nnz} entries for {layer.weight.numel()} weights")

figure, ax = plt.subplots(figsize=(9, 4.5), layout="constrained")
cm.plot.matrix(A.op, ax)

rng = np.random.default_rng(0)
x0, eps = rng.random(64), 0.2
score = rng.standard_normal(b.size)

# %%
# Bounds of each unit over the box are exact: some input of the box takes each of them.

box = torch.as_tensor(x0.reshape(A.in_shape)) - eps, torch.as_tensor(x0.reshape(A.in_shape)) + eps
low, high = (end.detach().numpy().ravel() for end in cm.bounds(A, *box))
undecided = (low < 0) & (high > 0)
ceiling = np.maximum(score, 0) @ np.maximum(high, 0) + np.minimum(score, 0) @ np.maximum(low, 0)
print(f"{undecided.sum()} of {b.size} units may be on or off")

# %%
# The unknowns are x, y = relu(Wx + b), and whether each unit is on (z = 1). Four constraints for each unit say this:
# ``y >= Wx + b``, ``y <= Wx + b - low (1 - z)``, ``y <= high z`` and, as a bound, ``y >= 0``.

unit, off, on = eye_array(b.size), np.minimum(low, 0), np.maximum(high, 0)
rows = [
    LinearConstraint(hstack([-W, unit, csr_array(unit.shape)]), lb=b),
    LinearConstraint(hstack([-W, unit, diags_array(-off)]), ub=b - off),
    LinearConstraint(hstack([csr_array(W.shape), unit, diags_array(-on)]), ub=0),
]
bounds = Bounds(np.r_[x0 - eps, 0 * on, 0 * on], np.r_[x0 + eps, on, np.ones(b.size)])
is_integer = np.r_[np.zeros(64), np.zeros(b.size), np.ones(b.size)]
solution = milp(np.r_[np.zeros(64), -score, np.zeros(b.size)], constraints=rows, bounds=bounds, integrality=is_integer)
relaxed = milp(np.r_[np.zeros(64), -score, np.zeros(b.size)], constraints=rows, bounds=bounds)
worst = solution.x[:64]

# %%
# The layer itself confirms the worst input. Random inputs stay far below it, and cheaper bounds are above it.


def weighted_output(x):
    with torch.no_grad():
        y = torch.relu(layer(torch.as_tensor(x).reshape(-1, 1, 8, 8)))
    return y.flatten(1).numpy() @ score


random = weighted_output(x0 + eps * rng.uniform(-1, 1, (10000, 64))).max()
corners = weighted_output(x0 + eps * rng.choice([-1, 1], (10000, 64))).max()
values = {"the input": weighted_output(x0)[0], "10000 random inputs": random, "10000 random corners": corners}
values |= {"worst input": weighted_output(worst)[0], "linear relaxation": -relaxed.fun, "interval bounds": ceiling}
for name, value in values.items():
    print(f"{name:21}{value:7.3f}")
assert np.isclose(values["worst input"], -solution.fun, atol=1e-5)
assert list(values.values()) == sorted(values.values())

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=[1, 1.5], layout="constrained")
left.imshow((worst - x0).reshape(8, 8), cmap="RdBu", vmin=-eps, vmax=eps)
left.set(title="worst change of the input", xticks=[], yticks=[])
right.barh(list(values), list(values.values()))
right.invert_yaxis()

plt.show()
