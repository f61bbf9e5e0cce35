"""Maps of other libraries: matrices, operators of SciPy and PyLops, and functions, as linear maps."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import as_like, as_numpy, frozen, numeric
from convmtx.arguments import is_array
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.geometry import resolve
from convmtx.maps.exports import register
from convmtx.maps.linear_map import LinearMap, Shaped
from convmtx.maps.matrices import DenseMap, SparseMap
from convmtx.maps.own_maps import is_rounding
from convmtx.maps.rearranged import reshaped
from convmtx.typing import AnyArray, Array, PerAxis, Shape


class Foreign(Shaped):
    """Base of maps that code of others applies, so that their outputs and their transposes are checked."""

    _is_of_user = True

    def __init__(self, in_shape: Shape, out_shape: Shape, dtype: np.dtype[Any]) -> None:
        super().__init__(in_shape, out_shape)
        self._dtype = dtype

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def _typed(self, x: AnyArray, y: AnyArray) -> AnyArray:
        """Return outputs in the type of map and input; refuse complex ones of what should be real."""
        dtype = np.result_type(self._dtype, x)
        if y.dtype.kind == "c" and dtype.kind != "c":
            got = f"a map of {self._dtype} takes {x.dtype} to {y.dtype}"
            raise ArgumentTypeError(got, f"Expected {dtype}", "Give the operator its dtype")
        return y.astype(dtype, copy=False)


class OperatorMap(Foreign):
    """Map of an operator of SciPy or PyLops, which acts on arrays flattened in C order."""

    def __init__(self, operator: Any, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__(in_shape, out_shape, np.dtype(float if operator.dtype is None else operator.dtype))
        self.operator = operator

    def _apply(self, x: AnyArray) -> AnyArray:
        columns = np.asarray(self.operator.matmat(x.reshape(len(x), self.shape[1]).T))
        return self._typed(x, columns.T.reshape(len(x), *self._out_shape))

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        try:
            columns = self.operator.rmatmat(y.reshape(len(y), self.shape[0]).T.conj())
        except (TypeError, NotImplementedError) as error:  # SciPy calls None
            got = f"the transpose of an operator ({error})"
            remedy = "Pass cm.aslinearmap(A.matvec, in_shape, adjoint=g), with its adjoint g"
            raise ArgumentTypeError(got, "Expected one that has rmatvec", remedy) from error
        return self._typed(y, np.asarray(columns).conj().T.reshape(len(y), *self._in_shape))


class FunctionMap(Foreign):
    """Map of a function of one array, with the function that is its adjoint if that is known."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        adjoint: Callable[[Any], Any] | None,
        in_shape: Shape,
        out_shape: Shape,
        dtype: np.dtype[Any],
    ) -> None:
        super().__init__(in_shape, out_shape, dtype)
        self.function, self.adjoint = function, adjoint

    def _apply(self, x: AnyArray) -> AnyArray:
        return self._each(self.function, x, self._out_shape)

    def _apply_transposed(self, y: AnyArray) -> AnyArray:
        if self.adjoint is None:
            got, expected = "the transpose of a function without adjoint=", "Expected the function that is its adjoint"
            raise ArgumentError(got, expected, "Pass it to cm.aslinearmap(f, in_shape, adjoint=g)")
        return self._each(self.adjoint, y.conj(), self._in_shape).conj()

    def _each(self, function: Callable[[Any], Any], x: AnyArray, shape: Shape) -> AnyArray:
        """Return the images of a batch, one after the other."""
        if not len(x):
            return np.zeros((0, *shape), np.result_type(self._dtype, x))
        return self._typed(x, images_of(function, x, shape))


def image_of(name: str, function: Callable[[Any], Any], x: AnyArray, template: Array | None = None) -> AnyArray:
    """Return a function of one array as an array of NumPy; ``name`` stands for the image in errors.

    The function gets a copy, in the library and type of ``template``. It may write to it, and may return the same
    memory every time.
    """
    argument = x.copy() if template is None else as_like(x.copy(), template)
    image = function(argument)
    if image is None:
        raise ArgumentError(
            f"{name} is None", "Expected an array", "Return the array, also one that is written in place"
        )
    return np.array(as_numpy(numeric(name, image)))


