"""Maps as PyLops operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx.errors import door
from convmtx.extras import import_extra
from convmtx.maps.linear_map import LinearMap, require_numpy_map


@door("to_pylops")
def to_pylops(op: LinearMap) -> Any:
    """Return a map as a PyLops operator, to be used with its solvers and its algebra.

    Parameters
    ----------
    op : LinearMap
        Any map with a NumPy kernel.

    Returns
    -------
    pylops.LinearOperator
        Its ``dims`` are ``op.in_shape`` and its ``dimsd`` are ``op.out_shape``. It applies the map and its adjoint by
        ``op.matvec`` and ``op.rmatvec``, without a matrix.

    Raises
    ------
    TypeError
        If ``op`` is not a map, or if its kernel is an array of another library.
    ImportError
        Without the extra ``pylops``.
    """
    require_numpy_map(op)
    pylops = import_extra("pylops", "pylops")

    class Map(pylops.LinearOperator):  # type: ignore[misc, name-defined]
        """Operator of PyLops that applies a map of convmtx."""

        def _matvec(self, x: Any) -> Any:
            return op.matvec(x)

        def _rmatvec(self, x: Any) -> Any:
            return op.rmatvec(x)

    return Map(dtype=np.dtype(op.dtype), dims=op.in_shape, dimsd=op.out_shape)
