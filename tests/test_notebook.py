"""What notebooks show: sizes and a picture, well formed, small, and counted in little work for maps of any size."""

import re
from functools import reduce
from importlib import import_module
from string import ascii_lowercase
from xml.etree import ElementTree

import numpy as np
import pytest

import convmtx as cm
from convmtx.geometry import pattern
from convmtx.maps import notebook

HUGE = {
    "zero": lambda: cm.conv(np.ones((3, 3, 2, 4)), (2**28, 2**28, 2), padding="same"),
    "reflect": lambda: cm.conv(np.ones((3, 3)), (2**29, 2**29), padding="same", boundary="reflect"),
    "long kernel": lambda: cm.conv(np.ones(10**6), 10**7, padding="same"),
    "long kernel on a circle": lambda: cm.conv(np.ones(10**5), 10**7, padding="same", boundary="wrap"),
    "wide pads": lambda: cm.conv(np.ones(100), 1000, padding=10**9, boundary="reflect"),
    "phases": lambda: cm.conv(np.ones(100), 10**6, padding=9, boundary="wrap", input_dilation=10**5),
    "channels": lambda: cm.conv(np.ones((3, 3, 1, 4096)), (64, 64, 4096), groups=4096, padding="same"),
    "dense pattern": lambda: cm.conv(np.ones(48), 95, stride=2, dilation=1, input_dilation=2, padding="full"),
}

FOLDED = cm.conv(np.array([1.0, 2.0, 3.0]), 6, padding="same", boundary="reflect")
LARGE = HUGE["reflect"]()
OTHERS = {
    "transpose": lambda: LARGE.T,
    "adjoint": lambda: (LARGE * 1j).H,
    "product": lambda: LARGE.T @ LARGE,
    "sum": lambda: LARGE.T @ LARGE + LARGE @ LARGE.T,
    "many terms": lambda: reduce(lambda op, _: op + FOLDED.T, range(999), FOLDED.T),
    "deep": lambda: reduce(lambda op, _: 2 * op, range(200), LARGE.T),
    "shared": lambda: reduce(lambda op, _: op @ FOLDED + op, range(60), FOLDED.T),
    "many axes": lambda: cm.permutation((2**12,) * 24, ascii_lowercase[:24], ascii_lowercase[23::-1]),
    "dense pattern": lambda: cm.conv(np.ones((7, 7)), (7, 7), padding=6, boundary="reflect").T,
}


def shown(op):
    """The table as a dictionary, and the picture as shades of cells or None."""
    text = op._repr_html_()
    tree = ElementTree.fromstring(text)
    facts = {line.find("th").text: line.find("td").text for line in tree.iter("tr")}
    svg = tree.find("{http://www.w3.org/2000/svg}svg")
    return facts, None if svg is None else shades(svg)


def shades(svg):
    """Opacity of every cell."""
    _, _, wide, high = map(int, svg.get("viewBox").split())
    found = np.zeros((high, wide))
    for path in svg.iter("{http://www.w3.org/2000/svg}path"):
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path.get("d")):
            cells = found[int(y), int(x) : int(x) + int(length)]
            assert (cells == 0).all()
            cells[:] = float(path.get("fill-opacity"))
    return found


def test_a_small_map_shows_each_entry():
    op = cm.conv(np.ones((2, 3)), (5, 6), padding=1, boundary="reflect", stride=(2, 1))
    facts, picture = shown(op)

    assert np.array_equal(picture > 0, op.to_dense() != 0)
    assert set(np.unique(picture)) == {0.0, 1.0}
    assert facts["maps"] == "(5, 6) → (3, 6)"
    assert facts["matrix"] == "18 x 30"
    assert facts["kernel"] == "(2, 3), float64"
    assert facts["axis 0"] == "stride 2, dilation 1, pads (1, 1), boundary reflect"
    assert facts["stored"].startswith(f"{op.to_sparse().nnz} entries")
    assert "dense 4.32 kB" in facts["bytes"]
    assert facts["engine"].startswith("auto")
    assert "channels" not in facts


def test_a_large_map_shows_how_densely_cells_are_filled():
    op = cm.conv(np.ones((4, 2, 9, 9)), (4, 30, 30), channels="first", groups=2, padding="same")
    facts, picture = shown(op)

    found = pattern.pattern(op.geometry, 48)
    size = np.outer(np.diff(found.row_edges), np.diff(found.column_edges))
    density = found.counts / size
    assert np.array_equal(picture > 0, found.counts > 0)
    assert (np.abs(picture - density / density.max()) <= 0.2 + 1e-9).all()
    assert facts["channels"] == "4 → 4, first, groups 2"


@pytest.mark.parametrize("name", list(HUGE))
def test_a_map_of_any_size_is_shown_in_little_work(name, monkeypatch):
    op = HUGE[name]()
    lines = []
    add = pattern._add_lines
    monkeypatch.setattr(pattern, "_add_lines", lambda *args: (lines.append(args[-1].starts.size), add(*args)))
    counted = []
    runs = import_module("convmtx.geometry.runs")  # not the function of that name
    one = runs._run
    monkeypatch.setattr(runs, "_run", lambda *args: (counted.append(1), one(*args))[1])
    html = op._repr_html_()

    assert len(html) < 60_000
    assert len(html.encode()) < 60_000
    assert sum(lines) < 3000
    assert sum(counted) < 1500
    assert str(op.shape[0]) in html
    ElementTree.fromstring(html)


