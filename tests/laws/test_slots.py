"""Generalized diagonals and places: the law entry by entry, products in a slot simulator, published examples."""

import itertools
import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
from ciphertexts import Ciphertext, decrypt, encrypt, product
from convmtx import memory
from convmtx.interop.slots import diagonals as built
from strategies import cases


def integers(shape, seed=0, dtype=np.int64):
    return np.random.default_rng(seed).integers(1, 9, shape).astype(dtype)


def packed(matrix, in_places, out_places, slots):
    """The matrix of all slots, in blocks (block row, block column, slot, slot)."""
    rows, columns = (max(places) // slots + 1 for places in (out_places, in_places))
    whole = np.zeros((rows * slots, columns * slots), matrix.dtype)
    whole[np.ix_(out_places, in_places)] = matrix
    return whole.reshape(rows, slots, columns, slots).swapaxes(1, 2)


def height_of(rows, slots):
    """The least of slots, slots / 2, slots / 4, ... that is not below a number of rows."""
    halves = [slots >> j for j in range(slots.bit_length()) if slots % (1 << j) == 0]
    return min(h for h in halves if h >= rows)


def expected_diagonals(matrix, stored, in_places, out_places, slots, hybrid):
    """The law, read off one entry at a time."""
    blocks, present = (packed(m, in_places, out_places, slots) for m in (matrix, stored))
    result = {}
    for r, c in np.ndindex(blocks.shape[:2]):
        rows = [p % slots for p in out_places if p // slots == r]
        height = height_of(max(rows, default=0) + 1, slots) if hybrid else slots
        for k in range(height):
            at = [(i % height, (i + k) % slots) for i in range(slots)]
            if any(present[r, c][entry] for entry in at):
                result.setdefault((r, c), {})[k] = np.array([blocks[r, c][entry] for entry in at])
    return result


def assert_same(diagonals, expected):
    assert diagonals.keys() == expected.keys()
    for at, block in expected.items():
        assert list(diagonals[at]) == list(block)
        for k, vector in block.items():
            np.testing.assert_array_equal(diagonals[at][k], vector, strict=True)


def check(op, x, diagonals, in_places, out_places):
    """The product in the simulator is that of the map, and takes the rotations that are announced."""
    slots, expected = diagonals.slots, op(x)
    for plan in (diagonals.rotations(), diagonals.rotations(bsgs=True)):
        Ciphertext.rotations = 0
        outputs = product(diagonals, encrypt(x, in_places, slots), plan.baby)
        assert Ciphertext.rotations == plan.count
        np.testing.assert_array_equal(decrypt(outputs, out_places, op.out_shape, slots), expected)
    assert diagonals.rotations(bsgs=True).count <= diagonals.rotations().count


# The law


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 40), st.booleans(), st.booleans(), st.integers(0, 99))
def test_every_entry_of_every_diagonal(case, slots, hybrid, is_spread, seed):
    op, rng = case.op, np.random.default_rng(seed)
    places = [rng.permutation(2 * n + 3)[:n] if is_spread else np.arange(n) for n in reversed(op.shape)]
    stored = op.to_sparse("coo")
    pattern = np.zeros(op.shape, bool)
    pattern[stored.row, stored.col] = True

    options = {"in_places": places[0], "out_places": places[1]} if is_spread else {}
    diagonals = cm.to_diagonals(op, slots, **options, hybrid=hybrid)

    assert_same(diagonals, expected_diagonals(case.matrix, pattern, *places, slots, hybrid))
    assert diagonals.slots == slots
    assert diagonals.nbytes == sum(len(b) for b in diagonals.values()) * slots * op.dtype.itemsize


