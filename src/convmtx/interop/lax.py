"""Convolutions of JAX, with every option of ``jax.lax.conv_general_dilated``, as maps."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from convmtx import arguments
from convmtx._xp import move_axes, numeric
from convmtx.construct import conv
from convmtx.errors import ArgumentTypeError, UnsupportedError, door, shown
from convmtx.geometry import resolve
from convmtx.geometry.padding import split
from convmtx.interop import layers
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.typing import ArrayLike, PerAxis, Shape


@door("from_lax")
def from_lax(
    rhs: ArrayLike,
    lhs_shape: PerAxis,
    window_strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
) -> Affine:
    """Return the map ``lhs -> jax.lax.conv_general_dilated(lhs, rhs, ...)``, from the arguments that JAX takes.

    Parameters
    ----------
    rhs : array_like
        The kernel. ``dimension_numbers`` say what its axes are.
    lhs_shape : tuple of int
        Shape of the input, with or without the batch axis. The map takes one input, without the batch axis. Only with
        ``batch_group_count=b > 1`` does one output need b inputs: then the batch axis stays and must have size b, and
        the output has no batch axis.
    window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count
        The options of JAX: ``padding`` is ``"SAME"``, ``"SAME_LOWER"``, ``"VALID"`` or pairs; ``dimension_numbers`` are
        three strings such as ``("NHWC", "HWIO", "NHWC")``, a ConvDimensionNumbers, or None for
        ``("NCHW", "OIHW", "NCHW")``.

    Returns
    -------
    Affine
        The map, with an offset of zeros.

    Raises
    ------
    UnsupportedError
        If the kernel has no spatial axis, or if ``batch_group_count`` is not the size of the batch. This is a
        ValueError.
    ValueError, TypeError
        If an argument is invalid, or the arguments contradict each other.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> rhs = np.ones((3, 3, 1, 8))
    >>> cm.from_lax(rhs, (1, 10, 10, 1), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).out_shape
    (5, 5, 8)
    """
    kernel = numeric("rhs", rhs)
    d = kernel.ndim - 2
    if d < 1:
        got = f"rhs has shape {tuple(kernel.shape)}"
        raise UnsupportedError(got, "Expected at least one spatial axis", "Add one of size 1, or use a matrix")
    lhs_axes, rhs_axes, out_axes = _layouts(dimension_numbers, d)
    groups = arguments.integer("feature_group_count", feature_group_count, 1)
    samples = arguments.integer("batch_group_count", batch_group_count, 1)
    into = _channels_first(resolve.shape("lhs_shape", lhs_shape), lhs_axes, groups, samples)
    strides = _per_axis("window_strides", window_strides, d)
    dilations, stretches = _per_axis("rhs_dilation", rhs_dilation, d), _per_axis("lhs_dilation", lhs_dilation, d)
    kernel = move_axes(kernel, *rhs_axes)
    if isinstance(padding, str) and max(stretches) > 1:
        got = f"padding={shown(padding)} with lhs_dilation={stretches}"
        raise UnsupportedError(got, "JAX takes no such names for stretched inputs", "Pass pairs")
    spans = [t * (k - 1) + 1 for t, k in zip(dilations, kernel.shape[2:], strict=True)]
    op = conv(
        kernel, into.out_shape, stride=strides, dilation=dilations, input_dilation=stretches,
        padding=_pads(padding, into.out_shape[1:], spans, strides), groups=groups * samples, channels="first",
    )  # fmt: skip
    product: LinearMap = op if [*into.axes] == [*range(d + 1)] else op @ into
    # The output has no batch axis: ("NHWC") has its axes N C H W at 0 3 1 2, so those of (C, H, W) go to 2 0 1.
    places = [axis - (axis > out_axes[0]) for axis in out_axes[1:]]
    if places != [*range(d + 1)]:
        product = Rearranged(op.out_shape, [places.index(axis) for axis in range(d + 1)]) @ product
    return layers.add_bias(product, None)


def _channels_first(shape: Shape, axes: Sequence[int], groups: int, samples: int) -> Rearranged:
    """Return the map from one input of JAX to an array (channels, *sizes).

    ``axes`` are those of batch, feature and space in an input with its batch. ``samples`` inputs, if more than one, are
    joined along the channels.
    """
    d = len(axes) - 2
    if len(shape) not in (d + 1, d + 2) or (samples > 1 and (len(shape) == d + 1 or groups > 1)):
        got = f"lhs_shape={shape}, feature_group_count={groups}, batch_group_count={samples}"
        expected = f"Expected {d + 2} sizes, or {d + 1} without the batch, and one group count alone above 1"
        raise UnsupportedError(got, expected, "Check rhs and its dimension_numbers")
    batch, *others = axes
    if samples > 1:
        if shape[batch] != samples:
            got = f"a batch of {shape[batch]} with batch_group_count={samples}"
            raise UnsupportedError(got, f"One output takes {samples} inputs", "Pass that many in lhs_shape")
        features, *sizes = (shape[axis] for axis in others)
        return Rearranged(shape, axes, (samples * features, *sizes))
    if len(shape) == d + 2:
        shape = shape[:batch] + shape[batch + 1 :]
    order = [axis - (axis > batch) for axis in others]
    return Rearranged(shape, order, tuple(shape[axis] for axis in order))


def _per_axis(name: str, value: Any, d: int) -> Shape:
    return arguments.per_axis(name, 1 if value is None else value, d, 1)


def _pads(padding: Any, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pads before and behind along each axis."""
    if not isinstance(padding, str):
        try:
            return [(index(lo), index(hi)) for lo, hi in padding]
        except (TypeError, ValueError):
            expected = "Expected 'SAME', 'SAME_LOWER', 'VALID' or a pair of integers for each spatial axis"
            got = f"padding={shown(padding)}"
            raise ArgumentTypeError(got, expected, "Pass pairs such as [(1, 1)]") from None
    name = arguments.one_of("padding", padding.upper(), ("VALID", "SAME", "SAME_LOWER"))
    if name == "VALID":
        return [(0, 0)] * len(sizes)
    # SAME means ceil(n/s) outputs: 10 positions, windows of 3 at stride 2 are 5 outputs, for which 1 position is added.
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, spans, strides, strict=True)]
    return [split(total, name.lower()) for total in totals]


