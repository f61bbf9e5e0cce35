"""Maps as operators of PyLops."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx.algebra import LinearMap
from convmtx.interop import needed


def to_pylops(op: LinearMap) -> Any:
    """A map as a PyLops operator, for its solvers and its algebra.

    Parameters
    ----------
    op : LinearMap
        Any map of NumPy's numbers.

    Returns
    -------
    pylops.LinearOperator
        With ``dims=op.in_shape`` and ``dimsd=op.out_shape``.

    Raises
    ------
    ImportError
        Without the extra ``pylops``.
    """
    pylops = needed("to_pylops", "pylops", "pylops")

    class Map(pylops.LinearOperator):  # type: ignore[misc, name-defined]
        """A map of convmtx."""

        def _matvec(self, x: Any) -> Any:
            return op.matvec(x)

        def _rmatvec(self, x: Any) -> Any:
            return op.rmatvec(x)

    return Map(dtype=np.dtype(op.dtype), dims=op.in_shape, dimsd=op.out_shape)
