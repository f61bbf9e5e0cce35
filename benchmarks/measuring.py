"""Share code of the benchmarks: times taken in turn, rows of results, facts of the run, the command line.

A benchmark is a script of parts. A part is a function of ``quick`` that yields cases. A case is a name and a function,
which takes the name and the number of repeats and returns a row. The docstring of a part says what is compared.
"""

import argparse
import contextlib
import datetime
import gc
import importlib
import inspect
import json
import math
import os
import platform
import re
import statistics
import time
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_info

import convmtx as cm
from convmtx import rates

PAUSE = 0.01  # s, until the threads of the way before stop spinning
SHORT = 3e-3  # s, for which calls of a short way follow each other, as they do inside a solver
MOST_CALLS = 1000  # of a short way in a turn
WARMED = 0.1  # s, from which on a way warms itself up
ABOVE = "above, us"  # heading of the microseconds that a call takes beside its arithmetic
LONG = 5  # budgets, from which on the first call is the only one; shorter ones may compile in theirs


def optional(name):
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def medians(ways, repeat, budget=2.0, prepare=lambda way: way, typical=statistics.median):
    """Median seconds of one call of each way, or what ``typical`` takes from all seconds, and the last results.

    Ways take turns in random order, ``repeat`` times or until one took ``budget`` seconds. A call that is not timed
    brings what a way needs into the cache; the first turn warms up, but for ways that are too long for that.
    ``prepare`` turns a way into a function that is called once; its own time does not count.
    """
    rng, times, results, calls = np.random.default_rng(0), defaultdict(list), {}, {}
    gc.collect()
    for turn in range(repeat + 1):
        for name in rng.permutation(list(ways)).tolist():
            if len(times[name]) == repeat or sum(times[name]) > budget:
                continue
            results.pop(name, None)  # or new memory would be measured beside old
            runs = [prepare(ways[name]) for _ in range(calls.get(name, 1))]
            time.sleep(PAUSE)
            if name in calls:
                prepare(ways[name])()
            start = time.perf_counter()
            for run in runs:
                results[name] = run()
            seconds = (time.perf_counter() - start) / len(runs)
            if turn or seconds > LONG * budget:
                times[name].append(seconds)
            if seconds < WARMED:
                calls[name] = max(min(int(SHORT / seconds), MOST_CALLS), 1)
    return {name: typical(times[name]) for name in ways}, results


def seconds_of(way):
    """Seconds of one call, and its result."""
    start = time.perf_counter()
    result = way()
    return time.perf_counter() - start, result


class Times(NamedTuple):
    """Seconds of ours and of every other way to the same result."""

    case: str
    ours: float
    others: dict[str, float] = {}  # noqa: RUF012  # never changed
    #: Seconds below which nobody can be; what results differ by, in units of the largest value; whether that is well.
    limit: float | None = None
    difference: float | None = None
    agrees: bool | None = None
    #: More numbers by name, and words.
    more: dict[str, float] = {}  # noqa: RUF012  # never changed
    note: str = ""

    @property
    def ratio(self):
        """Time of the quickest other way over ours, above 1 where ours is the faster; None without others."""
        return min(self.others.values()) / self.ours if self.others else None

    def cells(self):
        """Cells of a table, by heading."""
        cells = {"case": self.case}
        if self.others:
            cells["other / ours"] = number(self.ratio)
        if self.limit:
            cells["limit / ours"] = f"{self.limit / self.ours:.0%}"
        cells["ours, ms"] = number(1e3 * self.ours)
        if self.others:
            others = sorted(self.others, key=self.others.get)
            cells["others, ms"] = ", ".join(f"{name} {number(1e3 * self.others[name])}" for name in others)
        cells |= {name: number(value) for name, value in self.more.items()}
        if self.agrees is not None:
            size = "" if self.difference is None else f"{self.difference:.0e}" if self.difference else "0"
            cells["difference"] = f"{size}{'' if self.agrees else ' !'}"
        return cells | {"": self.note} if self.note else cells


class Values(NamedTuple):
    """A case that is compared with nothing, and its values by heading."""

    case: str
    values: dict[str, float | str]
    agrees: bool | None = None

    def cells(self):
        """Cells of a table, by heading."""
        return {"case": self.case} | {name: value if isinstance(value, str) else number(value)
                                      for name, value in self.values.items()}  # fmt: skip


def number(value):
    """Three digits."""
    if not math.isfinite(value) or value == 0:
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.0e}"


