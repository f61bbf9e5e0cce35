"""Converters of ONNX nodes that are affine maps, by the name of the operator.

A converter takes a `Node`. It returns a linear map or an affine one, a `Combined` for a node that may take several
tensors, or maps by the name of the output. An attribute that it does not take is refused. A node that is not such a map
raises an error of convmtx, whose message becomes the reason in ``.skipped``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convmtx.interop.onnx.node import Node
from convmtx.interop.onnx.nodes import (
    elementwise,
    joining,
    moving,
    products,
    quantized,
    reductions,
    resizing,
    signals,
    windows,
)

CONVERTERS: dict[str, Callable[[Node], Any]] = {
    name: converter
    for room in (windows, products, elementwise, moving, joining, resizing, reductions, signals, quantized)
    for name, converter in room.CONVERTERS.items()
}
