"""``convmtx layers``: the linear layers of a network in a file, as maps."""

from __future__ import annotations

import argparse
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

import convmtx as cm
from convmtx import memory
from convmtx.cli.arguments import JSON, integers
from convmtx.cli.report import Report, certified, watched
from convmtx.errors import ConvmtxError
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.elementary import AlongAxis
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import ticking
from convmtx.typing import Shape

HELP = "a table of the linear layers of an ONNX model"
DESCRIPTION = "The linear nodes of an ONNX model: shapes, entries, norm, bytes (extra onnx)."
EPILOG = f"""\
The norm is an upper bound, and for maps that are no single convolution, or with
--norm interval, the norm itself: its upper end is in the table, and both ends are
in the JSON object. With --norm none it is left out, which is quickest. Bytes are
those of the sparse matrix (CSR) and of the node's constants that are weights, in
the type that they are stored in. Nodes that could be linear maps and are none are
named with the reason; the JSON object names all others too.

examples:
    convmtx layers model.onnx --shape x=1,3,16,16
    convmtx layers model.onnx --shape x=1,3,16,16 --norm interval --json

{JSON}"""
PARENTS = ()
_HEADS = ("node", "takes", "makes", "nnz", "norm", "kind", "csr", "weights", "output", "name")
#: Characters of a name in the table.
_LONGEST = 80
#: What is said of nodes of all other kinds, which the table counts.
_UNKNOWN = "not among the nodes that are converted"
#: Rows times columns of a map of several factors whose entries are counted by making them.
_SMALL = 10_000_000


def add(parser: argparse.ArgumentParser) -> None:
    """The model, and what is worked out of it."""
    parser.add_argument("model", metavar="MODEL.onnx", type=Path)
    parser.add_argument("--shape", metavar="NAME=1,3,224,224", type=_named, action="append", default=[],
                        help="shape of an input whose sizes the model leaves open, batch included")  # fmt: skip
    parser.add_argument("--norm", choices=("bound", "interval", "none"), default="bound", help="(default: bound)")


def _named(text: str) -> tuple[str, Shape]:
    name, found, sizes = text.rpartition("=")
    if not found or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name and sizes such as x=1,3,224,224")
    return name, integers(sizes)


def run(options: argparse.Namespace, report: Report) -> None:
    """One line for each layer, as a table when all are there."""
    model = cm.from_onnx(options.model, dict(options.shape) or None)
    rows: list[dict[str, Any]] = []
    with ticking(watched(), "layers", len(model.layers)) as bar:
        for name, layer in model.layers.items():
            rows.append({"output": name, "name": layer.name, "node": layer.op_type, **_facts(layer.op, options.norm),
                         "weight_bytes": layer.weight_bytes, "widened": list(layer.widened)})  # fmt: skip
            if bar is not None:
                bar.update(1)
    skipped = {name: reason.replace("Pass input_shapes", "Give --shape") for name, reason in model.skipped.items()}
    report.put(model=options.model, layers=rows, skipped=skipped)
    table = [_HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(cells[j]) for cells in table) for j in range(len(_HEADS))]
    for cells in table:
        report.say("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    for row in rows:
        if row["no_norm"]:
            report.say(f"  {row['output']}: no norm ({row['no_norm']})")
        if row["widened"]:
            report.say(f"  {row['output']}: weights of {', '.join(row['widened'])}, in a wider type without rounding")
    report.say(f"{len(rows)} maps; {len(skipped)} nodes are none")
    others = Counter(reason.partition(":")[0] for reason in skipped.values() if _UNKNOWN in reason)
    if others:
        report.say("  not converted: " + ", ".join(f"{count} {node}" for node, count in others.most_common()))
    for name, reason in skipped.items():
        if _UNKNOWN not in reason:
            report.say(f"  {name}: {reason}")


def _facts(op: LinearMap, norm: str) -> dict[str, Any]:
    """Shapes, sizes and the norm of a map."""
    nnz, item = _entries(op), op.dtype.itemsize
    index = 4 if nnz is None or max(nnz, *op.shape) < 1 << 31 else 8
    csr = None if nnz is None else nnz * (item + index) + (op.shape[0] + 1) * index
    known, reason = None, None
    if norm != "none":
        try:
            convolves = norm == "bound" and isinstance(op, ConvOperator)
            known = certified(cm.norm_bound(cast("ConvOperator", op)) if convolves else cm.norm(op))
        except (ConvmtxError, MemoryError) as error:
            reason = str(error)
    return {"in_shape": op.in_shape, "out_shape": op.out_shape, "nnz": nnz, "norm": known, "no_norm": reason,
            "csr_bytes": csr}  # fmt: skip


def _entries(op: LinearMap) -> int | None:
    """Stored entries of the matrix; None where it takes the matrix to know, and that is large."""
    if isinstance(op, ConvOperator):
        return op.nnz
    if isinstance(op, AlongAxis):
        return int(np.count_nonzero(op.matrix)) * (prod(op.in_shape) // op.in_shape[op.axis])
    return cast("Any", op.to_sparse()).nnz if prod(op.shape) <= _SMALL else None


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    norm, csr = row["norm"], row["csr_bytes"]
    return (
        row["node"], *("x".join(map(str, row[name])) for name in ("in_shape", "out_shape")),
        "?" if row["nnz"] is None else str(row["nnz"]), f"{norm['upper']:.6g}" if norm else "-",
        norm["kind"] if norm else "-", "?" if csr is None else memory.human(csr),
        memory.human(row["weight_bytes"]), row["output"][:_LONGEST], row["name"][:_LONGEST] or "-",
    )  # fmt: skip
