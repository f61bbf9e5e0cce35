"""``convmtx check``: whether a matrix in a file is that of a kernel, and where it first is not."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from convmtx.cli.arguments import JSON, KERNELS, asked, convolution, number
from convmtx.cli.comparing import Difference, compared, reading, rounded
from convmtx.cli.kernels import located
from convmtx.cli.matrices import SUFFIXES, read_matrix
from convmtx.cli.report import CommandError, Report
from convmtx.maps.convolution import ConvOperator

HELP = "compare a matrix file with the matrix of a kernel"
DESCRIPTION = "Whether a matrix in a file is that of a kernel, and where it first is not."
EPILOG = f"""\
FILE is .npz (SciPy), .npy (dense), .mtx, .mat (the variable W, or FILE.mat:NAME)
or .h5 (CSR as AnnData has it). A file of fewer digits than the kernel has is
compared with the kernel's entries rounded to them. Where the matrices differ,
other options are tried, and the fewest with which they would be equal are told.
The exit code is 2 where they differ.

{KERNELS}
examples:
    convmtx matrix sobel --input 8,8 --flip -o W.npz
    convmtx check W.npz sobel --input 8,8 --flip
    convmtx check layer.mtx weight.npy --input 3,8,8 --channels first \\
        --tolerance 1e-6 --json

{JSON}"""


def _file() -> argparse.ArgumentParser:
    """A parent by itself, for it comes before the kernel."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("file", metavar="FILE", help="the matrix: " + " ".join(SUFFIXES))
    return parser


PARENTS = (_file(), convolution())


def add(parser: argparse.ArgumentParser) -> None:
    """Add how matrices are compared."""
    parser.add_argument(
        "--order", type=str.upper, choices=("C", "F"), help="how arrays are flattened: row-major (default) or not"
    )
    parser.add_argument("--tolerance", metavar="T", type=number, default=0.0,
                        help="differences of entries up to T count as none (default: 0)")  # fmt: skip


def run(options: argparse.Namespace, report: Report) -> str | None:
    """Compare shapes, then entries; tell what differs."""
    given = vars(options)
    if options.tolerance < 0:
        raise CommandError(f"--tolerance {options.tolerance}", "Wanted at least 0", "Give it so")
    source = replace(located(options.file, SUFFIXES), what="matrix")
    op = asked(options, report)
    if op.dtype == np.float16:  # of which SciPy has no sparse arrays
        op = op.with_kernel(op.kernel.astype(np.float32))
    file = read_matrix(source)
    if source.suffix == ".mtx" and op.dtype in (np.float32, np.complex64) and file.dtype.kind in "fc":
        # Its decimals are as many as tell numbers of single precision apart.
        file = file.astype(np.complex64 if file.dtype.kind == "c" else np.float32)
    if tuple(file.shape) == op.out_shape + op.in_shape:  # the tensor of a dense file
        file = file.reshape(op.shape)
    report.say(
        f"file {options.file}, {file.shape} {file.dtype}, {'dense' if isinstance(file, np.ndarray) else 'sparse'}"
    )
    order, alike = given.get("order", "C"), tuple(file.shape) == op.shape
    found = compared(file, op, order, options.tolerance) if alike else None
    equal = found is not None and not found.count
    digits = rounded(op.dtype, file.dtype)
    kept = np.array_equal(op.kernel.astype(digits).astype(op.dtype), op.kernel, equal_nan=True)
    to = None if kept else str(digits)
    report.put(file=options.file, equal=equal, shape=op.shape, file_shape=file.shape, rounded_to=to)
    if equal:
        report.say(f"equal, {op.shape[0]} x {op.shape[1]}" + (f", to {to}" if to else ""))
        return None
    _tell(report, op, order, file, found)
    other = reading(file, op, given, options.tolerance) if file.ndim == 2 else None
    report.put(reading=other)
    if other:
        report.say(f"the file is {other}")
    return f"check: {options.file} is not the matrix of {options.kernel}"


def _tell(report: Report, op: ConvOperator, order: Any, file: Any, found: Difference | None) -> None:
    if found is None or found.first is None:
        report.say(f"the file's shape is {tuple(file.shape)}, and that of the matrix {op.shape}")
        return
    row, column, theirs, ours = found.first
    output, place = (tuple(int(j) for j in np.unravel_index(flat, shape, order))
                     for flat, shape in ((row, op.out_shape), (column, op.in_shape)))  # fmt: skip
    report.say(f"first difference: row {row} = output {output}, column {column} = input {place}: "
               f"the file has {theirs}, the kernel gives {ours}")  # fmt: skip
    count = f"{found.count} entries differ" if found.count > 1 else "1 entry differs"
    report.say(f"{count}, by {found.largest:.3g} at most")
    first = {"row": row, "output": output, "column": column, "input": place, "file": theirs, "kernel": ours}
    report.put(first=first, differing=found.count, largest_difference=found.largest)
