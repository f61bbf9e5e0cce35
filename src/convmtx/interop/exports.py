"""Exports that maps offer as methods, `op.to_torch()` and `op.to_onnx()`: this file puts them into maps' registry."""

from convmtx.interop.onnx.export import model_of
from convmtx.interop.torch import module_of
from convmtx.maps.exports import register

register("to_torch", module_of)
register("to_onnx", model_of)
