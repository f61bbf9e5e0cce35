"""Explorer: an HTML file that shows a convolution and its matrix, and how they change with its settings."""

from __future__ import annotations

import json
import math
import os
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import escape
from importlib import resources
from math import prod
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, is_complex
from convmtx.boundary import ZERO
from convmtx.errors import ArgumentTypeError, UnsupportedError, door, with_article
from convmtx.files import as_path, check_target, replace_file
from convmtx.geometry import Axis, Geometry, count_taps
from convmtx.maps.convolution import ConvOperator
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import Shape

#: Rows, and columns, of the largest matrix that is drawn; values of the largest kernel; and pairs of an output and an
#: input that one tap joins. With more, the page takes about a second to follow a slider.
SIDE, KERNEL, PRODUCTS = 1024, 1024, 16384
#: Suffixes that the file may have.
SUFFIXES = (".html", ".htm")


@door("explore")
def explore(op: ConvOperator, path: str | os.PathLike[str] = "conv.html") -> Path:
    """Write an HTML page that shows kernel, input, output and matrix of a convolution side by side.

    Point at a cell with a mouse, a finger or the arrow keys: the cells that belong to it in the other pictures light
    up, and a sentence says why. Size, stride, dilation, padding, boundary and flip can be changed in the page, which
    shows the call that makes the map with these settings. The file needs no network and no other file. It can be opened
    from disk, sent by mail, or put on a web page.

    Parameters
    ----------
    op : ConvOperator
        A convolution along one or two axes, with or without channels, with a real kernel of any array library.
    path : str or os.PathLike
        The file, ``.html`` or ``.htm``, in a folder that exists. A file of this name is replaced once the page is
        complete.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    TypeError
        If ``op`` is not a `ConvOperator`, or ``path`` is not a path.
    ValueError
        If the convolution has more than two axes, a complex kernel, more than 1024 rows, columns or kernel values, or
        more than 16384 pairs of an output and an input that a tap joins, or if the file cannot be written.

    Notes
    -----
    The page computes in double precision by the same rule as `convmtx.conv`: its matrix is ``op.to_dense()``. The input
    that it shows is an example. It needs a browser of 2023 or later.

    Examples
    --------
    >>> import tempfile, convmtx as cm
    >>> op = cm.conv([[1, 0, -1], [2, 0, -2], [1, 0, -1]], (6, 6))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = cm.explore(op, f"{folder}/sobel.html")
    ...     page.name, page.stat().st_size < 100_000
    ('sobel.html', True)
    """
    if not isinstance(op, ConvOperator):
        got = f"op is {with_article(type(op).__name__)}"
        raise ArgumentTypeError(got, "Expected a ConvOperator", "Make one with convmtx.conv")
    target = check_target(as_path(path, "conv.html"), SUFFIXES)
    _check(op.geometry)
    page = _page(op)
    with replace_file(target) as file:
        file.write(page.encode())
    return Path(path)


def _check(g: Geometry) -> None:
    """Refuse a convolution that cannot be drawn, or is too large for the page."""
    if len(g.axes) > 2:
        got, expected = f"op has {len(g.axes)} spatial axes", "Expected one or two, which can be drawn"
        raise UnsupportedError(got, expected, "Explore one slice, for example cm.conv(K[0], shape[1:])")
    excess = _excess(g)
    if excess is not None:
        smaller = _smaller(g)
        remedy = f"Use a smaller input, such as {smaller}" if smaller else "Use a smaller kernel or fewer channels"
        raise UnsupportedError(*excess, remedy)


def _excess(g: Geometry) -> tuple[str, str] | None:
    """Return what is too large, and the largest that can be drawn; None if nothing is too large."""
    rows, columns = g.shape
    if max(rows, columns) > SIDE:
        got = f"the matrix has {rows} rows and {columns} columns"
        return got, f"Expected at most {SIDE} of each, which can be pointed at"
    if (kernel := prod(g.kernel_shape)) > KERNEL:
        return f"the kernel has {kernel} values", f"Expected at most {KERNEL}, which can be told apart"
    reads = prod(int(count_taps(a).sum()) for a in g.axes)
    if (products := g.out_channels * g.channels_per_group[1] * reads) > PRODUCTS:
        return f"the matrix joins {products} pairs", f"Expected at most {PRODUCTS}, which can be drawn at once"
    return None


