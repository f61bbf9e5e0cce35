"""Arguments of users to geometry: sizes, padding, boundaries and channels become a `Geometry`, or one clear error.

Names such as "same" and "wrap" are read here and nowhere below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from convmtx.arguments import as_list, flag, integer, is_array, one_of, per_axis, require_one_for_each
from convmtx.boundary import BY_NAME, FOREIGN_NAMES, OPENCV_NUMBERS, OTHER_NAMES, Boundary
from convmtx.errors import ArgumentError, ArgumentTypeError, shown, with_article
from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry, Layout
from convmtx.geometry.padding import cuts, pads
from convmtx.typing import EngineName, Shape

_BOUNDARY_MEANINGS = OTHER_NAMES | {
    word: f"numpy.pad and convmtx call it {name!r}: pass boundary={name!r}" for word, name in FOREIGN_NAMES.items()
}
_CHANNELS_MEANINGS = {
    **dict.fromkeys(("channels_last", "nwc", "nhwc", "ndhwc", "hwc"), "Pass channels='last'"),
    **dict.fromkeys(("channels_first", "ncw", "nchw", "ncdhw", "chw"), "Pass channels='first'"),
}


#: Largest number of spatial axes. Windows of d axes are arrays of 2*d + 3 in the engines, and NumPy arrays have at most
#: 64.
MOST_AXES = 24


def shape(name: str, value: Any) -> Shape:
    """Return a tuple of sizes, each at least 1; a single integer is one axis."""
    _refuse_array_as_shape(name, value)
    entries = as_list(name, value, "Pass its shape, as with x.shape")
    if entries is None:
        return (integer(name, value, 1),)
    sizes = tuple(integer(f"{name}[{j}]", n, 1) for j, n in enumerate(entries))
    if len(sizes) > MOST_AXES + 1:
        got = f"{name} has {len(sizes)} axes"
        raise ArgumentError(got, f"Expected at most {MOST_AXES} spatial ones", "Merge some axes")
    if not sizes:
        raise ArgumentError(f"{name}=()", "Expected at least one spatial axis", "Pass the shape of one input")
    return sizes


def _refuse_array_as_shape(name: str, value: Any) -> None:
    """Refuse an array or a map in the place of its shape."""
    if isinstance(value, type) or (type(value) is tuple and all(type(entry) is int for entry in value)):
        return
    if hasattr(type(value), "in_shape"):
        got, remedy = f"{name} is {with_article(type(value).__name__)}", "Pass op.in_shape"
    elif is_array(value) and not (len(value.shape) == 1 and "int" in str(value.dtype)):
        got, remedy = f"{name} is an array of shape {tuple(value.shape)}", "Pass x.shape"
    elif type(value) in (list, tuple) and any(type(entry) in (list, tuple) for entry in value[:MOST_AXES]):
        got, remedy = f"{name}={shown(value)}", "Pass the shape of the array, as with numpy.shape(x)"
    elif isinstance(sizes := getattr(value, "shape", None), tuple) and len(sizes) > 1:
        got, remedy = f"{name}={shown(value)}", "Pass x.shape"
    else:
        return
    raise ArgumentTypeError(got, "Expected a tuple of sizes", remedy)


def not_swapped(kernel: Any, input_shape: Any) -> None:
    """Refuse a shape in the place of the kernel together with an array in the place of the shape."""
    axes = 0
    if type(kernel) is int:
        axes = 1
    elif isinstance(kernel, tuple):
        axes = len(kernel)
    is_nested = isinstance(input_shape, list) and bool(input_shape) and isinstance(input_shape[0], list)
    if not (axes and (is_array(input_shape) or is_nested)):
        return
    if axes == 1 or all(type(size) is int for size in kernel[:MOST_AXES]):
        got = f"kernel={shown(kernel)} and input_shape={shown(input_shape)}"
        raise ArgumentTypeError(got, "Expected the kernel first, then the shape", "Swap them")


def engine(value: Any) -> EngineName:
    """Return the name of an engine, or "auto"."""
    return one_of("engine", value, get_args(EngineName), {"pytorch": "Pass engine='torch'"})


def boundaries(value: Any, d: int) -> tuple[Boundary, ...]:
    """Return a boundary rule for each of d axes, from one name for all or one each."""
    names = as_list("boundary", value)
    names = [value] * d if names is None else names
    require_one_for_each("boundary", names, d)
    return tuple(_boundary(name) for name in names)


def _boundary(name: Any) -> Boundary:
    """Return the boundary rule of a name."""
    if type(name) is int and 0 <= name < len(OPENCV_NUMBERS):
        constant = OPENCV_NUMBERS[name]
        got, expected = f"boundary={name}", f"Expected a name; OpenCV's cv2.{constant} has this number"
        raise ArgumentTypeError(got, expected, _BOUNDARY_MEANINGS[constant.lower()])
    return BY_NAME[one_of("boundary", name, tuple(BY_NAME), _BOUNDARY_MEANINGS)]


def _channels(
    kernel: Shape, input_shape: Shape, channels: Any, groups: Any, *, transposed: bool
) -> tuple[Layout, Shape, Shape, int, int, int]:
    """Return layout, spatial shapes of input and kernel, input and output channels, and groups.

    For example, a kernel of shape (3, 3, 2, 8) on inputs (32, 32, 4) with groups=2 is Layout.LAST, (32, 32), (3, 3), 4,
    8, 2. Errors say how the shapes would fit.
    """
    is_named = channels is not None
    layout = Layout(one_of("channels", channels, ("last", "first"), _CHANNELS_MEANINGS)) if is_named else Layout.LAST
    groups = integer("groups", groups, 1)
    got = f"kernel of shape {kernel} with input_shape={input_shape}"
    if is_named:
        got += f" and channels={channels!r}"
    is_plain = len(kernel) == len(input_shape) and not is_named
    _refuse_empty_axis(kernel, None if is_plain else layout)
    if is_plain:
        if groups != 1:
            expected = "Groups need channel axes, and this kernel has none"
            raise ArgumentError(f"{got}, groups={groups}", expected, "Add the channel axes or pass groups=1")
        return Layout.PLAIN, input_shape, kernel, 1, 1, 1
    other = Layout.FIRST if layout is Layout.LAST else Layout.LAST
    remedy = _how_it_fits(kernel, input_shape, groups, (layout, other), transposed)
    if len(kernel) != len(input_shape) + 1 or len(input_shape) < 2:
        if not remedy and len(kernel) == len(input_shape):
            remedy = "Leave channels out for a convolution without channels"
        remedy = remedy or "Leave the batch out of input_shape; it is free at the call"
        raise ArgumentError(got, _wanted_axes(layout, is_named, transposed), remedy)
    in_channels, per_group, rows, sizes, space = _split(kernel, input_shape, layout)
    needed = rows if transposed else per_group * groups
    if in_channels != needed:
        axis = "C_in" if transposed else "C/groups"
        expected = f"The kernel's {axis} axis needs {needed} input channels for groups={groups}, not {in_channels}"
        remedy = remedy or f"Check channels={layout.value!r} and the order of the kernel's axes"
        raise ArgumentError(got, expected, remedy)
    if rows % groups:
        expected = f"Expected a number of {'input' if transposed else 'output'} channels divisible by groups={groups}"
        raise ArgumentError(f"{got}: {rows} of them", expected, "Change groups or the kernel")
    out_channels = per_group * groups if transposed else rows
    return layout, sizes, space, in_channels, out_channels, groups


def _wanted_axes(layout: Layout, is_named: bool, transposed: bool) -> str:
    """Say how many axes a kernel has and in which order; ``is_named`` if the user passed the layout."""
    last, first = ("C_out/groups, C_in", "C_in, C_out/groups") if transposed else ("C/groups, F", "F, C/groups")
    axes = f"(*k, {last})" if layout is Layout.LAST else f"({first}, *k)"
    if is_named:
        return f"Expected one kernel axis more than input axes: {axes} for channels={layout.value!r}"
    return f"Expected as many kernel axes as input axes (no channels), or one more: {axes}"


def _split(kernel: Shape, input_shape: Shape, layout: Layout) -> tuple[int, int, int, Shape, Shape]:
    """Return the input channels, the kernel's two channel axes (per group first), and both spatial shapes."""
    if layout is Layout.LAST:
        return input_shape[-1], kernel[-2], kernel[-1], input_shape[:-1], kernel[:-2]
    return input_shape[0], kernel[1], kernel[0], input_shape[1:], kernel[2:]


