"""``convmtx plot``: a picture of a convolution, to a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import convmtx as cm
from convmtx.cli.arguments import JSON, KERNELS, asked, convolution, integer, integers
from convmtx.cli.report import CommandError, Report
from convmtx.extras import needed
from convmtx.maps.convolution import ConvOperator
from convmtx.replacing import replacing, writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELP = "a picture of the matrix, a row, the kernel, the spectrum, the symbol or the costs"
DESCRIPTION = "A picture of a convolution, written to a file (extra plot)."
EPILOG = f"""\
What is drawn:
  matrix     the pattern, each tap in its own colour; large ones by how full parts are
  row        what one output reads of the input
  kernel     the taps
  spectrum   singular values
  symbol     what each frequency is multiplied with
  cost       bytes and times of the forms

{KERNELS}
examples:
    convmtx plot matrix sobel --input 8,8 -o matrix.png
    convmtx plot matrix sobel --input 4,4 --padding same --values --dark -o W.svg
    convmtx plot row gaussian:9:2 --input 32,32 --padding same \\
        --boundary reflect --at 2,30 -o row.pdf
    convmtx plot spectrum box:3 --input 24,24 --padding same -k 20 -o s.png

{JSON}"""
_KINDS = ("matrix", "row", "kernel", "spectrum", "symbol", "cost")
#: Options that mean something for one kind alone.
_OWN = {"at": "row", "values": "matrix", "k": "spectrum"}


def _kind() -> argparse.ArgumentParser:
    """A parent by itself, for it comes before the kernel."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("kind", metavar="KIND", choices=_KINDS, help=", ".join(_KINDS))
    return parser


PARENTS = (_kind(), convolution())


def add(parser: argparse.ArgumentParser) -> None:
    """Add how it is drawn, and where to."""
    add = parser.add_argument
    add("-o", "--output", metavar="FILE", type=Path, required=True, help=".png, .svg or .pdf file to write")
    add("--at", metavar="3,4", type=integers, help="the output of a row: its coordinates, or its number "
        "(default: the middle one)")  # fmt: skip
    add("--values", action="store_true", help="write the entries into the cells of a matrix")
    add("-k", metavar="K", type=integer, help="how many singular values (default: all)")
    add("--dark", action="store_true", help="light on dark")


def run(options: argparse.Namespace, report: Report) -> None:
    """Draw on a figure that no window knows of."""
    path, given = options.output, vars(options)
    target = writable(path, (".png", ".svg", ".pdf"))
    for name, kind in _OWN.items():
        if name in given and options.kind != kind:
            got, wanted = f"{'-k' if name == 'k' else '--' + name} for a {options.kind}", f"It is for a {kind}"
            raise CommandError(got, wanted, "Leave it out")
    needed("matplotlib", "plot")
    op = asked(options, report)
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("dark_background" if "dark" in given else "default"):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        _draw(op, given, figure.add_subplot())
        with replacing(target) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")
    report.say(f"{path} written")
    report.put(output=path, kind=options.kind)


def _draw(op: ConvOperator, given: dict[str, Any], ax: Axes) -> None:
    kind = given["kind"]
    if kind == "row":
        at = given.get("at", tuple(n // 2 for n in op.out_shape))
        cm.plot.row(op, at[0] if len(at) == 1 else at, ax)
    elif kind == "matrix":
        cm.plot.matrix(op, ax, values="values" in given)
    elif kind == "spectrum":
        cm.plot.spectrum(op, ax, given.get("k"))
    else:
        getattr(cm.plot, kind)(op, ax)
