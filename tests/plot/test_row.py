"""One row on the input: against the dense matrix, and what is drawn against the numbers."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convmtx as cm
from strategies import cases


@given(cases(), st.randoms(use_true_random=False))
def test_the_row_is_that_of_the_matrix(case, random):
    o = random.randrange(case.op.shape[0])
    output = tuple(int(j) for j in np.unravel_index(o, case.op.out_shape))
    for asked in (
        o,
        o - case.op.shape[0],
        output,
        tuple(j - n for j, n in zip(output, case.op.out_shape, strict=True)),
    ):
        data = cm.plot.row_data(case.op, asked)
        assert data.output == output
        assert np.array_equal(data.weights, case.tensor[output])
        assert data.weights.dtype == case.op.dtype
        assert data.weights.shape == case.op.in_shape


@given(cases(boundaries=["zero"]))
def test_the_window_holds_what_is_read(case):
    for o in range(case.op.shape[0]):
        data = cm.plot.row_data(case.op, o)
        space = np.delete(data.coordinates, _channel(case.op), axis=1)
        for (first, last), axis, at in zip(data.window, case.op.geometry.axes, space.T, strict=True):
            assert np.isclose((last - first) * axis.input_dilation, axis.span - 1)
            assert (first <= at).all()
            assert (at <= last).all()


def _channel(op):
    """Which axis of the input is the channel, if one is."""
    return {"none": [], "last": [len(op.in_shape) - 1], "first": [0]}[op.geometry.layout.value]


def test_a_window_beyond_the_ends_is_told_as_it_is():
    op = cm.conv(np.ones((3, 3)), (8, 8), stride=2, padding=1, boundary="wrap")

    assert cm.plot.row_data(op, (0, 3)).window == ((-1, 1), (5, 7))


def test_rows_of_other_maps_are_had_too():
    op = cm.conv([1.0, 2.0], 6, padding="same") @ cm.conv([1.0, 0.0, 3.0], 6, padding="same", boundary="edge")
    data = cm.plot.row_data(op, 2)

    assert np.array_equal(data.weights, op.to_dense()[2])
    assert data.window is None


def test_a_row_of_a_huge_map_is_had_at_once(ax):
    op = cm.conv(np.arange(1.0, 10).reshape(3, 3), (2**29, 2**29), padding="same")
    data = cm.plot.row_data(op, (2**28, 7))

    expected = [(2**28 + i, 7 + j) for i, j in product((-1, 0, 1), repeat=2)]
    assert data.coordinates.tolist() == [list(at) for at in expected]
    assert data.values.tolist() == list(range(1, 10))
    with pytest.raises(cm.FormTooLargeError):
        data.weights  # noqa: B018
    cm.plot.row(op, (2**28, 7), ax)
    assert shown(ax) == dict(zip(expected, data.values, strict=True))


def shown(ax):
    """Cells of a lone image that are drawn, by the coordinates that its ticks count."""
    (image,) = ax.images
    left, _, bottom, top = image.get_extent()
    values = np.ma.masked_invalid(image.get_array()).filled(0)
    assert bottom - top == values.shape[0]
    at = np.argwhere(values)
    return {(round(y + top + 0.5), round(x + left + 0.5)): values[y, x] for y, x in at}


def test_an_image_shows_the_weights_where_they_are(ax):
    op = cm.conv([[1.0, -2.0], [3.0, 4.0]], (5, 6), padding="same", boundary="symmetric")
    cm.plot.row(op, (4, 5), ax)

    dense = op.to_tensor()[4, 5]
    assert shown(ax) == {tuple(at): dense[tuple(at)] for at in np.argwhere(dense)}
    window = ax.patches[-1]
    assert (*window.get_xy(), window.get_width(), window.get_height()) == (4.5, 3.5, 2, 2)
    assert ax.get_xlim() == (-0.5, 7)  # the window too, which sticks out
    assert ax.get_title() == "output (4, 5) reads 1 of 30 inputs"


def test_a_signal_shows_stems(ax):
    op = cm.conv([1.0, -2.0, 3.0], 9)
    cm.plot.row(op, 4, ax)

    stems, marks = ax.collections
    assert np.array_equal(stems.get_segments(), [[[4, 0], [4, 1]], [[5, 0], [5, -2]], [[6, 0], [6, 3]]])
    assert marks.get_offsets().tolist() == [[4, 1], [5, -2], [6, 3]]
    assert ax.get_xlim() == (-0.5, 8.5)


def test_channels_of_the_group_stand_side_by_side(ax):
    K = np.arange(1.0, 73).reshape(4, 2, 3, 3)
    op = cm.conv(K, (4, 5, 5), channels="first", groups=2)
    cm.plot.row(op, (3, 1, 2), ax)

    assert [text.get_text() for text in ax.texts if text.get_text().startswith("c")] == ["c2", "c3"]
    image = np.nan_to_num(np.asarray(ax.images[0].get_array()))
    gap = image.shape[1] - 10
    assert np.array_equal(image[1:4, 2:5], K[3, 0])
    assert np.array_equal(image[1:4, 7 + gap : 10 + gap], K[3, 1])
    assert np.count_nonzero(image) == 18


def test_a_signal_of_several_channels_shows_one_below_the_other(ax):
    op = cm.conv(np.arange(1.0, 13).reshape(3, 2, 2), (8, 2))
    cm.plot.row(op, (4, 1), ax)

    weights = op.to_tensor()[4, 1]
    assert np.array_equal(np.nan_to_num(np.asarray(ax.images[0].get_array())), weights.T)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c0", "c1"]


def test_slices_that_are_read_stand_side_by_side(ax):
    op = cm.conv(np.arange(1.0, 28).reshape(3, 3, 3), (9, 6, 6))
    cm.plot.row(op, (4, 1, 0), ax)

    names = [text.get_text() for text in ax.texts if text.get_text().startswith("s")]
    assert names == ["slice 4", "slice 5", "slice 6"]
    assert np.nansum(np.asarray(ax.images[0].get_array())) == sum(range(1, 28))


def test_what_lies_far_apart_is_drawn_as_marks(ax):
    op = cm.conv(np.ones((3, 3)), (500, 500), padding="same", boundary="wrap")
    cm.plot.row(op, 0, ax)

    assert not ax.images
    marks = ax.collections[0].get_offsets()
    assert {tuple(at) for at in np.asarray(marks).tolist()} == set(product((0.0, 1.0, 499.0), repeat=2))


def test_complex_weights_are_drawn_by_magnitude(ax):
    cm.plot.row(cm.conv([[3 + 4j, 1j]], (3, 4)), (1, 1), ax)

    assert shown(ax) == {(1, 1): 5.0, (1, 2): 1.0}
    assert [text.get_text() for text in ax.texts] == ["3+4j", "0+1j"]


@pytest.mark.parametrize("o", [20, -21, (4, 0), (0, -6), (1,), (1, 1, 1), ()])
def test_outputs_that_there_are_not_are_refused(o):
    op = cm.conv([[1.0]], (4, 5))

    with pytest.raises(cm.RowIndexError, match=r"plot.row: o=.* Outputs have shape \(4, 5\), 20 of them. Pass one"):
        cm.plot.row(op, o)


@pytest.mark.parametrize("o", [1.0, "1", None, True, (0, 1.5), np.array([0.0, 1.0]), np.array([[0, 1]])])
def test_what_is_no_number_of_an_output_is_refused(o):
    with pytest.raises(
        cm.ArgumentTypeError, match=r"plot.row_data: o=.* Expected the number of an output or its 2 coordinates"
    ):
        cm.plot.row_data(cm.conv([[1.0]], (4, 5)), o)


def test_coordinates_may_be_arrays():
    op = cm.conv([[1.0]], (4, 5))

    for o in (np.argwhere(np.ones((4, 5)))[7], np.array(7), np.array([1, 2], "u1")):
        assert cm.plot.row_data(op, o).output == (1, 2)
