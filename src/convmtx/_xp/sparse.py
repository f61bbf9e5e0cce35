"""Sparse arrays of each library that has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import library, like, namespace
from convmtx.typing import Array

#: Formats by library. JAX has coordinates only (BCOO), whatever is asked for.
FORMATS = {"torch": ("csr", "csc", "coo"), "jax": ("csr", "coo"), "cupy": ("csr", "csc", "coo")}


def made(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    """The array with these values, in row order; places are columns and row pointers, or rows and columns for JAX."""
    return {"torch": _torch, "jax": _jax, "cupy": _cupy}[library(values)](format, values, places, shape)


def _torch(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    import torch

    columns, pointers = (like(each.astype(np.int64), values) for each in places)
    if format == "csr":
        return torch.sparse_csr_tensor(pointers, columns, values, shape, check_invariants=False)
    if format == "coo":
        rows = np.repeat(np.arange(shape[0]), np.diff(places[1]))
        at = torch.stack([like(rows, values), columns])
        return torch.sparse_coo_tensor(at, values, shape, is_coalesced=True, check_invariants=False)
    order, lower, starts = _by_column(places[0], places[1], shape)
    return torch.sparse_csc_tensor(
        like(starts, values), like(lower, values), values[like(order, values)], shape, check_invariants=False
    )


def _by_column(columns: Any, pointers: Any, shape: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Which entry stands at each place of the columns, its row, and where columns start."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.arange(columns.size), columns, pointers), shape=shape).tocsc()
    return matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)


def _jax(_format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    from jax.experimental.sparse import BCOO

    xp = namespace(values)
    if isinstance(places[1], np.ndarray):  # some rows, worked out in NumPy
        rows = np.repeat(np.arange(shape[0]), np.diff(places[1]))
        places = [rows, places[0]]
    at = xp.stack([xp.asarray(each) for each in places], axis=1)
    return BCOO((values, at), shape=shape, indices_sorted=True, unique_indices=True)


def _cupy(format: str, values: Array, places: list[Any], shape: tuple[int, int]) -> Any:
    from cupyx.scipy import sparse  # type: ignore[import-not-found]

    columns, pointers = (like(each, values) for each in places)
    return sparse.csr_matrix((values, columns, pointers), shape=shape).asformat(format)
