"""Rules of libraries: the sparse matrix (out, size) that resizes one axis as each of them does.

Libraries differ in where the outputs lie between the inputs, in the window of cubic interpolation, in what is read
outside the array, and in whether windows are stretched when an axis shrinks (antialiasing). To the nearest input, they
also differ in how they round, so positions are computed in the precision of the library. Elsewhere a rounded position
moves a weight by its rounding alone, and double precision is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx.errors import UnsupportedError, shown
from convmtx.maps.along_axis import picking_matrix
from convmtx.resizing import windows
from convmtx.typing import AnyArray

#: Coordinate transformations of ONNX.
_COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)  # fmt: skip
#: Functions that take a position to the nearest input, by the names that ONNX gives them.
_ROUNDINGS: dict[str, Any] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5), "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor, "ceil": np.ceil,
}  # fmt: skip


def _require_known(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a mode that a library does not have."""
    if value not in known:
        expected = f"Expected one of {', '.join(map(repr, known))}"
        raise UnsupportedError(f"{name}={shown(value)}", expected, "Leave this layer out")


def torch_axis(
    size: int,
    out: int,
    method: str,
    *,
    align_corners: bool = False,
    antialias: bool = False,
    scale_factor: float | None = None,
    dtype: type[np.float32 | np.float64] = np.float32,
    small_image: bool = False,
) -> Any:
    """Return the matrix (out, size) of `torch.nn.functional.interpolate` along one axis.

    Parameters
    ----------
    size, out : int
        Positions of the input and the output.
    method : str
        nearest, nearest-exact, linear, cubic or area.
    align_corners, antialias : bool
        The options of these names, for linear and cubic.
    scale_factor : float, optional
        Scale factor of a call that does not recompute it: 1 / scale_factor stands in place of size / out.
    dtype : type
        For the nearest input: numpy.float64 for data of that type, and numpy.float32 for all others.
    small_image : bool
        For the nearest input: whether the output has two axes, of at most 128 positions together. PyTorch has a kernel
        of its own for these, which rounds otherwise.

    Returns
    -------
    scipy.sparse.csr_array
        Of int8 if an output is one input, and of float64 otherwise.

    Raises
    ------
    UnsupportedError
        If PyTorch has no such method.
    """
    _require_known("mode", method, ("nearest", "nearest-exact", "linear", "cubic", "area"))
    step = 1 / scale_factor if scale_factor else size / out
    if method in ("nearest", "nearest-exact"):
        places = _torch_places(size, out, method == "nearest-exact", scale_factor, dtype, small_image)
        return picking_matrix(size, np.minimum(np.floor(places.astype(np.float32)).astype(np.int64), size - 1))
    if method == "area":
        return windows.adaptive_means(size, out)
    if align_corners:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
    if size == out and (method == "linear" or antialias):  # which PyTorch copies, whatever the scale factor
        step = 1.0
    if antialias:
        window = windows.LINEAR if method == "linear" else windows.cubic(-0.5)
        return windows.weigh_inputs(size, (np.arange(out) + 0.5) * step, window, max(step, 1.0))
    centres = np.arange(out) * step + 0.5 if align_corners else (np.arange(out) + 0.5) * step
    window = windows.LINEAR if method == "linear" else windows.cubic(-0.75)
    return windows.weigh_inputs(size, centres, window, continues=True)


def _torch_places(
    size: int, out: int, exact: bool, scale_factor: float | None, dtype: Any, small_image: bool
) -> AnyArray:
    """Return the positions of outputs that PyTorch rounds to float32, and then down."""
    if small_image and not exact and out in (size, 2 * size):
        return np.arange(out) // (out // size)
    number = np.float32 if small_image else dtype
    step, i = number(1 / scale_factor) if scale_factor else number(size) / number(out), np.arange(out, dtype=number)
    if not exact:
        return i * step
    if small_image:
        return (i + 0.5).astype(float) * float(step)
    # One rounding for product and difference, as by the instruction that does both: 24 bits times 24 fit in float64.
    return np.maximum(((i + 0.5).astype(float) * float(step) - 0.5).astype(number), 0).astype(float) + 0.5


