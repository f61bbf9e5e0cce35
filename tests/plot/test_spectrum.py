"""Singular values against a dense decomposition, bounds, and what is drawn."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.plot import spectra

KERNEL = np.random.default_rng(3).normal(size=(3, 3))


def dense_values(op):
    return np.linalg.svd(op.to_dense(), compute_uv=False)


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": "same", "boundary": "wrap"}, {"stride": 2}])
def test_all_singular_values_with_their_bounds(options, ax):
    op = cm.conv(KERNEL, (8, 8), **options)
    data = cm.plot.spectrum_data(op)
    cm.plot.spectrum(op, ax)

    s = dense_values(op)
    assert np.allclose(data.values, s)
    assert (data.lower <= s + 1e-9).all()
    assert (s <= data.upper + 1e-9).all()
    assert data.kind == "exact"
    assert np.allclose(ax.lines[0].get_ydata(), s)
    band = ax.collections[0].get_paths()[0].vertices
    for j, (low, high) in enumerate(zip(data.lower, data.upper, strict=True)):
        drawn = band[band[:, 0] == j, 1]
        assert np.isclose(drawn.max(), high)
        if ax.get_yscale() == "linear":
            assert np.isclose(drawn.min(), low)


def test_some_of_the_largest(ax):
    op = cm.conv(KERNEL, (8, 8), padding="same")
    data = cm.plot.spectrum_data(op, k=5)
    cm.plot.spectrum(op, ax, k=5)

    assert np.allclose(data.values, dense_values(op)[:5])
    assert data.lower.shape == data.upper.shape == (5,)
    assert ax.get_title() == "the 5 largest singular values, exact"


def test_bounds_stand_alone_where_values_take_too_long(ax, monkeypatch):
    op = cm.conv(np.random.default_rng(0).normal(size=(5, 5)), (20, 20), padding="same")
    s = dense_values(op)
    monkeypatch.setattr(spectra, "MOST_WORK", 10_000_000)
    data = cm.plot.spectrum_data(op)
    cm.plot.spectrum(op, ax)

    assert data.values is None
    assert data.kind == "interval"
    assert (data.lower <= s + 1e-9).all()
    assert (s <= data.upper + 1e-9).all()
    assert not ax.lines
    assert ax.get_title() == "400 singular values, bounds alone"


def test_what_takes_too_long_altogether_is_refused(monkeypatch):
    op = cm.conv(KERNEL, (8, 8), padding="same")
    monkeypatch.setattr(spectra, "MOST_WORK", 1)

    with pytest.raises(cm.UnsupportedError, match=r"all 64 singular values. Neither they nor bounds .* as with k=10"):
        cm.plot.spectrum(op)


def test_of_a_huge_map_nothing_is_tried():
    with pytest.raises(cm.UnsupportedError, match="all 999999998 singular values"):
        cm.plot.spectrum_data(cm.conv([1.0, 2.0, 3.0], 10**9))


def test_other_maps_have_no_bounds(ax):
    op = cm.conv([1.0, 2.0], 6, padding="same") @ cm.conv([1.0, 0.0, 3.0], 6, padding="same", boundary="edge")
    data = cm.plot.spectrum_data(op)
    cm.plot.spectrum(op, ax)

    assert np.allclose(data.values, dense_values(op))
    assert (data.lower <= dense_values(op)).all()
    assert np.allclose(data.lower, data.upper, rtol=1e-12, atol=1e-12)
    assert ax.get_legend() is None


@pytest.mark.parametrize(("kernel", "scale"), [([3.0, 1.0], "linear"), ([1.0, 4.0, 6.0, 4.0, 1.0], "log")])
def test_steep_spectra_have_a_logarithmic_scale(ax, kernel, scale):
    op = cm.conv(kernel, 40, padding="same")
    cm.plot.spectrum(op, ax)

    assert ax.get_yscale() == scale
    assert 0 <= ax.get_ylim()[0] <= dense_values(op)[-1]


def test_a_kernel_of_zeros_and_a_singular_map_are_drawn(ax):
    cm.plot.spectrum(cm.conv([0.0, 0.0], 5), ax)
    cm.plot.spectrum(cm.conv([1.0, -1.0], 64, padding="same", boundary="wrap"), ax)

    ax.figure.canvas.draw()


@pytest.mark.parametrize("k", [0, 1.5, True])
def test_k_is_a_whole_number(k):
    with pytest.raises((cm.ArgumentError, cm.ArgumentTypeError), match=f"plot.spectrum: k={k}"):
        cm.plot.spectrum(cm.conv([1.0, 2.0], 6), k=k)


def test_a_value_alone_stands_inside(ax):
    cm.plot.spectrum(cm.conv([2.0], 1), ax)

    assert ax.get_title() == "1 singular value, exact"
    assert ax.get_ylim()[1] > 2
