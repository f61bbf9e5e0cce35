"""The door: what a user may write becomes a `Geometry`, or one clear error. Strings end here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from convmtx.arguments import LARGEST as LARGEST
from convmtx.arguments import flag as flag
from convmtx.arguments import integer as integer
from convmtx.arguments import is_array, listed
from convmtx.arguments import number as number
from convmtx.arguments import one_of as one_of
from convmtx.boundary import BY_NAME, FOREIGN_NAMES, OPENCV_NUMBERS, OTHER_NAMES, ZERO, Boundary
from convmtx.errors import ArgumentError, ArgumentTypeError, shown
from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry, Layout
from convmtx.typing import EngineName, Shape

_PADDING_NAMES = ("valid", "same", "same_lower", "full")
_BOUNDARY_MEANINGS = OTHER_NAMES | {
    word: f"numpy.pad and convmtx call it {name!r}: pass boundary={name!r}" for word, name in FOREIGN_NAMES.items()
}
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
_CHANNELS_MEANINGS = {
    **dict.fromkeys(("channels_last", "nwc", "nhwc", "ndhwc", "hwc"), "Pass channels='last'"),
    **dict.fromkeys(("channels_first", "ncw", "nchw", "ncdhw", "chw"), "Pass channels='first'"),
}


#: Windows of d axes have 2d+3 in the engines, and NumPy arrays have 64 at most.
MOST_AXES = 24


def shape(name: str, value: Any) -> Shape:
    """A tuple of sizes, each at least 1; a lone integer is one axis."""
    _no_shape(name, value)
    entries = listed(name, value, "Pass its shape, as with x.shape")
    if entries is None:
        return (integer(name, value, 1),)
    sizes = tuple(integer(f"{name}[{j}]", n, 1) for j, n in enumerate(entries))
    if len(sizes) > MOST_AXES + 1:
        got = f"{name} has {len(sizes)} axes"
        raise ArgumentError(got, f"Wanted at most {MOST_AXES} spatial ones", "Merge some axes")
    if not sizes:
        raise ArgumentError(f"{name}=()", "Wanted at least one spatial axis", "Pass the shape of one input")
    return sizes


def _no_shape(name: str, value: Any) -> None:
    """Refuse an array or a map in the place of its shape."""
    if isinstance(value, type):
        return
    if hasattr(type(value), "in_shape"):
        got, remedy = f"{name} is a {type(value).__name__}", "Pass op.in_shape"
    elif is_array(value) and not (len(value.shape) == 1 and "int" in str(value.dtype)):
        got, remedy = f"{name} is an array of shape {tuple(value.shape)}", "Pass x.shape"
    elif type(value) in (list, tuple) and any(type(entry) in (list, tuple) for entry in value[:MOST_AXES]):
        got, remedy = f"{name}={shown(value)}", "Pass the shape of the array, as with numpy.shape(x)"
    elif isinstance(sizes := getattr(value, "shape", None), tuple) and len(sizes) > 1:
        got, remedy = f"{name}={shown(value)}", "Pass x.shape"
    else:
        return
    raise ArgumentTypeError(got, "Wanted a tuple of sizes", remedy)


def not_swapped(kernel: Any, input_shape: Any) -> None:
    """Refuse a shape in the place of the kernel and an array in the place of the shape."""
    axes = 1 if type(kernel) is int else len(kernel) if isinstance(kernel, tuple) else 0
    nested = isinstance(input_shape, list) and bool(input_shape) and isinstance(input_shape[0], list)
    if not (axes and (is_array(input_shape) or nested)):
        return
    if axes == 1 or all(type(size) is int for size in kernel[:MOST_AXES]):
        got = f"kernel={shown(kernel)} and input_shape={shown(input_shape)}"
        raise ArgumentTypeError(got, "Wanted the kernel first, then the shape", "Swap them")


def per_axis(name: str, value: Any, d: int, least: int) -> Shape:
    """An integer for all axes, or one for each."""
    entries = listed(name, value)
    if entries is None:
        return (integer(name, value, least),) * d
    _one_each(name, entries, d)
    return tuple(integer(f"{name}[{j}]", v, least) for j, v in enumerate(entries))


def _one_each(name: str, entries: list[Any], d: int) -> None:
    if len(entries) != d:
        remedy = f"Pass {name} with {d} entries"
        if name == "padding" and len(entries) == 2 and d == 1:
            remedy = f"For (lo, hi) of the one axis pass padding=[({shown(entries[0])}, {shown(entries[1])})]"
        got = f"{name}={shown(entries)} has {len(entries)} entries"
        raise ArgumentError(got, f"Wanted one for each of the {d} spatial axes", remedy)


def engine(value: Any) -> EngineName:
    """The name of an engine, or of their choice."""
    return one_of("engine", value, get_args(EngineName), {"pytorch": "Pass engine='torch'"})


def boundaries(value: Any, d: int) -> tuple[Boundary, ...]:
    """One rule for each axis."""
    names = listed("boundary", value)
    names = [value] * d if names is None else names
    _one_each("boundary", names, d)
    return tuple(_boundary(name) for name in names)


def _boundary(name: Any) -> Boundary:
    if type(name) is int and 0 <= name < len(OPENCV_NUMBERS):
        theirs = OPENCV_NUMBERS[name]
        got, wanted = f"boundary={name}", f"Wanted a name; OpenCV's cv2.{theirs} has this number"
        raise ArgumentTypeError(got, wanted, _BOUNDARY_MEANINGS[theirs.lower()])
    return BY_NAME[one_of("boundary", name, tuple(BY_NAME), _BOUNDARY_MEANINGS)]


def split(total: int, name: str) -> tuple[int, int]:
    """A total pad as (lo, hi): the odd one at the end, at the start for 'same_lower'."""
    small, large = total // 2, total - total // 2
    return (large, small) if name == "same_lower" else (small, large)


def pads(padding: Any, axes: Sequence[Axis], *, transposed: bool = False) -> list[tuple[int, int]]:
    """(lo, hi) of each axis; ``axes`` are the axes without pads."""
    if isinstance(padding, str):
        causal = [(0, a.span - 1) if transposed else (a.span - 1, 0) for a in axes]
        meanings = _PADDING_MEANINGS | {"causal": f"Pass padding={shown(causal)}"}
        padding = one_of("padding", padding, _PADDING_NAMES, meanings)
        if padding == "valid":
            return [(0, 0)] * len(axes)
        if padding == "full":
            return [(a.span - 1, a.span - 1) for a in axes]
        wanted = [(-(-a.stretched // a.stride) - 1) * a.stride + a.span - a.stretched for a in axes]
        return [split(max(total, 0), padding) for total in wanted]
    entries = listed("padding", padding)
    if entries is None:
        both = integer("padding", padding, None)
        return [(both, both)] * len(axes)
    _one_each("padding", entries, len(axes))
    return [_pair(f"padding[{j}]", p) for j, p in enumerate(entries)]


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = listed(name, value)
    if pair is None:
        return (integer(name, value, None),) * 2
    if len(pair) != 2:
        got = f"{name}={shown(value)} has {len(pair)} entries"
        raise ArgumentError(got, "Wanted an integer or a pair (lo, hi)", "Pass (lo, hi)")
    return integer(f"{name}[0]", pair[0], None), integer(f"{name}[1]", pair[1], None)


def _channels(
    kernel: Shape, input_shape: Shape, channels: Any, groups: Any, *, transposed: bool
) -> tuple[Layout, Shape, Shape, int, int, int]:
    """Layout, spatial input and kernel shapes, input and output channels, groups."""
    named = channels is not None
    layout = Layout(one_of("channels", channels, ("last", "first"), _CHANNELS_MEANINGS) if named else "last")
    groups = integer("groups", groups, 1)
    got = f"kernel of shape {kernel} with input_shape={input_shape}{f' and channels={channels!r}' if named else ''}"
    plain = len(kernel) == len(input_shape) and not named
    _no_empty_axis(kernel, None if plain else layout)
    if plain:
        if groups != 1:
            wanted = "Groups need channel axes, and this kernel has none"
            raise ArgumentError(f"{got}, groups={groups}", wanted, "Add the channel axes or pass groups=1")
        return Layout.PLAIN, input_shape, kernel, 1, 1, 1
    other = Layout.FIRST if layout is Layout.LAST else Layout.LAST
    remedy = _reading(kernel, input_shape, groups, (layout, other), transposed)
    if len(kernel) != len(input_shape) + 1 or len(input_shape) < 2:
        wanted = _ranks(layout, named, transposed)
        without = "Leave channels out for a convolution without channels" if len(kernel) == len(input_shape) else ""
        remedy = remedy or without or "Leave the batch out of input_shape; it is free at the call"
        raise ArgumentError(got, wanted, remedy)
    in_channels, per_group, rows, sizes, space = _split(kernel, input_shape, layout)
    expected = rows if transposed else per_group * groups
    if in_channels != expected:
        axis = "C_in" if transposed else "C/groups"
        wanted = f"The kernel's {axis} axis wants {expected} input channels for groups={groups}, not {in_channels}"
        remedy = remedy or f"Check channels={layout.value!r} and the order of the kernel's axes"
        raise ArgumentError(got, wanted, remedy)
    if rows % groups:
        wanted = f"Wanted a number of {'input' if transposed else 'output'} channels divisible by groups={groups}"
        raise ArgumentError(f"{got}: {rows} of them", wanted, "Change groups or the kernel")
    out_channels = per_group * groups if transposed else rows
    return layout, sizes, space, in_channels, out_channels, groups


def _ranks(layout: Layout, named: bool, transposed: bool) -> str:
    """Say how many axes a kernel has, and in which order; ``named`` where the layout was asked for."""
    filters = ("C_out/groups, C_in", "C_in, C_out/groups") if transposed else ("C/groups, F", "F, C/groups")
    axes = f"(*k, {filters[0]})" if layout is Layout.LAST else f"({filters[1]}, *k)"
    if named:
        return f"Wanted one kernel axis more than input axes: {axes} for channels={layout.value!r}"
    return f"Wanted as many kernel axes as input axes (no channels), or one more: {axes}"


def _split(kernel: Shape, input_shape: Shape, layout: Layout) -> tuple[int, int, int, Shape, Shape]:
    """Input channels, the kernel's two channel axes (per group first), and what is spatial of input and kernel."""
    if layout is Layout.LAST:
        return input_shape[-1], kernel[-2], kernel[-1], input_shape[:-1], kernel[:-2]
    return input_shape[0], kernel[1], kernel[0], input_shape[1:], kernel[2:]


