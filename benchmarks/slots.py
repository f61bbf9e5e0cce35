"""Time generalized diagonals for homomorphic encryption beside other ways to them, in one run, and compare the results.

    python benchmarks/slots.py [--part diagonals] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster.
"""

import tracemalloc
from functools import partial

import numpy as np
from measuring import Times, main, medians

import convmtx as cm

MANY = 5_000_000  # entries, from which on the loop takes minutes
CASES = {
    "1->1, 32x32, 2^10 slots": ((1, 1, 3, 3), 32, {}, 10),
    "4->16, 32x32, stride 2 in gaps, 2^12 slots": ((16, 4, 3, 3), 32, {"stride": 2}, 12),
    "16->16, 32x32, 2^14 slots": ((16, 16, 3, 3), 32, {}, 14),
    "64->64, 16x16, 2^14 slots": ((64, 64, 3, 3), 16, {}, 14),
    "64->64, 32x32, 2^15 slots": ((64, 64, 3, 3), 32, {}, 15),
}


def diagonals(quick):
    """Generalized diagonals, `to_diagonals`.

    Compared with a loop over the diagonals, each of which looks at all entries (loop; up to 5 million entries), and
    with a scatter of all entries at once after a sort of their diagonals (scatter). Arrays are float64. Mnnz: millions
    of entries. memory / result: the most that is allocated meanwhile, over the bytes of the diagonals. Aim: 64->64
    channels of 32x32 in less than 2 s, with memory of less than 4 results.
    """
    for name, case in list(CASES.items())[: 2 if quick else None]:
        yield name, partial(as_diagonals, *case)


def as_diagonals(shape, n, options, bits, case, repeat):
    op = cm.conv(
        np.random.default_rng(0).standard_normal(shape), (shape[1], n, n), padding=1, channels="first", **options
    )
    slots, places = 1 << bits, cm.multiplex(op.out_shape, options.get("stride", 1))
    ours = partial(cm.to_diagonals, op, slots, out_places=places)
    ways = {"ours": ours, "scatter": partial(scattered, op, slots, places)}
    if op.nnz < MANY:
        ways["loop"] = partial(looped, op, slots, places)
    seconds, results = medians(ways, repeat)
    expected = results.pop("ours")
    agrees = all(same(vectors, expected) for vectors in results.values())
    more = {
        "Mnnz": op.nnz / 1e6,
        "diagonals": sum(map(len, expected.values())),
        "memory / result": allocated(ours) / expected.nbytes,
    }
    return Times(case, seconds.pop("ours"), seconds, None, 0 if agrees else np.inf, agrees, more)


def keys_of(op, slots, places):
    """Values, slots of rows, and numbers of blocks and diagonals of all entries."""
    matrix = op.to_sparse("coo")
    rows, columns = places[matrix.row], matrix.col
    blocks = rows // slots * (op.shape[1] // slots + 1) + columns // slots
    return matrix.data, rows % slots, blocks * slots + (columns - rows) % slots


def looped(op, slots, places):
    """A look at all entries for each diagonal."""
    data, at, keys = keys_of(op, slots, places)
    vectors = {}
    for key in np.unique(keys).tolist():
        here = keys == key
        vectors[key] = np.zeros(slots)
        vectors[key][at[here]] = data[here]
    return list(vectors.values())


def scattered(op, slots, places):
    """All entries at once."""
    data, at, keys = keys_of(op, slots, places)
    numbers, which = np.unique(keys, return_inverse=True)
    vectors = np.zeros((numbers.size, slots))
    vectors[which, at] = data
    return list(vectors)


def same(vectors, expected):
    """Whether vectors are those of all blocks, in the same order."""
    ours = [block[k] for _, block in sorted(expected.items()) for k in block]
    return len(ours) == len(vectors) and all(map(np.array_equal, ours, vectors))


def allocated(way):
    """The most bytes that are allocated at once while a way runs."""
    tracemalloc.start()
    result = way()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return peak


if __name__ == "__main__":
    main(__doc__, {"diagonals": diagonals})
