"""`cm.resize`: interpolation between the sizes of two arrays, as one map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.arguments import flag, one_of
from convmtx.errors import ArgumentError, UnsupportedError, door
from convmtx.geometry import resolve
from convmtx.maps.along_axis import along_axes
from convmtx.maps.linear_map import LinearMap
from convmtx.resizing.libraries import jax_axis, onnx_axis, pil_axis, tf_axis, torch_axis
from convmtx.typing import PerAxis

#: Bytes that each output of an axis takes at least while its matrix is built.
_BYTES_OF_OUTPUT = 32
#: Methods by the other names that libraries have for them.
_SPELLINGS = {
    **dict.fromkeys(("bilinear", "trilinear", "triangle"), "linear"), **dict.fromkeys(("bicubic", "tricubic"), "cubic"),
    "bicubic-pytorch": "cubic-pytorch", "mitchell": "mitchellcubic",
}  # fmt: skip


@dataclass(frozen=True)
class _Options:
    """Values of ``align_corners`` and ``antialias`` that a library's method takes; the first is its default."""

    align_corners: tuple[bool, ...] = (False,)
    antialias: tuple[bool, ...] = (False,)


@dataclass(frozen=True)
class _Library:
    """Methods of a library, and the function that returns the matrix of one axis."""

    methods: dict[str, _Options]
    matrix: Callable[..., Any]


def _methods(options: _Options, *names: str) -> dict[str, _Options]:
    return dict.fromkeys(names, options)


def _torch(size: int, out: int, method: str, align_corners: bool, antialias: bool) -> Any:
    return torch_axis(size, out, method, align_corners=align_corners, antialias=antialias)


def _onnx(size: int, out: int, method: str, align_corners: bool, antialias: bool) -> Any:
    coordinates = "align_corners" if align_corners else "half_pixel"
    return onnx_axis(size, out, method, coordinates=coordinates, antialias=antialias)


def _pil(size: int, out: int, method: str, _align_corners: bool, _antialias: bool) -> Any:
    return pil_axis(size, out, method)


def _tf(size: int, out: int, method: str, _align_corners: bool, antialias: bool) -> Any:
    return tf_axis(size, out, method, antialias=antialias)


def _jax(size: int, out: int, method: str, _align_corners: bool, antialias: bool) -> Any:
    return jax_axis(size, out, method, antialias=antialias)


_PLAIN = _Options()
_LIBRARIES = {
    "torch": _Library(
        _methods(_PLAIN, "nearest", "nearest-exact", "area")
        | _methods(_Options((False, True), (False, True)), "linear", "cubic"),
        _torch,
    ),
    "onnx": _Library(
        _methods(_Options((False, True)), "nearest")
        | _methods(_Options((False, True), (False, True)), "linear", "cubic"),
        _onnx,
    ),
    "pil": _Library(
        _methods(_PLAIN, "nearest")
        | _methods(_Options(antialias=(True,)), "box", "linear", "hamming", "cubic", "lanczos"),
        _pil,
    ),
    "tf": _Library(
        _methods(_Options(antialias=(False, True)), "nearest", "area")  # which ignore it
        | _methods(
            _Options(antialias=(False, True)), "linear", "cubic", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"
        ),
        _tf,
    ),
    "jax": _Library(
        _methods(_Options(antialias=(True, False)), "nearest", "area")  # which ignore it
        | _methods(_Options(antialias=(True, False)), "linear", "cubic", "cubic-pytorch", "lanczos3", "lanczos5"),
        _jax,
    ),
}  # fmt: skip