def _no_empty_axis(kernel: Shape, layout: Layout | None) -> None:
    """Refuse a kernel without axes, taps, channels or filters; ``layout`` is None where it has no channel axes."""
    if kernel and 0 not in kernel:
        return
    wanted, remedy = "Wanted at least one axis and one tap", "Pass a kernel"
    at = kernel.index(0) if kernel else 0
    last = layout is Layout.LAST
    if layout and len(kernel) > 2 and at in ((len(kernel) - 2, len(kernel) - 1) if last else (0, 1)):
        filters = at == (len(kernel) - 1 if last else 0)
        wanted = f"Wanted at least one {'filter' if filters else 'channel'}, and axis {at} has none"
        remedy = "Leave this convolution out: there is nothing in its matrix"
    raise ArgumentError(f"kernel of shape {kernel}", wanted, remedy)


def _reading(kernel: Shape, input_shape: Shape, groups: int, layouts: tuple[Layout, Layout], transposed: bool) -> str:
    """Say how the same arrays would fit: channels at the other end, the batch left out, or both."""
    batch = max(len(input_shape) + 1 - len(kernel), 0)
    one = input_shape[batch:]
    if len(kernel) != len(one) + 1 or len(one) < 2:
        return ""
    for layout in layouts:
        in_channels, per_group, rows, _, _ = _split(kernel, one, layout)
        if in_channels == (rows if transposed else per_group * groups) and rows % groups == 0:
            elsewhere = f"channels={layout.value!r}" if layout is layouts[1] else ""
            if batch:
                return f"Leave the batch out: pass input_shape={one}{' and ' if elsewhere else ''}{elsewhere}"
            return f"It fits with {elsewhere}" if elsewhere else ""
    return ""


