"""Benchmarks run and their results agree; the page of the documentation and its pictures say what was measured."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from convmtx import costs, rate_file, rates

ROOT = Path(__file__).parent.parent
SCRIPTS, DOCS = ROOT / "benchmarks", ROOT / "docs"
PARTS = {
    "forms": {"sparse", "formats", "tensor", "view", "made"},
    "apply": {"machine", "map"},
    "small": {"calls"},
    "tensors": {"forward", "autograd", "gradients"},
    "jitted": {"forward", "gradients"},
    "regret": {"alone", "torch", "fast", "all"},
    "shared": {"engines"},
    "layers": {"matrix", "forward"},
    "spectra": {"values", "strided", "bounds", "random", "norm"},
    "solves": {"line", "singular", "iterations", "deblurring", "circles", "rings", "kinds"},
    "kernels": {"fits", "long"},
    "damping": {"photographs"},
    "constrained": {"nonnegative", "variation", "counts"},
    "algebra": {"gram", "varying", "modes", "masked"},
    "recognition": {"probed", "functions", "matrices", "compared"},
    "chunked": {"storage", "graphs"},
    "slots": {"diagonals"},
}
#: Libraries without which a benchmark has nothing to compare with.
LIBRARIES = {
    "chunked": ["dask.array", "zarr"],
    "layers": ["torch"],
    "tensors": ["torch"],
    "jitted": ["jax"],
    "regret": ["torch", "numba"],
}


def run(script, *arguments, **environment):
    command = [sys.executable, SCRIPTS / script, *arguments]
    # Of all tests these compile for JAX as its users do, with optimizations.
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"} | environment
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ratio(row):
    return min(row["others"].values()) / row["ours"]


def digits(value):
    """Three, as tables have them."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def measured():
    """What is published of every benchmark that needs no GPU."""
    return {name: json.loads((DOCS / "benchmarks" / f"{name}.json").read_text()) for name in PARTS}


@pytest.mark.parametrize("name", PARTS)
def test_benchmarks_run_and_results_agree(name, tmp_path):
    for library in LIBRARIES.get(name, ()):
        pytest.importorskip(library)

    said = run(f"{name}.py", "--quick", "--json", tmp_path / "rows.json")
    about = json.loads((tmp_path / "rows.json").read_text())

    assert about["quick"] is True
    assert {"convmtx", "numpy", "scipy"} <= about["versions"].keys()
    assert about["parts"].keys() == PARTS[name]
    for part in about["parts"].values():
        assert part["about"].splitlines()[0] in said
        for row in part["rows"]:
            assert row["case"] in said
            assert row["agrees"] in (None, True), row
            if "ours" in row:
                times = [row["ours"], *row["others"].values(), *([row["limit"]] if row["limit"] else [])]
                assert all(0 < seconds < math.inf for seconds in times)
                assert "above, us" not in row["more"] or 0 < row["more"]["arithmetic, us"] < math.inf
                assert bool(row["others"]) <= (row["agrees"] is True)