@pytest.mark.parametrize("kind", [
    "matrix", "sparse", "operator", "product", "sum", "stack", "rows", "permutation", "local", "gram", "own",
])  # fmt: skip
def test_every_kind_of_map(kind):
    K, W = integers((3, 2)), integers((7, 20), 1)
    op = cm.conv(K, (4, 5), padding=1)

    class Own(cm.LinearMap):
        in_shape, out_shape, dtype = (20,), (20,), np.dtype(np.int64)

        def _apply(self, x):
            return np.cumsum(x, axis=1, dtype=np.result_type(self.dtype, x))

        def _apply_transposed(self, y):
            return self._apply(y[:, ::-1])[:, ::-1]

    A = {
        "matrix": W,
        "sparse": sp.csr_array(W),
        "operator": sp.linalg.aslinearoperator(W),
        "product": cm.diagonal(integers(op.out_shape)) @ op,
        "sum": op + cm.pad((4, 5), [(0, 0), (0, 1)]),
        "stack": cm.vstack([op, cm.identity((4, 5), int)]),
        "rows": op[1:3, ::2],
        "permutation": cm.permutation((4, 5), "HW", "WH"),
        "local": cm.local(integers((4, 6, 3, 2)), (4, 5), padding=1),
        "gram": cm.gram(op),
        "own": Own(),
    }[kind]
    matrix = cm.aslinearmap(A).to_dense()

    assert_same(
        cm.to_diagonals(A, 8), expected_diagonals(matrix, matrix != 0, *map(np.arange, matrix.shape[::-1]), 8, 0)
    )


def test_zeros_of_a_kernel_are_entries():
    assert list(cm.to_diagonals(cm.conv([1, 0, 2], 6), 8)[0, 0]) == [0, 1, 2]


def test_slabs_of_rows_do_not_matter(monkeypatch):
    op = cm.conv(integers((3, 3, 2, 4)), (6, 5, 2), padding=1)
    product = cm.diagonal(integers(op.out_shape)) @ op
    places = np.random.default_rng(0).permutation(200)[: op.shape[0]]
    wanted = [cm.to_diagonals(A, 32, out_places=places) for A in (op, product)]
    monkeypatch.setattr(built, "_ENTRIES", 50)
    monkeypatch.setattr(memory, "available", lambda: 80_000)  # too little for the matrix of the product

    for A, diagonals in zip((op, product), wanted, strict=True):
        assert_same(cm.to_diagonals(A, 32, out_places=places), diagonals)


def test_diagonals_are_dicts_of_own_arrays():
    diagonals = cm.to_diagonals(cm.conv([1.0, 2.0], 9), 4, hybrid=True)
    again = pickle.loads(pickle.dumps(diagonals))

    assert isinstance(diagonals, dict)
    assert repr(diagonals) == "Diagonals(6 of 4 slots in 4 blocks, 192 B)"
    assert (again.slots, again.heights) == (diagonals.slots, diagonals.heights) == (4, {0: 4, 1: 4})
    assert_same(again, diagonals)
    diagonals[0, 0][0][:] = 7
    assert diagonals[0, 0][1].tolist() == [2, 2, 2, 0]


# Products in the simulator


@settings(max_examples=40, deadline=None)
@given(cases(dtypes=[np.int64]), st.sampled_from([4, 16, 20, 64]), st.booleans(), st.integers(0, 99))
def test_products_in_the_simulator(case, slots, hybrid, seed):
    op, rng = case.op, np.random.default_rng(seed)
    ins, outs = (rng.permutation(n + slots)[:n] for n in reversed(op.shape))
    diagonals = cm.to_diagonals(op, slots, in_places=ins, out_places=outs, hybrid=hybrid)
    if diagonals:
        check(op, rng.integers(-9, 9, op.in_shape), diagonals, ins, outs)


@pytest.mark.parametrize("slots", [1024, 512, 100, 7])
@pytest.mark.parametrize("hybrid", [False, True])
def test_kernels_that_are_not_square(slots, hybrid):
    op = cm.conv(integers((3, 2, 2, 5)), (2, 9, 8), padding=(0, 2), dilation=(2, 1), stride=(1, 2), channels="first")
    ins, outs = map(np.arange, reversed(op.shape))
    check(op, integers(op.in_shape, 1), cm.to_diagonals(op, slots, hybrid=hybrid), ins, outs)


