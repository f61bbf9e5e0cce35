"""Functions of arrays that work alike in every array library: NumPy, PyTorch, JAX, CuPy and others of the standard.

NumPy is the fast case. Another library is imported only when one of its arrays arrives.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp.arriving import convert
from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentError, ArgumentTypeError
from convmtx.typing import Array, IntArray

#: NumPy's kinds of numbers that are accepted: signed and unsigned integers, floats and complex numbers.
_KINDS = "iufc"
#: Names of the types of numbers that are accepted in other libraries: all of NumPy's, and bfloat16.
_TYPES = {"bfloat16", *(np.dtype(code).name for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"])}
#: Types of NumPy in native byte order that are accepted.
_NATIVE = frozenset(np.dtype(code) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"])
#: Module of the standard's functions for each type of array that has arrived so far.
_NAMESPACES: dict[type, Any] = {}


def numeric(name: str, value: Any, chunked: bool = False) -> Array:
    """Return an argument as an array of integers, floats or complex numbers, in its own library.

    With ``chunked``, arrays of Dask are returned as they are; otherwise they are computed if they are small.

    A value that is not an array becomes a NumPy array in native byte order. It is copied only if it has to be. Masked
    arrays are refused, because their mask would be lost, and so are large arrays of a library that would compute or
    read them now.
    """
    if type(value) is np.ndarray and value.dtype in _NATIVE:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentTypeError(
            f"{name} is a masked array",
            "Expected every entry",
            "Pass x.filled(0) if that is meant; cm.solve(op, b) leaves out what is masked",
        )
    if not isinstance(value, np.ndarray | np.generic | type) and hasattr(value, "__dlpack__"):
        return _foreign(name, value)
    if chunked and is_chunked(value):
        return _of_numpy_chunks(name, value)
    if chunked and type(value).__module__.startswith("xarray.") and is_chunked(value.data):
        got, remedy = f"{name} is a {type(value).__name__} of chunks of Dask", f"use cm.apply(op, {name}, dims)"
        raise ArgumentTypeError(got, "Expected an array without labels", f"Pass {name}.data, or {remedy}")
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else convert(name, value)
    kind = array.dtype.kind
    is_extension = array.dtype.isbuiltin == 2  # a type that another package adds to NumPy: float8, bfloat16, int4
    if kind not in _KINDS or is_extension:
        usual = {"b": "int64"}.get(kind, "float64" if is_extension else "")
        remedy = f"Cast it first, as with x.astype(np.{usual})" if usual else "Pass an ndarray"
        raise _not_numeric(name, array.dtype, remedy)
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # SciPy reads native byte order only


def _foreign(name: str, value: Any) -> Array:
    """Return an array of a library other than NumPy; refuse those that are not dense arrays of numbers."""
    if type(value) not in _NAMESPACES and not _is_array(value):
        got = f"{name} is a {type(value).__module__}.{type(value).__qualname__}"
        expected = "Expected an array of NumPy, PyTorch, JAX, CuPy or another library of the array API standard"
        raise ArgumentTypeError(got, expected, "Convert it, as with numpy.asarray(x)")
    if getattr(value, "is_nested", False):
        expected, remedy = "Expected one shape", "Pass x.to_padded_tensor(0.0) if that is meant, or each of x.unbind()"
        raise ArgumentTypeError(f"{name} is a nested tensor", expected, remedy)
    if library(value) == "torch" and str(value.layout) != "torch.strided":
        got = f"{name} is a tensor of layout {value.layout}"
        raise ArgumentTypeError(got, "Expected a dense one", "Pass x.to_dense()")
    if str(value.dtype).rpartition(".")[2] not in _TYPES:
        raise _not_numeric(name, value.dtype, "Cast it first")
    return value


def is_chunked(array: Any) -> bool:
    """Whether an array is one of Dask, whose chunks are computed later and by others."""
    return type(array).__module__.startswith("dask.") and isinstance(array, sys.modules["dask.array"].Array)


def _of_numpy_chunks(name: str, array: Any) -> Array:
    """Return an array of Dask; refuse one whose chunks are not arrays of NumPy, or of unknown sizes."""
    kind = type(array._meta)
    if kind is not np.ndarray:
        got = f"{name} is an array of Dask with chunks of {kind.__module__}.{kind.__qualname__}"
        raise ArgumentTypeError(got, "Expected chunks of NumPy", "Convert them, as with x.map_blocks(numpy.asarray)")
    if array.dtype.kind not in _KINDS:
        raise _not_numeric(name, array.dtype, "Cast it first, as with x.astype(float)")
    if np.isnan(np.array(array.shape, float)).any():
        got = f"{name} is an array of Dask of unknown shape {array.shape}"
        raise ArgumentError(got, "Expected known sizes of its chunks", "Call x.compute_chunk_sizes() first")
    return array


def _is_array(value: Any) -> bool:
    """Whether a value is an array of a library that array_api_compat knows."""
    from array_api_compat import is_array_api_obj

    return is_array_api_obj(value)


def _not_numeric(name: str, dtype: Any, remedy: str) -> ArgumentTypeError:
    """Return the error of an array whose type of numbers is not accepted."""
    got = f"{name} has dtype {dtype}"
    return ArgumentTypeError(got, "Expected integers, floats or complex numbers of a type that NumPy has", remedy)


def namespace(array: Any) -> Any:
    """Return the module that has the array API standard's functions for this array."""
    if is_numpy(array):
        return np
    kind = type(array)
    if kind not in _NAMESPACES:
        from array_api_compat import array_namespace

        _NAMESPACES[kind] = array_namespace(array)
    return _NAMESPACES[kind]


