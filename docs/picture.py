"""Draw the picture of the README: a kernel, an image, and the matrix that does the same.

python docs/picture.py docs/picture.png
"""

import sys

import numpy as np
from drawn import cells, framed, matrix
from matplotlib.figure import Figure

import convmtx as cm


def main(path):
    op = cm.conv(np.arange(1, 10).reshape(3, 3), (6, 6))
    o = np.ravel_multi_index((1, 2), op.out_shape)
    figure = Figure(figsize=(9, 3.9), layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.6, 4.6])
    cells(left, np.arange(9).reshape(3, 3), "kernel K\n(3, 3)")
    cells(middle, cm.plot.matrix_data(op).taps[o].reshape(op.in_shape), "image x\n(6, 6)")
    matrix(right, op, "matrix A = conv(K, x.shape).to_dense(), (16, 36)")
    framed(right, o)
    right.set_xlabel(
        "A @ x.ravel() is the convolution. One row for each output: the framed one reads the coloured window.",
        fontsize=9,
    )
    figure.savefig(path, dpi=130, bbox_inches="tight")


if __name__ == "__main__":
    main(sys.argv[1])