def onnx_axis(
    size: int,
    out: int,
    method: str,
    *,
    scale: float | None = None,
    length: float | None = None,
    coordinates: str = "half_pixel",
    nearest: str = "round_prefer_floor",
    a: float = -0.75,
    exclude_outside: bool = False,
    antialias: bool = False,
    roi: tuple[float, float] = (0.0, 1.0),
) -> Any:
    """Return the matrix (out, size) of the operator Resize of ONNX along one axis.

    Parameters
    ----------
    size, out : int
        Positions of the input and the output.
    method : str
        nearest, linear or cubic.
    scale : float, optional
        The scale that the node has, by default ``out / size``.
    length : float, optional
        Length of the output in the formulas of align_corners and others. By default ``scale * size``, as in the tests
        of the standard, which is not an integer for every scale; onnxruntime takes ``out``.
    coordinates : str
        The attribute coordinate_transformation_mode: half_pixel, half_pixel_symmetric, pytorch_half_pixel,
        align_corners, asymmetric, tf_half_pixel_for_nn or tf_crop_and_resize.
    nearest : str
        The attribute nearest_mode: round_prefer_floor, round_prefer_ceil, floor or ceil.
    a : float
        The attribute cubic_coeff_a.
    exclude_outside, antialias : bool
        The attributes of these names.
    roi : tuple of float
        Start and end of the region of interest, for tf_crop_and_resize.

    Returns
    -------
    scipy.sparse.csr_array
        A row without entries is one that tf_crop_and_resize gives the extrapolation value, and no other row is empty.

    Raises
    ------
    UnsupportedError
        If a mode is not one of these.
    """
    _require_known("mode", method, ("nearest", "linear", "cubic"))
    _require_known("coordinate_transformation_mode", coordinates, _COORDINATES)
    _require_known("nearest_mode", nearest, tuple(_ROUNDINGS))
    # onnxruntime computes positions in float32, and to the nearest input their rounding decides.
    dtype = np.float32 if method == "nearest" else np.float64
    ratio = out / size if scale is None else scale
    places = _onnx_positions(size, out, ratio, length, coordinates, roi, dtype).astype(float)
    outside = np.zeros(out, bool)
    if coordinates == "tf_crop_and_resize":  # a region of nan, which a file may have, is outside too
        outside = ~((places >= 0) & (places <= size - 1))
    if method == "nearest":
        index = np.clip(_ROUNDINGS[nearest](places), 0, size - 1)
        return picking_matrix(size, np.where(outside, -1, index).astype(np.int64))
    stretch = max(size / out if scale is None else 1 / scale, 1.0) if antialias else 1.0
    window = windows.LINEAR if method == "linear" else windows.cubic(a)
    places[outside] = np.nan
    return windows.weigh_inputs(size, places + 0.5, window, stretch, continues=not exclude_outside)


def _onnx_positions(
    size: int, out: int, scale: float, length: float | None, coordinates: str, roi: tuple[float, float], dtype: Any
) -> AnyArray:
    """Return the positions of outputs, where that of input j is j."""
    i, half = np.arange(out, dtype=dtype), dtype(0.5)
    factor = dtype(scale)
    length = scale * size if length is None else length
    if coordinates == "align_corners":
        return i * dtype(size - 1) / dtype(length - 1) if length != 1 else 0 * i
    if coordinates == "asymmetric":
        return i / factor
    if coordinates == "tf_half_pixel_for_nn":
        return (i + half) / factor
    if coordinates == "tf_crop_and_resize":
        start, end = dtype(roi[0]), dtype(roi[1])
        if length == 1:
            return 0 * i + half * (start + end) * dtype(size - 1)
        return start * dtype(size - 1) + (i * (end - start) * dtype(size - 1)) / dtype(length - 1)
    if coordinates == "pytorch_half_pixel" and length <= 1:
        return 0 * i
    if coordinates == "half_pixel_symmetric":  # of which onnxruntime rounds the shift and the sum alone to float32
        shift = dtype(size / 2) * (dtype(1) - dtype(out) / (factor * dtype(size)))
        return (float(shift) + (np.arange(out) + 0.5) / float(factor) - 0.5).astype(dtype)
    return (i + half) / factor - half


