"""The only room that knows array libraries differ: NumPy, and all that the array API standard makes alike.

NumPy stays the quick case, and no other library is imported unless an array of its own comes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp.arriving import converted
from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentTypeError
from convmtx.typing import Array, IntArray

_KINDS = "iufc"
#: Names of the types of numbers that arrays of other libraries may have: all of NumPy's, and bfloat16.
_TYPES = {"bfloat16", *(np.dtype(code).name for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"])}
#: Of each type of arrays that has come.
_NAMESPACES: dict[type, Any] = {}


def numeric(name: str, value: Any) -> Array:
    """``value`` as an array of integers, floats or complex numbers, of the library it came from.

    What is no array becomes NumPy's, in native byte order; copied only if need be. Masked arrays are refused, for
    their mask would be lost, and large ones of a library that would compute or read all of them.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentTypeError(f"{name} is a masked array", "Wanted every entry", "Pass x.filled(0) if that is meant")
    if not isinstance(value, np.ndarray | np.generic | type) and hasattr(value, "__dlpack__"):
        return _foreign(name, value)
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else converted(name, value)
    kind, registered = array.dtype.kind, array.dtype.isbuiltin == 2  # with NumPy by others: float8, bfloat16, int4
    if kind not in _KINDS or registered:
        usual = {"b": "int64"}.get(kind, "float64" if registered else "")
        remedy = f"Cast it first, as with x.astype(np.{usual})" if usual else "Pass an ndarray"
        raise _not_numeric(name, array.dtype, remedy)
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # SciPy reads no foreign byte order


def _foreign(name: str, value: Any) -> Array:
    if type(value) not in _NAMESPACES and not _is_array(value):
        got = f"{name} is a {type(value).__module__}.{type(value).__qualname__}"
        wanted = "Wanted an array of NumPy, PyTorch, JAX, CuPy or another library of the array API standard"
        raise ArgumentTypeError(got, wanted, "Convert it, as with numpy.asarray(x)")
    if getattr(value, "is_nested", False):
        wanted, remedy = "Wanted one shape", "Pass x.to_padded_tensor(0.0) if that is meant, or each of x.unbind()"
        raise ArgumentTypeError(f"{name} is a nested tensor", wanted, remedy)
    if str(getattr(value, "layout", "torch.strided")) != "torch.strided":
        got = f"{name} is a tensor of layout {value.layout}"
        raise ArgumentTypeError(got, "Wanted a dense one", "Pass x.to_dense()")
    if str(value.dtype).rpartition(".")[2] not in _TYPES:
        raise _not_numeric(name, value.dtype, "Cast it first")
    return value


def _is_array(value: Any) -> bool:
    from array_api_compat import is_array_api_obj

    return is_array_api_obj(value)


def _not_numeric(name: str, dtype: Any, remedy: str) -> ArgumentTypeError:
    got = f"{name} has dtype {dtype}"
    return ArgumentTypeError(got, "Wanted integers, floats or complex numbers of a type that NumPy has", remedy)


def namespace(array: Any) -> Any:
    """The module of functions for this array, as the array API standard has them."""
    if is_numpy(array):
        return np
    kind = type(array)
    if kind not in _NAMESPACES:
        from array_api_compat import array_namespace

        _NAMESPACES[kind] = array_namespace(array)
    return _NAMESPACES[kind]


def is_numpy(array: Any) -> bool:
    """Whether this is NumPy's own array."""
    return isinstance(array, np.ndarray | np.generic)


def library(array: Any) -> str:
    """Name of the library an array belongs to."""
    return "numpy" if is_numpy(array) else namespace(array).__name__.removeprefix("array_api_compat.").partition(".")[0]


def is_complex(dtype: Any) -> bool:
    """Whether numbers of this type have an imaginary part."""
    return "complex" in str(dtype)


def is_unsigned(dtype: Any) -> bool:
    """Whether this is a type of integers without negative ones."""
    return "uint" in str(dtype)


def integer_limits(dtype: Any) -> tuple[int, int] | None:
    """The least and the largest number of a type of integers; None for other types."""
    name = str(dtype).rpartition(".")[2]
    if not name.startswith(("int", "uint")):
        return None
    limits = np.iinfo(name)
    return int(limits.min), int(limits.max)


def together(first: Array, second: Array) -> tuple[Array, Array]:
    """Both in one library and on one device; NumPy's goes to where the other is, and nothing else is moved."""
    if is_numpy(first) and is_numpy(second):
        return first, second
    if is_numpy(first):
        return like(first, second), second
    if is_numpy(second):
        return first, like(second, first)
    require_together(first, second)
    return first, second


