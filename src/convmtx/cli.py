"""The command line: ``convmtx demo`` and ``convmtx matrix``, shells over the public functions.

Every failure is one line on stderr and exit code 2, and no file is ever half-written.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, NoReturn

import numpy as np

from convmtx import __version__, demo, memory
from convmtx.construct import conv, conv_transpose
from convmtx.errors import ConvmtxError, sentence
from convmtx.forms import FORMATS
from convmtx.operator import ConvOperator
from convmtx.typing import AnyArray

_DESCRIPTION = "The matrix of any convolution: built in closed form, explained, checked and written to a file."

_EXAMPLES = """\
examples:
  convmtx demo
  convmtx matrix K.npy --input 64,64 --padding same --boundary wrap -o W.npz
  convmtx matrix --help
"""

_MATRIX_EXAMPLES = """\
examples:
  K of shape (3, 3, 3, 8) on pictures of 32 x 32 pixels with 3 channels:
    convmtx matrix K.npy --input 32,32,3 --stride 2 --padding same -o W.npz
  a PyTorch weight (8, 3, 3, 3), channels first, one more zero at the end of each axis:
    convmtx matrix K.npy --input 3,32,32 --channels first --padding 1:2,1:2 -o W.npz
  the circulant matrix of a plain kernel, as dense array; then column-major, as MATLAB flattens:
    convmtx matrix K.npy --input 16,16 --padding same --boundary wrap -o W.npy
    convmtx matrix K.npy --input 16,16 --order F -o W.mtx

reading it back in Python, with B the convolution of an array A:
    W = scipy.sparse.load_npz("W.npz")                 # the format that --format names
    W = numpy.load("W.npy")                            # dense
    W = scipy.io.mmread("W.mtx", spmatrix=False)       # Matrix Market; other programs read it too
    B = (W @ A.ravel()).reshape(out_shape)             # --order F: A.ravel("F"), reshape(..., order="F")

A value that starts with a minus sign is joined to its option: --padding=-1,2 crops one pixel.
"""


class CommandError(ConvmtxError):
    """What was asked on the command line cannot be done; the message is the line that the user reads."""


def _refused(call: str, got: str, wanted: str, remedy: str) -> CommandError:
    return CommandError(sentence(call, got, wanted, remedy))


class _Parser(argparse.ArgumentParser):
    """argparse that raises its errors, so that they become one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 when all went well, 1 when a check of the demo failed, 2 for every error (one line on stderr says
        which), 130 after an interrupt.

    Examples
    --------
    >>> from convmtx.cli import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    convmtx ...
    0
    """
    try:
        options = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = options.run
        return command(options)
    except SystemExit as done:  # argparse has printed --help or --version
        return int(done.code or 0)
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except (ConvmtxError, MemoryError) as error:
        _complain(str(error) or "not enough memory")
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    finally:
        _settle()
    return 2


def _complain(message: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # stderr may be closed, or missing altogether
        sys.stderr.write("convmtx: " + " ".join(message.splitlines()) + "\n")


def _say(line: str) -> None:
    """Print at once. When the reader of a pipe has gone, the work that was asked for goes on without it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    printable = line.encode(encoding, "backslashreplace").decode(encoding)  # file names may hold anything
    try:
        print(printable, flush=True)
    except BrokenPipeError:
        _mute()


