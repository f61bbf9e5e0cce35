"""``convmtx spectrum``: singular values, norm, condition number and rank, and how certain each is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import BinaryIO

import numpy as np

import convmtx as cm
from convmtx.cli.arguments import JSON, KERNELS, convolution_arguments, read_convolution
from convmtx.cli.parser import Command, integer
from convmtx.cli.report import CommandError, Report, can_show_progress, certified_facts, describe_certified
from convmtx.files import check_target, replace_file
from convmtx.typing import AnyArray

_EPILOG = f"""\
Each number is exact (up to rounding), an interval (the true number lies in it) or an
estimate. Without -k all singular values are computed, from the structure of the map
if it has any. -o writes them to a .npy or .csv file.

{KERNELS}
examples:
    convmtx spectrum gaussian:9:2 --input 64,64 --padding same --boundary wrap
    convmtx spectrum filters.npy --input 8,8,3 --padding same -k 5 --json
    convmtx spectrum box:5 --input 32,32 --padding same -k 3 --smallest -o s.csv

{JSON}"""
#: Singular values that are printed of each end of the list.
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which singular values are computed, and where they go."""
    add = parser.add_argument
    add("-k", metavar="K", type=integer, default=None, help="how many singular values (default: all)")
    add("--smallest", action="store_true", default=False, help="with -k, the smallest instead of the largest")
    add("-o", "--output", metavar="FILE", type=Path, default=None, help=".npy or .csv file for them")


def run(options: argparse.Namespace, report: Report) -> None:
    """Compute the singular values first, because they are what can fail."""
    path = options.output
    target = None if path is None else check_target(path, (".npy", ".csv"))
    if options.smallest and options.k is None:
        raise CommandError("--smallest without -k", "All values are computed without -k", "Give -k, such as -k 5")
    op = read_convolution(options, report)
    report.say(f"convolution {op.in_shape} -> {op.out_shape}, matrix {op.shape[0]} x {op.shape[1]}")
    values = cm.svdvals(op, options.k, "smallest" if options.smallest else "largest", progress=can_show_progress())
    numbers = np.asarray(values)
    report.say(f"{len(numbers)} singular values ({values.kind}: {values.method})")
    report.say("  " + _both_ends(numbers))
    norm, condition, rank = _summary(op, values, options.k)
    for name, result in (("norm", norm), ("condition", condition), ("rank", rank)):
        report.say(f"{name} {describe_certified(result)}")
    report.put(shape=op.shape, singular_values=certified_facts(values), norm=certified_facts(norm),
               condition=certified_facts(condition), rank=certified_facts(rank))  # fmt: skip
    if target is not None:
        with replace_file(target) as file:
            _save(file, numbers, path.suffix.lower())
        report.say(f"{path} written")
        report.put(output=path)


def _summary(op: cm.ConvOperator, values: cm.Certified, k: int | None) -> tuple[cm.Certified, ...]:
    """Return norm, condition number and rank: from all singular values if they are exact, else by themselves.

    One decomposition then answers all three, and exactly where the functions would settle for intervals.
    """
    from convmtx.spectra import cond_of, rank_of  # here, because other commands do not need the room of spectra

    if values.kind != "exact":
        return cm.norm(op, progress=can_show_progress()), cm.cond(op), cm.rank(op)
    every = values if k is None else cm.svdvals(op)
    norm = cm.Certified(float(every[0]), "exact", every.method, float(every.lower[0]), float(every.upper[0]))
    return norm, cond_of(every), rank_of(every, op.shape)


def _both_ends(numbers: AnyArray) -> str:
    """Return the numbers, or the first and the last of many."""
    is_short = len(numbers) <= 2 * _SHOWN
    parts = [numbers] if is_short else [numbers[:_SHOWN], numbers[-_SHOWN:]]
    return " ... ".join("  ".join(f"{number:.6g}" for number in part) for part in parts)


def _save(file: BinaryIO, numbers: AnyArray, suffix: str) -> None:
    """Write the numbers with all their digits."""
    if suffix == ".npy":
        np.save(file, numbers, allow_pickle=False)
    else:
        np.savetxt(file, numbers, fmt="%.17g")


COMMAND = Command(
    "compute singular values, norm, condition number and rank",
    "Compute singular values, norm, condition number and rank, and how certain each is.",
    _EPILOG, add_arguments, run, (convolution_arguments(),),
)  # fmt: skip