def _fits(geometry: Geometry) -> Geometry:
    for j, a in enumerate(geometry.axes):
        if a.out < 1 and not geometry.transposed:
            padded = a.stretched + a.lo + a.hi
            got = f"axis {j} has {padded} positions after padding ({a.lo}, {a.hi}) and the kernel spans {a.span}"
            remedy = "Pad more ('same', 'full') or use a smaller kernel"
            if geometry.layout is Layout.PLAIN:  # a batch of channels, maybe
                kernel = tuple(axis.kernel for axis in geometry.axes)
                remedy = _reading(kernel, geometry.in_shape, 1, (Layout.LAST, Layout.FIRST), False) or remedy
            raise ArgumentError(got, "Wanted a kernel that fits", remedy)
        if a.out < 1:
            got = f"axis {j} would have {a.out} outputs after cutting"
            raise ArgumentError(got, "Wanted at least one", "Cut less with padding")
    if max(geometry.shape) >= 1 << 62 or max(max(abs(p) for p in a.reach) for a in geometry.axes) >= 1 << 62:
        rows, columns = geometry.shape
        got = f"the matrix would be {rows} x {columns}"
        raise ArgumentError(got, "Rows, columns and positions are counted in 64 bits", "Use smaller sizes or pads")
    return geometry


def conv(
    kernel: Shape, input_shape: Any, *, stride: Any, dilation: Any, padding: Any, boundary: Any, groups: Any,
    flip: Any, channels: Any, input_dilation: Any,
) -> Geometry:  # fmt: skip
    """Geometry of `convmtx.conv`."""
    layout, sizes, space, in_channels, out_channels, groups = _channels(
        kernel, shape("input_shape", input_shape), channels, groups, transposed=False
    )
    d = len(sizes)
    bare = [
        Axis(n, k, s, t, e, boundary=rule)
        for n, k, s, t, e, rule in zip(
            sizes,
            space,
            per_axis("stride", stride, d, 1),
            per_axis("dilation", dilation, d, 1),
            per_axis("input_dilation", input_dilation, d, 1),
            boundaries(boundary, d),
            strict=True,
        )
    ]
    axes = tuple(
        Axis(a.size, a.kernel, a.stride, a.dilation, a.input_dilation, lo, hi, a.boundary)
        for a, (lo, hi) in zip(bare, pads(padding, bare), strict=True)
    )
    return _fits(Geometry(axes, in_channels, out_channels, groups, layout, flag("flip", flip)))


