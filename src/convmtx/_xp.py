"""The only room that knows array libraries differ. Today: what counts as a numeric NumPy array."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx.errors import ArgumentTypeError, sentence
from convmtx.typing import AnyArray

_KINDS = "iufc"


def numeric(call: str, name: str, value: Any) -> AnyArray:
    """``value`` as an ndarray of integers, floats or complex numbers in native byte order; copied only if need be.

    Arrays of other libraries are refused, for converting them would lose their device and their
    gradient without a word; so are masked arrays, for their mask would be lost.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentTypeError(
            sentence(call, f"{name} is a masked array", "Wanted every entry", "Pass x.filled(0) if that is meant")
        )
    if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise ArgumentTypeError(
            sentence(call, f"{name} is a {kind}", "Wanted a NumPy array", "Convert it, as with numpy.asarray(x)")
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        got = f"{name} of type {type(value).__name__} is no array ({error})"
        raise ArgumentTypeError(sentence(call, got, "Wanted a numeric array", "Pass an ndarray")) from None
    if array.dtype.kind not in _KINDS:
        remedy = "Cast it first, as with x.astype(np.int64)" if array.dtype.kind == "b" else "Pass an ndarray"
        raise ArgumentTypeError(
            sentence(call, f"{name} has dtype {array.dtype}", "Wanted integers, floats or complex numbers", remedy)
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # SciPy reads no foreign byte order
