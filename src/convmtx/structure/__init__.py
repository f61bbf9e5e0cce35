"""Small blocks into which a convolution falls apart, in bases that are known beforehand.

Spectra and solves both use it. An axis is a `Split`, and a map the `Blocks` that the splits of its axes make together.
If a map does not fall apart, `relaxations` are larger maps that do. A `Decomposition` is one way to all singular values
of a map, and `choose_decomposition` takes the one of least work.
"""

from convmtx.structure.blocks import Blocks, decomposed, describe
from convmtx.structure.decompositions import Decomposition, choose_decomposition, decompositions
from convmtx.structure.embeddings import Larger, around, circle, relaxations, size_of, sublattices
from convmtx.structure.splits import Rule, Split, coupled

__all__ = [
    "Blocks",
    "Decomposition",
    "Larger",
    "Rule",
    "Split",
    "around",
    "choose_decomposition",
    "circle",
    "coupled",
    "decomposed",
    "decompositions",
    "describe",
    "relaxations",
    "size_of",
    "sublattices",
]
