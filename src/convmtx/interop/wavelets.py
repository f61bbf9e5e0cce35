"""Wavelet transforms as maps, with the names, boundaries and order of coefficients of PyWavelets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from itertools import product
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy, namespace, numeric, reshape, together
from convmtx.arguments import LARGEST, MOST_ENTRIES, SIMILAR, as_list, integer, one_of, require_one_for_each
from convmtx.construct import conv
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.extras import import_extra
from convmtx.geometry import resolve
from convmtx.interop.layers import identity, reshaping
from convmtx.maps.combined import Product
from convmtx.maps.kronecker import Kronecker
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.matrices import SparseMap
from convmtx.maps.padding import pad
from convmtx.maps.rearranged import Rearranged
from convmtx.maps.selection import Selection
from convmtx.maps.stacks import BlockDiagonal
from convmtx.typing import Array, ArrayLike, BoundaryName, IntArray, PerAxis, Shape

#: Most levels: as many halve an axis of the largest size, 2^40, to one entry.
_MOST_LEVELS = LARGEST.bit_length() - 1
#: Most axes to transform, which have 2^16 bands at each level.
_MOST_AXES = 16
#: The boundary of `conv` for each mode of PyWavelets that is one.
_BOUNDARIES: dict[str, BoundaryName] = {
    "zero": "zero",
    "constant": "edge",
    "symmetric": "symmetric",
    "periodic": "wrap",
    "reflect": "reflect",
}
#: All modes of PyWavelets.
_MODES = (*_BOUNDARIES, "periodization", "antisymmetric", "antireflect", "smooth")
#: What to pass instead of the names that others use for a mode, and PyWavelets' short ones.
_MEANINGS = MappingProxyType(
    {
        word: f"Pass mode={mode!r}"
        for mode, words in {
            "constant": ("edge", "nearest", "cpd", "sp0"),
            "symmetric": ("sym", "symm", "symh"),
            "periodic": ("wrap", "circular", "ppd"),
            "periodization": ("per",),
            "zero": ("zpd", "zeros"),
            "reflect": ("mirror", "symw"),
            "antisymmetric": ("asym", "asymh"),
            "antireflect": ("asymw",),
            "smooth": ("spd", "sp1"),
        }.items()
        for word in words
    }
)


@dataclass(frozen=True)
class Bands:
    """Bands of one level that stand one after the other among the coefficients, all of one shape."""

    names: tuple[str, ...]
    shape: Shape


class WaveletTransform(Product):
    """A wavelet transform of several levels, to one vector of all coefficients; `dwt` builds it."""

    def __init__(self, factors: Sequence[LinearMap], bands: Sequence[Bands]) -> None:
        super().__init__(*factors)
        #: Names and shape of the approximation, and of the details of each level, the last level first.
        self.bands = tuple(bands)

    @door("coefficients")
    def coefficients(self, y: ArrayLike) -> list[Any]:
        """Return the outputs as the list that ``pywt.wavedecn`` returns and ``pywt.waverecn`` takes.

        Parameters
        ----------
        y : array_like
            Outputs of the map, of shape ``(*batch, *out_shape)``.

        Returns
        -------
        list
            The approximation of the last level, and for each level, the last one first, a dictionary with an array
            for each band: ``"d"``, or ``"ad"``, ``"da"`` and ``"dd"`` for two axes. Each array has the batch axes in
            front. ``pywt.ravel_coeffs`` takes the list of one image back to ``y``.

        Raises
        ------
        ValueError
            If the last axis of ``y`` is not ``out_shape``.
        """
        array = numeric("y", y)
        if array.ndim < 1 or int(array.shape[-1]) != self.shape[0]:
            remedy = "Pass what the map returns"
            raise ArgumentError(f"y has shape {tuple(array.shape)}", f"Expected (*batch, {self.shape[0]})", remedy)
        batch, start, listed = tuple(array.shape[:-1]), 0, []
        for bands in self.bands:
            size, arrays = prod(bands.shape), {}
            for name in bands.names:
                arrays[name] = reshape(array[..., start : start + size], batch + bands.shape)
                start += size
            listed.append(arrays)
        return [listed[0][self.bands[0].names[0]], *listed[1:]]


@door("dwt")
def dwt(
    shape: PerAxis,
    wavelet: Any,
    level: int | None = 1,
    mode: str | Sequence[str] = "symmetric",
    axes: PerAxis | None = None,
) -> WaveletTransform:
    """Return the discrete wavelet transform of several levels as a map with its exact adjoint.

    Law: ``op(x) == pywt.ravel_coeffs(pywt.wavedecn(x, wavelet, mode, level))[0]``, up to rounding. ``op.H(y)`` is the
    adjoint in every mode. ``pywt.waverecn`` is another map, an inverse: it is the adjoint only if the wavelet is
    orthogonal and the mode is "zero", or "periodization" with even sizes.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the input.
    wavelet : str, object or pair of array_like
        The name of a discrete wavelet of PyWavelets, or an object with its filters ``dec_lo`` and ``dec_hi``, or the
        pair of these filters, of one even length. A list of names or objects has one for each transformed axis. A pair
        of tensors of PyTorch or JAX keeps its gradients. Outputs have the type of the filters and the input together:
        names stand for float64, a pair of float32 keeps float32.
    level : int or None
        How often the approximation is transformed again. 0 flattens the input. None takes the levels at which some
        coefficient does not read past the ends, as in PyWavelets. More are allowed, up to 40.
    mode : str or sequence of str
        How arrays continue past their ends: "zero", "constant", "symmetric", "periodic", "periodization", "reflect",
        "antisymmetric", "antireflect" or "smooth"; one for all axes or one for each transformed axis.
    axes : int or tuple of int, optional
        Axes to transform, at most 16; by default all. The letters of the bands' names are in their order.

    Returns
    -------
    LinearMap
        From arrays of ``shape`` to vectors: the approximation of the last level, then the details of each level, the
        last one first, each band flattened (C order). ``op.coefficients(y)`` returns them as arrays by name.

    Raises
    ------
    ValueError
        If the wavelet, mode or an axis is unknown, the level is negative or too large, or the filters are not of one
        even length; and, as in PyWavelets, if an axis of one entry is to be continued by "reflect" or "antireflect".
    TypeError
        If an argument is of the wrong type.
    ImportError
        If a wavelet is named and the extra ``wavelets`` is missing.

    Notes
    -----
    For filters of length L, an axis of n entries gives floor((n + L - 1)/2) coefficients of each kind, and ceil(n/2) in
    mode "periodization". Along each axis a level is one strided convolution with two filters, so the levels of N
    entries and d axes cost about d N L (1 + 2^-d + 4^-d + ...) multiplications.

    References
    ----------
    S. Mallat, "A theory for multiresolution signal decomposition: the wavelet representation", IEEE Transactions on
    Pattern Analysis and Machine Intelligence 11 (1989).

    Examples
    --------
    >>> import convmtx as cm
    >>> haar = [1, 1], [-1, 1]
    >>> op = cm.dwt(4, haar, level=2)
    >>> op.to_dense()
    array([[ 1,  1,  1,  1],
           [ 1,  1, -1, -1],
           [ 1, -1,  0,  0],
           [ 0,  0,  1, -1]])
    >>> op.coefficients(op([5, 3, 2, 1]))
    [array([11]), {'d': array([5])}, {'d': array([2, 1])}]
    >>> op.H([1, 0, 0, 2])
    array([ 1,  1,  3, -1])
    """
    sizes = resolve.shape("shape", shape)
    chosen = _axes(axes, len(sizes))
    banks = [_kernel(bank) for bank in _wavelets(wavelet, len(chosen))]
    modes = _modes(mode, len(chosen))
    count = _levels(level, [sizes[axis] for axis in chosen], [int(bank.shape[0]) for bank in banks])

    names = tuple("".join(letters) for letters in product("ad", repeat=len(chosen)))
    factors: list[LinearMap] = [] if count else [reshaping(sizes, (prod(sizes),))]
    bands: list[Bands] = []
    for _ in range(count):
        details = sum(prod(band.shape) * len(band.names) for band in bands)
        step, sizes = _one_level(sizes, chosen, banks, modes)
        factors.insert(0, BlockDiagonal(step, identity((details,))) if details else step)
        bands.insert(0, Bands(names[1:], sizes))
    return WaveletTransform(factors, [Bands(names[:1], sizes), *bands])


def _one_level(sizes: Shape, axes: Shape, kernels: Sequence[Array], modes: Sequence[str]) -> tuple[LinearMap, Shape]:
    """Return the map from an array to its bands, flattened one after the other, and the shape of a band."""
    parts: list[LinearMap] = [identity((size,)) for size in sizes]
    for axis, kernel, mode in zip(axes, kernels, modes, strict=True):
        parts[axis] = _one_axis(sizes[axis], kernel, mode)
    along_all = reduce(Kronecker, parts)
    # Outputs are (m1, 2, m2, 2) for two axes, of which the first alone (m1, 2, n2). The bands come to the front, in the
    # order of ``axes``, as their names have a letter for each of them.
    starts = [sum(len(part.out_shape) for part in parts[:axis]) for axis in range(len(parts))]
    order = [starts[axis] + 1 for axis in axes] + starts
    shape = tuple(along_all.out_shape[start] for start in starts)
    return Rearranged(along_all.out_shape, order, (prod(along_all.out_shape),)) @ along_all, shape


def _one_axis(size: int, kernel: Array, mode: str) -> LinearMap:
    """Return the map of one axis to its approximation and its details, (n,) -> (m, 2): one convolution.

    PyWavelets takes every second entry, from the second one on, of the full convolution of the continued array. So
    entry o is ``sum(kernel[j] * x[2*o + 1 - j])``, which reads L - 2 positions before the array. "periodization" reads
    ``x[2*o + L/2 - j]``, of the array with its last entry twice if its size is odd, on a circle.
    """
    length = int(kernel.shape[0])
    if mode == "periodization":
        lo = hi = length // 2 - 1
        hi += size % 2
    else:
        lo, hi = length - 2, (size + length - 1) // 2 * 2 - size
    if size == 1 and mode in ("reflect", "antireflect"):
        got, remedy = f"mode={mode!r} for an axis of 1 entry", "Pass mode='symmetric', or fewer levels"
        raise ArgumentError(got, "Expected at least 2 entries, as in PyWavelets", remedy)
    boundary = "periodic" if mode == "periodization" and size % 2 == 0 else mode
    if boundary in _BOUNDARIES:
        rule = _BOUNDARIES[boundary]
        filters = conv(kernel, (size, 1), stride=2, padding=[(lo, hi)], boundary=rule, channels="last", flip=True)
        return filters @ reshaping((size,), (size, 1))
    wide = lo + size + hi
    filters = conv(kernel, (wide, 1), stride=2, channels="last", flip=True)
    return filters @ (reshaping((wide,), (wide, 1)) @ _continuation(size, lo, hi, mode))


def _continuation(size: int, lo: int, hi: int, mode: str) -> LinearMap:
    """Return the map that continues an axis in a mode that `conv` does not have as a boundary."""
    if mode == "antireflect":
        return pad(size, [(lo, hi)], "reflect", "odd")
    memory.require_result(
        "an axis with its continuation", 64 * (lo + size + hi), "Use another mode, such as 'symmetric'"
    )
    positions = np.arange(-lo, size + hi)
    if mode == "periodization":  # of odd size: the last entry stands twice
        return Selection((size,), np.minimum(positions % (size + 1), size - 1))
    if mode == "antisymmetric":  # [1, 2] becomes 1, 2, -2, -1, 1, 2: mirrored and negated again and again
        turns, place = np.divmod(positions, size)
        is_odd = turns % 2 == 1
        return _sparse_map(positions, [(np.where(is_odd, size - 1 - place, place), np.where(is_odd, -1, 1))], size)
    # smooth: straight lines through the two entries at each end; a single entry is repeated.
    ends = np.clip(positions, 0, size - 1)
    inner = np.where(positions < 0, min(1, size - 1), max(size - 2, 0))
    beyond = np.abs(positions - ends)
    return _sparse_map(positions, [(ends, 1 + beyond), (inner, -beyond)], size)


def _sparse_map(positions: IntArray, terms: Sequence[tuple[IntArray, IntArray]], size: int) -> SparseMap:
    """Return the map whose row at each position has these entries, (columns, values); equal columns are added."""
    from scipy.sparse import coo_array

    rows = np.tile(np.arange(positions.size), len(terms))
    columns, values = (np.concatenate(parts) for parts in zip(*terms, strict=True))
    matrix = coo_array((values, (rows, columns)), shape=(positions.size, size)).tocsr()
    matrix.eliminate_zeros()
    # The smallest type of integers, so that outputs keep the type of the filters: int16 times float32 is float32.
    dtype = np.min_scalar_type(-int(np.abs(matrix.data).max()))
    return SparseMap(matrix.astype(dtype), (size,), (positions.size,))


def _axes(axes: Any, ndim: int) -> Shape:
    """Return the numbers of the axes to transform, from 0."""
    entries = list(range(ndim)) if axes is None else as_list("axes", axes)
    numbers = [integer("axes", entry, None) for entry in ([axes] if entries is None else entries)]
    exist = all(-ndim <= axis < ndim for axis in numbers)
    if not numbers or not exist or len({axis % ndim for axis in numbers}) < len(numbers):
        expected = f"Expected different axes of an array of {ndim}"
        raise ArgumentError(f"axes={shown(axes)}", expected, f"Pass numbers from {-ndim} to {ndim - 1}, each once")
    if len(numbers) > _MOST_AXES:
        expected = f"Expected at most {_MOST_AXES} axes to transform"
        raise ArgumentError(f"{len(numbers)} axes, with 2^{len(numbers)} bands", expected, "Name some in axes")
    return tuple(axis % ndim for axis in numbers)


def _modes(mode: Any, d: int) -> tuple[str, ...]:
    """Return the mode of each transformed axis."""
    entries = as_list("mode", mode)
    if entries is None:
        entries = [mode] * d
    require_one_for_each("mode", entries, d)
    return tuple(one_of("mode", entry, _MODES, _MEANINGS) for entry in entries)


def _levels(level: Any, sizes: Sequence[int], lengths: Sequence[int]) -> int:
    """Return the number of levels; the default of None is that of PyWavelets.

    At level k some coefficient reads no position past the ends if ``(length - 1) * 2**k <= size``.
    """
    if level is None:
        ratios = [size // (length - 1) for size, length in zip(sizes, lengths, strict=True)]
        return max(min(ratio.bit_length() - 1 for ratio in ratios), 0)
    count = integer("level", level, 0)
    if count > _MOST_LEVELS:
        expected = f"Expected at most {_MOST_LEVELS}, which halve the largest axis to one entry"
        raise ArgumentError(f"level={count}", expected, "Pass level=None for the levels that PyWavelets takes")
    return count


def _wavelets(wavelet: Any, d: int) -> list[Any]:
    """Return the wavelet of each transformed axis, as the caller wrote it.

    A list of names or objects has one for each axis; any other pair holds the two filters of one wavelet.
    """
    entries = None if _is_one(wavelet) else as_list("wavelet", wavelet)
    if entries is None or not any(map(_is_one, entries)):
        return [wavelet] * d
    require_one_for_each("wavelet", entries, d)
    return entries


def _is_one(wavelet: Any) -> bool:
    """Whether this is one wavelet by name or as an object."""
    return isinstance(wavelet, str) or hasattr(wavelet, "dec_lo")


def _kernel(wavelet: Any) -> Array:
    """Return the two filters of a wavelet side by side, as the kernel (L, 1, 2) of a convolution."""
    if isinstance(wavelet, str):
        wavelet = _named(wavelet)
    try:
        lo, hi = (wavelet.dec_lo, wavelet.dec_hi) if hasattr(wavelet, "dec_lo") else wavelet
    except (TypeError, ValueError, AttributeError):
        expected = "Expected a name such as 'db4', an object with dec_lo and dec_hi, or the pair of these filters"
        raise ArgumentTypeError(f"wavelet={shown(wavelet)}", expected, "Pass wavelet='db4'") from None
    lo, hi = together(numeric("dec_lo", lo), numeric("dec_hi", hi))
    if lo.ndim != 1 or tuple(lo.shape) != tuple(hi.shape) or lo.shape[0] % 2 or not lo.shape[0]:
        got = f"filters of shapes {tuple(lo.shape)} and {tuple(hi.shape)}"
        raise ArgumentError(got, "Expected two of one even length", "Fill the shorter one up with zeros")
    xp = np if is_numpy(lo) else namespace(lo)
    return xp.concat([reshape(taps, (-1, 1, 1)) for taps in (lo, hi)], axis=2)


def _named(name: str) -> Any:
    """Return the wavelet of PyWavelets of this name."""
    pywt = import_extra("pywt", "wavelets")
    known = pywt.wavelist(kind="discrete")
    if name.lower() in known:
        return pywt.Wavelet(name)
    near = get_close_matches(name[:MOST_ENTRIES].lower(), known, n=1, cutoff=SIMILAR)
    remedy = f"Check the spelling: is {near[0]!r} meant" if near else "pywt.wavelist(kind='discrete') lists all"
    expected = "Expected a discrete wavelet of PyWavelets, such as 'haar', 'db4', 'sym8' or 'bior4.4'"
    raise ArgumentError(f"wavelet={shown(name)}", expected, remedy)