def _settle() -> None:
    """Flush what argparse has printed; what cannot be flushed must not fail again when Python exits."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _mute()


def _mute() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# What may be written on the command line


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser("convmtx", description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"convmtx {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    words = "Three convolutions of a photograph as matrices: built, timed, checked against each other and drawn."
    show = commands.add_parser(
        "demo", help="matrices of a photograph, checked and drawn", description=words, allow_abbrev=False
    )
    picture, side = (
        "PNG file to write (default: %(default)s)",
        "side of the photograph, 16 to 512 pixels (default: %(default)s)",
    )
    show.add_argument("--picture", metavar="PATH", type=Path, default=Path("convmtx-demo.png"), help=picture)
    show.add_argument("--size", metavar="N", type=_integer, default=demo.SIZE, help=side)
    show.set_defaults(run=_demo)

    words = "The matrix of a convolution with your kernel, explained and written to a file."
    matrix = commands.add_parser(
        "matrix", help="the matrix of your own kernel", description=words, epilog=_MATRIX_EXAMPLES,
        formatter_class=raw, allow_abbrev=False, argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    _add_matrix_options(matrix)
    matrix.set_defaults(run=_matrix)
    return parser


def _add_matrix_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("kernel", metavar="KERNEL.npy", type=Path, help="numeric array written by numpy.save; no axes for channels, "
        "or (*k, C/groups, F), or with channels first (F, C/groups, *k)")  # fmt: skip
    add("--input", metavar="5,6,3", type=_integers, required=True, help="shape of one input, without batch")
    add("-o", "--output", metavar="W.npz|W.npy|W.mtx", type=Path, required=True,
        help="file to write: sparse (SciPy), dense (NumPy) or Matrix Market")  # fmt: skip
    add("--stride", metavar="2|2,1", type=_one_or_each, help="steps of the output, for all axes or for each")
    add("--dilation", metavar="2|2,1", type=_one_or_each, help="steps between taps")
    add("--input-dilation", metavar="2|2,1", type=_one_or_each, help="steps between neighbours of the input")
    add("--padding", metavar="same|1|1,2|0:1,2:2", type=_padding,
        help="valid (default), full, same, same_lower, a width, or widths for each axis, also as LO:HI")  # fmt: skip
    add("--boundary", metavar="wrap|wrap,zero", type=_names,
        help="zero (default), wrap, reflect, symmetric or edge, as numpy.pad names them")  # fmt: skip
    add("--groups", metavar="G", type=_integer, help="independent parts of channels and filters")
    add("--flip", action="store_true", help="reverse the kernel in space: convolution, not correlation")
    add("--channels", choices=("last", "first"), help="where the channel axis stands (default: last)")
    add("--transpose", action="store_true",
        help="transposed convolution; the kernel is (*k, C_out/groups, C_in) or (C_in, C_out/groups, *k)")  # fmt: skip
    add("--output-padding", metavar="1|1,0", type=_one_or_each, help="outputs added at the end, with --transpose")
    add("--order", choices=("C", "F"), help="how arrays are flattened: row-major (default) or column-major")
    add("--format", choices=FORMATS, help="sparse format in a .npz file (default: csr)")


# int() alone would take "1_000", " 7 " and digits of other scripts; sizes of more than 18 digits do not exist.
_INTEGER = "-?[0-9]{1,18}"
_PADS = f"{_INTEGER}(:{_INTEGER})?"


def _checked(text: str, pattern: str, wanted: str) -> str:
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return text


def _integer(text: str) -> int:
    return int(_checked(text, _INTEGER, "an integer"))


def _integers(text: str) -> tuple[int, ...]:
    _checked(text, f"{_INTEGER}(,{_INTEGER})*", "a list of integers such as 5,6,3")
    return tuple(int(part) for part in text.split(","))


def _one_or_each(text: str) -> int | tuple[int, ...]:
    return _integers(text) if "," in text else _integer(text)


def _padding(text: str) -> Any:
    if re.fullmatch("[a-z_]+", text):
        return text  # which names exist is for conv to say
    _checked(text, f"{_PADS}(,{_PADS})*", "a name or widths such as 1 or 1,2 or 0:1,2:2")
    entries = [tuple(int(end) for end in part.split(":")) for part in text.split(",")]
    widths = [entry if len(entry) == 2 else entry[0] for entry in entries]
    return widths if len(widths) > 1 or ":" in text else widths[0]


def _names(text: str) -> str | list[str]:
    return text.split(",") if "," in text else text


# The commands


def _demo(options: argparse.Namespace) -> int:
    target = _target("demo", options.picture, (".png",))
    outcome = demo.run(options.size, _say)
    with _replacing("demo", target) as file:
        file.write(outcome.picture)
    _say(f"picture: {options.picture}")
    if outcome.failed:
        _complain(f"demo: failed checks: {'; '.join(outcome.failed)}")
    return 1 if outcome.failed else 0


def _matrix(options: argparse.Namespace) -> int:
    import scipy.sparse  # noqa: F401  # here, so that the time told below is the matrix's and not the import's

    given = vars(options)
    target, suffix = _target("matrix", options.output, (".npz", ".npy", ".mtx")), options.output.suffix.lower()
    form = _form(given, suffix)
    kernel = _read_kernel(options.kernel)
    if target.exists() and target.samefile(options.kernel):
        got = f"{options.output} is the kernel itself"
        raise _refused("matrix", got, "Wanted another file for the matrix", "Choose another name")
    _check_dtype(kernel.dtype, suffix)
    op = _operator(kernel, given)
    _say(f"kernel {options.kernel}, {kernel.shape} {kernel.dtype}")
    _say(str(op.explain()))
    start = perf_counter()
    order = given.get("order", "C")
    matrix = op.to_dense(order) if form == "dense" else op.to_sparse(form, order)
    _say(f"{form} matrix made in {perf_counter() - start:.3g} s")
    with _replacing("matrix", target) as file:
        _save(file, matrix, suffix)
    _say(f"{options.output} written, {memory.human(target.stat().st_size)}")
    return 0


def _form(given: dict[str, Any], suffix: str) -> Any:
    """The form to build for this file; an option that would have no effect is an error."""
    if "format" in given and suffix != ".npz":
        kind = "dense" if suffix == ".npy" else "always by coordinates"
        wanted = f"A {suffix} file is {kind}, and --format is for .npz files"
        raise _refused("matrix", f"--format with {given['output']}", wanted, "Leave --format out, or use .npz")
    return {".npy": "dense", ".mtx": "coo"}.get(suffix) or given.get("format", "csr")


def _operator(kernel: AnyArray, given: dict[str, Any]) -> ConvOperator:
    shared = ("stride", "dilation", "padding", "groups", "flip", "channels")
    forward, backward = ("boundary", "input_dilation"), ("output_padding",)
    transpose = "transpose" in given
    for name in forward if transpose else backward:
        if name in given:
            got = f"--{name.replace('_', '-')} came {'with' if transpose else 'without'} --transpose"
            wanted = f"It belongs to {'forward' if transpose else 'transposed'} convolution"
            remedy = "Leave one of the two out" if transpose else "Add --transpose or leave it out"
            raise _refused("matrix", got, wanted, remedy)
    names = shared + (backward if transpose else forward)
    settings = {name: given[name] for name in names if name in given}
    return (conv_transpose if transpose else conv)(kernel, given["input"], **settings)


def _check_dtype(dtype: np.dtype[Any], suffix: str) -> None:
    """Refuse what SciPy would write wrong: no sparse array is of half precision, no .mtx file exact beyond double."""
    wanted = ""
    if suffix != ".npy" and dtype == np.float16:
        wanted = "SciPy has no sparse arrays of it"
    if suffix == ".mtx" and dtype.itemsize > (16 if dtype.kind == "c" else 8):
        wanted = "SciPy writes .mtx files in double precision at most"
    if wanted:
        raise _refused("matrix", f"a kernel of {dtype}", wanted, "Cast it first, or use .npy")


# Files

_HEADER = 16_384  # bytes: NumPy reads no header of more than 10 000


def _read_kernel(path: Path) -> AnyArray:
    """The array of a .npy file; nothing is allocated that the file does not hold, and nothing in it is executed."""
    size = path.stat().st_size
    if not path.is_file():  # a folder; or a pipe, on which even opening could wait for ever
        kind = "a folder" if path.is_dir() else "not an ordinary file"
        raise _no_kernel(f"{path} is {kind}", "Wanted a .npy file")
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of headers that Python 2 wrote, and reads them
        try:
            _check_header(path, BytesIO(file.read(_HEADER)), size)
            file.seek(0)
            kernel: AnyArray = np.lib.format.read_array(file, allow_pickle=False)
        except (CommandError, MemoryError, OSError):
            raise
        except Exception as error:  # the header is Python source, and parsing it fails in as many ways as source can
            reason = str(error).partition("\n")[0]
            raise _no_kernel(f"{path} is not a .npy file ({reason})", "Wanted what numpy.save writes") from None
    return kernel.astype(kernel.dtype.newbyteorder("="), copy=False)


def _check_header(path: Path, head: BinaryIO, size: int) -> None:
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0)):  # 3.0 exists for field names of structured arrays alone
        raise ValueError(f"format version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(head)
    if dtype.kind not in "iufc":
        got = f"{path} holds {'objects' if dtype.hasobject else dtype}"
        remedy = "Cast it first, as with K.astype(float)"
        raise _refused("matrix", got, "Wanted integers, floats or complex numbers", remedy)
    claimed, held = prod(shape) * dtype.itemsize, size - head.tell()
    if claimed != held or min(shape, default=0) < 0:
        told = f"Its header tells of shape {shape}, {claimed} bytes, and {held} follow"
        raise _no_kernel(f"{path} is damaged", told)
    if 2 * claimed > memory.available():  # the operator keeps a copy
        got = f"the kernel in {path} takes {memory.human(claimed)}"
        raise MemoryError(sentence("matrix", got, "More than fits in memory twice", "Use a smaller kernel"))


def _no_kernel(got: str, wanted: str) -> CommandError:
    return _refused("matrix", got, wanted, "Write the kernel with numpy.save")


def _target(call: str, path: Path, suffixes: tuple[str, ...]) -> Path:
    """Where to write, symbolic links followed; refused before the work begins where writing cannot succeed."""
    if path.suffix.lower() not in suffixes:
        got, wanted = f"{path} has the suffix {path.suffix!r}", f"Wanted {' or '.join(suffixes)}"
        raise _refused(call, got, wanted, "Rename it")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        reason = f"{path.parent} is not a folder"
    elif target.exists() and not target.is_file():  # a folder; or a device, which must not be replaced by a file
        reason = "It is not an ordinary file"
    elif target.exists() and not os.access(target, os.W_OK):
        reason = "It is read-only"
    else:
        return target
    raise _refused(call, f"{path} cannot be written", reason, "Choose another name")


@contextlib.contextmanager
def _replacing(call: str, target: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``target`` once it is complete, and is gone if anything goes wrong."""
    # Not tempfile: it makes files for their owner's eyes only, and this one is to be as any other new file.
    temporary = target.with_name(f".convmtx-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            got, wanted = f"{target} cannot be written", error.strerror or str(error)
            raise _refused(call, got, wanted, "It is as it was before") from None
        raise


def _save(file: BinaryIO, matrix: Any, suffix: str) -> None:
    import scipy.io
    import scipy.sparse

    if suffix == ".npy":
        np.save(file, matrix, allow_pickle=False)
    elif suffix == ".npz":
        scipy.sparse.save_npz(file, matrix)
    else:  # every entry, also of a symmetric matrix: the file's nnz is the one that was explained
        scipy.io.mmwrite(file, matrix, symmetry="general")
