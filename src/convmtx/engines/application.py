"""Apply a convolution to arrays of any library: which of the files of this room does it.

Arrays of NumPy go to prepared calls (`prepared`), tensors of PyTorch in the main memory to the same engines with
derivatives (`tensors`), and all others to operations of their own library (`libraries`).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from convmtx._xp import is_numpy
from convmtx.costs import Work
from convmtx.engines import libraries
from convmtx.engines.parts import Plan
from convmtx.engines.prepared import Calls
from convmtx.engines.select import select
from convmtx.geometry import Geometry
from convmtx.taps import taps_of
from convmtx.typing import Array, EngineName

if TYPE_CHECKING:
    from convmtx.engines.tensors import TensorMap


class Use(NamedTuple):
    """Engine that applies a map to one input of the kernel's type, with its reason."""

    engine: str
    reason: str
    #: NumPy's type of the results, or that of the library that applies the map.
    dtype: Any
    #: Work of each engine that can apply the map, and the plan to time them with; of NumPy's engines alone.
    works: dict[str, Work]
    plan: Plan | None


class Application:
    """A convolution that is applied again and again; what its calls need is kept."""

    def __init__(self, geometry: Geometry, kernel: Array, engine: EngineName) -> None:
        self._geometry, self._kernel, self._engine = geometry, kernel, engine
        self._is_numpy = is_numpy(kernel)

    @cached_property
    def plan(self) -> Plan:
        """Plan of a kernel of NumPy."""
        return Plan(self._geometry, taps_of(self._geometry, self._kernel))

    @cached_property
    def _calls(self) -> Calls:
        return Calls(self.plan, self._engine)

    @cached_property
    def _tensor_map(self) -> TensorMap:
        from convmtx.engines.tensors import TensorMap  # imports PyTorch

        return TensorMap(self._geometry, self._kernel, self._engine)

    def apply(self, x: Array) -> Array:
        """Apply the map to a batch: x (B, *in_shape) to (B, *out_shape)."""
        if self._is_numpy and is_numpy(x):
            return self._calls(x)
        if libraries.shares_memory(self._kernel, x):
            return self._tensor_map.apply("output", x)
        return libraries.apply(self._geometry, self._kernel, x, self._engine)

    def apply_transposed(self, y: Array) -> Array:
        """Apply the transpose of a map whose transpose is not a convolution: y (B, *out_shape) to (B, *in_shape)."""
        if self._is_numpy and is_numpy(y):
            return self._calls(y, transposed=True)
        if libraries.shares_memory(self._kernel, y):
            return self._tensor_map.apply("input", y)
        return libraries.apply_transposed(self._geometry, self._kernel, y, self._engine)

    def choose(self) -> Use:
        """Return what applies the map to one input of the kernel's type."""
        if self._is_numpy:
            plan, dtype = self.plan, self._kernel.dtype
        elif libraries.holds_numbers(self._kernel):
            plan, dtype = self._tensor_map.plan, self._tensor_map.dtype
        else:
            name, reason = libraries.choose(self._geometry, self._kernel, self._engine)
            return Use(name, reason, self._kernel.dtype, {}, None)
        choice = select(self._engine, plan, dtype, 1, tensors=not self._is_numpy)
        return Use(choice.engine.name, choice.reason, dtype, choice.works, plan)