def summary(rows):
    """Sentences about the rows of a part: wins, losses, how near the limit is, and whether results agree."""
    sentences = [f"{len(rows)} case{'s' * (len(rows) > 1)}."]
    times = [row for row in rows if isinstance(row, Times)]
    compared = sorted((row for row in times if row.others), key=lambda row: row.ratio)
    if compared:
        ratios, worst = [row.ratio for row in compared], compared[0]
        sentences.append(
            f"Faster than every other way in {sum(r > 1 for r in ratios)}, slower in {sum(r < 1 for r in ratios)}."
        )
        sentences.append(f"other / ours: geometric mean {number(statistics.geometric_mean(ratios))},")
        sentences.append(f"most {number(ratios[-1])}, least {number(worst.ratio)} ({worst.case}).")
    if near := [row.limit / row.ours for row in times if row.limit]:
        sentences.append(f"limit / ours: median {statistics.median(near):.0%}, least {min(near):.0%}.")
    sentences += [sentence_of(name, rows) for name in numbers_of(rows[0]) if "/" in name or name == ABOVE]
    if agreeing := [row.agrees for row in rows if row.agrees is not None]:
        sentences.append("All results agree." if all(agreeing) else f"{agreeing.count(False)} results do not agree.")
    return " ".join(sentences)


def numbers_of(row):
    """Numbers of a row beside its times, by heading; nan where a case has none."""
    numbers = row.more if isinstance(row, Times) else row.values
    return {name: value for name, value in numbers.items() if not isinstance(value, str)}


def sentence_of(name, rows):
    """Mean and extremes of a number of all rows: of ratios the geometric mean, and of microseconds the median."""
    values = [row for row in rows if math.isfinite(numbers_of(row).get(name, math.nan))]
    if not values:
        return f"{name}: in no case."
    ordered = sorted(values, key=lambda row: numbers_of(row)[name])
    least, most = ordered[0], ordered[-1]
    kind, mean = ("median", statistics.median) if name == ABOVE else ("geometric mean", statistics.geometric_mean)
    middle = mean([numbers_of(row)[name] for row in values])
    return (
        f"{name}: {kind} {number(middle)}, least {number(numbers_of(least)[name])} ({least.case}), "
        f"most {number(numbers_of(most)[name])} ({most.case})."
    )


def facts(libraries):
    """Facts that the numbers depend on: processor, BLAS, rates of our engines, processes that run, versions, date."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": f"{processor()}, {cores} cores",
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "BLAS": blas(),
        "rates": rates.current().source or "those of convmtx",
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "versions": {"convmtx": cm.__version__, **versions(("numpy", "scipy", *libraries))},
    }


def processor():
    """Model of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else []
    return names[0] if names else platform.processor() or "unknown"


def blas():
    """Name and kernel of each BLAS that is loaded: NumPy's, and SciPy's if it has another one."""
    loaded = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return ", ".join(dict.fromkeys(f"{b['internal_api']} {b['version']} {b.get('architecture', '')}" for b in loaded))


def versions(libraries):
    """Versions of the libraries that are installed."""
    installed = {}
    for name in libraries:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def measured(part, quick, repeat, only=""):
    """Rows of a part, printed as they come."""
    print(f"\n{inspect.cleandoc(part.__doc__)}")
    rows, widths = [], {}
    for case, measure in part(quick):
        if only in case:
            rows.append(measure(case, repeat))
            cells = rows[-1].cells()
            if not widths:
                widths = {name: max(len(name), 50 if name == "case" else 9) for name in cells}
                print("  ".join(name.ljust(width) for name, width in widths.items()))
            print("  ".join(cells.get(name, "-").ljust(width) for name, width in widths.items()), flush=True)
    if rows:
        print(summary(rows))
    return rows


def main(doc, parts, libraries=()):
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--part", choices=(*parts, "all"), default="all")
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--repeat", type=int, help="7, and 1 if quick")
    parser.add_argument("--quick", action="store_true", help="few and small cases")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    options = parser.parse_args()
    about = facts(libraries) | {"quick": options.quick}
    print(json.dumps(about, indent=1))
    about["parts"] = {}
    for name, part in parts.items():
        if options.part in (name, "all"):
            rows = measured(part, options.quick, options.repeat or (1 if options.quick else 7), options.only)
            about["parts"][name] = {"about": inspect.cleandoc(part.__doc__), "rows": [row._asdict() for row in rows]}
    if options.json:
        options.json.write_text(json.dumps(about, indent=1, default=float) + "\n")


def rows_of(part):
    """Rows of a part from a saved file."""
    return [(Values if "values" in row else Times)(**row) for row in part["rows"]]