def is_numpy(array: Any) -> bool:
    """Whether an array is a NumPy array or a NumPy number."""
    return isinstance(array, np.ndarray | np.generic)


def library(array: Any) -> str:
    """Return the name of the library of an array, such as "numpy" or "torch"."""
    return "numpy" if is_numpy(array) else namespace(array).__name__.removeprefix("array_api_compat.").partition(".")[0]


def is_complex(dtype: Any) -> bool:
    """Whether numbers of this type have an imaginary part."""
    return dtype.kind == "c" if isinstance(dtype, np.dtype) else "complex" in str(dtype)


def is_floating(dtype: Any) -> bool:
    """Whether this is a type of floating point numbers, real or complex."""
    return is_complex(dtype) or "float" in str(dtype)


def is_unsigned(dtype: Any) -> bool:
    """Whether this is a type of unsigned integers."""
    return "uint" in str(dtype)


def integer_limits(dtype: Any) -> tuple[int, int] | None:
    """Return the least and the largest number of a type of integers; None for other types."""
    name = str(dtype).rpartition(".")[2]
    if not name.startswith(("int", "uint")):
        return None
    limits = np.iinfo(name)
    return int(limits.min), int(limits.max)


def together(first: Array, second: Array) -> tuple[Array, Array]:
    """Return two arrays in one library and on one device: a NumPy array is moved to the other, and nothing else is."""
    if is_numpy(first) and is_numpy(second):
        return first, second
    if is_numpy(first):
        return like(first, second), second
    if is_numpy(second):
        return first, like(second, first)
    require_together(first, second)
    return first, second


def require_together(first: Array, second: Array) -> None:
    """Refuse two arrays of different libraries or devices; NumPy arrays go with any other.

    In JAX an array counts as being on a device only if the user put it there.
    """
    if is_numpy(first) or is_numpy(second):
        return
    name = library(first)
    if name != library(second):
        got = f"one array is of {name} and the other of {library(second)}"
        raise ArgumentTypeError(got, "Expected both of one library", "Convert one of them")
    # PyTorch has one device for each tensor, JAX a set of them.
    if name == "torch" and first.device != second.device:
        got = f"one tensor is on {first.device} and the other on {second.device}"
        raise ArgumentTypeError(got, "Expected both on one device", "Move one of them, as with x.to(...)")
    if name == "jax" and _is_committed(first) and _is_committed(second) and first.devices() != second.devices():
        got = f"one array is on {_device_names(first)} and the other on {_device_names(second)}"
        remedy = "Move one of them, as with jax.device_put(x, y.sharding)"
        raise ArgumentTypeError(got, "Expected both on the same devices", remedy)


def _is_committed(array: Array) -> bool:
    """Whether the user put an array of JAX on its devices; JAX moves other arrays to where they are needed."""
    return not is_traced(array) and bool(array.committed if hasattr(array, "committed") else array._committed)


def _device_names(array: Array) -> str:
    """Return the names of the devices of an array of JAX."""
    return ", ".join(sorted(map(str, array.devices())))


def like(array: Array, other: Array) -> Array:
    """Return a NumPy array in the library and on the device of another array; other arrays are returned unchanged."""
    if is_numpy(other) or not is_numpy(array):
        return array
    if not array.flags.writeable and library(other) == "torch":
        array = array.copy()  # PyTorch has no read-only memory, and warns
    try:
        return namespace(other).asarray(array, device=_device(other))
    except TypeError:
        got, expected = (
            f"an array of {array.dtype} beside one of {library(other)}",
            f"{library(other)} has no such type",
        )
        raise ArgumentTypeError(got, expected, "Cast it first, as with x.astype(float)") from None