def test_the_choice_is_compared_with_the_engines_that_are_there(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("numba")
    said = run("regret.py", "--quick", "--only", "120x120", "--json", tmp_path / "rows.json", CONVMTX_RATES="0")
    about = json.loads((tmp_path / "rows.json").read_text())
    engines = {name: set(re.findall(r"[a-z]+", part["rows"][0]["values"]["engines, ms"])) for name, part in
               about["parts"].items()}  # fmt: skip

    assert about["rates"] in said
    assert "direct" in engines["alone"]
    assert engines["alone"].isdisjoint({"torch", "compiled"})
    assert engines["torch"] - engines["alone"] == {"torch"}
    assert engines["fast"] - engines["alone"] == {"compiled"}
    assert engines["all"] == engines["torch"] | engines["fast"]
    for part in about["parts"].values():
        for values in (row["values"] for row in part["rows"]):
            least = values["engines, ms"].split(",")[0]
            assert least.split()[0] == values["best"]
            assert values["auto / best"] >= 1
            assert (values["auto / best"] == 1) == (values["chosen"] == values["best"])


def test_rates_that_were_tuned_are_named(tmp_path):
    path = tmp_path / "rates.json"
    rate_file.write_rates(path, dict(rates.shipped().seconds), "1")

    said = run("small.py", "--only", "no such case", CONVMTX_RATES=str(path))

    assert f'"rates": "tuned to this machine on {datetime.now(UTC).date().isoformat()}' in said


def test_a_machine_without_a_gpu_is_told():
    assert run("gpu.py", CUDA_VISIBLE_DEVICES="-1").startswith("No GPU: ")


def test_what_is_measured_on_a_gpu_agrees():
    pytest.importorskip("torch")
    measure = (
        "import gpu; c = gpu.CASES[0]; print(*(f(c, 'cpu', c.name, 1) for f in (gpu.applied, gpu.differentiated)))"
    )
    done = subprocess.run([sys.executable, "-c", measure], cwd=SCRIPTS, capture_output=True, text=True)

    assert done.stdout.count("agrees=True") == 2, done.stderr


def test_all_constants_are_fitted_in_one_run():
    said = run("calibrate.py", "--quick")
    names = set(re.findall(r"^([A-Z_]+) = ", said, re.MULTILINE))

    assert names >= {"SMALL_SPECTRUM_WORK", "SYMBOL_WORK", "SUPREMUM_TAP_WORK", "SPARSE_LU_WORK"}
    assert names <= vars(costs).keys()
    for kind, seconds in rates.shipped().seconds.items():
        assert re.search(rf'^    "{kind}": \d\.\de[+-]\d\d,  # {seconds:.1e}$', said, re.MULTILINE)


def test_a_benchmark_names_what_it_does_not_know():
    done = subprocess.run([sys.executable, SCRIPTS / "report.py", "spectres"], capture_output=True, text=True)

    assert done.returncode == 2
    assert "no benchmark spectres" in done.stderr


def test_wins_and_losses_are_told_alike(tmp_path):
    pytest.importorskip("matplotlib")
    seconds = {"won": (1.0, 8.0), "lost": (4.0, 1.0), "even": (1.0, 1.0), "short": (1e-3, 2e-3)}
    rows = [
        {"case": case, "ours": ours, "others": {"x": 9.0, "y": other}, "limit": ours / 4, "difference": 1e-16,
         "agrees": case != "even", "more": {}, "note": ""}
        for case, (ours, other) in {**seconds, **{f"as won {i}": (1.0, 8.0) for i in range(4)}}.items()
    ]  # fmt: skip
    about = {"date": "2001-02-03", "processor": "Z80", "python": "3.11", "quick": False}
    about |= {"versions": {"convmtx": "1", "numpy": "2", "scipy": "3"}}
    about |= {"parts": {"kinds": {"about": "Title.\n\nWords.", "rows": rows}}}
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "solves.json").write_text(json.dumps(about))
    (tmp_path / "benchmarks.md").write_text(
        "before\n<!-- solves -->\nold\n<!-- end of solves -->\nafter <!-- facts -->\n"
    )

    run("report.py", "--redraw", "--docs", tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()

    mean = digits((8**5 / 4 * 1 * 2) ** (1 / 8))
    assert page.startswith(
        "before\n<!-- solves -->\n\n### Title\n\nWords.\n\n8 cases. Faster than every other way in 6, "
    )
    assert f"slower in 1. other / ours: geometric mean {mean}, most 8, least 0.25 (lost)." in page
    assert "limit / ours: median 25%, least 25%. 1 results do not agree." in page
    assert "| lost | 0.25 | 25% | 4000 | y 1000, x 9000 | 1e-16 |" in page
    assert "| even | 1 | 25% | 1000 | y 1000, x 9000 | 1e-16 ! |" in page
    assert page.endswith("<!-- end of solves -->\nafter <!-- facts -->\n")
    for mode in ("light", "dark"):
        assert drawn(f"solves-kinds-{mode}", tmp_path)[:3] == ["8 y", "8 y", "8 y"]
        assert drawn(f"solves-kinds-{mode}", tmp_path)[-3:] == ["2 y", "1 y", "0.25 y"]


def drawn(name, docs=DOCS):
    """What stands beside the dots of a picture, in the smallest letters, from the top."""
    texts = ElementTree.parse(docs / "benchmarks" / f"{name}.svg").iter("{http://www.w3.org/2000/svg}text")
    small = [text for text in texts if "font-size: 6.5px" in text.get("style")]
    return [text.text for text in sorted(small, key=lambda text: float(text.get("y")))]


def test_what_is_published_is_all_of_it_and_agrees():
    assert measured().keys() >= {"forms", "apply", "layers", "spectra", "solves"}
    for name, about in measured().items():
        assert about["quick"] is False
        assert about["parts"].keys() == PARTS[name]
        assert [row["case"] for part in about["parts"].values() for row in part["rows"] if row["agrees"] is False] == []


def test_the_page_is_made_of_what_was_measured(tmp_path):
    pytest.importorskip("matplotlib")
    page = (DOCS / "benchmarks.md").read_text()
    for name in PARTS:
        assert f"<!-- {name} -->" in page
    for about in measured().values():
        assert about["date"] in page
        for part in about["parts"].values():
            assert f"### {part['about'].splitlines()[0].rstrip('.')}" in page
            for row in part["rows"]:
                told = f"| {row['case']} |" + (f" {digits(ratio(row))} |" if row.get("others") else "")
                assert told.replace("->", "\u2192") in page
    shutil.copytree(DOCS / "benchmarks", tmp_path / "benchmarks")
    shutil.copy(DOCS / "benchmarks.md", tmp_path)

    run("report.py", "--redraw", "--docs", tmp_path)

    assert (tmp_path / "benchmarks.md").read_text() == page


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pictures_are_drawn_from_what_was_measured(mode):
    pictures = {path.name for path in (DOCS / "benchmarks").glob(f"*-{mode}.svg")}
    page = (DOCS / "benchmarks.md").read_text()
    assert pictures == set(re.findall(rf"benchmarks/(\S+-{mode}\.svg)", page))
    for name, key in (("forms", "sparse"), ("apply", "map"), ("spectra", "values"), ("solves", "kinds")):
        rows = [row for row in measured()[name]["parts"][key]["rows"] if row["others"]]
        ratios = [digits(ratio(row)) for row in sorted(rows, key=ratio, reverse=True)]
        assert [told.split()[0] for told in drawn(f"{name}-{key}-{mode}")] == ratios
