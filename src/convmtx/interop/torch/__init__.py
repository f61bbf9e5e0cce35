"""PyTorch's modules as affine maps, and maps as modules of PyTorch.

A module is run on a tensor that knows its `Value`, an affine function of the input, and holds no numbers. PyTorch hands
every function that is called with it to `tracing`, which looks up the function's converter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import numeric
from convmtx.errors import ArgumentError, ArgumentTypeError, UnsupportedError, door, with_article
from convmtx.extras import import_extra
from convmtx.geometry import resolve
from convmtx.interop.torch.modules import empty_like, require_convertible
from convmtx.interop.torch.tracing import run
from convmtx.maps.affine import Affine
from convmtx.typing import PerAxis, Shape


@door("from_torch")
def from_torch(module: Any, input_shape: PerAxis, *, at: Any = None) -> Affine:
    """Return the affine map ``y = A x + b`` that a PyTorch module computes.

    The module is run once, on inputs without numbers, so that everything its Python code does is followed: skip
    connections, functions, hooks, parametrizations. With ``at`` it is run on that input, and the map is that of the
    module around it: every activation, max pooling and product is replaced by its tangent at ``at``.

    Parameters
    ----------
    module : torch.nn.Module
        Module that computes an affine function of one tensor, in evaluation mode. It may call convolutions,
        transposed convolutions, linear layers, average pooling (adaptive too), batch normalization, padding,
        interpolation, sums, differences, concatenations, multiples and quotients by constants, means and sums over
        axes, slices, indices, flips, rolls, reshapes, permutations, pixel and channel shuffles, fold and unfold.
    input_shape : tuple of int
        Shape of one input without the batch, ``(C, *sizes)``.
    at : array_like, optional
        Input, of ``input_shape``, at which functions that are not affine are replaced by their tangents: activations
        (ReLU, LeakyReLU, Hardswish, GELU, ...), products of two tensors, max pooling. Then ``A(at)`` is the module's
        output, and ``A.op`` its Jacobian.

    Returns
    -------
    Affine
        ``.op`` holds the module's weights, ``.offset`` the bias, both as tensors. Functions without weights get tensors
        of the type and on the device of the module's first weight or statistic. If the whole module has none, they are
        of PyTorch's default type and on the CPU.

    Raises
    ------
    UnsupportedError
        If the module calls a function that is not affine, or that is not known here. The message names the function
        and the module in which it is called. Also if the module takes or returns more than one tensor, mixes the
        samples of a batch, or has weights that are not initialized. This is a ValueError.
    ValueError
        If the input shape does not fit.
    ImportError
        Without the extra ``torch``.

    Notes
    -----
    Gradients flow through the map to the module's parameters, but the map keeps the numbers that they have now. After a
    step of an optimizer, convert the module again. The module's attributes and buffers are as before.

    The module is followed on a batch of two, so that functions that mix samples are refused. But a module that uses the
    size of the batch as a number, and divides by it for example, is read as it is for a batch of two.

    With ``at``, activations are those that PyTorch computes number by number (relu, gelu, hardswish, sigmoid, tanh,
    sqrt, pow, clamp, maximum and more); besides them products, quotients, max pooling, amax and amin, and comparisons,
    which are fixed. Where a function has a kink or a tie, its slope is that of PyTorch's gradients. Gradients flow
    through slopes too.

    Chains become products of maps, and one convolution where that is one. Branches that meet again become sums. In
    other graphs, such as DenseNet, every map is still applied once.
    """
    torch = import_extra("torch", "torch")
    if not isinstance(module, torch.nn.Module):
        got = f"{with_article(type(module).__name__)}"
        raise UnsupportedError(got, "Expected a torch.nn.Module", "Pass the layer itself")
    shape = resolve.shape("input_shape", input_shape)
    require_convertible(module)
    like = empty_like(module, at if torch.is_tensor(at) and at.is_floating_point() else torch.empty(0))
    return run(module, shape, like, None if at is None else _input(torch, at, shape, like))


def _input(torch: Any, at: Any, shape: Shape, like: Any) -> Any:
    """Return the input at which tangents are taken, as a batch of one, in the type and on the device of the module."""
    array = numeric("at", at)
    tensor = array if torch.is_tensor(array) else torch.from_numpy(np.ascontiguousarray(array))
    if tensor.is_complex() and not like.is_complex():
        raise ArgumentTypeError("at is complex", "Expected real numbers, as the module's", "Pass at.real")
    x = tensor.detach().to(dtype=like.dtype, device=like.device)
    if tuple(x.shape) not in (shape, (1, *shape)):
        got = f"at has shape {tuple(x.shape)}"
        raise ArgumentError(got, f"Expected {shape}, one input", "Pass one input, as at=batch[0]")
    return x.reshape(1, *shape)
