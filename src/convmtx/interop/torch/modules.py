"""Modules of PyTorch: what one must be to be converted, and maps as modules."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, library
from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.matrices import by_matrix


def empty_like(module: Any, default: Any) -> Any:
    """Return an empty tensor of the device and type of a module's first weight or statistic, or else of a tensor."""
    torch = import_extra("torch", "torch")
    for tensor in (*module.parameters(), *module.buffers()):
        if (tensor.is_floating_point() or tensor.is_complex()) and not torch.nn.parameter.is_lazy(tensor):
            return tensor.detach().new_empty(0)
    return default.detach().new_empty(0)


def require_convertible(module: Any) -> None:
    """Refuse modules that cannot be run to follow them: without weights, compiled, or with statistics of a batch."""
    torch = import_extra("torch", "torch")
    for name, part in module.named_modules():
        label = f"module {type(part).__name__}" + (f" ({name})" if name else "")
        if isinstance(part, torch.nn.modules.lazy.LazyModuleMixin) and part.has_uninitialized_params():
            raise UnsupportedError(label, "It has no weights yet", "Run it once on an input")
        if isinstance(part, torch.jit.ScriptModule):
            raise UnsupportedError(
                f"{label} of TorchScript", "Its code is not Python", "Pass the module it was made of"
            )
        for tensor in part.parameters(recurse=False):
            if tensor.is_floating_point() and tensor.itemsize < 2:
                raise UnsupportedError(
                    f"{label} of {tensor.dtype}", "PyTorch does no arithmetic in it", "Cast the module"
                )


def module_of(op: LinearMap) -> Any:
    """Return a map as a `torch.nn.Module`; the kernel of a convolution is its parameter, other maps have none."""
    return _module_class()(op if op._takes_every_library else by_matrix(op))


@cache
def _module_class() -> Any:
    """Return the class of these modules; it is made at the first call, for its base class is PyTorch's."""
    torch = import_extra("torch", "torch")

    class Map(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Module that applies a map of convmtx."""

        def __init__(self, op: LinearMap) -> None:
            super().__init__()
            self._map = op
            if isinstance(op, ConvOperator):
                kernel = _copy_kernel(torch, op.kernel)
                is_trained = kernel.is_floating_point() or kernel.is_complex()
                self.kernel = torch.nn.Parameter(kernel, requires_grad=is_trained)
                self._map = op.with_kernel(np.zeros(op.kernel.shape, np.int8))  # the parameter holds the numbers

        def forward(self, x: Any) -> Any:
            """Return the outputs of a batch of inputs."""
            return self._map.with_kernel(self.kernel)(x) if isinstance(self._map, ConvOperator) else self._map(x)

        def extra_repr(self) -> str:
            """Return what stands between the parentheses when the module is printed."""
            return f"{self._map.in_shape} -> {self._map.out_shape}"

        def __reduce__(self) -> Any:
            """Return how to make the module again; pickle cannot import a class that is made inside a function."""
            return module_of, (self._map,), self.__getstate__()

    return Map


def _copy_kernel(torch: Any, kernel: Any) -> Any:
    """Return a kernel of any library as a new tensor, on its device if it is one of PyTorch's."""
    if library(kernel) == "torch":
        return kernel.detach().clone()
    array = as_numpy(kernel)
    try:
        return torch.tensor(array)
    except TypeError:
        got, remedy = f"a kernel of {array.dtype}", "Use op.with_kernel(op.kernel.astype(np.float64))"
        raise UnsupportedError(got, "PyTorch has no such type", remedy) from None
