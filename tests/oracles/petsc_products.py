"""Products by PETSc, of matrices that convmtx builds there and of files that it wrote, beside those of the map.

A program for each rank of ``mpiexec``. Debian's petsc4py was compiled for NumPy 1, in which some names are missing.
"""

import sys

import numpy as np

for new, old in {"concat": "concatenate", "permute_dims": "transpose", "pow": "power"}.items():
    if not hasattr(np, new):
        setattr(np, new, getattr(np, old))

from petsc4py import PETSc  # noqa: E402

import convmtx as cm  # noqa: E402

rng = np.random.default_rng(0)
MAPS = {
    "zero": cm.conv(rng.normal(size=(3, 2)), (7, 6), padding=1),
    "wrap": cm.conv(rng.normal(size=(3, 3)), (7, 6), padding="same", boundary="wrap"),
    "reflect": cm.conv(rng.normal(size=(5, 3)), (11, 4), padding="same", boundary="reflect", stride=(2, 1)),
    "filters": cm.conv(rng.normal(size=(3, 2, 4)), (9, 2), padding="same"),
    "channels first": cm.conv(rng.normal(size=(4, 2, 3)), (2, 9), channels="first", padding=1),
    "few rows": cm.conv(rng.normal(size=4), 5),
    "sum": cm.conv(rng.normal(size=(3, 3)), (5, 4), padding="same") + cm.diagonal(rng.normal(size=(5, 4))),
}


def whole(vector):
    """Every entry of a vector, on every rank."""
    scatter, copy = PETSc.Scatter.toAll(vector)
    scatter.scatter(vector, copy)
    return copy.getArray().copy()


def spread(vector, values):
    """A vector with these entries."""
    start, stop = vector.getOwnershipRange()
    vector.setArray(values[start:stop])
    return vector


def compare(A, op):
    """Products of the matrix with random arrays are those of the map."""
    assert A.getSize() == op.shape
    x, y = rng.normal(size=op.in_shape), rng.normal(size=op.out_shape)
    right, left = A.createVecs()
    A.mult(spread(right, x.ravel()), left)
    np.testing.assert_allclose(whole(left), op(x).ravel(), rtol=1e-12, atol=1e-12)
    A.multTranspose(spread(left, y.ravel()), right)
    np.testing.assert_allclose(whole(right), op.T(y).ravel(), rtol=1e-12, atol=1e-12)
    A.multHermitian(spread(left, y.ravel()), right)
    np.testing.assert_allclose(whole(right), op.H(y).ravel(), rtol=1e-12, atol=1e-12)


for name, op in MAPS.items():
    compare(cm.to_petsc(op), op)
    compare(cm.to_petsc(op, lazy=True), op)
    stored = PETSc.Mat().create()
    stored.load(PETSc.Viewer().createBinary(f"{sys.argv[1]}/{name}.petsc", "r"))
    compare(stored, op)
    stored = PETSc.Mat().create()
    stored.setName("WT")
    stored.setType("aij")
    stored.load(PETSc.Viewer().createHDF5(f"{sys.argv[1]}/{name}.h5", "r"))
    compare(stored, op)
if PETSc.COMM_WORLD.rank == 0:
    print(PETSc.COMM_WORLD.size, "ranks,", len(MAPS), "maps")
