"""``convmtx matrix``: write the matrix of a kernel to a file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from convmtx import memory
from convmtx.cli.arguments import JSON, KERNELS, convolution_arguments, read_convolution
from convmtx.cli.kernels import is_read_from
from convmtx.cli.matrices import add_order
from convmtx.cli.parser import Command
from convmtx.cli.report import CommandError, Report, can_show_progress
from convmtx.forms import FORMATS
from convmtx.storage import FORMS, check_matrix_target, write_matrix

_EPILOG = f"""\
{KERNELS}
examples:
  filters (3, 3, 3, 8) on pictures of 32 x 32 pixels with 3 channels:
    convmtx matrix filters.npy --input 32,32,3 --stride 2 --padding same -o W.npz
  a PyTorch weight (8, 3, 3, 3), channels first, more zeros after than before:
    convmtx matrix weight.npy --input 3,32,32 --channels first \\
        --padding 1:2,1:2 -o W.npz
  the circulant matrix of a blur, dense; and for MATLAB, which is column-major:
    convmtx matrix gaussian:9:2 --input 16,16 --padding same --boundary wrap \\
        -o W.npy
    convmtx matrix gaussian:9:2 --input 16,16 --padding same --order F -o W.mat

reading it back in Python, with B the convolution of an array A:
    W = scipy.sparse.load_npz("W.npz")                  # CSR, or as --format says
    W = numpy.load("W.npy")                             # dense
    W = scipy.io.mmread("W.mtx", spmatrix=False)        # Matrix Market
    W = scipy.io.loadmat("W.mat", spmatrix=False)["W"]  # in MATLAB: load W.mat
    W = convmtx.load("W.h5")                            # CSR, from any of these files
    B = (W @ A.ravel()).reshape(out_shape)        # with --order F: A.ravel("F")
                                                  # and reshape(..., order="F")

A negative width crops: --padding -1,2 removes one pixel at both ends of the first
axis.
{JSON}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the matrix goes, and how."""
    add = parser.add_argument
    add("-o", "--output", metavar="FILE", type=Path, required=True,
        help="file to write: .npz (sparse, SciPy), .npy (dense, NumPy), .mtx (Matrix Market), .mat (sparse, MATLAB), "
        ".petsc (PETSc), .h5 or .zarr (CSR, as AnnData writes it; extra files)")  # fmt: skip
    add_order(parser)
    add("--format", type=str.lower, choices=FORMATS, help="sparse format in a .npz file (default: csr)")


def run(options: argparse.Namespace, report: Report) -> None:
    """Explain the convolution, build its matrix and write it."""
    import scipy.sparse  # noqa: F401  # here, so that the time printed below does not include the import

    path = options.output
    suffix, order = path.suffix.lower(), vars(options).get("order", "C")
    target = check_matrix_target(path)
    form = _form(vars(options), suffix)
    op = read_convolution(options, report)
    if is_read_from(options.kernel, target):
        got = f"{path} is the kernel itself"
        raise CommandError(got, "Expected another file for the matrix", "Choose another name")
    explanation = op.explain()
    report.say(str(explanation))
    start = perf_counter()
    write_matrix(op, path, order, sparse_format="csr" if form == "dense" else form, progress=can_show_progress())
    seconds, size = perf_counter() - start, _size_of(target)
    report.say(f"{form} matrix built and written in {seconds:.3g} s")
    report.say(f"{path} written, {memory.human(size)}")
    report.put(explanation=asdict(explanation), format=form, order=order, seconds=seconds, output=path, bytes=size)


def _size_of(target: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if target.is_dir():
        return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return target.stat().st_size


def _form(options: dict[str, Any], suffix: str) -> Any:
    """Return the form that is built for this file; refuse an option that would have no effect."""
    if "format" in options and suffix != ".npz":
        kind = {".npy": "dense", ".mtx": "always by coordinates"}.get(suffix, f"always {FORMS[suffix]}")
        expected = f"A {suffix} file is {kind}, and --format is for .npz files"
        raise CommandError(f"--format with {options['output']}", expected, "Leave --format out, or use .npz")
    return FORMS.get(suffix) or options.get("format", "csr")


COMMAND = Command(
    "write the matrix of a kernel to a file",
    "Explain a convolution with your kernel, and write its matrix to a file.",
    _EPILOG, add_arguments, run, (convolution_arguments(),),
)  # fmt: skip