def _device(array: Array) -> Any:
    """Return the device of an array of another library; None if the library should choose.

    In JAX it is None unless the user put the array on one device. JAX moves uncommitted arrays to the other arrays of a
    computation, but refuses committed ones on different devices. While JAX traces, an array has no device yet. An array
    on several devices has a sharding, which fits one shape only.
    """
    from array_api_compat import device

    if library(array) == "jax" and (not _is_committed(array) or len(array.devices()) > 1):
        return None
    return device(array)


def is_traced(array: Array) -> bool:
    """Whether an array stands for one that JAX traces: it has a shape, but no values."""
    return "jax" in sys.modules and isinstance(array, sys.modules["jax"].core.Tracer)


def on_host(array: Array) -> bool:
    """Whether the numbers of an array are in the main memory, which the operating system counts."""
    if is_traced(array):
        return False
    devices = array.devices() if library(array) == "jax" else [_device(array)]
    return any("cpu" in str(device).lower() for device in devices)


def device_kind(array: Array) -> str:
    """Return "cpu" or "gpu" for where an array is, or will be when a traced program runs."""
    if is_traced(array):
        return "cpu" if sys.modules["jax"].default_backend() == "cpu" else "gpu"
    return "cpu" if is_numpy(array) or on_host(array) else "gpu"


def has_numbers(array: Array) -> bool:
    """Whether the numbers of an array can be read now: nothing traces or transforms it."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(array, torch.Tensor):
        return not is_traced(array)
    is_transformed = torch._C._functorch.peek_interpreter_stack() is not None
    return not (array.device.type == "meta" or torch.compiler.is_compiling() or is_transformed)


def is_unchangeable(array: Any) -> bool:
    """Whether nobody can change an array: it is one of JAX, or NumPy's view of bytes, as of a file that was read."""
    if not is_numpy(array):
        return library(array) == "jax"
    owner = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    return isinstance(owner, bytes)


def frozen(array: Array, name: str = "kernel") -> Array:
    """Return a copy that nobody else can change, because maps are immutable, or the array if nobody can change it."""
    if is_unchangeable(array) and (not is_numpy(array) or array.flags.c_contiguous):
        return array
    if is_numpy(array):
        # A broadcast array can take far less memory than its copy.
        memory.require_result(f"a copy of the {name}", array.nbytes, "Pass a smaller one")
        copy = np.array(array, order="C")
        copy.setflags(write=False)
        return copy
    return array.clone() if library(array) == "torch" else namespace(array).asarray(array, copy=True)


def promote(*dtypes: Any) -> Any:
    """Return the type of a sum of numbers of these types, by the rules of their library.

    Types of NumPy stand for the other library's types of the same name.
    """
    foreign = [dtype for dtype in dtypes if not isinstance(dtype, np.dtype)]
    if not foreign:
        return np.result_type(*dtypes)
    package = sys.modules[type(foreign[0]).__module__.partition(".")[0]]
    if package.__name__ == "torch":
        package = import_module("array_api_compat.torch")
    named = (getattr(package, dtype.name) if isinstance(dtype, np.dtype) else dtype for dtype in dtypes)
    return package.result_type(*named)


def counterpart(dtype: Any, array: Array) -> Any:
    """Return the type to cast an array to for results of ``dtype``: for a NumPy array, NumPy's type of that name."""
    if isinstance(dtype, np.dtype) or not is_numpy(array):
        return dtype
    name = str(dtype).rpartition(".")[2]
    return np.dtype(np.float32 if name == "bfloat16" else name)


def itemsize(dtype: Any) -> int:
    """Return the bytes of a number of this type."""
    size = getattr(dtype, "itemsize", None)
    return int(size) if size else np.dtype(str(dtype).rpartition(".")[2]).itemsize


def cast(array: Array, dtype: Any) -> Array:
    """Return the array in another type; the array itself if it already has that type."""
    return array if array.dtype == dtype else namespace(array).astype(array, dtype)


def is_half(dtype: Any) -> bool:
    """Whether this is float16 or bfloat16, in which sums lose digits and overflow early."""
    return "float16" in str(dtype)


def widen(array: Array) -> Array:
    """Return the array in a type to sum its numbers in: 16-bit floats in float32, NumPy's integers in 64 bits."""
    if is_half(array.dtype):
        return cast(array, namespace(array).float32)
    if is_numpy(array) and array.dtype.kind in "iu" and array.dtype != np.uint64:
        return cast(array, np.result_type(array, np.int64))
    return array


def as_like(array: Array, other: Array) -> Array:
    """Return a NumPy array in the library, on the device and in the type of another array."""
    return cast(like(array, other), other.dtype)


