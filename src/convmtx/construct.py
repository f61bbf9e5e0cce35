"""How a convolution is asked for: the constructors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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
    """A convolution as a linear map, for any number of spatial axes.

    Per axis with stride s, dilation t, pads (lo, hi) and input dilation e::

        y[o, f] = sum over p, c of  K[p, c, f] * x~[o*s - lo + p*t, c]

    where ``x~`` is x with e-1 zeros between neighbours, continued past its ends by ``boundary``. This is
    correlation, as in neural networks; ``flip=True`` reverses the kernel in space first, which makes it
    convolution, as in signal processing. Complex kernels are not conjugated.

    Parameters
    ----------
    kernel : array_like
        Integers, floats or complex numbers of any array library (then outputs and forms are of that library, and
        differentiable); copied. As many axes as ``input_shape``: no channels,
        ``(k1..kd)``. One more: ``(k1..kd, C/groups, F)`` with channels last, ``(F, C/groups, k1..kd)`` with
        channels first.
    input_shape : tuple of int
        Shape of one input, without batch: ``(n1..nd)``, ``(n1..nd, C)`` or ``(C, n1..nd)``.
    stride, dilation, input_dilation : int or sequence of int
        Steps of the output, between taps, and between input neighbours; one for all axes or one each.
    padding : str, int or sequence
        ``"valid"`` (none), ``"full"`` (every overlap), ``"same"`` (out = ceil(n/s), the odd pad at the end),
        ``"same_lower"`` (the odd pad at the start), an int, or for each axis an int or a pair (lo, hi).
        Negative pads crop.
    boundary : str or sequence of str
        ``"zero"``, ``"wrap"``, ``"reflect"``, ``"symmetric"`` or ``"edge"`` as `numpy.pad` names them
        (``"zeros"``, ``"circular"``, ``"replicate"`` likewise), of any width; one for all axes or one each.
    groups : int
        Channels and filters are split into this many independent parts; ``groups=C`` is depthwise.
    flip : bool
        Reverse the kernel along its spatial axes.
    channels : {"last", "first"}, optional
        Where the channel axes stand; where it is passed there must be some. By default last, if the kernel has one axis
        more than the input.
    engine : {"auto", "direct", "fft", "separable", "torch"}
        How the map is applied: windows times the kernel matrix; transforms; one axis after the other, for kernels that
        are an outer product for each channel pair; PyTorch's convolutions, for float32 (extra ``torch``, considered by
        ``auto`` where it is imported already); or the one that should be fastest. `ConvOperator.explain` tells which
        and why. Integers are never transformed, and what is not finite reaches the outputs of its windows only.
        Applying the map with an engine that cannot is a ValueError; ImportError where its extra is missing.

    Returns
    -------
    ConvOperator
        With output shape ``(o1..od)``, ``(o1..od, F)`` or ``(F, o1..od)``,
        ``o = floor((n' + lo + hi - t*(k-1) - 1)/s) + 1`` and ``n' = (n-1)*e + 1``.

    Raises
    ------
    ValueError
        For impossible shapes, sizes and names, a kernel that does not fit, channels that do not match.
    TypeError
        For arguments of the wrong type, and kernels that are not numeric (bool and object are refused).

    Notes
    -----
    Making the operator costs a copy of the kernel; nothing of the size of input, output or matrix is made.

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
    """Transposed convolution: the transpose of the zero-boundary `conv` with this same kernel array.

    Law: ``conv_transpose(K, op.out_shape, ...).to_dense() == op.to_dense().T`` for ``op = conv(K, ...)`` of
    the same stride, dilation, padding and groups, whenever ``output_padding`` makes the sizes meet.

    Parameters
    ----------
    kernel : array_like
        ``(k1..kd)``, channels last ``(k1..kd, C_out/groups, C_in)``, or channels first
        ``(C_in, C_out/groups, k1..kd)``; as PyTorch, ONNX, TensorFlow and Keras store it.
    input_shape : tuple of int
        Shape of one input, without batch.
    padding : str, int or sequence
        What is cut from the full output, written as for `conv`. ``"same"`` and ``"same_lower"`` make
        ``n*stride`` outputs, the odd cut at the end or at the start.
    output_padding : int or sequence of int
        Outputs added at the end.
    output_shape : int or sequence of int, optional
        Spatial output sizes. With ``"valid"`` or a ``"same"`` the cuts follow, as in ONNX (which counts
        ``output_padding`` in); with explicit pads ``output_padding`` follows, as in PyTorch.
    stride, dilation, groups, flip, channels, engine
        As for `conv`.

    Returns
    -------
    ConvOperator
        With ``(n-1)*s - lo - hi + t*(k-1) + 1 + output_padding`` outputs on each axis.

    Raises
    ------
    ValueError, TypeError
        As for `conv`, and where ``output_shape`` cannot be reached with explicit pads.

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
        From arrays of ``kernel_shape`` to arrays of ``(*batch, *out_shape)``, with all forms. Its adjoint ``.H``
        needs none of them: it convolves ``x`` with its argument.

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
        raise ArgumentError(got, f"Wanted (*batch, {', '.join(map(str, shape))})", "Check input_shape")
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
    """The matrix of true convolution with ``h`` on arrays of shape ``n``, in any number of axes.

    A drop-in for MATLAB's ``convmtx`` and ``convmtx2`` (with ``order="F"``, MATLAB's ``X(:)``) and for
    `scipy.linalg.convolution_matrix`: ``(convmtx(h, n, mode) @ x.ravel())`` is
    ``np.convolve(h, x, mode)``, and `scipy.signal.convolve` in more axes.

    Parameters
    ----------
    h : array_like
        The kernel, one axis for each of ``n``.
    n : int or tuple of int
        Shape of the arrays convolved.
    mode : {"full", "same", "valid"}
        What is kept of the full output, along each axis as in `numpy.convolve`: all ``k + n - 1``, the
        central ``max(k, n)``, or the ``max(k, n) - min(k, n) + 1`` of complete overlap. (`scipy.signal.convolve`
        differs where the kernel is the longer: its "same" has the array's size, and "valid" takes the kernel as
        the longer one along every axis or along none.)
    form : {"sparse", "dense"}
        A `scipy.sparse.csr_array` or an ndarray.
    order : {"C", "F"}
        How input and output are flattened.

    Raises
    ------
    ValueError, TypeError
        For an empty ``h``, sizes that are not positive or do not match its axes, unknown names.
    MemoryError
        Where the matrix would not fit.

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
    resolve.one_of("form", form, ("sparse", "dense"))
    check_order(order)
    op = ConvOperator(resolve.convmtx(array.shape, n, mode), frozen(array), "auto")
    return op.to_sparse("csr", order) if form == "sparse" else op.to_dense(order)