def test_what_would_take_long_to_count_is_left_out():
    facts, picture = shown(HUGE["long kernel on a circle"]())

    assert picture is None
    assert "stored" not in facts
    assert facts["bytes"] == "dense 800 TB"


def test_no_map_is_larger_than_its_bound():
    """As many rectangles as there can be: every other cell."""
    found = pattern.Pattern(np.arange(49), np.arange(49), np.indices((48, 48)).sum(axis=0) % 2)
    geometry = cm.conv(np.ones((1,) * 8), (2**7,) * 8).geometry

    assert (
        len(notebook._svg(geometry.shape, found)) + len(str(notebook._facts(geometry, np.dtype(float), "auto", True)))
        < 60_000
    )


def test_kernels_of_other_libraries_are_shown():
    torch = pytest.importorskip("torch")
    facts, picture = shown(cm.conv(torch.ones(3, dtype=torch.bfloat16), 9))

    assert facts["kernel"] == "(3,), bfloat16"
    assert facts["engine"] == "torch"
    assert np.array_equal(picture > 0, np.tri(7, 9, 2) - np.tri(7, 9, -1) > 0)


def test_traced_kernels_of_jax_are_shown():
    jax = pytest.importorskip("jax")
    told = []
    jax.jit(lambda K: told.append(cm.conv(K, 9)._repr_html_()))(jax.numpy.ones(3, "float32"))

    assert "float32" in told[0]
    assert "<svg" in told[0]


def test_the_picture_has_the_colour_of_the_text():
    html = cm.conv([1.0, 2.0], 5)._repr_html_()

    assert 'fill="currentColor"' in html
    assert "#" not in html
    assert "<script" not in html


def test_a_transposed_and_an_asked_engine_are_told():
    facts, _ = shown(cm.conv_transpose(np.ones((2, 3, 3)), (2, 6), stride=2, channels="first", engine="direct"))

    assert facts["channels"] == "2 → 3, first, groups 1, transposed"
    assert facts["axis 0"].endswith("input dilation 2")
    assert facts["engine"] == "direct"


def test_the_transpose_of_a_convolution_shows_its_pattern():
    op = cm.conv(np.ones((2, 3)), (5, 6), padding=1, boundary="reflect", stride=(2, 1))
    for other in (op.T, (op * 1j).H, 3 * op.T):
        assert not isinstance(other, cm.ConvOperator)
        _, picture = shown(other)
        assert np.array_equal(picture > 0, op.to_dense().T != 0)


def test_a_map_tells_its_parts():
    facts, picture = shown(FOLDED.T @ FOLDED + 2 * FOLDED.T)

    assert picture is None
    assert facts == {
        "maps": "(6,) → (6,)",
        "matrix": "6 x 6",
        "type": "float64",
        "bytes": "dense 288 B",
        "terms[0]": "Product (6,) -> (6,), float64",
        "terms[1]": "Transposed (6,) -> (6,), float64",
    }


def test_numbers_and_arrays_are_parts():
    facts, _ = shown(2.5 * (FOLDED.T @ FOLDED))
    assert facts["scalar"] == "2.5"
    assert facts["op"] == "Product (6,) -> (6,), float64"

    facts, _ = shown(cm.Affine(FOLDED, np.ones(6, np.float32)).augmented())
    assert facts["offset"] == "(6,), float32"
    assert facts["op"] == "ConvOperator (6,) -> (6,), kernel (3,), float64"

    op = cm.pinv(FOLDED)
    assert shown(op)[0]["reason"] == op.reason


@pytest.mark.parametrize("name", list(OTHERS))
def test_other_maps_of_any_size_and_depth_are_small(name):
    op = OTHERS[name]()
    html = op._repr_html_()

    assert not isinstance(op, cm.ConvOperator)
    assert len(html.encode()) < 10_000
    assert str(op.shape[0]) in html
    ElementTree.fromstring(html)


def test_of_many_parts_the_first_are_told():
    facts, _ = shown(OTHERS["many terms"]())

    assert "terms[7]" in facts
    assert "terms[8]" not in facts
    assert facts[None] == "and 992 more"


def test_long_lines_are_cut_and_kinds_and_parts_escaped():
    facts, _ = shown(OTHERS["many axes"]())
    assert len(facts["maps"]) == notebook.LONGEST + 1

    text = notebook.html_of_parts("Map", (1,), (1,), np.dtype(float), [("<a>", "<b>&")], None)
    assert '<th style="text-align:left">&lt;a&gt;</th>' in text
    assert "&lt;b&gt;&amp;" in text


def test_a_picture_that_is_not_small_is_left_out_beside_parts():
    assert shown(OTHERS["dense pattern"]())[1] is None


def test_other_maps_of_other_libraries_are_shown():
    torch = pytest.importorskip("torch")
    op = cm.conv(torch.ones(3), 6, padding="same", boundary="reflect")
    facts, _ = shown((op.T @ op) * torch.tensor(2.0))
    assert facts["scalar"] == "(), torch.float32"

    facts, picture = shown(op.T * torch.tensor(2.0))
    assert facts["type"] == "float32"
    assert np.array_equal(picture > 0, op.to_dense().numpy().T != 0)
