"""``convmtx plot``: draw a picture of a convolution and write it to a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import convmtx as cm
from convmtx.cli.arguments import JSON, KERNELS, convolution_arguments, read_convolution
from convmtx.cli.parser import Command, Parser, integer, integers
from convmtx.cli.report import CommandError, Report
from convmtx.extras import import_extra
from convmtx.files import check_target, replace_file
from convmtx.maps.convolution import ConvOperator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EPILOG = f"""\
KIND is what is drawn:
  matrix     the entries, each tap in its own colour; of a large matrix how full its
             parts are
  row        the inputs that one output reads, and their weights
  kernel     the taps
  spectrum   the singular values
  symbol     the factor by which each frequency is multiplied
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
#: Options that only one kind has.
_KIND_OF_OPTION = {"at": "row", "values": "matrix", "k": "spectrum"}


def _kind() -> Parser:
    """Return a parser of the kind, which comes before the kernel."""
    parser = Parser(add_help=False)
    parser.add_argument("kind", metavar="KIND", type=str.lower, choices=_KINDS, help=", ".join(_KINDS))
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how it is drawn, and where to."""
    add = parser.add_argument
    add("-o", "--output", metavar="FILE", type=Path, required=True, help=".png, .svg or .pdf file to write")
    add("--at", metavar="3,4", type=integers, help="the output whose row is drawn: its coordinates, or its number "
        "(default: the middle one)")  # fmt: skip
    add("--values", action="store_true", help="write the entries into the cells of a matrix")
    add("-k", metavar="K", type=integer, help="how many singular values (default: all)")
    add("--dark", action="store_true", help="draw on a dark background")


def run(options: argparse.Namespace, report: Report) -> None:
    """Draw on a figure that has no window."""
    path = options.output
    target = check_target(path, (".png", ".svg", ".pdf"))
    for name, kind in _KIND_OF_OPTION.items():
        if name in options and options.kind != kind:
            got, expected = f"{'-k' if name == 'k' else '--' + name} for a {options.kind}", f"It is for a {kind}"
            raise CommandError(got, expected, "Leave it out")
    import_extra("matplotlib", "plot")
    op = read_convolution(options, report)
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("dark_background" if "dark" in options else "default"):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        _draw(op, vars(options), figure.add_subplot())
        with replace_file(target) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")
    report.say(f"{path} written")
    report.put(output=path, kind=options.kind)


def _draw(op: ConvOperator, options: dict[str, Any], ax: Axes) -> None:
    """Draw what the kind names."""
    kind = options["kind"]
    if kind == "row":
        at = options.get("at", tuple(n // 2 for n in op.out_shape))
        cm.plot.row(op, at[0] if len(at) == 1 else at, ax)
    elif kind == "matrix":
        cm.plot.matrix(op, ax, values="values" in options)
    elif kind == "spectrum":
        cm.plot.spectrum(op, ax, options.get("k"))
    else:
        getattr(cm.plot, kind)(op, ax)


COMMAND = Command(
    "draw the matrix, a row, the kernel, the spectrum, the symbol or the costs",
    "Draw a picture of a convolution and write it to a file (extra plot).",
    _EPILOG, add_arguments, run, (_kind(), convolution_arguments()),
)  # fmt: skip
