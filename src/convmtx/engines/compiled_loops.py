"""Loops that Numba compiles: windows are read from a block of inputs in which every tap is a constant distance away.

Only `convmtx.engines.compiled` imports this file, on the first use of the engine, because it needs Numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: Products and sums may be fused, which rounds once less. No other freedom: sums keep their order, and nan is kept.
#: Compiled code is kept on disk, and other threads run beside it.
OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": {"contract"}, "error_model": "numpy"}


@njit(**OPTIONS)
def add_one(sums, block, kernel, places, t):
    """Add one tap to all sums."""
    a, k = block[places[t] :], kernel[t]
    for i in range(sums.size):
        sums[i] += k * a[i]


@njit(**OPTIONS)
def add_two(sums, block, kernel, places, t):
    """Add two taps to all sums."""
    a, b = block[places[t] :], block[places[t + 1] :]
    k, m = kernel[t], kernel[t + 1]
    for i in range(sums.size):
        sums[i] = sums[i] + k * a[i] + m * b[i]


@njit(**OPTIONS)
def add_four(sums, block, kernel, places, t):
    """Add four taps to all sums, which are read and written once for all four."""
    a, b = block[places[t] :], block[places[t + 1] :]
    c, d = block[places[t + 2] :], block[places[t + 3] :]
    k, m, n, p = kernel[t], kernel[t + 1], kernel[t + 2], kernel[t + 3]
    for i in range(sums.size):
        sums[i] = sums[i] + k * a[i] + m * b[i] + n * c[i] + p * d[i]


@njit(**OPTIONS)
def add_taps(sums, block, kernel, places):
    """Set each sum to that of all taps times what they read, eight taps at a time as long as there are eight."""
    sums[:] = 0
    t = 0
    while t + 8 <= kernel.size:
        a, b, c, d = block[places[t] :], block[places[t + 1] :], block[places[t + 2] :], block[places[t + 3] :]
        e, f, g, h = block[places[t + 4] :], block[places[t + 5] :], block[places[t + 6] :], block[places[t + 7] :]
        k0, k1, k2, k3 = kernel[t], kernel[t + 1], kernel[t + 2], kernel[t + 3]
        k4, k5, k6, k7 = kernel[t + 4], kernel[t + 5], kernel[t + 6], kernel[t + 7]
        for i in range(sums.size):
            half = sums[i] + k0 * a[i] + k1 * b[i] + k2 * c[i] + k3 * d[i]
            sums[i] = half + k4 * e[i] + k5 * f[i] + k6 * g[i] + k7 * h[i]
        t += 8
    if t + 4 <= kernel.size:
        add_four(sums, block, kernel, places, t)
        t += 4
    if t + 2 <= kernel.size:
        add_two(sums, block, kernel, places, t)
        t += 2
    if t < kernel.size:
        add_one(sums, block, kernel, places, t)


@njit(**OPTIONS)
def fill_line(line, x, row, step, table, run, start):
    """Fill a line of a block with the inputs that places ``start`` on of the table read, 0 for none.

    Input i of the row is ``x[row + i*step]``. Between ``run[0]`` and ``run[1]`` inputs follow each other.
    """
    first, last = max(run[0] - start, 0), max(min(run[1] - start, line.size), 0)
    first = min(first, last)
    for i in range(first):
        line[i] = x[row + table[start + i] * step] if table[start + i] >= 0 else x.dtype.type(0)
    at, apart = row + (run[2] + (start + first - run[0]) * run[3]) * step, run[3] * step
    copy(line[first:], 1, x[at:], apart, last - first)
    for i in range(last, line.size):
        line[i] = x[row + table[start + i] * step] if table[start + i] >= 0 else x.dtype.type(0)


@njit(**OPTIONS)
def copy(target, target_step, source, source_step, count):
    """Copy numbers between lines; most lie side by side, for which the compiler has a quicker loop."""
    if target_step == 1 and source_step == 1:
        for i in range(count):
            target[i] = source[i]
    else:
        for i in range(count):
            target[i * target_step] = source[i * source_step]


@njit(**OPTIONS)
def fill_inputs(inputs, x, image, steps, sources, runs, start, lengths):
    """Fill the inputs of a block for one channel: for each phase along each axis, ``lengths`` places from ``start`` on.

    Return the number of places.
    """
    table0, table1, table2 = sources
    count = 0
    for phase0 in range(table0.shape[0]):
        for phase1 in range(table1.shape[0]):
            for phase2 in range(table2.shape[0]):
                for i0 in range(start[0], start[0] + lengths[0]):
                    for i1 in range(start[1], start[1] + lengths[1]):
                        input0, input1 = table0[phase0, i0], table1[phase1, i1]
                        line = inputs[count : count + lengths[2]]
                        count += lengths[2]
                        if input0 < 0 or input1 < 0:
                            line[:] = 0
                        else:
                            row = image + input0 * steps[3] + input1 * steps[4]
                            fill_line(line, x, row, steps[5], table2[phase2], runs[phase2], start[2])
    return count


@njit(**OPTIONS)
def place_taps(places, channels, of_channel, sources, phases, offsets, lengths):
    """Set how far from an output's place each tap of each channel reads; a channel has ``of_channel`` places."""
    taps, volume = offsets.shape[0], lengths[0] * lengths[1] * lengths[2]
    for t in range(taps):
        phase = (phases[t, 0] * sources[1].shape[0] + phases[t, 1]) * sources[2].shape[0] + phases[t, 2]
        place = (offsets[t, 0] * lengths[1] + offsets[t, 1]) * lengths[2] + offsets[t, 2]
        for c in range(channels):
            places[c * taps + t] = c * of_channel + phase * volume + place