def test_a_chain_of_strided_layers_keeps_its_places():
    """Stride 2 from 4 to 16 channels, then 3x3 and stride 2 again at gap 2, and a dense layer of the last."""
    first = cm.conv(integers((16, 4, 3, 3)), (4, 16, 16), padding=1, stride=2, channels="first")
    second = cm.conv(integers((16, 16, 3, 3), 1), first.out_shape, padding=1, channels="first")
    third = cm.conv(integers((5, 16, 3, 3), 2), first.out_shape, padding=1, stride=2, channels="first")
    last = cm.aslinearmap(integers((10, 80), 3), third.out_shape)
    slots = 1024
    places = [cm.multiplex(shape, gap) for shape, gap in (
        (first.in_shape, 1), (first.out_shape, 2), (second.out_shape, 2), (third.out_shape, 4),
    )]  # fmt: skip
    places.append(np.arange(10))
    x = integers((4, 16, 16), 4)
    ciphertexts = dict(enumerate(encrypt(x, places[0], slots)))

    for op, (ins, outs) in zip((first, second, third, last), itertools.pairwise(places), strict=True):
        diagonals = cm.to_diagonals(op, slots, in_places=ins, out_places=outs, hybrid=op is last)
        check(op, x, diagonals, ins, outs)
        ciphertexts, x = product(diagonals, ciphertexts, diagonals.rotations(bsgs=True).baby), op(x)

    np.testing.assert_array_equal(decrypt(ciphertexts, places[-1], (10,), slots), x)


def test_gaps_keep_the_diagonals_of_stride_one():
    kernel = integers((16, 4, 3, 3))
    op = cm.conv(kernel, (4, 32, 32), padding="same", stride=2, channels="first")
    gaps, follow = (cm.to_diagonals(op, 4096, out_places=p) for p in (cm.multiplex(op.out_shape, 2), None))
    check(op, integers(op.in_shape), gaps, np.arange(4096), cm.multiplex(op.out_shape, 2))

    assert (len(gaps[0, 0]), len(follow[0, 0])) == (64, 4096)
    # An output's own pixel is up to one row and one column after its neighbour's (same pads of 0, 1) and moved by its
    # place in the gap, so shifts in a row are -1 to 2, and those of rows as well: 4 x 4, times 4 differences of images.
    rows, columns = (range(-1, 3) for _ in range(2))
    wanted = {(1024 * g + 32 * i + j) % 4096 for g, i, j in itertools.product(range(4), rows, columns)}
    assert set(gaps[0, 0]) == wanted


def test_hybrid_folds_diagonals_and_outputs():
    W = integers((10, 512))
    usual, hybrid = (cm.to_diagonals(W, 512, hybrid=h) for h in (False, True))

    assert usual.rotations().count == 511
    assert list(hybrid[0, 0]) == sorted({k % 16 for k in usual[0, 0]})
    assert hybrid.heights == {0: 16}
    assert hybrid.rotations().outputs == {0: (16, 32, 64, 128, 256)}
    assert (hybrid.rotations().count, hybrid.rotations(bsgs=True).count) == (15 + 5, 3 + 3 + 5)
    x = integers(512, 1)
    output = product(hybrid, encrypt(x, np.arange(512), 512))[0].decrypted().reshape(32, 16)
    np.testing.assert_array_equal(output, np.tile(np.r_[W @ x, np.zeros(6)], (32, 1)))


def test_hybrid_takes_the_last_block_row_alone():
    W = integers((11, 8))
    diagonals = cm.to_diagonals(W, 8, hybrid=True)

    assert diagonals.heights == {0: 8, 1: 4}
    assert list(diagonals[1, 0]) == [0, 1, 2, 3]
    check(cm.aslinearmap(W), integers(8, 1), diagonals, np.arange(8), np.arange(11))


