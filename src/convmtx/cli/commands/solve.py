"""``convmtx solve``: undo a convolution of a picture by damped least squares."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import convmtx as cm
from convmtx.cli.arguments import JSON, KERNELS, build_convolution, convolution_arguments
from convmtx.cli.formats.pictures import FORMATS, Picture, read_picture, write_picture
from convmtx.cli.kernels import is_read_from, read_kernel
from convmtx.cli.parser import Command, integer, number
from convmtx.cli.report import CommandError, Report, can_show_progress, print_error
from convmtx.files import check_target, replace_file
from convmtx.maps.convolution import ConvOperator
from convmtx.storage import locate, read_npy
from convmtx.typing import AnyArray

_EPILOG = f"""\
PICTURE is .png, .jpg, .tif (grey or colour, without transparency) or .npy. Integers
of 8 or 16 bits are scaled to 0 to 1, and floats are used as they are. Each colour is
solved separately. A picture of a point, as a lens blurs it, is the kernel of a
convolution: if it is not symmetric, pass --flip.

The result x minimizes |K x - picture|^2 + D^2 |R x|^2. R is the identity, or the
convolution with --regularizer. D is --damp, or it is chosen:
  gcv           by generalized cross-validation (default), for white noise of unknown
                size
  rgcv          by robust cross-validation, often nearer to the scene
  lcurve        at the corner of the L-curve
  discrepancy   so that the residual is as large as noise of standard deviation --noise
If the picture has more than about 65 x 65 pixels, and its boundary has no fast
spectrum to choose D from, D is chosen by an estimate.

The boundary says what lies outside the picture. The default here is a mirror image
(symmetric), because photographs continue much as they are near their edge; zero
would be a black frame. For a picture that was blurred with zeros around it, pass
--boundary zero.

A solve that is predicted to take long says so first, on stderr; a bar shows its
iterations (extra progress). A D that lies at an end of its curve is reported on stderr
too. --rtol and --maxiter say when iterations stop.

A result that did not converge, or is not unique because nothing damps a singular
map, is not written, and the exit code is 2. A .png file gets values clipped to 0 to 1
and keeps the depth of the picture (colour has 8 bits, floats become 8 bits). A .tif
file keeps grey floats as they are, and a .npy file is neither clipped nor rounded.

{KERNELS}
examples:
    convmtx solve motion:9:30 seen.png -o sharp.png
    convmtx solve gaussian:9:2 seen.png --boundary zero --choose discrepancy \\
        --noise 0.01 -o sharp.png
    convmtx solve psf.png seen.png --flip --damp 0.05 --regularizer laplacian \\
        -o sharp.npy --json

