"""The kernel as it was given, whatever its layout."""

import numpy as np
import pytest

import convmtx as cm


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_both_layouts_show_the_same_taps(groups, transposed):
    first = np.random.default_rng(0).normal(size=(4, 6 // groups, 2, 3))
    last = np.moveaxis(first, (0, 1), (-1, -2))
    make = cm.conv_transpose if transposed else cm.conv
    channels = 4 if transposed else 6
    one = cm.plot.kernel_data(make(first, (channels, 5, 5), groups=groups, channels="first"))
    other = cm.plot.kernel_data(make(last, (5, 5, channels), groups=groups))

    assert np.array_equal(one.taps, first)
    assert np.array_equal(other.taps, first)
    assert np.array_equal(one.outputs, other.outputs)
    assert np.array_equal(one.inputs, other.inputs)


@pytest.mark.parametrize("transposed", [False, True])
def test_pairs_are_those_that_are_joined(transposed):
    """Each pair's taps are the block of the matrix that joins these channels, for a kernel of one tap."""
    kernel = np.arange(1.0, 13).reshape(4, 3, 1)
    op = (cm.conv_transpose if transposed else cm.conv)(kernel, (4 if transposed else 6, 1), groups=2, channels="first")
    data = cm.plot.kernel_data(op)

    dense = np.zeros(op.shape)
    dense[data.outputs, data.inputs] = data.taps[..., 0]
    assert np.array_equal(dense, op.to_dense())


def test_a_flipped_kernel_is_shown_as_it_was_given(ax):
    kernel = np.arange(6).reshape(2, 3)
    cm.plot.kernel(cm.conv(kernel, (4, 4), flip=True), ax)

    assert np.array_equal(np.asarray(ax.images[0].get_array()), kernel)
    assert [text.get_text() for text in ax.texts] == list("012345")
    assert ax.get_title() == "kernel (2, 3), int64"


def test_one_axis_shows_stems(ax):
    cm.plot.kernel(cm.conv([2.0, -1.0], 5), ax)

    assert ax.collections[1].get_offsets().tolist() == [[0, 2], [1, -1]]


def test_channels_of_one_axis_stand_below_each_other(ax):
    kernel = np.random.default_rng(0).normal(size=(3, 2, 2))
    cm.plot.kernel(cm.conv(kernel, (5, 2)), ax)

    assert np.array_equal(np.asarray(ax.images[0].get_array()), kernel.transpose(2, 1, 0).reshape(4, 3))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["f0, c0", "f0, c1", "f1, c0", "f1, c1"]


def test_each_pair_of_channels_has_a_tile_output_below_output(ax):
    kernel = np.random.default_rng(0).normal(size=(2, 3, 5, 5))
    cm.plot.kernel(cm.conv(kernel, (3, 8, 8), channels="first"), ax)

    image = np.asarray(ax.images[0].get_array())
    gap = (image.shape[1] - 15) // 2
    for f in range(2):
        for c in range(3):
            tile = image[f * (5 + gap) :, c * (5 + gap) :][:5, :5]
            assert np.array_equal(tile, kernel[f, c])
    assert np.isnan(image).sum() == image.size - kernel.size
    names = [text.get_text() for text in ax.texts]
    assert names == [f"f{f}, c{c}" for f in range(2) for c in range(3)]
    assert len(ax.figure.axes) == 2  # too many numbers to write: a colour bar


def test_slices_of_a_volume_have_tiles(ax):
    kernel = np.arange(8.0).reshape(2, 2, 2)
    cm.plot.kernel(cm.conv(kernel, (4, 4, 4)), ax)

    image = np.asarray(ax.images[0].get_array())
    assert np.array_equal(image[:, :2], kernel[0])
    assert np.array_equal(image[:, -2:], kernel[1])


def test_of_many_channels_the_first_pairs_are_drawn(ax):
    kernel = np.random.default_rng(0).normal(size=(64, 64, 3, 3))
    cm.plot.kernel(cm.conv(kernel, (64, 8, 8), channels="first"), ax)

    assert ax.get_title() == "kernel (64, 64, 3, 3), float64\nthe first 256 pairs of 4096"
    assert np.isfinite(np.asarray(ax.images[0].get_array())).sum() == 256 * 9


def test_a_kernel_of_zeros_and_one_with_nan_are_drawn(ax):
    cm.plot.kernel(cm.conv(np.zeros((2, 2)), (4, 4)), ax)
    cm.plot.kernel(cm.conv(np.array([[np.nan, 1.0], [np.inf, 2.0]]), (4, 4)), ax)

    assert ax.images[-1].norm.vmax == 2
    ax.figure.canvas.draw()


@pytest.mark.parametrize(("face", "inks"), [
    ("white", ["black", "black"]), ("black", ["white", "black"]), ("none", ["#123456", "black"]),
])  # fmt: skip
def test_numbers_are_read_on_the_page_that_shows_through(face, inks, figures):
    """The smaller tap leaves nearly all of the page, the larger one nothing: orange is lighter than middle grey."""
    with figures.rc_context({"figure.facecolor": face, "text.color": "#123456"}):
        ax = cm.plot.kernel(cm.conv([[0.1, 10.0]], (4, 4)))

    assert [text.get_color() for text in ax.texts] == inks


@pytest.mark.parametrize("theme", ["default", "dark_background"])
def test_what_is_not_finite_is_written(theme, figures):
    with figures.style.context(theme):
        ink = figures.rcParams["text.color"]
        cells = cm.plot.kernel(cm.conv([[1.0, np.nan], [np.inf, -2.0]], (5, 5)))
        stems = cm.plot.kernel(cm.conv([1.0, np.inf, 2.0, -np.inf, np.nan], 6))

    written = {text.get_text(): text.get_color() for text in cells.texts}
    assert written["nan"] == written["inf"] == ink  # on the page, for these cells have no colour
    assert [(text.get_text(), text.xy[0]) for text in stems.texts] == [("inf", 1), ("-inf", 3), ("nan", 4)]
    assert stems.get_xlim()[1] > 4
    assert stems.get_ylim()[1] > 2


def test_names_that_have_no_room_are_smaller_or_left_out(figures):
    op = cm.conv(np.ones((2, 3, 2, 2, 3)), (3, 4, 3, 2), padding="same")
    ax = cm.plot.kernel(op)
    ax.figure.canvas.draw()

    names = [text for text in ax.texts if text.get_text().startswith("f")]
    assert len(names) == 12
    boxes = [text.get_window_extent() for text in names]
    assert not any(one.overlaps(other) for j, one in enumerate(boxes) for other in boxes[:j])
    assert not cm.plot.kernel(op, figures.figure(figsize=(2, 2)).subplots()).texts


def test_every_tile_has_its_whole_outline(ax):
    cm.plot.kernel(cm.conv(np.ones((2, 2, 2, 2)), (4, 4, 2)), ax)

    assert len(ax.patches) == 4
    assert not any(outline.get_clip_on() for outline in ax.patches)
