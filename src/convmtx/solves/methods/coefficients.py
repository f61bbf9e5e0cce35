"""Coefficients in which maps are small matrices, and the way from arrays to them and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property, reduce
from math import prod

import numpy as np

from convmtx.maps.linear_map import LinearMap
from convmtx.structure import Blocks
from convmtx.typing import AnyArray


class Coefficients(ABC):
    """Coefficients in which a map, or a part of it, is matrices (count, rows, columns)."""

    #: Number of occurrences of all matrices together, and how many of those of one have coefficients of their own.
    total: int
    copies: int
    #: Whether every output, and every input, is a combination of coefficients.
    outputs_complete: bool
    inputs_complete: bool

    @property
    @abstractmethod
    def times(self) -> AnyArray:
        """Number of occurrences of each matrix."""

    @cached_property
    def weights(self) -> AnyArray:
        """Number of occurrences of each coefficient."""
        return self.times / self.copies

    @abstractmethod
    def analyse(self, arrays: AnyArray, inputs: bool) -> AnyArray:
        """Return the coefficients of inputs, (count, columns, R), or of outputs, (count, rows, R)."""

    @abstractmethod
    def synthesize(self, y: AnyArray, inputs: bool) -> AnyArray:
        """Return inputs, or outputs, from their coefficients, whose memory may be written to."""


class BlockCoefficients(Coefficients):
    """Coefficients in the bases of blocks."""

    def __init__(self, blocks: Blocks, outputs_complete: bool, inputs_complete: bool) -> None:
        self.blocks, self.total = blocks, blocks.total
        self.copies = prod(split.inputs.copies for split in blocks.splits)
        self.outputs_complete, self.inputs_complete = outputs_complete, inputs_complete

    @property
    def times(self) -> AnyArray:
        return self.blocks.times

    @cached_property
    def weights(self) -> AnyArray:
        by_axis = (split.times / split.inputs.copies for split in self.blocks.splits)
        return reduce(np.multiply.outer, by_axis, np.ones(self.blocks.geometry.groups)).reshape(-1)

    def analyse(self, arrays: AnyArray, inputs: bool) -> AnyArray:
        return self.blocks.analyse(arrays, inputs)

    def synthesize(self, y: AnyArray, inputs: bool) -> AnyArray:
        return self.blocks.synthesize(y, inputs)


def coefficients_of(blocks: Blocks, alone: bool) -> BlockCoefficients:
    """Return the coefficients of blocks of a map; ``alone`` says that these are all there are."""
    count, (rows, columns) = blocks.total, blocks.geometry.shape
    return BlockCoefficients(blocks, alone and count * blocks.rows == rows, alone and count * blocks.columns == columns)


class Entries(Coefficients):
    """The entries of arrays themselves, in which any map is one dense matrix."""

    def __init__(self, op: LinearMap) -> None:
        self.op, self.total, self.copies = op, 1, 1
        self.outputs_complete = self.inputs_complete = True

    @property
    def times(self) -> AnyArray:
        return np.ones(1, int)

    def analyse(self, arrays: AnyArray, inputs: bool) -> AnyArray:  # noqa: ARG002 - both are flattened
        return arrays.reshape(1, len(arrays), prod(arrays.shape[1:])).swapaxes(1, 2)

    def synthesize(self, y: AnyArray, inputs: bool) -> AnyArray:
        return y[0].T.reshape(y.shape[2], *(self.op.in_shape if inputs else self.op.out_shape))
