"""Time every engine while other processes keep all cores busy, beside the same calls before.

    python benchmarks/shared.py [--only TEXT] [--repeat N] [--quick] [--json FILE]

Twice as many processes as cores count in a loop. A fair share of a core is then 1 / 3 for one more thread on each core,
and 2 / 5 for a single one on two cores: what a busy machine must cost is 2 to 3 times the time of an idle one.
"""

import contextlib
import functools
import multiprocessing
import os
import statistics
import subprocess
import sys
import time

import numpy as np
from measuring import Values, main

import convmtx as cm
from convmtx.extras import is_installed

BUDGET = 0.4  # s, of the calls of one case in one round
ROUNDS = 3  # in each of which the workers take turns
#: Kernel, input and engine.
CASES = {
    "direct, 7x7 on 512x512, f8": ((1, 1, 7, 7), (1, 512, 512), "f8", "direct"),
    "direct, 3x3, 64 to 64 channels on 56x56, f4": ((64, 64, 3, 3), (64, 56, 56), "f4", "direct"),
    "direct, 3x3, 512 to 512 channels on 14x14, f4": ((512, 512, 3, 3), (512, 14, 14), "f4", "direct"),
    "fft, 31x31 on 512x512, f8": ((1, 1, 31, 31), (1, 512, 512), "f8", "fft"),
    "fft, 9x9, 16 to 16 channels on 128x128, f8": ((16, 16, 9, 9), (16, 128, 128), "f8", "fft"),
    "separable, 31x31 on 512x512, f8": ((1, 1, 31, 31), (1, 512, 512), "f8", "separable"),
    "sparse, 3x3 on 64x64, f8": ((1, 1, 3, 3), (1, 64, 64), "f8", "sparse"),
    "torch, 3x3, 64 to 64 channels on 56x56, f4": ((64, 64, 3, 3), (64, 56, 56), "f4", "torch"),
    "compiled, 3x3, each of 128 channels on 56x56, f4": ((128, 1, 3, 3), (128, 56, 56), "f4", "compiled"),
}

#: Libraries that engines need beside NumPy and SciPy.
LIBRARIES = {"torch": "torch", "compiled": "numba"}


@functools.cache
def call_of(case):
    """The call of a case, in a worker."""
    kernel, shape, dtype, engine = CASES[case]
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((*kernel[:2], *(n if i == j else 1 for i in range(2)))) for j, n in
               enumerate(kernel[2:])]  # fmt: skip
    K = (factors[0] * factors[1] if engine == "separable" else rng.standard_normal(kernel)).astype(dtype)
    groups = shape[0] // kernel[1]
    op = cm.conv(K, shape, channels="first", padding="same", engine=engine, groups=groups)
    return functools.partial(op, rng.standard_normal(shape).astype(dtype))


def seconds_of(case):
    """Median seconds of the calls of a case within the budget, in a worker."""
    call, times = call_of(case), []
    call()
    start = time.perf_counter()
    while not times or time.perf_counter() - start < BUDGET:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@contextlib.contextmanager
def worker(**environment):
    """A process with these variables."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(abs, (0,))  # it has started, with these variables
            os.environ.clear()
            os.environ.update(before)
            yield pool
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def busy():
    """Twice as many processes as cores, which count."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    counting = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * cores)]
    try:
        yield
    finally:
        for process in counting:
            process.kill()
            process.wait()


def engines(quick):
    """The engines while other processes keep all cores busy.

    Milliseconds with one thread and with all threads, on the machine as it is, and beside twice as many processes as
    cores that count in a loop. Aim: busy all / 1 thread at most 3.
    """
    single = worker(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    for case in list(CASES)[: 1 if quick else None]:
        library = LIBRARIES.get(CASES[case][3])
        if not library or is_installed(library):
            yield case, functools.partial(measure, single, worker())
            single = worker(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")


def measure(single, several, case, repeat):
    rounds = min(ROUNDS, repeat)
    with single as one, several as all_threads:

        def medians():
            times = [(one.apply(seconds_of, (case,)), all_threads.apply(seconds_of, (case,))) for _ in range(rounds)]
            return [1e3 * statistics.median(column) for column in zip(*times, strict=True)]

        quiet_one, quiet_all = medians()
        with busy():
            busy_one, busy_all = medians()
    return Values(case, {
        "1 thread, ms": quiet_one, "all, ms": quiet_all, "busy, 1 thread": busy_one, "busy, all": busy_all,
        "busy all / 1 thread": busy_all / quiet_one, "busy all / busy 1": busy_all / busy_one,
    })  # fmt: skip


if __name__ == "__main__":
    main(__doc__, {"engines": engines}, ["torch", "numba"])