def images_of(function: Callable[[Any], Any], x: AnyArray, shape: Shape, template: Array | None = None) -> AnyArray:
    """Return the images (B, *shape) of a batch, one after the other; refuse those of another shape."""
    images = np.empty(0)
    for b, array in enumerate(x):
        y = image_of("f(x)", function, array, template)
        if y.shape != shape:
            got, expected = f"a function returns an array of shape {y.shape}", f"Expected {shape}"
            raise ArgumentError(got, expected, "Mend it, or what is passed as adjoint=")
        images = images.astype(np.result_type(images, y), copy=False) if b else np.empty((len(x), *shape), y.dtype)
        images[b] = y
    return images


@door("aslinearmap")
def aslinearmap(
    A: Any,
    in_shape: PerAxis | None = None,
    out_shape: PerAxis | None = None,
    *,
    adjoint: Callable[[Any], Any] | None = None,
) -> LinearMap:
    """Return a matrix, an operator or a linear function as a linear map.

    Law: ``op.to_dense() == A`` for a matrix, ``op @ v == A @ v`` for an operator, and ``op(x) == A(x)`` for a function.
    What takes a map, as ``op @ S`` and `vstack` do, also takes what this function takes.

    Parameters
    ----------
    A : LinearMap, array_like, sparse array, LinearOperator or callable
        A map of convmtx; a dense matrix (M, N) of any array library; a sparse array of SciPy; an operator of SciPy or
        PyLops; or a function that takes one array of ``in_shape`` to one of ``out_shape``, linearly.
    in_shape, out_shape : int or tuple of int, optional
        Shapes of one input and one output. A matrix acts on them flattened in C order. By default ``(N,)`` and
        ``(M,)`` for a matrix, the shapes that a map or an operator of PyLops has, and for a function the shape of what
        it returns. A function needs ``in_shape``.
    adjoint : callable, optional
        For a function: its adjoint, from arrays of ``out_shape`` to arrays of ``in_shape``. The adjoint of a real
        function is its transpose. Without it, ``op.T`` and ``op.H`` cannot be applied.

    Returns
    -------
    LinearMap
        ``A`` itself if it is a map between these shapes. Matrices are copied, and keep their dtype; a dense one keeps
        its array library, with gradients. The dtype of a function is that of its image of zeros. Applying the map
        multiplies by the matrix, or calls the operator or function; a function is called once for each input of a
        batch, and N times to build a matrix. What operators and functions return is checked, as it is for a class of
        your own.

    Raises
    ------
    ValueError
        If sizes do not fit, if a function comes without ``in_shape``, or if it does not take zeros to zeros and -2 x to
        -2 A(x). The transpose of a function without ``adjoint`` raises it when it is applied.
    TypeError
        If ``A`` is none of these, or if ``adjoint`` is passed and ``A`` is not a function.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> A = cm.aslinearmap(np.arange(6).reshape(2, 3))
    >>> (A @ cm.conv([1, 1], 4)).to_dense()
    array([[0, 1, 3, 2],
           [3, 7, 9, 5]])
    >>> cm.aslinearmap(np.cumsum, 3, adjoint=lambda y: np.cumsum(y[::-1])[::-1]).to_dense()
    array([[1., 0., 0.],
           [1., 1., 0.],
           [1., 1., 1.]])
    """
    names = (("in_shape", in_shape), ("out_shape", out_shape))
    shapes = [None if shape is None else resolve.shape(name, shape) for name, shape in names]
    return joined("A", A, shapes[0], shapes[1], adjoint)


