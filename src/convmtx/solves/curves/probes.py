"""Starts of estimated curves: the data, and random signs for the degrees of freedom."""

from __future__ import annotations

import numpy as np

from convmtx import memory
from convmtx.solves.problem import Problem
from convmtx.typing import AnyArray


def with_probes(problem: Problem, b: AnyArray, n_probes: int, numbers: int) -> AnyArray:
    """Return right-hand sides (m, *out_shape) and arrays of random signs, if there is room for the numbers of each."""
    memory.require("vectors", {"vectors": (len(b) + n_probes) * numbers * b.dtype.itemsize})
    signs = np.random.default_rng(0).integers(0, 2, (n_probes, *problem.op.out_shape)) * 2.0 - 1.0
    return np.concatenate([b, signs])
