"""Tuning: rates come back from times that were made of them, and everything that is measured is reported."""

import json
import sys
from importlib import import_module

import numpy as np
import pytest

import convmtx as cm
from convmtx import rate_file, rates
from convmtx.cli import main
from convmtx.engines.select import ENGINES
from convmtx.rates import SHIPPED
from convmtx.tuning import clock, compiled, engines, grid, solves
from convmtx.tuning.fit import STIFFNESS, Timed, fit_rates
from convmtx.tuning.solves import solve_cases

#: Kinds of work of engines whose libraries may be missing.
OPTIONAL = ("torch", "thin torch", "compiled", "cpu", "gpu")
TUNE = import_module("convmtx.tuning.tune")  # `convmtx.tuning.tune` is the function


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "rates.json"
    monkeypatch.setenv(rate_file.VARIABLE, str(path))
    rates.replace_current(None)
    yield path
    rates.replace_current(None)


@pytest.fixture
def short(monkeypatch):
    """Few and small cases."""
    small = [engines.EngineCase((16,), (3,), dtype=dtype) for dtype in ("f4", "f8")]
    monkeypatch.setattr(TUNE, "CASES", small)
    monkeypatch.setattr(TUNE, "WORSE", float("inf"))  # so small cases say little
    monkeypatch.setattr(TUNE, "GRID", [engines.EngineCase((12, 12), (3, 3)), *small])
    monkeypatch.setattr(TUNE, "compiled_cases", list)
    monkeypatch.setattr(TUNE, "solve_cases", lambda: [lambda: solves._time_products(50)])


def seconds_of(work, rates):
    return sum(rates[kind] * amount for kind, amount in work.items())


def all_works(monkeypatch):
    """Work of every run that is timed, without running it."""
    monkeypatch.setattr(engines, "least_seconds", lambda calls: [1.0] * len(calls))
    monkeypatch.setattr(solves, "least_seconds", lambda calls: [1.0 + j for j in range(len(calls))])
    monkeypatch.setattr(compiled, "least_seconds", lambda calls: [1.0] * len(calls))
    engine_works = [run.work for case in engines.CASES for run in engines.time_case(case)]
    engine_works += [run.work for case in compiled.compiled_cases() for run in case()]
    return engine_works, [run.work for case in solve_cases() for run in case()]


def test_rates_come_back_from_times_that_are_made_of_them(monkeypatch):
    engine_works, solve_works = all_works(monkeypatch)
    works = engine_works + solve_works
    rng = np.random.default_rng(0)
    true = {kind: rate * float(np.exp(rng.uniform(-1, 1))) for kind, rate in SHIPPED.items()}

    fitted = fit_rates([Timed(work, seconds_of(work, true)) for work in works], SHIPPED)

    # The share of a kind in the times of all runs says how well it can be known, and how much of that no other kind
    # explains as well: in the seconds of band LU, unknowns and entries can stand for each other.
    shares = np.array([[work.get(kind, 0) * true[kind] / seconds_of(work, true) for kind in SHIPPED] for work in works])
    information = (shares**2).sum(axis=0)
    alone = 1 / np.linalg.inv(shares.T @ shares + STIFFNESS**2 * np.eye(len(SHIPPED))).diagonal()
    for j, kind in enumerate(SHIPPED):
        assert information[j] > 0.01 or kind.startswith(OPTIONAL), kind
        if information[j] > 1:
            assert fitted[kind] == pytest.approx(true[kind], rel=0.03 if alone[j] > 1 else 0.15), kind
    times = np.array([[seconds_of(work, rates) for rates in (true, fitted)] for work in works])
    np.testing.assert_allclose(times[:, 1], times[:, 0], rtol=0.05)


def test_a_kind_that_nothing_was_timed_of_scales_with_the_machine():
    usual = {"a": 1e-9, "b": 1e-6, "c": 1e-3}
    runs = [Timed({"a": 1e3, "b": 1.0}, 3e-6 * 2), Timed({"a": 1e4}, 3e-5), Timed({"b": 10.0}, 3e-5)]

    fitted = fit_rates(runs, usual)

    assert fitted == pytest.approx({kind: 3 * rate for kind, rate in usual.items()}, rel=0.02)


def test_a_run_that_was_disturbed_counts_less():
    usual = {"a": 1e-9}
    runs = [Timed({"a": 10.0**k}, 2e-9 * 10.0**k) for k in range(9)] + [Timed({"a": 1.0}, 1e-3)]
    assert fit_rates(runs, usual)["a"] == pytest.approx(2e-9, rel=0.1)


def test_without_any_run_the_rates_are_the_usual_ones():
    assert fit_rates([], SHIPPED) == pytest.approx(dict(SHIPPED))


def test_every_kind_of_work_is_timed(monkeypatch):
    engine_works, solve_works = all_works(monkeypatch)
    timed = {kind for work in engine_works + solve_works for kind, amount in work.items() if amount}
    assert timed <= set(SHIPPED)
    assert [kind for kind in SHIPPED if kind not in timed and not kind.startswith(OPTIONAL)] == []
    assert all(all(amount >= 0 for amount in work.values()) for work in engine_works + solve_works)


