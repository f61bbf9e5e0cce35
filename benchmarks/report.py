"""Run the benchmarks, keep their numbers, and write the page of the documentation from them.

    python benchmarks/report.py [forms apply ... solves] [--docs FOLDER] [--quick]
    python benchmarks/report.py --redraw

Numbers go to ``FOLDER/benchmarks/*.json``, pictures beside them, and what is between the comments of
``FOLDER/benchmarks.md`` is written anew. ``--redraw`` measures nothing. Libraries that are not installed are left out.
"""

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pictures
from measuring import Times, number, rows_of, summary

HERE = Path(__file__).parent
BUSY = 0.5  # processes that run
#: Facts of a run that not every file has, and their headings.
FACTS = {"BLAS": "BLAS", "rates": "rates of our engines", "load": "processes running"}
BENCHMARKS = (
    "forms", "apply", "small", "tensors", "jitted", "regret", "shared", "gpu", "layers", "spectra", "solves", "kernels",
    "damping", "constrained", "algebra", "recognition", "chunked", "slots",
)  # fmt: skip


def measure(name, data, quick):
    """Run one script, in a process of its own: libraries share threads and memory."""
    command = [sys.executable, HERE / f"{name}.py", "--json", data / f"{name}.json", *["--quick"] * quick]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def redraw(docs):
    """Write pictures and page anew from the numbers that are there."""
    data, page = docs / "benchmarks", docs / "benchmarks.md"
    files = {name: data / f"{name}.json" for name in BENCHMARKS}
    measured = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    blocks = {name: written(name, about["parts"], data) for name, about in measured.items()}
    if measured:
        blocks |= {"facts": facts(measured), "overview": overview(measured, data)}
    text = page.read_text(encoding="utf-8")
    for name in ("facts", "overview", *BENCHMARKS):
        block = f"\n{blocks[name]}\n\n".replace("->", "\u2192") if name in blocks else ""
        mark = re.compile(f"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
        text = mark.sub(lambda _, block=block: block, text)
    page.write_text(text, encoding="utf-8")


def facts(measured):
    """Date, machine and libraries: a line for all that was measured alike."""
    rows = {}
    for name, about in measured.items():
        versions = about["versions"]
        date = about["date"] + " (a quick run, to be read by nobody)" * about["quick"]
        alike = (
            date,
            about["processor"],
            about["python"],
            *(versions[library] for library in ("convmtx", "numpy", "scipy")),
            *(about.get(fact, "") for fact in FACTS),
        )
        row = rows.setdefault(alike, {"": "", "date": date, "processor": about["processor"], "Python": about["python"]})
        row |= {name: about[fact] for fact, name in FACTS.items() if fact in about}
        row[""] = ", ".join(filter(None, [row[""], name]))
        row["libraries"] = row.get("libraries", {}) | versions
    for row in rows.values():
        row["libraries"] = ", ".join(f"{library} {version}" for library, version in row["libraries"].items())
    return table(list(rows.values()))


def overview(measured, data):
    """A dot for every case, and a line of the table for every part."""
    compared, lines = {}, []
    for part in (part for about in measured.values() for part in about["parts"].values()):
        rows, title = [row for row in rows_of(part) if isinstance(row, Times) and row.others], title_of(part)
        if not rows:
            continue
        compared[title.replace("`", "")] = rows
        ratios, worst = [row.ratio for row in rows], min(rows, key=lambda row: row.ratio)
        counts = {
            "cases": len(rows),
            "faster": sum(ratio > 1 for ratio in ratios),
            "slower": sum(ratio < 1 for ratio in ratios),
        }
        lines.append({"part": title} | {name: str(count) for name, count in counts.items()})
        lines[-1] |= {
            "geometric mean": number(statistics.geometric_mean(ratios)),
            "least": f"{number(worst.ratio)} ({worst.case})",
        }
    pictures.save(pictures.overview, compared, data / "overview")
    alt = "The table as a picture: a row of dots for each part, one dot for each case, right of 1 if convmtx is faster."
    return f"{image('overview', alt)}\n\n{table(lines)}"


def written(name, parts, data):
    """Heading, what is compared, summary, picture and table of each part."""
    blocks = []
    for key, part in parts.items():
        rows, title = rows_of(part), title_of(part)
        cells, draw = table([row.cells() for row in rows]), pictures.drawing(rows)
        blocks += [f"### {title}", part["about"].partition("\n")[2].strip(), summary(rows)]
        if draw:
            pictures.save(draw, rows, data / f"{name}-{key}")
            blocks.append(image(f"{name}-{key}", f"{title}: {summary(rows)}".replace("`", "")))
            cells = f"<details>\n<summary>All {len(rows)} cases</summary>\n\n{cells}\n\n</details>"
        blocks.append(cells)
    return "\n\n".join(filter(None, blocks))


def title_of(part):
    """First line of the docstring of a part."""
    return part["about"].partition("\n")[0].rstrip(".")


def image(name, alt):
    """A picture in two versions, of which a page shows one."""
    return "\n\n".join(
        f"```{{image}} benchmarks/{name}-{mode}.svg\n:class: only-{mode}\n:alt: {alt}\n```" for mode in pictures.COLORS
    )


def table(rows):
    """Write rows as a table of Markdown."""
    heads = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    lines = [heads, ["---"] * len(heads), *([row.get(head, "-") for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all if none")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="folder of benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="few and small cases, for trying; the page says so")
    parser.add_argument("--redraw", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    data = options.docs / "benchmarks"
    data.mkdir(exist_ok=True)
    if not options.redraw and hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY:
        print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): threads will wait for it, numbers mean little.")
    for name in [] if options.redraw else options.names or BENCHMARKS:
        measure(name, data, options.quick)
    redraw(options.docs)


if __name__ == "__main__":
    main()
