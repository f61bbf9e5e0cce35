"""``convmtx info``: sizes of a convolution and its forms, how it is applied, and a bound of its norm."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import convmtx as cm
from convmtx.cli.arguments import JSON, KERNELS, convolution_arguments, read_convolution
from convmtx.cli.parser import Command
from convmtx.cli.report import Report, certified_facts, describe_certified
from convmtx.errors import ConvmtxError
from convmtx.maps.convolution import ConvOperator

_EPILOG = f"""\
{KERNELS}
examples:
    convmtx info gaussian:9:2 --input 512,512 --padding same --boundary reflect
    convmtx info filters.npy --input 32,32,3 --stride 2 --json
    convmtx info sobel --input 64,64 --measure

{JSON}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whether to measure."""
    parser.add_argument("--measure", action="store_true", default=False, help="time each engine that can apply it")


def run(options: argparse.Namespace, report: Report) -> None:
    """Report what the operator says about itself, and a bound of its norm."""
    op = read_convolution(options, report)
    explanation = op.explain(options.measure)
    toeplitz = op.geometry.toeplitz
    adjoint = op.H
    try:
        bound = cm.norm_bound(op)
        norm, norm_text = certified_facts(bound), describe_certified(bound)
    except (ConvmtxError, MemoryError) as error:
        norm, norm_text = None, f"not known ({error})"
    report.say(str(explanation))
    view = "yes, tensor_view()" if toeplitz else "no, because the boundary folds taps onto the array"
    report.say(f"can be a strided view of the kernel among zeros: {view}")
    convolves = isinstance(adjoint, ConvOperator)
    report.say(f"adjoint: {'a convolution again' if convolves else 'not a convolution'}, {type(adjoint).__name__}")
    report.say(f"2-norm: {norm_text}")
    report.put(explanation=asdict(explanation), nnz=op.nnz, toeplitz=toeplitz,
               adjoint_is_convolution=convolves, norm=norm)  # fmt: skip


COMMAND = Command(
    "print sizes, forms, engine, adjoint and norm of a convolution",
    "Print sizes, bytes of the forms, how it is applied and why, adjoint, norm bound.",
    _EPILOG, add_arguments, run, (convolution_arguments(),),
)  # fmt: skip
