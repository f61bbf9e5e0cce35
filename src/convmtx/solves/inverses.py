"""Inverses as maps: of a map itself, and of one near it that is easy to invert."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy
from convmtx.arguments import flag, one_of
from convmtx.errors import ArgumentError, ArgumentTypeError, SolveError, door, shown, with_article
from convmtx.forms import row_array
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.arrays import require_finite
from convmtx.solves.factors import Factors
from convmtx.solves.methods.lu import apply_to_any_dtype
from convmtx.solves.methods.preconditioners import KINDS, Kind, approximate
from convmtx.solves.problem import problem_of
from convmtx.solves.select import Solver
from convmtx.solves.solve import METHODS, Method
from convmtx.typing import AnyArray, Order, RowNumbers, Shape


class Side(Enum):
    """The map that an `Inverse` is, with ``H = A^H A + damp^2``."""

    #: ``H^+ A^H``, from outputs of A to its inputs.
    SOLVE = "solve"
    #: The transpose of that.
    TRANSPOSE = "transpose"
    #: ``H^+``, from inputs of A to its inputs.
    NORMAL = "normal"


class Inverse(LinearMap):
    """A map that solves: what `pinv`, `inv` and `preconditioner` return. Its matrix is dense.

    Attributes
    ----------
    method, reason : str
        The method, and why it was chosen.
    condition : float
        Condition number of the map that is inverted, exact or an estimate; ``nan`` if nothing is known.
    """

    factors: Factors
    reason: str
    side: Side
    #: Builds the inverse from the caller's arguments: factors are not pickled.
    rebuild: Callable[[], Inverse]
    conjugated: bool

    def __init__(
        self, factors: Factors, reason: str, side: Side, rebuild: Callable[[], Inverse], conjugated: bool = False
    ) -> None:
        self.factors, self.reason, self.side = factors, reason, side
        self.rebuild, self.conjugated = rebuild, conjugated

    @property
    def method(self) -> str:
        """The method of the solves."""
        return self.factors.method

    @property
    def condition(self) -> float:
        """Condition number of the map that is inverted, exact or an estimate; ``nan`` if nothing is known."""
        return self.factors.condition

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the matrix: float64 or complex128."""
        return self.factors.problem.dtype

    @property
    def in_shape(self) -> Shape:
        """Shape of one input."""
        op = self.factors.problem.op
        return op.out_shape if self.side is Side.SOLVE else op.in_shape

    @property
    def out_shape(self) -> Shape:
        """Shape of one output."""
        op = self.factors.problem.op
        return op.out_shape if self.side is Side.TRANSPOSE else op.in_shape

    @property
    def _reference_array(self) -> AnyArray:
        return np.empty(0, self.dtype)

    def __repr__(self) -> str:
        return f"Inverse {self.in_shape} -> {self.out_shape}, {self.dtype}, by {self.method}"

    def _apply(self, x: AnyArray) -> AnyArray:
        if not is_numpy(x):
            got = f"x is {with_article(type(x).__name__)}"
            raise ArgumentTypeError(got, "Inverses take arrays of NumPy", "Use cm.solve(op, b)")
        dtype, x = np.result_type(self.dtype, x), require_finite("x", x)
        if not len(x):
            return np.zeros((0, *self.out_shape), dtype)
        y = apply_to_any_dtype(self._solve, self.dtype, x.conj() if self.conjugated else x)
        return (y.conj() if self.conjugated else y).astype(dtype, copy=False)

    def _solve(self, x: AnyArray) -> AnyArray:
        """Apply the map that is not conjugated."""
        scale = self.factors.problem.scale
        match self.side:
            case Side.SOLVE:
                return self.factors.solve(x) / scale
            case Side.NORMAL:
                return self.factors.normal(x) / scale**2
            case Side.TRANSPOSE:
                return self.factors.image(x.conj()).conj() / scale

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return self.T._apply(y)

    @property
    def T(self) -> Inverse:
        """The transpose: ``(H^+ A^H)^T``, or the conjugate of an inverse that is its own adjoint."""
        if self.side is Side.NORMAL:
            return self.conj()
        side = Side.TRANSPOSE if self.side is Side.SOLVE else Side.SOLVE
        return Inverse(self.factors, self.reason, side, self.rebuild, self.conjugated)

    def conj(self) -> Inverse:
        """The map whose matrix entries are conjugated."""
        if self.dtype.kind != "c":
            return self
        return Inverse(self.factors, self.reason, self.side, self.rebuild, not self.conjugated)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.rebuild, self.side, self.conjugated)

    def _dense(self, order: Order) -> AnyArray:
        return self._columns_of_matrix(order, range(self.shape[1]))

    def _columns_of_matrix(self, order: Order, chosen: RowNumbers) -> AnyArray:
        """Return chosen columns, dense: the solution for each unit vector."""
        rows, columns = self.shape
        count = len(chosen)
        memory.require("dense", {"dense": self.dtype.itemsize * rows * count}, 64 * max(rows, columns) * count)
        identity = np.zeros((count, columns), self.dtype)
        identity[np.arange(count), row_array(chosen)] = 1
        identity = identity.reshape(-1, *reversed(self.in_shape) if order == "F" else self.in_shape)
        if order == "F":
            identity = identity.transpose(0, *range(len(self.in_shape), 0, -1))
        y = self._apply(identity)
        if order == "F":
            y = y.transpose(0, *range(len(self.out_shape), 0, -1))
        return np.ascontiguousarray(y.reshape(count, rows).T)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        from scipy.sparse import csr_array

        return csr_array(self._dense(order) if rows is None else self.T._columns_of_matrix(order, rows).T)


