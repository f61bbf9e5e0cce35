"""Padding of users to pads: how far windows reach beyond both ends of each axis, from names, numbers or pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convmtx.arguments import as_list, integer, one_of, require_one_for_each
from convmtx.boundary import BY_NAME, FOREIGN_NAMES
from convmtx.errors import ArgumentError, shown
from convmtx.geometry.axis import Axis
from convmtx.typing import Shape

_PADDING_NAMES = ("valid", "same", "same_lower", "full")
_PADDING_MEANINGS = {
    "same_upper": "Pass padding='same'",
    "half": "Pass half the kernel, as with padding=k//2",
    "none": "Pass padding='valid'",
    "notset": "Pass the pads, (lo, hi) for each axis",
    "explicit": "Pass the pads, (lo, hi) for each axis",
    **{
        word: f"That is a boundary: pass boundary={rule.name!r}, and padding for how far it reaches"
        for word, rule in (BY_NAME | {word: BY_NAME[name] for word, name in FOREIGN_NAMES.items()}).items()
    },
}


def split(total: int, name: str) -> tuple[int, int]:
    """Split a total pad into (lo, hi): 3 into (1, 2) for 'same', and into (2, 1) for 'same_lower'."""
    small, large = total // 2, total - total // 2
    return (large, small) if name == "same_lower" else (small, large)


def pads(padding: Any, axes: Sequence[Axis], *, transposed: bool = False) -> list[tuple[int, int]]:
    """Return (lo, hi) for each axis; ``axes`` are the axes without pads."""
    if isinstance(padding, str):
        return _pads_by_name(padding, axes, transposed)
    entries = as_list("padding", padding)
    if entries is None:
        pad = integer("padding", padding, None)
        return [(pad, pad)] * len(axes)
    require_one_for_each("padding", entries, len(axes))
    return [_pair(f"padding[{j}]", p) for j, p in enumerate(entries)]


def _pads_by_name(padding: str, axes: Sequence[Axis], transposed: bool) -> list[tuple[int, int]]:
    """Return (lo, hi) for each axis, for padding that is a name."""
    meanings = _PADDING_MEANINGS
    if padding not in _PADDING_NAMES:
        causal = [(0, a.span - 1) if transposed else (a.span - 1, 0) for a in axes]
        meanings = meanings | {"causal": f"Pass padding={shown(causal)}"}
    name = one_of("padding", padding, _PADDING_NAMES, meanings)
    if name == "valid":
        return [(0, 0)] * len(axes)
    if name == "full":
        return [(a.span - 1, a.span - 1) for a in axes]
    # 'same' makes ceil(n/s) outputs: for n = 5, s = 2 and a span of 3 these are 3, whose windows take
    # (3 - 1)*2 + 3 = 7 positions, so the total pad is 2.
    totals = [(-(-a.stretched // a.stride) - 1) * a.stride + a.span - a.stretched for a in axes]
    return [split(max(total, 0), name) for total in totals]


def _pair(name: str, value: Any) -> tuple[int, int]:
    """Return (lo, hi) of one axis, from a pair or from one integer for both."""
    pair = as_list(name, value)
    if pair is None:
        return (integer(name, value, None),) * 2
    if len(pair) != 2:
        got = f"{name}={shown(value)} has {len(pair)} entries"
        raise ArgumentError(got, "Expected an integer or a pair (lo, hi)", "Pass (lo, hi)")
    return integer(f"{name}[0]", pair[0], None), integer(f"{name}[1]", pair[1], None)


def cuts(axes: Sequence[Axis], padding: Any, extra: Shape, outs: Shape | None) -> list[tuple[int, int]]:
    """Return what is cut from both ends of the full output of each axis; negative where zeros are added.

    The full output has ``(n-1)*s + t*(k-1) + 1`` values. 'same' and 'same_lower' make ``n*s`` outputs. The total to cut
    is split as in ONNX: the odd one at the end for 'same', otherwise at the start. What is missing is added at the end,
    as in TensorFlow and PyTorch.
    """
    full = [a.stretched + a.span - 1 for a in axes]
    is_same = isinstance(padding, str) and padding in ("same", "same_lower")
    if is_same and outs is None:
        outs = tuple(a.size * a.input_dilation for a in axes)
    if outs is None or not (is_same or padding == "valid"):
        return _explicit_cuts(axes, padding, extra, outs, full)
    side = "same" if padding == "same" else "same_lower"
    pairs = []
    for size, added, out in zip(full, extra, outs, strict=True):
        lo, _ = split(max(size + added - out, 0), side)
        pairs.append((lo, size - out - lo))
    return pairs


def _explicit_cuts(
    axes: Sequence[Axis], padding: Any, extra: Shape, outs: Shape | None, full: list[int]
) -> list[tuple[int, int]]:
    """Return the cuts that the pads of the user make, with output padding or output sizes, as in PyTorch.

    Output sizes must be in reach of the pads: a stride of s leaves s choices.
    """
    pairs = pads(padding, axes, transposed=True)
    if outs is None:
        return [(lo, hi - added) for (lo, hi), added in zip(pairs, extra, strict=True)]
    for j, ((lo, hi), size, out, axis) in enumerate(zip(pairs, full, outs, axes, strict=True)):
        least = size - lo - hi
        most = least + axis.input_dilation - 1
        if not least <= out <= most:
            expected = f"With padding={shown(padding)} axis {j} can have {least} to {most} outputs"
            remedy = "Leave output_shape or padding out"
            raise ArgumentError(f"output_shape[{j}]={out}", expected, remedy)
    return [(lo, size - out - lo) for (lo, _), size, out in zip(pairs, full, outs, strict=True)]
