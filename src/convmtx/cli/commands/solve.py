"""``convmtx solve``: what a picture was before a convolution made it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import convmtx as cm
from convmtx.cli import reading
from convmtx.cli.arguments import JSON, KERNELS, convolution, integer, number, operator
from convmtx.cli.kernels import located, names_file, read_kernel
from convmtx.cli.pictures import FORMATS, Picture, read_picture, write_picture
from convmtx.cli.report import CommandError, Report, complain, watched
from convmtx.errors import UnsupportedError
from convmtx.maps.convolution import ConvOperator
from convmtx.replacing import replacing, writable
from convmtx.typing import AnyArray

HELP = "a picture before a convolution made it: deblurring"
DESCRIPTION = "Least squares: the picture whose convolution is nearest to the one given, damped."
EPILOG = f"""\
PICTURE is .png, .jpg, .tif (grey or colour, transparency left out) or .npy. Numbers
go from 0 to 1: 8 and 16 bits are scaled to that, and floats are taken as they are.
Each colour is solved by itself. A picture of a point, as a lens blurs it, is a kernel
of convolution: with one that is not symmetric, give --flip.

What is minimized is |K x - picture|^2 + D^2 |R x|^2. D is --damp; or it is chosen:
by generalized cross-validation (gcv, the default, for white noise of unknown size),
by the corner of the L-curve (lcurve), or so that the residual is as large as --noise
(discrepancy). Where the boundary has no fast spectrum to choose from, and the picture
has more than some 65 x 65 pixels, D is chosen on the circle (--boundary wrap), and the
report says so. R is the identity, or the convolution with --regularizer, which needs
--damp.

The boundary says what lies outside the picture. Here it is a mirror image by default
(symmetric), for around a photograph things go on as they are near its edge; zero
would be a black frame. A picture that was blurred with zeros around wants
--boundary zero.

What should take long says so first, on stderr, where a bar is shown while it
iterates (extra progress). So does a choice of D that is no more than an end of
its curve. --rtol and --maxiter say where iterations end.

A result that did not converge, or is one of many because nothing damps a singular
map, is not written: exit code 2. A .png file gets values clipped to 0 to 1 and keeps
the depth of the picture (colour has 8 bits, floats become 8 bits); .tif keeps grey
floats as they are; .npy is neither clipped nor rounded.

{KERNELS}
examples:
    convmtx solve motion:9:30 seen.png -o sharp.png
    convmtx solve gaussian:9:2 seen.png --boundary zero --choose discrepancy \\
        --noise 0.01 -o sharp.png
    convmtx solve psf.png seen.png --flip --damp 0.05 --regularizer laplacian \\
        -o sharp.npy --json

