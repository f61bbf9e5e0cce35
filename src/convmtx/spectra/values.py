"""Singular values and singular tensors."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from convmtx.arguments import flag, integer, one_of
from convmtx.errors import ArgumentError, UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.spectra import exact, iterated, rounding
from convmtx.spectra.certified import EPS, Certified, rounded, times, unmet
from convmtx.structure import Blocks, batched, decomposed
from convmtx.structure.double import dense, direct, doubled, is_zero, require_along
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

Which = Literal["largest", "smallest"]
#: ``rows * columns * min(rows, columns)`` up to which a decomposition is made although few values are wanted.
DECOMPOSED = 2e9
#: Work of about an hour: more is refused, for a decomposition cannot be interrupted.
LONGEST = 2e13
#: Residuals of iterated singular values, relative to the largest.
RTOL = 1e-9


class SingularTensors(NamedTuple):
    """``op(V[j]) == s[j] * U[j]`` and ``op.H(U[j]) == s[j] * V[j]``; U and V are orthonormal."""

    #: Left singular tensors, ``(k, *out_shape)``.
    U: AnyArray
    #: Singular values, ``(k,)``, descending.
    s: Certified
    #: Right singular tensors, ``(k, *in_shape)``.
    V: AnyArray


@door("svdvals")
def svdvals(
    op: LinearMap, k: int | None = None, which: Which = "largest", *, maxiter: int = 1000, progress: bool = False
) -> Certified:
    """Singular values of a map, descending.

    Parameters
    ----------
    op : LinearMap
        Any map; kernels of other libraries are read as numbers.
    k : int, optional
        How many, from 1 to min(M, N); without it all min(M, N) of them.
    which : {"largest", "smallest"}
        From which end the k are taken. The smallest too are in descending order.
    maxiter : int
        Steps where values are iterated: at most so many, but at least k. Where they are not enough, ``r.converged`` is
        False and ``r.method`` says so.
    progress : bool
        Show a bar (extra ``progress``).

    Returns
    -------
    Certified
        ``np.asarray`` gives the values (k,) in float64. Kind ``exact``, or ``estimate`` where they were iterated: the
        largest that were found are no larger than the true ones and the smallest no smaller, and between each ``lower``
        and ``upper`` some singular value lies; a search from another start found no other.

    Raises
    ------
    ValueError, TypeError
        Where an argument is none of those, or the kernel is not finite.
    MemoryError
        Where the decomposition that all values need would not fit.

    Notes
    -----
    The exact ways, of which the cheapest is taken: blocks of a transform (wrap with any stride that divides the size,
    any dilation, groups, kernels larger than the image; symmetric boundary with a symmetric kernel; zero boundary with
    3 symmetric taps), sub-lattices of a dilated kernel, Kronecker products of an outer product, band matrices along one
    axis, a dense decomposition. The transform of Sedghi, Gupta and Long (ICLR 2019) is the case of wrap with stride 1.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.svdvals(cm.conv([1.0, 1.0], 4, padding="same", boundary="wrap"))[:3].round(6)
    array([2.      , 1.414214, 1.414214])
    """
    subject, scale = iterated.scaled(direct(_checked(op, k, which, maxiter, progress)))
    count = min(subject.shape)
    chosen = cheapest(subject)
    if k is None and chosen.work > LONGEST:
        got = f"all {count} singular values by {chosen.method}"
        wanted = f"That would take some {chosen.work / LONGEST:.0f} hours"
        raise UnsupportedError(got, wanted, "Ask for some of them, as with k=10")
    if k is None or chosen.work <= DECOMPOSED:
        with show_progress(progress, "blocks", chosen.parts) as bar:
            values = chosen.values(bar)
        some = values if k is None else values[:k] if which == "largest" else values[-k:]
        return times(rounded(some, chosen.slack, chosen.method, 0.0), scale)
    found = _iterated(subject, k, which, maxiter, progress)
    return times(_estimates(found, which), scale)


def _checked(op: LinearMap, k: int | None, which: Which, maxiter: int, progress: bool) -> LinearMap:
    """The map in double precision, if it has k singular values and the rest is what it should be."""
    one_of("which", which, ("largest", "smallest"))
    flag("progress", progress)
    integer("maxiter", maxiter, 1)
    subject = doubled(op)
    count = min(subject.shape)
    if k is not None and integer("k", k, 1) > count:
        raise ArgumentError(f"k={k}", f"The matrix has {count} singular values", "Pass fewer")
    return subject


def cheapest(op: LinearMap) -> exact.Way:
    """The exact way of least work."""
    return exact.way(op) if isinstance(op, ConvOperator) else dense_way(op)


def dense_way(op: LinearMap) -> exact.Way:
    """A dense decomposition of any map."""

    def values(_bar: Any = None) -> AnyArray:
        found: AnyArray = np.linalg.svd(dense(op), compute_uv=False)
        return found

    rows, columns = op.shape
    work, size = float(rows) * columns * min(rows, columns), rounding.size_of(op)
    return exact.Way("dense", work, values, lambda: float(values()[0]), 1, rounding.of_dense(op, size), size)


def every(way: exact.Way) -> Certified:
    """All singular values by an exact way, with what rounding may have moved them."""
    return rounded(way.values(), way.slack, way.method, 0.0)


def _iterated(op: LinearMap, k: int, which: Which, maxiter: int, progress: bool) -> iterated.Triplets:
    iterated.require_vectors(op)
    if is_zero(op):
        return iterated.Triplets(np.zeros(k), np.eye(k, op.shape[1]), np.eye(k, op.shape[0]), np.zeros(k), 0)
    if which == "largest":
        return iterated.triplets(op, k, RTOL, maxiter, progress)
    top = iterated.triplets(op, 1, 1e-3, maxiter, progress=False).values[0]
    return iterated.smallest(op, k, float(top))


def _estimates(found: iterated.Triplets, which: Which) -> Certified:
    """Values of a subspace are no larger than the largest there are, and no smaller than the smallest.

    Where values lie closer together than `RTOL`, the search may end at one of them that is not the largest.
    """
    rounding = 64 * EPS * found.values[0]
    radius = found.residuals + rounding
    if which == "largest":
        how, lower, upper = "Lanczos", found.values - rounding, (1 + RTOL) * found.values + radius
        upper = np.maximum(upper, found.beyond)
    else:
        how, lower, upper = "Lanczos on a sparse factorisation", found.values - radius, found.values + rounding
    how = f"{how}, {found.steps} steps{unmet(found.stopped, RTOL)}"
    return Certified(found.values, "estimate", how, np.maximum(lower, 0), upper, found.steps, not found.stopped)


@door("svd")
def svd(
    op: LinearMap, k: int, which: Which = "largest", *, maxiter: int = 1000, progress: bool = False
) -> SingularTensors:
    """Singular values with their singular tensors, arrays of the shapes of outputs and inputs.

    Law: ``op(V[j]) == s[j] * U[j]``, ``op.H(U[j]) == s[j] * V[j]``; the best approximation of rank k takes x to
    ``sum_j s[j] <V[j], x> U[j]``.

    Parameters
    ----------
    op : LinearMap
        Any map.
    k : int
        How many, from 1 to min(M, N).
    which, maxiter, progress
        As for `svdvals`.

    Returns
    -------
    SingularTensors
        ``U`` of shape ``(k, *out_shape)``, ``s`` as of `svdvals`, ``V`` of ``(k, *in_shape)``: float64 or,
        where the map is complex, complex128. Of equal singular values any orthonormal tensors may come.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As for `svdvals`.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([[1.0, 2.0], [3.0, 4.0]], (6, 6), padding="same")
    >>> U, s, V = cm.svd(op, 3)
    >>> np.allclose(op(V), np.asarray(s)[:, None, None] * U)
    True
    """
    subject, scale = iterated.scaled(_checked(op, integer("k", k, 1), which, maxiter, progress))
    decomposition = _decomposed(subject, k, which)
    if decomposition is None:
        triplets = _iterated(subject, k, which, maxiter, progress)
        s = _estimates(triplets, which)
    else:
        triplets, slack = decomposition
        s = rounded(triplets.values, slack, "decomposition", 0.0)
    left, right = triplets.left.reshape(-1, *op.out_shape), triplets.right.reshape(-1, *op.in_shape)
    return SingularTensors(left, times(s, scale), right)


def _decomposed(op: LinearMap, k: int, which: Which) -> tuple[iterated.Triplets, float] | None:
    """Triplets by a dense decomposition, or by those of blocks, and their error; None where both are too much work."""
    rows, columns = op.shape
    if float(rows) * columns * min(rows, columns) <= DECOMPOSED:
        u, s, v = np.linalg.svd(dense(op), full_matrices=False)
        some = slice(k) if which == "largest" else slice(len(s) - k, None)
        slack = rounding.of_dense(op, rounding.size_of(op))
        return iterated.Triplets(s[some], v[some].conj(), u.T[some], np.zeros(k), 0), slack
    if which == "smallest" or not isinstance(op, ConvOperator):
        return None
    require_along(*op.geometry.axes, split=True)
    found = decomposed(op.geometry, taps_of(op.geometry, op.kernel), merged=False)
    if not found or sum(blocks.work for blocks in found) > DECOMPOSED:
        return None
    vectors = np.concatenate([_leading(blocks, k) for blocks in found])
    triplets, size = iterated.refined(op, vectors.reshape(len(vectors), -1), k), rounding.size_of(op)
    slack = rounding.of_blocks(found, size) + rounding.of_product(op, size) + float(triplets.residuals.max())
    return triplets, slack


def _leading(blocks: Blocks, k: int) -> AnyArray:
    """Right singular tensors (k, *in_shape) of the k largest singular values of these blocks."""
    matrices = blocks.matrices()
    values = batched.singular_values(matrices)
    at, order = np.divmod(np.argsort(-values, axis=None, kind="stable")[:k], values.shape[1])
    found = []
    for block in np.unique(at):
        v = np.linalg.svd(matrices[block], full_matrices=False)[2]
        found.append(blocks.inputs(int(block), v[order[at == block]].conj().T))
    return np.concatenate(found)