def joined(
    name: str,
    A: Any,
    in_shape: Shape | None = None,
    out_shape: Shape | None = None,
    adjoint: Callable[[Any], Any] | None = None,
) -> LinearMap:
    """Return what `aslinearmap` returns for an argument of any name."""
    if hasattr(A, "op") and hasattr(A, "offset"):
        got = f"{name} is an affine map"
        raise ArgumentTypeError(got, "Expected a linear one", f"Pass {name}.op, or {name}.augmented()")
    is_function = callable(A) and not isinstance(A, LinearMap) and not hasattr(A, "matvec") and not is_array(A)
    if adjoint is not None and not (is_function and callable(adjoint)):
        got = f"adjoint={shown(adjoint)} with {name} of type {type(A).__name__}"
        raise ArgumentTypeError(got, "Expected two functions", "Leave adjoint out")
    if isinstance(A, LinearMap):
        return reshaped(A, *_fitting(name, A.shape, A.in_shape, A.out_shape, in_shape, out_shape))
    if is_function:
        return _of_function(name, A, adjoint, in_shape, out_shape)
    if hasattr(A, "matvec"):
        size = _size(name, A.shape)
        usual = tuple(getattr(A, "dims", size[1:])), tuple(getattr(A, "dimsd", size[:1]))
        return OperatorMap(A, *_fitting(name, size, *usual, in_shape, out_shape))
    if hasattr(A, "nnz") and hasattr(A, "tocsr"):
        size = _size(name, A.shape)
        matrix = A.tocsr(copy=True)
        matrix.sum_duplicates()
        numeric(name, matrix.data)
        return SparseMap(_csr(matrix), *_fitting(name, size, size[1:], size[:1], in_shape, out_shape))
    matrix = numeric(name, A)
    size = _size(name, tuple(matrix.shape))
    return DenseMap(frozen(matrix, "matrix"), *_fitting(name, size, size[1:], size[:1], in_shape, out_shape))


def _csr(matrix: Any) -> Any:
    """Return a sparse matrix of SciPy as a sparse array, whose product is written with @ alone."""
    from scipy.sparse import csr_array

    return csr_array(matrix)


def _size(name: str, shape: Any) -> tuple[int, int]:
    """Return the shape of a matrix; refuse that of any other array."""
    if len(shape) != 2:
        got = f"{name} has shape {tuple(shape)}"
        raise ArgumentError(got, "Expected a matrix (M, N)", f"Pass {name}.reshape(M, N)")
    return int(shape[0]), int(shape[1])


def _fitting(
    name: str, size: tuple[int, int], ins: Shape, outs: Shape, in_shape: Shape | None, out_shape: Shape | None
) -> tuple[Shape, Shape]:
    """Return the shapes requested, or else the usual ones; refuse those that have another number of entries."""
    for side, shape, count in (("in_shape", in_shape, size[1]), ("out_shape", out_shape, size[0])):
        if shape is not None and prod(shape) != count:
            got = f"{side}={shape} with {name} of shape {size}"
            raise ArgumentError(got, f"Expected {count} entries", f"Pass {side} of that size")
    return ins if in_shape is None else in_shape, outs if out_shape is None else out_shape


def _of_function(
    name: str,
    function: Callable[[Any], Any],
    adjoint: Callable[[Any], Any] | None,
    in_shape: Shape | None,
    out_shape: Shape | None,
) -> FunctionMap:
    """Return the map of a function; its type and the shape of its outputs are those of its image of zeros."""
    if in_shape is None:
        expected = "Expected the shape of its input"
        raise ArgumentError(f"{name} is a function and in_shape is None", expected, "Pass in_shape to cm.aslinearmap")
    zero = image_of(f"{name}(0)", function, np.zeros(in_shape))
    if zero.any():
        got, expected = f"{name} is a function that does not take zeros to zeros", "Expected a linear one"
        raise ArgumentError(got, expected, "Subtract A(0), and pass cm.Affine(op, A(0)) where an affine map is meant")
    if out_shape is not None and zero.shape != out_shape:
        got = f"{name} returns an array of shape {zero.shape}"
        raise ArgumentError(got, f"Expected out_shape={out_shape}", "Leave out_shape out")
    _require_linear(function, in_shape)
    return FunctionMap(function, adjoint, in_shape, zero.shape, zero.dtype)


def _require_linear(function: Callable[[Any], Any], in_shape: Shape) -> None:
    """Refuse a function that does not take ``-2 x`` to ``-2 f(x)`` for an array of normal numbers x."""
    x = np.random.default_rng(0).standard_normal(in_shape)
    first, second = (image_of("A(x)", function, array) for array in (x, -2 * x))
    if first.shape == second.shape and is_rounding(second + 2 * first, first, x.size):
        return
    got, expected = "A is a function that does not take -2 x to -2 A(x)", "Expected a linear one"
    raise ArgumentError(got, expected, "Pass its Jacobian, or the linear part of it")


register("aslinearmap", aslinearmap)
