"""Draw what `report` measured, for light and for dark pages."""

import io
import math
import re
import statistics

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from measuring import Values, number

STYLE = {
    "svg.fonttype": "none",  # letters stay letters: small, searchable
    "svg.hashsalt": "convmtx",  # the same numbers make the same file
    "font.sans-serif": ["DejaVu Sans"],  # and what the browser has, in a few letters
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.left": False,
}
#: Text, lines, faster, slower.
COLORS = {"light": ("#1f2328", "#8c959f", "#1f77b4", "#c4500c"), "dark": ("#d6d9dc", "#6e7681", "#6cb4ee", "#f2934b")}
WIDTH, ROW = 5.0, 0.27  # inches: narrow, for telephones
AXIS = "time of the quickest other way / ours"


def save(draw, rows, path):
    """Draw rows into two files, by the function ``draw``."""
    for mode, colors in COLORS.items():
        text, line = colors[:2]
        ink = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor"), text)
        with mpl.rc_context({**STYLE, **ink, "axes.edgecolor": line, "xtick.color": line}), io.StringIO() as buffer:
            figure = Figure(figsize=(WIDTH, ROW * len(rows) + 0.6), layout="constrained")
            draw(figure, rows, colors)
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
            path.with_name(f"{path.name}-{mode}.svg").write_text(short(buffer.getvalue()), encoding="utf-8")


def short(svg):
    """Remove comments, indentation and the last four of six decimals of coordinates, which nobody sees."""
    svg = re.sub(r"<!--.*?-->|^ +", "", svg, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\n\n+", "\n", re.sub(r"(\.\d\d)\d{4}\b", r"\1", svg))


def ratios(figure, rows, colors):
    """Time of the quickest other way over ours, the best case first, and beside it how near the limit is."""
    text, line, faster, slower = colors
    rows = sorted(rows, key=lambda row: row.ratio or 0)
    near = any(row.limit for row in rows)
    left, *right = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1]) if near else [figure.subplots()]
    values = [row.ratio or math.nan for row in rows]
    tints = [faster if value >= 1 else slower for value in values]
    left.hlines(range(len(rows)), 1, values, color=tints, lw=1.5)
    left.scatter(values, range(len(rows)), 14, color=tints, zorder=3)
    for at, row in enumerate(rows):
        if row.others:
            text_beside = f"{number(row.ratio)} {min(row.others, key=row.others.get)}"
            beside(left, text_beside, max(row.ratio, 1), at)
    lines(left, [row.case for row in rows], colors)
    left.set_xlabel(AXIS)
    for ax in right:
        ax.barh(range(len(rows)), [100 * row.limit / row.ours for row in rows], 0.3, color=line)
        ax.axvline(100, color=text, lw=0.8)
        ax.set_xlabel("limit / ours, %")


def beside(ax, text, x, y):
    ax.annotate(text, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=6.5)


def lines(ax, names, colors):
    """A line for each name, which stands above it, on a logarithmic axis with a line at 1."""
    ax.set_xscale("log")
    every = np.arange(len(names))
    ax.vlines([1] * len(names), every - 0.3, every + 0.25, color=colors[0], lw=0.8, zorder=0)
    for at, name in enumerate(names):
        ax.text(
            0, at + 0.42, name.replace("->", "\u2192"), transform=ax.get_yaxis_transform(), va="center", fontsize=7.5
        )
    ax.set_yticks([])
    ax.set_ylim(-0.5, len(names) - 0.2)
    lo, hi = ax.get_xlim()
    ax.set_xlim(lo, hi * (hi / lo) ** 0.2)  # room for what stands beside the last dots
    plain(ax)
    ax.grid(axis="x", color=colors[1], alpha=0.25, lw=0.5)


def plain(ax):
    """Ticks at 1, 2, 5 and their powers of ten, as one writes them."""
    lo, hi = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if hi / lo < 200 else (1,), numticks=20))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def bounds(figure, rows, colors):
    """Mean of a bound over the norm, the tightest first; open where some values are below the norm."""
    rows, ax = sorted(rows, key=lambda row: -float(row.values["mean"])), figure.subplots()
    for at, row in enumerate(rows):
        mean, tint = float(row.values["mean"]), colors[2 if row.case.startswith("ours") else 3]
        inside = tint if row.values["below"].startswith("0 ") else "none"
        ax.scatter(mean, at, 22, facecolor=inside, edgecolor=tint, zorder=3)
        beside(ax, row.values["mean"], mean, at)
    lines(ax, [row.case for row in rows], colors)
    ax.set_xlabel("mean of value / norm")


def overview(figure, parts, colors):
    """Every case of every part as a dot, the geometric mean as a line; parts as their title and rows."""
    ax, names = figure.subplots(), list(parts)[::-1]
    for at, name in enumerate(names):
        values = [row.ratio for row in parts[name]]
        tints = [colors[2] if value >= 1 else colors[3] for value in values]
        ax.scatter(values, [at] * len(values), 16, color=tints, alpha=0.6, linewidths=0)
        ax.vlines(statistics.geometric_mean(values), at - 0.25, at + 0.2, color=colors[0], lw=1.6)
    lines(ax, names, colors)
    ax.set_xlabel(f"{AXIS}, one dot a case")


def drawing(rows):
    """The function that draws a part, or None where a table says it better."""
    if isinstance(rows[0], Values):
        return bounds if "mean" in rows[0].values else None
    return ratios if len(rows) >= 8 and rows[0].others else None