def _refuse_empty_axis(kernel: Shape, layout: Layout | None) -> None:
    """Refuse a kernel without axes, taps, channels or filters; ``layout`` is None if it has no channel axes."""
    if kernel and 0 not in kernel:
        return
    expected, remedy = "Expected at least one axis and one tap", "Pass a kernel"
    if layout and len(kernel) > 2:
        empty, count = kernel.index(0), len(kernel)
        filter_axis, channel_axis = (count - 1, count - 2) if layout is Layout.LAST else (0, 1)
        if empty in (filter_axis, channel_axis):
            thing = "filter" if empty == filter_axis else "channel"
            expected = f"Expected at least one {thing}, and axis {empty} has none"
            remedy = "Leave this convolution out: there is nothing in its matrix"
    raise ArgumentError(f"kernel of shape {kernel}", expected, remedy)


def _how_it_fits(
    kernel: Shape, input_shape: Shape, groups: int, layouts: tuple[Layout, Layout], transposed: bool
) -> str:
    """Say how these shapes would fit: with channels at the other end, without the batch, or both; "" if they do not.

    ``layouts`` are the one in use and the other one.
    """
    batch = max(len(input_shape) + 1 - len(kernel), 0)
    single = input_shape[batch:]
    if len(kernel) != len(single) + 1 or len(single) < 2:
        return ""
    for layout in layouts:
        in_channels, per_group, rows, _, _ = _split(kernel, single, layout)
        needed = rows if transposed else per_group * groups
        if in_channels != needed or rows % groups:
            continue
        other = f"channels={layout.value!r}" if layout is layouts[1] else ""
        if batch:
            return f"Leave the batch out: pass input_shape={single}" + (f" and {other}" if other else "")
        return f"It fits with {other}" if other else ""
    return ""


