"""Places of inputs and outputs in the slots of ciphertexts."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.arguments import LARGEST, per_axis
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.geometry import resolve
from convmtx.typing import IntArray, PerAxis, Shape


@door("multiplex")
def multiplex(shape: PerAxis, gap: PerAxis, *, image: PerAxis | None = None) -> IntArray:
    """Return the places that pack channels into the gaps of a strided layout.

    A layer of stride s that leaves each output in the slot of its pixel keeps the few diagonals of stride 1, and leaves
    gaps of s - 1 slots, in which other channels go. Law, for two spatial axes and images of I x J slots: channel
    ``c = g gap^2 + a gap + b`` of pixel (h, w) is at pixel (h gap + a, w gap + b) of image g, which is place
    ``(g I + h gap + a) J + w gap + b``. This is pixel shuffle, followed by padding to I x J.

    Parameters
    ----------
    shape : tuple of int
        ``(C, *spatial)``: channels, and the size of each spatial axis.
    gap : int or tuple of int
        Distance of neighbours in slots, for all spatial axes or one for each: the product of the strides so far.
    image : int or tuple of int, optional
        Sizes of an image, by default ``gap`` times ``spatial``. Pass those of the network's input if the layers
        change them by other factors than strides, as an odd size or a layer without padding does.

    Returns
    -------
    ndarray of int64
        A place for each entry of an array of ``shape``, flattened in C order: ``in_places`` and ``out_places`` of
        `to_diagonals`.

    Raises
    ------
    ValueError, TypeError
        If a size or gap is not a positive integer, or the images are too small.
    MemoryError
        If the places do not fit in memory.

    Notes
    -----
    The layout takes ``ceil(C / gap^d) * prod(image)`` slots for d spatial axes. Where C is not a multiple of
    ``gap^d``, some of these stay empty. For arrays with channels last, pass
    ``np.moveaxis(places.reshape(shape), 0, -1)`` to `to_diagonals`.

    References
    ----------
    E. Lee et al., "Low-complexity deep convolutional neural networks on fully homomorphic encryption using multiplexed
    parallel convolutions", ICML 2022.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> places = cm.multiplex((3, 2, 2), 2)
    >>> places.reshape(3, 2, 2).tolist()
    [[[0, 2], [8, 10]], [[1, 3], [9, 11]], [[4, 6], [12, 14]]]
    >>> slots = np.full(16, -1)
    >>> slots[places] = np.repeat([0, 1, 2], 4)       # the channel in each slot; one in four is empty
    >>> slots.reshape(4, 4)
    array([[ 0,  1,  0,  1],
           [ 2, -1,  2, -1],
           [ 0,  1,  0,  1],
           [ 2, -1,  2, -1]])

    From 4 to 16 channels at stride 2, there are a 64th of the diagonals of channels one after the other:

    >>> op = cm.conv(np.ones((16, 4, 3, 3)), (4, 32, 32), padding="same", stride=2, channels="first")
    >>> len(cm.to_diagonals(op, 4096)[0, 0])
    4096
    >>> len(cm.to_diagonals(op, 4096, out_places=cm.multiplex(op.out_shape, 2))[0, 0])
    64
    """
    channels, *sizes = resolve.shape("shape", shape)
    if not sizes:
        got = f"shape={(channels,)}"
        raise ArgumentError(got, "Expected channels and spatial axes", "Pass (C, *spatial), with C = 1 for one channel")
    gaps = per_axis("gap", gap, len(sizes), 1)
    images = _image_sizes(image, channels, sizes, gaps)
    groups = -(-channels // prod(gaps))
    if (slots := max(groups * prod(images), prod(gaps))) > LARGEST:
        got = f"shape={shown((channels, *sizes))} with gap {shown(gaps)} takes {shown(slots)} slots"
        raise ArgumentError(got, f"Expected at most {LARGEST}", "Pass a smaller shape, gap or image")
    memory.require_result("an array of places", 3 * 8 * channels * prod(sizes), "Pass a smaller shape")
    group, within = np.divmod(np.arange(channels), prod(gaps))
    offset = group * prod(images) + np.ravel_multi_index(np.unravel_index(within, gaps), images)
    corners = [gap * np.arange(size) for gap, size in zip(gaps, sizes, strict=True)]
    pixel = np.ravel_multi_index(np.ix_(*corners), images).ravel()
    return np.add.outer(offset, pixel).ravel()


def _image_sizes(image: Any, channels: int, sizes: list[int], gaps: Shape) -> Shape:
    """Return the sizes of an image; refuse those in which the last pixel of a channel has no place."""
    if image is None:
        return tuple(gap * size for gap, size in zip(gaps, sizes, strict=True))
    images = per_axis("image", image, len(sizes), 1)
    # Along axis j, the channels of a group are 0 to (channels - 1) // prod(gaps[j + 1:]) slots beside the pixel, and
    # less than the gap.
    beside = [min(gap - 1, (channels - 1) // prod(gaps[j + 1 :])) for j, gap in enumerate(gaps)]
    least = tuple(gap * (size - 1) + b + 1 for gap, size, b in zip(gaps, sizes, beside, strict=True))
    if any(image < size for image, size in zip(images, least, strict=True)):
        got = f"image={shown(images)} for {channels} channels of {shown(tuple(sizes))}, gap {shown(gaps)}"
        raise ArgumentError(got, f"Expected at least {shown(least)}", "Pass larger sizes, or leave image out")
    return images


def read_places(name: str, places: Any, shape: Shape) -> IntArray:
    """Return a place for each entry of an array of ``shape``, flattened; by default 0, 1, 2, and so on."""
    size = prod(shape)
    if places is None:
        return np.arange(size)
    remedy = f"Pass {size} distinct integers >= 0, such as those of cm.multiplex"
    try:
        array = np.asarray(places)
    except Exception as error:  # whatever the value's own methods raise, it is not an array
        got = f"{name}={shown(places)} cannot be read ({type(error).__name__})"
        raise ArgumentTypeError(got, "Expected an array of integers", remedy) from None
    if array.dtype.kind not in "iu":
        got = f"{name} of dtype {array.dtype}"
        raise ArgumentTypeError(got, "Expected an array of integers", remedy)
    if array.shape not in ((size,), shape):
        got = f"{name} of shape {shown(array.shape)}"
        raise ArgumentError(got, f"Expected {size} entries, one for each of {shown(shape)}", remedy)
    if size and not (array.min() >= 0 and array.max() <= LARGEST):
        got = f"{name} between {array.min()} and {array.max()}"
        raise ArgumentError(got, f"Expected places from 0 to {LARGEST}", remedy)
    flat = array.astype(np.int64).ravel()
    ordered = np.sort(flat)
    if (repeated := ordered[1:][ordered[1:] == ordered[:-1]]).size:
        raise ArgumentError(f"{name} has {repeated[0]} twice", "Expected distinct places", remedy)
    return flat
