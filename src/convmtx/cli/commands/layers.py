"""``convmtx layers``: a table of the linear layers of an ONNX model."""

from __future__ import annotations

import argparse
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any, cast

import convmtx as cm
from convmtx import memory
from convmtx.cli.arguments import JSON
from convmtx.cli.parser import Command, integers
from convmtx.cli.report import Report, can_show_progress, certified_facts
from convmtx.errors import ConvmtxError
from convmtx.maps.along_axis import AlongAxis
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.typing import Shape

_EPILOG = f"""\
The norm of a convolution is an upper bound. With --norm interval, and for maps that
are not a single convolution, it is the norm itself: the table has the upper end of
its interval, the JSON object both ends. --norm none leaves it out, which is fastest.
The columns csr and weights are bytes: of the sparse matrix, and of the weights as
they are stored. Maps of whole tensors, with the batch axis, have "all" behind their
shapes. Nodes that are not maps are counted by kind and operator, and listed with the
reason if it is that sizes are not known, or an option; the JSON object lists all.

examples:
    convmtx layers model.onnx --shape x=1,3,16,16
    convmtx layers model.onnx --shape x=1,3,16,16 --norm interval --json

{JSON}"""
_HEADS = ("node", "takes", "makes", "nnz", "norm", "kind", "csr", "weights", "output", "name")
#: Most characters of a name in the table.
_LONGEST = 80
#: Reasons that are listed, of each kind.
_LISTED = 20
#: Most rows times columns of a map whose entries are counted by making its matrix.
_SMALL = 10_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, and what is computed for it."""
    parser.add_argument("model", metavar="MODEL.onnx", type=Path)
    parser.add_argument("--shape", metavar="NAME=1,3,224,224", type=_named_shape, action="append", default=[],
                        help="shape, with batch, of an input whose sizes the model leaves open")  # fmt: skip
    parser.add_argument("--norm", type=str.lower, choices=("bound", "interval", "none"), default="bound",
                        help="how norms are computed (default: bound)")  # fmt: skip


def _named_shape(text: str) -> tuple[str, Shape]:
    """Read the name of an input and its sizes, such as x=1,3,224,224."""
    name, equals, sizes = text.rpartition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name and sizes such as x=1,3,224,224")
    return name, integers(sizes)


def run(options: argparse.Namespace, report: Report) -> None:
    """Print one line for each layer, as a table when all of them are known."""
    model = cm.from_onnx(options.model, dict(options.shape) or None)
    rows: list[dict[str, Any]] = []
    with show_progress(can_show_progress(), "layers", len(model.layers)) as bar:
        for name, layer in model.layers.items():
            facts = _facts(layer.op, options.norm)
            rows.append({"output": name, "name": layer.name, "node": layer.op_type, "whole": layer.whole, **facts,
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
    report.say(f"{len(rows)} nodes converted, {len(skipped)} skipped")
    _say_skipped(model.skipped, skipped, report)


def _say_skipped(reasons: Any, texts: dict[str, str], report: Report) -> None:
    """Print how many nodes have no map for each kind of reason, and reasons that another call may change."""
    kinds: dict[Any, list[str]] = {}
    for name, reason in reasons.items():
        kinds.setdefault(reason.kind, []).append(name)
    for kind, names in kinds.items():
        counts = Counter(reasons[name].op_type for name in names).most_common()
        report.say(f"  {len(names)} {kind.value}: " + ", ".join(f"{count} {node}" for node, count in counts))
        if kind.may_change:
            for name in names[:_LISTED]:
                report.say(f"    {name[:_LONGEST]}: {texts[name]}")
            if len(names) > _LISTED:
                report.say(f"    and {len(names) - _LISTED} more")


def _facts(op: LinearMap, norm: str) -> dict[str, Any]:
    """Return shapes, sizes and the norm of a map."""
    nnz, item = _count_entries(op), op.dtype.itemsize
    index = 4 if nnz is None or max(nnz, *op.shape) < 1 << 31 else 8
    csr = None if nnz is None else nnz * (item + index) + (op.shape[0] + 1) * index
    norm_facts, reason = None, None
    if norm != "none":
        try:
            convolves = norm == "bound" and isinstance(op, ConvOperator)
            norm_facts = certified_facts(cm.norm_bound(cast("ConvOperator", op)) if convolves else cm.norm(op))
        except (ConvmtxError, MemoryError) as error:
            reason = str(error)
    return {"in_shape": op.in_shape, "out_shape": op.out_shape, "nnz": nnz, "norm": norm_facts, "no_norm": reason,
            "csr_bytes": csr}  # fmt: skip


def _count_entries(op: LinearMap) -> int | None:
    """Count the stored entries of the matrix; return None if a large matrix would have to be made for that."""
    if isinstance(op, ConvOperator):
        return op.nnz
    stored = op._count_stored()
    if stored is not None:
        return stored
    if isinstance(op, AlongAxis):
        return op._count_stored()
    return cast("Any", op.to_sparse()).nnz if prod(op.shape) <= _SMALL else None


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a line of the table."""
    norm, csr = row["norm"], row["csr_bytes"]
    return (
        row["node"], *("x".join(map(str, row[name])) + " all" * row["whole"] for name in ("in_shape", "out_shape")),
        "?" if row["nnz"] is None else str(row["nnz"]), f"{norm['upper']:.6g}" if norm else "-",
        norm["kind"] if norm else "-", "?" if csr is None else memory.human(csr),
        memory.human(row["weight_bytes"]), row["output"][:_LONGEST], row["name"][:_LONGEST] or "-",
    )  # fmt: skip


COMMAND = Command(
    "list the linear layers of an ONNX model",
    "List the linear nodes of an ONNX model: shapes, entries, norm, bytes (extra onnx).",
    _EPILOG, add_arguments, run,
)  # fmt: skip
