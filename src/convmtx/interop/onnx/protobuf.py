"""Sizes, names and opsets from ONNX's messages. Names are shortened, for a file can have names of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

#: Size of a tensor along an axis: a number, the name of a size that is open, or None if that has no name.
Size: TypeAlias = int | str | None
#: Characters of a tensor's name, and of another library's message, that an error repeats.
_LONGEST_NAME, _LONGEST_LINE = 80, 200
#: First character of the names that open sizes without a name are given. No file has such names.
UNNAMED = "\0"
#: First opset by which a node is read, whatever the model's. These opsets mean the same as the older ones, of which
#: onnx's reference lacks some, has some wrong, and refuses axes that are counted from the end, which runtimes take.
_FIRST_OPSET = {"BatchNormalization": 14, "Concat": 11, "DequantizeLinear": 19, "Squeeze": 11, "Unsqueeze": 11}


class UnknownError(Exception):
    """Signals a tensor that is constant, but whose numbers are not computed; the message is the reason."""


def dims_of(tensor_type: Any) -> tuple[Size, ...] | None:
    """Return the sizes of a tensor type of ONNX; None if the number of axes is not known."""
    if tensor_type is None or not tensor_type.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or None
        for dim in tensor_type.tensor_type.shape.dim
    )


def is_closed(tensor_type: Any) -> bool:
    """Whether a tensor type has a number for each of its sizes."""
    dims = dims_of(tensor_type)
    return dims is not None and all(isinstance(size, int) for size in dims)


def readable(dims: Sequence[Size] | None) -> tuple[int | str, ...] | None:
    """Return sizes as an error shows them, with "?" for those without a name: (1, 'N', '?')."""
    if dims is None:
        return None
    return tuple("?" if size is None or str(size).startswith(UNNAMED) else size for size in dims)


def opset_of(node: Any, opset: int) -> int:
    """Return the opset by which a node is read in a model of ``opset``."""
    return max(opset, _FIRST_OPSET.get(node.op_type, 0))


def quote(name: str) -> str:
    """Return a name between quotes, shortened."""
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}...")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, shortened, or the error's type if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST_LINE]


def all_nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield nodes and the nodes of the graphs inside them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)
