"""``convmtx check``: compare a matrix in a file with the matrix of a kernel."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from convmtx.cli.arguments import JSON, KERNELS, convolution_arguments, read_convolution
from convmtx.cli.matrices import (
    MATRIX_FILES,
    add_order,
    change_facts,
    matrix_argument,
    report_differences,
    report_file,
)
from convmtx.cli.parser import Command, number
from convmtx.cli.report import CommandError, Report
from convmtx.maps.convolution import ConvOperator
from convmtx.recognition import compare, compared_dtype, diagnose
from convmtx.storage import READ_SUFFIXES, Source, locate, read_matrix

_EPILOG = f"""\
{MATRIX_FILES}
If it has fewer digits than the kernel, the kernel's entries are rounded to them. If the
matrices differ, check prints the first differences, looks for what explains them
(column-major order, a flipped kernel, shifted windows, another boundary, a transpose
and so on, or two or three of these) and prints that, and the exit code is 2.

{KERNELS}
examples:
    convmtx matrix sobel --input 8,8 --flip -o W.npz
    convmtx check W.npz sobel --input 8,8 --flip
    convmtx check layer.mtx weight.npy --input 3,8,8 --channels first \\
        --tolerance 1e-6 --json

{JSON}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how matrices are compared."""
    add_order(parser)
    parser.add_argument("--tolerance", metavar="T", type=number, default=0.0,
                        help="entries that differ by at most T are equal (default: 0)")  # fmt: skip


def run(options: argparse.Namespace, report: Report) -> str | None:
    """Compare shapes, then entries; report the first difference and what would explain it."""
    if options.tolerance < 0:
        raise CommandError(f"--tolerance {options.tolerance}", "Expected at least 0", "Leave it out for 0")
    source = locate(options.file, READ_SUFFIXES, "matrix")
    op = read_convolution(options, report)
    file = _read(source, op)
    report_file(report, options.file, file)
    order = vars(options).get("order", "C")
    comparison = compare(file, op, order, atol=options.tolerance) if tuple(file.shape) == op.shape else None
    is_equal = comparison is not None and not comparison.count
    rounded_to = _rounded_to(op, file)
    report.put(equal=is_equal, shape=op.shape, rounded_to=rounded_to)
    if is_equal:
        report.say(f"equal, {op.shape[0]} x {op.shape[1]}" + (f", to {rounded_to}" if rounded_to else ""))
        return None
    if comparison is None:
        report.say(f"the file's shape is {tuple(file.shape)}, and that of the matrix {op.shape}")
    else:
        size = f"by at most {comparison.largest:.3g}"
        report_differences(report, comparison, op, order, size)
        report.put(largest_difference=comparison.largest)
    diagnosis = diagnose(file, op, order, atol=options.tolerance) if file.ndim == 2 else None
    explanations = () if diagnosis is None else diagnosis.explanations
    report.put(explanations=[change_facts(changes) for changes in explanations])
    if diagnosis is not None:
        report.say(f"the file is {diagnosis}")
    return f"check: {options.file} is not the matrix of {options.kernel}"


def _read(source: Source, op: ConvOperator) -> Any:
    """Read the matrix, in the type that its decimals stand for and as two axes."""
    file = read_matrix(source)
    # A .mtx file has as many decimals as distinguish numbers of single precision, and they are read as doubles.
    if source.suffix == ".mtx" and op.dtype in (np.float32, np.complex64) and file.dtype.kind in "fc":
        file = file.astype(np.complex64 if file.dtype.kind == "c" else np.float32)
    is_tensor = tuple(file.shape) == op.out_shape + op.in_shape
    return file.reshape(op.shape) if is_tensor else file


def _rounded_to(op: ConvOperator, file: Any) -> str | None:
    """Return the type to which the kernel has to be rounded to be compared with the file, if that changes it."""
    dtype = compared_dtype(op.dtype, file.dtype)
    is_exact = np.array_equal(op.kernel.astype(dtype).astype(op.dtype), op.kernel, equal_nan=True)
    return None if is_exact else str(dtype)


COMMAND = Command(
    "compare a matrix file with the matrix of a kernel",
    "Compare a matrix in a file with the matrix of a kernel, and show where they differ.",
    _EPILOG, add_arguments, run, (matrix_argument(), convolution_arguments()),
)  # fmt: skip
