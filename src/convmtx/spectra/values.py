"""Singular values and singular tensors."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from convmtx.arguments import flag, integer, one_of
from convmtx.costs import HOUR_OF_WORK, SMALL_SPECTRUM_WORK
from convmtx.errors import ArgumentError, UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.spectra.certified import Certified, rounded, times, unmet
from convmtx.spectra.largest import largest_triplets
from convmtx.spectra.smallest import smallest_triplets
from convmtx.spectra.triplets import Triplets, refine, require_vectors
from convmtx.structure import Blocks, Decomposition, batched, choose_decomposition, find_blocks, rounding
from convmtx.structure.double import dense, direct, doubled, is_zero, require_along
from convmtx.structure.precision import EPS, scaled
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

Which = Literal["largest", "smallest"]
#: Largest residual of iterated singular values, relative to the largest value.
RTOL = 1e-9


class SingularTensors(NamedTuple):
    """Singular tensors: ``op(V[j]) == s[j] * U[j]`` and ``op.H(U[j]) == s[j] * V[j]``, with U and V orthonormal."""

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
    """Return singular values of a map, descending.

    Law: they equal ``numpy.linalg.svd(op.to_dense(), compute_uv=False)``.

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes. Kernels of other libraries are copied to NumPy, without gradients.
    k : int, optional
        Number of values, from 1 to min(M, N); all min(M, N) of them by default.
    which : {"largest", "smallest"}
        End from which the k values are taken. The smallest values are in descending order too.
    maxiter : int
        Largest number of steps if values are computed by iteration. A number below k counts as k. If the steps are not
        enough, ``r.converged`` is False and ``r.method`` says so.
    progress : bool
        Show a bar (extra ``progress``).

    Returns
    -------
    Certified
        Values (k,) in float64, which ``np.asarray`` returns. Kind ``exact``, or ``estimate`` if they were computed by
        iteration. Such values may be wrong in one direction: the largest may be too small, and the smallest may be too
        large. Each interval from ``lower`` to ``upper`` holds a singular value of the map, but not always the one of
        that rank. If the search for the largest values has converged, a second search from another start has reached
        no larger value.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the kernel is not finite.
    UnsupportedError
        If all values would take more than an hour. This is a ValueError.
    MemoryError
        If the decomposition that all values need does not fit.

    Notes
    -----
    The cheapest exact decomposition is taken. The decompositions are:

    - blocks of a fast transform, for padding "same" without input dilation: wrap (with any stride that divides the
      size, any dilation, groups, and kernels larger than the image); symmetric boundary at stride 1 with an odd kernel
      that is its own mirror image; zero boundary at stride 1 with 3 taps without dilation, the first equal to the last;
    - sub-lattices of a dilated kernel;
    - Kronecker products, if the kernel is an outer product;
    - band matrices along one axis;
    - those of the parts of `block_diag` and `kron`, and the entries of diagonal maps and selections;
    - the dense matrix.

    The transform of Sedghi, Gupta and Long (ICLR 2019) is the case of wrap with stride 1. If only k values are
    requested, and a decomposition would take more than a second, the values are computed by iteration: the largest by
    Lanczos processes, the smallest with a sparse factorization.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.svdvals(cm.conv([1.0, 1.0], 4, padding="same", boundary="wrap"))[:3].round(6)
    array([2.      , 1.414214, 1.414214])
    """
    operator, scale = scaled(direct(_check(op, k, which, maxiter, progress)))
    decomposition = choose_decomposition(operator)
    if k is None and decomposition.work > HOUR_OF_WORK:
        got = f"all {min(operator.shape)} singular values by {decomposition.method}"
        expected = f"That would take some {decomposition.work / HOUR_OF_WORK:.0f} hours"
        raise UnsupportedError(got, expected, "Ask for some of them, as with k=10")
    if k is None or decomposition.work <= SMALL_SPECTRUM_WORK:
        with show_progress(progress, "blocks", decomposition.n_blocks) as bar:
            values = decomposition.values(bar)
        chosen = values if k is None else values[:k] if which == "largest" else values[-k:]
        return times(rounded(chosen, decomposition.slack, decomposition.method, 0.0), scale)
    return times(_certify(_iterate(operator, k, which, maxiter, progress), which), scale)


def _check(op: LinearMap, k: int | None, which: Which, maxiter: int, progress: bool) -> LinearMap:
    """Return the map in double precision, if it has k singular values and the options are valid."""
    one_of("which", which, ("largest", "smallest"))
    flag("progress", progress)
    integer("maxiter", maxiter, 1)
    operator = doubled(op)
    count = min(operator.shape)
    if k is not None and integer("k", k, 1) > count:
        raise ArgumentError(f"k={k}", f"The matrix has {count} singular values", "Pass fewer")
    return operator


def all_values(decomposition: Decomposition) -> Certified:
    """Return all singular values by a decomposition, with ends as far away as rounding may have moved them."""
    return rounded(decomposition.values(), decomposition.slack, decomposition.method, 0.0)


def _iterate(op: LinearMap, k: int, which: Which, maxiter: int, progress: bool) -> Triplets:
    """Return k triplets from one end by iteration."""
    require_vectors(op)
    if is_zero(op):
        return Triplets(np.zeros(k), np.eye(k, op.shape[1]), np.eye(k, op.shape[0]), np.zeros(k))
    if which == "largest":
        return largest_triplets(op, k, RTOL, maxiter, progress)
    top = largest_triplets(op, 1, 1e-3, maxiter, progress=False).values[0]
    return smallest_triplets(op, k, float(top))


def _certify(triplets: Triplets, which: Which) -> Certified:
    """Return iterated values with their ends.

    Values of a subspace are at most the largest of the map, and at least the smallest. If values are closer together
    than `RTOL`, the search may end at one of them that is not the largest.
    """
    values, slack = triplets.values, 64 * EPS * triplets.values[0]
    radius = triplets.residuals + slack
    if which == "largest":
        method, lower, upper = "Lanczos", values - slack, (1 + RTOL) * values + radius
        upper = np.maximum(upper, triplets.beyond)
    else:
        method, lower, upper = "Lanczos on a sparse factorization", values - radius, values + slack
    method = f"{method}, {triplets.steps} steps{unmet(triplets.stopped, RTOL)}"
    return Certified(values, "estimate", method, np.maximum(lower, 0), upper, triplets.steps, triplets.stopped is None)


@door("svd")
def svd(
    op: LinearMap, k: int, which: Which = "largest", *, maxiter: int = 1000, progress: bool = False
) -> SingularTensors:
    """Return singular values with their singular tensors, arrays of the shapes of outputs and inputs.

    Law: ``op(V[j]) == s[j] * U[j]``, ``op.H(U[j]) == s[j] * V[j]``. The best approximation of rank k maps x to
    ``sum_j s[j] <V[j], x> U[j]``.

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes.
    k : int
        Number of values, from 1 to min(M, N).
    which, maxiter, progress
        As for `svdvals`.

    Returns
    -------
    SingularTensors
        Tensors ``U`` of shape ``(k, *out_shape)``, values ``s`` as from `svdvals`, tensors ``V`` of shape
        ``(k, *in_shape)``. They are float64, or complex128 if the map is complex. For equal singular values the tensors
        are one of many orthonormal bases.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As for `svdvals`.

    Notes
    -----
    Cost: a decomposition of the dense matrix or of blocks if it takes less than a second, else iterations as for
    `svdvals`.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([[1.0, 2.0], [3.0, 4.0]], (6, 6), padding="same")
    >>> U, s, V = cm.svd(op, 3)
    >>> np.allclose(op(V), np.asarray(s)[:, None, None] * U)
    True
    """
    operator, scale = scaled(_check(op, integer("k", k, 1), which, maxiter, progress))
    exact = _decompose(operator, k, which)
    if exact is None:
        triplets = _iterate(operator, k, which, maxiter, progress)
        s = _certify(triplets, which)
    else:
        triplets, slack = exact
        s = rounded(triplets.values, slack, "decomposition", 0.0)
    left, right = triplets.left.reshape(-1, *operator.out_shape), triplets.right.reshape(-1, *operator.in_shape)
    return SingularTensors(left, times(s, scale), right)


def _decompose(op: LinearMap, k: int, which: Which) -> tuple[Triplets, float] | None:
    """Return triplets by a dense decomposition, or by those of blocks, and their error; None if both take too long."""
    rows, columns = op.shape
    if float(rows) * columns * min(rows, columns) <= SMALL_SPECTRUM_WORK:
        u, s, v = np.linalg.svd(dense(op), full_matrices=False)
        chosen = slice(k) if which == "largest" else slice(len(s) - k, None)
        slack = rounding.of_dense(op, rounding.size_of(op))
        return Triplets(s[chosen], v[chosen].conj(), u.T[chosen], np.zeros(k)), slack
    if which == "smallest" or not isinstance(op, ConvOperator):
        return None
    require_along(*op.geometry.axes, split=True)
    all_blocks = find_blocks(op.geometry, taps_of(op.geometry, op.kernel), merged=False)
    if not all_blocks or sum(blocks.work for blocks in all_blocks) > SMALL_SPECTRUM_WORK:
        return None
    vectors = np.concatenate([_leading_tensors(blocks, k) for blocks in all_blocks])
    triplets, size = refine(op, vectors.reshape(len(vectors), -1), k), rounding.size_of(op)
    slack = rounding.of_blocks(all_blocks, size) + rounding.of_product(op, size) + float(triplets.residuals.max())
    return triplets, slack


def _leading_tensors(blocks: Blocks, k: int) -> AnyArray:
    """Return right singular tensors (k, *in_shape) of the k largest singular values of these blocks."""
    matrices = blocks.matrices()
    values = batched.singular_values(matrices)
    at, order = np.divmod(np.argsort(-values, axis=None, kind="stable")[:k], values.shape[1])
    tensors = []
    for block in np.unique(at):
        v = np.linalg.svd(matrices[block], full_matrices=False)[2]
        tensors.append(blocks.inputs(int(block), v[order[at == block]].conj().T))
    return np.concatenate(tensors)
