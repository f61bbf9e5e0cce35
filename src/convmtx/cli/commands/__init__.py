"""One file for each command: its texts, its arguments, and what it runs, which are calls of exported functions."""

from __future__ import annotations

from convmtx.cli.commands import check, demo, explore, info, layers, matrix, plot, recognize, solve, spectrum, tune
from convmtx.cli.parser import Command

#: Commands by name, in the order in which the help lists them.
COMMANDS: dict[str, Command] = {
    "matrix": matrix.COMMAND, "info": info.COMMAND, "spectrum": spectrum.COMMAND, "solve": solve.COMMAND,
    "layers": layers.COMMAND, "plot": plot.COMMAND, "explore": explore.COMMAND, "check": check.COMMAND,
    "recognize": recognize.COMMAND, "tune": tune.COMMAND, "demo": demo.COMMAND,
}  # fmt: skip