{JSON}"""
PARENTS = (convolution(input_required=False, boundary="symmetric", padding="same"),)
#: Predicted seconds that are told before they pass; on a busy machine they are several times as many.
LONG = 3.0
_RULES = ("gcv", "lcurve", "discrepancy")


def add(parser: argparse.ArgumentParser) -> None:
    """The picture, the penalty and where the result goes."""
    add = parser.add_argument
    add("picture", metavar="PICTURE", help="what the convolution made")
    add("-o", "--output", metavar="FILE", type=Path, required=True, help=".png, .tif or .npy file to write")
    add("--damp", metavar="D", type=number, help="weight of the penalty, at least 0; 0 is none")
    add("--choose", choices=_RULES, help="how the weight is chosen (default: gcv)")
    add("--noise", metavar="S", type=number, help="standard deviation of the noise, for discrepancy")
    add("--regularizer", metavar="KERNEL", help="what is to be small instead of x itself, such as laplacian")
    add("--rtol", metavar="T", type=number, default=1e-8, help="tolerance of iterations (default: 1e-8)")
    add("--maxiter", metavar="N", type=integer, help="iterations at most (default: by size, 1000 to 10000)")


def run(options: argparse.Namespace, report: Report) -> None:
    """Read, choose, solve; write what can be trusted."""
    path = options.output
    given = {"padding": "same", **({} if "transpose" in options else {"boundary": "symmetric"}), **vars(options)}
    target = writable(path, (".png", ".tif", ".tiff", ".npy"))
    _check_options(given)
    kernel, seen = read_kernel(options.kernel), _picture(options.picture)
    if names_file(options.picture, target):
        raise CommandError(f"{path} is the picture itself", "Wanted another file", "Choose another name")
    op, axis = _operator(kernel, seen, given)
    b = seen.values if axis is None else np.moveaxis(seen.values, axis, 0)
    report.say(
        f"kernel {options.kernel}, {kernel.shape} {kernel.dtype}; picture {options.picture}, {seen.values.shape}"
    )
    if "damp" not in given:
        report.say("choosing damp ...")
    damp, how = _damping(report, op, b, given)
    report.say(f"damp {damp:.4g}, {how}")
    rough = None
    if "regularizer" in given:
        same = {name: given[name] for name in ("boundary", "channels") if name in given}
        numbers = read_kernel(given["regularizer"])
        rough = _convolution(numbers, {"input": op.in_shape, "padding": "same"} | same)
    from convmtx.solves.select import predict_seconds  # here, for other commands do without the room of solves

    ends = given["rtol"], given.get("maxiter")
    _forewarn(predict_seconds(op, b.size // op.shape[0], damp, rough, *ends))
    found = cm.solve(op, b, damp=damp, regularizer=rough, rtol=ends[0], maxiter=ends[1], progress=watched())
    _tell(report, found, b)
    if not found.converged:
        got = f"not converged: {found.reason}"
        raise CommandError(got, "Wanted a result that can be trusted", "Give a larger --damp, --maxiter or --rtol")
    outside = _write(target, path.suffix.lower(), np.asarray(found.x), axis, seen)
    report.say(f"{path} written" + (f"; {outside} values outside 0 to 1 are clipped" if outside else ""))
    report.put(kernel=options.kernel, picture=options.picture, damp=damp, chosen=how, output=path, clipped=outside)


def _forewarn(seconds: float) -> None:
    """Say what should take long before it begins."""
    if seconds >= LONG:
        long = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
        complain(f"solve: this may take some {long}; a larger --damp or --rtol, or --maxiter, make it less")


def _check_options(given: dict[str, Any]) -> None:
    """Options that would have no effect, or no meaning, are errors."""
    if not 0 < given["rtol"] < 1:
        raise CommandError(f"--rtol {given['rtol']}", "Wanted a number between 0 and 1", "Give 1e-6, for example")
    if given.get("maxiter", 1) < 1:
        raise CommandError(f"--maxiter {given['maxiter']}", "Wanted at least 1", "Give 1000, for example")
    for name in ("choose", "noise"):
        if "damp" in given and name in given:
            raise CommandError(f"--damp and --{name}", "The weight is given or chosen", "Leave one of the two out")
    if ("noise" in given) is not (given.get("choose") == "discrepancy"):
        got = "--noise without --choose discrepancy" if "noise" in given else "--choose discrepancy without --noise"
        wanted = "That rule alone takes the noise, and needs it"
        raise CommandError(got, wanted, "Give both, as with --choose discrepancy --noise 0.01, or neither")
    if "regularizer" in given and "damp" not in given:
        wanted = "A weight is chosen for the penalty on x itself alone"
        raise CommandError("--regularizer without --damp", wanted, "Give --damp, such as 0.05")


def _picture(text: str) -> Picture:
    source = replace(located(text, (*FORMATS, ".npy")), what="picture")
    if source.suffix != ".npy":
        return read_picture(source)
    values = reading.npy(source)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return Picture(values / np.iinfo(values.dtype).max, 8 * values.dtype.itemsize)
    return Picture(values, 32)


def _convolution(kernel: AnyArray, given: dict[str, Any]) -> ConvOperator:
    """The convolution; where it has no channel axes, --channels is about the colours of the picture alone."""
    if kernel.ndim == len(given["input"]):
        given = {name: value for name, value in given.items() if name != "channels"}
    return operator(kernel, given)


def _operator(kernel: AnyArray, seen: Picture, given: dict[str, Any]) -> tuple[ConvOperator, int | None]:
    """The convolution that makes such pictures, and the axis of colours, which are solved each by itself."""
    shape = seen.values.shape
    colours = 0 if given.get("channels") == "first" else -1
    if "input" not in given:
        if len(shape) == kernel.ndim + 1:
            given = given | {"input": shape[1:] if colours == 0 else shape[:-1]}
        elif len(shape) == kernel.ndim:
            given = given | {"input": shape}
        else:
            got = f"a kernel of shape {kernel.shape} and a picture of {shape}"
            raise CommandError(got, "The shape of what is wanted does not follow", "Give --input")
    op = _convolution(kernel, given)
    plain = shape[1:] if colours == 0 else shape[:-1]
    if op.out_shape not in (shape, plain):
        got = f"a picture of shape {shape}, and the convolution of {op.in_shape} makes {op.out_shape}"
        raise CommandError(got, "Wanted the same", "Give --input, the shape of what is wanted, or change --padding")
    return op, None if op.out_shape == shape else colours


def _damping(report: Report, op: ConvOperator, b: AnyArray, given: dict[str, Any]) -> tuple[float, str]:
    """The weight of the penalty, and where it is from."""
    if "damp" in given:
        return given["damp"], "as given"
    rule, noise, where = given.get("choose", "gcv"), given.get("noise"), ""
    try:
        choice = cm.choose_damp(op, b, rule, noise=noise)
    except UnsupportedError:
        if "transpose" in given:
            raise
        circle = _convolution(op.kernel, given | {"input": op.in_shape, "boundary": "wrap"} | _groups(op))
        choice, where = cm.choose_damp(circle, b, rule, noise=noise), " on the circle (boundary wrap)"
    report.put(at_end=choice.at_end)
    if choice.at_end:
        complain(
            f"solve: damp {choice.damp:.4g} should not be trusted: {choice.reason}; give --damp, or another --choose"
        )
    return choice.damp, f"chosen by {rule}{where}"


def _groups(op: ConvOperator) -> dict[str, int]:
    return {} if op.kernel.ndim == len(op.in_shape) else {"groups": op.geometry.groups}


def _tell(report: Report, found: cm.Solution, b: AnyArray) -> None:
    residual, size = float(np.linalg.norm(found.residual)), float(np.linalg.norm(b))
    steps = f", {found.iterations} iterations" if found.iterations else ""
    report.say(f"{'converged' if found.converged else 'NOT converged'} by {found.method}{steps}: {found.reason}")
    report.say(f"residual {residual:.4g}, of a picture of norm {size:.4g}; condition {found.condition:.3g}")
    report.put(converged=found.converged, method=found.method, reason=found.reason, iterations=found.iterations,
               residual=residual, norm=size, condition=found.condition)  # fmt: skip


def _write(target: Path, suffix: str, x: AnyArray, axis: int | None, seen: Picture) -> int:
    """Write the result; how many values had to be clipped."""
    values = x if axis is None else np.moveaxis(x, 0, axis)
    if suffix != ".npy" and (values.dtype.kind == "c" or values.shape[2:] not in ((), (3,)) or values.ndim < 2):
        got = f"a result of shape {values.shape} and {values.dtype} in a {suffix} file"
        raise CommandError(got, "Wanted grey or three colours, and real numbers", "Write a .npy file")
    with replacing(target) as file:
        if suffix != ".npy":
            return write_picture(file, suffix, replace(seen, values=values))
        np.save(file, values, allow_pickle=False)
    return 0
