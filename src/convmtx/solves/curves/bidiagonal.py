"""Golub-Kahan bidiagonalization: quadrature rules for functions of a map's singular values, from products with the map.

From a vector u of outputs, k steps give a bidiagonal matrix B. Its singular values are nodes, and the squares of the
first entries of its left singular vectors are weights: ``u^H f(A A^H) u`` is near ``|u|^2 sum w f(s^2)`` (Golub,
Meurant, Matrices, Moments and Quadrature, 2010). No vectors are kept. Rounding makes copies of nodes, which share the
weight of one, so that sums do not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convmtx.engines.threads import one_blas_thread
from convmtx.solves.methods.conjugate import Apply, column, products
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray


@dataclass(frozen=True, eq=False)
class Rules:
    """Squares of the nodes, and the weights, of each start: (m, number of nodes)."""

    squares: AnyArray
    weights: AnyArray


class Bidiagonalization:
    """Steps from starts (m, *out_shape), all at once.

    ``forward`` maps (m, *in_shape) to (m, *out_shape), and ``adjoint`` is its conjugate transpose.
    """

    def __init__(self, forward: Apply, adjoint: Apply, starts: AnyArray) -> None:
        self.forward, self.adjoint = forward, adjoint
        self.energies = products(starts, starts)
        self._u = starts.copy()
        _divide(self._u, np.sqrt(self.energies))
        self._v = self.adjoint(self._u)
        self.alphas: list[AnyArray] = []
        self.betas: list[AnyArray] = []
        self._scale_inputs()

    @property
    def steps(self) -> int:
        """Number of steps that were taken."""
        return len(self.betas)

    def advance(self, steps: int) -> None:
        """Take steps: ``beta u = A v - alpha u``, then ``alpha v = A^H u - beta v``."""
        for _ in range(steps):
            _replace(self._u, self.alphas[-1], self.forward(self._v))
            beta = np.sqrt(products(self._u, self._u))
            _divide(self._u, beta)
            self.betas.append(beta)
            _replace(self._v, beta, self.adjoint(self._u))
            self._scale_inputs()

    def _scale_inputs(self) -> None:
        """Divide v by alpha, its norm."""
        alpha = np.sqrt(products(self._v, self._v))
        self.alphas.append(alpha)
        _divide(self._v, alpha)

    def rules(self, steps: int, with_zero: bool) -> Rules:
        """Return Gauss' rules of the first steps, or Radau's with a node at 0.

        For functions whose derivatives alternate in sign, such as ``(d^2 / (t + d^2))^2``, Gauss' rule is a lower bound
        and Radau's an upper one (Golub, von Matt, Numer. Math. 59, 1991). Radau's is that of the projected problem, in
        which x is a combination of the vectors v. The nodes are eigenvalues of ``B B^H``, which is tridiagonal.
        """
        from scipy.linalg import eigh_tridiagonal

        alphas, betas = np.array(self.alphas[:steps]), np.array(self.betas[:steps])
        diagonals, beside = alphas**2, alphas * betas
        diagonals[1:] += betas[:-1] ** 2
        if with_zero:
            diagonals = np.concatenate([diagonals, betas[-1:] ** 2])
        else:
            beside = beside[:-1]
        squares, weights = np.empty_like(diagonals.T), np.empty_like(diagonals.T)
        with one_blas_thread():
            for j in range(diagonals.shape[1]):
                squares[j], vectors = eigh_tridiagonal(diagonals[:, j], beside[:, j])
                weights[j] = self.energies[j] * vectors[0] ** 2
        noise = EPS * len(diagonals) * squares.max(axis=1, keepdims=True)
        return Rules(np.where(squares > noise, squares, 0.0), weights)


def _replace(arrays: AnyArray, factors: AnyArray, images: AnyArray) -> None:
    """Overwrite arrays with ``images - factors * arrays``."""
    arrays *= column(-factors, arrays)
    arrays += images


def _divide(arrays: AnyArray, norms: AnyArray) -> None:
    """Divide arrays by their norms; what ended at 0 stays 0, and its further nodes have no weight."""
    arrays *= column(np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0), arrays)
