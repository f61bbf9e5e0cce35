"""Maps of a model's nodes, and why other nodes have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from convmtx.errors import door
from convmtx.interop.onnx.node import Node
from convmtx.interop.onnx.paths import Mapped, Paths
from convmtx.interop.onnx.reasons import Kind, Skipped
from convmtx.maps.affine import Affine

#: Characters of an output's name in the table, and of an operator's name in the summary, and operators that a line of
#: the summary counts. A file can have names of any length, and any number of operators of its own.
_LONGEST_NAME, _LONGEST_OPERATOR, _MOST_OPERATORS = 80, 30, 20


class OnnxLayer(Mapped):
    """Affine map of a node of an ONNX graph."""

    def __init__(self, affine: Affine, node: Node, name: str) -> None:
        super().__init__(affine, node.data, node.whole)
        #: The node's name, which may be empty, and its operator.
        self.name, self.op_type = name, node.op_type
        #: Bytes of the node's weights, as the file stores or computes them.
        self.weight_bytes = node.weight_bytes
        #: Stored types of weights that NumPy does not have, such as bfloat16; the map has the numbers in a wider type.
        self.widened = tuple(sorted(node.widened))


@dataclass(frozen=True)
class OnnxLayers:
    """Maps of a model's nodes, and the reasons why other nodes have none. It prints as a summary.

    Attributes
    ----------
    layers : dict of str to affine map
        Maps of nodes by the name of the output.
    skipped : dict of str to str
        Reasons by the name of the node's first output, for every node that has no map of one tensor.
    """

    layers: dict[str, OnnxLayer]
    skipped: dict[str, Skipped]
    _paths: Paths = field(repr=False)

    @door("report.map")
    def map(self, output: str, input: str | None = None) -> Mapped:
        """Return the affine map from a tensor of the graph to another, along all nodes between them.

        Sums, differences and concatenations of tensors are joined, so that branches and skip connections are part of
        the map; constants on the way are its offset.

        Parameters
        ----------
        output : str
            Name of the tensor that the map makes.
        input : str, optional
            Name of the tensor that it takes: an input of the graph, or the output of a node. All that ``output``
            depends on must go through it. By default it is the only input of the graph that ``output`` depends on.

        Returns
        -------
        Affine
            From arrays of one input, without the batch axis, to arrays of one output. If a node on the way does more to
            the first axis than to leave it as it is, ``.whole`` is true, and the map is one of whole tensors.
            ``.input_name`` is the name of the tensor that it takes. Chains are products, as of ``A @ B``; a tensor that
            several nodes take is computed once.

        Raises
        ------
        ValueError
            If a node on the way is not affine; the error has its number, its output and the reason. If ``output`` does
            not depend on ``input``, or on others too. If there is no such tensor.
        TypeError
            If a name is not a string.
        """
        return self._paths.between(input, output)

    def __str__(self) -> str:
        lines = [f"{len(self.layers)} maps; {len(self.skipped)} nodes have none"]
        if self.layers:
            lines.append(f"maps: {_counts(layer.op_type for layer in self.layers.values())}")
        stored = Counter(kind for layer in self.layers.values() for kind in layer.widened)
        for kind, count in sorted(stored.items()):
            lines.append(f"  {count} with weights of {kind}, in a wider type without rounding")
        for reason in Kind:
            chosen = [skipped.op_type for skipped in self.skipped.values() if skipped.kind is reason]
            if chosen:
                lines.append(f"{len(chosen)} {reason.value}: {_counts(chosen)}")
        return "\n".join(lines)

    def table(self) -> str:
        """Return all maps, a line for each, with what it takes and makes, and then all reasons."""
        rows = [("output", "node", "takes", "makes")]
        for name, layer in self.layers.items():
            shapes = ("x".join(map(str, shape)) + " all" * layer.whole for shape in (layer.in_shape, layer.out_shape))
            rows.append((name[:_LONGEST_NAME], layer.op_type, *shapes))
        widths = [max(len(row[j]) for row in rows) for j in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += [f"  {name[:_LONGEST_NAME]}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def _counts(operators: Iterable[str]) -> str:
    """Return how many there are of each operator, those that are most frequent first."""
    counts = Counter(operators).most_common()
    texts = [f"{count} {name[:_LONGEST_OPERATOR]}" for name, count in counts[:_MOST_OPERATORS]]
    return ", ".join(texts + ["..."] * (len(counts) > _MOST_OPERATORS))
