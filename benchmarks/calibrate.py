"""Seconds for each kind of work, for ``SECONDS`` in ``src/convmtx/engines/rates.py``.

    python benchmarks/calibrate.py [--repeat 5]

Times every way of the direct engine and the fft engine on the cases below, and fits the seconds of each kind of
work to the times: non-negative least squares of the relative errors. It prints the table, and how well it
predicts: times predicted over times measured, and what the predicted choice costs over the best one.
"""

import argparse
import functools
import importlib.util
import itertools
import statistics

import numpy as np
import scipy.optimize
from measuring import medians

import convmtx as cm
from convmtx.engines import direct, fft, pytorch, rates

#: Sizes, kernel, channels, filters, groups, stride, images.
CASES = [
    ((512,), (7,), 1, 1, 1, 1, 1), ((4096,), (7,), 1, 1, 1, 1, 1), ((4096,), (63,), 1, 1, 1, 1, 1),
    ((65536,), (15,), 1, 1, 1, 1, 1), ((1 << 20,), (31,), 1, 1, 1, 1, 1), ((8000,), (9,), 8, 16, 1, 1, 1),
    ((32, 32), (3, 3), 1, 1, 1, 1, 16), ((128, 128), (3, 3), 1, 1, 1, 1, 1), ((256, 256), (9, 9), 1, 1, 1, 1, 1),
    ((512, 512), (5, 5), 1, 1, 1, 1, 1), ((512, 512), (15, 15), 1, 1, 1, 1, 1), ((1024, 1024), (3, 3), 1, 1, 1, 1, 1),
    ((1024, 1024), (7, 7), 1, 1, 1, 1, 1), ((512, 512), (5, 5), 1, 1, 1, 2, 1), ((128, 128), (3, 3), 3, 16, 1, 1, 1),
    ((128, 128), (7, 7), 16, 3, 1, 1, 1), ((64, 64), (5, 5), 16, 16, 1, 1, 1), ((128, 128), (3, 3), 8, 8, 1, 1, 1),
    ((56, 56), (3, 3), 64, 64, 1, 1, 1), ((28, 28), (3, 3), 64, 64, 64, 1, 4), ((14, 14), (3, 3), 128, 128, 1, 1, 1),
    ((64, 64), (15, 15), 8, 8, 1, 1, 1), ((16, 16), (3, 3), 16, 32, 1, 1, 16), ((24, 24, 24), (3, 3, 3), 4, 8, 1, 1, 1),
    ((112, 112), (3, 3), 32, 32, 32, 1, 1), ((8, 8), (3, 3), 32, 32, 1, 1, 32), ((28, 28), (5, 5), 1, 1, 1, 1, 64),
    ((28, 28), (1, 1), 128, 64, 1, 1, 4), ((100, 100), (5, 5), 4, 4, 4, 2, 4), ((300, 40), (3, 3), 1, 2, 1, 1, 2),
    ((48, 48, 48), (3, 3, 3), 1, 1, 1, 1, 1), ((32, 32, 32), (7, 7, 7), 1, 1, 1, 1, 1),
]  # fmt: skip


def measured(rng, repeat):
    """Work and median seconds of every way of every case: (case, name, work, seconds)."""
    for case, dtype in itertools.product(CASES, ("f4", "f8", "c8", "c16")):
        sizes, kernel_sizes, channels, filters, groups, stride, images = case
        kernel = rng.standard_normal((filters, channels // groups, *kernel_sizes)).astype(dtype)
        x = rng.standard_normal((images, groups, channels // groups, *sizes)).astype(dtype)
        op = cm.conv(kernel, (channels, *sizes), channels="first", groups=groups, stride=stride)
        (part,) = op._plan.parts
        y = np.empty((images, groups, filters // groups, *op.out_shape[1:]), dtype)
        kind = y.dtype
        ways = {"fft": (fft.work(part, kind, images), functools.partial(fft.correlate, part, x, y))}
        if kind.kind != "c" or channels > groups:  # else the direct engine computes with real numbers
            for way in direct._ways(part, kind):
                work = direct.way_work(part, way, kind, images)
                parallel = rates.seconds(work) > direct.WORTH
                run = functools.partial(direct._in_bands, part, x, y, kind, way, parallel)
                ways[f"{way.multiply.__name__} {way.together}"] = (work, run)
        torch_work = pytorch.work(part, kind, images) if importlib.util.find_spec("torch") else None
        if torch_work:
            ways["torch"] = (torch_work, functools.partial(pytorch.correlate, part, x, y))
        seconds, _ = medians({name: run for name, (_, run) in ways.items()}, repeat, 0.5)
        for name, (work, _) in ways.items():
            yield (case, dtype), name, work, seconds[name]


def fitted(rows):
    """Seconds of each kind of work."""
    kinds = list(rates.SECONDS)
    matrix = np.array([[work.get(kind, 0) / seconds for kind in kinds] for _, _, work, seconds in rows])
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-300)
    values, _ = scipy.optimize.nnls(matrix / scale, np.ones(len(rows)))
    found = dict(zip(kinds, values / scale, strict=True))
    seen = matrix.any(axis=0)
    return {kind: found[kind] if there else rates.SECONDS[kind] for kind, there in zip(kinds, seen, strict=True)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    rows = list(measured(np.random.default_rng(0), parser.parse_args().repeat))
    for title, table in (("recorded", rates.SECONDS), ("fitted", fitted(rows))):
        predicted = [sum(table[kind] * amount for kind, amount in work.items()) for _, _, work, _ in rows]
        ratios = np.array([p / t for p, (*_, t) in zip(predicted, rows, strict=True)])
        costs = []
        for _, group in itertools.groupby(zip(rows, predicted, strict=True), key=lambda pair: pair[0][0]):
            pairs = list(group)
            chosen = min(pairs, key=lambda pair: pair[1])[0]
            best = min(pairs, key=lambda pair: pair[0][3])[0]
            costs.append((chosen[3] / best[3], *chosen[:2], best[1]))
        print(f"{title}: predicted / measured, median {np.median(ratios):.2f}, 5-95% {np.percentile(ratios, [5, 95])}")
        print(f"  choice / best: median {statistics.median(c for c, *_ in costs):.2f}, worst five:")
        for cost, case, chosen, best in sorted(costs, key=lambda c: c[0])[:-6:-1]:
            print(f"  {cost:.2f}  {case}: chose {chosen}, best {best}")
    print("\nSECONDS = {")
    for kind, value in fitted(rows).items():
        print(f'    "{kind}": {value:.1e},')
    print("}")


if __name__ == "__main__":
    main()
