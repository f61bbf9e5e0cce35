"""Least squares with convolutions: by structure, by factors of the matrix, or by iteration."""

from convmtx.solves.damping import Damping, choose_damp
from convmtx.solves.factorize import Factorization, factorize
from convmtx.solves.inverses import Inverse, inv, pinv, preconditioner
from convmtx.solves.richardson_lucy import Estimate, richardson_lucy
from convmtx.solves.select import predict_seconds
from convmtx.solves.solution import Solution
from convmtx.solves.solve import solve
from convmtx.solves.variance import Variance
from convmtx.solves.wiener import wiener

__all__ = [
    "Damping",
    "Estimate",
    "Factorization",
    "Inverse",
    "Solution",
    "Variance",
    "choose_damp",
    "factorize",
    "inv",
    "pinv",
    "preconditioner",
    "predict_seconds",
    "richardson_lucy",
    "solve",
    "wiener",
]  # fmt: skip
