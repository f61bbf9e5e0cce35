"""Arguments that commands share, and the convolution that they name."""

from __future__ import annotations

import argparse
import re
from math import isinf
from typing import Any

from convmtx.cli.builtin import NUMBER
from convmtx.cli.kernels import read_kernel
from convmtx.cli.parser import Parser, shortened
from convmtx.cli.report import CommandError, Report
from convmtx.construct import conv, conv_transpose
from convmtx.maps.convolution import ConvOperator
from convmtx.typing import AnyArray, Shape

KERNELS = """\
KERNEL is a file or a name, and nothing in a file is executed:
  .npy .npz .npz:NAME   arrays of NumPy; NAME says which of several
  .csv                  numbers, a row a line, with commas between them; or with
                        semicolons, tabs or blanks, and then also 0,5 for 0.5
  .mat .mat:NAME        arrays of MATLAB, of version 7.3 too (extra files)
  .safetensors:NAME     a tensor (extra files)
  .png .jpg .tif        a picture, as grey, divided by its sum: a point spread
                        function (extra files)
  gaussian:SIZE:SIGMA   exp(-r^2 / (2 SIGMA^2)) on SIZE x SIZE pixels, sum 1
  box:SIZE              the mean of SIZE x SIZE pixels
  motion:LENGTH:ANGLE   a line of LENGTH pixels, ANGLE degrees counter-clockwise
                        from the right; a pixel weighs 1 less its distance from
                        the line, sum 1
  sobel:x sobel:y       [1 2 1] times [-1 0 1]: differences along rows (x, and
                        plain sobel) or along columns (y)
  laplacian             [0 1 0; 1 -4 1; 0 1 0]
It has no axes for channels, or (*k, C/groups, F), or with channels first
(F, C/groups, *k). One of two axes on an input of three, such as 64,64,3, acts
on each channel by itself.
"""

JSON = """\
--json prints one object and nothing else: tuples and arrays as lists, complex
numbers as [real, imaginary], and numbers that JSON has not as "nan", "inf" and
"-inf".
"""


def convolution(input_required: bool = True, boundary: str = "zero", padding: str = "valid") -> argparse.ArgumentParser:
    """A kernel and how it is applied, as arguments that several commands share."""
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("kernel", metavar="KERNEL", help="a file with numbers, or a name; see below")
    group = parser.add_argument_group("the convolution")
    add = group.add_argument
    add("--input", metavar="5,6,3", type=integers, required=input_required, help="shape of one input, without batch"
        + ("" if input_required else " (default: that of the picture)"))  # fmt: skip
    add("--stride", metavar="2|2,1", type=one_or_each, help="steps of the output, for all axes or for each")
    add("--dilation", metavar="2|2,1", type=one_or_each, help="steps between taps")
    add("--input-dilation", metavar="2|2,1", type=one_or_each, help="steps between neighbours of the input")
    add(
        "--padding",
        metavar="same|1|1,2|0:1,2:2",
        type=pads,
        help=f"valid, full, same, same_lower, a width, or widths for each axis, also as LO:HI (default: {padding})",
    )
    add("--boundary", metavar="wrap|wrap,zero", type=names,
        help=f"zero, wrap, reflect, symmetric or edge, as numpy.pad names them (default: {boundary})")  # fmt: skip
    add("--groups", metavar="G", type=integer, help="independent parts of channels and filters")
    add("--flip", action="store_true", help="reverse the kernel in space: convolution, not correlation")
    add("--channels", type=str.lower, choices=("last", "first"), help="where the channel axis stands (default: last)")
    add("--transpose", action="store_true",
        help="transposed convolution; the kernel is (*k, C_out/groups, C_in) or (C_in, C_out/groups, *k)")  # fmt: skip
    add("--output-padding", metavar="1|1,0", type=one_or_each, help="outputs added at the end, with --transpose")
    return parser


# int() alone would take "1_000", " 7 " and digits of other scripts; sizes of more than 18 digits do not exist.
_INTEGER = "-?[0-9]{1,18}"
_PADS = f"{_INTEGER}(:{_INTEGER})?"


