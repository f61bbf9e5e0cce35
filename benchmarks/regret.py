"""The choice of the engine: the time of the engine that ``auto`` chooses, over that of our fastest engine.

    python benchmarks/regret.py [--part alone|torch|fast|all] [--only TEXT] [--quick] [--json FILE]

Each part runs in a process of its own, in which PyTorch is imported or not, and Numba is found or not. The rates of the
choices are those that every process uses; ``CONVMTX_RATES`` names a file of `convmtx tune`, or is 0 for
the rates that are shipped. The line "rates" of the output says which they are.
"""

import multiprocessing
import sys
from functools import partial

import numpy as np
from cases import Case, choose_engine, difference, same
from measuring import Values, main, medians, optional

from convmtx import costs
from convmtx.extras import is_installed

#: Engines that are predicted to take this many times as long as the fastest one are not timed.
SLOW = 30
#: Cases of which `tune` times none, neither to fit rates nor to show what they change.
CASES = [
    # one axis
    Case((700,), (5,)), Case((3000,), (33,), dtype="f4"), Case((30000,), (11,), dtype="f4"), Case((200_000,), (129,)),
    Case((500_000,), (9,), options=same(boundary="reflect")), Case((5000,), (7,), 12, 24, "f4"),
    Case((2000,), (25,), 3, 3, batch=8, options=same(groups=3)),
    # images
    Case((40, 40), (3, 3)), Case((20, 20), (5, 5), dtype="f4", batch=20), Case((150, 150), (5, 5), dtype="f4"),
    Case((300, 300), (5, 5), dtype="i8", options=same()), Case((600, 600), (3, 3), options=same(boundary="wrap")),
    Case((350, 350), (11, 11), options=same()), Case((450, 450), (19, 19), dtype="f4"),
    Case((280, 280), (27, 27), options=same(boundary="symmetric")), Case((700, 700), (45, 45), dtype="f4"),
    Case((300, 300), (17, 17), separable=True), Case((900, 900), (7, 7), dtype="f4", separable=True),
    Case((360, 360), (7, 7), options={"stride": 3}), Case((240, 240), (5, 5), options=same(dilation=4)),
    Case((160, 160), (7, 7), dtype="c16"),
    # channels
    Case((180, 180), (3, 3), 3, 24, "f4"), Case((72, 72), (5, 5), 6, 12), Case((44, 44), (3, 3), 48, 64, "f4"),
    Case((44, 44), (3, 3), 48, 64, options=same()), Case((12, 12), (3, 3), 256, 256, "f4"),
    Case((60, 60), (1, 1), 96, 48, "f4"), Case((20, 20), (3, 3), 24, 24, "f4", 24),
    Case((80, 80), (3, 3), 40, 40, "f4", 2, options=same(groups=40)), Case((64, 64), (7, 7), 32, 32, "f4",
    options=same(groups=32)), Case((96, 96), (5, 5), 24, 24, options=same(groups=6)),
    Case((120, 120), (7, 7), 3, 32, "f4", options={"stride": 2, "padding": 3}), Case((64, 64), (9, 9), 12, 12),
    # volumes
    Case((40, 40, 40), (3, 3, 3), dtype="f4"), Case((36, 36, 36), (5, 5, 5)), Case((18, 18, 18), (3, 3, 3), 12, 12),
    # adjoints
    Case((420, 420), (7, 7), adjoint=True), Case((300, 300), (5, 5), adjoint=True, options={"stride": 2}),
    Case((200, 200), (5, 5), adjoint=True, options=same(boundary="edge")),
    Case((90, 90), (3, 3), 16, 16, "f4", adjoint=True, options=same()),
]  # fmt: skip


def alone(quick):
    """The choice of the engine, NumPy and SciPy alone.

    All engines take turns, and auto / best is the time of the engine that ``auto`` chooses over that of the fastest
    one; each time is the least of all turns. Engines that are predicted to be 30 times as slow as the fastest one are
    left out. The maps are not among those that rates are fitted to. Aim: auto / best at most 2; after `convmtx tune`
    1.05 in the geometric mean and at most 1.3.
    """
    yield from grid(quick)


def with_torch(quick):
    """The choice of the engine, with PyTorch imported.

    The same maps, where PyTorch is imported and Numba is missing.
    """
    yield from grid(quick, "torch")


def fast(quick):
    """The choice of the engine, with Numba.

    The same maps, where Numba is installed and PyTorch is not imported.
    """
    yield from grid(quick, "numba")


def everything(quick):
    """The choice of the engine, with PyTorch imported and with Numba.

    The same maps, with all engines.
    """
    yield from grid(quick, "torch", "numba")


def grid(quick, *libraries):
    """Yield the cases, each timed by one process that has these libraries; none if one is not installed."""
    if not all(map(is_installed, libraries)):
        return
    with multiprocessing.get_context("spawn").Pool(1, start, libraries) as pool:
        for case in CASES[7::12] if quick else CASES:
            yield case.name, partial(ask, pool, case)


def start(*libraries):
    """Import PyTorch if it is among the libraries, or hide Numba if that is not."""
    if "torch" in libraries:
        optional("torch")
    if "numba" not in libraries:
        sys.modules["numba"] = None


def ask(pool, case, name, repeat):
    return pool.apply(compare, (case, name, repeat))


def compare(case, name, repeat):
    """Time all engines of a case, and compare that of the choice with the fastest."""
    rng = np.random.default_rng(0)
    kernel = case.kernel(rng)
    op = case.op(kernel)
    x = case.inputs(rng, op)
    chosen, works = choose_engine(case, op)
    predicted = {engine: costs.seconds(work) for engine, work in works.items()}
    least = min(predicted.values())
    engines = [engine for engine in works if engine == chosen or predicted[engine] <= SLOW * least]
    ops = {engine: case.op(kernel, engine) for engine in engines}
    ways = {engine: partial(op.H if case.adjoint else op, x) for engine, op in ops.items()}
    for call in ways.values():
        call()  # Numba compiles in the first call
    seconds, results = medians(ways, repeat, typical=min)
    expected = results.pop(chosen)
    worst = difference(results.values(), expected) if results else 0.0
    best = min(seconds, key=seconds.get)
    times = ", ".join(f"{engine} {1e3 * seconds[engine]:.3g}" for engine in sorted(seconds, key=seconds.get))
    return Values(name, {
        "auto / best": seconds[chosen] / seconds[best], "chosen": chosen, "best": best,
        "predicted, ms": 1e3 * predicted[chosen], "engines, ms": times,
    }, case.agrees(worst))  # fmt: skip


if __name__ == "__main__":
    main(__doc__, {"alone": alone, "torch": with_torch, "fast": fast, "all": everything}, ["torch", "numba"])
