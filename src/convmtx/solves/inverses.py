"""Inverses as maps: of the map itself, and of one near it that is easy to invert."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy
from convmtx.arguments import flag, one_of
from convmtx.errors import ArgumentError, ArgumentTypeError, SolveError, door, shown
from convmtx.forms import row_array
from convmtx.maps.linear_map import LinearMap
from convmtx.solves import outcome
from convmtx.solves.answered import finite
from convmtx.solves.approximations import KINDS, approximated
from convmtx.solves.lu import Singular, of_any_dtype
from convmtx.solves.outcome import Made
from convmtx.solves.problem import Problem, checked
from convmtx.solves.solution import Factors
from convmtx.solves.solver import scaled
from convmtx.solves.solving import METHODS, Method, singular
from convmtx.typing import AnyArray, Order, RowNumbers, Shape


class Inverse(LinearMap):
    """A map that solves: what `pinv`, `inv` and `preconditioner` make. Its matrix is dense.

    Attributes
    ----------
    method, reason : str
        How it solves, and why so.
    condition : float
        Condition number of what it inverts, exact or an estimate; ``nan`` where nothing is known.
    """

    def __init__(
        self,
        factors: Factors,
        scale: float,
        reason: str,
        side: str,
        again: Callable[[], Inverse],
        conjugated: bool = False,
    ) -> None:
        vars(self).update(
            factors=factors, scale=scale, reason=reason, side=side, again=again, conjugated=conjugated,
            dtype=factors.problem.dtype,
        )  # fmt: skip

    factors: Factors
    scale: float
    reason: str
    #: Whether it is ``H^+ A^H`` ("solve"), its transpose ("transpose"), or ``H^+`` ("normal").
    side: str
    #: Makes it, as it was first made: factors are not pickled.
    again: Callable[[], Inverse]
    dtype: np.dtype[Any] = np.dtype(np.float64)
    conjugated: bool

    @property
    def method(self) -> str:
        """How it solves."""
        return self.factors.method

    @property
    def condition(self) -> float:
        """Condition number of what it inverts, exact or an estimate; ``nan`` where nothing is known."""
        return self.factors.condition

    @property
    def in_shape(self) -> Shape:
        """Of one input."""
        op = self.factors.problem.op
        return op.out_shape if self.side == "solve" else op.in_shape

    @property
    def out_shape(self) -> Shape:
        """Of one output."""
        op = self.factors.problem.op
        return op.out_shape if self.side == "transpose" else op.in_shape

    @property
    def _reference_array(self) -> AnyArray:
        return np.empty(0, self.dtype)

    def __repr__(self) -> str:
        return f"Inverse {self.in_shape} -> {self.out_shape}, {self.dtype}, by {self.method}"

    def _apply(self, x: AnyArray) -> AnyArray:
        if not is_numpy(x):
            got = f"x is a {type(x).__name__}"
            raise ArgumentTypeError(got, "Inverses take arrays of NumPy", "Use cm.solve(op, b)")
        wanted, x = np.result_type(self.dtype, x), finite("x", x)
        if not len(x):
            return np.zeros((0, *self.out_shape), wanted)
        y = of_any_dtype(self._applied, self.dtype)(x.conj() if self.conjugated else x)
        return (y.conj() if self.conjugated else y).astype(wanted, copy=False)

    def _applied(self, x: AnyArray) -> AnyArray:
        if self.side == "solve":
            return self.factors.solve(x) / self.scale
        if self.side == "normal":
            return self.factors.normal(x) / self.scale**2
        return self.factors.image(x.conj()).conj() / self.scale

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        return self.T._apply(y)

    @property
    def T(self) -> Inverse:
        """The transpose: ``(H^+ A^H)^T``, or the conjugate where that is its own adjoint."""
        if self.side == "normal":
            return self.conj()
        return self._with(side="transpose" if self.side == "solve" else "solve")

    def conj(self) -> Inverse:
        """The map whose matrix entries are conjugated."""
        return self._with(conjugated=not self.conjugated) if self.dtype.kind == "c" else self

    def _with(self, **changed: Any) -> Inverse:
        kept = {name: vars(self)[name] for name in ("factors", "scale", "reason", "side", "again", "conjugated")}
        return Inverse(**{**kept, **changed})

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.again, self.side, self.conjugated)

    def _dense(self, order: Order) -> AnyArray:
        return self._columns_of_matrix(order, range(self.shape[1]))

    def _columns_of_matrix(self, order: Order, chosen: RowNumbers) -> AnyArray:
        """Some columns, dense: the solution for each unit vector."""
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
def pinv(op: LinearMap, *, damp: float = 0.0, method: Method = "auto") -> Inverse:
    """The pseudo-inverse as a map, or with damping Tikhonov's: ``(A^H A + damp^2 I)^-1 A^H``.

    Law: ``pinv(op)(b) == solve(op, b, damp=damp).x``; without damping ``pinv(op).to_dense()`` is
    ``numpy.linalg.pinv(op.to_dense())``.

    Parameters
    ----------
    op : LinearMap
        Any map.
    damp : float
        At least 0.
    method : str
        As for `solve`.

    Returns
    -------
    Inverse
        A map of arrays of NumPy, from ``op.out_shape`` to ``op.in_shape``, with ``T``, ``H`` and the rest of the
        algebra; ``to_dense()`` where that fits. What `factorize` makes is in it. Where it iterates, each application
        is a solve to a tolerance of 1e-12.

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
    problem, scale = scaled(checked(op, damp, None))
    found = _made(problem, method)
    again = partial(pinv, op, damp=damp, method=method)
    return Inverse(found.factors, scale, found.reason, "solve", again)