def test_what_jax_compiles_is_timed_on_its_devices():
    pytest.importorskip("jax")
    cases = compiled.compiled_cases()
    kinds = {kind for run in cases[0]() for kind in run.work}
    assert len(cases) >= len(compiled.CASES)
    assert {"cpu term f4", "cpu transform f4", "cpu mult f4"} <= kinds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "least_seconds", lambda calls: [1.0] * len(calls))
        timed = {kind for case in cases for run in case() for kind in run.work}
    assert {kind for kind in SHIPPED if kind.startswith("cpu")} <= timed


def test_prices_are_sums_of_amounts_times_rates():
    """The amounts of a method, found with one rate at a time, make up its price."""
    from convmtx.solves.problem import problem_of
    from convmtx.solves.select import candidates

    op = solves.plain_map((40,), 5, 2)
    for damp in (0.0, 0.1):
        for candidate in candidates(problem_of(op, damp, None).prepare()):
            build, per_rhs = solves._works_of(op, candidate.name, damp)
            assert seconds_of(build, rates.current().seconds) == pytest.approx(candidate.price.build)
            assert seconds_of(per_rhs, rates.current().seconds) == pytest.approx(candidate.price.per_rhs)


@pytest.mark.usefixtures("short")
def test_tuning_writes_one_file_that_later_choices_use(path):
    tuning = cm.tune(seconds=0.2)

    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert tuning.path == str(path)
    assert tuning.source == ""
    assert tuning.seconds.keys() == SHIPPED.keys()
    assert rates.current().seconds == tuning.seconds
    assert str(path) in rates.current().source
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(rate_file.VARIABLE, "0")
        rates.replace_current(None)
        assert rates.current().seconds == rates.shipped().seconds
    rates.replace_current(None)
    assert str(path) in cm.tune(seconds=0.2).source


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("after", "is_kept"), [(1.5, True), (2.5, False)])
def test_rates_with_which_choices_are_worse_are_not_kept(path, monkeypatch, after, is_kept):
    choice = grid.Choice("a case", "direct", "fft", 1.0, 1.0, 2.0, after, "sparse", 1.0)
    monkeypatch.setattr(TUNE, "compare_choices", lambda *_: choice)
    monkeypatch.setattr(TUNE, "WORSE", 1.0)
    tuning = cm.tune(seconds=0.2)

    assert (tuning.is_kept, path.exists()) == (is_kept, is_kept)
    assert ("rates not kept" in str(tuning)) is not is_kept
    assert bool(rates.current().source) is is_kept


@pytest.mark.usefixtures("short")
def test_the_table_says_what_was_chosen(path):
    tuning = cm.tune(seconds=5)
    table = str(tuning)

    assert [choice.case for choice in tuning.choices] == ["3x3 on 12x12 float64", "3 on 16 float32", "3 on 16 float64"]
    for choice in tuning.choices:
        assert {choice.before, choice.after, choice.fastest} <= ENGINES.keys()
        assert min(choice.regret_before, choice.regret_after) >= 1
        assert choice.measured_after == pytest.approx(choice.regret_after * choice.measured_fastest)
        assert choice.case in table
    mean, worst = tuning.regret_after
    assert f"regret after: {mean:.2f} in the geometric mean, {worst:.2f} at worst" in table
    assert str(path) in table


@pytest.mark.usefixtures("short")
def test_the_command_prints_the_table_or_one_object(path, capsys):
    assert main(["tune", "--seconds", "0.2"]) == 0
    assert "regret before: " in capsys.readouterr().out
    assert main(["tune", "--seconds", "0.2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)

    assert facts["path"] == str(path)
    assert facts["rates"] == dict(rates.current().seconds)
    assert facts["choices"][0].keys() >= {
        "case",
        "before",
        "after",
        "predicted_after",
        "measured_after",
        "regret_after",
    }
    assert facts["regret_after"].keys() == {"mean", "worst"}


@pytest.mark.usefixtures("short", "path")
def test_a_bar_counts_all_cases(monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            super().__init__(**options)
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    cm.tune(seconds=1e-3, progress=True)
    cm.tune(seconds=1e-3)

    assert [(bar.n, bar.total) for bar in bars] == [(6, 6)]


@pytest.mark.parametrize("seconds", [0, -1, np.nan, np.inf, "40", None])
def test_bad_seconds_are_refused_before_anything_is_timed(path, seconds):
    with pytest.raises(cm.ArgumentError, match=r"tune: seconds=.*Expected a positive number"):
        cm.tune(seconds=seconds)
    assert not path.exists()


@pytest.mark.usefixtures("short")
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_timed(path, monkeypatch):
    monkeypatch.setattr(TUNE, "_timed", lambda *_: pytest.fail("timed"))
    (path.parent / "file").write_text("")
    for name in ("rates.txt", "file/rates.json"):
        monkeypatch.setenv(rate_file.VARIABLE, str(path.parent / name))
        with pytest.raises(cm.ArgumentError, match="tune: "):
            cm.tune()


def test_an_engine_without_its_library_is_left_out():
    def missing():
        raise ImportError

    assert clock.least_seconds([missing, lambda: None])[0] is None
    assert clock.least_seconds([missing, lambda: None])[1] > 0


def test_importing_convmtx_does_not_import_what_tunes():
    import subprocess

    code = "import sys, convmtx; print([m for m in sys.modules if 'tuning' in m or 'platformdirs' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_grid_is_not_what_rates_are_fitted_to():
    assert not {str(case) for case in grid.GRID} & {str(case) for case in engines.CASES}
