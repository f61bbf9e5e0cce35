"""Explanations of a convolution: its geometry, its sizes and its engine, as data and as a table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from convmtx import costs, forms, memory, rates
from convmtx.geometry import Geometry
from convmtx.typing import EngineName, Shape

if TYPE_CHECKING:
    from convmtx.engines.application import Use

#: Number of calls to time. The median of three leaves out one call that another process disturbed.
REPEAT = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """Result of `ConvOperator.explain`: plain data (`dataclasses.asdict` of it is JSON) that prints as a table."""

    in_shape: Shape
    out_shape: Shape
    shape: tuple[int, int]
    dtype: str
    in_channels: int
    out_channels: int
    groups: int
    channels: str
    flip: bool
    transposed: bool
    #: Size, kernel, stride, dilation, pads, input dilation, boundary and outputs of each spatial axis.
    axes: tuple[dict[str, Any], ...]
    nnz: int
    #: Bytes of each form by name, without the forms that this map does not have.
    bytes: dict[str, int]
    engine: str
    reason: str
    #: Flops, bytes copied on the way, predicted seconds and, on request, measured seconds of each engine that can apply
    #: the map to one input of its type.
    engines: dict[str, dict[str, float]]
    #: Where the rates of the predictions come from, if not only from convmtx: `convmtx.tune`.
    rates: str = ""

    def __str__(self) -> str:
        lines = [
            f"convolution {self.in_shape} -> {self.out_shape}, matrix {self.shape[0]} x {self.shape[1]}, {self.dtype}",
            f"channels {self.in_channels} -> {self.out_channels}, groups {self.groups}, layout {self.channels}"
            + (", kernel flipped" if self.flip else "")
            + (", transposed" if self.transposed else ""),
        ]
        for j, axis in enumerate(self.axes):
            lines.append(f"axis {j}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in axis.items()))
        density = self.nnz / (self.shape[0] * self.shape[1])
        lines.append(f"nnz {self.nnz} ({density:.3g} of all entries)")
        lines += [f"  {name:<9}{memory.human(size):>9}" for name, size in self.bytes.items()]
        lines.append(f"engine {self.engine}: {self.reason}")
        for name, engine in self.engines.items():
            times = ", ".join(f"{key} {engine[key]:.2g} s" for key in ("predicted", "measured") if key in engine)
            work = f"{engine['flops']:>9.3g} flops, {memory.human(int(engine['bytes'])):>9} copied"
            lines.append(f"  {name:<10}{work}, {times}")
        return "\n".join([*lines, f"rates {self.rates}"] if self.rates else lines)


def explain(geometry: Geometry, use: Use, measure: bool) -> Explanation:
    """Return the explanation of a map; if asked to, time every engine on one random input."""
    from convmtx.engines.prepared import Calls  # engines are imported when first needed

    g, dtype, plan = geometry, use.dtype, use.plan
    axes = tuple(
        {
            "size": a.size, "kernel": a.kernel, "stride": a.stride, "dilation": a.dilation, "pads": (a.lo, a.hi),
            "input_dilation": a.input_dilation, "boundary": a.boundary.name, "outputs": a.out,
        }
        for a in g.axes
    )  # fmt: skip
    engines = {
        name: {"flops": costs.flops(work), "bytes": work.get("byte", 0.0), "predicted": costs.seconds(work)}
        for name, work in use.works.items()
    }
    if measure and plan is not None:
        memory.require("operator", {"operator": (prod(g.in_shape) + prod(g.out_shape)) * dtype.itemsize})
        x = np.resize(np.random.default_rng(0).integers(-9, 10, 4099).astype(dtype), (1, *g.in_shape))
        for name, facts in engines.items():
            facts["measured"], _ = timed(partial(Calls(plan, cast("EngineName", name)), x))
    return Explanation(
        g.in_shape, g.out_shape, g.shape, str(dtype).rpartition(".")[2], g.in_channels, g.out_channels, g.groups,
        g.layout.value, g.flip, g.transposed, axes, g.nnz, forms.sizes(g, dtype), use.engine, use.reason, engines,
        rates.current().source,
    )  # fmt: skip


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median seconds of some calls after a first one, and the result of the first."""
    result, times = call(), []
    for _ in range(REPEAT):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result
