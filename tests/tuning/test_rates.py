"""Kept rates: choices follow them, a file that is not trusted never hurts, and nothing is kept where nobody said so."""

import json
import math
import warnings

import numpy as np
import pytest

import convmtx as cm
from convmtx import rate_file, rates
from convmtx.rates import SHIPPED, Rates


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A path that the environment names, and no rates read yet."""
    path = tmp_path / "own" / "rates.json"
    monkeypatch.setenv(rate_file.VARIABLE, str(path))
    rates.replace_current(None)
    yield path
    rates.replace_current(None)


def kept(**changes):
    """Contents of a file of this machine, on which every kind of work takes twice as long."""
    seconds = {kind: 2 * rate for kind, rate in SHIPPED.items()}
    contents = {"schema": rate_file.SCHEMA, "convmtx": "1", "date": "2001-02-03", "seconds": seconds}
    return contents | {"machine": rate_file.machine_facts()} | changes


def write(path, contents):
    path.parent.mkdir(exist_ok=True)
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents))


def test_what_is_written_is_read(path):
    path.parent.mkdir()
    seconds = {kind: 3.14159 * rate for kind, rate in SHIPPED.items()}

    rate_file.write_rates(rate_file.require_target(), seconds, "1.2.3")

    assert rates.current().seconds == seconds
    assert str(path) in rates.current().source
    assert json.loads(path.read_text())["convmtx"] == "1.2.3"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_predictions_and_explanations_follow_the_file(path):
    shipped = cm.conv(np.ones((3, 3)), (64, 64)).explain()
    write(path, kept())
    rates.replace_current(None)
    tuned = cm.conv(np.ones((3, 3)), (64, 64)).explain()

    for name, facts in shipped.engines.items():
        scale = 2 if name != "fft" else tuned.engines[name]["predicted"] / facts["predicted"]  # by SciPy's version
        assert tuned.engines[name]["predicted"] == pytest.approx(scale * facts["predicted"], rel=1e-12)
    assert "rates" not in str(shipped)
    assert f"rates tuned to this machine on 2001-02-03, {path}" in str(tuned)


DEEP = "[" * 100_000 + "]" * 100_000
DAMAGED = {
    "empty": "", "not JSON": "{", "a list": "[]", "a number": "1", "deep": DEEP,
    "half a file": json.dumps(kept())[:-200], "another schema": kept(schema=99), "no schema": kept(schema=None),
    "schema of another type": kept(schema=[1]), "no seconds": kept(seconds=None), "list": kept(seconds=[1]),
    "no machine": kept(machine=3), "missing rates": kept(seconds={}), "too large": kept(more="x" * rate_file.LARGEST),
    "huge integer": '{"schema": ' + "9" * 10_000 + "}", "surrogates": '"\\ud800"', "nul": "\0" * 100,
    "huge number of digits": json.dumps(kept()).replace('"flop f4": ', '"flop f4": ' + "1" * 5000 + "e-1", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_ignored_with_one_warning(path, name):
    write(path, DAMAGED[name])
    op = cm.conv(np.ones((3, 3)), (8, 8))

    with pytest.warns(RuntimeWarning, match=r"keeps no rates that can be used .*CONVMTX_RATES=0") as warned:
        [op(np.ones((8, 8))) for _ in range(2)]

    assert len(warned) == 1
    assert len(str(warned[0].message)) < 1000
    assert rates.current().seconds == rates.shipped().seconds


@pytest.mark.parametrize(
    "value",
    [0, -1e-11, math.nan, math.inf, -math.inf, True, None, "1e-11", [1e-11], {}, 1e300, 1e-300, 10**400, 5e-11j],
)
def test_a_number_that_no_machine_has_is_refused(path, value):
    contents = kept()
    contents["seconds"]["flop f8"] = str(value) if isinstance(value, complex) else value
    write(path, contents)

    with pytest.warns(RuntimeWarning, match="'flop f8' is not a rate"):
        assert rates.current().seconds == rates.shipped().seconds


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b'"\xc3\x28"', bytes(range(256))])
def test_bytes_that_are_not_text_are_ignored(path, data):
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="it is not JSON"):
        assert rates.current().seconds == rates.shipped().seconds


def test_only_ordinary_files_are_read(path, monkeypatch):
    path.mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="not an ordinary file"):
        rates.current()
    rates.replace_current(None)
    monkeypatch.setenv(rate_file.VARIABLE, "/dev/zero")
    with pytest.warns(RuntimeWarning, match="not an ordinary file"):
        rates.current()


def test_unknown_keys_are_ignored(path):
    contents = kept(more=[1, {}])
    contents["seconds"]["flop of another day"] = "x"
    write(path, contents)

    assert rates.current().seconds == {kind: 2 * rate for kind, rate in SHIPPED.items()}


@pytest.mark.parametrize("fact", ["processor", "cores", "numpy", "scipy", "blas"])
def test_a_file_of_another_machine_is_not_used_and_explanations_say_so(path, fact):
    machine = rate_file.machine_facts()
    write(path, kept(machine=machine | {fact: "another"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explanation = cm.conv(np.ones((3, 3)), (8, 8)).explain()

    assert rates.current().seconds == rates.shipped().seconds
    assert f"another machine or library ({fact})" in str(explanation)
    write(path, kept(machine={}))
    rates.replace_current(None)
    assert rates.current().seconds == rates.shipped().seconds


def test_control_characters_of_a_file_are_not_repeated(path):
    write(path, kept(date="\x1b[31m2001-02-03\n" + "9" * 1000))
    assert rates.current().source == f"tuned to this machine on 312001-02-, {path}"


def test_the_variable_turns_reading_off(path, monkeypatch):
    write(path, kept())
    monkeypatch.setenv(rate_file.VARIABLE, "0")

    assert rates.current().seconds == rates.shipped().seconds
    assert rates.current().source == ""
    with pytest.raises(cm.ArgumentError, match=r"tune: the environment variable CONVMTX_RATES is 0\. .*Unset it"):
        cm.tune()


def test_without_platformdirs_nothing_is_kept_and_tune_names_the_extra(path, monkeypatch):
    monkeypatch.delenv(rate_file.VARIABLE)
    monkeypatch.setattr(rate_file, "find_spec", lambda _: None)
    monkeypatch.setitem(__import__("sys").modules, "platformdirs", None)

    assert rates.current().seconds == rates.shipped().seconds
    with pytest.raises(cm.MissingExtraError, match=r"tune: platformdirs is not installed\. .*convmtx\[tune\]"):
        cm.tune()


def test_the_file_is_in_the_users_cache_directory(monkeypatch, tmp_path):
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv(rate_file.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert rate_file.rate_path().parent == platformdirs.user_cache_path("convmtx", appauthor=False)
    assert not list(tmp_path.iterdir())  # looking for it writes nothing


def changed(**factors):
    return Rates({kind: rate * factors.get(kind.split()[0], 1) for kind, rate in SHIPPED.items()})


def test_engines_follow_the_rates():
    """A transform that is a thousand times dearer is never worth it, and one that is free always is."""
    rng = np.random.default_rng(0)
    large, small = cm.conv(rng.normal(size=(41, 41)), (256, 256)), cm.conv(rng.normal(size=(3, 3)), (256, 256))
    x = rng.normal(size=(256, 256))
    assert large.explain().engine == "fft" != small.explain().engine
    y = large(x)

    with rates.use(changed(transform=1000)):
        assert large.explain().engine != "fft"  # a map that was applied chooses anew
        np.testing.assert_allclose(large(x), y, atol=1e-9)
    with rates.use(changed(flop=1000, thin=1000, slid=1000, compiled=1000, sparse=1000)):
        assert small.explain().engine == "fft"
    assert large.explain().engine == "fft" != small.explain().engine


def test_methods_of_solves_follow_the_rates():
    """Band LU beats substitution in a causal map, until LU is dearer."""
    op = cm.conv([0.2, 0.3, 1.0], 3000, padding=[(2, 0)])
    b = np.ones(3000)
    assert cm.solve(op, b).method.startswith("band")

    with rates.use(
        Rates({kind: s * (1e3 if "band" in kind or "sparse" in kind else 1) for kind, s in SHIPPED.items()})
    ):
        assert cm.solve(op, b).method.startswith("substitution")


def test_choices_are_the_same_from_call_to_call():
    other = changed(flop=3, run=0.2, transform=2)
    ops = [(np.ones((k, k)), (n, n)) for k in (3, 7, 15) for n in (20, 100, 300)]
    chosen = []
    for _ in range(3):
        with rates.use(other):
            explanations = [cm.conv(kernel, shape).explain() for kernel, shape in ops]
            chosen.append([(e.engine, e.reason) for e in explanations])
    assert chosen[0] == chosen[1] == chosen[2]


def test_rates_of_a_context_are_not_seen_by_other_threads():
    from threading import Thread

    seen = []
    with rates.use(changed(flop=3)):
        thread = Thread(target=lambda: seen.append(rates.rate("flop f8")))
        thread.start()
        thread.join()
        assert rates.rate("flop f8") == 3 * SHIPPED["flop f8"]
    assert seen == [SHIPPED["flop f8"]]


@pytest.mark.parametrize(
    ("version", "is_ducc"), [("1.15.0", False), ("1.17.1", False), ("1.18.0rc1", True), ("2.0.0", True)]
)
def test_transforms_are_those_of_the_scipy_that_is_there(monkeypatch, version, is_ducc):
    monkeypatch.setattr("scipy.__version__", version)
    assert (rates.shipped().seconds["transform f4"] < SHIPPED["transform f4"]) is is_ducc
