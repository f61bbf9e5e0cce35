"""``convmtx demo``: the matrices of three convolutions of a photograph, checked and drawn."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from convmtx import demo
from convmtx.cli.parser import Command, integer
from convmtx.cli.report import Report
from convmtx.files import check_target, replace_file

_EPILOG = """\
examples:
    convmtx demo
    convmtx demo --size 64 --picture demo.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the picture goes, and how large it is."""
    parser.add_argument("--picture", metavar="PATH", type=Path, default=Path("convmtx-demo.png"),
                        help="PNG file to write (default: %(default)s)")  # fmt: skip
    parser.add_argument("--size", metavar="N", type=integer, default=demo.SIZE,
                        help="side of the photograph, 16 to 512 pixels (default: %(default)s)")  # fmt: skip


def run(options: argparse.Namespace, report: Report) -> str | None:
    """Run the demo, write its picture, and report checks that failed."""
    target = check_target(options.picture, (".png",))
    outcome = demo.run(options.size, report.say)
    with replace_file(target) as file:
        file.write(outcome.picture)
    report.say(f"picture: {options.picture}")
    checks = {
        name: [asdict(check) | {"passed": check.passed} for check in checks] for name, checks in outcome.checks.items()
    }
    report.put(checks=checks, failed=outcome.failed, picture=options.picture)
    return f"demo: failed checks: {'; '.join(outcome.failed)}" if outcome.failed else None


COMMAND = Command(
    "check and draw the matrices of three convolutions of a photograph",
    "Build the matrices of three convolutions of a photograph; time, check and draw them.",
    _EPILOG, add_arguments, run,
)  # fmt: skip
