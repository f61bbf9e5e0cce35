"""Constructors of convolutions: `conv`, `conv_transpose`, and the matrix function `convmtx`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from convmtx import arguments
from convmtx._xp import frozen, numeric
from convmtx.errors import ArgumentError, door
from convmtx.geometry import resolve
from convmtx.maps.base import check_order
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.kernel_operator import KernelOperator
from convmtx.typing import (
    AnyArray,
    Array,
    ArrayLike,
    BoundaryLike,
    Channels,
    EngineName,
    Mode,
    Order,
    PaddingLike,
    PerAxis,
    Shape,
)

if TYPE_CHECKING:
    import scipy.sparse


@door("conv")
def conv(
    kernel: ArrayLike,
    input_shape: PerAxis,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: PaddingLike = "valid",
    boundary: BoundaryLike = "zero",
    groups: int = 1,
    flip: bool = False,
    channels: Channels | None = None,
    input_dilation: PerAxis = 1,
    engine: EngineName = "auto",
) -> ConvOperator:
    """Build a convolution as a linear map, for any number of spatial axes.

    Along each axis with stride s, dilation t, pads (lo, hi) and input dilation e::

        y[o, f] = sum over p, c of  K[p, c, f] * x~[o*s - lo + p*t, c]

    where ``x~`` is x with e-1 zeros between neighbours, and with the values that ``boundary`` gives outside. This is
    correlation, as in neural networks. With ``flip=True`` the kernel is reversed in space first, which makes it
    convolution, as in signal processing. Complex kernels are not conjugated.

    Parameters
    ----------
    kernel : array_like
        Integers, floats or complex numbers; it is copied. It can be an array of another library, such as PyTorch or
        JAX. Then outputs and forms are arrays of that library, and can be differentiated. Without channels it has the
        axes of ``input_shape``, ``(k1..kd)``. With channels it has one more: ``(k1..kd, C/groups, F)`` with channels
        last, ``(F, C/groups, k1..kd)`` with channels first.
    input_shape : tuple of int
        Shape of one input, without batch: ``(n1..nd)``, ``(n1..nd, C)`` or ``(C, n1..nd)``.
    stride, dilation, input_dilation : int or sequence of int
        Distance between neighbouring windows, between neighbouring taps, and between neighbouring inputs in ``x~``.
        Pass one number for all axes, or one for each.
    padding : str, int or sequence
        ``"valid"`` (none), ``"full"`` (every overlap), ``"same"`` (ceil(n/s) outputs; if the number of pads is odd,
        the extra pad is at the end) or ``"same_lower"`` (the extra pad is at the start). It can also be an int, or a
        sequence with an int or a pair (lo, hi) for each axis. Negative pads crop.
    boundary : str or sequence of str
        ``"zero"``, ``"wrap"``, ``"reflect"``, ``"symmetric"`` or ``"edge"``, named as in `numpy.pad`, except that
        its ``"constant"`` is ``"zero"`` here. PyTorch's names ``"zeros"``, ``"circular"`` and ``"replicate"`` are
        accepted too. Pads can be of any width. Pass one name for all axes, or one for each.
    groups : int
        Number of independent parts into which channels and filters are split. ``groups=C`` is depthwise.
    flip : bool
        Reverse the kernel along its spatial axes.
    channels : {"last", "first"}, optional
        Position of the channel axis. If it is passed, there must be channels. By default, channels are last if the
        kernel has one axis more than the input; otherwise there are none.
    engine : {"auto", "direct", "fft", "separable", "sparse", "torch", "jax", "compiled"}
        How the map is applied. ``"direct"`` multiplies windows by the kernel matrix. ``"fft"`` uses Fourier transforms.
        ``"separable"`` filters one axis after the other, for kernels that are an outer product for each pair of an
        input and an output channel. ``"sparse"`` keeps the CSR matrix of a small map. ``"torch"`` calls PyTorch's
        convolutions, for types that BLAS has (extra ``torch``). ``"jax"`` is JAX's convolution of its own arrays.
        ``"compiled"`` runs loops that Numba compiles, in some seconds at the first use of a type (extra ``fast``).
        ``"auto"`` chooses the engine that is predicted to be fastest; transforms, factors and PyTorch have to be 1.25
        times as fast as the others. It considers PyTorch only if it is already imported. `ConvOperator.explain` says
        which engine is used, and why. Integers are always computed by ``"direct"``, ``"sparse"`` or ``"compiled"``, and
        NaN and infinity reach only the outputs whose windows contain them. Applying the map raises a ValueError if the
        engine cannot do it, and an ImportError if its extra is missing.

    Returns
    -------
    ConvOperator
        Map with output shape ``(o1..od)``, ``(o1..od, F)`` or ``(F, o1..od)``. The size of the output along an axis is
        ``floor((n' + lo + hi - t*(k-1) - 1)/s) + 1`` with ``n' = (n-1)*e + 1``.

    Raises
    ------
    ValueError
        If an argument is invalid: an impossible shape, size or name, a kernel larger than the padded input, or channels
        that do not match.
    TypeError
        If an argument is of the wrong type, or the kernel is not numeric (bool and object are refused).

    Notes
    -----
    This takes a copy of the kernel. Nothing of the size of input, output or matrix is allocated.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1, 0, -1], 6, stride=2, padding=1, boundary="edge")
    >>> op.to_dense()
    array([[ 1, -1,  0,  0,  0,  0],
           [ 0,  1,  0, -1,  0,  0],
           [ 0,  0,  0,  1,  0, -1]])
    >>> op([1, 2, 4, 8, 16, 32])
    array([ -1,  -6, -24])
    """
    resolve.not_swapped(kernel, input_shape)
    array = numeric("kernel", kernel)
    name = resolve.engine(engine)
    geometry = resolve.conv(
        array.shape, input_shape, stride=stride, dilation=dilation, padding=padding, boundary=boundary,
        groups=groups, flip=flip, channels=channels, input_dilation=input_dilation,
    )  # fmt: skip
    return ConvOperator(geometry, frozen(array), name)


@door("conv_transpose")
def conv_transpose(
    kernel: ArrayLike,
    input_shape: PerAxis,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: PaddingLike = "valid",
    output_padding: PerAxis = 0,
    output_shape: PerAxis | None = None,
    groups: int = 1,
    flip: bool = False,
    channels: Channels | None = None,
    engine: EngineName = "auto",
) -> ConvOperator:
    """Build a transposed convolution: the transpose of the `conv` with the same kernel array and zero boundary.

    Law: ``conv_transpose(K, op.out_shape, ...).to_dense() == op.to_dense().T`` for ``op = conv(K, ...)`` with the same
    stride, dilation, padding and groups, if ``output_padding`` makes the sizes equal.

    Parameters
    ----------
    kernel : array_like
        ``(k1..kd)``, channels last ``(k1..kd, C_out/groups, C_in)``, or channels first
        ``(C_in, C_out/groups, k1..kd)``, as PyTorch, ONNX, TensorFlow and Keras store it.
    input_shape : tuple of int
        Shape of one input, without batch.
    padding : str, int or sequence
        What is cut from the full output, written as for `conv`. ``"same"`` and ``"same_lower"`` make ``n*stride``
        outputs, with an odd cut at the end or at the start.
    output_padding : int or sequence of int
        Number of outputs added at the end.
    output_shape : int or sequence of int, optional
        Spatial output sizes. With ``"valid"``, ``"same"`` and ``"same_lower"`` they determine the cuts, as in ONNX
        (which includes ``output_padding`` in them). With explicit pads they determine ``output_padding``, as in
        PyTorch.
    stride, dilation, groups, flip, channels, engine
        Same as in `conv`.

    Returns
    -------
    ConvOperator
        Map with ``(n-1)*s - lo - hi + t*(k-1) + 1 + output_padding`` outputs along each axis.

    Raises
    ------
    ValueError
        If an argument is invalid, as for `conv`, or if ``output_shape`` cannot be reached with explicit pads.
    TypeError
        If an argument is of the wrong type, or the kernel is not numeric.

    Examples
    --------
    >>> import convmtx as cm
    >>> up = cm.conv_transpose([1, 2, 3], 3, stride=2)
    >>> up([1, 0, 10])
    array([ 1,  2,  3,  0, 10, 20, 30])
    >>> (up.T.to_dense() == cm.conv([1, 2, 3], 7, stride=2).to_dense()).all()
    np.True_
    """
    resolve.not_swapped(kernel, input_shape)
    array = numeric("kernel", kernel)
    name = resolve.engine(engine)
    geometry = resolve.conv_transpose(
        array.shape, input_shape, stride=stride, dilation=dilation, padding=padding,
        output_padding=output_padding, output_shape=output_shape, groups=groups, flip=flip, channels=channels,
    )  # fmt: skip
    return ConvOperator(geometry, frozen(array), name)


@door("kernel_operator")
def kernel_operator(
    x: ArrayLike,
    kernel_shape: PerAxis,
    *,
    input_shape: PerAxis | None = None,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: PaddingLike = "valid",
    boundary: BoundaryLike = "zero",
    groups: int = 1,
    flip: bool = False,
    channels: Channels | None = None,
    input_dilation: PerAxis = 1,
    engine: EngineName = "auto",
) -> KernelOperator:
    """Return the convolution with a fixed input as a linear map of the kernel: im2col under any boundary.

    Law: ``kernel_operator(x, K.shape, ...)(K) == conv(K, x.shape, ...)(x)`` with the same options.

    Parameters
    ----------
    x : array_like
        The input, of any array library; copied.
    kernel_shape : tuple of int
        Shape of the kernels, written as for `conv`.
    input_shape : tuple of int, optional
        Shape of one input if ``x`` has batch axes before it. By default ``x`` is one input.
    stride, dilation, padding, boundary, groups, flip, channels, input_dilation, engine
        As for `conv`.

    Returns
    -------
    KernelOperator
        From arrays of ``kernel_shape`` to arrays of ``(*batch, *out_shape)``, with all forms. Its adjoint ``.H`` builds
        no matrix: it convolves ``x`` with its argument.

    Raises
    ------
    ValueError, TypeError
        As for `conv`.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.kernel_operator([1, 2, 3, 4], 2).to_dense()
    array([[1, 2],
           [2, 3],
           [3, 4]])
    """
    array = numeric("x", x)
    sizes = tuple(array.shape) if input_shape is None else resolve.shape("input_shape", input_shape)
    geometry = resolve.conv(
        resolve.shape("kernel_shape", kernel_shape), sizes, stride=stride, dilation=dilation, padding=padding,
        boundary=boundary, groups=groups, flip=flip, channels=channels, input_dilation=input_dilation,
    )  # fmt: skip
    batch = _batch(array, geometry.in_shape)
    return KernelOperator(geometry, frozen(array, "input"), batch, resolve.engine(engine))


def _batch(x: Array, shape: Shape) -> Shape:
    """Return the batch axes of an array whose last axes are to be ``shape``."""
    count = x.ndim - len(shape)
    if count < 0 or tuple(x.shape[count:]) != shape:
        got = f"x has shape {tuple(x.shape)}"
        raise ArgumentError(got, f"Expected (*batch, {', '.join(map(str, shape))})", "Check input_shape")
    return tuple(x.shape[:count])


@door("convmtx")
def convmtx(
    h: ArrayLike,
    n: int | Shape,
    mode: Mode = "full",
    *,
    form: Literal["sparse", "dense"] = "sparse",
    order: Order = "C",
) -> scipy.sparse.sparray | AnyArray:
    """Return the matrix of the convolution with ``h`` on arrays of shape ``n``, in any number of axes.

    It can replace MATLAB's ``convmtx`` and ``convmtx2`` (with ``order="F"``, MATLAB's ``X(:)``) and
    `scipy.linalg.convolution_matrix`. In one axis ``convmtx(h, n, mode) @ x`` is ``np.convolve(h, x, mode)``. In more
    axes ``convmtx(h, n, mode) @ x.ravel()`` is `scipy.signal.convolve`, flattened.

    Parameters
    ----------
    h : array_like
        Kernel, with one axis for each entry of ``n``.
    n : int or tuple of int
        Shape of the arrays that are convolved.
    mode : {"full", "same", "valid"}
        Part of the full output that is kept, along each axis as in `numpy.convolve`: all ``k + n - 1`` values, the
        central ``max(k, n)``, or the ``max(k, n) - min(k, n) + 1`` of complete overlap. `scipy.signal.convolve` differs
        if the kernel is longer than the array: its "same" has the array's size, and its "valid" needs one of the two to
        be the longer along every axis.
    form : {"sparse", "dense"}
        Type of the matrix: a `scipy.sparse.csr_array` or an ndarray.
    order : {"C", "F"}
        How input and output are flattened: row-major or column-major.

    Returns
    -------
    scipy.sparse.csr_array or ndarray
        Matrix with a column for each entry of the input and a row for each entry of the output. For a kernel of
        PyTorch, JAX or CuPy it is an array of that library.

    Raises
    ------
    ValueError
        If an argument is invalid: an empty ``h``, sizes that are not positive or do not match its axes, unknown names.
    TypeError
        If an argument is of the wrong type, or ``h`` is not numeric.
    MemoryError
        If the matrix does not fit in memory.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.convmtx([1, 2, 3], 3, form="dense")
    array([[1, 0, 0],
           [2, 1, 0],
           [3, 2, 1],
           [0, 3, 2],
           [0, 0, 3]])
    """
    array = numeric("h", h)
    arguments.one_of("form", form, ("sparse", "dense"))
    check_order(order)
    op = ConvOperator(resolve.convmtx(array.shape, n, mode), frozen(array), "auto")
    return op.to_sparse("csr", order) if form == "sparse" else op.to_dense(order)
