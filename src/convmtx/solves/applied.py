"""How a map is applied again and again: by its engine, or by its sparse matrix where that is faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from convmtx import costs
from convmtx.engines.select import select
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.structure.double import sparse
from convmtx.typing import AnyArray

#: Entries of a matrix that is taken without asking what an engine would take, and of one that is taken at all.
SMALL, LARGE = 150_000, 5_000_000
#: Seconds of a product with the matrix, in all and for each entry; beside what is predicted for an engine; and for each
#: number of a map that is no convolution.
CALL, ENTRY, BESIDE, NUMBER = 1e-5, 5.5e-10, 5e-5, 1e-7
Apply = Callable[[AnyArray], AnyArray]


class Applied(NamedTuple):
    """A map of (m, *in_shape) to (m, *out_shape), its adjoint, and what one of these should take for m = 1."""

    forward: Apply
    adjoint: Apply
    seconds: float


def applied(op: LinearMap) -> Applied:
    """The map as it is applied fastest."""
    if not isinstance(op, ConvOperator):
        return Applied(op, op.H, NUMBER * sum(op.shape))
    dtype = np.result_type(op.dtype, np.float64)
    by_matrix = CALL + ENTRY * op.nnz
    if op.nnz > SMALL:
        choice = select("auto", op._plan, dtype, 1)
        by_engine = BESIDE + costs.seconds(choice.works[choice.name])
        if by_engine < by_matrix or op.nnz > LARGE:
            return Applied(op, op.H, by_engine)
    matrix = sparse(op)
    back = matrix.T if dtype.kind != "c" else matrix.conj().T
    return Applied(partial(_product, matrix, op.out_shape), partial(_product, back, op.in_shape), by_matrix)


def _product(matrix: Any, shape: tuple[int, ...], x: AnyArray) -> AnyArray:
    """A matrix applied to flattened arrays."""
    if len(x) == 1:
        return (matrix @ x.reshape(-1)).reshape(1, *shape)
    return (matrix @ x.reshape(len(x), -1).T).T.reshape(-1, *shape)