{JSON}"""
#: Predicted seconds from which a solve says how long it takes; on a busy machine it takes several times as long.
_LONG = 3.0
_RULES = ("gcv", "rgcv", "lcurve", "discrepancy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the picture, the penalty and where the result goes."""
    add = parser.add_argument
    add("picture", metavar="PICTURE", help="the result of the convolution")
    add("-o", "--output", metavar="FILE", type=Path, required=True, help=".png, .tif or .npy file to write")
    add("--damp", metavar="D", type=number, help="weight of the penalty, at least 0; 0 means no penalty")
    add("--choose", type=str.lower, choices=_RULES, help="how D is chosen (default: gcv)")
    add("--noise", metavar="S", type=number, help="standard deviation of the noise, for discrepancy")
    add("--regularizer", metavar="KERNEL", help="kernel R of the penalty, such as laplacian (default: the identity)")
    add("--rtol", metavar="T", type=number, default=1e-8, help="tolerance of iterations (default: 1e-8)")
    add("--maxiter", metavar="N", type=integer, help="most iterations (default: by size, 1000 to 10000)")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Read the picture, choose the weight, solve, and write a result that can be trusted."""
    path = arguments.output
    defaults = {"padding": "same", **({} if "transpose" in arguments else {"boundary": "symmetric"})}
    options = defaults | vars(arguments)
    target = check_target(path, (".png", ".tif", ".tiff", ".npy"))
    _check_options(options)
    kernel, seen = read_kernel(arguments.kernel), _read_picture(arguments.picture)
    if is_read_from(arguments.picture, target):
        raise CommandError(f"{path} is the picture itself", "Expected another file", "Choose another name")
    op, axis = _convolution_of(kernel, seen, options)
    b = seen.values if axis is None else np.moveaxis(seen.values, axis, 0)
    report.say(f"kernel {arguments.kernel}, {kernel.shape} {kernel.dtype}; "
               f"picture {arguments.picture}, {seen.values.shape}")  # fmt: skip
    damp, source = _choose_weight(report, op, b, options)
    report.say(f"damp {damp:.4g}, {source}")
    solution = _solve(report, op, b, damp, options)
    clipped = _write(target, path.suffix.lower(), np.asarray(solution.x), axis, seen)
    report.say(f"{path} written" + (f"; {clipped} values outside 0 to 1 are clipped" if clipped else ""))
    report.put(kernel=arguments.kernel, picture=arguments.picture, damp=damp, chosen=source, output=path,
               clipped=clipped)  # fmt: skip


def _check_options(options: dict[str, Any]) -> None:
    """Refuse options that would have no effect, or no meaning."""
    if not 0 < options["rtol"] < 1:
        raise CommandError(f"--rtol {options['rtol']}", "Expected a number between 0 and 1", "Give 1e-6, for example")
    if options.get("maxiter", 1) < 1:
        raise CommandError(f"--maxiter {options['maxiter']}", "Expected at least 1", "Give 1000, for example")
    for name in ("choose", "noise"):
        if "damp" in options and name in options:
            expected = "D is either --damp or chosen"
            raise CommandError(f"--damp and --{name}", expected, "Leave one of the two out")
    if ("noise" in options) is not (options.get("choose") == "discrepancy"):
        is_rule_missing = "noise" in options
        got = "--noise without --choose discrepancy" if is_rule_missing else "--choose discrepancy without --noise"
        expected = "The discrepancy rule needs the noise, and no other rule uses it"
        raise CommandError(got, expected, "Give both, as with --choose discrepancy --noise 0.01, or neither")


def _read_picture(text: str) -> Picture:
    """Read a picture, or an array as a picture: unsigned integers of 8 or 16 bits are scaled to 0 to 1."""
    source = locate(text, (*FORMATS, ".npy"), "picture")
    if source.suffix != ".npy":
        return read_picture(source)
    values = read_npy(source)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return Picture(values / np.iinfo(values.dtype).max, 8 * values.dtype.itemsize)
    return Picture(values, 32)


def _convolution(kernel: AnyArray, options: dict[str, Any]) -> ConvOperator:
    """Return the convolution. If the kernel has no channel axes, --channels only says where the colours are."""
    if kernel.ndim == len(options["input"]):
        options = {name: value for name, value in options.items() if name != "channels"}
    return build_convolution(kernel, options)


def _convolution_of(kernel: AnyArray, seen: Picture, options: dict[str, Any]) -> tuple[ConvOperator, int | None]:
    """Return the convolution that makes such pictures, and the axis of colours if they are solved separately."""
    shape = seen.values.shape
    colour_axis = 0 if options.get("channels") == "first" else -1
    one_colour = shape[1:] if colour_axis == 0 else shape[:-1]
    if "input" not in options:
        if len(shape) not in (kernel.ndim, kernel.ndim + 1):
            got = f"a kernel of shape {kernel.shape} and a picture of {shape}"
            raise CommandError(got, "The shape of the result cannot be derived from them", "Give --input")
        options = options | {"input": shape if len(shape) == kernel.ndim else one_colour}
    op = _convolution(kernel, options)
    if op.out_shape not in (shape, one_colour):
        got = f"a picture of shape {shape}, but the convolution of {op.in_shape} makes {op.out_shape}"
        raise CommandError(got, "Expected the same", "Give --input, the shape of the result, or change --padding")
    return op, None if op.out_shape == shape else colour_axis


def _choose_weight(report: Report, op: ConvOperator, b: AnyArray, options: dict[str, Any]) -> tuple[float, str]:
    """Return the weight of the penalty, and where it comes from."""
    if "damp" in options:
        return options["damp"], "as given"
    report.say("choosing damp ...")
    rule, noise = options.get("choose", "gcv"), options.get("noise")
    choice = cm.choose_damp(op, b, rule, noise=noise, regularizer=_regularizer(op, options))
    report.put(at_end=choice.at_end)
    if choice.at_end:
        print_error(
            f"solve: damp {choice.damp:.4g} should not be trusted: {choice.reason}; give --damp, or another --choose"
        )
    return choice.damp, f"chosen by {rule}"


def _solve(report: Report, op: ConvOperator, b: AnyArray, damp: float, options: dict[str, Any]) -> cm.Solution:
    """Solve, report the solution, and refuse one that did not converge."""
    from convmtx.solves import predict_seconds  # here, because other commands do not need the room of solves

    regularizer, rtol, maxiter = _regularizer(op, options), options["rtol"], options.get("maxiter")
    _warn_if_long(predict_seconds(op, b.size // op.shape[0], damp, regularizer, rtol, maxiter))
    solution = cm.solve(
        op, b, damp=damp, regularizer=regularizer, rtol=rtol, maxiter=maxiter, progress=can_show_progress()
    )
    _report_solution(report, solution, b)
    if not solution.converged:
        got = f"not converged: {solution.reason}"
        raise CommandError(got, "Expected a result that can be trusted", "Give a larger --damp, --maxiter or --rtol")
    return solution


def _regularizer(op: ConvOperator, options: dict[str, Any]) -> ConvOperator | None:
    """Return the convolution of the penalty; None is the identity."""
    if "regularizer" not in options:
        return None
    shared = {name: options[name] for name in ("boundary", "channels") if name in options}
    return _convolution(read_kernel(options["regularizer"]), {"input": op.in_shape, "padding": "same"} | shared)


def _warn_if_long(seconds: float) -> None:
    """Print before it begins that a solve should take long."""
    if seconds >= _LONG:
        duration = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
        print_error(f"solve: this may take about {duration}; a larger --damp or --rtol, or --maxiter, shortens it")


def _report_solution(report: Report, solution: cm.Solution, b: AnyArray) -> None:
    """Report whether and how the solve converged, and how good the solution is."""
    residual, norm = float(np.linalg.norm(solution.residual)), float(np.linalg.norm(b))
    if solution.iterations:
        outcome = "converged" if solution.converged else "did NOT converge"
        report.say(f"{solution.method} {outcome} in {solution.iterations} iterations ({solution.reason})")
    else:
        report.say(f"{'solved' if solution.converged else 'NOT solved'} by {solution.method}: {solution.reason}")
    report.say(f"residual {residual:.4g}, picture {norm:.4g} (2-norms); condition {solution.condition:.3g}")
    report.put(converged=solution.converged, method=solution.method, reason=solution.reason,
               iterations=solution.iterations, residual=residual, norm=norm, condition=solution.condition)  # fmt: skip


def _write(target: Path, suffix: str, x: AnyArray, axis: int | None, seen: Picture) -> int:
    """Write the result, and return how many values had to be clipped."""
    values = x if axis is None else np.moveaxis(x, 0, axis)
    if suffix != ".npy" and (values.dtype.kind == "c" or values.shape[2:] not in ((), (3,)) or values.ndim < 2):
        got = f"a result of shape {values.shape} and {values.dtype} in a {suffix} file"
        raise CommandError(got, "Expected grey or three colours, and real numbers", "Write a .npy file")
    with replace_file(target) as file:
        if suffix != ".npy":
            return write_picture(file, suffix, replace(seen, values=values))
        np.save(file, values, allow_pickle=False)
    return 0


COMMAND = Command(
    "undo a convolution of a picture: deblurring",
    "Find the picture whose convolution is nearest to PICTURE: damped least squares.",
    _EPILOG, add_arguments, run,
    (convolution_arguments(input_required=False, boundary="symmetric", padding="same"),),
)  # fmt: skip