@door("inv")
def inv(op: LinearMap, *, method: Method = "auto") -> Inverse:
    """The inverse as a map: ``inv(op)(op(x)) == x``.

    Parameters
    ----------
    op : LinearMap
        A map whose matrix is square and has full rank.
    method : str
        As for `solve`.

    Returns
    -------
    Inverse
        As of `pinv`.

    Raises
    ------
    LinAlgError
        Where it is singular, as far as the method can tell; iterations cannot.
    ValueError, TypeError, MemoryError
        Where it is not square, and as for `solve`.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.inv(cm.conv([1.0, 2.0], 3, padding=((1, 0),))).to_dense()
    array([[ 0.5  ,  0.   ,  0.   ],
           [-0.25 ,  0.5  ,  0.   ],
           [ 0.125, -0.25 ,  0.5  ]])
    """
    problem = checked(op, 0.0, None)
    if op.shape[0] != op.shape[1]:
        got = f"op has a matrix of {op.shape[0]} x {op.shape[1]}"
        raise ArgumentError(got, "Wanted a square one", "Use cm.pinv(op)")
    one_of("method", method, METHODS)
    problem, scale = scaled(problem)
    found = _made(problem, method)
    if found.factors.missing:
        got = f"op is singular: {found.factors.missing} of {op.shape[0]} singular values are 0 to rounding"
        raise SolveError(got, "Wanted an invertible map", "Use cm.pinv(op)")
    return Inverse(found.factors, scale, found.reason, "solve", partial(inv, op, method=method))


def _again(make: Callable[[], Inverse], side: str, conjugated: bool) -> Inverse:
    """An inverse that was pickled, made again."""
    return make()._with(side=side, conjugated=conjugated)


def _made(problem: Problem, method: str) -> Made:
    try:
        return outcome.factors_for_many(problem, method)
    except Singular as error:
        raise singular(error) from None


Kind = Literal["embedded", "strang", "tchan", "dct", "kron"]


@door("preconditioner")
def preconditioner(op: LinearMap, kind: Kind = "embedded", *, damp: float = 0.0, normal: bool = True) -> Inverse:
    """The inverse of a map near ``op.H @ op + damp**2``: what iterative solvers of SciPy take as ``M``.

    Parameters
    ----------
    op : ConvOperator
        A convolution.
    kind : {"embedded", "strang", "tchan", "dct", "kron"}
        The map that is inverted in its place. ``embedded``: the circulant on an image so much larger that windows do
        not come around, which mostly needs the fewest iterations. ``strang``, ``tchan``: circulants of the image's own
        size, with the same taps, or with those that are nearest. ``dct``: the even part of the kernel under the
        symmetric boundary. ``kron``: an outer product near the kernel.
    damp : float
        At least 0.
    normal : bool
        With False, near the inverse of a square map itself: for `scipy.sparse.linalg.cg` or ``gmres`` on ``op``.

    Returns
    -------
    Inverse
        From ``op.in_shape`` to itself, Hermitian positive definite (with ``normal=False`` from ``op.out_shape``).

    Raises
    ------
    ValueError, TypeError, MemoryError
        Where ``kind`` does not apply: all but ``embedded`` need stride 1 and as many outputs as inputs on each axis.
    LinAlgError
        Where the near map is singular, and ``damp`` is 0.

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
    problem, scale = scaled(checked(op, damp, None))
    if not normal and (problem.damp or op.shape[0] != op.shape[1]):
        got = f"normal=False with damp={shown(damp)} and a matrix of {op.shape[0]} x {op.shape[1]}"
        raise ArgumentError(got, "Wanted a square map without damping", "Leave out normal=False")
    factors = approximated(problem, kind)
    if factors.missing:
        got = f"the {factors.method} is singular"
        raise SolveError(got, "Wanted one with an inverse", "Pass damp > 0")
    again = partial(preconditioner, op, kind, damp=damp, normal=normal)
    return Inverse(factors, scale, factors.method, "normal" if normal else "solve", again)
