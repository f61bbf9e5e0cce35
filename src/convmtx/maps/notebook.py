"""Tables of maps for notebooks: sizes, parts, and a small picture of the matrix."""

from __future__ import annotations

from html import escape
from math import prod
from typing import Any

import numpy as np

from convmtx import forms
from convmtx._xp import itemsize
from convmtx.geometry import Geometry
from convmtx.geometry.pattern import Pattern, density, work
from convmtx.geometry.pattern import pattern as pattern_of
from convmtx.memory import human
from convmtx.typing import AnyArray, Shape

#: Cells of the picture along a side.
CELLS = 48
#: Numbers to look at for the picture and the count of stored entries: some 10 ms. Without them both are left out.
MOST = 1 << 18
#: Axes with a line in the table.
AXES = 6
#: Shades between an empty cell and the densest one.
SHADES = 5
#: Pixels along the longer side of the picture.
SIDE = 220
#: Parts of a map with a line in the table.
PARTS = 8
#: Characters of a line in the table, and of a picture beside parts: so that the page of such a map has at most 10 kB.
LONGEST, SMALL = 240, 6000


def html(geometry: Geometry, dtype: Any, engine: str) -> str:
    """Return the table of a convolution and, if it is quick to count, the picture; at most some 60 kB."""
    pattern = coarse_pattern(geometry)
    picture = "" if pattern is None else _svg(geometry.shape, pattern)
    return _page("ConvOperator", _facts(geometry, dtype, engine, pattern is not None), picture)


def html_of_map(op: Any, pattern: Pattern | None) -> str:
    """Return the table of a map that is not a convolution; its public attributes are its parts."""
    public = {name: part for name, part in vars(op).items() if name[0] != "_"}
    parts = [line for name, part in public.items() for line in _described(name, part)]
    return html_of_parts(type(op).__name__, op.in_shape, op.out_shape, op.dtype, parts, pattern)


def html_of_parts(
    kind: str, in_shape: Shape, out_shape: Shape, dtype: Any, parts: list[tuple[str, str]], pattern: Pattern | None
) -> str:
    """Return a table with parts and, if it is small, the picture; at most 10 kB."""
    shape = prod(out_shape), prod(in_shape)
    facts = [*_sizes(in_shape, out_shape), ("type", _name(dtype))]
    facts.append(("bytes", f"dense {human(prod(shape) * itemsize(dtype))}"))
    facts += parts[:PARTS]
    if len(parts) > PARTS:
        facts.append(("", f"and {len(parts) - PARTS} more"))
    picture = "" if pattern is None else _svg(shape, pattern)
    return _page(kind, facts, picture if len(picture) <= SMALL else "")


def coarse_pattern(geometry: Geometry) -> Pattern | None:
    """Return the cells of the picture, or None if they take long to count."""
    return pattern_of(geometry, CELLS) if work(geometry, CELLS) <= MOST else None


def _described(name: str, part: Any) -> list[tuple[str, str]]:
    """Return lines of the table for a part of a map: a line for each map of a tuple, the shape of an array."""
    if isinstance(part, tuple) and all(hasattr(op, "matvec") for op in part):
        return [(f"{name}[{j}]", repr(op)) for j, op in enumerate(part)]
    if hasattr(part, "matvec") or isinstance(part, int | float | complex | str | np.number):
        return [(name, str(part))]
    if hasattr(part, "dtype"):
        return [(name, f"{tuple(part.shape)}, {part.dtype}")]
    return []


def _page(kind: str, facts: list[tuple[str, str]], picture: str) -> str:
    """Return a table and a picture side by side."""
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(_cut(text))}</td></tr>'
        for name, text in facts
    )
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start">'
        f"<table><caption>{kind}</caption>{lines}</table>{picture}</div>"
    )


def _cut(text: str) -> str:
    """Return a text, without its end if it is long."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _name(dtype: Any) -> str:
    """Return the name of a type without that of its library."""
    return str(dtype).rpartition(".")[2]


def _sizes(in_shape: Shape, out_shape: Shape) -> list[tuple[str, str]]:
    """Return the first lines of a table, which every map has."""
    return [("maps", f"{in_shape} → {out_shape}"), ("matrix", f"{prod(out_shape)} x {prod(in_shape)}")]


def _facts(g: Geometry, dtype: Any, engine: str, counted: bool) -> list[tuple[str, str]]:
    """Return the lines for a convolution; ``counted`` says whether its stored entries were counted."""
    rows, columns = g.shape
    facts = _sizes(g.in_shape, g.out_shape)
    facts.append(("kernel", f"{g.kernel_shape}, {_name(dtype)}" + (", flipped" if g.flip else "")))
    if g.layout.value != "none":
        transposed = ", transposed" if g.transposed else ""
        facts.append(
            ("channels", f"{g.in_channels} → {g.out_channels}, {g.layout.value}, groups {g.groups}{transposed}")
        )
    for j, a in enumerate(g.axes[:AXES]):
        text = f"stride {a.stride}, dilation {a.dilation}, pads ({a.lo}, {a.hi}), boundary {a.boundary.name}"
        stretch = f", input dilation {a.input_dilation}" if a.input_dilation > 1 else ""
        facts.append((f"axis {j}", text + stretch))
    if counted:
        facts.append(("stored", f"{g.nnz} entries, {g.nnz / (rows * columns):.3g} of all"))
        sizes = forms.sizes(g, dtype)
    else:
        sizes = {"dense": rows * columns * itemsize(dtype)}
    facts.append(("bytes", ", ".join(f"{name} {human(size)}" for name, size in sizes.items())))
    facts.append(("engine", f"{engine} (op.explain() says which, and why)" if engine == "auto" else engine))
    return facts


def _svg(shape: tuple[int, int], pattern: Pattern) -> str:
    """Return a picture in shades of the text's own colour, which every background shows."""
    rows, columns = shape
    shades = _shades(pattern)
    high, wide = shades.shape
    height, width = (max(SIDE * size // max(rows, columns), SIDE // 8) for size in (rows, columns))
    paths = "".join(
        f'<path fill-opacity="{shade / SHADES:.1f}" d="{_path(shades == shade)}"/>' for shade in range(1, SHADES + 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {wide} {high}" '
        'preserveAspectRatio="none" shape-rendering="crispEdges" fill="currentColor" role="img" '
        f'style="outline:1px solid currentColor;outline-offset:1px"><title>pattern of the {rows} x {columns} matrix'
        f"</title>{paths}</svg>"
    )


def _shades(pattern: Pattern) -> AnyArray:
    """Return 0 for a cell that stores nothing, otherwise 1 to `SHADES`, in proportion to the densest cell."""
    filled = density(pattern.row_edges, pattern.column_edges, pattern.counts)
    return np.ceil(filled * (SHADES / (filled.max() or 1))).astype(int).clip(0, SHADES)


def _path(mask: AnyArray) -> str:
    """Return the outline of the cells of a mask, with those side by side in one rectangle."""
    edges = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return "".join(f"M{x} {y}h{end - x}v1h{x - end}z" for (y, x), (_, end) in zip(starts, ends, strict=True))
