"""What all pictures share: where they draw, what they leave alone, what they refuse."""

import subprocess
import sys

import numpy as np
import pytest

import convmtx as cm

KERNEL = np.arange(1.0, 10).reshape(3, 3)
OP = cm.conv(KERNEL, (6, 5), padding="same", boundary="symmetric")
CHANNELS = cm.conv(np.arange(1.0, 73).reshape(3, 3, 2, 4) - 20, (5, 5, 4), groups=2, padding="same")
LINE = cm.conv([1.0, -2.0, 3.0], 9, stride=2)
PICTURES = {
    "matrix": lambda op, ax=None: cm.plot.matrix(op, ax),
    "row": lambda op, ax=None: cm.plot.row(op, 3, ax),
    "kernel": lambda op, ax=None: cm.plot.kernel(op, ax),
    "spectrum": lambda op, ax=None: cm.plot.spectrum(op, ax),
    "symbol": lambda op, ax=None: cm.plot.symbol(op, ax),
    "cost": lambda op, ax=None: cm.plot.cost(op, ax),
}


@pytest.fixture(params=list(PICTURES))
def picture(request):
    return PICTURES[request.param]


@pytest.mark.parametrize("op", [OP, CHANNELS, LINE], ids=["image", "channels", "signal"])
@pytest.mark.parametrize("theme", ["default", "dark_background"])
def test_every_picture_is_drawn_in_light_and_dark(picture, op, theme, figures):
    with figures.style.context(theme):
        ax = picture(op)
        ax.figure.canvas.draw()
        drawn = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)

    background = drawn[0, 0]
    assert (np.abs(drawn - background).sum(axis=2) > 60).mean() > 0.005  # something stands out
    assert ax.get_title()


def test_given_axes_are_drawn_on_and_pyplot_is_left_alone(picture, figures):
    from matplotlib.figure import Figure

    mine, beside = figures.subplots(1, 2)[1]
    figures.sca(beside)
    numbers = figures.get_fignums()
    other = Figure().subplots()

    assert picture(OP, other) is other
    assert figures.get_fignums() == numbers
    assert figures.gca() is beside
    assert not mine.has_data()
    assert not beside.has_data()


def test_without_axes_a_figure_of_pyplot_is_made_which_notebooks_show(picture, figures):
    before = figures.get_fignums()
    ax = picture(OP)

    (number,) = set(figures.get_fignums()) - set(before)
    assert figures.figure(number) is ax.figure


def test_a_picture_fits_among_others(picture):
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.subfigures(1, 2)[0].subplots(2, 1)

    assert picture(OP, axes[1]) is axes[1]
    figure.canvas.draw()
    assert not axes[0].has_data()


def test_what_is_no_axes_is_refused(picture):
    with pytest.raises(cm.ArgumentTypeError, match=r"plot\.\w+: ax is a builtins.int. Expected Axes of matplotlib"):
        picture(OP, 3)


@pytest.mark.parametrize(("projection", "name"), [("polar", "PolarAxes"), ("3d", "Axes3D"), ("hammer", "HammerAxes")])
def test_axes_without_straight_sides_are_refused(picture, projection, name):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot(projection=projection)
    with pytest.raises(
        cm.ArgumentTypeError,
        match=rf"plot\.\w+: ax is a \S+\.{name}. Expected Axes of matplotlib with straight sides. Leave it out",
    ):
        picture(OP, ax)
    assert not ax.has_data()


def test_what_is_no_map_is_refused(picture):
    with pytest.raises(cm.ArgumentTypeError, match="Expected a map of convmtx"):
        picture("matrix")


@pytest.mark.parametrize("name", ["matrix", "row", "spectrum"])
def test_matrices_are_drawn_as_maps(name):
    A = np.arange(12.0).reshape(4, 3)
    drawn, expected = PICTURES[name](A), PICTURES[name](cm.aslinearmap(A))
    assert drawn.get_title() == expected.get_title()


@pytest.mark.parametrize("name", ["kernel", "symbol", "cost"])
def test_a_map_that_is_no_convolution_has_no_kernel(name):
    product = OP @ cm.conv([[1.0, 2.0]], (6, 5), padding="same", boundary="edge")

    with pytest.raises(cm.UnsupportedError, match=rf"plot.{name}: op is a Product. Expected a convolution"):
        PICTURES[name](product)


def test_kernels_of_torch_are_drawn(picture):
    torch = pytest.importorskip("torch")
    op = cm.conv(torch.tensor(KERNEL, requires_grad=True), (6, 5), padding="same")

    assert picture(op).get_title() == picture(cm.conv(KERNEL, (6, 5), padding="same")).get_title()


def test_half_precision_is_drawn(picture):
    assert picture(cm.conv(KERNEL.astype(np.float16), (6, 5))).get_title()


def test_pictures_are_missed_with_the_name_of_their_extra(picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(
        cm.MissingExtraError,
        match=r'matplotlib is not installed. .* Install it, as with pip install "convmtx\[plot\]"',
    ):
        picture(OP)


def test_numbers_need_no_matplotlib():
    code = """if True:
        import sys, convmtx as cm
        op = cm.conv([1.0, 2.0], 5)
        for call in (cm.plot.matrix_data, cm.plot.kernel_data, cm.plot.spectrum_data, cm.plot.symbol_data):
            call(op)
        cm.plot.row_data(op, 0), cm.plot.cost_data(op), op._repr_html_()
        print("matplotlib" in sys.modules)
    """
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "False\n"


@pytest.mark.parametrize("top", [1.7e308, -2e306])
@pytest.mark.parametrize("picture", ["row", "kernel", "spectrum", "symbol"], indirect=True)
def test_numbers_without_a_scale_are_refused(picture, top, figures):
    with np.errstate(over="ignore"), pytest.raises(cm.ArgumentError, match=r"numbers of up to .*Scale the kernel"):
        picture(cm.conv([[top, 1.0], [1.0, top]], (4, 4)))
    assert not figures.get_fignums()


@pytest.mark.parametrize("picture", list(PICTURES), indirect=True)
def test_large_numbers_are_drawn(picture, recwarn):
    picture(cm.conv([[1e305, -1e305], [1.0, 1e305]], (4, 4))).figure.canvas.draw()

    assert not recwarn.list


@pytest.mark.parametrize("op", [cm.conv([2.0], 1), cm.conv([[2.0]], (1, 1)), cm.conv([1.0, 2.0, 3.0], 3)])
@pytest.mark.parametrize("picture", ["matrix", "kernel", "spectrum"], indirect=True)
def test_few_positions_have_whole_numbers(picture, op):
    ax = picture(op)

    ax.figure.canvas.draw()
    sides = {"number, from the largest": (ax.xaxis,), "tap": (ax.xaxis,)}.get(ax.get_xlabel(), (ax.xaxis, ax.yaxis))
    for side in sides:
        assert all(at == round(at) for at in side.get_majorticklocs())


@pytest.mark.parametrize("picture", ["matrix", "row", "kernel", "symbol"], indirect=True)
def test_lines_that_a_style_switches_on_do_not_cross_cells(picture, figures):
    with figures.style.context("ggplot"):
        ax = picture(OP)
    ax.figure.canvas.draw()

    assert not any(line.get_visible() for line in [*ax.get_xgridlines(), *ax.get_ygridlines()])


def test_axes_that_were_removed_are_refused(picture, figures):
    ax = figures.subplots()[1]
    ax.remove()

    with pytest.raises(cm.ArgumentError, match=r"ax was removed. Expected Axes of a figure. Leave it out"):
        picture(OP, ax)