def require_together(first: Array, second: Array) -> None:
    """Refuse arrays of two libraries, and those that somebody put on two devices; NumPy's go with any other."""
    if is_numpy(first) or is_numpy(second):
        return
    name = library(first)
    if name != library(second):
        got = f"one array is of {name} and the other of {library(second)}"
        raise ArgumentTypeError(got, "Wanted both of one library", "Convert one of them")
    if name == "torch" and first.device != second.device:
        got = f"one tensor is on {first.device} and the other on {second.device}"
        raise ArgumentTypeError(got, "Wanted both on one device", "Move one of them, as with x.to(...)")
    if name == "jax" and _put(first) and _put(second) and first.devices() != second.devices():
        got = f"one array is on {_listed(first)} and the other on {_listed(second)}"
        remedy = "Move one of them, as with jax.device_put(x, y.sharding)"
        raise ArgumentTypeError(got, "Wanted both on the same devices", remedy)


def _put(array: Array) -> bool:
    """Whether somebody put an array of JAX where it is: JAX takes the others to where they are needed."""
    return not is_traced(array) and bool(array.committed if hasattr(array, "committed") else array._committed)


def _listed(array: Array) -> str:
    return ", ".join(sorted(map(str, array.devices())))


def like(array: Array, other: Array) -> Array:
    """A NumPy array in the library and on the device of another; an array that is there already itself."""
    if is_numpy(other) or not is_numpy(array):
        return array
    if not array.flags.writeable and library(other) == "torch":
        array = array.copy()  # PyTorch has no read-only memory, and warns
    try:
        return namespace(other).asarray(array, device=_device(other))
    except TypeError:
        got, wanted = f"an array of {array.dtype} beside one of {library(other)}", f"{library(other)} has no such type"
        raise ArgumentTypeError(got, wanted, "Cast it first, as with x.astype(float)") from None


def _device(array: Array) -> Any:
    """Where a foreign array lies; of JAX only where somebody put it, on one device.

    JAX moves what nobody put anywhere to where the other arrays of a computation are, and would refuse it if it had
    been put elsewhere. While JAX traces, an array lies nowhere yet. A sharding fits one shape alone.
    """
    from array_api_compat import device

    if library(array) == "jax" and (not _put(array) or len(array.devices()) > 1):
        return None
    return device(array)


def is_traced(array: Array) -> bool:
    """Whether JAX is tracing: the array has a shape and no values."""
    return "jax" in sys.modules and isinstance(array, sys.modules["jax"].core.Tracer)


def on_host(array: Array) -> bool:
    """Whether the numbers of an array lie in the memory that the operating system counts."""
    if is_traced(array):
        return False
    places = array.devices() if library(array) == "jax" else [_device(array)]
    return any("cpu" in str(place).lower() for place in places)


def frozen(array: Array, name: str = "kernel") -> Array:
    """A copy that nobody else can change, so that an operator stays what it is; of JAX the array itself."""
    if is_numpy(array):
        # A broadcast array may take far less than its copy.
        memory.require_result(f"a copy of the {name}", array.nbytes, "Pass a smaller one")
        copy = np.array(array, order="C")
        copy.setflags(write=False)
        return copy
    if library(array) == "jax":
        return array
    return array.clone() if library(array) == "torch" else namespace(array).asarray(array, copy=True)


def promoted(*dtypes: Any) -> Any:
    """The type of a sum of such numbers, by the rules of their library; NumPy's types join the other's by name."""
    foreign = [dtype for dtype in dtypes if not isinstance(dtype, np.dtype)]
    if not foreign:
        return np.result_type(*dtypes)
    package = sys.modules[type(foreign[0]).__module__.partition(".")[0]]
    if package.__name__ == "torch":
        package = import_module("array_api_compat.torch")
    named = (getattr(package, dtype.name) if isinstance(dtype, np.dtype) else dtype for dtype in dtypes)
    return package.result_type(*named)


def counterpart(dtype: Any, array: Array) -> Any:
    """The type in which an array takes part in results of ``dtype``: NumPy's of that name for arrays of NumPy."""
    if isinstance(dtype, np.dtype) or not is_numpy(array):
        return dtype
    name = str(dtype).rpartition(".")[2]
    return np.dtype(np.float32 if name == "bfloat16" else name)


def itemsize(dtype: Any) -> int:
    """Bytes of a number of this type."""
    size = getattr(dtype, "itemsize", None)
    return int(size) if size else np.dtype(str(dtype).rpartition(".")[2]).itemsize


def cast(array: Array, dtype: Any) -> Array:
    """The array in another type, itself where it has that already."""
    return array if array.dtype == dtype else namespace(array).astype(array, dtype)


def halves(dtype: Any) -> bool:
    """Whether these are real numbers of 16 bits, whose sums are rounded and overflow before anybody expects it."""
    return "float16" in str(dtype)  # bfloat16 too, in every library


def widened(array: Array) -> Array:
    """Return the array in a type to sum its numbers in: halves in float32, NumPy's integers in 64 bits."""
    if halves(array.dtype):
        return cast(array, namespace(array).float32)
    if is_numpy(array) and array.dtype.kind in "iu" and array.dtype != np.uint64:
        return cast(array, np.result_type(array, np.int64))
    return array


