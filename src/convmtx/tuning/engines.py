"""Runs of every engine, and of the kinds of tiles of the direct one, over sizes, channels and types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from convmtx import costs
from convmtx.construct import conv
from convmtx.costs import Work
from convmtx.engines import direct
from convmtx.engines.parts import Plan
from convmtx.engines.prepared import Own
from convmtx.engines.select import ENGINES
from convmtx.engines.threads import Step
from convmtx.maps.convolution import ConvOperator
from convmtx.taps import taps_of
from convmtx.tuning.clock import least_seconds
from convmtx.tuning.fit import Timed, weigh_runs
from convmtx.typing import AnyArray, Shape

#: Kinds of tiles that are timed for a case: those with the least predictions, and some of the others.
KINDS = 4
#: Kinds that are predicted to take this many times as long as the fastest one are not timed.
SLOW = 6.0


@dataclass(frozen=True)
class EngineCase:
    """A convolution, a type of its numbers, and a number of images."""

    sizes: Shape
    kernel: Shape
    channels: int = 1
    filters: int = 1
    groups: int = 1
    stride: int = 1
    images: int = 1
    dtype: str = "f8"
    #: Whether the kernel is an outer product.
    outer: bool = False

    def __str__(self) -> str:
        numbers = {"channels": self.channels, "filters": self.filters, "groups": self.groups, "stride": self.stride}
        words = [f"{name} {number}" for name, number in {**numbers, "images": self.images}.items() if number > 1]
        size, kernel = ("x".join(map(str, shape)) for shape in (self.sizes, self.kernel))
        return " ".join([f"{kernel}{' outer' * self.outer} on {size}", *words, str(np.dtype(self.dtype))])

    def build(self) -> tuple[ConvOperator, AnyArray]:
        """Return the map and a batch of inputs; the channels are first."""
        rng = np.random.default_rng(0)
        shape = (self.filters, self.channels // self.groups, *self.kernel)
        kernel = rng.standard_normal(shape)
        if self.outer:
            kernel = np.ones(shape)
            for j, size in enumerate(self.kernel):
                kernel *= rng.standard_normal(size).reshape(-1, *[1] * (len(self.kernel) - 1 - j))
        in_shape = (self.channels, *self.sizes)
        op = conv(kernel.astype(self.dtype), in_shape, channels="first", groups=self.groups, stride=self.stride)
        x = rng.standard_normal((self.images, *in_shape))
        return op, x.astype(self.dtype)


#: Shapes that are timed: sizes, kernel, channels, filters, groups, stride, images.
_SHAPES: tuple[tuple[Any, ...], ...] = (
    ((512,), (7,)), ((4096,), (7,)), ((4096,), (63,)), ((65536,), (15,)), ((1 << 18,), (31,)),
    ((8000,), (9,), 8, 16), ((32, 32), (3, 3), 1, 1, 1, 1, 16), ((128, 128), (3, 3)), ((256, 256), (9, 9)),
    ((512, 512), (5, 5)), ((384, 384), (15, 15)), ((800, 800), (3, 3)), ((512, 512), (5, 5), 1, 1, 1, 2),
    ((128, 128), (3, 3), 3, 16), ((96, 96), (7, 7), 16, 3), ((64, 64), (5, 5), 16, 16), ((128, 128), (3, 3), 8, 8),
    ((56, 56), (3, 3), 64, 64), ((28, 28), (3, 3), 64, 64, 64, 1, 4), ((14, 14), (3, 3), 128, 128),
    ((64, 64), (11, 11), 8, 8), ((16, 16), (3, 3), 16, 32, 1, 1, 16), ((24, 24, 24), (3, 3, 3), 4, 8),
    ((112, 112), (3, 3), 32, 32, 32), ((8, 8), (3, 3), 32, 32, 1, 1, 32), ((28, 28), (5, 5), 1, 1, 1, 1, 64),
    ((28, 28), (1, 1), 128, 64, 1, 1, 4), ((100, 100), (5, 5), 4, 4, 4, 2, 4), ((300, 40), (3, 3), 1, 2, 1, 1, 2),
    ((48, 48, 48), (3, 3, 3)), ((32, 32, 32), (7, 7, 7)),
)  # fmt: skip
#: Complex types take four times as long, and behave alike: every third shape has them. BLAS has no long doubles.
CASES = (
    EngineCase((4096,), (7,), dtype="g"),
    EngineCase((32, 32), (3, 3), 4, 4, dtype="g"),
    *(
        replace(EngineCase(*shape), dtype=dtype)
        for j, shape in enumerate(_SHAPES)
        for dtype in (("f4", "f8", "c8", "c16") if j % 3 == 1 else ("f4", "f8"))
    ),
)


def time_case(case: EngineCase) -> list[Timed]:
    """Time all engines, and some kinds of tiles, on one convolution."""
    op, x = case.build()
    runs = list(_runs(op, x))
    seconds = least_seconds([call for _, call in runs])
    return weigh_runs([work for work, _ in runs], seconds)


def _runs(op: ConvOperator, x: AnyArray) -> Iterator[tuple[Work, Callable[[], Any]]]:
    """Yield the work and the call of everything that can fill the only part of a map."""
    geometry = op.geometry
    plan = Plan(geometry, taps_of(geometry, op.kernel))
    (part,), inputs = plan.parts, x
    x = x.reshape(len(x), geometry.groups, -1, *x.shape[2:])
    y = np.empty((len(x), geometry.groups, geometry.out_channels // geometry.groups, *op.out_shape[1:]), x.dtype)
    for name, engine in ENGINES.items():
        work = engine.work(part, y.dtype, len(x))
        if name == "direct":
            if y.dtype.kind != "c" or part.kernel.shape[1:3] != (1, 1):  # else it computes with real numbers
                for kind in _kinds(part, y.dtype, len(x)):
                    steps = direct.fills_by(kind, part, x, y, Own())
                    yield kind.work(part, y.dtype, len(x)), partial(_run, steps)
        elif work is not None and engine.whole is not None:
            yield work, partial(engine.whole(plan, False, y.dtype), inputs)
        elif work is not None:
            yield work, partial(engine.correlate, part, x, y)


def _run(steps: Iterable[Step]) -> None:
    for step in steps:
        step()


def _kinds(part: Any, dtype: np.dtype[Any], images: int) -> list[Any]:
    """Return some kinds of tiles from the fastest to a slow one, by prediction."""
    predicted = [(costs.seconds(kind.work(part, dtype, images)), kind) for kind in direct.candidates(part, dtype)]
    predicted.sort(key=lambda pair: pair[0])
    kinds = [kind for seconds, kind in predicted if seconds <= SLOW * predicted[0][0]]
    places = np.unique(np.linspace(0, len(kinds) - 1, KINDS).astype(int))
    return [kinds[place] for place in places]
