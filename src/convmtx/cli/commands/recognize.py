"""``convmtx recognize``: find the convolution that a matrix in a file is."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np

import convmtx as cm
from convmtx import memory
from convmtx.cli.arguments import JSON
from convmtx.cli.matrices import (
    MATRIX_FILES,
    add_order,
    change_facts,
    matrix_argument,
    report_differences,
    report_file,
)
from convmtx.cli.parser import Command, integers
from convmtx.cli.report import CommandError, Report
from convmtx.explorer import SUFFIXES
from convmtx.files import check_target, replace_file
from convmtx.geometry import Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.recognition import Recognition
from convmtx.storage import READ_SUFFIXES, Source, locate, read_matrix
from convmtx.typing import Order

#: Values of the largest kernel that is printed.
_SMALL = 100
_EPILOG = f"""\
{MATRIX_FILES}
Shapes that are left out are searched for among those that fit the matrix. If it is not
a convolution, recognize prints the nearest one, the first entries that differ, and
other readings under which it is one (column-major order, channels at the other end, a
transpose and so on), and the exit code is 2. -o and --explore write the convolution or
the nearest one.

examples:
    convmtx matrix sobel --input 8,8 --padding same --boundary wrap -o W.npz
    convmtx recognize W.npz --input 8,8
    convmtx recognize W.npz --input 8,8 -o K.npy --explore W.html
    convmtx recognize layer.mtx --input 3,8,8 --output-shape 8,6,6 \\
        --channels first --json

{JSON}A kernel of more than {_SMALL} values is null there; -o writes any.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shapes of inputs and outputs, and what is written."""
    add = parser.add_argument
    add("--input", metavar="5,6,3", type=integers, help="shape of one input, without batch (default: any that fits)")
    add("--output-shape", metavar="3,4,8", type=integers, help="shape of one output (default: any that fits)")
    add("--channels", type=str.lower, choices=("last", "first"),
        help="position of the channel axis (default: any, or no channels)")  # fmt: skip
    add_order(parser)
    add("-o", "--output", metavar="FILE", type=Path, help=".npy file to write the kernel to")
    add("--explore", metavar="PAGE", type=Path, help=".html file to explore the convolution in a browser")


def run(options: argparse.Namespace, report: Report) -> str | None:
    """Recognize the matrix, report the convolution or the nearest one, and write what was requested."""
    requested = vars(options)
    source = locate(options.file, READ_SUFFIXES, "matrix")
    target = _check_targets(source, requested)
    matrix = read_matrix(source)
    _check_shape(options.file, matrix, requested)
    report_file(report, options.file, matrix)
    order = requested.get("order", "C")
    recognition = cm.recognize(matrix, requested.get("input"), requested.get("output_shape"),
                               channels=requested.get("channels"), order=order)  # fmt: skip
    _report(report, recognition, order)
    if target is not None:
        with replace_file(target) as file:
            np.save(file, recognition.op.kernel, allow_pickle=False)
        report.say(f"{options.output} written")
        report.put(output=options.output)
    if "explore" in requested:
        size = cm.explore(recognition.op, options.explore).stat().st_size
        report.say(f"{options.explore} written, {memory.human(size)}; open it in a browser")
        report.put(explore=options.explore)
    return None if recognition.exact else f"recognize: {options.file} is not the matrix of a convolution as it is"


def _check_targets(source: Source, requested: dict[str, Any]) -> Path | None:
    """Return where to write the kernel, if requested; refuse files that cannot be written."""
    if "explore" in requested:
        check_target(requested["explore"], SUFFIXES)
    if "output" not in requested:
        return None
    target = check_target(requested["output"], (".npy",))
    if target.exists() and target.samefile(source.path):
        got = f"{requested['output']} is the matrix itself"
        raise CommandError(got, "Expected another file for the kernel", "Choose another name")
    return target


def _check_shape(name: str, matrix: Any, requested: dict[str, Any]) -> None:
    """Refuse an array that is neither a matrix nor a tensor of the requested shapes, and one without entries."""
    shape, tensor = tuple(matrix.shape), requested.get("output_shape", ()) + requested.get("input", ())
    if 0 in shape or (len(shape) != 2 and shape != tensor):
        expected = "Expected a matrix with rows and columns, or a tensor of the shapes of --output-shape and --input"
        raise CommandError(f"{name} has shape {shape}", expected, "Give these shapes, or another file")


def _report(report: Report, recognition: Recognition, order: Order) -> None:
    """Report a convolution, the entries that differ from it, and what else the matrix is."""
    op = recognition.op
    report.say(recognition.verdict)
    _say_kernel(report, op, "" if recognition.exact else " of the nearest convolution")
    distance = f"at distance {recognition.distance:.3g}"
    report_differences(report, recognition, op, order, distance)
    for other in recognition.alternatives:
        changes = f"for the matrix {' and '.join(map(str, other.changes))}" if other.changes else f"of {other.call}"
        _say_kernel(report, other.op, f" {changes}")
    report.put(**_facts(recognition), alternatives=[_facts(other) for other in recognition.alternatives])


def _say_kernel(report: Report, op: ConvOperator, which: str) -> None:
    """Print the shape and type of a kernel, and its values if they are few."""
    report.say(f"kernel{which}: {op.kernel.shape} {op.kernel.dtype}")
    if op.kernel.size <= _SMALL:
        report.say(indent(np.array2string(op.kernel, separator=", "), "  "))


def _facts(recognition: Recognition) -> dict[str, Any]:
    """Return a recognition as members of a JSON object: `convmtx.conv` of them is the convolution."""
    op, axes, layout = recognition.op, recognition.op.geometry.axes, recognition.op.geometry.layout
    return {
        "exact": recognition.exact, "changes": change_facts(recognition.changes),
        "kernel": op.kernel if op.kernel.size <= _SMALL else None, "kernel_shape": op.kernel.shape,
        "dtype": str(op.dtype), "in_shape": op.in_shape, "out_shape": op.out_shape,
        "stride": [axis.stride for axis in axes], "dilation": [axis.dilation for axis in axes],
        "padding": [(axis.lo, axis.hi) for axis in axes], "boundary": [axis.boundary.name for axis in axes],
        "groups": op.geometry.groups, "flip": op.geometry.flip,
        "channels": None if layout is Layout.PLAIN else layout.value,
        "input_dilation": [axis.input_dilation for axis in axes],
        "distance": recognition.distance, "boundaries": recognition.boundaries, "unseen": recognition.unseen,
    }  # fmt: skip


COMMAND = Command(
    "find the convolution that a matrix file is",
    "Find the kernel and the geometry of the convolution whose matrix is in a file.",
    _EPILOG, add_arguments, run, (matrix_argument(),),
)  # fmt: skip
