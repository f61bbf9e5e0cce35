"""The door: what a user may write becomes a `Geometry`, or one clear error. Strings end here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from operator import index
from typing import Any, TypeVar, get_args

import numpy as np

from convmtx.boundary import BY_NAME, FOREIGN_NAMES, ZERO, Boundary
from convmtx.errors import ArgumentError, ArgumentTypeError, sentence
from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry, Layout
from convmtx.typing import EngineName, Shape

_PADDING_NAMES = ("valid", "same", "same_lower", "full")


#: Sizes, steps and pads up to here keep every product of two of them a 64-bit integer.
LARGEST = 1 << 40
#: Windows of d axes have 2d+3 in the engines, and NumPy arrays have 64 at most.
MOST_AXES = 24


def integer(call: str, name: str, value: Any, least: int | None) -> int:
    """An exact integer (no bool, no float) that is not below ``least``."""
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        wanted = "Wanted an integer" + ("" if least is None else f" >= {least}")
        raise ArgumentTypeError(sentence(call, f"{name}={value!r}", wanted, "Pass an int"))
    if least is not None and number < least:
        raise ArgumentError(
            sentence(call, f"{name}={number}", f"Wanted an integer >= {least}", f"Pass {name}={least} or more")
        )
    if abs(number) > LARGEST:
        wanted = "Wanted a size that 64-bit positions can be counted with"
        raise ArgumentError(sentence(call, f"{name}={number}", wanted, f"Pass {LARGEST} or less"))
    return number


def shape(call: str, name: str, value: Any) -> Shape:
    """A tuple of sizes, each at least 1; a lone integer is one axis."""
    entries = _listed(value)
    if entries is None:
        return (integer(call, name, value, 1),)
    sizes = tuple(integer(call, f"{name}[{j}]", n, 1) for j, n in enumerate(entries))
    if len(sizes) > MOST_AXES + 1:
        got = f"{name} has {len(sizes)} axes"
        raise ArgumentError(sentence(call, got, f"Wanted at most {MOST_AXES} spatial ones", "Merge some axes"))
    if not sizes:
        raise ArgumentError(
            sentence(call, f"{name}=()", "Wanted at least one spatial axis", "Pass the shape of one input")
        )
    return sizes


def per_axis(call: str, name: str, value: Any, d: int, least: int) -> Shape:
    """An integer for all axes, or one for each."""
    entries = _listed(value)
    if entries is None:
        return (integer(call, name, value, least),) * d
    _one_each(call, name, entries, d)
    return tuple(integer(call, f"{name}[{j}]", v, least) for j, v in enumerate(entries))


def _listed(value: Any) -> list[Any] | None:
    """The entries of a list, tuple or array; None for what is a single value (a string too)."""
    if isinstance(value, str | bytes):
        return None
    if isinstance(value, Sequence) or getattr(value, "ndim", 0) > 0:
        return list(value)
    return None


def _one_each(call: str, name: str, entries: list[Any], d: int) -> None:
    if len(entries) != d:
        remedy = f"Pass {name} with {d} entries"
        if name == "padding" and len(entries) == 2 and d == 1:
            remedy = f"For (lo, hi) of the one axis pass padding=[({entries[0]!r}, {entries[1]!r})]"
        got = f"{name}={entries!r} has {len(entries)} entries"
        raise ArgumentError(sentence(call, got, f"Wanted one for each of the {d} spatial axes", remedy))


Name = TypeVar("Name", bound=str)


def one_of(call: str, name: str, value: Any, known: Sequence[Name], remedy: str = "Check the spelling") -> Name:
    """A string that is one of the known names."""
    if not isinstance(value, str):
        wanted = f"Wanted one of {', '.join(map(repr, known))}"
        raise ArgumentTypeError(sentence(call, f"{name}={value!r}", wanted, "Pass a string"))
    if value not in known:
        raise ArgumentError(sentence(call, f"{name}={value!r}", f"Wanted one of {', '.join(map(repr, known))}", remedy))
    return known[known.index(value)]


def engine(call: str, value: Any) -> EngineName:
    """The name of an engine, or of their choice."""
    return one_of(call, "engine", value, get_args(EngineName))


def boundaries(call: str, value: Any, d: int) -> tuple[Boundary, ...]:
    """One rule for each axis."""
    names = _listed(value)
    names = [value] * d if names is None else names
    _one_each(call, "boundary", names, d)
    found = []
    for name in names:
        remedy = "Check the spelling"
        if isinstance(name, str) and name in FOREIGN_NAMES:
            remedy = f"numpy.pad and convmtx call it {FOREIGN_NAMES[name]!r}: pass boundary={FOREIGN_NAMES[name]!r}"
        found.append(BY_NAME[one_of(call, "boundary", name, tuple(BY_NAME), remedy)])
    return tuple(found)


def split(total: int, name: str) -> tuple[int, int]:
    """A total pad as (lo, hi): the odd one at the end, at the start for 'same_lower'."""
    small, large = total // 2, total - total // 2
    return (large, small) if name == "same_lower" else (small, large)


def pads(call: str, padding: Any, axes: Sequence[Axis]) -> list[tuple[int, int]]:
    """(lo, hi) of each axis; ``axes`` are the axes without pads."""
    if isinstance(padding, str):
        one_of(call, "padding", padding, _PADDING_NAMES)
        if padding == "valid":
            return [(0, 0)] * len(axes)
        if padding == "full":
            return [(a.span - 1, a.span - 1) for a in axes]
        wanted = [(-(-a.stretched // a.stride) - 1) * a.stride + a.span - a.stretched for a in axes]
        return [split(max(total, 0), padding) for total in wanted]
    entries = _listed(padding)
    if entries is None:
        both = integer(call, "padding", padding, None)
        return [(both, both)] * len(axes)
    _one_each(call, "padding", entries, len(axes))
    return [_pair(call, f"padding[{j}]", p) for j, p in enumerate(entries)]


def _pair(call: str, name: str, value: Any) -> tuple[int, int]:
    pair = _listed(value)
    if pair is None:
        return (integer(call, name, value, None),) * 2
    if len(pair) != 2:
        got = f"{name}={value!r} has {len(pair)} entries"
        raise ArgumentError(sentence(call, got, "Wanted an integer or a pair (lo, hi)", "Pass (lo, hi)"))
    return integer(call, f"{name}[0]", pair[0], None), integer(call, f"{name}[1]", pair[1], None)


def _channels(
    call: str, kernel: Shape, input_shape: Shape, channels: Any, groups: Any, *, transposed: bool
) -> tuple[Layout, Shape, Shape, int, int, int]:
    """Layout, spatial input and kernel shapes, input and output channels, groups."""
    layout = Layout(one_of(call, "channels", channels, ("last", "first")))
    groups = integer(call, "groups", groups, 1)
    got = f"kernel of shape {kernel} with input_shape={input_shape}"
    if not kernel or 0 in kernel:
        raise ArgumentError(
            sentence(call, f"kernel of shape {kernel}", "Wanted at least one axis and one tap", "Pass a kernel")
        )
    if len(kernel) == len(input_shape):
        if groups != 1:
            wanted = "Groups need channel axes, and this kernel has none"
            raise ArgumentError(
                sentence(call, f"{got}, groups={groups}", wanted, "Add the channel axes or pass groups=1")
            )
        return Layout.PLAIN, input_shape, kernel, 1, 1, 1
    if len(kernel) != len(input_shape) + 1 or len(input_shape) < 2:
        wanted = (
            "Wanted as many kernel axes as input axes (no channels), or one more "
            f"(channels {channels!r}: {'(*k, C/groups, F)' if layout is Layout.LAST else '(F, C/groups, *k)'})"
        )
        raise ArgumentError(sentence(call, got, wanted, "Leave the batch out of input_shape; it is free at the call"))
    if layout is Layout.LAST:
        *space, per_group, rows = kernel
        *sizes, in_channels = input_shape
    else:
        rows, per_group, *space = kernel
        in_channels, *sizes = input_shape
    expected = rows if transposed else per_group * groups
    if in_channels != expected:
        axis = "C_in" if transposed else "C/groups"
        wanted = f"The kernel's {axis} axis wants {expected} input channels for groups={groups}, not {in_channels}"
        remedy = f"Check channels={channels!r} and the order of the kernel's axes"
        raise ArgumentError(sentence(call, got, wanted, remedy))
    if rows % groups:
        wanted = f"Wanted a number of {'input' if transposed else 'output'} channels divisible by groups={groups}"
        raise ArgumentError(sentence(call, f"{got}: {rows} of them", wanted, "Change groups or the kernel"))
    out_channels = per_group * groups if transposed else rows
    return layout, tuple(sizes), tuple(space), in_channels, out_channels, groups


def _fits(call: str, geometry: Geometry) -> Geometry:
    for j, a in enumerate(geometry.axes):
        if a.out < 1 and not geometry.transposed:
            padded = a.stretched + a.lo + a.hi
            got = f"axis {j} has {padded} positions after padding ({a.lo}, {a.hi}) and the kernel spans {a.span}"
            raise ArgumentError(
                sentence(call, got, "Wanted a kernel that fits", "Pad more ('same', 'full') or use a smaller kernel")
            )
        if a.out < 1:
            got = f"axis {j} would have {a.out} outputs after cutting"
            raise ArgumentError(sentence(call, got, "Wanted at least one", "Cut less with padding"))
    if max(geometry.shape) >= 1 << 62 or max(max(abs(p) for p in a.reach) for a in geometry.axes) >= 1 << 62:
        rows, columns = geometry.shape
        got = f"the matrix would be {rows} x {columns}"
        raise ArgumentError(
            sentence(call, got, "Rows, columns and positions are counted in 64 bits", "Use smaller sizes or pads")
        )
    return geometry


def conv(
    kernel: Shape, input_shape: Any, *, stride: Any, dilation: Any, padding: Any, boundary: Any, groups: Any,
    flip: Any, channels: Any, input_dilation: Any,
) -> Geometry:  # fmt: skip
    """Geometry of `convmtx.conv`."""
    call = "conv"
    layout, sizes, space, in_channels, out_channels, groups = _channels(
        call, kernel, shape(call, "input_shape", input_shape), channels, groups, transposed=False
    )
    d = len(sizes)
    bare = [
        Axis(n, k, s, t, e, boundary=rule)
        for n, k, s, t, e, rule in zip(
            sizes,
            space,
            per_axis(call, "stride", stride, d, 1),
            per_axis(call, "dilation", dilation, d, 1),
            per_axis(call, "input_dilation", input_dilation, d, 1),
            boundaries(call, boundary, d),
            strict=True,
        )
    ]
    axes = tuple(
        Axis(a.size, a.kernel, a.stride, a.dilation, a.input_dilation, lo, hi, a.boundary)
        for a, (lo, hi) in zip(bare, pads(call, padding, bare), strict=True)
    )
    return _fits(call, Geometry(axes, in_channels, out_channels, groups, layout, flag(call, "flip", flip)))


def conv_transpose(
    kernel: Shape, input_shape: Any, *, stride: Any, dilation: Any, padding: Any, output_padding: Any,
    output_shape: Any, groups: Any, flip: Any, channels: Any,
) -> Geometry:  # fmt: skip
    """Geometry of `convmtx.conv_transpose`: input dilation in the place of stride, the kernel read transposed."""
    call = "conv_transpose"
    layout, sizes, space, in_channels, out_channels, groups = _channels(
        call, kernel, shape(call, "input_shape", input_shape), channels, groups, transposed=True
    )
    d = len(sizes)
    bare = [
        Axis(n, k, 1, t, s)
        for n, k, t, s in zip(
            sizes, space, per_axis(call, "dilation", dilation, d, 1), per_axis(call, "stride", stride, d, 1),
            strict=True,
        )
    ]  # fmt: skip
    extra = per_axis(call, "output_padding", output_padding, d, 0)
    outs = None if output_shape is None else per_axis(call, "output_shape", output_shape, d, 1)
    cuts = _cuts(call, bare, padding, extra, outs)
    axes = tuple(
        Axis(a.size, a.kernel, 1, a.dilation, a.input_dilation, a.span - 1 - lo, a.span - 1 - hi, ZERO)
        for a, (lo, hi) in zip(bare, cuts, strict=True)
    )
    geometry = Geometry(axes, in_channels, out_channels, groups, layout, flag(call, "flip", flip), transposed=True)
    return _fits(call, geometry)


def _cuts(call: str, axes: Sequence[Axis], padding: Any, extra: Shape, outs: Shape | None) -> list[tuple[int, int]]:
    """What is cut from each end of the full output, (n-1)*s + t*(k-1) + 1; negative where zeros are added.

    A named 'same' makes ``n*s`` outputs. The total to cut is split as ONNX does it, the odd one at the end
    for 'same', else at the start; what is missing is added at the end, as TensorFlow and PyTorch do.
    """
    full = [a.stretched + a.span - 1 for a in axes]
    named = isinstance(padding, str) and padding in ("same", "same_lower")
    if named and outs is None:
        outs = tuple(a.size * a.input_dilation for a in axes)
    if outs is None or not (named or padding == "valid"):
        return _explicit_cuts(call, axes, padding, extra, outs, full)
    side = "same" if padding == "same" else "same_lower"
    cuts = []
    for size, more, out in zip(full, extra, outs, strict=True):
        lo, _ = split(max(size + more - out, 0), side)
        cuts.append((lo, size - out - lo))
    return cuts


def _explicit_cuts(
    call: str, axes: Sequence[Axis], padding: Any, extra: Shape, outs: Shape | None, full: list[int]
) -> list[tuple[int, int]]:
    given = pads(call, padding, axes)
    if outs is None:
        return [(lo, hi - more) for (lo, hi), more in zip(given, extra, strict=True)]
    for j, ((lo, hi), size, out, a) in enumerate(zip(given, full, outs, axes, strict=True)):
        least = size - lo - hi
        if not least <= out < least + a.input_dilation:
            wanted = f"With padding={padding!r} axis {j} can have {least} to {least + a.input_dilation - 1} outputs"
            remedy = "Leave output_shape or padding out"
            raise ArgumentError(sentence(call, f"output_shape[{j}]={out}", wanted, remedy))
    return [(lo, size - out - lo) for (lo, _), size, out in zip(given, full, outs, strict=True)]


def flag(call: str, name: str, value: Any) -> bool:
    """True or False, NumPy's included."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise ArgumentTypeError(sentence(call, f"{name}={value!r}", "Wanted True or False", f"Pass {name}=True"))
    return bool(value)


