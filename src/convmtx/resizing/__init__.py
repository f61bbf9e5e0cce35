"""Resizing as a linear map: `cm.resize`, and the matrix of one axis by the rules of each library."""

from convmtx.resizing.libraries import jax_axis, onnx_axis, pil_axis, tf_axis, torch_axis
from convmtx.resizing.resize import resize

__all__ = ["jax_axis", "onnx_axis", "pil_axis", "resize", "tf_axis", "torch_axis"]
