"""The matrix of a linear function from as few applications as its pattern allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.arguments import per_axis
from convmtx.errors import ArgumentError, door
from convmtx.forms import storable
from convmtx.maps.matrices import SparseMap
from convmtx.maps.own_maps import ROUNDINGS
from convmtx.maps.units import unit_images
from convmtx.recognition.functions import Box
from convmtx.recognition.patterns import Pattern, Slabs, exact_pattern, read_ends, read_pattern, whole_pattern
from convmtx.typing import AnyArray, IntArray, PerAxis, Shape

#: Entries of the matrix that are put in order at a time: 256 KiB, with tables of as many, stay in the cache.
_ENTRIES = 1 << 15


class Probed(SparseMap):
    """Sparse matrix of a function, as `probe` returns it.

    Attributes
    ----------
    probes : int
        Number of inputs that the function was applied to, with those of its adjoint.
    offset : ndarray or None
        Image of zeros, which the map leaves out; None if it is zero.
    noise : float
        Magnitude up to which the image of one unit vector is rounding noise, which is left out; 0 if there is none.
    """

    def __init__(
        self, matrix: Any, in_shape: Shape, out_shape: Shape, probes: int, offset: AnyArray | None, noise: float
    ) -> None:
        super().__init__(matrix, in_shape, out_shape)
        self.probes, self.offset, self.noise = probes, offset, noise


@door("probe")
def probe(
    f: Callable[[Any], Any],
    in_shape: PerAxis,
    *,
    reach: PerAxis | None = None,
    adjoint: Callable[[Any], Any] | None = None,
    dtype: Any = None,
) -> Probed:
    """Return the matrix of a linear function, from as few applications as its pattern allows.

    Law: the matrix is that of the images of all unit vectors, bit for bit: ``op(x) == f(x) - f(0)`` but for rounding. A
    function whose roundings reach beyond what it computes is the exception, as one with fast Fourier transforms is: its
    numbers up to ``op.noise`` are left out, and others differ by as much.

    Inputs of which no output reads two are probed together: they are the teeth of a comb. Which inputs those are is
    read from some images of random numbers, and the matrix is checked: it has to give f of two random inputs, output by
    output. If it does not, or if the windows of outputs are not regular along an axis, all places of that axis are
    read, and at last all unit vectors.

    Parameters
    ----------
    f : callable
        Takes one array of ``in_shape``, of NumPy, PyTorch or JAX, to another, linearly but for an offset f(0). It may
        write to its input. A `torch.nn.Module` gets tensors of the type of its parameters, with a batch axis if it
        needs one. Batches are passed to f whole if it takes them.
    in_shape : int or tuple of int
        Shape of one input.
    reach : int or tuple of int, optional
        Number of neighbouring inputs that an output reads at most along each axis. By default it is read from f. Pass
        it if some outputs read further than those of the middle and of the ends.
    adjoint : callable, optional
        The adjoint of f, from arrays of ``out_shape`` to ``in_shape``. If outputs are fewer than inputs, and combs of
        rows fewer than those of columns, it is probed instead.
    dtype : dtype, optional
        Type of the inputs. By default it is float64, or float32 if f does not take that, and complex if f takes real
        inputs to complex outputs. With integers the matrix is exact.

    Returns
    -------
    Probed
        A `LinearMap` of a sparse matrix, of the type of the outputs, with three more attributes. ``probes`` is the
        number of inputs that f was applied to, with those of its adjoint. ``offset`` is f(0), or None if that is zero:
        for the affine map pass both to `Affine`. ``noise`` is the magnitude up to which entries are rounding noise.

    Raises
    ------
    ValueError
        If f is not linear but for an offset, if it is random, if it is linear over the real numbers alone though inputs
        are complex, if it returns inf or nan or cannot be called, if an output reads more than ``reach`` inputs, or if
        ``adjoint`` is not its adjoint.
    TypeError
        If f is not a function, or ``dtype`` is not a type of numbers.
    MemoryError
        If the matrix does not fit in memory.

    Notes
    -----
    For windows of k inputs along each axis, at any stride, probes are at most

    - prod(k) combs. k is the number of taps, and the span of a dilated window where an end is mirrored or repeated.
      Around a circle of n inputs it is ``ceil(n / (n // span))``. It is n where every output reads all inputs, as along
      channels, and 2 c - 1 for groups of c channels;
    - 2 s + 1 for each axis of stride s, in the middle, and 4 at both ends, or 2 for integers; 2 more under dilation;
    - 9 for the checks of f, or 6 if it raises an error for a batch.

    An axis of n inputs takes n instead of 2 s + 1 if its outputs are not regular, for example if it is resized by an
    odd ratio, or if it mirrors more inputs than half a window. If it is the only axis, these are the unit vectors. Time
    and memory are those of the applications and of the matrix.

    Coloured columns are those of Curtis, Powell and Reid (1974), On the estimation of sparse Jacobian matrices, IMA
    Journal of Applied Mathematics 13, 117-119.

    Examples
    --------
    >>> import numpy as np, scipy.ndimage, convmtx as cm
    >>> op = cm.probe(scipy.ndimage.laplace, (64, 64))
    >>> op.shape, op.probes
    ((4096, 4096), 32)
    >>> op = cm.probe(lambda x: x[1:] - x[:-1] + 5, 4)
    >>> op.to_dense()
    array([[-1.,  1.,  0.,  0.],
           [ 0., -1.,  1.,  0.],
           [ 0.,  0., -1.,  1.]])
    >>> op.offset
    array([5., 5., 5.])
    >>> cm.probe(lambda x: np.maximum(x, 0), 4)
    Traceback (most recent call last):
    convmtx.errors.ArgumentError: probe: f is a function that does not take -2 x to -2 f(x). Expected a linear one. Pass
    its Jacobian, or the linear part of it.
    """
    box = Box(f, in_shape, adjoint=adjoint, dtype=dtype)
    return probe_box(box, None if reach is None else list(per_axis("reach", reach, len(box.in_shape), 1)))


def probe_box(box: Box, reach: Sequence[int] | None = None) -> Probed:
    """Return the matrix of a box; ``reach`` is the number of inputs that an output reads along each axis, if known."""
    reaches: Sequence[int | None] = [None] * len(box.in_shape) if reach is None else reach
    slabs, noise = read_ends(box)
    patterns = _patterns(slabs, reaches)
    if box.adjoint is not None and prod(box.out_shape) < prod(box.in_shape):
        matrix = _by_rows(box.adjoint, _count(patterns))
        if matrix is not None and _agrees(box, matrix, noise):
            return _probed(box, matrix, noise)
    matrix = _by_combs(box, patterns, noise)
    if matrix is None or not _agrees(box, matrix, noise):
        matrix = _by_all_places(box, slabs, reaches, noise)
    return _probed(box, matrix, noise)


def _patterns(slabs: Sequence[Slabs], reaches: Sequence[int | None]) -> list[Pattern]:
    """Return the pattern of each axis: all places of one that is not regular are read.

    If it is the only axis, its slabs are the unit vectors, which are probed at once.
    """
    patterns = []
    for one, reach in zip(slabs, reaches, strict=True):
        pattern = read_pattern(one, reach)
        if pattern is None:
            pattern = exact_pattern(one, reach) if _has_axes(one.box) else whole_pattern(one, None)
        patterns.append(pattern)
    return patterns


def _has_axes(box: Box) -> bool:
    """Whether inputs have two axes or more, not counting those of size 1."""
    return sum(n > 1 for n in box.in_shape) > 1


def _probed(box: Box, matrix: Any, noise: float) -> Probed:
    """Return the map of a matrix, with the number of all applications so far."""
    probes = box.applications + (0 if box.adjoint is None else box.adjoint.applications)
    return Probed(matrix, box.in_shape, box.out_shape, probes, box.offset, noise)


def _by_rows(back: Box, columns: int) -> Any:
    """Return the matrix of which a box is the adjoint, by combs of rows; None if they are not fewer than columns."""
    slabs, noise = read_ends(back)
    patterns = _patterns(slabs, [None] * len(slabs))
    if _count(patterns) >= columns:
        return None
    matrix = _by_combs(back, patterns, noise)
    return None if matrix is None else matrix.conj().T.tocsr()


def _by_all_places(box: Box, slabs: Sequence[Slabs], reaches: Sequence[int | None], noise: float) -> Any:
    """Return the matrix by combs of exact patterns, or else by unit vectors if these do not give f(x) either."""
    if _has_axes(box):
        patterns = [exact_pattern(*one) for one in zip(slabs, reaches, strict=True)]
        matrix = _by_combs(box, patterns, noise)
        if matrix is not None and _agrees(box, matrix, noise):
            return matrix
    size = prod(box.in_shape)
    matrix = unit_images(box, box.in_shape, box.out_shape, box.dtype, "C", np.arange(size)).T.tocsr()
    matrix.data[np.abs(matrix.data) <= noise] = 0
    matrix.eliminate_zeros()
    if not _agrees(box, matrix, noise):
        got, expected = "f is not linear: the matrix of its unit vectors does not give f(x)", "Expected a linear one"
        raise ArgumentError(got, expected, "Pass its Jacobian, or the linear part of it")
    return matrix


def _count(patterns: Sequence[Pattern]) -> int:
    """Return the number of combs."""
    return prod(pattern.combs.count for pattern in patterns)


def _by_combs(box: Box, patterns: Sequence[Pattern], noise: float) -> Any:
    """Return the matrix from the images of all combs; None if an output is not zero where it has no tooth.

    Numbers of the images that are not zero are its entries, so its arrays are allocated once, and filled in place.
    """
    from scipy.sparse import csr_array

    images, combs = _images(box, patterns, noise), _count(patterns)
    shape = prod(box.out_shape), prod(box.in_shape)
    pointers = np.append(0, np.cumsum(sum(np.count_nonzero(part, axis=0) for part in images)))
    step = min(max(_ENTRIES // combs, 1), shape[0])
    near = np.empty((combs, step), box.dtype)  # whole images are powers of two apart, where few lines of a cache are
    teeth = [_teeth(box, patterns, axis, step) for axis in range(len(patterns))]
    data, columns = np.empty(pointers[-1], box.dtype), np.empty(pointers[-1], _index_dtype(*shape, pointers[-1]))
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        np.concatenate([part[:, start:stop] for part in images], out=near[:, : stop - start], casting="unsafe")
        places: AnyArray = np.arange(stop - start)[:, None]
        inputs: AnyArray = np.zeros((1, 1), columns.dtype)
        for rows, to_place, to_input in teeth:
            places = places + to_place.take(rows[start:stop], axis=0)
            inputs = inputs + to_input.take(rows[start:stop], axis=0)
        entries = near.reshape(-1).take(places)
        is_entry = entries != 0
        own = slice(pointers[start], pointers[stop])
        data[own], columns[own] = entries[is_entry], inputs[is_entry]
        if columns[own].min(initial=0) < 0:
            return None
    return csr_array((storable(data), columns, pointers.astype(columns.dtype)), shape=shape)


def _images(box: Box, patterns: Sequence[Pattern], noise: float) -> list[AnyArray]:
    """Return the images of all combs, (combs, outputs) in blocks of combs, without noise."""
    count, outputs, axes = _count(patterns), prod(box.out_shape), len(patterns)
    memory.require_result("the matrix of f", 3 * count * outputs * box.dtype.itemsize, "Probe a smaller function")
    colours = np.indices([pattern.combs.count for pattern in patterns]).reshape(axes, -1)
    images = []
    for block in box.blocks(count):
        combs: AnyArray = np.ones((1,) * (1 + axes), bool)
        for axis, (pattern, chosen) in enumerate(zip(patterns, colours, strict=True)):
            sizes = [n if b == axis else 1 for b, n in enumerate(box.in_shape)]
            is_tooth = pattern.combs.colours == chosen[block.start : block.stop, None]
            combs = combs & is_tooth.reshape(-1, *sizes)
        part = box(combs.astype(box.in_dtype)).reshape(len(block), outputs)
        if noise:
            part[np.abs(part) <= noise * np.sqrt(np.count_nonzero(combs.reshape(len(block), -1), axis=1))[:, None]] = 0
        images.append(part)
    return images


def _teeth(box: Box, patterns: Sequence[Pattern], axis: int, step: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return the teeth that outputs may read along an axis: the row of each output in two tables of all combs.

    Added up over axes, rows of the first table are places of combs in images of ``step`` outputs, and those of the
    second are flattened inputs, negative for none. Inputs ascend in each row.
    """
    pattern, counts = patterns[axis], [pattern.combs.count for pattern in patterns]
    size, behind = prod(box.in_shape), prod(box.in_shape[axis + 1 :])
    order = np.argsort(pattern.combs.teeth, axis=1)
    inputs = np.take_along_axis(pattern.combs.teeth, order, axis=1)
    inputs = np.where(inputs < 0, -size, inputs * behind).astype(_index_dtype(len(patterns) * size))
    places = order * (step * prod(counts[axis + 1 :]))
    along = [count if b == axis else 1 for b, count in enumerate(counts)]
    tables = [np.broadcast_to(t.reshape(-1, *along), (len(t), *counts)).reshape(len(t), -1) for t in (places, inputs)]
    return np.broadcast_to(pattern.places, box.out_shape).reshape(-1), tables[0], tables[1]


def _index_dtype(*counts: int) -> Any:
    """Return the type of integers up to these, as SciPy has it for indices."""
    return np.int32 if max(counts) <= np.iinfo(np.int32).max else np.int64


def _agrees(box: Box, matrix: Any, noise: float) -> bool:
    """Whether a matrix takes the samples of a box to their images, output by output, but for rounding and noise."""
    X, images = (part[:2].reshape(2, -1) for part in box.samples)  # the third is a multiple of the first
    return all(_takes(matrix, x, image, noise) for x, image in zip(X, images, strict=True))


def _takes(matrix: Any, x: AnyArray, image: AnyArray, noise: float) -> bool:
    """Whether ``matrix @ x`` is an image, but for rounding and noise; of integers in all bits.

    Roundings are relative to ``abs(matrix) @ abs(x)``, which takes as long as the product. It is at least as large as
    the product itself, so it is left to outputs where that does not explain the difference.
    """
    product = matrix @ x
    difference = np.abs(product - image)
    if image.dtype.kind in "iu":
        return not difference.any()
    share = ROUNDINGS * float(np.finfo(image.dtype).eps) * max(matrix.shape[1], 1) ** 0.5
    level = noise * np.linalg.norm(x)
    rows = np.flatnonzero(~(difference <= share * np.abs(product) + level))
    if not rows.size:
        return True
    sizes = abs(matrix[rows]) @ np.abs(x)
    return bool((difference[rows] <= share * sizes + level).all())
