"""Least squares with convolutions: by structure where there is any, by factors where that is quick, or by iteration."""

from convmtx.solves.choosing import Damping, choose_damp, wiener
from convmtx.solves.inverses import Inverse, inv, pinv, preconditioner
from convmtx.solves.solution import Solution
from convmtx.solves.solving import Factorization, factorize, foreseen, solve

__all__ = [
    "Damping", "Factorization", "Inverse", "Solution", "choose_damp", "factorize", "foreseen", "inv", "pinv",
    "preconditioner", "solve", "wiener",
]  # fmt: skip