@njit(**OPTIONS)
def take_table(layout, at, n_phases, width):
    """Return the table of one axis, (phases, places), and where the next one begins."""
    end = at + n_phases * width
    return layout[at:end].reshape((n_phases, width)), end


@njit(**OPTIONS)
def fill_blocks(first, last, x, y, kernel, steps, layout, memory):
    """Fill the outputs of blocks ``first`` to ``last`` of y (B, G, F, o1, o2, o3) from x (B, G, C, n1, n2, n3).

    x and y are flat, and ``steps`` (2, 6) says how far apart their entries are along each axis; the kernel is
    (G, F, C * taps). A block is some outputs of one image and group. ``layout`` is what `compiled._layout` returns, all
    integers in one array, because each argument of a compiled function takes a microsecond. ``memory`` takes the sums
    of a block, and then its inputs.
    """
    outs, counts, sizes, shifts, n_phases = layout[0:3], layout[3:6], layout[6:9], layout[9:12], layout[12:15]
    at, taps = 16, layout[15]
    runs, at = layout[at : at + 4 * n_phases[2]].reshape((n_phases[2], 4)), at + 4 * n_phases[2]
    phases, at = layout[at : at + 3 * taps].reshape((taps, 3)), at + 3 * taps
    offsets, at = layout[at : at + 3 * taps].reshape((taps, 3)), at + 3 * taps
    table0, at = take_table(layout, at, n_phases[0], outs[0] + shifts[0])
    table1, at = take_table(layout, at, n_phases[1], outs[1] + shifts[1])
    table2, at = take_table(layout, at, n_phases[2], outs[2] + shifts[2])
    sources = table0, table1, table2
    groups, filters = kernel.shape[0], kernel.shape[1]
    channels = kernel.shape[2] // offsets.shape[0]
    blocks = counts[0] * counts[1] * counts[2]
    places = np.empty(kernel.shape[2], np.int64)
    start, size, lengths = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    for task in range(first, last):
        image, block = divmod(task, blocks)
        b, g = divmod(image, groups)
        for j in range(2, -1, -1):
            block, at = divmod(block, counts[j])
            start[j] = at * sizes[j]
            size[j] = min(sizes[j], outs[j] - start[j])
            lengths[j] = size[j] + shifts[j]
        # Outputs follow each other like the places of one phase. Between their rows lie sums that are not outputs.
        count = ((size[0] - 1) * lengths[1] + size[1] - 1) * lengths[2] + size[2]
        sums, inputs = memory[:count], memory[count:]
        of_channel = 0
        for c in range(channels):
            origin = b * steps[0, 0] + g * steps[0, 1] + c * steps[0, 2]
            of_channel = fill_inputs(inputs[c * of_channel :], x, origin, steps[0], sources, runs, start, lengths)
        place_taps(places, channels, of_channel, sources, phases, offsets, lengths)
        for f in range(filters):
            add_taps(sums, inputs, kernel[g, f], places)
            origin = b * steps[1, 0] + g * steps[1, 1] + f * steps[1, 2] + start[2] * steps[1, 5]
            for o0 in range(size[0]):
                for o1 in range(size[1]):
                    row = origin + (start[0] + o0) * steps[1, 3] + (start[1] + o1) * steps[1, 4]
                    place = (o0 * lengths[1] + o1) * lengths[2]
                    copy(y[row:], steps[1, 5], sums[place:], 1, size[2])
