"""``convmtx demo``: three matrices of a photograph, checked and drawn."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from convmtx import demo
from convmtx.cli.arguments import integer
from convmtx.cli.report import Report
from convmtx.replacing import replacing, writable

HELP = "matrices of a photograph, checked and drawn"
DESCRIPTION = "Three convolutions of a photograph as matrices: built, timed, checked and drawn."
EPILOG = """\
examples:
    convmtx demo
    convmtx demo --size 64 --picture demo.png
"""
PARENTS = ()


def add(parser: argparse.ArgumentParser) -> None:
    """Add where the picture goes, and how large it is."""
    parser.add_argument("--picture", metavar="PATH", type=Path, default=Path("convmtx-demo.png"),
                        help="PNG file to write (default: %(default)s)")  # fmt: skip
    parser.add_argument("--size", metavar="N", type=integer, default=demo.SIZE,
                        help="side of the photograph, 16 to 512 pixels (default: %(default)s)")  # fmt: skip


def run(options: argparse.Namespace, report: Report) -> str | None:
    """Run the demo, write its picture, and tell of checks that failed."""
    target = writable(options.picture, (".png",))
    outcome = demo.run(options.size, report.say)
    with replacing(target) as file:
        file.write(outcome.picture)
    report.say(f"picture: {options.picture}")
    checks = {
        name: [asdict(each) | {"passed": each.passed} for each in found] for name, found in outcome.checks.items()
    }
    report.put(checks=checks, failed=outcome.failed, picture=options.picture)
    return f"demo: failed checks: {'; '.join(outcome.failed)}" if outcome.failed else None
