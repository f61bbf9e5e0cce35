"""``convmtx matrix``: the matrix of a kernel, to a file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from convmtx import memory
from convmtx.cli.arguments import JSON, KERNELS, asked, convolution
from convmtx.cli.kernels import names_file
from convmtx.cli.report import CommandError, Report
from convmtx.cli.writing import FORMS, check_storable, require_space, save, target_of, weight
from convmtx.forms import FORMATS

HELP = "the matrix of a kernel, written to a file"
DESCRIPTION = "The matrix of a convolution with your kernel, explained and written to a file."
EPILOG = f"""\
{KERNELS}
examples:
  filters (3, 3, 3, 8) on pictures of 32 x 32 pixels with 3 channels:
    convmtx matrix filters.npy --input 32,32,3 --stride 2 --padding same -o W.npz
  a PyTorch weight (8, 3, 3, 3), channels first, one more zero at the ends:
    convmtx matrix weight.npy --input 3,32,32 --channels first \\
        --padding 1:2,1:2 -o W.npz
  the circulant matrix of a blur, dense; and column-major, as MATLAB flattens:
    convmtx matrix gaussian:9:2 --input 16,16 --padding same --boundary wrap \\
        -o W.npy
    convmtx matrix gaussian:9:2 --input 16,16 --padding same --order F -o W.mat

reading it back in Python, with B the convolution of an array A:
    W = scipy.sparse.load_npz("W.npz")                  # CSR, or as --format says
    W = numpy.load("W.npy")                             # dense
    W = scipy.io.mmread("W.mtx", spmatrix=False)        # Matrix Market
    W = scipy.io.loadmat("W.mat", spmatrix=False)["W"]  # in MATLAB: load W.mat
    g = h5py.File("W.h5")                         # or zarr.open_group("W.zarr")
    W = scipy.sparse.csr_array((g["data"][:], g["indices"][:], g["indptr"][:]),
                               shape=g.attrs["shape"])
    B = (W @ A.ravel()).reshape(out_shape)        # with --order F: A.ravel("F")
                                                  # and reshape(..., order="F")

A value that starts with a minus sign is a width that crops: --padding -1,2 takes
one pixel from both ends of the first axis.
{JSON}"""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments beside those of the convolution."""
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True,
                        help="file to write: .npz (sparse, SciPy), .npy (dense, NumPy), .mtx (Matrix Market), .mat "
                        "(sparse, MATLAB), .h5 or .zarr (CSR as AnnData has it; extra files)")  # fmt: skip
    parser.add_argument(
        "--order", type=str.upper, choices=("C", "F"), help="how arrays are flattened: row-major (default) or not"
    )
    parser.add_argument("--format", type=str.lower, choices=FORMATS, help="sparse format in a .npz file (default: csr)")


PARENTS = (convolution(),)


def run(options: argparse.Namespace, report: Report) -> None:
    """Explain, build, write."""
    import scipy.sparse  # noqa: F401  # here, so that the time told below is the matrix's and not the import's

    path = options.output
    given, suffix = vars(options), path.suffix.lower()
    target = target_of(path)
    form = _form(given, suffix)
    op = asked(options, report)
    if names_file(options.kernel, target):
        got = f"{path} is the kernel itself"
        raise CommandError(got, "Wanted another file for the matrix", "Choose another name")
    check_storable(op.dtype, suffix, op.nnz)
    explanation = op.explain()
    report.say(str(explanation))
    require_space(target, suffix, explanation.bytes, op.nnz)
    start = perf_counter()
    order = given.get("order", "C")
    matrix = op.to_dense(order) if form == "dense" else op.to_sparse(form, order)
    seconds = perf_counter() - start
    report.say(f"{form} matrix made in {seconds:.3g} s")
    save(target, matrix, suffix)
    report.say(f"{path} written, {memory.human(weight(target))}")
    report.put(explanation=asdict(explanation), format=form, order=order, seconds=seconds, output=path,
               bytes=weight(target))  # fmt: skip


def _form(given: dict[str, Any], suffix: str) -> Any:
    """The form to build for this file; an option that would have no effect is an error."""
    if "format" in given and suffix != ".npz":
        kind = {".npy": "dense", ".mtx": "always by coordinates"}.get(suffix, f"always {FORMS[suffix]}")
        wanted = f"A {suffix} file is {kind}, and --format is for .npz files"
        raise CommandError(f"--format with {given['output']}", wanted, "Leave --format out, or use .npz")
    return FORMS.get(suffix) or given.get("format", "csr")
