"""What a spectrum is asked of: the map in double precision of NumPy, checked once."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import as_numpy
from convmtx.errors import ArgumentError, ArgumentTypeError
from convmtx.geometry import Axis
from convmtx.maps.composites import Product, Scaled, Sum, Transposed
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.elementary import AlongAxis, Augmented, Rearranged
from convmtx.maps.kernel_operator import KernelOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray

#: Bytes for each tap of an output and each input: to list what is read, and to sort it into parts (59 were measured).
LISTED, SPLIT = 24, 64


def doubled(op: Any, name: str = "op") -> LinearMap:
    """The map with all its numbers in float64 or complex128 of NumPy, if they are finite; ``name`` is the argument."""
    if not isinstance(op, LinearMap):
        remedy = "Pass A.op, the linear part" if hasattr(op, "op") else "Make one, as with convmtx.conv"
        raise ArgumentTypeError(f"{name} is a {type(op).__name__}", "Wanted a map of convmtx", remedy)
    match op:
        case ConvOperator():
            return op.with_kernel(double(op.kernel))
        case Transposed():
            return doubled(op.op).T
        case Scaled():
            number = op.scalar if hasattr(op.scalar, "dtype") else np.asarray(op.scalar)
            return Scaled(doubled(op.op), double(number)[()])
        case Sum():
            return Sum(*(doubled(term) for term in op.terms))
        case Product():
            return Product(*(doubled(factor) for factor in op.factors))
        case AlongAxis():
            return AlongAxis(double(op.matrix), op.in_shape, op.axis)
        case Augmented():
            return Augmented(doubled(op.op), double(op.offset))
        case KernelOperator():
            return op.with_input(double(op.input))
        case Rearranged():
            return Rearranged(op.in_shape, op.axes, op.out_shape)
    return op


def double(kernel: Any) -> AnyArray:
    """A kernel of any library in double precision, if it is finite."""
    array = as_numpy(kernel)
    array = array.astype(np.result_type(array, np.float64), copy=False)
    if array.dtype.itemsize > 16 or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        with np.errstate(over="ignore"):  # which is inf, and refused
            array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    if not np.isfinite(array).all():
        raise ArgumentError("the kernel holds inf or nan", "Wanted finite numbers", "Check the kernel")
    return array


def dense(op: LinearMap) -> AnyArray:
    """The matrix in double precision; room for decomposing it is asked for first."""
    rows, columns = op.shape
    memory.require("dense", {"dense": 16 * rows * columns}, 16 * rows * columns)
    matrix = np.asarray(op.to_dense())
    return matrix.astype(np.result_type(matrix, np.float64), copy=False)  # maps of integers alone stay integers


def require_along(*axes: Axis, split: bool = False) -> None:
    """Refuse axes of which the inputs that each output reads, or their frequencies, cannot be listed.

    With ``split``, they are also sorted into parts that share no tap, which takes more.
    """
    each = SPLIT if split else LISTED
    size = sum(each * (axis.out * axis.kernel + axis.size) for axis in axes)
    inputs, outputs = (_counted([getattr(axis, name) for axis in axes]) for name in ("size", "out"))
    what = f"listing {inputs} inputs and {outputs} outputs along an axis"
    memory.require_result(what, size, "Use a shorter input; cm.sup_norm does not depend on its size")


def _counted(sizes: list[int]) -> str:
    return " and ".join(map(str, dict.fromkeys(sizes)))


def sparse(op: LinearMap) -> Any:
    """The matrix in double precision, in CSR form."""
    matrix: Any = op.to_sparse("csr")
    return matrix.astype(np.result_type(op.dtype, np.float64), copy=False)


def is_zero(op: LinearMap) -> bool:
    """Whether the map is a convolution whose kernel is all zeros."""
    return isinstance(op, ConvOperator) and not op.kernel.any()


def direct(op: LinearMap) -> LinearMap:
    """A map of the same singular values: without the transposition of one that is no convolution."""
    return op.op if isinstance(op, Transposed) else op
