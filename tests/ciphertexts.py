"""A slot simulator of homomorphic encryption, and products of matrices that use nothing but what it can do."""

import numpy as np


class Ciphertext:
    """A vector that can be rotated, multiplied by known numbers slot by slot, and added: nothing else."""

    rotations = 0

    def __init__(self, slots):
        self.__slots = np.array(slots)

    def rotated(self, step):
        if step == 0:
            return self
        assert 0 < step < self.__slots.size
        Ciphertext.rotations += 1
        return Ciphertext(np.roll(self.__slots, -step))

    def __mul__(self, known):
        assert isinstance(known, np.ndarray)
        assert known.shape == self.__slots.shape
        return Ciphertext(self.__slots * known)

    def __add__(self, other):
        assert isinstance(other, Ciphertext)
        return Ciphertext(self.__slots + other.__slots)

    __radd__ = __add__

    def decrypted(self):
        return self.__slots.copy()


def total(terms):
    first, *others = terms
    for term in others:
        first = first + term
    return first


def encrypt(x, places, slots, count=None):
    """Put flattened entries at places in as many ciphertexts as that takes; other slots have numbers of no meaning."""
    count = max(places) // slots + 1 if count is None else count
    packed = np.full(count * slots, 77, x.dtype)
    packed[places] = x.ravel()
    return [Ciphertext(part) for part in packed.reshape(count, slots)]


def decrypt(ciphertexts, places, shape, slots):
    """Read entries at places from ciphertexts by number; ciphertexts that are missing hold zeros."""
    some = next(iter(ciphertexts.values())).decrypted()
    count = max(places) // slots + 1
    packed = np.stack([ciphertexts[j].decrypted() if j in ciphertexts else 0 * some for j in range(count)])
    return packed.ravel()[places].reshape(shape)


def product(diagonals, inputs, baby=None):
    """Apply a matrix to ciphertexts, with baby steps if ``baby`` is a number: block rows by number."""
    kept = {}

    def rotated(column, step):
        if (column, step) not in kept:
            kept[column, step] = inputs[column].rotated(step)
        return kept[column, step]

    baby = diagonals.slots if baby is None else baby
    sums = {}
    for (row, column), block in diagonals.items():
        for k, vector in block.items():
            giant = k - k % baby
            sums.setdefault((row, giant), []).append(rotated(column, k % baby) * np.roll(vector, giant))
    outputs = {}
    for (row, giant), terms in sums.items():
        outputs.setdefault(row, []).append(total(terms).rotated(giant))
    return {row: folded(total(terms), diagonals.heights[row], diagonals.slots) for row, terms in outputs.items()}


def folded(output, height, slots):
    """Add up all slots that are ``height`` apart."""
    while height < slots:
        output, height = output + output.rotated(height), 2 * height
    return output