@door("pinv")
def pinv(op: LinearMap, *, damp: float = 0.0, rcond: float | None = None, method: Method = "auto") -> Inverse:
    """Return the pseudo-inverse as a map, or with damping Tikhonov's: ``(A^H A + damp^2 I)^-1 A^H``.

    Law: ``pinv(op)(b) == solve(op, b, damp=damp).x``; without damping ``pinv(op).to_dense()`` is
    ``numpy.linalg.pinv(op.to_dense())``.

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes.
    damp : float
        At least 0.
    rcond : float, optional
        Singular values up to ``rcond`` times the largest count as 0, as for `numpy.linalg.pinv`. By default only those
        that are rounding do.
    method : str
        As for `solve`.

    Returns
    -------
    Inverse
        A map of NumPy arrays, from ``op.out_shape`` to ``op.in_shape``, with ``T``, ``H`` and the rest of the algebra,
        and ``to_dense()`` if that fits in memory. It holds the factors that `factorize` builds. If the method iterates,
        each application is a solve to a tolerance of 1e-12.

    Raises
    ------
    ValueError, TypeError, MemoryError, LinAlgError
        As for `factorize`.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1.0, 2.0], 4)
    >>> np.allclose(cm.pinv(op).to_dense(), np.linalg.pinv(op.to_dense()))
    True
    """
    one_of("method", method, METHODS)
    choice = Solver(problem_of(op, damp, rcond=rcond).prepare(), method).chosen()
    rebuild = partial(pinv, op, damp=damp, rcond=rcond, method=method)
    return Inverse(choice.factors, choice.reason, Side.SOLVE, rebuild)


@door("inv")
def inv(op: LinearMap, *, method: Method = "auto") -> Inverse:
    """Return the inverse as a map: ``inv(op)(op(x)) == x``.

    Parameters
    ----------
    op : LinearMap
        A map whose matrix is square and has full rank, or what `aslinearmap` takes.
    method : str
        As for `solve`.

    Returns
    -------
    Inverse
        As for `pinv`.

    Raises
    ------
    LinAlgError
        If ``op`` is singular, and the method can detect it; iterations cannot.
    ValueError, TypeError, MemoryError
        If ``op`` is not square, and as for `solve`.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.inv(cm.conv([1.0, 2.0], 3, padding=((1, 0),))).to_dense()
    array([[ 0.5  ,  0.   ,  0.   ],
           [-0.25 ,  0.5  ,  0.   ],
           [ 0.125, -0.25 ,  0.5  ]])
    """
    problem = problem_of(op).prepare()
    rows, columns = problem.op.shape
    if rows != columns:
        got = f"op has a matrix of {rows} x {columns}"
        raise ArgumentError(got, "Expected a square one", "Use cm.pinv(op)")
    one_of("method", method, METHODS)
    choice = Solver(problem, method).chosen()
    if choice.factors.n_zero:
        got = f"op is singular: {choice.factors.n_zero} of {rows} singular values are 0 to rounding"
        raise SolveError(got, "Expected an invertible map", "Use cm.pinv(op)")
    return Inverse(choice.factors, choice.reason, Side.SOLVE, partial(inv, op, method=method))


