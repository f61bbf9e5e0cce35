"""What forms weigh, against arrays that were made; that they were measured; and what is drawn."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.plot import costs

OP = cm.conv(np.ones((3, 3)), (20, 20), padding="same")


def test_bytes_are_those_of_the_forms():
    data = cm.plot.cost_data(OP)

    csr = OP.to_sparse("csr")
    assert data.bytes["csr"] == csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes
    assert data.bytes["dense"] == OP.to_dense().nbytes
    assert list(data.bytes.values()) == sorted(data.bytes.values())


def test_every_form_that_fits_is_measured():
    data = cm.plot.cost_data(OP)

    assert set(data.make) == set(data.bytes)
    assert set(data.apply) == set(data.bytes) - {"view"}  # NumPy would copy it whole
    assert all(seconds > 0 for seconds in (*data.make.values(), *data.apply.values()))


def test_forms_over_the_budget_are_not_made(monkeypatch):
    monkeypatch.setattr(costs, "BUDGET", 200_000)
    monkeypatch.setattr(cm.ConvOperator, "to_dense", lambda *_: pytest.fail("made"))
    data = cm.plot.cost_data(OP)

    assert data.bytes["dense"] == 400 * 400 * 8
    assert set(data.make) == {name for name, size in data.bytes.items() if size <= 200_000} != set(data.bytes)


def test_a_huge_map_is_shown_by_its_bytes(ax):
    op = cm.conv(np.ones((3, 3)), (2**29, 2**29), padding="same")
    data = cm.plot.cost_data(op)
    cm.plot.cost(op, ax)

    assert data.make == data.apply == {}
    assert data.bytes["dense"] == 2**119
    assert len(ax.figure.axes) == 1
    ax.figure.canvas.draw()


def test_bars_are_the_bytes_and_marks_the_seconds(ax, monkeypatch):
    data = cm.plot.cost_data(OP)
    monkeypatch.setattr(costs, "cost_data", lambda _: data)
    cm.plot.cost(OP, ax)

    assert [bar.get_width() for bar in ax.patches] == list(data.bytes.values())
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert [label.split(",")[0] for label in labels] == list(data.bytes)
    assert labels[0] == "operator, 72 B"
    above = ax.figure.axes[-1]
    assert above is not ax
    for marks, times in zip(above.collections, (data.make, data.apply), strict=True):
        places = [list(data.bytes).index(name) for name in times]
        assert np.allclose(marks.get_offsets(), np.stack([list(times.values()), places], axis=1))


def test_integers_and_maps_without_a_view_are_measured():
    op = cm.conv([1, 2, 3], 30, padding="same", boundary="reflect")
    data = cm.plot.cost_data(op)

    assert "view" not in data.bytes
    assert "operator" in data.apply


def test_the_smallest_form_stands_above_however_often_it_is_drawn(ax):
    for _ in range(2):
        cm.plot.cost(cm.conv([1.0, 2.0, 3.0], 9), ax)

        assert ax.get_yticklabels()[0].get_text().startswith("operator")
        assert ax.yaxis_inverted()
