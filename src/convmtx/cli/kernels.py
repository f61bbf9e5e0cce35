"""Kernels as they are named on the command line: a file, an array in a file, or a built-in kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from math import cos, inf, radians, sin
from pathlib import Path

import numpy as np

from convmtx import memory
from convmtx.cli.formats.arrays import SUFFIXES, read_array
from convmtx.cli.parser import NUMBER
from convmtx.cli.report import CommandError
from convmtx.storage import Source, find_source
from convmtx.typing import AnyArray

#: How the built-in kernels are written.
SPELLINGS = ("gaussian:SIZE:SIGMA", "box:SIZE", "motion:LENGTH:ANGLE", "sobel", "sobel:x", "sobel:y", "laplacian")
#: What the words in capitals mean.
_PARAMETERS = {
    "gaussian": "SIZE is an integer above 0, and SIGMA a number above 0",
    "box": "SIZE is an integer above 0",
    "motion": "LENGTH is a number of at least 1, and ANGLE a number of degrees",
}
#: Weights of a motion blur below this are taken for the rounding of a distance of 1, and left out.
_NEGLIGIBLE = 1e-9


def read_kernel(text: str) -> AnyArray:
    """Return the kernel with a built-in name, or read it from a file."""
    kernel = built_in_kernel(text)
    return read_array(_locate(text)) if kernel is None else kernel


def is_read_from(text: str, target: Path) -> bool:
    """Return whether a kernel or a picture is read from this file."""
    if not target.exists() or text.partition(":")[0] in _BUILT_IN:
        return False
    path = _locate(text).path
    return path.exists() and target.samefile(path)


def _locate(text: str) -> Source:
    """Return the file of a kernel; an unknown name is refused with the built-in names that are near."""
    source = find_source(text, SUFFIXES, "kernel")
    if source is not None:
        return source
    close = get_close_matches(text.partition(":")[0], [spelling.partition(":")[0] for spelling in SPELLINGS], 1)
    near = [spelling for spelling in SPELLINGS if close and spelling.startswith(close[0])] or SPELLINGS
    got, expected = f"{text!r} is neither a file nor a built-in kernel", f"Names are {', '.join(near)}"
    raise CommandError(got, expected, "Files have one of the suffixes " + " ".join(SUFFIXES))


# Built-in kernels


def built_in_kernel(text: str) -> AnyArray | None:
    """Return the kernel with this name and parameters; None if it begins with none of the names."""
    name, *parameters = text.split(":")
    if name not in _BUILT_IN:
        return None
    make, counts = _BUILT_IN[name]
    if len(parameters) not in counts or (name != "sobel" and not all(re.fullmatch(NUMBER, p) for p in parameters)):
        raise _misspelled(text)
    return make(text, *parameters)


def _misspelled(text: str) -> CommandError:
    """Return the error for a built-in name with wrong parameters."""
    name = text.partition(":")[0]
    expected = " or ".join(spelling for spelling in SPELLINGS if spelling.partition(":")[0] == name)
    return CommandError(f"KERNEL {text!r}", f"Expected {expected}", _PARAMETERS.get(name, "Write it like that"))


def _gaussian(text: str, size: str, sigma: str) -> AnyArray:
    """Return ``exp(-r^2 / (2 sigma^2))`` of the distance r from the centre, divided by the sum."""
    count, width = _pixels(text, size), float(sigma)
    if not width > 0:
        raise _misspelled(text)
    squares = (np.arange(count) - (count - 1) / 2) ** 2
    # The smallest square is subtracted so that a tiny sigma leaves 1 in the middle, not 0 everywhere.
    with np.errstate(over="ignore"):
        bell = np.exp(-(squares - squares.min()) / width / width / 2)
    bell /= bell.sum()
    return np.outer(bell, bell)


def _box(text: str, size: str) -> AnyArray:
    """Return equal weights of sum 1."""
    count = _pixels(text, size)
    return np.full((count, count), 1 / count**2)


def _motion(text: str, length: str, angle: str) -> AnyArray:
    """Return a line of sum 1: each pixel weighs 1 minus its distance from a segment whose ends are pixel centres."""
    half_length = (float(length) - 1) / 2
    if not 0 <= half_length < inf:
        raise _misspelled(text)
    radians_ = radians(float(angle) % 180)
    across, up = cos(radians_), sin(radians_)
    # Pixels less than 1 from the segment have weights: 9 pixels at 90 degrees are a column, so half_width is 0. The
    # cosine of 90 degrees is 6e-17 in floating point, and without rounding it would add a column of such weights.
    half_width, half_height = (int(np.ceil(round(half_length * abs(part) + 1, 9))) - 1 for part in (across, up))
    _pixels(text, str(2 * max(half_width, half_height) + 1))
    y, x = np.mgrid[half_height : -half_height - 1 : -1, -half_width : half_width + 1]
    along = np.clip(x * across + y * up, -half_length, half_length)
    weights = np.maximum(1 - np.hypot(x - along * across, y - along * up), 0)
    weights[weights < _NEGLIGIBLE] = 0
    kernel: AnyArray = weights / weights.sum()
    return kernel


def _sobel(text: str, axis: str = "x") -> AnyArray:
    """Return differences along one axis, smoothed along the other."""
    if axis not in ("x", "y"):
        raise _misspelled(text)
    kernel = np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])
    return kernel if axis == "x" else kernel.T.copy()


def _laplacian(_text: str) -> AnyArray:
    """Return the sum of the second differences along both axes."""
    return np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def _pixels(text: str, size: str) -> int:
    """Read a number of pixels along an axis; refuse one whose square needs more than an eighth of the memory."""
    if not size.isdecimal() or int(size) < 1:
        raise _misspelled(text)
    bytes_ = 8 * int(size) ** 2
    if 8 * bytes_ > memory.available():
        got = f"KERNEL {text!r} takes {memory.human(bytes_)}"
        raise CommandError(got, "Expected at most an eighth of the memory", "Use a smaller one")
    return int(size)


#: The function that makes each built-in kernel, and how many parameters it can have.
_BUILT_IN: dict[str, tuple[Callable[..., AnyArray], tuple[int, ...]]] = {
    "gaussian": (_gaussian, (2,)), "box": (_box, (1,)), "motion": (_motion, (2,)), "sobel": (_sobel, (0, 1)),
    "laplacian": (_laplacian, (0,)),
}  # fmt: skip
