"""The whole parameter space of ``jax.lax.conv_general_dilated`` as maps."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from convmtx import arguments
from convmtx._xp import moved, numeric
from convmtx.construct import conv
from convmtx.errors import ArgumentTypeError, UnsupportedError, door, shown
from convmtx.geometry import resolve
from convmtx.interop import layers
from convmtx.maps.elementary import Affine, Rearranged
from convmtx.maps.linear_map import LinearMap
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
    """The map of ``jax.lax.conv_general_dilated(lhs, rhs, ...)`` in ``lhs``, written as JAX writes it.

    Parameters
    ----------
    rhs : array_like
        The kernel, its axes as ``dimension_numbers`` say.
    lhs_shape : tuple of int
        Shape of the input, with the batch axis or without it. The map is that of one input, without the batch axis;
        with ``batch_group_count=b`` one output takes b inputs, so then the batch axis stays and must be b; the output
        has no batch axis even then.
    window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count
        As for JAX: ``padding`` is ``"SAME"``, ``"SAME_LOWER"``, ``"VALID"`` or pairs; ``dimension_numbers`` a triple of
        strings such as ``("NHWC", "HWIO", "NHWC")``, a ConvDimensionNumbers, or None for ``("NCHW", "OIHW", "NCHW")``.

    Returns
    -------
    Affine
        With an offset of zeros.

    Raises
    ------
    ValueError, TypeError
        Where the parameters do not belong together; `UnsupportedError` for a batch that one output does not use up,
        and for kernels without spatial axes.

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
        raise UnsupportedError(got, "Wanted at least one spatial axis", "Add one of size 1, or use a matrix")
    lhs, taps, out = _specs(dimension_numbers, d)
    groups = arguments.integer("feature_group_count", feature_group_count, 1)
    samples = arguments.integer("batch_group_count", batch_group_count, 1)
    given = resolve.shape("lhs_shape", lhs_shape)
    if len(given) not in (d + 1, d + 2) or (samples > 1 and (len(given) == d + 1 or groups > 1)):
        got = f"lhs_shape={given}, feature_group_count={groups}, batch_group_count={samples}"
        wanted = f"Wanted {d + 2} sizes, or {d + 1} without the batch, and one group count alone above 1"
        raise UnsupportedError(got, wanted, "Check rhs and its dimension_numbers")
    inner = [axis for axis in lhs if axis != lhs[0]]  # feature, spatial
    if len(given) == d + 2:
        if samples > 1 and given[lhs[0]] != samples:
            got = f"a batch of {given[lhs[0]]} with batch_group_count={samples}"
            raise UnsupportedError(got, f"One output takes {samples} inputs", "Pass that many in lhs_shape")
        features, *sizes = (given[axis] for axis in inner)
        shape = given if samples > 1 else tuple(n for axis, n in enumerate(given) if axis != lhs[0])
    else:
        shape = given
        features, *sizes = (given[axis - (axis > lhs[0])] for axis in inner)
    order = [*lhs] if samples > 1 else [axis - (axis > lhs[0]) for axis in inner]
    into: LinearMap = Rearranged(shape, order, (samples * features, *sizes))
    strides = _each("window_strides", window_strides, d)
    dilations, stretch = _each("rhs_dilation", rhs_dilation, d), _each("lhs_dilation", lhs_dilation, d)
    kernel = moved(kernel, *taps)
    if isinstance(padding, str) and max(stretch) > 1:
        got = f"padding={shown(padding)} with lhs_dilation={stretch}"
        raise UnsupportedError(got, "JAX knows no such names for stretched inputs", "Pass pairs")
    spans = [t * (k - 1) + 1 for t, k in zip(dilations, kernel.shape[2:], strict=True)]
    op = conv(
        kernel, into.out_shape, stride=strides, dilation=dilations, input_dilation=stretch,
        padding=_pads(padding, sizes, spans, strides), groups=groups * samples, channels="first",
    )  # fmt: skip
    back = [axis - (axis > out[0]) for axis in out[1:]]
    whole: LinearMap = op if order == list(range(d + 1)) else op @ into
    if back != list(range(d + 1)):
        whole = Rearranged(op.out_shape, [back.index(axis) for axis in range(d + 1)]) @ whole
    return layers.affine(whole, None)


def _each(name: str, value: Any, d: int) -> Shape:
    return resolve.per_axis(name, 1 if value is None else value, d, 1)


def _pads(padding: Any, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs."""
    if not isinstance(padding, str):
        try:
            return [(index(lo), index(hi)) for lo, hi in padding]
        except (TypeError, ValueError):
            wanted = "Wanted 'SAME', 'SAME_LOWER', 'VALID' or a pair of integers for each spatial axis"
            got = f"padding={shown(padding)}"
            raise ArgumentTypeError(got, wanted, "Pass pairs such as [(1, 1)]") from None
    name = arguments.one_of("padding", padding.upper(), ("VALID", "SAME", "SAME_LOWER"))
    if name == "VALID":
        return [(0, 0)] * len(sizes)
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, spans, strides, strict=True)]
    return [resolve.split(total, name.lower()) for total in totals]


def _specs(numbers: Any, d: int) -> tuple[list[int], list[int], list[int]]:
    """Axes of batch, feature and space of the input; of features out and in and space; and as before of the output."""
    if numbers is None:
        plain = list(range(d + 2))
        return plain, plain, plain
    if hasattr(numbers, "lhs_spec"):
        numbers = (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec)
    specs = list(numbers) if isinstance(numbers, Sequence) and not isinstance(numbers, str) else []
    if len(specs) != 3 or any(not isinstance(spec, Sequence) or len(spec) != d + 2 for spec in specs):
        got = f"dimension_numbers={shown(numbers)}"
        raise UnsupportedError(got, f"Wanted three layouts of {d + 2} axes", "Check rhs")
    if all(set(spec) == set(range(d + 2)) for spec in specs):
        return [*specs[0]], [*specs[1]], [*specs[2]]
    spatial = [letter for letter in specs[1] if letter not in ("O", "I")]  # in the order of the kernel's axes
    heads, strings = ("NC", "OI", "NC"), all(isinstance(spec, str) for spec in specs)
    for spec, head in zip(specs, heads, strict=True):
        if not strings or sorted(spec) != sorted([*head, *spatial]):
            got = f"dimension_numbers={shown(numbers)}"
            raise UnsupportedError(got, f"Wanted {head} and the same letters for space in each", "Check the letters")
    return tuple([spec.index(letter) for letter in (*head, *spatial)] for spec, head in zip(specs, heads, strict=True))  # type: ignore[return-value]
