"""The command line: shells over the public functions.

Every failure is one line on stderr and exit code 2, and no file is ever half-written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from convmtx import __version__
from convmtx.cli.arguments import Parser
from convmtx.cli.commands import check, demo, explore, info, layers, matrix, plot, solve, spectrum
from convmtx.cli.report import Report, complain, settle
from convmtx.errors import ConvmtxError

_DESCRIPTION = "The matrix of any convolution: built in closed form, explained, checked and written to a file."

_EXAMPLES = """\
examples:
  convmtx demo
  convmtx matrix gaussian:9:2 --input 64,64 --padding same --boundary wrap -o W.npz
  convmtx info sobel --input 64,64
  convmtx solve motion:9:30 seen.png -o sharp.png
  convmtx matrix --help

exit codes: 0 when all went well, 2 for every error and every comparison that
failed, 130 after an interrupt
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
        0 when all went well, 2 for every error and every comparison that failed (one line on stderr says which), 130
        after an interrupt.

    Examples
    --------
    >>> from convmtx.cli import main
    >>> main(["info", "sobel", "--input", "6,6"])  # doctest: +ELLIPSIS
    kernel sobel, (3, 3) float64
    convolution (6, 6) -> (4, 4), matrix 16 x 36, float64
    ...
    0
    """
    try:
        options = _parser().parse_args(argv)
        run: Callable[[argparse.Namespace, Report], str | None] = options.run
        report = Report(options.json)
        with np.errstate(all="ignore"):  # what overflows is told in the results
            failure = run(options, report)
        report.close()
        if failure is None:
            return 0
        complain(failure)
    except SystemExit as done:  # argparse has printed --help or --version
        return int(done.code or 0)
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
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


def _parser() -> argparse.ArgumentParser:
    parser = Parser("convmtx", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"convmtx {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        each = commands.add_parser(
            name, help=command.HELP, description=command.DESCRIPTION, epilog=command.EPILOG, parents=command.PARENTS,
            argument_default=argparse.SUPPRESS,
        )  # fmt: skip
        command.add(each)
        each.add_argument("--json", action="store_true", default=False, help="print one JSON object instead of lines")
        each.set_defaults(run=command.run)
    return parser