def _layouts(numbers: Any, d: int) -> tuple[list[int], list[int], list[int]]:
    """Return the axes of JAX's dimension numbers, in this order for each of the three arrays.

    Of the input they are batch, feature and space, of the kernel output features, input features and space, of the
    output batch, feature and space. ``("NHWC", "HWIO", "NHWC")`` gives [0, 3, 1, 2], [3, 2, 0, 1] and [0, 3, 1, 2].
    """
    if numbers is None:
        plain = list(range(d + 2))
        return plain, plain, plain
    if hasattr(numbers, "lhs_spec"):
        numbers = (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec)
    specs = list(numbers) if isinstance(numbers, Sequence) and not isinstance(numbers, str) else []
    if len(specs) != 3 or any(not isinstance(spec, Sequence) or len(spec) != d + 2 for spec in specs):
        got = f"dimension_numbers={shown(numbers)}"
        raise UnsupportedError(got, f"Expected three layouts of {d + 2} axes", "Check rhs")
    if all(set(spec) == set(range(d + 2)) for spec in specs):
        return [*specs[0]], [*specs[1]], [*specs[2]]
    spatial = [letter for letter in specs[1] if letter not in ("O", "I")]  # in the order of the kernel's axes
    heads, are_strings = ("NC", "OI", "NC"), all(isinstance(spec, str) for spec in specs)
    for spec, head in zip(specs, heads, strict=True):
        if not are_strings or sorted(spec) != sorted([*head, *spatial]):
            got = f"dimension_numbers={shown(numbers)}"
            raise UnsupportedError(got, f"Expected {head} and the same letters for space in each", "Check the letters")
    lhs, rhs, out = (
        [spec.index(letter) for letter in (*head, *spatial)] for spec, head in zip(specs, heads, strict=True)
    )
    return lhs, rhs, out
