"""What a notebook shows of a map: its sizes, its parts and, of a convolution, a small picture of its matrix."""

from __future__ import annotations

from html import escape
from math import prod
from typing import Any

import numpy as np

from convmtx import forms
from convmtx._xp import itemsize
from convmtx.geometry import Geometry
from convmtx.geometry.pattern import Pattern, density, pattern, work
from convmtx.memory import human
from convmtx.typing import AnyArray, Shape

#: Cells of the picture along a side.
CELLS = 48
#: Numbers looked at for the picture and for what is stored; where it would take more, both are left out.
MOST = 1 << 18
#: Axes that are described.
AXES = 6
#: Shades between nothing and the densest cell.
SHADES = 5
#: Pixels along the longer side.
SIDE = 220
#: Parts of a map that are told, characters of a line of the table, and those of a picture beside parts.
PARTS, LONGEST, SMALL = 8, 240, 6000


def html(geometry: Geometry, dtype: Any, engine: str) -> str:
    """Of a convolution: a table and, where it is counted in no time, the picture; no larger than some 60 kB."""
    found = counted(geometry)
    picture = "" if found is None else _svg(geometry.shape, found)
    return _page("ConvOperator", _facts(geometry, dtype, engine, found is not None), picture)


def html_of_parts(
    kind: str, in_shape: Shape, out_shape: Shape, dtype: Any, parts: list[tuple[str, str]], found: Pattern | None
) -> str:
    """Of another map: a table that tells its parts and, where it is small, the picture; no larger than 10 kB."""
    shape = prod(out_shape), prod(in_shape)
    facts = [*_sizes(in_shape, out_shape), ("type", _name(dtype))]
    facts.append(("bytes", f"dense {human(prod(shape) * itemsize(dtype))}"))
    facts += parts[:PARTS]
    if len(parts) > PARTS:
        facts.append(("", f"and {len(parts) - PARTS} more"))
    picture = "" if found is None else _svg(shape, found)
    return _page(kind, facts, picture if len(picture) <= SMALL else "")


def counted(geometry: Geometry) -> Pattern | None:
    """The pattern of the picture, where it is counted in no time."""
    return pattern(geometry, CELLS) if work(geometry, CELLS) <= MOST else None


def _page(kind: str, facts: list[tuple[str, str]], picture: str) -> str:
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(_cut(text))}</td></tr>'
        for name, text in facts
    )
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start">'
        f"<table><caption>{kind}</caption>{lines}</table>{picture}</div>"
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


def _sizes(in_shape: Shape, out_shape: Shape) -> list[tuple[str, str]]:
    return [("maps", f"{in_shape} → {out_shape}"), ("matrix", f"{prod(out_shape)} x {prod(in_shape)}")]


def _facts(g: Geometry, dtype: Any, engine: str, counted: bool) -> list[tuple[str, str]]:
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


def _svg(shape: tuple[int, int], found: Pattern) -> str:
    """Cells in shades of the text's own colour, so that it is seen on every background."""
    rows, columns = shape
    shades = _shades(found)
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


def _shades(found: Pattern) -> AnyArray:
    """0 where nothing is stored, else 1 to `SHADES`, in proportion to the densest cell."""
    filled = density(found.row_edges, found.column_edges, found.counts)
    return np.ceil(filled * (SHADES / (filled.max() or 1))).astype(int).clip(0, SHADES)


def _path(mask: AnyArray) -> str:
    """Cells of a mask, those side by side in one rectangle."""
    edges = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return "".join(f"M{x} {y}h{end - x}v1h{x - end}z" for (y, x), (_, end) in zip(starts, ends, strict=True))
