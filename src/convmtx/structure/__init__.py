"""Small blocks into which a convolution falls apart, in bases that are known beforehand.

Spectra and solves both use it. An axis is a `Split`, and a map the `Blocks` that the splits of its axes make together.
If a map does not fall apart, `relaxations` are larger maps that do. A `Decomposition` gives all singular values of a
map, and `choose_decomposition` takes the one of least work.
"""

from convmtx.structure.blocks import Blocks, describe, find_blocks, share_inputs
from convmtx.structure.decompositions import blocks_with_vectors, choose_decomposition, decompositions
from convmtx.structure.embeddings import Larger, around, circle, relaxations, size_of, sublattices
from convmtx.structure.kinds import Decomposition
from convmtx.structure.splits import Rule, Split
from convmtx.structure.symbols import couple_frequencies

__all__ = [
    "Blocks",
    "Decomposition",
    "Larger",
    "Rule",
    "Split",
    "around",
    "blocks_with_vectors",
    "choose_decomposition",
    "circle",
    "couple_frequencies",
    "decompositions",
    "describe",
    "find_blocks",
    "relaxations",
    "share_inputs",
    "size_of",
    "sublattices",
]
