"""The matrix: every entry's tap against the loop reference, and what is drawn against the numbers."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.transforms import Bbox

import convmtx as cm
import reference
from convmtx.plot import style
from convmtx.plot.matrices import FOLDED

CASES = [
    ("zero", 1, 1, (1, 1), 1, False, 1),
    ("wrap", 1, 1, (2, 0), 1, True, 1),
    ("reflect", 2, 1, (2, 2), 1, False, 2),
    ("symmetric", 1, 2, (3, 1), 1, True, 2),
    ("edge", 1, 1, (4, 4), 2, False, 1),
]


def told(bits):
    """The one tap whose bit is set, -1 for none, -2 for several."""
    several = np.vectorize(lambda n: int(n).bit_count(), otypes=[int])(bits)
    return np.where(several == 0, -1, np.where(several > 1, FOLDED, np.log2(np.maximum(bits, 1)).astype(int)))


@pytest.mark.parametrize(("boundary", "stride", "dilation", "pads", "stretch", "flip", "groups"), CASES)
@pytest.mark.parametrize("layout", ["last", "first"])
def test_every_entry_knows_its_tap(boundary, stride, dilation, pads, stretch, flip, groups, layout):
    bits = 2 ** np.arange(6).reshape(2, 3)
    K = np.broadcast_to(bits[..., None, None], (2, 3, 2, 2 * groups))
    sizes = (5, 4)
    twice = ((stride,) * 2, (dilation,) * 2, [pads] * 2, (stretch,) * 2, [boundary] * 2)
    W = reference.tensor(K, sizes, *twice, groups, flip)
    shape, kernel = (*sizes, 2 * groups), K
    if layout == "first":
        shape, kernel = (2 * groups, *sizes), np.moveaxis(K, (-1, -2), (0, 1))
        W = np.moveaxis(np.moveaxis(W, 2, 0), -1, 3)
    op = cm.conv(
        kernel, shape, stride=stride, dilation=dilation, padding=[pads] * 2, input_dilation=stretch,
        boundary=boundary, flip=flip, groups=groups, channels=layout,
    )  # fmt: skip
    data = cm.plot.matrix_data(op, cells=500)

    matrix = W.reshape(op.shape)
    assert np.array_equal(data.taps, told(matrix))
    assert np.array_equal(data.values, matrix)
    assert np.array_equal(data.counts, matrix != 0)


def test_a_transposed_convolution_shows_the_kernel_as_it_was_given():
    bits = 2 ** np.arange(6).reshape(2, 3)
    forward = reference.tensor(
        bits[..., None, None], (5, 6), (2, 2), (1, 1), [(1, 0)] * 2, (1, 1), ["zero"] * 2, 1, False
    )
    op = cm.conv(bits, (5, 6), stride=2, padding=[(1, 0)] * 2).T

    assert np.array_equal(cm.plot.matrix_data(op).taps, told(forward.reshape(op.shape[::-1]).T))


def test_one_entry_a_cell_is_drawn_in_the_colour_of_its_tap(ax):
    op = cm.conv([1, 2, 3], 5, padding=2, boundary="reflect")
    data = cm.plot.matrix_data(op)
    cm.plot.matrix(op, ax)

    (image,) = ax.images
    colors = np.asarray(image.get_array())
    assert colors.shape == (*op.shape, 4)
    for tap in range(3):
        assert (colors[data.taps == tap] == to_rgba(style.TAPS[tap])).all()
    assert (data.taps == FOLDED).any()
    assert (colors[data.taps == FOLDED] == to_rgba(style.FOLDED)).all()
    assert (colors[data.taps == -1, 3] == 0).all()
    assert image.get_extent() == [-0.5, 4.5, 6.5, -0.5]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["K[0]", "K[1]", "K[2]", "sum of\nseveral taps"]


@pytest.mark.parametrize("taps", [9, 11, 25, 49, 225])
def test_every_tap_has_its_own_colour(ax, taps):
    cm.plot.matrix(cm.conv(np.ones(taps), taps), ax)

    colors = np.asarray(ax.images[0].get_array())[0]
    assert len(np.unique(colors.round(3), axis=0)) == taps
    assert (colors[:9] == to_rgba_array(style.TAPS)).all()
    assert (colors[:, 3] == 1).all()


def test_values_are_written_where_entries_are_stored(ax):
    op = cm.conv([1.5, 0.0, -2.0], 4)
    cm.plot.matrix(op, ax, values=True)

    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(0, 0): "1.5", (1, 0): "0", (2, 0): "-2", (1, 1): "1.5", (2, 1): "0", (3, 1): "-2"}


@pytest.mark.parametrize(("layout", "kernel", "shape", "rows", "columns", "names"), [
    ("first", (2, 3, 2, 2), (3, 3, 4), ["f0, row 0", "f0, row 1", "f1, row 0", "f1, row 1"],
     [f"c{c}, row {r}" for c in range(3) for r in range(3)], ("output (f, o1, o2)", "input (c, i1, i2)")),
    ("last", (2, 2, 3, 2), (3, 4, 3), [f"row {r}, column {c}" for r in range(2) for c in range(3)],
     [f"row {r}, column {c}" for r in range(3) for c in range(4)], ("output (o1, o2, f)", "input (i1, i2, c)")),
    (None, (2, 2), (3, 4), ["row 0", "row 1"], ["row 0", "row 1", "row 2"], ("output (o1, o2)", "input (i1, i2)")),
])  # fmt: skip
def test_blocks_are_labelled_by_channel_and_row(ax, layout, kernel, shape, rows, columns, names):
    op = cm.conv(np.ones(kernel), shape, channels=layout)
    cm.plot.matrix(op, ax)

    assert [label.get_text() for label in ax.get_yticklabels()] == rows
    assert [label.get_text() for label in ax.get_xticklabels()] == columns
    size = op.shape[0] // len(rows)
    assert np.allclose(ax.get_yticks(), np.arange(len(rows)) * size + (size - 1) / 2)
    assert (ax.get_ylabel(), ax.get_xlabel()) == names
    between = {line.get_ydata()[0] for line in ax.lines if line.get_ydata()[0] == line.get_ydata()[1]}
    assert {j * size - 0.5 for j in range(1, len(rows))} <= between


def texts(axis, which):
    return [(place, label.get_text()) for place, label in zip(
        axis.get_ticklocs(minor=which == "minor"), axis.get_ticklabels(which=which), strict=True
    )]  # fmt: skip


def test_channels_that_take_turns_are_labelled_one_by_one(ax):
    op = cm.conv(np.ones((2, 3, 2)), (4, 3))
    cm.plot.matrix(op, ax)

    assert texts(ax.yaxis, "minor") == [(0, "f0"), (1, "f1"), (2, "f0"), (3, "f1"), (4, "f0"), (5, "f1")]
    assert texts(ax.yaxis, "major") == [(0.5, "position 0"), (2.5, "position 1"), (4.5, "position 2")]
    assert texts(ax.xaxis, "minor") == [(j, f"c{j % 3}") for j in range(12)]  # c1, the middle of its block, among them
    assert texts(ax.xaxis, "major") == [(1, "position 0"), (4, "position 1"), (7, "position 2"), (10, "position 3")]
    assert ax.get_xlabel() == "input (i1, c)"


@pytest.mark.parametrize("size", [(5, 6), (12, 9), (30, 2)])
def test_where_channels_have_no_room_the_label_of_the_axis_tells_them(ax, size):
    op = cm.conv(np.ones((1, 1, 3, 2)), (*size, 3))
    cm.plot.matrix(op, ax, cells=90)

    assert texts(ax.xaxis, "minor") == []
    assert ax.get_xlabel() == "input (i1, i2, c), c0 to c2 in turn"


@pytest.mark.parametrize("layout", ["plain", "first", "lone"])
def test_what_does_not_take_turns_is_not_told_to(ax, layout):
    kernel, shape, channels = {
        "plain": ((2, 2), (40, 30), None), "first": ((3, 2, 2, 2), (2, 30, 30), "first"),
        "lone": ((2, 2, 1, 1), (40, 30, 1), "last"),
    }[layout]  # fmt: skip
    cm.plot.matrix(cm.conv(np.ones(kernel), shape, channels=channels), ax)

    assert texts(ax.xaxis, "minor") == texts(ax.yaxis, "minor") == []
    assert ax.get_xlabel().endswith(")")
    assert ax.get_ylabel().endswith(")")


@pytest.mark.parametrize(
    ("groups", "given"),
    [(1, None), (2, None), (1, (6.4, 4.8)), (2, (12, 9))],
    ids=["own", "own, groups", "usual", "large, groups"],
)
@pytest.mark.parametrize("layout", ["last", "first"])
@pytest.mark.parametrize("size", [(4,), (11,), (3, 3), (8, 12), (2, 3, 4)])
def test_labels_do_not_overlap(size, layout, groups, given):
    from matplotlib.figure import Figure

    kernel = np.ones((*(2 for _ in size), 4 // groups, 4))
    shape = (*size, 4)
    if layout == "first":
        kernel, shape = np.moveaxis(kernel, (-1, -2), (0, 1)), (4, *size)
    op = cm.conv(kernel, shape, groups=groups, channels=layout, padding="same")
    ax = cm.plot.matrix(op, given and Figure(given, layout="constrained").subplots())

    ax.figure.draw_without_rendering()
    for axis, side in ((ax.yaxis, "intervaly"), (ax.xaxis, "intervalx")):
        for which in ("major", "minor"):
            ends = [sorted(getattr(label.get_window_extent(), side)) for label in axis.get_ticklabels(which=which)]
            assert all(one[1] <= other[0] for one, other in pairwise(sorted(ends)))
        major, minor = (
            Bbox.union([label.get_window_extent() for label in labels]) if labels else None
            for labels in (axis.get_ticklabels(), axis.get_ticklabels(which="minor"))
        )
        assert major is None or minor is None or not major.overlaps(minor)


@pytest.mark.parametrize("shape", [(2, 3, 2), (2, 8, 1), (3, 2, 2), (4, 3, 1), (5, 5, 2)])
def test_nothing_is_cut_off_a_new_figure(shape):
    figure = cm.plot.matrix(cm.conv(np.ones((min(2, shape[0]), 2, shape[2], 3)), shape)).figure

    figure.canvas.draw()
    inside = figure.axes[0].get_tightbbox()
    assert min(inside.x0, inside.y0) >= 0
    assert inside.x1 <= figure.bbox.width
    assert inside.y1 <= figure.bbox.height


def test_large_matrices_are_drawn_by_density(ax):
    op = cm.conv(np.ones((3, 3)), (60, 60), padding="same")
    data = cm.plot.matrix_data(op, cells=30)
    cm.plot.matrix(op, ax, cells=30)

    rows, columns = data.row_edges, data.column_edges
    stored = (op.to_dense() != 0).astype(int)
    counts = np.add.reduceat(np.add.reduceat(stored, rows[:-1], axis=0), columns[:-1], axis=1)
    expected = counts / np.outer(np.diff(rows), np.diff(columns))
    assert data.taps is data.values is None
    assert np.array_equal(data.counts, counts)
    drawn = ax.images[0].get_array()
    assert np.array_equal(drawn.mask, counts == 0)
    assert np.allclose(drawn.filled(0), expected)
    assert ax.get_title() == f"3600 x 3600, {op.nnz} stored\ncells of up to 120 x 120"
    assert ax.images[0].get_extent() == [-0.5, 3599.5, 3599.5, -0.5]
    assert len(ax.figure.axes) == 2  # with the colour bar


def test_a_matrix_that_no_memory_holds_is_drawn(ax):
    op = cm.conv(np.ones((3, 3)), (2**29, 2**29), padding="same")
    cm.plot.matrix(op, ax)

    assert ax.get_title().startswith(f"{2**58} x {2**58}, {op.nnz} stored\n")
    ax.figure.canvas.draw()


def test_other_maps_are_drawn_by_value(ax):
    op = cm.conv([1.0, -2.0], 6, padding="same") @ cm.conv([1.0, 0.5, 3.0], 6, padding="same", boundary="edge")
    assert not isinstance(op, cm.ConvOperator)
    data = cm.plot.matrix_data(op)
    cm.plot.matrix(op, ax, values=True)

    dense = op.to_dense()
    assert np.array_equal(data.values, dense)
    assert data.taps is None
    drawn = ax.images[0].get_array()
    assert np.array_equal(drawn.filled(0), dense)
    assert len(ax.texts) == data.counts.sum()


def test_what_cannot_be_drawn_is_refused():
    op = cm.conv([1.0, 2.0], 50)
    other = cm.conv([1.0, 2.0], 50, padding="same") @ cm.conv([1.0, 2.0], 50, padding="same", boundary="edge")

    with pytest.raises(cm.ArgumentError, match=r"cells=0. Expected an integer >= 1"):
        cm.plot.matrix(op, cells=0)
    with pytest.raises(cm.ArgumentTypeError, match=r"cells=1.5"):
        cm.plot.matrix_data(op, cells=1.5)
    with pytest.raises(cm.ArgumentTypeError, match=r"values=1. Expected True or False"):
        cm.plot.matrix(op, values=1)
    with pytest.raises(cm.ArgumentError, match=r"values=True for a matrix of 49 x 50. Numbers are written up to 40"):
        cm.plot.matrix(op, values=True)
    with pytest.raises(cm.UnsupportedError, match=r"the matrix of a Product is 50 x 50. Patterns of maps that are no"):
        cm.plot.matrix(other, cells=49)
    with pytest.raises(cm.ArgumentError, match=r"numbers of up to 8e\+306. Pictures have scales of up to 1e\+306"):
        cm.plot.matrix(1e306 * other)


def test_more_cells_than_memory_holds_are_refused():
    with pytest.raises(cm.FormTooLargeError, match=r"cells=1000000 for a matrix of .*Ask for fewer cells"):
        cm.plot.matrix(cm.conv(np.ones((3, 3)), (2000, 2000)), cells=10**6)


def test_numbers_that_share_a_cell_are_not_written():
    with pytest.raises(cm.ArgumentError, match="up to 3 rows and columns"):
        cm.plot.matrix(cm.conv(np.ones((3, 3)), (6, 6)), values=True, cells=3)
