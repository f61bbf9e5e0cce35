"""Deblur a small image with constraints: CVXPY takes the blur as a sparse matrix.

The unknown image lies between 0 and 1, and its total variation is kept small. ``python deblur_cvxpy.py`` prints by how
much the error falls. Needs cvxpy.
"""

import cvxpy
import numpy as np

import convmtx as cm


def solve(size=24, noise=0.02, weight=0.02):
    """The blurred image's error, and that of the restored one, relative to the true image."""
    rng = np.random.default_rng(0)
    true = np.zeros((size, size))
    true[6:14, 5:19] = 1.0
    true[16:20, 9:13] = 0.5

    line = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    blur = cm.conv(np.outer(line, line), true.shape, padding="same", boundary="symmetric")
    seen = blur(true) + noise * rng.standard_normal(true.shape)

    image = cvxpy.Variable(blur.shape[1])
    misfit = cvxpy.sum_squares(blur.to_sparse() @ image - seen.ravel())
    grid = cvxpy.reshape(image, true.shape, order="C")
    problem = cvxpy.Problem(cvxpy.Minimize(misfit + weight * cvxpy.tv(grid)), [image >= 0, image <= 1])
    problem.solve(solver=cvxpy.CLARABEL)
    restored = image.value.reshape(true.shape)
    return (np.linalg.norm(each - true) / np.linalg.norm(true) for each in (seen, restored))


if __name__ == "__main__":
    before, after = solve()
    print(f"relative error: blurred {before:.3f}, restored {after:.3f}")