def _restore(rebuild: Callable[[], Inverse], side: Side, conjugated: bool) -> Inverse:
    """Return an inverse that was pickled, computed again."""
    inverse = rebuild()
    return Inverse(inverse.factors, inverse.reason, side, rebuild, conjugated)


@door("preconditioner")
def preconditioner(op: LinearMap, kind: Kind = "embedded", *, damp: float = 0.0, normal: bool = True) -> Inverse:
    """Return the inverse of a map near ``op.H @ op + damp**2``: the ``M`` of SciPy's iterative solvers.

    Parameters
    ----------
    op : ConvOperator or LinearMap
        A convolution, or outputs of one that are selected or weighted, such as ``op[mask]``. Their preconditioner is
        that of the convolution, times the root mean square of the weights, with twice the damping.
    kind : {"embedded", "strang", "tchan", "dct", "kron"}
        The map that is inverted in place of ``op``. ``embedded``: the circulant on an image so much larger that windows
        do not wrap around; with it, iterations usually need the fewest steps. ``strang``, ``tchan``: circulants of the
        image's own size, with the same taps, or with the nearest ones. ``dct``: the even part of the kernel under the
        symmetric boundary. ``kron``: an outer product near the kernel. Try ``strang`` or ``tchan``, whose transforms
        are smaller, where steps are cheap, and ``dct`` for even kernels under a mirroring boundary. In all measured
        deblurring problems but one, ``strang`` and ``tchan`` took 1.1 to 3.5 times the steps of ``embedded``.
    damp : float
        At least 0.
    normal : bool
        If False, return the inverse of a map near ``op`` itself, which has to be square: for `scipy.sparse.linalg.cg`
        or ``gmres`` on ``op``.

    Returns
    -------
    Inverse
        A map from ``op.in_shape`` to itself, Hermitian positive definite. With ``normal=False``, a map from
        ``op.out_shape`` to ``op.in_shape``.

    Raises
    ------
    ValueError, TypeError, MemoryError
        If ``kind`` does not apply: all kinds but ``embedded`` need stride 1 and as many outputs as inputs on each axis.
    LinAlgError
        If the map that is inverted is singular, and ``damp`` is 0.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> from scipy.sparse.linalg import cg, LinearOperator
    >>> op, b = cm.conv([1.0, 2.0, 3.0, 2.0, 1.0], 500, padding="same"), np.ones(500)
    >>> P = cm.preconditioner(op, damp=0.5)
    >>> normal = LinearOperator(P.shape, lambda v: op.H @ (op @ v) + 0.25 * v, dtype=float)
    >>> x, failed = cg(normal, op.H @ b, M=P, rtol=1e-10)
    >>> failed, np.allclose(x, cm.solve(op, b, damp=0.5).x)
    (0, True)
    """
    one_of("kind", kind, tuple(KINDS))
    flag("normal", normal)
    problem = problem_of(op, damp).prepare()
    rows, columns = problem.op.shape
    if not normal and (problem.damp or rows != columns):
        got = f"normal=False with damp={shown(damp)} and a matrix of {rows} x {columns}"
        raise ArgumentError(got, "Expected a square map without damping", "Leave out normal=False")
    factors = approximate(problem, kind)
    if factors.n_zero:
        got = f"the {factors.method} is singular"
        raise SolveError(got, "Expected one with an inverse", "Pass damp > 0")
    rebuild = partial(preconditioner, op, kind, damp=damp, normal=normal)
    return Inverse(factors, factors.method, Side.NORMAL if normal else Side.SOLVE, rebuild)
