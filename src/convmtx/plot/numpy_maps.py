"""Maps of any library as maps whose numbers are NumPy's, which pictures are drawn of."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import as_numpy
from convmtx.errors import UnsupportedError, with_article
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.structure.double import doubled


def to_numpy(op: Any) -> LinearMap:
    """Return a map with numbers of NumPy in a type that SciPy's sparse arrays take.

    A convolution keeps the type of its kernel where it can, so that integers are drawn as integers. Other maps are in
    double precision.
    """
    if not isinstance(op, ConvOperator):
        return doubled(op)
    kernel = as_numpy(op.kernel)
    # Types that NumPy does not know, such as bfloat16, have the kind V; SciPy has no sparse arrays of float16.
    if kernel.dtype.kind not in "iufc" or kernel.dtype == np.float16:
        kernel = kernel.astype(np.float32)
    return op if kernel is op.kernel else op.with_kernel(kernel)


def to_numpy_convolution(op: Any) -> ConvOperator:
    """Return a convolution with a kernel of NumPy; refuse other maps."""
    convolution = to_numpy(op)
    if not isinstance(convolution, ConvOperator):
        got = f"op is {with_article(type(op).__name__)}"
        raise UnsupportedError(got, "Expected a convolution", "Make one, for example with convmtx.conv")
    return convolution
