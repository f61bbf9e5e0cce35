"""Numbers in NumPy's double precision, in which spectra and solves compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import as_numpy, is_complex
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentError
from convmtx.typing import AnyArray


def double(array: Any, owner: str = "the kernel") -> AnyArray:
    """Return an array of any library in float64 or complex128 of NumPy; refuse inf and nan.

    Raises
    ------
    ArgumentError
        If a number is not finite, or too large for double precision. ``owner`` names the array in the message.
    """
    numbers = as_numpy(array)
    with np.errstate(over="ignore"):  # a long double that is too large becomes inf, which is refused
        numbers = numbers.astype(double_type(numbers.dtype), copy=False)
    require_finite(numbers, owner)
    return numbers


def double_csr(matrix: Any, owner: str) -> Any:
    """Return a CSR array or `Coordinates` as a CSR array of SciPy in double precision, as `double` does."""
    from scipy.sparse import csr_array

    data = double(matrix.data, owner)
    if isinstance(matrix, Coordinates):
        return csr_array((data, (matrix.rows, matrix.columns)), shape=matrix.shape)
    return csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def double_type(dtype: Any) -> np.dtype[Any]:
    """Return complex128 for a complex type of any library, and float64 for any other."""
    return np.dtype(np.complex128 if is_complex(dtype) else np.float64)


def require_finite(numbers: AnyArray, owner: str) -> None:
    """Refuse an array of NumPy that contains inf or nan."""
    if not np.isfinite(numbers).all():
        raise ArgumentError(f"{owner} contains inf or nan", "Expected finite numbers", "Check where they come from")
