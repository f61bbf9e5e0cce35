"""Sizes inside an ONNX graph of which some are known and some are open, such as those of an image in an open batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from convmtx.interop.onnx_folding import UnknownError, dims_of, names
from convmtx.typing import AnyArray, IntArray

#: Nodes that only move what their first input contains (Concat: all inputs).
_MOVING = names("Concat Expand Flatten Gather Identity Reshape Slice Split Squeeze Tile Transpose Unsqueeze")
#: Nodes that compute each number from those at the same place.
_ENTRYWISE = names(
    "Abs Add And Cast Ceil Clip Div Equal Floor Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Neg Not Or Pow "
    "Sign Sqrt Sub Sum Where"
)
#: Nodes whose output sizes are products and quotients of sizes of their inputs and of the numbers in them.
_RESIZING = names("ConstantOfShape Expand Reshape Resize Upsample")
#: How many open sizes of one model are told apart.
_MOST = 500

Compute: TypeAlias = Callable[[Any, Sequence[AnyArray | None]], list[AnyArray | None]]
Infer: TypeAlias = Callable[[Any, Mapping[str, Any], Mapping[str, AnyArray]], dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """Numbers of which some are open: ``symbols`` is 0 where ``values`` has the number, else which open size it is."""

    values: AnyArray
    symbols: IntArray


class Symbols:
    """The open sizes of a model, numbered from 1; sizes of one name are one size."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def new(self) -> str:
        """Return a name for an open size that has none; no file has such names."""
        name = f"\0{len(self._numbers)}"
        self.number(name)
        return name

    def number(self, name: str) -> int:
        """Return the number of a name."""
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def of_shape(self, dims: Sequence[int | str]) -> Sizes:
        """Return a shape as sizes."""
        symbols = [0 if isinstance(d, int) else self.number(d) for d in dims]
        values = [d if isinstance(d, int) else 1 for d in dims]
        return Sizes(np.array(values, np.int64), np.array(symbols, np.int64))

    def computed(self, node: Any, inputs: Sequence[AnyArray | Sizes | None], compute: Compute) -> list[Sizes | None]:
        """Return what a node makes of sizes, from what ``compute`` makes of arrays; `UnknownError` for other nodes."""
        parts = [Sizes(p, np.zeros(p.shape, np.int64)) if isinstance(p, np.ndarray) else p for p in inputs]
        values = [None if part is None else part.values for part in parts]
        if node.op_type in _ENTRYWISE:
            array: Any = compute(node, values)[0]
            is_open = np.zeros(array.shape, bool)
            for part in parts:
                is_open |= part is not None and part.symbols > 0
            fresh = np.zeros(array.shape, np.int64)
            fresh[is_open] = [self.number(self.new()) for _ in range(is_open.sum())]
            return [Sizes(np.where(is_open, array.dtype.type(1), array), fresh)]
        moved = len(parts) if node.op_type == "Concat" else 1
        whole = all(p is None or p.values.dtype in (np.int32, np.int64) for p in parts[:moved])
        if node.op_type in _MOVING and whole and not any(isinstance(p, Sizes) for p in inputs[moved:]):
            marks = [None if p is None else p.symbols.astype(p.values.dtype) for p in parts[:moved]]
            arrays, symbols = compute(node, values), compute(node, [*marks, *values[moved:]])
            pairs = zip(arrays, symbols, strict=True)
            return [None if array is None or marked is None else Sizes(array, marked) for array, marked in pairs]
        raise UnknownError("it depends on sizes that are open")

    def inferred(
        self, node: Any, types: Mapping[str, Any], inputs: Mapping[str, AnyArray | Sizes], infer: Infer
    ) -> dict[str, Any]:
        """Return the types of a node's outputs where some of the sizes that it is passed are open.

        Twice each open size is taken for a prime number. A size of an output that comes out the same is known, for it
        is a product or quotient in which the open ones cancel; one that is twice the prime of a name has that name.
        """
        stretched = any(a.name == "keep_aspect_ratio_policy" and a.s != b"stretch" for a in node.attribute)
        numbers = {self.number(dim) for kind in types.values() for dim in dims_of(kind) or () if isinstance(dim, str)}
        numbers.update(
            *(array.symbols[array.symbols > 0].tolist() for array in inputs.values() if isinstance(array, Sizes))
        )
        if node.op_type not in _RESIZING or stretched or len(numbers) > _MOST:
            return {}
        worlds = [dict(zip(numbers, _primes()[start::2], strict=False)) for start in (0, 1)]
        first, second = (
            infer(node, {name: self._closed(kind, world) for name, kind in types.items()},
                  {name: _filled(array, world) for name, array in inputs.items()})
            for world in worlds
        )  # fmt: skip
        named: dict[Any, str] = {
            tuple(world[number] for world in worlds): list(self._numbers)[number - 1] for number in numbers
        }
        for name, kind in first.items():
            pairs = zip(dims_of(kind) or (), dims_of(second.get(name)) or (), strict=True)
            for dim, pair in zip(kind.tensor_type.shape.dim, pairs, strict=True):
                if pair[0] != pair[1]:
                    dim.dim_param = named.get(pair) or self.new()
        return first

    def _closed(self, kind: Any, world: Mapping[int, int]) -> Any:
        """Return a type with numbers for its open sizes."""
        closed = type(kind)()
        closed.CopyFrom(kind)
        for dim in closed.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = world[self.number(dim.dim_param)]
        return closed


def _filled(array: AnyArray | Sizes, world: Mapping[int, int]) -> AnyArray:
    """Return numbers with those of a world for what is open."""
    if not isinstance(array, Sizes):
        return array
    values = array.values.copy()
    for place in np.argwhere(array.symbols):
        values[tuple(place)] = world[int(array.symbols[tuple(place)])]
    return values


@cache
def _primes() -> tuple[int, ...]:
    """Return prime numbers that are larger than the usual factors of sizes, two for each open size."""
    numbers = np.arange(1 << 14)
    for n in range(2, 128):
        numbers[n * n :: n] = 0
    return tuple(numbers[numbers > 1009].tolist())
