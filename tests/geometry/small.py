"""Sizes, taps, steps and pads of small axes."""

from itertools import product

PADS = [*product((-1, 0, 1, 4), (-1, 0, 2, 7))]


def small_numbers(*values):
    """The numbers of axes with any of these sizes, kernels, strides and dilations, and a quarter of the pairs of pads.

    With each of them every pad on either side stands once, and pairs take turns, so that any three numbers meet.
    """
    return [
        (n, k, s, t, e, lo, hi)
        for n, k, s, t, e in product(*values)
        for place, (lo, hi) in enumerate(PADS)
        if (place + place // 4 + n + k + s + t + e) % 4 == 0 and (n - 1) * e + 1 + lo + hi >= t * (k - 1) + 1
    ]
