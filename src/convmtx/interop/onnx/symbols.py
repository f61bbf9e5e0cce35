"""Arithmetic on the sizes of an ONNX graph of which some are open, such as (N, 3, 32, 32) for a batch of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from convmtx.interop.onnx.protobuf import UNNAMED, Size, UnknownError, dims_of
from convmtx.typing import AnyArray, IntArray

#: Nodes that only move the numbers of their first input; Concat moves those of all inputs.
_MOVING = frozenset((
    "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze",
))  # fmt: skip
#: Nodes that compute each number of their output from the numbers at the same position of their inputs.
_ENTRYWISE = frozenset((
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Sign", "Sqrt", "Sub", "Sum", "Where",
))  # fmt: skip
#: Nodes whose output sizes are products and quotients of the sizes of their inputs and of the numbers in them.
_RESIZING = frozenset(("ConstantOfShape", "Expand", "Reshape", "Resize", "Upsample"))
#: Open sizes that one node may read, for its shapes to be inferred. Each takes two of the 1,731 numbers of `_primes`.
_MOST_OPEN = 500

Compute: TypeAlias = Callable[[Any, Sequence[AnyArray | None]], list[AnyArray | None]]
Infer: TypeAlias = Callable[[Any, Mapping[str, Any], Mapping[str, AnyArray]], dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """Array of integers of which some are open.

    ``symbols`` is 0 where ``values`` holds the number, otherwise it is the number of an open size, counted from 1, and
    the value means nothing. The shape (N, 3, N) has the values [1, 3, 1] and the symbols [1, 0, 1].
    """

    values: AnyArray
    symbols: IntArray


class Symbols:
    """Open sizes of a model, numbered from 1. Sizes of the same name are the same size."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def new(self) -> str:
        """Return the name of a new open size; no file has such names."""
        name = f"{UNNAMED}{len(self._numbers)}"
        self.number(name)
        return name

    def number(self, name: str) -> int:
        """Return the number of the open size of this name."""
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def of_shape(self, dims: Sequence[Size]) -> Sizes:
        """Return a shape as an array, as the node Shape does."""
        symbols = [0 if isinstance(size, int) else self.number(str(size)) for size in dims]
        values = [size if isinstance(size, int) else 1 for size in dims]
        return Sizes(np.array(values, np.int64), np.array(symbols, np.int64))

    def readable(self, array: Sizes) -> tuple[int | str, ...]:
        """Return the numbers of an array, with the names of those that are open."""
        names = list(self._numbers)
        pairs = zip(array.values.ravel().tolist(), array.symbols.ravel().tolist(), strict=True)
        return tuple(names[number - 1] if number else value for value, number in pairs)

    def compute(self, node: Any, inputs: Sequence[AnyArray | Sizes | None], compute: Compute) -> list[Sizes | None]:
        """Return a node's outputs from inputs of which some are open; ``compute`` does it for arrays alone.

        Raises `UnknownError` for a node that neither computes entry by entry nor only moves entries.
        """
        parts = [Sizes(p, np.zeros(p.shape, np.int64)) if isinstance(p, np.ndarray) else p for p in inputs]
        values = [None if part is None else part.values for part in parts]
        if node.op_type in _ENTRYWISE:
            # (N, 3) + 1 is (new open size, 4): a number that is computed from an open one is a new open size.
            array: Any = compute(node, values)[0]
            is_open = np.zeros(array.shape, bool)
            for part in parts:
                is_open |= part is not None and part.symbols > 0
            fresh = np.zeros(array.shape, np.int64)
            fresh[is_open] = [self.number(self.new()) for _ in range(is_open.sum())]
            return [Sizes(np.where(is_open, array.dtype.type(1), array), fresh)]
        n_moved = len(parts) if node.op_type == "Concat" else 1
        are_integers = all(p is None or p.values.dtype in (np.int32, np.int64) for p in parts[:n_moved])
        if node.op_type in _MOVING and are_integers and not any(isinstance(p, Sizes) for p in inputs[n_moved:]):
            # The node is computed twice, on the values and on the symbols, which it moves to the same positions.
            symbols = [None if p is None else p.symbols.astype(p.values.dtype) for p in parts[:n_moved]]
            moved_values, moved_symbols = compute(node, values), compute(node, [*symbols, *values[n_moved:]])
            pairs = zip(moved_values, moved_symbols, strict=True)
            return [None if array is None or marks is None else Sizes(array, marks) for array, marks in pairs]
        raise UnknownError("it depends on sizes that are open")

    def infer(
        self, node: Any, types: Mapping[str, Any], inputs: Mapping[str, AnyArray | Sizes], infer: Infer
    ) -> dict[str, Any]:
        """Return the types of a node's outputs from inputs of which some sizes are open; ``infer`` does it for numbers.

        The types are inferred twice, with a prime number in place of each open size, another one the second time. A
        size of an output that is the same both times is known: it is a product or quotient from which the open sizes
        cancel. A size that is both times the prime of one open size is that size. Any other is open.

        With N = 1013 and then 1019, reshaping (N, 4, 6) to (N, -1) infers (1013, 24) and (1019, 24), which is (N, 24).
        """
        keeps_ratio = any(a.name == "keep_aspect_ratio_policy" and a.s != b"stretch" for a in node.attribute)
        numbers = {self.number(dim) for kind in types.values() for dim in dims_of(kind) or () if isinstance(dim, str)}
        numbers.update(
            *(array.symbols[array.symbols > 0].tolist() for array in inputs.values() if isinstance(array, Sizes))
        )
        if node.op_type not in _RESIZING or keeps_ratio or len(numbers) > _MOST_OPEN:
            return {}
        choices = [dict(zip(numbers, _primes()[start::2], strict=False)) for start in (0, 1)]
        first, second = (
            infer(node, {name: self._close_type(kind, primes) for name, kind in types.items()},
                  {name: _close_array(array, primes) for name, array in inputs.items()})
            for primes in choices
        )  # fmt: skip
        names: dict[Any, str] = {
            tuple(primes[number] for primes in choices): list(self._numbers)[number - 1] for number in numbers
        }
        for name, kind in first.items():
            pairs = zip(dims_of(kind) or (), dims_of(second.get(name)) or (), strict=True)
            for dim, pair in zip(kind.tensor_type.shape.dim, pairs, strict=True):
                if pair[0] != pair[1]:
                    dim.dim_param = names.get(pair) or self.new()
        return first

    def _close_type(self, tensor_type: Any, primes: Mapping[int, int]) -> Any:
        """Return a tensor type with a prime for each open size."""
        closed = type(tensor_type)()
        closed.CopyFrom(tensor_type)
        for dim in closed.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = primes[self.number(dim.dim_param)]
        return closed


def _close_array(array: AnyArray | Sizes, primes: Mapping[int, int]) -> AnyArray:
    """Return an array with a prime for each open size."""
    if not isinstance(array, Sizes):
        return array
    values = array.values.copy()
    for position in np.argwhere(array.symbols):
        values[tuple(position)] = primes[int(array.symbols[tuple(position)])]
    return values


@cache
def _primes() -> tuple[int, ...]:
    """Return the prime numbers from 1013 to 16381; the factors by which nodes change sizes are smaller."""
    numbers = np.arange(1 << 14)
    for n in range(2, 128):
        numbers[n * n :: n] = 0
    return tuple(numbers[numbers > 1009].tolist())
