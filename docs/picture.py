"""Draw the picture of the README: a kernel, an image, and the matrix that does the same.

python docs/picture.py docs/picture.png
"""

import sys

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import convmtx as cm

COLORS = ["#e4572e", "#f3a712", "#a8c686", "#669bbc", "#29335c", "#8f5c9a", "#d98cb3", "#3d8361", "#9c6644"]


def grid(ax, values, title, colors=COLORS):
    """Cells of an integer array: 0 is empty, m is color m-1."""
    rows, columns = values.shape
    ax.set_title(title, fontsize=10)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    for (r, c), tap in np.ndenumerate(values):
        color = "white" if tap == 0 else colors[tap - 1]
        ax.add_patch(Rectangle((c - 0.5, r - 0.5), 1, 1, fc=color, ec="#bbbbbb", lw=0.3))


def main(path):
    kernel = np.arange(1, 10).reshape(3, 3)
    op = cm.conv(kernel, (6, 6))
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    figure.patch.set_facecolor("white")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.6, 4.6])
    grid(left, kernel, "kernel K\n(3, 3)")
    grid(middle, np.ones((6, 6), int), "image x\n(6, 6)", ["#e9ecef"])
    window = np.argwhere(op.to_tensor()[1, 2])
    for (r, c), tap in zip(window, kernel.ravel(), strict=True):
        middle.text(c, r, "•", color=COLORS[tap - 1], ha="center", va="center", fontsize=15)
    grid(right, op.to_dense(), "matrix A = conv(K, x.shape).to_dense(), (16, 36)")
    right.add_patch(Rectangle((-0.5, 5.5), 36, 1, fc="none", ec="black", lw=1.6))
    right.set_xlabel(
        "A @ x.ravel() is the convolution. One row for each output: the outlined one reads the window of dots.",
        fontsize=9,
    )
    figure.savefig(path, dpi=130, bbox_inches="tight")


if __name__ == "__main__":
    main(sys.argv[1])
