"""``convmtx spectrum``: singular values, norm, condition and rank, with how they are known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

import convmtx as cm
from convmtx.cli.arguments import JSON, KERNELS, asked, convolution, integer
from convmtx.cli.report import CommandError, Report, certified, known, watched
from convmtx.replacing import replacing, writable
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from convmtx.spectra.values import Which

HELP = "singular values, norm, condition and rank"
DESCRIPTION = "Singular values, norm, condition number and rank, each with how it is known."
EPILOG = f"""\
Each number has its kind: exact (to rounding), interval (between bounds that hold),
or estimate. Without -k all singular values are found, by structure where there is
any. -o writes them to a .npy or .csv file.

{KERNELS}
examples:
    convmtx spectrum gaussian:9:2 --input 64,64 --padding same --boundary wrap
    convmtx spectrum filters.npy --input 8,8,3 --padding same -k 5 --json
    convmtx spectrum box:5 --input 32,32 --padding same -k 3 --smallest -o s.csv

{JSON}"""
PARENTS = (convolution(),)

#: Values printed of each end.
_SHOWN = 5


def add(parser: argparse.ArgumentParser) -> None:
    """Which values, and where to."""
    parser.add_argument("-k", metavar="K", type=integer, default=None, help="how many (default: all)")
    parser.add_argument("--smallest", action="store_true", default=False, help="those at the lower end, with -k")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, default=None, help=".npy or .csv file for them")


def run(options: argparse.Namespace, report: Report) -> None:
    """Find the values first: they are what can fail."""
    path = options.output
    target = None if path is None else writable(path, (".npy", ".csv"))
    if options.smallest and options.k is None:
        raise CommandError("--smallest without -k", "All values are found without -k", "Give -k, such as -k 5")
    op = asked(options, report)
    report.say(f"convolution {op.in_shape} -> {op.out_shape}, matrix {op.shape[0]} x {op.shape[1]}")
    which: Which = "smallest" if options.smallest else "largest"
    from convmtx.spectra.certified import times
    from convmtx.structure.precision import scaled

    plain, scale = scaled(op)
    found = cm.svdvals(plain, options.k, which, progress=watched())
    values = times(found, scale)
    numbers = np.asarray(values)
    if found.kind == "exact":  # then all are to be had, and tell more than the three functions in less time
        every = found if options.k is None else cm.svdvals(plain)
        norm, cond, rank = _derived(every, op.shape)
        norm = times(norm, scale)
    else:
        norm, cond, rank = cm.norm(op, progress=watched()), cm.cond(op), cm.rank(op)
    report.say(f"{len(numbers)} singular values ({values.kind}: {values.method})")
    report.say("  " + _ends(numbers))
    for name, found in (("norm", norm), ("condition", cond), ("rank", rank)):
        report.say(f"{name} {known(found)}")
    report.put(shape=op.shape, singular_values=certified(values), norm=certified(norm), condition=certified(cond),
               rank=certified(rank))  # fmt: skip
    if target is not None:
        with replacing(target) as file:
            _save(file, numbers, path.suffix.lower())
        report.say(f"{path} written")
        report.put(output=path)


def _derived(values: cm.Certified, shape: tuple[int, int]) -> tuple[cm.Certified, ...]:
    """Norm, condition and rank from all singular values."""
    from convmtx.spectra.condition import cond_of, rank_of

    norm = cm.Certified(float(values[0]), "exact", values.method, float(values.lower[0]), float(values.upper[0]))
    return norm, cond_of(values), rank_of(values, shape)


def _ends(numbers: AnyArray) -> str:
    few = len(numbers) <= 2 * _SHOWN
    parts = [numbers] if few else [numbers[:_SHOWN], numbers[-_SHOWN:]]
    return " ... ".join("  ".join(f"{each:.6g}" for each in part) for part in parts)


def _save(file: BinaryIO, numbers: AnyArray, suffix: str) -> None:
    if suffix == ".npy":
        np.save(file, numbers, allow_pickle=False)
    else:
        np.savetxt(file, numbers, fmt="%.17g")
