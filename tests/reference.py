"""The definition, in loops: what every test compares with, written to be read beside the contract."""

from itertools import product

import numpy as np

PAD_MODES = {"zero": "constant", "wrap": "wrap", "reflect": "reflect", "symmetric": "symmetric", "edge": "edge"}


def source(n, e, boundary, q):
    """Index into x of position q of the input with e-1 zeros between neighbours, continued; None for a zero."""
    stretched = [None] * ((n - 1) * e + 1)
    stretched[::e] = range(n)
    if 0 <= q < len(stretched):
        return stretched[q]
    if boundary == "zero":
        return None
    # numpy.pad itself says what lies outside: pad the positions wide enough and look one up.
    reach = max(-q, q - len(stretched) + 1)
    padded = np.pad(np.arange(len(stretched)), reach, mode=PAD_MODES[boundary])
    return stretched[padded[q + reach]]


def tensor(kernel, sizes, stride, dilation, pads, e, boundary, groups, flip):
    """W[o1..od, f, i1..id, c] for a channels-last kernel (k1..kd, C/groups, F)."""
    d = len(sizes)
    if flip:
        kernel = np.flip(kernel, tuple(range(d)))
    *ks, per_c, filters = kernel.shape
    out = []
    for n, k, s, t, (lo, hi), x in zip(sizes, ks, stride, dilation, pads, e, strict=True):
        out.append(((n - 1) * x + 1 + lo + hi - t * (k - 1) - 1) // s + 1)
    W = np.zeros((*out, filters, *sizes, per_c * groups), kernel.dtype)
    for o in product(*map(range, out)):
        for p in product(*map(range, ks)):
            read = [
                source(sizes[a], e[a], boundary[a], o[a] * stride[a] - pads[a][0] + p[a] * dilation[a])
                for a in range(d)
            ]
            if None in read:
                continue
            for f in range(filters):
                for c in range(per_c):
                    W[(*o, f, *read, f // (filters // groups) * per_c + c)] += kernel[(*p, c, f)]
    return W
