"""Maps as operators of PyLops."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import is_numpy, library
from convmtx.errors import ArgumentTypeError, door
from convmtx.extras import needed
from convmtx.maps.linear_map import LinearMap


@door("to_pylops")
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
    TypeError
        Where it is no map, or one of another library's numbers.
    ImportError
        Without the extra ``pylops``.
    """
    if not isinstance(op, LinearMap):
        got, remedy = f"op is a {type(op).__name__}", "Pass what cm.conv makes, and of an affine map its .op"
        raise ArgumentTypeError(got, "Wanted a map of convmtx", remedy)
    if not is_numpy(op._reference_array):
        got = f"a map of {library(op._reference_array)}"
        raise ArgumentTypeError(got, "Wanted one of NumPy's numbers", "Make it with NumPy's kernel")
    pylops = needed("pylops", "pylops")

    class Map(pylops.LinearOperator):  # type: ignore[misc, name-defined]
        """A map of convmtx."""

        def _matvec(self, x: Any) -> Any:
            return op.matvec(x)

        def _rmatvec(self, x: Any) -> Any:
            return op.rmatvec(x)

    return Map(dtype=np.dtype(op.dtype), dims=op.in_shape, dimsd=op.out_shape)
