"""Arguments and reports that commands about matrix files share: the file, its order, and entries that differ."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np

from convmtx.cli.parser import Parser
from convmtx.cli.report import Report
from convmtx.maps.convolution import ConvOperator
from convmtx.recognition import Comparison, Recognition, entries_differ
from convmtx.storage import READ_SUFFIXES
from convmtx.typing import Order, Shape

MATRIX_FILES = """\
FILE is .npz (SciPy), .npy (dense), .mtx, .mat (the variable W, or FILE.mat:NAME),
.petsc, or .h5 or .zarr (CSR, as AnnData writes it). Nothing in it is executed."""
#: Ordinals of the differences that are listed.
_ORDINALS = ("first", "second", "third")


def matrix_argument() -> Parser:
    """Return a parser of the matrix file, which comes first."""
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("file", metavar="FILE", help="the matrix: " + " ".join(READ_SUFFIXES))
    return parser


def add_order(parser: argparse.ArgumentParser) -> None:
    """Add the order in which arrays are flattened."""
    parser.add_argument("--order", type=str.upper, choices=("C", "F"),
        help="how arrays are flattened. C: row-major (default); F: column-major, as in MATLAB")  # fmt: skip


def report_file(report: Report, name: str, matrix: Any) -> None:
    """Report the shape, type and form of the matrix in a file."""
    form = "dense" if isinstance(matrix, np.ndarray) else "sparse"
    report.say(f"file {name}, {matrix.shape} {matrix.dtype}, {form}")
    report.put(file=name, file_shape=matrix.shape)


def report_differences(
    report: Report, result: Comparison | Recognition, op: ConvOperator, order: Order, size: str
) -> None:
    """Report the entries that differ from those of a convolution: the first of them, and how many and how large."""
    members = []
    for ordinal, difference in zip(_ORDINALS, result.differs, strict=False):
        output, place, theirs, ours = difference.output, difference.input, difference.theirs, difference.ours
        row, column = _number(output, op.out_shape, order), _number(place, op.in_shape, order)
        tap = "" if difference.tap is None else f", tap {difference.tap}"
        report.say(f"{ordinal} difference: row {row} = output {output}, column {column} = input {place}{tap}: "
                   f"the file has {theirs}, the kernel gives {ours}")  # fmt: skip
        members.append({"row": row, "output": output, "column": column, "input": place, "tap": difference.tap,
                        "file": theirs, "kernel": ours})  # fmt: skip
    if result.count:
        report.say(f"{entries_differ(result.count)}, {size}")
    report.put(differences=members, differing=result.count)


def change_facts(changes: Iterable[Any]) -> list[dict[str, Any]]:
    """Return changes as members of a JSON object."""
    return [{"kind": change.kind.value, "numbers": change.numbers, "sides": change.sides} for change in changes]


def _number(place: Shape, shape: Shape, order: Order) -> int:
    """Return the position of an entry in a flattened array."""
    return int(np.ravel_multi_index(place, shape, order=order))
