"""Draw the pictures of the pages with the library itself, each in a light and a dark version.

python docs/drawn.py docs/_drawn
"""

import sys
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import convmtx as cm
from convmtx.plot import style

#: Colour of letters and frames. The background stays transparent, so that the page shows through.
INK = {"light": "#1f1f1f", "dark": "#e4e4e4"}
#: Settings of Matplotlib that take this colour.
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")


def grey(_conf, _name):
    """Make the gallery's letters grey, so that one picture can be read on light and on dark pages."""
    clear = dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none")
    matplotlib.rcParams.update(dict.fromkeys(INKED, "#777777") | clear)


def panels(size, rows, columns, **ratios):
    """Return a figure and its Axes. Keep figures narrow, because phones are."""
    figure = Figure(size, layout="constrained")
    return figure, figure.subplots(rows, columns, gridspec_kw=ratios)


def matrix(ax, op, title, **options):
    """Draw the matrix without a legend: the kernel beside it, or the numbers in it, say which tap is which."""
    cm.plot.matrix(op, ax, **options).set_title(title)
    if ax.get_legend():
        ax.get_legend().remove()


def cells(ax, taps, title, numbers=None):
    """Draw an array whose cells have the colours of their taps. A cell of -1 has no colour."""
    colors = np.concatenate([style.tap_colors(taps.max() + 1), np.zeros((1, 4))])
    ax.imshow(colors[taps])
    ax.set(title=title, xticks=[], yticks=[], facecolor=style.FAINT)
    for row in range(1, len(taps)):
        ax.axhline(row - 0.5, color=style.LINE, lw=0.4)
    for column in range(1, taps.shape[1]):
        ax.axvline(column - 0.5, color=style.LINE, lw=0.4)
    if numbers is not None:
        for (row, column), number in np.ndenumerate(numbers):
            ax.text(column, row, number, ha="center", va="center", color="black")


def frame(ax, o):
    """Draw a frame around row o of a matrix."""
    left, right = ax.get_xlim()
    ax.add_patch(
        Rectangle(
            (left, o - 0.5), right - left, 1, fill=False, ec=matplotlib.rcParams["text.color"], lw=1.6, clip_on=False
        )
    )


def picture(mosaic=(("kernel", "image"), ("matrix", "matrix")), size=(5.6, 4.8), **ratios):
    """Draw the picture of the first page and the README: a kernel, an image, and the matrix of the convolution."""
    op = cm.conv(np.arange(1, 10).reshape(3, 3), (6, 6))
    o = np.ravel_multi_index((1, 2), op.out_shape)
    figure = Figure(size, layout="constrained")
    axes = figure.subplot_mosaic([list(row) for row in mosaic], **ratios or {"height_ratios": [1, 1.9]})
    cells(axes["kernel"], np.arange(9).reshape(3, 3), "kernel K\n(3, 3)")
    cells(axes["image"], cm.plot.matrix_data(op).taps[o].reshape(op.in_shape), "image x\n(6, 6)")
    matrix(axes["matrix"], op, "matrix A = conv(K, x.shape).to_dense(), (16, 36)")
    frame(axes["matrix"], o)
    axes["matrix"].set_xlabel(
        "A @ x.ravel() is the convolution. One row for each output:\nthe framed one reads the coloured window."
    )
    return figure


def start():
    figure, ax = panels((6.4, 3.2), 1, 1)
    cm.plot.matrix(cm.conv(np.arange(1, 10).reshape(3, 3), (6, 6)), ax)
    return figure


def toeplitz():
    op = cm.conv([1, 2, 3], 5)
    figure, (kernel, right) = panels((4.6, 1.9), 1, 2, width_ratios=[1, 2])
    cells(kernel, np.arange(3)[None], "kernel", op.kernel[None])
    matrix(right, op, "matrix", values=True)
    return figure


def doubly_blocked():
    op = cm.conv(np.arange(1, 10).reshape(3, 3), (5, 5))
    figure = Figure((5.4, 4.4), layout="constrained")
    axes = figure.subplot_mosaic([["kernel", "image"], ["matrix", "matrix"]], height_ratios=[1, 1.3])
    cells(axes["kernel"], np.arange(9).reshape(3, 3), "kernel", op.kernel)
    o = np.ravel_multi_index((1, 2), op.out_shape)
    cells(axes["image"], cm.plot.matrix_data(op).taps[o].reshape(op.in_shape), "image: window of output (1, 2)")
    matrix(axes["matrix"], op, "matrix 9 x 25: row of output (1, 2) framed")
    frame(axes["matrix"], o)
    return figure