def all_finite(array: Array) -> bool:
    """Whether no entry is NaN or infinite; True for an array whose values are not known yet."""
    if is_traced(array):
        return True
    if library(array) == "jax":  # inside jit, JAX traces its functions even for arrays that have values
        array = np.asarray(array)
    xp = namespace(array)
    try:
        return bool(xp.all(xp.isfinite(array)))
    except RuntimeError:  # PyTorch under vmap, or without data
        return True


def gather(array: Array, index: IntArray, axis: int) -> Array:
    """Return the entries at an index along one axis, zero where the index is `NOTHING`.

    The axes of the index stand in the place of that axis.
    """
    xp = namespace(array)
    flat = index.reshape(-1)
    is_missing = flat == NOTHING
    if is_missing.any():
        # A zero behind the last entry is what the missing ones read.
        shape = tuple(array.shape)
        zero = xp.zeros_like(array[(slice(None),) * axis + (slice(0, 1), ...)])
        array, flat = xp.concat([array, zero], axis=axis), np.where(is_missing, shape[axis], flat)
    entries = xp.take(array, like(flat, array), axis=axis)
    return xp.reshape(entries, (*entries.shape[:axis], *index.shape, *entries.shape[axis + 1 :]))


def move_axes(array: Array, *axes: int) -> Array:
    """Return the array with its axes in another order."""
    return namespace(array).permute_dims(array, axes)


def scatter(shape: tuple[int, ...], fill: int, places: Any, values: Any) -> Any:
    """Return a flat array, ``fill`` but for ``values`` at these places; in NumPy or JAX, as the places are."""
    size = prod(shape)
    if is_numpy(places):
        array = np.full(size, fill, values.dtype)
        array[places] = values
        return array
    return namespace(places).full(size, fill, dtype=values.dtype).at[places].set(values)


def as_numpy(array: Array) -> Any:
    """Return the numbers of an array as a NumPy array, without gradients; refuse arrays that have no numbers."""
    if is_numpy(array):
        return array
    if is_traced(array):
        got, expected = "an array is traced by JAX", "Expected its numbers"
        raise ArgumentTypeError(got, expected, "Call it outside jit and grad")
    if library(array) != "torch":
        return np.asarray(array)
    if array.device.type == "meta":
        got, expected = "a tensor is on the meta device and has no numbers", "Expected its numbers"
        raise ArgumentTypeError(got, expected, "Pass one on a device that holds them")
    try:
        array = array.detach().cpu().resolve_conj()
        return np.asarray(array.float() if str(array.dtype) == "torch.bfloat16" else array)  # NumPy has no bfloat16
    except (RuntimeError, NotImplementedError):
        got, expected = "a tensor has no numbers, for PyTorch transforms or traces it", "Expected its numbers"
        raise ArgumentTypeError(got, expected, "Call it outside torch.func and torch.compile") from None


def floating(array: Array) -> np.dtype[Any]:
    """Return NumPy's type for the numbers of an array; float64 for integers and for types that NumPy does not have."""
    name = str(array.dtype).rpartition(".")[2]
    return np.dtype(name if name in ("float16", "float32", "float64", "complex64", "complex128") else np.float64)


def summed_at(shape: int | tuple[int, ...], places: Any, values: Array) -> Array:
    """Return an array of zeros to which values are added at these places of axis 0; for PyTorch, JAX and CuPy."""
    zeros = namespace(values).zeros(shape, dtype=values.dtype, device=_device(values))
    if library(values) == "torch":
        return zeros.index_add(0, places, values)
    if library(values) == "jax":
        return zeros.at[places].add(values)
    namespace(values).add.at(zeros, places, values)
    return zeros


def reshape(array: Array, shape: Sequence[int]) -> Array:
    """Return the array in another shape."""
    method = getattr(array, "reshape", None)  # of NumPy, PyTorch, JAX and CuPy: microseconds less than the function
    return method(tuple(shape)) if method is not None else namespace(array).reshape(array, tuple(shape))


def conjugate(array: Array) -> Array:
    """Return the complex conjugate; a real array is returned unchanged."""
    return namespace(array).conj(array) if is_complex(array.dtype) else array


def identity_like(array: Array, size: int, dtype: Any) -> Array:
    """Return the identity matrix in the library and on the device of an array."""
    return namespace(array).eye(size, dtype=dtype, device=_device(array))


def zeros_beside(array: Array, shape: Sequence[int], dtype: Any) -> Array:
    """Return zeros in the library and on the device of an array."""
    if is_numpy(array):
        return np.zeros(shape, dtype)
    return namespace(array).zeros(tuple(shape), dtype=dtype, device=_device(array))


def one_of_theirs(arrays: Sequence[Array]) -> Array:
    """Return the first array that is not NumPy's, or else the first: results are of its library."""
    return next((array for array in arrays if not is_numpy(array)), arrays[0])