def test_rotations_are_shared_between_blocks():
    """A rotated input serves every block of its column, partial sums are added before they are rotated."""
    op = cm.conv(integers((8, 8, 3, 3)), (8, 8, 8), padding=1, channels="first")
    diagonals = cm.to_diagonals(op, 256)
    check(op, integers(op.in_shape), diagonals, np.arange(512), np.arange(512))
    plain, shared = diagonals.rotations(), diagonals.rotations(bsgs=True)
    one = diagonals.rotations((0, 1), bsgs=True)

    assert list(diagonals) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert plain.inputs.keys() == {0, 1}
    assert plain.sums == plain.outputs == {0: (), 1: ()}
    assert plain.inputs[0] == tuple(sorted({*diagonals[0, 0], *diagonals[1, 0]} - {0}))
    assert plain.steps == tuple(sorted({*plain.inputs[0], *plain.inputs[1]}))
    assert set(shared.steps) == {*shared.inputs[0], *shared.inputs[1], *shared.sums[0], *shared.sums[1]}
    assert one.inputs.keys() == {1}
    assert one.sums.keys() == {0}
    # No power of two takes fewer: counted here from the numbers of the diagonals.
    counts = [
        len({k % n for k in diagonals[0, 1]} - {0}) + len({k // n for k in diagonals[0, 1]} - {0})
        for n in (1 << j for j in range(9))
    ]
    assert one.count == min(counts)


# Places


@pytest.mark.parametrize(("shape", "gap", "image"), [
    ((4, 2, 2), 2, None), ((5, 3, 4), 2, None), ((7, 2, 3), (2, 3), (5, 11)), ((9, 2, 2, 2), 2, None), ((3, 5), 4, 20),
    ((6, 4, 3), 1, (5, 5)), ((1, 17, 17), 2, 33),
])  # fmt: skip
def test_places_follow_the_law(shape, gap, image):
    sizes = shape[1:]
    gaps = np.broadcast_to(gap, len(sizes))
    images = gaps * sizes if image is None else np.broadcast_to(image, len(sizes))
    expected = np.empty(shape, int)
    for c, *pixel in np.ndindex(shape):
        group, rest = divmod(c, int(np.prod(gaps)))
        place = group
        for axis, (g, size, position) in enumerate(zip(gaps, images, pixel, strict=True)):
            offset = rest // int(np.prod(gaps[axis + 1 :])) % g
            place = place * size + position * g + offset
        expected[(c, *pixel)] = place
    places = cm.multiplex(shape, gap, image=image)

    np.testing.assert_array_equal(places, expected.ravel(), strict=True)
    assert len(set(places.tolist())) == places.size


def test_places_are_pixel_shuffle():
    torch = pytest.importorskip("torch")
    x = torch.arange(1, 8 * 3 * 4 + 1).reshape(8, 3, 4)
    slots = np.zeros(2 * 6 * 8, int)
    slots[cm.multiplex(x.shape, 2)] = x.numpy().ravel()
    np.testing.assert_array_equal(slots, torch.nn.functional.pixel_shuffle(x, 2).ravel())


def test_places_in_an_image_that_is_wider_than_the_layer():
    """Without padding, a 3x3 kernel keeps nine diagonals if its outputs stay where their pixels are."""
    op = cm.conv(integers((3, 3)), (32, 32))
    places = cm.multiplex((1, *op.out_shape), 1, image=32)
    diagonals = cm.to_diagonals(op, 1024, out_places=places)

    assert len(diagonals[0, 0]) == 9 < len(cm.to_diagonals(op, 1024)[0, 0])
    check(op, integers((32, 32), 1), diagonals, np.arange(1024), places)


def test_places_of_channels_last():
    op = cm.conv(integers((3, 3, 2, 8)), (8, 8, 2), padding=1, stride=2)
    outs = np.moveaxis(cm.multiplex((8, 4, 4), 2).reshape(8, 4, 4), 0, -1)
    ins = np.moveaxis(np.arange(128).reshape(2, 8, 8), 0, -1)
    diagonals = cm.to_diagonals(op, 128, in_places=ins, out_places=outs)
    check(op, integers(op.in_shape), diagonals, ins.ravel(), outs.ravel())
    first = cm.conv(integers((3, 3, 2, 8)).transpose(3, 2, 0, 1), (2, 8, 8), padding=1, stride=2, channels="first")
    assert_same(diagonals, cm.to_diagonals(first, 128, out_places=cm.multiplex((8, 4, 4), 2)))


# Published examples


@pytest.mark.parametrize(("kernel", "shape", "options", "rows"), [
    ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], (3, 3), {"padding": 1}, [  # figure 3 of Orion's article too
        "560890000", "456789000", "045078000", "230560890", "123456789", "012045078", "000230560", "000123456",
        "000012045"]),
    ([[1, 7], [7, 1]], (3, 3), {}, ["170710000", "017071000", "000170710", "000017071"]),
    ([[1, 2], [3, 4]], (4, 4), {"stride": 2}, [
        "1200340000000000", "0012003400000000", "0000000012003400", "0000000000120034"]),
    ([[1, 2], [3, 4]], (3, 3), {"stride": 2, "padding": 1}, ["400000000", "034000000", "000200400", "000012034"]),
])  # fmt: skip
@pytest.mark.parametrize(("slots", "hybrid"), [(16, False), (16, True), (4, False)])
def test_published_matrices_of_convolutions(kernel, shape, options, rows, slots, hybrid):
    """Examples of HEIR's tests of its layouts, a digit for each entry: padding, stride, and both."""
    matrix = np.array([list(map(int, row)) for row in rows])
    op = cm.conv(kernel, shape, **options)
    ins, outs = map(np.arange, matrix.shape[::-1])
    diagonals = cm.to_diagonals(op, slots, hybrid=hybrid)

    assert_same(diagonals, expected_diagonals(matrix, matrix != 0, ins, outs, slots, hybrid))
    check(op, integers(shape, 1), diagonals, ins, outs)


