"""What a picture is drawn of: a map whose numbers are NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import as_numpy
from convmtx.errors import UnsupportedError
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.structure.double import doubled


def numbers(op: Any) -> LinearMap:
    """The map with numbers of NumPy that SciPy's sparse arrays hold; of a convolution whole numbers stay whole."""
    if not isinstance(op, ConvOperator):
        return doubled(op)
    kernel = as_numpy(op.kernel)
    if kernel.dtype.kind not in "iufc" or kernel.dtype == np.float16:  # among them bfloat16, which NumPy does not know
        kernel = kernel.astype(np.float32)
    return op if kernel is op.kernel else op.with_kernel(kernel)


def convolution(op: Any) -> ConvOperator:
    """The same, of a convolution."""
    subject = numbers(op)
    if not isinstance(subject, ConvOperator):
        got = f"op is a {type(op).__name__}"
        raise UnsupportedError(got, "Wanted a convolution", "Make one, as with convmtx.conv")
    return subject