def as_like(array: Array, other: Array) -> Array:
    """A NumPy array in the library, on the device and in the type of another."""
    return cast(like(array, other), other.dtype)


def all_finite(array: Array) -> bool:
    """Whether no entry is NaN or infinite, as far as can be told: of arrays whose values are not known, yes."""
    if is_traced(array):
        return True
    if library(array) == "jax":  # whose own functions are traced inside jit, even of arrays that are not
        array = np.asarray(array)
    xp = namespace(array)
    try:
        return bool(xp.all(xp.isfinite(array)))
    except RuntimeError:  # PyTorch under vmap, or without data
        return True


def gather(array: Array, index: IntArray, axis: int) -> Array:
    """Entries along one axis, zero where the index is `NOTHING`; axes of the index stand in its place."""
    xp = namespace(array)
    flat = index.reshape(-1)
    missing = flat == NOTHING
    if missing.any():
        shape = tuple(array.shape)
        zero = xp.zeros_like(array[(slice(None),) * axis + (slice(0, 1), ...)])
        array, flat = xp.concat([array, zero], axis=axis), np.where(missing, shape[axis], flat)
    taken = xp.take(array, like(flat, array), axis=axis)
    return xp.reshape(taken, (*taken.shape[:axis], *index.shape, *taken.shape[axis + 1 :]))


def moved(array: Array, *axes: int) -> Array:
    """Axes in another order."""
    return namespace(array).permute_dims(array, axes)


def scattered(shape: tuple[int, ...], fill: int, places: Any, values: Any) -> Any:
    """Flat integers, ``fill`` but for the given places; in NumPy, or in JAX for its own."""
    size = prod(shape)
    if is_numpy(places):
        found = np.full(size, fill, values.dtype)
        found[places] = values
        return found
    return namespace(places).full(size, fill, dtype=values.dtype).at[places].set(values)


def as_numpy(array: Array) -> Any:
    """The numbers of an array as NumPy's, without gradients; JAX has none while it traces."""
    if is_numpy(array):
        return array
    if is_traced(array):
        got, wanted = "an array is traced by JAX", "Wanted its numbers"
        raise ArgumentTypeError(got, wanted, "Call it outside jit and grad")
    if library(array) != "torch":
        return np.asarray(array)
    if array.device.type == "meta":
        got, wanted = "a tensor is on the meta device and has no numbers", "Wanted its numbers"
        raise ArgumentTypeError(got, wanted, "Pass one on a device that holds them")
    try:
        array = array.detach().cpu().resolve_conj()
        return np.asarray(array.float() if str(array.dtype) == "torch.bfloat16" else array)  # NumPy has no bfloat16
    except (RuntimeError, NotImplementedError):
        got, wanted = "a tensor has no numbers, for PyTorch transforms or traces it", "Wanted its numbers"
        raise ArgumentTypeError(got, wanted, "Call it outside torch.func and torch.compile") from None


def floating(array: Array) -> np.dtype[Any]:
    """NumPy's type of the numbers of an array of any library; float64 for integers and for what NumPy does not have."""
    name = str(array.dtype).rpartition(".")[2]
    return np.dtype(name if name in ("float16", "float32", "float64", "complex64", "complex128") else np.float64)


def summed_at(size: int, places: Any, values: Array) -> Array:
    """Values added up at the given places of an array of that size; of PyTorch, JAX or CuPy."""
    zeros = namespace(values).zeros(size, dtype=values.dtype, device=_device(values))
    if library(values) == "torch":
        return zeros.index_add(0, places, values)
    if library(values) == "jax":
        return zeros.at[places].add(values)
    namespace(values).add.at(zeros, places, values)
    return zeros


def reshaped(array: Array, shape: Sequence[int]) -> Array:
    """The same numbers in another shape."""
    return array.reshape(shape) if is_numpy(array) else namespace(array).reshape(array, tuple(shape))


def conjugate(array: Array) -> Array:
    """The complex conjugate; a real array itself."""
    return namespace(array).conj(array) if is_complex(array.dtype) else array


def identity_like(array: Array, size: int, dtype: Any) -> Array:
    """The identity matrix in the library and on the device of an array."""
    return namespace(array).eye(size, dtype=dtype, device=_device(array))


def zeros_beside(array: Array, shape: Sequence[int], dtype: Any) -> Array:
    """Zeros in the library and on the device of an array."""
    if is_numpy(array):
        return np.zeros(shape, dtype)
    return namespace(array).zeros(tuple(shape), dtype=dtype, device=_device(array))


def one_of_theirs(arrays: Sequence[Array]) -> Array:
    """The first that is not NumPy's, if there is one: results are of its library."""
    return next((array for array in arrays if not is_numpy(array)), arrays[0])
