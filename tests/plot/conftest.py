"""Figures are closed after every test, and none is ever shown."""

import pytest


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")

    def shown(*args, **kwargs):
        pytest.fail("pyplot.show was called")

    monkeypatch.setattr(plt, "show", shown)
    yield plt
    plt.close("all")


@pytest.fixture
def ax():
    """Axes of a figure that pyplot does not know."""
    from matplotlib.figure import Figure

    return Figure().subplots()