def test_the_published_squat_diagonals():
    """HEIR's test of its squat layout, which pads 3 x 5 to 4 x 8."""
    diagonals = cm.to_diagonals(np.arange(1, 16).reshape(3, 5), 8, hybrid=True)
    assert {k: d.tolist() for k, d in diagonals[0, 0].items()} == {
        0: [1, 7, 13, 0, 5, 0, 0, 0],
        1: [2, 8, 14, 0, 0, 0, 0, 0],
        2: [3, 9, 15, 0, 0, 0, 11, 0],
        3: [4, 10, 0, 0, 0, 6, 12, 0],
    }


def test_the_published_matrix_of_two_diagonals():
    """HEIR's test of diagonals that are zero: of a 4 x 4 matrix, diagonals 1 and 3 take no rotation."""
    W = sp.coo_array((np.ones(8), (np.repeat(range(4), 2), [0, 2, 1, 3, 2, 0, 3, 1])))
    diagonals = cm.to_diagonals(W, 4)

    assert {k: d.tolist() for k, d in diagonals[0, 0].items()} == {0: [1] * 4, 2: [1] * 4}
    assert diagonals.rotations().steps == (2,)


# Errors and limits

SMALL = cm.conv([1, 2], 4)


@pytest.mark.parametrize(("call", "error", "says"), [
    (lambda: cm.to_diagonals(SMALL, 0), ValueError, "to_diagonals: slots=0. Expected an integer >= 1"),
    (lambda: cm.to_diagonals(SMALL, -8), ValueError, "to_diagonals: slots=-8. Expected an integer >= 1"),
    (lambda: cm.to_diagonals(SMALL, 8.0), TypeError, "to_diagonals: slots=8.0. Expected an integer"),
    (lambda: cm.to_diagonals(SMALL, True), TypeError, "to_diagonals: slots=True. Expected an integer"),
    (lambda: cm.to_diagonals(SMALL, 1 << 50), ValueError, "to_diagonals: slots=1125899906842624. Expected"),
    (lambda: cm.to_diagonals(SMALL, 1 << 40), MemoryError, "to_diagonals: an array of places takes"),
    (lambda: cm.to_diagonals(SMALL, 8, hybrid=1), TypeError, "to_diagonals: hybrid=1"),
    (lambda: cm.to_diagonals(cm.Affine(SMALL, [0, 0, 1]), 8), TypeError,
     "op is an Affine. Expected a linear map. Pass A.op, and add A.offset, packed at out_places, to the product."),
    (lambda: cm.to_diagonals("op", 8), TypeError, "to_diagonals: op is a str. Expected a map"),
    (lambda: cm.to_diagonals(SMALL, 8, in_places=[0, 1, 2]), ValueError,
     "to_diagonals: in_places of shape (3,). Expected 4 entries"),
    (lambda: cm.to_diagonals(SMALL, 8, out_places=np.arange(4)), ValueError, "out_places of shape (4,). Expected 3"),
    (lambda: cm.to_diagonals(SMALL, 8, in_places=np.zeros((2, 2), int)), ValueError, "in_places of shape (2, 2)"),
    (lambda: cm.to_diagonals(SMALL, 8, in_places=3), ValueError, "in_places of shape ()"),
    (lambda: cm.to_diagonals(SMALL, 8, out_places=[0, -1, 2]), ValueError, "out_places between -1 and 2"),
    (lambda: cm.to_diagonals(SMALL, 8, out_places=[0, 1 << 41, 2]), ValueError, "Expected places from 0 to"),
    (lambda: cm.to_diagonals(SMALL, 8, out_places=np.array([0, 2**64 - 1, 2], "u8")), ValueError, "between 0 and 1844"),
    (lambda: cm.to_diagonals(SMALL, 8, in_places=[0, 5, 2, 5]), ValueError, "in_places has 5 twice"),
    (lambda: cm.to_diagonals(SMALL, 8, in_places=[0.0, 1, 2, 3]), TypeError, "in_places of dtype float64"),
    (lambda: cm.to_diagonals(SMALL, 8, in_places=[True] * 4), TypeError, "in_places of dtype bool"),
    (lambda: cm.to_diagonals(SMALL, 8, in_places="0123"), TypeError, "in_places of dtype <U4"),
    (lambda: cm.to_diagonals(SMALL, 8, in_places=[[0, 1], [2]]), TypeError, "in_places=[[0, 1], [2]] cannot be read"),
    (lambda: cm.to_diagonals(SMALL, 8).rotations((0, 1)), ValueError, "rotations: block=(0, 1). Expected the key"),
    (lambda: cm.to_diagonals(SMALL, 8).rotations(bsgs=2), TypeError, "rotations: bsgs=2"),
    (lambda: cm.multiplex((4,), 2), ValueError, "multiplex: shape=(4,). Expected channels and spatial axes"),
    (lambda: cm.multiplex((4, 0), 2), ValueError, "multiplex: shape"),
    (lambda: cm.multiplex((4, 2.0), 2), TypeError, "multiplex: shape"),
    (lambda: cm.multiplex((4, 2, 2), 0), ValueError, "multiplex: gap=0. Expected an integer >= 1"),
    (lambda: cm.multiplex((4, 2, 2), 1.5), TypeError, "multiplex: gap=1.5"),
    (lambda: cm.multiplex((4, 2, 2), (2, 2, 2)), ValueError, "multiplex: gap"),
    (lambda: cm.multiplex((4, 2, 2), 2, image=3), ValueError, "multiplex: image=(3, 3) for 4 channels of (2, 2)"),
    (lambda: cm.multiplex((1, 17), 2, image=32), ValueError, "Expected at least (33,)"),
    (lambda: cm.multiplex((1, 9), 1 << 39), ValueError, "takes 4947802324992 slots. Expected at most"),
    (lambda: cm.multiplex((2, 1, 1), 1 << 30, image=2), ValueError, "multiplex: shape=(2, 1, 1) with gap"),
    (lambda: cm.multiplex((1 << 20, 1 << 18), 2), MemoryError, "multiplex: an array of places takes"),
])  # fmt: skip
def test_wrong_arguments(call, error, says):
    with pytest.raises(error) as raised:
        call()
    assert says in str(raised.value)