def _checked(text: str, pattern: str, wanted: str) -> str:
    if longest := max(map(len, re.findall("[0-9]{19,}", text)), default=0):
        message = f"{shortened(text)!r} has a number of {longest} digits, and at most 18 are counted"
        raise argparse.ArgumentTypeError(message)
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(f"{shortened(text)!r} is not {wanted}")
    return text


def integer(text: str) -> int:
    """Read an integer, such as 5."""
    return int(_checked(text, _INTEGER, "an integer"))


def number(text: str) -> float:
    """Read a number, such as 0.05 or 1e-3."""
    wanted = "a number such as 0.05 or 1e-3"
    value = float(_checked(text, NUMBER, wanted))
    if isinf(value):
        raise argparse.ArgumentTypeError(f"{text!r} is too large for {wanted}")
    return value


def integers(text: str) -> Shape:
    """Read a list of integers, such as 5,6,3."""
    _checked(text, f"{_INTEGER}(,{_INTEGER})*", "a list of integers such as 5,6,3")
    return tuple(int(part) for part in text.split(","))


def one_or_each(text: str) -> int | Shape:
    """Read an integer for all axes, or one for each, such as 2,1."""
    return integers(text) if "," in text else integer(text)


def pads(text: str) -> Any:
    """A name or widths, as `conv` takes them."""
    if re.fullmatch("[A-Za-z][A-Za-z_-]*", text):
        return text  # which names exist is for conv to say
    _checked(text, f"{_PADS}(,{_PADS})*", "a name or widths such as 1 or 1,2 or 0:1,2:2")
    entries = [tuple(int(end) for end in part.split(":")) for part in text.split(",")]
    widths = [entry if len(entry) == 2 else entry[0] for entry in entries]
    return widths if len(widths) > 1 or ":" in text else widths[0]


def names(text: str) -> str | list[str]:
    """One name, or one for each axis."""
    return text.split(",") if "," in text else text


def asked(options: argparse.Namespace, report: Report) -> ConvOperator:
    """The convolution that was asked for; the report says of which kernel."""
    kernel = read_kernel(options.kernel)
    op = operator(kernel, vars(options))
    report.say(f"kernel {options.kernel}, {kernel.shape} {kernel.dtype}")
    if op.kernel.ndim > kernel.ndim:
        report.say(f"each of {op.geometry.groups} channels by itself")
    report.put(kernel=options.kernel)
    return op


def operator(kernel: AnyArray, given: dict[str, Any]) -> ConvOperator:
    """The convolution with these options, those that were not given left to `conv`."""
    shared = ("stride", "dilation", "padding", "groups", "flip", "channels")
    forward, backward = ("boundary", "input_dilation"), ("output_padding",)
    transpose = "transpose" in given
    for name in forward if transpose else backward:
        if name in given:
            got = f"--{name.replace('_', '-')} came {'with' if transpose else 'without'} --transpose"
            wanted = f"It belongs to {'forward' if transpose else 'transposed'} convolution"
            remedy = "Leave one of the two out" if transpose else "Add --transpose or leave it out"
            raise CommandError(got, wanted, remedy)
    settings = {name: given[name] for name in (*shared, *(backward if transpose else forward)) if name in given}
    shape = given["input"]
    if kernel.ndim == 2 and len(shape) == 1 and 1 in kernel.shape:  # a vector, in files that have matrices alone
        kernel = kernel.ravel()
    if kernel.ndim == 2 and len(shape) == 3:
        kernel = _for_each_channel(kernel, settings, shape)
    return (conv_transpose if transpose else conv)(kernel, shape, **settings)


def _for_each_channel(kernel: AnyArray, settings: dict[str, Any], shape: Shape) -> AnyArray:
    first = settings.get("channels") == "first"
    count = shape[0] if first else shape[-1]
    if "groups" in settings:
        got = f"--groups and a kernel of shape {kernel.shape} on an input of {shape}"
        raise CommandError(got, "Each channel is a group", "Leave --groups out, or give the kernel axes for channels")
    if not 0 < kernel.size * count < 1 << 40:
        got = f"a kernel of shape {kernel.shape} on an input of {shape}"
        raise CommandError(got, "Wanted channels, and fewer of them", "Check --input and --channels")
    settings["groups"] = count
    return kernel[None, None].repeat(count, 0) if first else kernel[..., None, None].repeat(count, -1)