def pil_axis(size: int, out: int, method: str) -> Any:
    """Return the matrix (out, size) of `PIL.Image.Image.resize` along one axis; it stretches windows of shrinking axes.

    Methods are nearest, box, linear, hamming, cubic and lanczos. Images of integers are rounded after each axis, which
    the map does not.
    """
    step = size / out
    if method == "nearest":
        # Pillow adds up steps, and rounds each sum.
        places = np.add.accumulate(np.concatenate([[step * 0.5], np.full(out - 1, step)]))
        return picking_matrix(size, np.minimum(np.floor(places).astype(np.int64), size - 1))
    window = {
        "box": windows.BOX, "linear": windows.LINEAR, "hamming": windows.HAMMING, "cubic": windows.cubic(-0.5),
        "lanczos": windows.lanczos(3),
    }[method]  # fmt: skip
    return windows.weigh_inputs(size, (np.arange(out) + 0.5) * step, window, max(step, 1.0))


def tf_axis(size: int, out: int, method: str, *, antialias: bool = False) -> Any:
    """Return the matrix (out, size) of `tf.image.resize` along one axis.

    Methods are nearest, linear, cubic, area, lanczos3, lanczos5, gaussian and mitchellcubic.
    """
    number, middles = np.float32, np.arange(out, dtype=np.float32) + np.float32(0.5)
    centres = middles * (number(size) / number(out))
    if method == "nearest":
        return picking_matrix(size, np.minimum(np.floor(centres).astype(np.int64), size - 1))
    if method == "area":
        return windows.weigh_overlaps(size, out)
    if method == "linear" and not antialias:
        return windows.weigh_inputs(size, (np.arange(out) + 0.5) * (size / out), windows.LINEAR, continues=True)
    if method == "cubic" and not antialias:
        # TensorFlow reads the window from a table of 1024 distances.
        places = centres - number(0.5)
        lower = np.floor(places)
        centres = lower + np.rint((places - lower) * 1024) / 1024 + 0.5
        return windows.weigh_inputs(size, centres.astype(float), windows.cubic(-0.5))
    window = {
        "linear": windows.LINEAR, "cubic": windows.cubic(-0.5), "lanczos3": windows.lanczos(3),
        "lanczos5": windows.lanczos(5), "gaussian": windows.GAUSSIAN, "mitchellcubic": windows.MITCHELL,
    }[method]  # fmt: skip
    step = number(1) / (number(out) / number(size))
    return windows.weigh_inputs(size, middles * step, window, float(max(step, number(1))) if antialias else 1.0)


def jax_axis(size: int, out: int, method: str, *, antialias: bool = True) -> Any:
    """Return the matrix (out, size) of `jax.image.resize` along one axis.

    Methods are nearest, linear, cubic, lanczos3, lanczos5, area and cubic-pytorch.
    """
    if method == "nearest":
        # XLA multiplies by the reciprocal of the divisor.
        step = np.float32(size) * (np.float32(1) / np.float32(out))
        centres = (np.arange(out, dtype=np.float32) + np.float32(0.5)) * step
        return picking_matrix(size, np.minimum(np.floor(centres).astype(np.int64), size - 1))
    if method == "area":
        return windows.weigh_overlaps(size, out)
    if method == "cubic-pytorch" and not antialias:
        return torch_axis(size, out, "cubic")
    window = {
        "linear": windows.LINEAR, "cubic": windows.cubic(-0.5), "cubic-pytorch": windows.cubic(-0.5),
        "lanczos3": windows.lanczos(3), "lanczos5": windows.lanczos(5),
    }[method]  # fmt: skip
    centres = (np.arange(out) + 0.5) * (size / out)
    return windows.weigh_inputs(size, centres, window, max(size / out, 1.0) if antialias else 1.0)
