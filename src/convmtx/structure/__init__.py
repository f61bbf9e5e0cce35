"""How a convolution falls apart into small blocks, in bases that are known beforehand.

What spectra and solves have in common: an axis is a `Split`, a map the `Blocks` that its axes' splits make together,
and where a map does not fall apart, `relaxations` are larger maps that do.
"""

from convmtx.structure.blocks import Blocks, decomposed
from convmtx.structure.embeddings import Larger, around, circle, relaxations, size_of, sublattices
from convmtx.structure.splits import Split, coupled

__all__ = [
    "Blocks",
    "Larger",
    "Split",
    "around",
    "circle",
    "coupled",
    "decomposed",
    "relaxations",
    "size_of",
    "sublattices",
]
