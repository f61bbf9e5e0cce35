"""Exports that maps offer as methods, such as `op.to_torch()`: this file puts them into maps' registry.

Their modules are imported on first use, because most programs never export a map.
"""

from typing import Any

from convmtx.maps.exports import register


def to_torch(op: Any) -> Any:
    """Return a map as a `torch.nn.Module`."""
    from convmtx.interop.torch.modules import module_of

    return module_of(op)


def to_onnx(op: Any) -> Any:
    """Return a map as a model of ONNX."""
    from convmtx.interop.onnx.export import model_of

    return model_of(op)


def to_dask(op: Any, rows: Any, order: Any) -> Any:
    """Return the matrix of a map as an array of Dask."""
    from convmtx.interop.dask import slabs

    return slabs(op, rows, order)


register("to_dask", to_dask)
register("to_torch", to_torch)
register("to_onnx", to_onnx)
