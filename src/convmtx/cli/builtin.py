"""Kernels that have a name."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import cos, inf, radians, sin

import numpy as np

from convmtx import memory
from convmtx.cli.report import CommandError
from convmtx.typing import AnyArray

#: What may be written, in words.
SPELLINGS = ("gaussian:SIZE:SIGMA", "box:SIZE", "motion:LENGTH:ANGLE", "sobel", "sobel:x", "sobel:y", "laplacian")
#: What may be written for each, in words.
_GIVEN = {
    "gaussian": "SIZE is a whole number above 0, and SIGMA a number above 0",
    "box": "SIZE is a whole number above 0",
    "motion": "LENGTH is a number from 1 on, and ANGLE one of degrees",
}
#: A decimal number; digits are limited because thousands of them take their time.
NUMBER = r"[-+]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][-+]?[0-9]{1,3})?"


def builtin(text: str) -> AnyArray | None:
    """The kernel of this name; None where it begins with none of the names."""
    name, *given = text.split(":")
    if name not in BUILTIN:
        return None
    maker, counts = BUILTIN[name]
    if len(given) not in counts or (name != "sobel" and not all(re.fullmatch(NUMBER, each) for each in given)):
        raise _no_name(text, name)
    return maker(text, *given)


def _no_name(text: str, name: str) -> Exception:
    wanted = " or ".join(each for each in SPELLINGS if each.partition(":")[0] == name)
    return CommandError(f"KERNEL {text!r}", f"Wanted {wanted}", _GIVEN.get(name, "Give it so"))


def gaussian(text: str, size: str, sigma: str) -> AnyArray:
    """``exp(-r^2 / (2 sigma^2))`` of the distance r from the centre, divided by the sum."""
    count, width = _size(text, size), float(sigma)
    if not width > 0:
        raise _no_name(text, "gaussian")
    squares = (np.arange(count) - (count - 1) / 2) ** 2
    with np.errstate(over="ignore"):
        bell = np.exp(-(squares - squares.min()) / width / width / 2)
    bell /= bell.sum()
    return np.outer(bell, bell)


def box(text: str, size: str) -> AnyArray:
    """Equal weights."""
    count = _size(text, size)
    return np.full((count, count), 1 / count**2)


def motion(text: str, length: str, angle: str) -> AnyArray:
    """A segment between the centres of its end pixels; a pixel weighs 1 less its distance from it, sum 1."""
    reach = (float(length) - 1) / 2
    if not 0 <= reach < inf:
        raise _no_name(text, "motion")
    turn = radians(float(angle) % 180)
    across, up = cos(turn), sin(turn)
    # Rounding of the cosine of 90 degrees must not add a column of weights like 1e-17.
    half_width, half_height = (int(np.ceil(round(reach * abs(each) + 1, 9))) - 1 for each in (across, up))
    _size(text, str(2 * max(half_width, half_height) + 1))
    y, x = np.mgrid[half_height : -half_height - 1 : -1, -half_width : half_width + 1]
    along = np.clip(x * across + y * up, -reach, reach)
    weights = np.maximum(1 - np.hypot(x - along * across, y - along * up), 0)
    weights[weights < 1e-9] = 0
    total: AnyArray = weights / weights.sum()
    return total


def sobel(text: str, along: str = "x") -> AnyArray:
    """Differences along one axis, smoothed along the other."""
    if along not in ("x", "y"):
        raise _no_name(text, "sobel")
    kernel = np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])
    return kernel if along == "x" else kernel.T.copy()


def laplacian(_text: str) -> AnyArray:
    """The sum of the second differences."""
    return np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def _size(text: str, size: str) -> int:
    """A count of pixels along an axis, if arrays of its square fit."""
    if not size.isdecimal() or int(size) < 1:
        raise _no_name(text, text.partition(":")[0])
    bytes_ = 8 * int(size) ** 2
    if 8 * bytes_ > memory.available():
        got = f"KERNEL {text!r} takes {memory.human(bytes_)}"
        raise CommandError(got, "Wanted at most an eighth of the memory", "Use a smaller one")
    return int(size)


BUILTIN: dict[str, tuple[Callable[..., AnyArray], tuple[int, ...]]] = {
    "gaussian": (gaussian, (2,)), "box": (box, (1,)), "motion": (motion, (2,)), "sobel": (sobel, (0, 1)),
    "laplacian": (laplacian, (0,)),
}  # fmt: skip