def _checked(geometry: Geometry) -> Geometry:
    """Return the geometry if it has outputs along each axis, and counts that fit in 64 bits."""
    for j, axis in enumerate(geometry.axes):
        if axis.out < 1:
            raise _no_outputs(geometry, j, axis)
    largest = max(*geometry.shape, *(abs(position) for axis in geometry.axes for position in axis.reach))
    if largest >= 1 << 62:
        rows, columns = geometry.shape
        got = f"the matrix would be {rows} x {columns}"
        raise ArgumentError(got, "Rows, columns and positions are counted in 64 bits", "Use smaller sizes or pads")
    return geometry


def _no_outputs(geometry: Geometry, j: int, axis: Axis) -> ArgumentError:
    """Return the error of an axis, number j, that has no outputs."""
    if geometry.transposed:
        got = f"axis {j} would have {axis.out} outputs after cutting"
        return ArgumentError(got, "Expected at least one", "Cut less with padding")
    padded = axis.stretched + axis.lo + axis.hi
    got = f"axis {j} has {padded} positions after padding ({axis.lo}, {axis.hi}) and the kernel spans {axis.span}"
    remedy = "Pad more ('same', 'full') or use a smaller kernel"
    if geometry.layout is Layout.PLAIN:  # its axes may have been meant as a batch or as channels
        kernel = tuple(a.kernel for a in geometry.axes)
        remedy = _how_it_fits(kernel, geometry.in_shape, 1, (Layout.LAST, Layout.FIRST), False) or remedy
    return ArgumentError(got, "Expected a kernel that fits", remedy)


def conv(
    kernel: Shape, input_shape: Any, *, stride: Any, dilation: Any, padding: Any, boundary: Any, groups: Any,
    flip: Any, channels: Any, input_dilation: Any,
) -> Geometry:  # fmt: skip
    """Return the geometry of `convmtx.conv`."""
    layout, sizes, space, in_channels, out_channels, groups = _channels(
        kernel, shape("input_shape", input_shape), channels, groups, transposed=False
    )
    d = len(sizes)
    without_pads = [
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
    # 'same' and 'full' depend on spans and strides, so the pads come last.
    axes = tuple(
        Axis(a.size, a.kernel, a.stride, a.dilation, a.input_dilation, lo, hi, a.boundary)
        for a, (lo, hi) in zip(without_pads, pads(padding, without_pads), strict=True)
    )
    return _checked(Geometry(axes, in_channels, out_channels, groups, layout, flag("flip", flip)))


def conv_transpose(
    kernel: Shape, input_shape: Any, *, stride: Any, dilation: Any, padding: Any, output_padding: Any,
    output_shape: Any, groups: Any, flip: Any, channels: Any,
) -> Geometry:  # fmt: skip
    """Return the geometry of `convmtx.conv_transpose`.

    The stride becomes the input dilation, and the kernel is read transposed. Full output is what pads of span - 1 make,
    and cuts shorten these.
    """
    layout, sizes, space, in_channels, out_channels, groups = _channels(
        kernel, shape("input_shape", input_shape), channels, groups, transposed=True
    )
    d = len(sizes)
    without_pads = [
        Axis(n, k, 1, t, s)
        for n, k, t, s in zip(
            sizes, space, per_axis("dilation", dilation, d, 1), per_axis("stride", stride, d, 1),
            strict=True,
        )
    ]  # fmt: skip
    extra = per_axis("output_padding", output_padding, d, 0)
    outs = None if output_shape is None else per_axis("output_shape", output_shape, d, 1)
    axes = tuple(
        replace(axis, lo=axis.span - 1 - lo, hi=axis.span - 1 - hi)
        for axis, (lo, hi) in zip(without_pads, cuts(without_pads, padding, extra, outs), strict=True)
    )
    geometry = Geometry(axes, in_channels, out_channels, groups, layout, flag("flip", flip), transposed=True)
    return _checked(geometry)


def convmtx(kernel: Shape, n: Any, mode: Any) -> Geometry:
    """Return the geometry of `convmtx.convmtx`: convolution with arrays of shape ``n``, cut as in `numpy.convolve`."""
    one_of("mode", mode, ("full", "same", "valid"))
    sizes = shape("n", n)
    if len(sizes) != len(kernel) or not kernel or 0 in kernel:
        got = f"h of shape {kernel} with n={shown(n)}"
        expected = "Expected a kernel that is not empty and one size for each of its axes"
        raise ArgumentError(got, expected, "Pass n=x.shape")
    axes = []
    for size, k in zip(sizes, kernel, strict=True):
        # The full output has size + k - 1 values. "valid" drops min(size, k) - 1 at both ends, "same" half of that.
        drop = min(size, k) - 1 if mode != "full" else 0
        before, after = (drop // 2, drop - drop // 2) if mode == "same" else (drop, drop)
        axes.append(Axis(size, k, lo=k - 1 - before, hi=k - 1 - after))
    return _checked(Geometry(tuple(axes), flip=True))