def conv_transpose(
    kernel: Shape, input_shape: Any, *, stride: Any, dilation: Any, padding: Any, output_padding: Any,
    output_shape: Any, groups: Any, flip: Any, channels: Any,
) -> Geometry:  # fmt: skip
    """Geometry of `convmtx.conv_transpose`: input dilation in the place of stride, the kernel read transposed."""
    layout, sizes, space, in_channels, out_channels, groups = _channels(
        kernel, shape("input_shape", input_shape), channels, groups, transposed=True
    )
    d = len(sizes)
    bare = [
        Axis(n, k, 1, t, s)
        for n, k, t, s in zip(
            sizes, space, per_axis("dilation", dilation, d, 1), per_axis("stride", stride, d, 1),
            strict=True,
        )
    ]  # fmt: skip
    extra = per_axis("output_padding", output_padding, d, 0)
    outs = None if output_shape is None else per_axis("output_shape", output_shape, d, 1)
    cuts = _cuts(bare, padding, extra, outs)
    axes = tuple(
        Axis(a.size, a.kernel, 1, a.dilation, a.input_dilation, a.span - 1 - lo, a.span - 1 - hi, ZERO)
        for a, (lo, hi) in zip(bare, cuts, strict=True)
    )
    geometry = Geometry(axes, in_channels, out_channels, groups, layout, flag("flip", flip), transposed=True)
    return _fits(geometry)


def _cuts(axes: Sequence[Axis], padding: Any, extra: Shape, outs: Shape | None) -> list[tuple[int, int]]:
    """What is cut from each end of the full output, (n-1)*s + t*(k-1) + 1; negative where zeros are added.

    A named 'same' makes ``n*s`` outputs. The total to cut is split as ONNX does it, the odd one at the end
    for 'same', else at the start; what is missing is added at the end, as TensorFlow and PyTorch do.
    """
    full = [a.stretched + a.span - 1 for a in axes]
    named = isinstance(padding, str) and padding in ("same", "same_lower")
    if named and outs is None:
        outs = tuple(a.size * a.input_dilation for a in axes)
    if outs is None or not (named or padding == "valid"):
        return _explicit_cuts(axes, padding, extra, outs, full)
    side = "same" if padding == "same" else "same_lower"
    cuts = []
    for size, more, out in zip(full, extra, outs, strict=True):
        lo, _ = split(max(size + more - out, 0), side)
        cuts.append((lo, size - out - lo))
    return cuts


def _explicit_cuts(
    axes: Sequence[Axis], padding: Any, extra: Shape, outs: Shape | None, full: list[int]
) -> list[tuple[int, int]]:
    given = pads(padding, axes, transposed=True)
    if outs is None:
        return [(lo, hi - more) for (lo, hi), more in zip(given, extra, strict=True)]
    for j, ((lo, hi), size, out, a) in enumerate(zip(given, full, outs, axes, strict=True)):
        least = size - lo - hi
        if not least <= out < least + a.input_dilation:
            most = least + a.input_dilation - 1
            wanted = f"With padding={shown(padding)} axis {j} can have {least} to {most} outputs"
            remedy = "Leave output_shape or padding out"
            raise ArgumentError(f"output_shape[{j}]={out}", wanted, remedy)
    return [(lo, size - out - lo) for (lo, _), size, out in zip(given, full, outs, strict=True)]


def convmtx(kernel: Shape, n: Any, mode: Any) -> Geometry:
    """Geometry of `convmtx.convmtx`: true convolution of the kernel with arrays of shape ``n``, cut as SciPy does."""
    one_of("mode", mode, ("full", "same", "valid"))
    sizes = shape("n", n)
    if len(sizes) != len(kernel) or not kernel or 0 in kernel:
        got = f"h of shape {kernel} with n={shown(n)}"
        raise ArgumentError(
            got, "Wanted a kernel that is not empty and one size for each of its axes", "Pass n=x.shape"
        )
    axes = []
    for size, k in zip(sizes, kernel, strict=True):
        drop = min(size, k) - 1 if mode != "full" else 0
        before, after = (drop // 2, drop - drop // 2) if mode == "same" else (drop, drop)
        axes.append(Axis(size, k, lo=k - 1 - before, hi=k - 1 - after))
    return _fits(Geometry(tuple(axes), flip=True))
