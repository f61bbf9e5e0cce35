"""``convmtx tune``: fit the cost model to this machine, and show what it changes."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import convmtx as cm
from convmtx.cli.arguments import JSON
from convmtx.cli.parser import Command, number
from convmtx.cli.report import Report, can_show_progress

_EPILOG = f"""\
Which engine applies a map is chosen by predicted seconds. tune times every engine,
fits the predictions to this machine, and keeps them in a file for all later programs:
rates.json in the user's cache directory (extra tune), or the file that the environment
variable CONVMTX_RATES names. CONVMTX_RATES=0 turns kept rates off. To undo tuning,
remove the file. Run it when the machine has nothing else to do: nothing is kept if
choices are worse with the new predictions.

The table has, for convolutions that nothing was fitted to, the engine before and
after, its predicted and measured time, and its regret: the measured time over that of
the fastest engine. A bar shows how far it is (extra progress).

examples:
    convmtx tune
    convmtx tune --seconds 20 --json

{JSON}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how long it may take."""
    parser.add_argument("--seconds", metavar="S", type=number, default=40.0,
                        help="time for measuring (default: %(default)g)")  # fmt: skip


def run(options: argparse.Namespace, report: Report) -> None:
    """Tune, and report the choices before and after."""
    tuning = cm.tune(seconds=options.seconds, progress=can_show_progress())
    report.say(str(tuning))
    choices = [
        asdict(choice) | {"regret_before": choice.regret_before, "regret_after": choice.regret_after}
        for choice in tuning.choices
    ]
    regrets = [dict(zip(("mean", "worst"), pair, strict=True)) for pair in (tuning.regret_before, tuning.regret_after)]
    report.put(path=tuning.path, is_kept=tuning.is_kept, source=tuning.source, rates=dict(tuning.seconds),
               choices=choices, regret_before=regrets[0], regret_after=regrets[1])  # fmt: skip


COMMAND = Command(
    "fit the predicted times to this machine",
    "Fit the predicted times of engines and solves to this machine, and show what it changes.",
    _EPILOG, add_arguments, run,
)  # fmt: skip