def test_lists_of_places_are_read():
    assert_same(
        cm.to_diagonals(SMALL, 8, in_places=[3, 1, 0, 6]),
        cm.to_diagonals(SMALL, 8, in_places=np.array([3, 1, 0, 6], np.int8)),
    )


def test_far_places_cost_nothing():
    diagonals = cm.to_diagonals(SMALL, 8, in_places=[0, 1, 1 << 40, 3], out_places=[1 << 39, 0, 1])
    assert set(diagonals) == {(0, 0), (0, 1 << 37), (1 << 36, 0)}


def test_diagonals_are_counted_before_they_are_allocated(monkeypatch):
    op = cm.conv(integers((64, 64, 3, 3), dtype=np.float32), (64, 16, 16), padding=1, channels="first")
    size = 576 * (1 << 14) * 4
    monkeypatch.setattr(memory, "available", lambda: size - 1)
    tracemalloc.start()
    try:
        with pytest.raises(
            MemoryError, match=r"to_diagonals: an array of the diagonals takes 37.7 MB. Available are 37.7 MB. Choose"
        ):
            cm.to_diagonals(op, 1 << 14)
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def test_memory_is_less_than_twice_the_diagonals():
    op = cm.conv(integers((32, 32, 3, 3), dtype=np.float64), (32, 32, 32), padding=1, channels="first")
    tracemalloc.start()
    try:
        diagonals = cm.to_diagonals(op, 1 << 15)
        assert tracemalloc.get_traced_memory()[1] < 2 * diagonals.nbytes
    finally:
        tracemalloc.stop()


def test_maps_of_tensors():
    torch = pytest.importorskip("torch")
    K = torch.arange(1.0, 7, requires_grad=True).reshape(2, 3)
    diagonals = cm.to_diagonals(cm.conv(K, (4, 5)), 20)
    assert_same(diagonals, cm.to_diagonals(cm.conv(K.detach().double().numpy(), (4, 5)), 20))