def convmtx(kernel: Shape, n: Any, mode: Any) -> Geometry:
    """Geometry of `convmtx.convmtx`: true convolution of the kernel with arrays of shape ``n``, cut as SciPy does."""
    call = "convmtx"
    one_of(call, "mode", mode, ("full", "same", "valid"))
    sizes = shape(call, "n", n)
    if len(sizes) != len(kernel) or not kernel or 0 in kernel:
        got = f"h of shape {kernel} with n={n!r}"
        raise ArgumentError(
            sentence(call, got, "Wanted a kernel that is not empty and one size for each of its axes", "Pass n=x.shape")
        )
    axes = []
    for size, k in zip(sizes, kernel, strict=True):
        drop = min(size, k) - 1 if mode != "full" else 0
        before, after = (drop // 2, drop - drop // 2) if mode == "same" else (drop, drop)
        axes.append(Axis(size, k, lo=k - 1 - before, hi=k - 1 - after))
    return _fits(call, Geometry(tuple(axes), flip=True))


def number(
    call: str,
    name: str,
    value: Any,
    wanted: str = "a finite number",
    remedy: str = "Pass a float",
    *,
    fits: Callable[[float], bool] = lambda _: True,
) -> float:
    """Return a finite real number as a float; ``fits`` says which are allowed, ``wanted`` and ``remedy`` in words."""
    try:
        real = float(value) if isinstance(value, Real) and not isinstance(value, bool | np.bool_) else None
    except OverflowError:
        real = None
    if real is None or not np.isfinite(real) or not fits(real):
        large = isinstance(value, int) and value.bit_length() > 200  # Python refuses to print those of 4300 digits
        got = f"an integer of {value.bit_length()} bits" if large else repr(value)[:80]
        raise ArgumentError(sentence(call, f"{name}={got}", f"Wanted {wanted}", remedy))
    return real
