"""Linear functions of tensors that NumPy computes, known to PyTorch's differentiation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from convmtx.typing import AnyArray, Array


def able(tensor: Array) -> bool:
    """Whether the numbers of a tensor lie where NumPy can read them, in a type that it has, and nothing is compiled."""
    import torch

    return tensor.device.type == "cpu" and tensor.dtype != torch.bfloat16 and not torch.compiler.is_compiling()


def linear(forward: Callable[[AnyArray], AnyArray], adjoint: Callable[[Array], Array], tensor: Array) -> Array:
    """``forward`` of a tensor; ``adjoint`` is its transpose in PyTorch's own functions, so it has gradients too."""
    return _function().apply(tensor, forward, adjoint)


@cache
def _function() -> Any:
    """The class that tells PyTorch how: made when first needed, for it is PyTorch's child."""
    import torch

    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(tensor: Array, forward: Any, _adjoint: Any) -> Array:
            return torch.from_numpy(forward(tensor.detach().numpy()))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, _output: Array) -> None:
            _, ctx.forward_, ctx.adjoint = inputs

        @staticmethod
        def backward(ctx: Any, gradient: Array) -> Any:
            return ctx.adjoint(gradient), None, None

        @staticmethod
        def jvp(ctx: Any, tangent: Array, *_: Any) -> Array:
            return linear(ctx.forward_, ctx.adjoint, tangent)

        @staticmethod
        def vmap(_info: Any, in_dims: Any, tensor: Array, forward: Any, adjoint: Any) -> Any:
            each = [linear(forward, adjoint, one) for one in tensor.unbind(in_dims[0])]
            return torch.stack(each), 0

    return Linear