def _smaller(g: Geometry) -> Shape | None:
    """Return the shape of an input, a little larger than the kernel, that can be explored; None if there is none."""
    for n_outputs in (6, 3, 1):  # a kernel of 3 taps on 8, 5 or 3 positions, without padding
        axes = tuple(replace(a, size=min(a.size, (a.span - 1) // a.input_dilation + n_outputs)) for a in g.axes)
        smaller = replace(g, axes=axes)
        if smaller != g and min(a.out for a in axes) > 0 and _excess(smaller) is None:
            return smaller.in_shape
    return None


def _page(op: ConvOperator) -> str:
    """Return the text of the HTML file."""
    parts = resources.files("convmtx.explorer")
    html, style, *scripts = (
        parts.joinpath(name).read_text("utf-8")
        for name in ("page.html", "page.css", "rule.js", "pictures.js", "page.js")
    )
    script = "".join(scripts)
    # JSON inside HTML: "<" is escaped, so that no value can end the script element; json.dumps escapes line ends.
    data = json.dumps(_data(op), allow_nan=False).replace("<", "\\u003c")
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'"
    title = f"convmtx: {op.in_shape} → {op.out_shape}"
    return Template(html).substitute(
        title=escape(title), policy=escape(policy), style=style, data=data, script=script
    )  # fmt: skip


def _hash(text: str) -> str:
    """Return the hash by which a page's Content-Security-Policy allows an inline script or style."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _data(op: ConvOperator) -> dict[str, Any]:
    """Return the data that the page starts from: kernel, channels, and arguments of `conv` or `conv_transpose`."""
    if is_complex(op.dtype):
        got, expected = f"the kernel is {op.dtype}", "Expected real values, one for each cell"
        remedy = "Explore its parts, for example op.with_kernel(op.kernel.real)"
        raise UnsupportedError(got, expected, remedy)
    g, kernel = op.geometry, as_numpy(op.kernel)
    # The transpose of a convolution on a circle is a convolution on a circle, of the kernel in reverse order. No call
    # makes it from the array that the map was made with, so the page has this kernel of its own.
    has_own_kernel = g.transposed and not all(a.boundary is ZERO for a in g.axes)
    if has_own_kernel:
        plain = replace(g, transposed=False, flip=False)
        g, kernel = plain, kernel_of(plain, taps_of(g, kernel))
    if kernel.dtype.kind not in "iu":
        kernel = kernel.astype(np.float64)
    return {
        "kernel": [_number(value) for value in kernel.ravel().tolist()],
        "axes": [_arguments(a, transposed=g.transposed) for a in g.axes],
        "in_channels": g.in_channels,
        "out_channels": g.out_channels,
        "groups": g.groups,
        "layout": g.layout.value,
        "flip": g.flip,
        "transposed": g.transposed,
        "own_kernel": has_own_kernel,
        "limits": {"side": SIDE, "products": PRODUCTS},
    }


def _arguments(a: Axis, *, transposed: bool) -> dict[str, Any]:
    """Return the arguments of a call that make an axis.

    A transposed map has its stride where others have their input dilation, and cuts outputs off instead of padding.
    """
    stride, stretch, lo, hi = a.stride, a.input_dilation, a.lo, a.hi
    if transposed:
        stride, stretch, lo, hi = stretch, stride, a.span - 1 - lo, a.span - 1 - hi
    return {
        "size": a.size, "kernel": a.kernel, "stride": stride, "dilation": a.dilation, "input_dilation": stretch,
        "lo": lo, "hi": hi, "boundary": a.boundary.name,
    }  # fmt: skip


def _number(value: float) -> float | str:
    """Return a number for JSON; for NaN and infinities, which JSON does not have, their name in JavaScript."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
