"""Apply a map again without deciding anything again: what a type and a number of images need is kept after one call.

A program is what a call runs. `Steps` have an input and an output of their own, and between them a few calls of NumPy
on views and buffers that stay where they are: a call copies its input, runs the steps and returns a copy of the output.
So a program works for one call at a time, and calls from several threads at once build one each. Programs of large
arrays are not kept, and neither are those of engines that have nothing to keep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import prod
from threading import Lock
from typing import Any, Protocol

import numpy as np

from convmtx import rates
from convmtx.engines.parts import Plan, Prepare, wide
from convmtx.engines.select import Engine, select
from convmtx.rates import Rates
from convmtx.typing import AnyArray, EngineName, Shape

#: Bytes of a program that is kept: 2 MiB, which hold the windows of a call of some 0.2 ms. Longer calls take so long
#: that deciding again does not matter.
PROGRAM_BYTES = 1 << 21
#: Bytes of all programs that a map keeps, and types and numbers of images that it knows; then it forgets all of them.
KEPT_BYTES, MOST_KEPT = 1 << 23, 32

#: Type of results for the types of kernel and inputs.
ResultType = Callable[[np.dtype[Any], np.dtype[Any]], np.dtype[Any]]
#: Type and number of the inputs of a call, whether the transpose is applied, and the rates that it is chosen with.
Key = tuple[np.dtype[Any], int, bool, Rates]


class Own:
    """Memory that one program has for itself, and its size."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, _slot: str, shape: Shape, dtype: np.dtype[Any]) -> AnyArray:
        """Return new memory, whatever the slot."""
        array = np.empty(shape, dtype)
        self.bytes += array.nbytes
        return array


class Program(Protocol):
    """Function of a batch, which one call at a time may use, and the bytes that it keeps."""

    bytes: int

    def __call__(self, x: AnyArray, /) -> AnyArray:
        """Return the outputs of a batch, in new memory."""


class Steps:
    """Steps that fill an output from an input, both its own, for inputs of one type and number."""

    def __init__(self, plan: Plan, prepare: Prepare, key: Key, dtype: np.dtype[Any]) -> None:
        kind, images, transposed, _ = key
        applied, memory, self.dtype = plan.mirrored if transposed else plan, Own(), dtype
        self.x = memory("x", (images, *applied.geometry.in_shape), kind)
        self.y = memory("y", (images, *applied.geometry.out_shape), wide(dtype) if transposed else dtype)
        self.steps = applied.prepare(self.x, self.y, prepare, memory)
        self.bytes = memory.bytes
        if transposed:  # the border is folded back inside the output
            folds, self.y = plan.folding(self.y)
            self.steps += folds

    def __call__(self, x: AnyArray) -> AnyArray:
        """Return the outputs of a batch, in new memory."""
        self.x[...] = x
        for step in self.steps:
            step()
        return self.y.astype(self.dtype, "C")


class Calls:
    """Calls of a map, and of its transpose if that is not a convolution, with the programs that they keep."""

    def __init__(self, plan: Plan, engine: EngineName, result_type: ResultType | None = None) -> None:
        """Take the rule for types of results if it is not NumPy's: arrays are then memory of tensors."""
        self.plan, self._engine = plan, engine
        self._tensors, self._result_type = result_type is not None, result_type or np.result_type
        self._lock, self._bytes = Lock(), 0
        #: Programs that no call is using; None for calls that are not to be prepared.
        self._free: dict[Key, deque[Program] | None] = {}

    def __call__(self, x: AnyArray, transposed: bool = False) -> AnyArray:
        """Apply the map to a batch: x (B, *in_shape) to (B, *out_shape), or its transpose the other way."""
        key = x.dtype, len(x), transposed, rates.current()
        free = self._free.get(key)
        try:
            program = free.pop() if free else None
        except IndexError:  # another thread took it since
            program = None
        if program is None:
            return self._decide(key, x)
        y = program(x)
        free.append(program)  # type: ignore[union-attr]  # the program came from there
        return y

    def _decide(self, key: Key, x: AnyArray) -> AnyArray:
        """Apply the map to a batch by a new program, which is kept, or without one."""
        transposed = key[2]
        applied = self.plan.mirrored if transposed else self.plan
        dtype = self._result_type(self.plan.dtype, x.dtype)
        choice = select(self._engine, applied, dtype, max(len(x), 1), tensors=self._tensors)
        outputs = len(x) * prod(applied.geometry.out_shape) * dtype.itemsize
        is_kept = x.size and self._free.get(key, ()) is not None and x.nbytes + outputs <= PROGRAM_BYTES
        program = self._program(choice.engine, key, dtype) if is_kept else None
        if program is None:
            if transposed:
                return self.plan.transposed(x, choice.engine.correlate, dtype)
            return choice.apply(applied, x, dtype)
        y = program(x)
        self._keep(key, program)
        return y

    def _program(self, engine: Engine, key: Key, dtype: np.dtype[Any]) -> Program | None:
        """Return a new program of an engine; None if it has nothing to keep."""
        if engine.whole:
            return engine.whole(self.plan, key[2], dtype)
        return Steps(self.plan, engine.prepare, key, dtype) if engine.prepare else None

    def _keep(self, key: Key, program: Program) -> None:
        """Keep a program that has run once, if it is small."""
        size = program.bytes
        with self._lock:
            if len(self._free) == MOST_KEPT or self._bytes + size > KEPT_BYTES:
                self._free, self._bytes = {}, 0
            if size > PROGRAM_BYTES:
                self._free[key] = None
                return
            self._bytes += size
            programs = self._free.setdefault(key, deque())
            if programs is not None:
                programs.append(program)
