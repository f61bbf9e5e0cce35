"""Maps of labelled arrays, beside what xarray itself makes of windows."""

import numpy as np
import pytest

import convmtx as cm

xr = pytest.importorskip("xarray")
da = pytest.importorskip("dask.array")


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    times = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8[ns]")
    coords = {
        "t": times, "y": np.arange(12) * 10, "x": np.linspace(0.0, 1.0, 9), "name": ("y", list("abcdefghijkl")),
        "lat": (("y", "x"), rng.random((12, 9))), "sensor": 7,
    }  # fmt: skip
    return xr.DataArray(rng.integers(-9, 10, (12, 3, 9)), coords, ("y", "t", "x"), "seen", {"units": "K"})


def test_windows_of_xarray_have_these_sums_and_middles(image):
    averaged = image.astype(float).drop_vars(["name", "lat", "sensor"]).coarsen(y=3, x=3).mean()
    op = cm.conv(np.ones((3, 3)) / 9, (12, 9), stride=3)
    seen = cm.apply(op, image, ("y", "x"))
    xr.testing.assert_allclose(seen.drop_vars("sensor"), averaged.transpose("t", "y", "x"))
    assert seen.dims == ("t", "y", "x")
    assert (seen.name, seen.attrs, int(seen.sensor)) == ("seen", {"units": "K"}, 7)


def test_outputs_in_place_of_inputs_keep_all_coordinates(image):
    op = cm.conv(np.ones((3, 3)), (12, 9), padding="same")
    seen = cm.apply(op, image, ("y", "x"))
    rolled = image.rolling(y=3, x=3, center=True, min_periods=1).sum()
    xr.testing.assert_equal(seen.astype(float), rolled.transpose("t", "y", "x"))


def test_chunks_stay_lazy_and_apply_ufunc_takes_maps(image):
    op = cm.conv(np.ones((3, 3), int), (12, 9), padding="same", boundary="wrap")
    chunked = image.chunk(y=5, x=4)
    for seen in (
        cm.apply(op, chunked, ("y", "x")),
        xr.apply_ufunc(
            op, chunked, input_core_dims=[["y", "x"]], output_core_dims=[["y", "x"]], dask="allowed", keep_attrs=True
        ),
    ):
        assert isinstance(seen.data, da.Array)
        assert seen.attrs == {"units": "K"}
        assert np.array_equal(seen.compute().values, op(image.transpose("t", "y", "x").values))


def test_middles_between_times_and_beyond_ends(image):
    seen = cm.apply(cm.conv([1, 1], 3), image, ["t"])
    assert seen.t.values.tolist() == np.array(["2020-01-01T12", "2020-01-02T12"], "M8[ns]").tolist()
    wide = cm.apply(cm.conv([1], 12, padding=2), image, ["y"])
    assert wide.y.values.tolist() == list(range(-20, 140, 10))
    assert "name" not in wide.coords
    doubled = cm.apply(cm.conv([1], 12, input_dilation=2), image, ["y"])
    assert doubled.y.values.tolist() == list(range(0, 115, 5))


def test_names_of_other_outputs(image):
    edges = cm.conv(np.ones((3, 3, 1, 2)), (12, 9, 1), padding="same")
    seen = cm.apply(edges, image.expand_dims("channel"), ("y", "x", "channel"), ("y", "x", "filter"))
    assert dict(seen.sizes) == {"t": 3, "y": 12, "x": 9, "filter": 2}
    flat = cm.apply(cm.vstack([cm.identity((12, 9))] * 2), image, ("y", "x"), ["row"])
    assert dict(flat.sizes) == {"t": 3, "row": 216}
    assert set(flat.coords) == {"t", "sensor"}


@pytest.mark.parametrize(("dims", "message"), [
    (("y", "z"), r"Expected y: 12, z: 9"), (("x", "y"), "Expected x: 12, y: 9"), (("y",), "2 different names"),
    ("yx", "2 different names"), (("y", "y"), "2 different names"),
])  # fmt: skip
def test_dimensions_that_do_not_fit(image, dims, message):
    with pytest.raises(cm.ArgumentError, match=message):
        cm.apply(cm.conv(np.ones((3, 3)), (12, 9)), image, dims)


def test_names_of_outputs_are_not_those_of_a_batch(image):
    with pytest.raises(cm.ArgumentError, match="array has another dimension 't'"):
        cm.apply(cm.conv(np.ones((3, 3)), (12, 9)), image, ("y", "x"), ("t", "x"))
    with pytest.raises(cm.ArgumentTypeError, match=r"DataArray of chunks of Dask.*Pass x\.data, or use cm\.apply"):
        cm.conv(np.ones(9), 9)(image.chunk())


def test_only_arrays_with_labels_are_taken(image):
    op = cm.conv(np.ones((3, 3)), (12, 9))
    with pytest.raises(cm.ArgumentTypeError, match=r"array is a Dataset\. Expected an xarray.DataArray"):
        cm.apply(op, image.to_dataset(), ("y", "x"))
    large = xr.DataArray(da.zeros((10**5, 10**5), chunks=1000), dims=("y", "x"))
    with pytest.raises(cm.ArgumentTypeError, match=r"Pass x\.data, or use cm\.apply\(op, x, dims\)"):
        cm.conv(np.ones((3, 3)), large.shape)(large)
