"""Arguments that commands share, and the convolution that they describe."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, get_args

from convmtx.cli.kernels import read_kernel
from convmtx.cli.parser import Parser, integer, integers, names, pads, per_axis
from convmtx.cli.report import CommandError, Report
from convmtx.construct import conv, conv_transpose
from convmtx.maps.convolution import ConvOperator
from convmtx.typing import AnyArray, BoundaryName, Shape

#: Names of paddings, as `convmtx.conv` takes them.
PADDINGS = ("valid", "same", "same_lower", "full")

KERNELS = """\
KERNEL is a file or a name, and nothing in a file is executed:
  .npy .npz .npz:NAME   arrays of NumPy; NAME is needed if there is more than one
  .csv                  numbers, one row a line, separated by commas; or by
                        semicolons, tabs or blanks, and then 0,5 is 0.5
  .mat .mat:NAME        arrays of MATLAB (version 7.3: extra files)
  .safetensors:NAME     a tensor (extra files)
  .png .jpg .tif        a point spread function: the picture in grey, divided by
                        its sum (extra files)
  gaussian:SIZE:SIGMA   exp(-r^2 / (2 SIGMA^2)) on SIZE x SIZE pixels, sum 1
  box:SIZE              the mean of SIZE x SIZE pixels
  motion:LENGTH:ANGLE   a line of LENGTH pixels, ANGLE degrees counter-clockwise
                        from the right; each pixel weighs 1 minus its distance
                        from the line, scaled to sum 1
  sobel:x sobel:y       [1 2 1] times [-1 0 1]: differences along rows (x, and
                        plain sobel) or along columns (y)
  laplacian             [0 1 0; 1 -4 1; 0 1 0]
A kernel can have axes for channels: (*k, C/groups, F), or (F, C/groups, *k) with
--channels first. A 2-D kernel on an input of three axes, such as 64,64,3, is
applied to each channel separately.
"""

JSON = """\
--json prints one object and nothing else. Tuples and arrays become lists, complex
numbers [real, imaginary], NaN and infinities the strings "nan", "inf" and "-inf".
"""


def convolution_arguments(input_required: bool = True, boundary: str = "zero", padding: str = "valid") -> Parser:
    """Return a parser of the arguments that describe a convolution: a kernel and how it is applied."""
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("kernel", metavar="KERNEL", help="a file with numbers, or a built-in kernel; see below")
    group = parser.add_argument_group("the convolution")
    add = group.add_argument
    add("--input", metavar="5,6,3", type=integers, required=input_required, help="shape of one input, without batch"
        + ("" if input_required else " (default: that of the picture)"))  # fmt: skip
    add("--stride", metavar="2|2,1", type=per_axis, help="distance between windows, for all axes or for each")
    add("--dilation", metavar="2|2,1", type=per_axis, help="distance between taps")
    add("--input-dilation", metavar="2|2,1", type=per_axis, help="distance between inputs after zeros are inserted")
    add(
        "--padding",
        metavar="same|1|1,2|0:1,2:2",
        type=partial(pads, known=PADDINGS),
        help=f"valid, full, same, same_lower, one width, or a width or LO:HI for each axis (default: {padding})",
    )
    add("--boundary", metavar="wrap|wrap,zero", type=partial(names, known=get_args(BoundaryName)),
        help=f"zero, wrap, reflect, symmetric or edge, as numpy.pad names them (default: {boundary})")  # fmt: skip
    add("--groups", metavar="G", type=integer, help="independent groups of channels and filters")
    add("--flip", action="store_true", help="flip the kernel: convolution, not correlation")
    add("--channels", type=str.lower, choices=("last", "first"), help="position of the channel axis (default: last)")
    add("--transpose", action="store_true",
        help="transposed convolution; the kernel is (*k, C_out/groups, C_in) or (C_in, C_out/groups, *k)")  # fmt: skip
    add("--output-padding", metavar="1|1,0", type=per_axis, help="outputs added at the end, with --transpose")
    return parser


def read_convolution(options: argparse.Namespace, report: Report) -> ConvOperator:
    """Read the kernel, report it, and return the convolution that the options describe."""
    kernel = read_kernel(options.kernel)
    op = build_convolution(kernel, vars(options))
    report.say(f"kernel {options.kernel}, {kernel.shape} {kernel.dtype}")
    if op.kernel.ndim > kernel.ndim:
        report.say(f"applied to each of {op.geometry.groups} channels separately")
    report.put(kernel=options.kernel)
    return op


def build_convolution(kernel: AnyArray, options: dict[str, Any]) -> ConvOperator:
    """Return the convolution with these options; those that are missing have the defaults of `convmtx.conv`."""
    shared = ("stride", "dilation", "padding", "groups", "flip", "channels")
    forward, backward = ("boundary", "input_dilation"), ("output_padding",)
    transpose = "transpose" in options
    for name in forward if transpose else backward:
        if name in options:
            got = f"--{name.replace('_', '-')} came {'with' if transpose else 'without'} --transpose"
            expected = f"It belongs to {'forward' if transpose else 'transposed'} convolution"
            remedy = "Leave one of the two out" if transpose else "Add --transpose or leave it out"
            raise CommandError(got, expected, remedy)
    settings = {name: options[name] for name in (*shared, *(backward if transpose else forward)) if name in options}
    shape = options["input"]
    if kernel.ndim == 2 and len(shape) == 1 and 1 in kernel.shape:  # a vector, from a file that only has matrices
        kernel = kernel.ravel()
    if kernel.ndim == 2 and len(shape) == 3:
        kernel = _for_each_channel(kernel, settings, shape)
    return (conv_transpose if transpose else conv)(kernel, shape, **settings)


def _for_each_channel(kernel: AnyArray, settings: dict[str, Any], shape: Shape) -> AnyArray:
    """Return a kernel that is applied to each channel separately, and make each channel a group of the settings."""
    first = settings.get("channels") == "first"
    count = shape[0] if first else shape[-1]
    if "groups" in settings:
        got = f"--groups and a kernel of shape {kernel.shape} on an input of {shape}"
        raise CommandError(got, "Each channel is a group", "Leave --groups out, or give the kernel axes for channels")
    if not 0 < kernel.size * count < 1 << 40:
        got = f"a kernel of shape {kernel.shape} on an input of {shape}"
        raise CommandError(got, "Expected at least one channel, and fewer", "Check --input and --channels")
    settings["groups"] = count
    return kernel[None, None].repeat(count, 0) if first else kernel[..., None, None].repeat(count, -1)
