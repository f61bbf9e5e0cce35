"""Maps as modules of PyTorch."""

from __future__ import annotations

from typing import Any

import torch

from convmtx._xp import is_numpy
from convmtx.algebra import LinearMap
from convmtx.operator import ConvOperator
from convmtx.typing import Array


class MapModule(torch.nn.Module):
    """A map as a module: of a convolution the kernel is its parameter, other maps have none."""

    def __init__(self, op: LinearMap) -> None:
        super().__init__()
        self._op = op
        self.kernel: Any = None
        if isinstance(op, ConvOperator):
            given: Any = op.kernel
            kernel = torch.tensor(given) if is_numpy(given) else given.detach().clone()
            self.kernel = torch.nn.Parameter(kernel, requires_grad=kernel.is_floating_point() or kernel.is_complex())

    def forward(self, x: Array) -> Array:
        """The outputs of a batch."""
        if isinstance(self._op, ConvOperator):
            return self._op.with_kernel(self.kernel)(x)
        return self._op(x)

    def extra_repr(self) -> str:
        """What the module prints about itself."""
        return f"{self._op.in_shape} -> {self._op.out_shape}"
