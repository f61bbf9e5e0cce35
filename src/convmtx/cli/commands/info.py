"""``convmtx info``: what a convolution is, what its forms weigh, and how large its norm can be."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import convmtx as cm
from convmtx.cli.arguments import JSON, KERNELS, asked, convolution
from convmtx.cli.report import Report, certified, known
from convmtx.errors import ConvmtxError
from convmtx.maps.convolution import ConvOperator

HELP = "what a convolution is: sizes, forms, engine, norm"
DESCRIPTION = "Sizes, bytes of the forms, how it is applied and why, adjoint, a bound of the norm."
EPILOG = f"""\
{KERNELS}
examples:
    convmtx info gaussian:9:2 --input 512,512 --padding same --boundary reflect
    convmtx info filters.npy --input 32,32,3 --stride 2 --json
    convmtx info sobel --input 64,64 --measure

{JSON}"""
PARENTS = (convolution(),)


def add(parser: argparse.ArgumentParser) -> None:
    """Whether to measure."""
    parser.add_argument("--measure", action="store_true", default=False, help="time each engine that can apply it")


def run(options: argparse.Namespace, report: Report) -> None:
    """Ask the operator and tell."""
    op = asked(options, report)
    explanation = op.explain(options.measure)
    toeplitz = op.geometry.toeplitz
    adjoint = op.H
    try:
        bound = cm.norm_bound(op)
        norm, told = certified(bound), known(bound)
    except (ConvmtxError, MemoryError) as error:
        norm, told = None, f"not known ({error})"
    report.say(str(explanation))
    report.say("a strided view of the kernel among zeros: " + (
        "yes, tensor_view()" if toeplitz else "none, for the boundary folds taps onto the array"))  # fmt: skip
    convolves = isinstance(adjoint, ConvOperator)
    report.say(f"adjoint: {'a convolution again' if convolves else 'no convolution'}, {type(adjoint).__name__}")
    report.say(f"2-norm: {told}")
    report.put(explanation=asdict(explanation), nnz=op.nnz, toeplitz=toeplitz,
               adjoint_is_convolution=convolves, norm=norm)  # fmt: skip
