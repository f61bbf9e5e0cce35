"""The command line: shells over functions that `convmtx` and its rooms export.

Every failure is one line on stderr and exit code 2, and no file is ever half-written.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

import numpy as np

from convmtx import __version__
from convmtx.cli.commands import COMMANDS
from convmtx.cli.parser import Parser, shorten, suggest
from convmtx.cli.report import Report, flush_output, print_error
from convmtx.cli.signals import Stoppable, Stopped, ignore_signals, release_frames
from convmtx.errors import ConvmtxError, door

_DESCRIPTION = "Build, explain and check the matrix of any convolution, and write it to a file."

_EXAMPLES = """\
examples:
  convmtx demo
  convmtx matrix gaussian:9:2 --input 64,64 --padding same --boundary wrap -o W.npz
  convmtx info sobel --input 64,64
  convmtx solve motion:9:30 seen.png -o sharp.png
  convmtx matrix --help

exit codes: 0 on success, 2 after an error or a comparison that found a difference,
130 after an interrupt (Ctrl-C), 143 after SIGTERM, 129 after SIGHUP
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of this process.

    Returns
    -------
    int
        0 on success; 2 after an error or a comparison that found a difference, with one line on stderr; 128 plus the
        number of the signal after SIGINT, SIGTERM or SIGHUP. Signals that are already handled stay as they are.

    Examples
    --------
    >>> from convmtx.cli import main
    >>> main(["info", "sobel", "--input", "6,6"])  # doctest: +ELLIPSIS
    kernel sobel, (3, 3) float64
    convolution (6, 6) -> (4, 4), matrix 16 x 36, float64
    ...
    0
    """
    with Stoppable() as signals:
        try:
            return _run(argv, signals)
        except KeyboardInterrupt as stop:
            release_frames(stop)
            print_error(str(stop) or "interrupted")
            return stop.code if isinstance(stop, Stopped) else 130


def program() -> int:
    """Run the command line as a program that exits afterwards; `main` is for callers that continue."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings address programmers, and name lines that users did not write
    logging.disable()  # for example, Matplotlib logs where it keeps its cache
    code = main()
    ignore_signals()
    return code


def _run(argv: Sequence[str] | None, signals: Stoppable) -> int:
    """Parse the arguments, run the command, and turn every expected error into one line."""
    try:
        options = _parse(argv)
        report = Report(options.json)
        failure = _run_command(options, report, signals)
        report.close()
        if failure is None:
            return 0
        print_error(failure)
    except SystemExit as end:  # argparse has printed --help or --version
        return int(end.code or 0)
    except ConvmtxError as error:
        print_error(str(error))
    except MemoryError as error:
        print_error(f"not enough memory ({error}): give a smaller --input")
    except (OverflowError, np.linalg.LinAlgError) as error:
        print_error(f"{error}: numbers are too large or too small for floating point; scale the kernel")
    except OSError as error:
        print_error(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    finally:
        flush_output()
    return 2


def _run_command(options: argparse.Namespace, report: Report, signals: Stoppable) -> str | None:
    """Run a command; return what failed, or None."""
    try:
        with door(options.command), np.errstate(all="ignore"):  # results say where numbers overflowed
            return COMMANDS[options.command].run(options, report)
    except Exception:  # after a signal, an error of a library that it interrupted is only a consequence
        if signals.stopped is not None:
            raise signals.stopped from None
        raise


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments. What argparse would report last or not at all is checked before."""
    parser, parsers = _make_parsers()
    arguments = list(sys.argv[1:] if argv is None else argv)
    position = next((j for j, text in enumerate(arguments) if not text.startswith("-")), None)
    if position is None:
        return parser.parse_args(parser.prepare(arguments))
    before, name, rest = parser.prepare(arguments[:position]), arguments[position], arguments[position + 1 :]
    if name not in parsers:
        near = suggest(name, [*parsers, "--help", "--version"])
        parser.error(f"{shorten(name)!r} is not a command{near}")
    options, unread = parser.parse_known_args([*before, name, *parsers[name].prepare(rest)])
    if unread:
        hint = ": lists are written with commas, such as 64,64" if unread[0].isdecimal() else ""
        parsers[name].error(f"{shorten(unread[0])!r} is one argument too many{hint}")
    return options


def _make_parsers() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the whole line, and those of the commands by name."""
    parser = Parser("convmtx", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"convmtx {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    parsers = {}
    for name, command in COMMANDS.items():
        subparser = parsers[name] = subparsers.add_parser(
            name, help=command.help, description=command.description, epilog=command.epilog, parents=command.parents,
            argument_default=argparse.SUPPRESS,
        )  # fmt: skip
        command.add_arguments(subparser)
        subparser.add_argument("--json", action="store_true", default=False, help="print one JSON object, not lines")
        subparser.set_defaults(command=name)
    return parser, parsers
