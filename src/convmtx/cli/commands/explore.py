"""``convmtx explore``: a page in which kernel, input, output and matrix light each other up."""

from __future__ import annotations

import argparse
from pathlib import Path

import convmtx as cm
from convmtx import memory
from convmtx.cli.arguments import JSON, KERNELS, asked, convolution
from convmtx.cli.report import Report
from convmtx.explorer import SUFFIXES
from convmtx.replacing import writable

HELP = "a page to explore the matrix in a browser"
DESCRIPTION = """\
One HTML file that needs no network: kernel, input, output and matrix side by side;
what belongs to a cell that is pointed at lights up in the others."""
EPILOG = f"""\
{KERNELS}
examples:
    convmtx explore sobel --input 8,8 -o sobel.html
    convmtx explore gaussian:3:1 --input 6,6 --padding same --boundary wrap

{JSON}"""
PARENTS = (convolution(),)


def add(parser: argparse.ArgumentParser) -> None:
    """Add where the page goes."""
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, default=Path("conv.html"),
                        help=".html file to write (default: %(default)s)")  # fmt: skip


def run(options: argparse.Namespace, report: Report) -> None:
    """Write the page."""
    writable(options.output, SUFFIXES)
    op = asked(options, report)
    path = cm.explore(op, options.output)
    size = path.stat().st_size
    report.say(f"{options.output} written, {memory.human(size)}; open it in a browser")
    report.put(output=options.output, bytes=size)
