"""The matrix of any map as generalized diagonals, in one scatter of its entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy
from convmtx.arguments import flag, integer
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.interop.slots.places import read_places
from convmtx.interop.slots.rotations import Rotations, plan_rotations
from convmtx.maps.affine import Affine
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.structure.double import as_map, doubled
from convmtx.typing import AnyArray, IntArray

#: Entries whose slots are computed at once, about: the arrays on the way have 1 to 2 MiB each and stay in the cache.
_ENTRIES = 1 << 19
#: Bytes that the places of a row or column take: twice the place, and what sorts it.
_PLACED = 32
#: Bytes for each pair of a block column and a difference of slots: a mark, and where the diagonal begins.
_LOOKED_UP = 9


class Diagonals(dict[tuple[int, int], dict[int, AnyArray]]):
    """Generalized diagonals of a matrix, as `to_diagonals` returns them: ``{(block_row, block_column): {k: vector}}``.

    It is a dict of dicts of NumPy arrays. Blocks and diagonals without a stored entry are left out.

    Attributes
    ----------
    slots : int
        Number of slots of a ciphertext, the length of every vector.
    heights : dict of int
        Number of rows of each block row, after which they repeat: ``slots``, or less with ``hybrid=True``.
    """

    def __init__(self, slots: int, heights: dict[int, int]) -> None:
        super().__init__()
        self.slots, self.heights = slots, heights

    def __repr__(self) -> str:
        blocks = f"{len(self)} block{'s' * (len(self) != 1)}"
        count = sum(map(len, self.values()))
        return f"{type(self).__name__}({count} of {self.slots} slots in {blocks}, {memory.human(self.nbytes)})"

    @property
    def nbytes(self) -> int:
        """Bytes of all vectors."""
        return sum(vector.nbytes for block in self.values() for vector in block.values())

    @door("rotations")
    def rotations(self, block: tuple[int, int] | None = None, *, bsgs: bool = False) -> Rotations:
        """Return the rotations of ciphertexts that a product with the matrix takes.

        A rotated input serves all blocks of its block column. Partial sums of a block row are added before they are
        rotated.

        Parameters
        ----------
        block : tuple of int, optional
            Key of a block, for the rotations of this block alone.
        bsgs : bool
            Whether baby steps and giant steps share the work: diagonal k is a rotation of the input by ``k % n``, and
            one of a partial sum by ``k - k % n``, where n is the power of two that takes the fewest rotations.

        Returns
        -------
        Rotations
            Their number ``.count``, the distinct ``.steps``, and the steps of each ciphertext.

        Raises
        ------
        ValueError, TypeError
            If the block does not exist, or ``bsgs`` is not a bool.

        Notes
        -----
        With ``g = k - k % n``, the product is the sum over g of ``rotate(s, g)``, where s is the sum over the diagonals
        of that g of ``np.roll(d, g) * rotate(x, k % n)`` (S. Halevi, V. Shoup, "Faster homomorphic linear
        transformations in HElib", CRYPTO 2018).

        Examples
        --------
        >>> import numpy as np, convmtx as cm
        >>> d = cm.to_diagonals(cm.conv(np.ones((3, 3)), (8, 8), padding=1), 64)
        >>> d.rotations().count, d.rotations().steps
        (8, (1, 7, 8, 9, 55, 56, 57, 63))
        >>> d.rotations(bsgs=True)
        Rotations(inputs={0: (1, 7)}, sums={0: (8, 48, 56)}, outputs={0: ()}, baby=8)
        """
        if block is not None and block not in self:
            remedy = f"Blocks are {shown(list(self))}"
            raise ArgumentError(f"block={shown(block)}", "Expected the key of a block with entries", remedy)
        numbers = {at: list(self[at]) for at in (self if block is None else [block])}
        heights = {row: self.heights[row] for row, _ in numbers}
        return plan_rotations(numbers, self.slots, heights, flag("bsgs", bsgs))


@door("to_diagonals")
def to_diagonals(
    op: Any, slots: int, *, in_places: Any = None, out_places: Any = None, hybrid: bool = False
) -> Diagonals:
    """Return the matrix of a map as generalized diagonals, by which homomorphic encryption multiplies vectors.

    Law: let entry (m, n) of ``op.to_dense()`` be in row ``out_places[m]`` and column ``in_places[n]`` of a matrix of
    zeros, which is cut into blocks W of ``slots`` x ``slots``. Diagonal k of a block is
    ``d[i] == W[i, (i + k) % slots]``. With ``rotate(x, k) == np.roll(x, -k)`` and slotwise products, ``W @ x`` is the
    sum of ``d * rotate(x, k)`` over the diagonals of the block.

    Parameters
    ----------
    op : LinearMap, array, sparse array or LinearOperator
        Any map. Its inputs and outputs are flattened in C order.
    slots : int
        Number of slots of a ciphertext.
    in_places, out_places : array_like of int, optional
        Place of each input and each output: place p is slot ``p % slots`` of ciphertext ``p // slots``. By default
        these are 0, 1, 2, and so on. `multiplex` returns places for strided layers.
    hybrid : bool
        Whether block rows of few rows wrap around their height h. It is the least of ``slots``, ``slots / 2``,
        ``slots / 4`` and so on that is at least the number of rows: if ``slots`` is a power of two, the next power of
        two. Diagonals are ``d[i] == W[i % h, (i + k) % slots]`` with k < h, and the sum s of their products is not yet
        the result: s becomes ``s + rotate(s, h)``, then ``s + rotate(s, 2 * h)``, and so on up to ``slots / 2``. After
        that, slot i has output ``i % h``.

    Returns
    -------
    Diagonals
        A dict ``{(block_row, block_column): {k: d}}`` of the diagonals that hold a stored entry, with k ascending. The
        vectors have the dtype of ``op.to_sparse()``. Its method ``rotations`` counts what a product takes.

    Raises
    ------
    ValueError
        If ``slots`` is not positive, or places are negative, repeat, or have a wrong length.
    TypeError
        If ``op`` is not a linear map, or an argument has a wrong type. Of an `Affine` pass ``.op``, and add its offset,
        packed at ``out_places``, to the product.
    MemoryError
        If the diagonals do not fit in memory. They are counted before they are allocated.

    See Also
    --------
    multiplex : Places that leave the outputs of a strided layer where its inputs were.

    Notes
    -----
    ``rotate(x, k)`` moves slot k to slot 0, as rotations by a positive k do in OpenFHE, SEAL and Lattigo. Where they
    move slot 0 to slot k, rotate by ``slots - k``.

    Zeros of a kernel count as entries, as in every sparse matrix of convmtx, so the geometry alone decides which
    diagonals there are. A diagonal k of ``hybrid=True`` unites the usual ones k, k + h, k + 2 h and so on, so they
    never become more; ``log2(slots / h)`` rotations of the output are added.

    The time is proportional to the number of entries. They are read twice, in slabs of rows: once to see which
    diagonals there are, and once to write them. The slabs of a convolution are built in closed form, and little memory
    is used beside the result. Other maps are built once as ``op.to_sparse()``, or also in slabs if that does not fit in
    memory. Maps of other libraries are taken in NumPy's double precision.

    References
    ----------
    Diagonals: S. Halevi, V. Shoup, "Algorithms in HElib", CRYPTO 2014. Hybrid: C. Juvekar, V. Vaikuntanathan,
    A. Chandrakasan, "GAZELLE: a low latency framework for secure neural network inference", USENIX Security 2018.
    Blocks and places for convolutions: A. Ebel, K. Garimella, B. Reagen, "Orion: a fully homomorphic encryption
    framework for deep learning", ASPLOS 2025.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1, 2, 3], 6)
    >>> d = cm.to_diagonals(op, 8)
    >>> d
    Diagonals(3 of 8 slots in 1 block, 192 B)
    >>> d[0, 0][1]
    array([2, 2, 2, 2, 0, 0, 0, 0])
    >>> x = np.array([3, 1, 4, 1, 5, 9, 0, 0])
    >>> sum(vector * np.roll(x, -k) for k, vector in d[0, 0].items())
    array([17, 12, 21, 38,  0,  0,  0,  0])
    >>> op(x[:6])
    array([17, 12, 21, 38])

    With ``hybrid=True``, a dense layer of two outputs has two diagonals, and two rotations add up its outputs:

    >>> d = cm.to_diagonals(np.arange(16).reshape(2, 8), 8, hybrid=True)
    >>> d[0, 0]
    {0: array([ 0,  9,  2, 11,  4, 13,  6, 15]), 1: array([ 1, 10,  3, 12,  5, 14,  7,  8])}
    >>> d.rotations()
    Rotations(inputs={0: (1,)}, sums={0: ()}, outputs={0: (2, 4)}, baby=None)
    """
    slots = integer("slots", slots, 1)
    op = _numpy_map(op)
    size = 2 * slots * _LOOKED_UP + _PLACED * sum(op.shape)
    memory.require_result("an array of places", size, "Pass fewer slots, or a smaller map")
    ins, outs = read_places("in_places", in_places, op.in_shape), read_places("out_places", out_places, op.out_shape)
    with memory.refused_as("diagonals", {}):
        return _scattered(_pack(op, slots, ins, outs), outs // slots, flag("hybrid", hybrid))


def _numpy_map(op: Any) -> LinearMap:
    """Return what `to_diagonals` takes as a map with numbers of NumPy."""
    if isinstance(op, Affine):
        remedy = "Pass A.op, and add A.offset, packed at out_places, to the product"
        raise ArgumentTypeError("op is an Affine", "Expected a linear map", remedy)
    op = as_map(op)
    return op if is_numpy(op._reference_array) else doubled(op)


@dataclass(frozen=True)
class _Packed:
    """A matrix whose rows and columns have places in slots."""

    #: Builds rows of the matrix.
    build: Callable[[IntArray], Any]
    dtype: np.dtype[Any]
    slots: int
    #: Block columns that inputs are in.
    columns: IntArray
    #: Slot of each row.
    row_slots: IntArray
    #: For each column its slot, plus ``slots``, plus ``2 * slots`` times the number of its block in ``columns``.
    column_slots: IntArray
    #: Rows in a slab.
    height: int

    @property
    def n_differences(self) -> int:
        """Number of differences that `entries` may yield, from 0 on."""
        return 2 * self.slots * self.columns.size

    def entries(self, rows: IntArray) -> Iterator[tuple[IntArray, IntArray, AnyArray]]:
        """Yield, in slabs, the differences ``column_slots - row_slots`` of entries, the latter, and the values.

        Entries of the same difference are in one block and on one diagonal.
        """
        for at in range(0, rows.size, self.height):
            own = rows[at : at + self.height]
            slab = self.build(own)
            slots = np.repeat(self.row_slots[own], np.diff(slab.indptr))
            yield self.column_slots[slab.indices] - slots, slots, slab.data


def _pack(op: LinearMap, slots: int, ins: IntArray, outs: IntArray) -> _Packed:
    """Return a map's matrix with its rows and columns at places."""
    columns, numbers = np.unique(ins // slots, return_inverse=True)
    kind: Any = np.int32 if 2 * slots * columns.size <= np.iinfo(np.int32).max else np.int64
    column_slots = (ins % slots + slots * (1 + 2 * numbers)).astype(kind)
    whole = None if isinstance(op, ConvOperator) else _whole_matrix(op)
    nnz = op._count_stored() if whole is None else whole.nnz

    def build(rows: IntArray) -> Any:
        return op.to_sparse("csr", rows=rows) if whole is None else whole[rows]

    height = max(_ENTRIES * op.shape[0] // max(prod(op.shape) if nnz is None else nnz, 1), 1)
    return _Packed(build, op.dtype, slots, columns, (outs % slots).astype(kind), column_slots, height)


def _whole_matrix(op: LinearMap) -> Any:
    """Return the matrix of a map, or None if it may take more than half of the memory."""
    stored = op._count_stored()
    if stored is not None and 2 * stored * (op.dtype.itemsize + 8) > memory.available():
        return None
    try:
        return op.to_sparse("csr")
    except MemoryError:
        return None


@dataclass(frozen=True)
class _BlockRow:
    """Which diagonals a block row has, before they are allocated."""

    rows: IntArray
    #: Number of rows after which they repeat.
    height: int
    #: ``slots`` times the number of the block column, plus k, for each diagonal, sorted.
    keys: IntArray
    #: Differences that entries have, and for each of these what a row's slot is added to in the array of all diagonals.
    differences: IntArray
    starts: IntArray


def _scattered(packed: _Packed, block_rows: IntArray, hybrid: bool) -> Diagonals:
    """Return all diagonals; ``block_rows`` has the block row of each row."""
    order = np.argsort(block_rows, kind="stable")
    numbers, firsts = np.unique(block_rows[order], return_index=True)
    parts = dict(zip(numbers.tolist(), np.split(order, firsts[1:]), strict=True))
    patterns = {row: _see_diagonals(packed, rows, hybrid) for row, rows in parts.items()}
    count = sum(pattern.keys.size for pattern in patterns.values())
    remedy = "Choose places with fewer diagonals, such as those of cm.multiplex, or a smaller map"
    memory.require_result("an array of the diagonals", count * packed.slots * packed.dtype.itemsize, remedy)
    result = Diagonals(packed.slots, {row: pattern.height for row, pattern in patterns.items()})
    for row, pattern in patterns.items():
        blocks, k = np.divmod(pattern.keys, packed.slots)
        columns = packed.columns[blocks].tolist()
        for column, number, vector in zip(columns, k.tolist(), _fill(packed, pattern), strict=True):
            result.setdefault((row, column), {})[number] = vector
    return result


def _see_diagonals(packed: _Packed, rows: IntArray, hybrid: bool) -> _BlockRow:
    """Return which diagonals the rows of a block row have."""
    slots, height = packed.slots, packed.slots
    while hybrid and height % 2 == 0 and height // 2 > packed.row_slots[rows].max():
        height //= 2
    memory.require_result("the table of diagonals", _LOOKED_UP * packed.n_differences, "Use places in fewer blocks")
    occurs = np.zeros(packed.n_differences, bool)
    for differences, _, _ in packed.entries(rows):
        occurs[differences] = True
    differences = np.flatnonzero(occurs)
    # An entry in row slot r and column slot c is on diagonal k = (c - r) % h, at slot i = (c - k) % slots. That is
    # r + (c - r - k) % slots: the bracket is a multiple of h, so the sum is at most (slots - h) + (h - 1).
    blocks, shifts = np.divmod(differences, 2 * slots)
    shifts -= slots
    k = shifts % height
    keys, numbers = np.unique(blocks * slots + k, return_inverse=True)
    return _BlockRow(rows, height, keys, differences, numbers * slots + (shifts - k) % slots)


def _fill(packed: _Packed, pattern: _BlockRow) -> AnyArray:
    """Return the diagonals of a block row, in the order of their keys."""
    size = pattern.keys.size * packed.slots
    kind: Any = np.int32 if size <= np.iinfo(np.int32).max else np.int64
    starts: IntArray = np.empty(packed.n_differences, kind)
    starts[pattern.differences] = pattern.starts
    vectors = np.zeros(size, packed.dtype)
    for differences, slots, values in packed.entries(pattern.rows):
        vectors[starts[differences] + slots] = values
    return vectors.reshape(-1, packed.slots)
