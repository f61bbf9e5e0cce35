"""Of square maps: trace, determinant, eigenvalues."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from convmtx import memory
from convmtx.algebra import LinearMap
from convmtx.boundary import REFLECT
from convmtx.errors import ArgumentError, UnsupportedError, sentence
from convmtx.operator import ConvOperator
from convmtx.spectra.certified import EPS, Certified, times
from convmtx.spectra.derived import PATIENT
from convmtx.spectra.iterated import scaled
from convmtx.spectra.values import cheapest
from convmtx.structure import Blocks, Split
from convmtx.structure.bases import Positions
from convmtx.structure.splits import centred, mirrored, splits, whole_sample
from convmtx.structure.subject import dense, doubled, require_along, sparse
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

#: Rows times bandwidth squared up to which a sparse factorisation is made.
SPARSE = 3e10


def _square(call: str, op: LinearMap) -> LinearMap:
    subject = doubled(call, op)
    rows, columns = subject.shape
    if rows != columns:
        got = f"op has {rows} rows and {columns} columns"
        raise ArgumentError(sentence(call, got, "Wanted a square map", "Use padding='same' and equal channels"))
    return subject


def trace(op: LinearMap) -> Certified:
    """Sum of the diagonal, which is that of the eigenvalues; in closed form, nothing of the matrix is built.

    Parameters
    ----------
    op : LinearMap
        A square map.

    Returns
    -------
    Certified
        ``exact``; a float, or complex where the map is.

    Raises
    ------
    ValueError, TypeError
        Where the map is not square, or its kernel not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Examples
    --------
    >>> import convmtx as cm
    >>> float(cm.trace(cm.conv([1.0, 5.0, 1.0], 7, padding="same")))
    35.0
    """
    subject, scale = scaled(_square("trace", op))
    if not (isinstance(subject, ConvOperator) and subject.in_shape == subject.out_shape):
        return times(Certified(sparse(subject).diagonal().sum(), "exact", "sparse matrix"), scale)
    geometry = subject.geometry
    require_along("trace", *geometry.axes)
    taps = taps_of(geometry, subject.kernel)
    taps = taps.reshape(geometry.groups, -1, *taps.shape[1:])
    total = np.trace(taps, axis1=1, axis2=2).sum(axis=0)
    for axis in geometry.axes:
        total = np.tensordot((axis.table() == np.arange(axis.out)[:, None]).sum(axis=0), total, 1)
    return times(Certified(total[()], "exact", "closed form"), scale)


def logdet(op: LinearMap) -> Certified:
    """Logarithm of the magnitude of the determinant: the sum of logarithms of the singular values.

    Parameters
    ----------
    op : LinearMap
        A square map.

    Returns
    -------
    Certified
        ``exact``; minus infinity where the map is singular to the last bit.

    Raises
    ------
    UnsupportedError
        Where no structure is of use and the map is too large for a sparse factorisation. A ValueError.
    ValueError, TypeError
        Where the map is not square, or its kernel not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Notes
    -----
    From the blocks of a structure, from the one diagonal block of a map that reads only what lies before (or behind)
    each output, or from a sparse LU factorisation.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> causal = cm.conv([3.0, 1.0, 2.0], 5, padding=[(2, 0)])
    >>> bool(np.isclose(float(cm.logdet(causal)), 5 * np.log(2)))
    True
    """
    subject, scale = scaled(_square("logdet", op))
    divided = subject.shape[0] * float(np.log(scale))
    block = _diagonal_block(subject)
    with np.errstate(divide="ignore"):
        if block is not None:
            blocks, times = block
            return Certified(float(times * np.linalg.slogdet(blocks)[1].sum()) + divided, "exact", "block triangular")
        way = cheapest(subject)
        if way.work <= PATIENT:
            return Certified(float(np.log(way.values()).sum()) + divided, "exact", way.method)
    band = subject.shape[0] / max(subject.in_shape)
    if subject.shape[0] * band**2 > SPARSE:
        got = f"a matrix of {subject.shape[0]} rows without structure"
        raise UnsupportedError(
            sentence("logdet", got, "A factorisation of that size takes too long", "Use a smaller map")
        )
    return Certified(_by_sparse_lu(subject) + divided, "exact", "sparse LU")


def _by_sparse_lu(op: LinearMap) -> float:
    from scipy.sparse import csc_array
    from scipy.sparse.linalg import splu

    try:
        factors = splu(csc_array(sparse(op)))
    except RuntimeError:  # exactly singular, says SuperLU
        return -np.inf
    return float(np.log(np.abs(factors.U.diagonal())).sum())


def _diagonal_block(op: LinearMap) -> tuple[AnyArray, int] | None:
    """The matrices of channels (G, c, c) on the diagonal of a map that is block triangular, and how often they occur.

    It is where nothing but zeros is read outside, and every tap but zero lies at or before the output (or every one at
    or after it) in lexicographic order (masked convolutions: Hoogeboom, van den Berg, Welling, ICML 2019).
    """
    if not isinstance(op, ConvOperator) or op.in_shape != op.out_shape:
        return None
    geometry = op.geometry
    if not all(a.zero_outside and a.stride == a.input_dilation == 1 for a in geometry.axes):
        return None
    taps = taps_of(geometry, op.kernel)
    taps = taps.reshape(geometry.groups, -1, *taps.shape[1:])
    places = np.argwhere(np.abs(taps).sum(axis=(0, 1, 2)) > 0)
    steps, before = (np.array([getattr(a, name) for a in geometry.axes]) for name in ("dilation", "lo"))
    offsets = places * steps - before
    signs = [_sign(offset) for offset in offsets]
    if signs and (min(signs) < 0 < max(signs)):
        return None
    blocks = np.zeros(taps.shape[:3], taps.dtype)
    for place, sign in zip(places, signs, strict=True):
        if sign == 0:
            blocks = taps[(..., *place)]
    return blocks, prod(a.out for a in geometry.axes)


def _sign(offset: AnyArray) -> int:
    """Of the first number that is not zero."""
    found = offset[np.flatnonzero(offset)[:1]]
    return int(np.sign(found[0])) if found.size else 0


def eigvals(op: LinearMap) -> Certified:
    """Eigenvalues of a map from arrays of a shape to arrays of the same shape, by descending magnitude.

    Parameters
    ----------
    op : LinearMap
        A map with ``op.in_shape == op.out_shape``.

    Returns
    -------
    Certified
        ``exact`` to rounding, (N,): float64 where the map is Hermitian, else complex128.

    Raises
    ------
    UnsupportedError
        Where no structure is of use and the map is too large for a dense decomposition. A ValueError.
    ValueError, TypeError
        Where the shapes differ, or the kernel is not finite.
    MemoryError
        Where lists of the positions along an axis, or what is made of them, would not fit.

    Notes
    -----
    From blocks whose bases are the same before and after (wrap, symmetric and reflect boundary with a kernel that is
    its own mirror image, 3 taps under the zero boundary, sub-lattices), from the diagonal of a block triangular map, or
    dense. Eigenvalues of maps far from normal, such as causal ones, say little of how they act: see `svdvals`.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.eigvals(cm.conv([1.0, 2.0, 1.0], 4, padding="same", boundary="wrap"))[:].round(6)
    array([4., 2., 2., 0.])
    """
    call = "eigvals"
    subject = _square(call, op)
    if subject.in_shape != subject.out_shape:
        got = f"op goes from {subject.in_shape} to {subject.out_shape}"
        raise ArgumentError(sentence(call, got, "Wanted equal shapes", "Use padding='same' and equal channels"))
    subject, scale = scaled(subject)
    return times(_eigenvalues(call, subject), scale)


def _eigenvalues(call: str, subject: LinearMap) -> Certified:
    memory.require(call, "eigenvalues", {"eigenvalues": 16 * subject.shape[0]}, 2 * 16 * subject.shape[0])
    block = _diagonal_block(subject)
    if block is not None:
        return _sorted([np.repeat(_of_blocks(block[0]), block[1])], "block triangular")
    if isinstance(subject, ConvOperator):
        require_along(call, *subject.geometry.axes)
        found = _by_blocks(subject)
        if found is not None:
            return found
    if float(subject.shape[0]) ** 3 > PATIENT:
        got = f"a matrix of {subject.shape[0]} rows without structure"
        wanted = "Dense eigenvalues of that size take too long"
        raise UnsupportedError(
            sentence(call, got, wanted, "Use scipy.sparse.linalg.eigs(op, k), which takes op as it is")
        )
    return _sorted([_of_blocks(dense(subject)[None])], "dense")


def _by_blocks(op: ConvOperator) -> Certified | None:
    """Of blocks whose outputs and inputs have the same basis, if all have; what is in none of them is zero."""
    geometry = op.geometry
    taps = taps_of(geometry, op.kernel)
    axes: list[tuple[Split, ...]] = []
    for j, axis in enumerate(geometry.axes):
        even = mirrored(taps, j)
        if even and axis.boundary is REFLECT and centred(axis):
            axes.append((whole_sample(axis),))
        else:
            axes.append(splits(axis, even, merged=False))
        if not all(_same_basis(split) for split in axes[-1]):
            return None
    found = [Blocks(geometry, taps, chosen) for chosen in product(*axes)]
    if sum(blocks.work for blocks in found) > PATIENT:
        return None
    values = [_of_blocks(blocks.matrices()) for blocks in found]
    rest = np.zeros(geometry.shape[0] - sum(each.size for each in values))
    return _sorted([*values, rest], f"blocks ({found[0].rule if found else 'none'})")


def _same_basis(split: Split) -> bool:
    """Whether a block's outputs and inputs are numbers of the same vectors."""
    if split.per_output != split.per_input:
        return False
    outputs, inputs = split.outputs, split.inputs
    if isinstance(outputs, Positions) and isinstance(inputs, Positions):
        return np.array_equal(outputs.chosen[0], inputs.chosen[0])
    return True


def _of_blocks(matrices: AnyArray) -> AnyArray:
    """All eigenvalues, real where every block is Hermitian up to rounding in its phases."""
    difference = np.abs(matrices - matrices.conj().swapaxes(1, 2)).max(initial=0)
    if difference <= 64 * EPS * np.abs(matrices).max(initial=0):
        return np.linalg.eigvalsh(matrices).reshape(-1)
    return np.linalg.eigvals(matrices).reshape(-1)


def _sorted(values: list[AnyArray], method: str) -> Certified:
    every = np.concatenate(values)
    return Certified(every[np.argsort(-np.abs(every), kind="stable")], "exact", method)
