"""Checks of the classes of maps that users write: their shapes and type, their outputs, and their transpose."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import as_numpy, like
from convmtx.arguments import as_list, integer
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown, with_article
from convmtx.typing import AnyArray, Shape

#: Largest difference of ``<A x, y>`` and ``<x, A^T y>``, in roundings of the lengths that are multiplied, for a matrix
#: of one entry. Random roundings add up with the square root of the size, and a fast transform makes some 10 a number.
ROUNDINGS = 1000


def is_of_user(cls: type) -> bool:
    """Whether a class is defined outside convmtx."""
    return cls.__module__.partition(".")[0] != "convmtx"


def settle(op: Any) -> None:
    """Make ``in_shape`` and ``out_shape`` tuples and ``dtype`` a `numpy.dtype`; refuse what cannot be one.

    What a property returns cannot be replaced, so it is refused if it is of another type.
    """
    name = type(op).__name__
    with door(name):
        for attribute in ("in_shape", "out_shape", "dtype"):
            value = getattr(op, attribute)
            usual = _dtype(name, value) if attribute == "dtype" else _shape(f"{name}.{attribute}", value)
            if type(value) is type(usual) and value == usual:
                continue
            if hasattr(getattr(type(op), attribute, None), "__set__"):
                got = f"{name}.{attribute} returns {shown(value)}"
                raise ArgumentTypeError(got, f"Expected {usual!r}", "Return that")
            op.__dict__[attribute] = usual


def _shape(name: str, value: Any) -> Shape:
    """Return a shape as a tuple of int; one size is that of one axis."""
    entries = as_list(name, value)
    return tuple(integer(name, size, 0) for size in ([value] if entries is None else entries))


def _dtype(name: str, value: Any) -> Any:
    """Return a type of numbers as a `numpy.dtype`; that of another library as it is."""
    if not isinstance(value, np.dtype | type | str) and hasattr(value, "itemsize"):
        return value
    try:
        dtype = np.dtype(value) if value is not None else np.dtype(object)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind in "OSUmM":
        got = f"{name}.dtype is {shown(value)}"
        raise ArgumentTypeError(got, "Expected a type of numbers", "For example dtype = np.dtype(float)")
    return dtype


def require_output(op: Any, method: str, y: Any, shape: Shape) -> None:
    """Refuse what ``_apply`` or its transpose returned, if it is not a numeric array of this shape."""
    name = f"{type(op).__name__}.{method}"
    expected = f"Expected a numeric array of shape {shape}"
    if not hasattr(y, "shape") or not hasattr(y, "dtype"):
        raise ArgumentTypeError(f"{name} returns {with_article(type(y).__name__)}", expected, f"Mend {name}")
    if getattr(y.dtype, "kind", "f") not in "biufcV":
        raise ArgumentTypeError(f"{name} returns an array of dtype {y.dtype}", expected, f"Mend {name}")
    if tuple(y.shape) != shape:
        got = f"{name} returns an array of shape {tuple(y.shape)}"
        raise ArgumentError(got, f"Expected {shape}, the batch first", f"Mend {name}")


def require_transpose(op: Any) -> None:
    """Refuse a map whose ``_apply_transposed`` is not the transpose of ``_apply``, on one random pair, once a map.

    For ``x`` and ``y`` of normal numbers, ``sum(y * A x)`` and ``sum(x * A^T y)`` differ if the maps do, but for
    rounding. Maps whose outputs are not finite pass: they are refused where they are applied.
    """
    if "_has_transpose" in vars(op):
        return
    rng, array = np.random.default_rng(0), op._reference_array
    x, y = _normal(rng, op, op.in_shape), _normal(rng, op, op.out_shape)
    image, back = (
        as_numpy(op._image(like(x.copy(), array))),
        as_numpy(op._transposed_image(like(y.copy(), array))),
    )
    size = max(peak(image), peak(back))
    if size and np.isfinite(size):
        # Entries below the smallest normal number are multiples of the smallest one, so they are off by up to that.
        scale = max(size, float(np.finfo(float).tiny))
        image, back = image / scale, back / scale
        lengths = [float(np.linalg.norm(part)) for part in (y, image, x, back)]
        eps = max(_eps(part.dtype) for part in (as_numpy(array), image, back))
        far = ROUNDINGS * eps * max(op.shape) ** 0.5 * (lengths[0] * lengths[1] + lengths[2] * lengths[3])
        far += max(op.shape) ** 2 * float(np.finfo(float).smallest_subnormal) / scale
        difference = abs(np.sum(y * image) - np.sum(x * back))
        if not difference <= far:
            name = type(op).__name__
            got = f"{name}._apply_transposed is not the transpose of {name}._apply"
            expected = "Expected (y * op._apply(x)).sum() == (x * op._apply_transposed(y)).sum()"
            raise ArgumentError(got, expected, f"Mend {name}._apply_transposed; it does not conjugate")
    vars(op)["_has_transpose"] = True


def peak(array: AnyArray) -> float:
    """Return the largest magnitude of real and imaginary parts."""
    return float(max(np.abs(array.real).max(initial=0), np.abs(array.imag).max(initial=0)))


def eps_of(dtype: np.dtype[Any]) -> float:
    """Return the distance from 1 to the next number of a type; 0 for integers, which are exact."""
    return float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0.0


def is_rounding(difference: AnyArray, image: AnyArray, count: int) -> bool:
    """Whether two images that should be equal differ by no more than sums of ``count`` numbers round.

    Integers have to be equal. Images that are not finite are not.
    """
    size = float(np.abs(image).max(initial=0))
    is_near = np.abs(difference).max(initial=0) <= ROUNDINGS * max(count, 1) ** 0.5 * eps_of(image.dtype) * size
    return bool(np.isfinite(size) and is_near)


def _normal(rng: np.random.Generator, op: Any, shape: Shape) -> AnyArray:
    """Return a batch of one array of normal numbers, complex if the map is."""
    numbers: AnyArray = rng.standard_normal((1, *shape))
    if as_numpy(op._reference_array).dtype.kind == "c":
        numbers = numbers + 1j * rng.standard_normal((1, *shape))
    return numbers


def _eps(dtype: np.dtype[Any]) -> float:
    """Return the relative distance of neighbouring numbers of a type; of integers, that of float64."""
    return float(np.finfo(dtype).eps) if dtype.kind in "fc" else float(np.finfo(float).eps)
