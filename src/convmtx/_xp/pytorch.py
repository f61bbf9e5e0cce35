"""Linear functions that NumPy computes, with gradients, forward derivatives and vmap for PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from convmtx.typing import AnyArray, Array


def able(tensor: Array) -> bool:
    """Whether NumPy can read the numbers of a tensor: on the CPU, in a type of NumPy, and not traced by PyTorch."""
    import torch

    jit: Any = torch.jit
    is_plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"
    is_traced = torch.compiler.is_compiling() or jit.is_tracing() or torch._C._len_torch_dispatch_stack()
    return is_plain and tensor.dtype != torch.bfloat16 and not is_traced


def is_constant(tensor: Array) -> bool:
    """Whether NumPy can read the numbers of a tensor, and no derivative or transform of PyTorch follows them."""
    import torch

    if type(tensor) is not torch.Tensor or not able(tensor) or tensor.requires_grad:
        return False
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return False
    return torch.autograd.forward_ad.unpack_dual(tensor).tangent is None  # type: ignore[no-untyped-call]


def linear(forward: Callable[[AnyArray], AnyArray], adjoint: Callable[[Array], Array], tensor: Array) -> Array:
    """Apply a linear NumPy function to a tensor.

    ``adjoint`` is its transpose in PyTorch's own functions, so that the gradient has gradients too.
    """
    return _function().apply(tensor, forward, adjoint)


@cache
def _function() -> Any:
    """Return the autograd function of `linear`, defined on first use because its base class is PyTorch's."""
    import torch

    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(tensor: Array, forward: Any, _adjoint: Any) -> Array:
            return torch.from_numpy(forward(tensor.detach().resolve_conj().resolve_neg().numpy()))

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
            results = [linear(forward, adjoint, sample) for sample in tensor.unbind(in_dims[0])]
            return torch.stack(results), 0

    return Linear