def circulant():
    figure, (one, two) = panels((5.6, 3.0), 1, 2, width_ratios=[1, 1.5])
    matrix(one, cm.conv([1, 2, 3], 6, padding="same", boundary="wrap"), "3 taps on 6", values=True)
    K = np.arange(1, 10).reshape(3, 3)
    matrix(two, cm.conv(K, (4, 4), padding="same", boundary="wrap"), "3 x 3 taps on 4 x 4")
    return figure


def strides():
    K = np.arange(1, 10).reshape(3, 3)
    figure, (above, below) = panels((4.4, 5.6), 2, 1, height_ratios=[16, 4])
    dense, strided = (cm.conv(K, (4, 4), padding=1, stride=s) for s in (1, 2))
    matrix(above, dense, "stride 1: 16 rows, of which stride 2 keeps 4")
    pale = np.full(dense.shape, 0.25)
    pale.reshape(4, 4, 16)[::2, ::2] = 1
    above.images[0].set_alpha(pale)
    matrix(below, strided, "stride 2")
    return figure


def dilation():
    op = cm.conv([1, 2, 3], 9, padding="same", dilation=3)
    figure, (left, right) = panels((5.6, 3.0), 1, 2)
    matrix(left, op, "dilation 3")
    order = np.argsort(np.arange(9) % 3, kind="stable")
    cells(right, cm.plot.matrix_data(op).taps[np.ix_(order, order)], "sorted by position modulo 3")
    right.set(xticks=range(9), xticklabels=order, yticks=range(9), yticklabels=order, xlabel="input", ylabel="output")
    for start in (3, 6):  # of a block
        right.axhline(start - 0.5, color=style.LINE, lw=1.6)
        right.axvline(start - 0.5, color=style.LINE, lw=1.6)
    return figure


def groups():
    K = np.arange(1, 25).reshape(4, 2, 3)
    figure, (above, below) = panels((4.6, 5.2), 2, 1)
    matrix(above, cm.conv(K, (4, 4), groups=2, channels="first"), "channels first")
    matrix(below, cm.conv(K.transpose(2, 1, 0), (4, 4), groups=2), "channels last")
    return figure


def transposed():
    op = cm.conv([1, 2, 3], 7, stride=2)
    figure, (left, right) = panels((5.0, 2.9), 1, 2, width_ratios=[7, 4])
    matrix(left, op, "convolution, stride 2", values=True)
    matrix(right, op.T, "its transpose", values=True)
    return figure


def flip():
    figure, (left, right) = panels((5.2, 2.8), 1, 2)
    matrix(left, cm.conv([1, 2, 3], 6, padding="same"), "correlation", values=True)
    matrix(right, cm.conv([1, 2, 3], 6, padding="same", flip=True), "convolution", values=True)
    return figure


def same():
    figure, axes = panels((5.0, 5.2), 2, 2)
    for ax, (flipped, padding) in zip(axes.flat, product((False, True), ("same", "same_lower")), strict=True):
        op = cm.conv([1, 2, 3, 4], 7, padding=padding, flip=flipped)
        matrix(ax, op, f'"{padding}"' + ", flip=True" * flipped, values=True)
        frame(ax, 0)
    return figure


def boundaries():
    figure, axes = panels((5.4, 3.7), 2, 3)
    for ax, rule in zip(axes.flat, ("zero", "wrap", "edge", "reflect", "symmetric"), strict=False):
        matrix(ax, cm.conv([1, 2, 3], 5, padding="same", boundary=rule), rule, values=True)
        ax.set(xlabel="", ylabel="")
    axes[1, 2].set_axis_off()
    return figure


PICTURES = (
    picture, start, toeplitz, doubly_blocked, circulant, strides, dilation, groups, transposed, flip, same, boundaries,
)  # fmt: skip


def main(folder):
    """Write every picture as SVG. The bytes are the same in every run."""
    folder.mkdir(parents=True, exist_ok=True)
    for theme, ink in INK.items():
        look = dict.fromkeys(INKED, ink) | {"figure.facecolor": "none", "font.size": 9, "axes.titlesize": 9.5}
        with matplotlib.rc_context({**look, "svg.hashsalt": "convmtx"}):
            for draw in PICTURES:
                draw().savefig(folder / f"{draw.__name__}-{theme}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
