"""The command line: shells over the public functions.

Every failure is one line on stderr and exit code 2, and no file is ever half-written.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from convmtx import __version__
from convmtx.cli.commands import check, demo, explore, info, layers, matrix, plot, solve, spectrum
from convmtx.cli.parser import Parser, shortened, suggestion
from convmtx.cli.report import Report, complain, settle
from convmtx.cli.stopping import Stoppable, Stopped, deafen, release
from convmtx.errors import ConvmtxError, door

_DESCRIPTION = "The matrix of any convolution: built in closed form, explained, checked and written to a file."

_EXAMPLES = """\
examples:
  convmtx demo
  convmtx matrix gaussian:9:2 --input 64,64 --padding same --boundary wrap -o W.npz
  convmtx info sobel --input 64,64
  convmtx solve motion:9:30 seen.png -o sharp.png
  convmtx matrix --help

exit codes: 0 when all went well, 2 for every error and every comparison that
failed, 130 after an interrupt, 143 after SIGTERM, 129 after SIGHUP
"""

_COMMANDS = {
    "matrix": matrix, "info": info, "spectrum": spectrum, "solve": solve, "layers": layers, "plot": plot,
    "explore": explore, "check": check, "demo": demo,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 when all went well, 2 for every error and every comparison that failed (one line on stderr says which). After
        SIGINT, SIGTERM or SIGHUP 128 and its number; handlers of others are left as they are.

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
            release(stop)
            complain(str(stop) or "interrupted")
            return stop.code if isinstance(stop, Stopped) else 130


def program() -> int:
    """Run the command line as a program of its own; `main` is for callers that go on."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # they speak to programmers, and of lines that users did not write
    logging.disable()  # as Matplotlib logs where it would like to keep its cache
    code = main()
    deafen()
    return code


def _run(argv: Sequence[str] | None, signals: Stoppable) -> int:
    try:
        options = _options(argv)
        run: Callable[[argparse.Namespace, Report], str | None] = options.run
        report = Report(options.json)
        failure = _failure(run, options, report, signals)
        report.close()
        if failure is None:
            return 0
        complain(failure)
    except SystemExit as done:  # argparse has printed --help or --version
        return int(done.code or 0)
    except ConvmtxError as error:
        complain(str(error))
    except MemoryError as error:
        complain(f"not enough memory ({error}): give a smaller --input")
    except (OverflowError, np.linalg.LinAlgError) as error:
        complain(f"{error}: the numbers are too large or too small to be computed with; scale the kernel")
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    finally:
        settle()
    return 2


def _failure(
    run: Callable[[argparse.Namespace, Report], str | None],
    options: argparse.Namespace,
    report: Report,
    signals: Stoppable,
) -> str | None:
    """Run a command; what a library raises because a signal caught it half done is the signal's doing."""
    try:
        with door(options.command), np.errstate(all="ignore"):  # what overflows is told in the results
            return run(options, report)
    except Exception:
        if signals.stopped is not None:
            raise signals.stopped from None
        raise


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser, commands = _parser()
    arguments = list(sys.argv[1:] if argv is None else argv)
    at = next((j for j, text in enumerate(arguments) if not text.startswith("-")), len(arguments))
    head, named, rest = parser.prepare(arguments[:at]), arguments[at : at + 1], arguments[at + 1 :]
    if not named:
        return parser.parse_args(head)
    name = named[0]
    if name not in commands:
        near = suggestion(name, [*commands, "--help", "--version"])
        parser.error(f"{shortened(name)!r} is not a command{near}")
    options, unread = parser.parse_known_args([*head, name, *commands[name].prepare(rest)])
    if unread:
        hint = ": lists are written with commas, such as 64,64" if unread[0].isdecimal() else ""
        commands[name].error(f"{shortened(unread[0])!r} is one argument too many{hint}")
    return options


def _parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of the commands by name."""
    parser = Parser("convmtx", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"convmtx {__version__}")
    added = parser.add_subparsers(metavar="COMMAND", required=True)
    parsers = {}
    for name, command in _COMMANDS.items():
        each = parsers[name] = added.add_parser(
            name, help=command.HELP, description=command.DESCRIPTION, epilog=command.EPILOG, parents=command.PARENTS,
            argument_default=argparse.SUPPRESS,
        )  # fmt: skip
        command.add(each)
        each.add_argument("--json", action="store_true", default=False, help="print one JSON object instead of lines")
        each.set_defaults(command=name, run=command.run)
    return parser, parsers