@door("resize")
def resize(
    in_shape: PerAxis,
    out_shape: PerAxis,
    method: str = "linear",
    *,
    align_corners: bool = False,
    antialias: bool | None = None,
    like: str = "torch",
) -> LinearMap:
    """Return interpolation from arrays of one shape to arrays of another, as a linear map.

    Law: ``op(x)`` is the image ``x`` resized to ``out_shape`` by the function of a library, and ``op.H`` is its exact
    adjoint. Each axis whose size changes is multiplied by a sparse matrix; the other axes are left as they are, so
    channels and batch axes may stand anywhere.

    Parameters
    ----------
    in_shape, out_shape : int or tuple of int
        Shapes of one input and one output, with the same number of axes.
    method : str
        "nearest", "linear" or "cubic" in every library; "nearest-exact" and "area" in torch; "box", "hamming" and
        "lanczos" in pil; "area", "lanczos3" and "lanczos5" in tf and jax; "gaussian" and "mitchellcubic" in tf;
        "cubic-pytorch" in jax. "bilinear", "trilinear", "bicubic" and other spellings of the libraries are accepted.
    align_corners : bool
        Whether the middles of the first and last outputs lie on those of the first and last inputs. By default the
        outer edges of the arrays coincide. Of torch and onnx.
    antialias : bool, optional
        Whether windows are stretched along axes that shrink, so that every input counts. By default what the library
        does: True in pil, which has no other way, and in jax; False in torch, onnx and tf.
    like : {"torch", "onnx", "pil", "tf", "jax"}
        Library whose rules are followed: `torch.nn.functional.interpolate`, the operator Resize of ONNX,
        ``PIL.Image.resize`` of images of floats, ``tf.image.resize`` or `jax.image.resize`. It does not have to be
        installed.

    Returns
    -------
    LinearMap
        It takes arrays of every library, and its matrix is of float64. Memory and time are those of the matrices of the
        axes: one entry in a row for "nearest", 2 for "linear" and 4 for "cubic", as many times more as the axis shrinks
        with antialiasing.

    Raises
    ------
    ValueError
        If the shapes have different numbers of axes, or the library has no such method or option.
    TypeError
        If an argument has the wrong type.
    MemoryError
        If the matrix of an axis does not fit in memory.

    Notes
    -----
    Libraries compute in float32 or float64, so their outputs differ from the map's by rounding. To the nearest input,
    positions are rounded as the library does for float32; `torch.nn.functional.interpolate` rounds otherwise for
    float64. It is wrong for images that are one pixel wide with ``antialias=True``, which the map is not.
    ``tf.image.resize`` blurs an axis of unchanged size with "gaussian" and "mitchellcubic"; here it is left as it is.

    References
    ----------
    R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions on Acoustics, Speech,
    and Signal Processing 29 (1981); the slope of the window is -0.75 in torch and onnx without antialiasing, and -0.5
    in pil, tf and jax, and in torch with it. D. P. Mitchell and A. N. Netravali, "Reconstruction filters in computer
    graphics", SIGGRAPH (1988), for "mitchellcubic".

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.resize(4, 2).to_dense()
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5]])
    >>> cm.resize(4, 2, like="pil").to_dense() * 7    # reads its neighbours too
    array([[3., 3., 1., 0.],
           [0., 1., 3., 3.]])
    >>> cm.resize((3, 480, 640), (3, 240, 320), "bicubic", antialias=True)
    Product (3, 480, 640) -> (3, 240, 320), float64
    """
    shape, target = resolve.shape("in_shape", in_shape), resolve.shape("out_shape", out_shape)
    if len(shape) != len(target):
        got = f"in_shape={shape} and out_shape={target}"
        raise ArgumentError(got, "Expected the same number of axes", "Repeat the sizes that stay")
    library = _LIBRARIES[one_of("like", like, tuple(_LIBRARIES))]
    name = _require_method(method, like, library)
    choice = {
        option: _require_option(option, value, getattr(library.methods[name], option), f"{name!r} of {like}")
        for option, value in (("align_corners", align_corners), ("antialias", antialias))
    }
    memory.require_result("the matrix of an axis", _BYTES_OF_OUTPUT * max(target), "Resize to fewer outputs")
    matrices = {
        axis: library.matrix(size, out, name, *choice.values())
        for axis, (size, out) in enumerate(zip(shape, target, strict=True))
        if size != out
    }
    return along_axes(shape, matrices, np.empty(0))


def _require_method(method: str, like: str, library: _Library) -> str:
    """Return the name of a method here; refuse one that the library does not have."""
    name = _SPELLINGS.get(method, method) if isinstance(method, str) else method
    others = [f"like={other!r}" for other, record in _LIBRARIES.items() if name in record.methods]
    if isinstance(name, str) and name not in library.methods and others:
        got, expected = f"method={method!r} with like={like!r}", f"{like} has {', '.join(map(repr, library.methods))}"
        raise UnsupportedError(got, expected, f"Pass one of these, or {' or '.join(others)}")
    return one_of("method", name, tuple(library.methods))


def _require_option(option: str, value: bool | None, values: tuple[bool, ...], method: str) -> bool:
    """Return the value of an option, None being the library's default; refuse one that its method does not have."""
    if value is None and option == "antialias":
        return values[0]
    chosen = flag(option, value)
    if chosen not in values:
        got = f"{option}={chosen} for the method {method}"
        raise UnsupportedError(got, f"It has {option}={values[0]} alone", f"Leave {option} out, or pass another like")
    return chosen
