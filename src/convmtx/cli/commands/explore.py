"""``convmtx explore``: an HTML page that shows which cells of kernel, input, output and matrix belong together."""

from __future__ import annotations

import argparse
from pathlib import Path

import convmtx as cm
from convmtx import memory
from convmtx.cli.arguments import JSON, KERNELS, convolution_arguments, read_convolution
from convmtx.cli.parser import Command
from convmtx.cli.report import Report
from convmtx.explorer import SUFFIXES
from convmtx.files import check_target

_EPILOG = f"""\
{KERNELS}
examples:
    convmtx explore sobel --input 8,8 -o sobel.html
    convmtx explore gaussian:3:1 --input 6,6 --padding same --boundary wrap

{JSON}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the page goes."""
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, default=Path("conv.html"),
                        help=".html file to write (default: %(default)s)")  # fmt: skip


def run(options: argparse.Namespace, report: Report) -> None:
    """Write the page."""
    check_target(options.output, SUFFIXES)
    op = read_convolution(options, report)
    path = cm.explore(op, options.output)
    size = path.stat().st_size
    report.say(f"{options.output} written, {memory.human(size)}; open it in a browser")
    report.put(output=options.output, bytes=size)


COMMAND = Command(
    "write a page to explore the matrix in a browser",
    """\
Write one HTML file that needs no network. It shows kernel, input, output and matrix
side by side; point at a cell, and the cells that belong to it light up.""",
    _EPILOG, add_arguments, run, (convolution_arguments(),),
)  # fmt: skip
