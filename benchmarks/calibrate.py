"""Fit every constant of seconds in ``src/convmtx/costs.py`` to this machine.

    python benchmarks/calibrate.py [--group engines|solves|spectra|all] [--repeat 5] [--quick]

Each group is a list of functions. A function times what it is named for at several sizes, and fits the constants of
one formula: sums by non-negative least squares of relative errors, power laws by least squares of logarithms. The
script prints the constants ready to paste, each beside the present one. ``--quick`` takes the smallest sizes once: it
shows that the script runs, not how fast the machine is. Constants that are decisions, such as the seconds that one may
wait for, are not fitted.
"""

import argparse
import functools
import importlib.util
import itertools
import statistics

import numpy as np
import scipy.optimize
import scipy.sparse.linalg
from measuring import medians

import convmtx as cm
from convmtx import costs
from convmtx.engines import direct, fft, pytorch

#: Seconds after which one way is not timed again.
BUDGET = 0.5

#: Cases of the engines: sizes, kernel, channels, filters, groups, stride, images.
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
#: Cases that are quick: one signal, one small image with channels.
QUICK_CASES = [((512,), (7,), 1, 1, 1, 1, 1), ((8, 8), (3, 3), 4, 4, 1, 1, 2)]


def fit_sum(amounts, seconds):
    """Seconds of one unit of each amount (columns), by non-negative least squares of relative errors."""
    matrix = np.array(amounts, float) / np.array(seconds)[:, None]
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-300)
    values, _ = scipy.optimize.nnls(matrix / scale, np.ones(len(matrix)))
    return tuple(float(value) for value in values / scale)


def fit_power(factors, seconds):
    """Rate and exponents of ``rate * product of factor ** exponent``, by least squares of logarithms."""
    logs = np.column_stack([np.ones(len(seconds)), np.log(np.array(factors, float))])
    values = np.linalg.lstsq(logs, np.log(seconds), rcond=None)[0]
    return (float(np.exp(values[0])), *(float(value) for value in values[1:]))


def fit_rate(amounts, seconds):
    """Seconds of one unit: the geometric mean of all cases."""
    return statistics.geometric_mean(s / a for s, a in zip(seconds, amounts, strict=True))


def seconds_of(call, repeat):
    """Median seconds of one call."""
    return medians({"call": call}, repeat, BUDGET)[0]["call"]


def plain_map(sizes, taps, channels=1, dtype=float, **options):
    """Map with random kernel of so many taps along each axis, outputs as inputs, far from singular."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((*(taps,) * len(sizes), channels, channels)) / (2 * taps ** len(sizes) * channels)
    kernel[(taps // 2,) * len(sizes)] += np.eye(channels)
    kernel = kernel.astype(dtype) * (1 + 0.5j if np.dtype(dtype).kind == "c" else 1)
    return cm.conv(kernel, (*sizes, channels), **{"padding": "same", **options})


def built_and_applied(op, method, repeat, damp=0.0):
    """Median seconds of building factors, and of applying the pseudo-inverse that has them."""
    built = seconds_of(lambda: cm.pinv(op, damp=damp, method=method), repeat)
    inverse, b = cm.pinv(op, damp=damp, method=method), np.ones(op.out_shape)
    return built, seconds_of(lambda: inverse(b), repeat)


# Engines


def engine_times(quick, repeat):
    """Work and median seconds of every kind of tile and every engine, for each case and type."""
    rng = np.random.default_rng(0)
    for case, dtype in itertools.product(QUICK_CASES if quick else CASES, ("f4", "f8", "c8", "c16")):
        sizes, kernel_sizes, channels, filters, groups, stride, images = case
        kernel = rng.standard_normal((filters, channels // groups, *kernel_sizes)).astype(dtype)
        x = rng.standard_normal((images, groups, channels // groups, *sizes)).astype(dtype)
        op = cm.conv(kernel, (channels, *sizes), channels="first", groups=groups, stride=stride)
        (part,) = op._plan.parts
        y = np.empty((images, groups, filters // groups, *op.out_shape[1:]), dtype)
        kind = y.dtype
        runs = {"fft": (fft.work(part, kind, images), functools.partial(fft.correlate, part, x, y))}
        if kind.kind != "c" or channels > groups:  # else the direct engine computes with real numbers
            for tile in direct.candidates(part, kind):
                work = tile.work(part, kind, images)
                parallel = costs.seconds(work) > costs.WORTH_THREADS
                runs[str(tile)] = (work, functools.partial(direct._fill, part, x, y, kind, tile, parallel))
        torch_work = pytorch.work(part, kind, images) if importlib.util.find_spec("torch") else None
        if torch_work:
            runs["torch"] = (torch_work, functools.partial(pytorch.correlate, part, x, y))
        seconds, _ = medians({name: run for name, (_, run) in runs.items()}, repeat, BUDGET)
        for name, (work, _) in runs.items():
            yield (case, dtype), name, work, seconds[name]


def engine_kinds(quick, repeat):
    """Seconds of each kind of work of the engines; a kind that no case has keeps its constant."""
    rows = list(engine_times(quick, repeat))
    kinds = [kind for kind in costs.SECONDS if any(work.get(kind) for _, _, work, _ in rows)]
    fitted = fit_sum([[work.get(kind, 0) for kind in kinds] for _, _, work, _ in rows], [row[3] for row in rows])
    table = costs.SECONDS | dict(zip(kinds, fitted, strict=True))
    for title, constants in (("present", costs.SECONDS), ("fitted", table)):
        say_how_well(title, constants, rows)
    return {"SECONDS": table}


def say_how_well(title, constants, rows):
    """Print seconds predicted over seconds measured, and what the predicted choice costs over the best one."""
    predicted = [sum(constants[kind] * amount for kind, amount in work.items()) for _, _, work, _ in rows]
    ratios = np.array([p / t for p, (*_, t) in zip(predicted, rows, strict=True)])
    losses = []
    for _, group in itertools.groupby(zip(rows, predicted, strict=True), key=lambda pair: pair[0][0]):
        pairs = list(group)
        chosen = min(pairs, key=lambda pair: pair[1])[0]
        best = min(pairs, key=lambda pair: pair[0][3])[0]
        losses.append((chosen[3] / best[3], *chosen[:2], best[1]))
    low, high = np.percentile(ratios, [5, 95])
    print(f"# engines, {title}: predicted / measured: median {np.median(ratios):.2f}, 5-95% {low:.2f} to {high:.2f}")
    print(f"#   choice / best: median {statistics.median(loss for loss, *_ in losses):.2f}, worst five:")
    for loss, case, chosen, best in sorted(losses, key=lambda row: row[0])[:-6:-1]:
        print(f"#   {loss:.2f}  {case}: chose {chosen}, best {best}")


# Solves


def sparse_products(quick, repeat):
    """A product with a sparse matrix: seconds of a call, and of each entry."""
    matrices = [plain_map((n,), 7).to_sparse() for n in ((100, 1000) if quick else (100, 1000, 10_000, 60_000))]
    seconds = [seconds_of(lambda m=m: m @ np.ones(m.shape[1]), repeat) for m in matrices]
    call, entry = fit_sum([[1, m.nnz] for m in matrices], seconds)
    return {"SPARSE_PRODUCT_CALL": call, "SPARSE_PRODUCT_ENTRY": entry}


def applied_maps(quick, repeat):
    """Applying: a convolution beside what its engine predicts, and a map that is not one, for each number."""
    sizes = (64, 512) if quick else (64, 512, 4096, 16_384)
    maps = [plain_map((n,), 5) for n in sizes]
    beside = []
    for op in maps:
        facts = op.explain()
        seconds = seconds_of(lambda op=op: op(np.ones(op.in_shape)), repeat)
        beside.append(max(seconds - facts.engines[facts.engine]["predicted"], 1e-7))
    products = [op.H @ op for op in maps]
    seconds = [seconds_of(lambda op=op: op(np.ones(op.in_shape)), repeat) for op in products]
    return {
        "ENGINE_CALL": statistics.median(beside),
        "ANY_MAP_NUMBER": fit_rate([sum(op.shape) for op in products], seconds),
    }


def lsmr_steps(quick, repeat):
    """A step of LSMR beside applying the map and its adjoint: seconds, and seconds of each number."""
    amounts, seconds, steps = [], [], (5, 25)
    for n in (100, 1000) if quick else (100, 1000, 10_000, 20_000):
        op = plain_map((n,), 5)
        matrix, b = op.to_sparse(), np.random.default_rng(0).standard_normal(op.out_shape)
        solve = functools.partial(cm.solve, op, b, method="lsmr", rtol=1e-15)
        runs = {str(limit): functools.partial(solve, maxiter=limit) for limit in steps}
        runs["product"] = functools.partial(matrix.dot, b.ravel())
        times, results = medians(runs, repeat, BUDGET)
        few, many = (str(limit) for limit in steps)
        done = max(results[many].iterations - results[few].iterations, 1)
        step = (times[many] - times[few]) / done - 2 * times["product"]
        amounts.append([1, sum(op.shape)])
        seconds.append(max(step, 1e-6))
    step, number = fit_sum(amounts, seconds)
    return {"LSMR_STEP": step, "LSMR_STEP_NUMBER": number}


def dense_matrices(quick, repeat):
    """An operation in the decomposition or the inverse of a large matrix, and complex over real arithmetic."""
    work, seconds, ratios = [], [], []
    for n, (damp, operations) in itertools.product((100,) if quick else (200, 400, 700), ((0, 3), (0.1, 15))):
        real, _ = built_and_applied(plain_map((n,), 5), "dense", repeat, damp)
        other, _ = built_and_applied(plain_map((n,), 5, dtype=complex), "dense", repeat, damp)
        work.append(operations * float(n) ** 3)
        seconds.append(real)
        ratios.append(other / real)
    return {"LARGE_MATRIX_OPERATION": fit_rate(work, seconds), "COMPLEX_PRODUCT": statistics.median(ratios)}


def small_matrices(quick, repeat):
    """Blocks of a transform: a call, each matrix, each operation in it; each number in transforms and in vectors."""
    amounts, built, numbers, applied = [], [], [], []
    cases = itertools.product((64,) if quick else (64, 1024), (2, 8) if quick else (2, 4, 8, 16), ((0, 1), (0.1, 12)))
    for n, channels, (damp, operations) in cases:
        op = plain_map((n,), 3, channels, boundary="wrap")
        count = 4.0 * n  # complex matrices count as 4 real ones
        amounts.append([1, count, count * operations * channels**3])
        numbers.append([sum(op.shape), count * channels**2])
        build, apply = built_and_applied(op, "blocks", repeat, damp)
        built.append(build)
        applied.append(apply)
    call, matrix, small = fit_sum(amounts, built)
    transform, number = fit_sum(numbers, applied)
    return {
        "FACTORS_CALL": 2 * call,
        "SMALL_MATRIX": matrix,
        "SMALL_MATRIX_OPERATION": small,
        "TRANSFORM_NUMBER": transform,
        "VECTOR_NUMBER": number,
    }


def band_factors(quick, repeat):
    """Band LU, of the matrix and of the augmented system: for each unknown by powers of half of the bandwidth."""
    table, amounts, seconds = {}, [], []
    for augmented in (False, True):
        build_amounts, built = [], []
        cases = itertools.product((200, 400) if quick else (500, 2000, 6000), (3, 9) if quick else (3, 9, 33, 65))
        for n, taps in cases:
            # A band of taps // 2 below and above; outputs and inputs of the augmented system take turns.
            size, half = (2 * n, taps) if augmented else (n, taps // 2)
            build, apply = built_and_applied(plain_map((n,), taps), "band", repeat, 0.1 * augmented)
            build_amounts.append([1, size, size * half, size * half**2])
            built.append(build)
            passes = 1 + augmented
            amounts.append([passes * size, passes * size * half])
            seconds.append(apply)
        table[augmented] = fit_sum(build_amounts, built)
    return {"BAND_LU": table, "BAND_LU_PER_RHS": fit_sum(amounts, seconds)}


def sparse_factors(quick, repeat):
    """Sparse LU by axes, of the matrix and of the augmented system: a power law of positions, taps and channels."""
    sizes = {1: (300, 1000, 4000), 2: (16, 32, 48), 3: (6, 8, 10)}
    table, shares = {}, []
    for d, augmented in itertools.product((1,) if quick else sizes, (False, True)):
        factors, seconds = [], []
        for n, taps, channels in itertools.product(sizes[d][: 2 if quick else 3], (3, 5), (1, 2)):
            op = plain_map((n,) * d, taps, channels)
            build, apply = built_and_applied(op, "sparse", repeat, 0.1 * augmented)
            factors.append([n**d, taps**d, channels])
            seconds.append(build)
            shares.append(apply / build / (1 + augmented))
        table[d, augmented] = fit_power(factors, seconds)
    return {"SPARSE_LU": table, "SPARSE_LU_PER_RHS": statistics.median(shares)}


def sparse_kinds(quick, repeat):
    """Sparse LU: complex over real arithmetic, bytes of factors in a second, and any map from its size alone."""
    n = 200 if quick else 2000
    real, other = (built_and_applied(plain_map((n,), 5, dtype=t), "sparse", repeat)[0] for t in (float, complex))
    matrix = plain_map((12 if quick else 40,) * 2, 5).to_sparse().tocsc()
    factors = scipy.sparse.linalg.splu(matrix)
    written = 16 * (factors.L.nnz + factors.U.nnz) / seconds_of(lambda: scipy.sparse.linalg.splu(matrix), repeat)
    op = plain_map((n,), 5)
    build, apply = built_and_applied(op.H @ op, "sparse", repeat)
    unknowns = sum(op.shape)
    size = costs.ANY_SPARSE_LU[2]  # bytes are not fitted
    return {
        "COMPLEX_LU": other / real,
        "SPARSE_LU_WRITTEN": written,
        "ANY_SPARSE_LU": (build / unknowns**2, apply / unknowns, size),
    }


def substitutions(quick, repeat):
    """Substitution in a causal map: seconds to build, and seconds of a right-hand side, for each entry."""
    built, applied, entries = [], [], []
    for n, taps in ((200, 3), (400, 5)) if quick else ((1000, 3), (4000, 5), (16_000, 9)):
        kernel = np.append(np.full(taps - 1, 0.1), 1.0)
        op = cm.conv(kernel, (n,), padding=[(taps - 1, 0)])
        build, apply = built_and_applied(op, "substitution", repeat)
        built.append(build)
        applied.append(apply)
        entries.append(op.nnz)
    size = costs.SUBSTITUTION[2]  # bytes are not fitted
    return {"SUBSTITUTION": (fit_rate(entries, built), fit_rate(entries, applied), size)}


# Spectra

#: Seconds that a limit of work is meant to take.
LIMITS = {
    "SMALL_SPECTRUM_WORK": 0.4, "PATIENT_WORK": 6.0, "HOUR_OF_WORK": 3600.0,
    "BESIDE_LANCZOS_WORK": 0.2, "THETA_WORK": 6.0, "SUPREMUM_WORK": 0.4,
}  # fmt: skip


def decompositions(quick, repeat):
    """Limits of work in units of a dense decomposition: how much of it is done in the seconds that one may wait."""
    sizes = (60, 100) if quick else (200, 400, 800)
    rng = np.random.default_rng(0)
    matrices = [rng.standard_normal((n, n)) for n in sizes]
    seconds = [seconds_of(lambda m=m: np.linalg.svd(m, compute_uv=False), repeat) for m in matrices]
    rate = fit_rate([float(n) ** 3 for n in sizes], seconds)
    return {name: limit / rate for name, limit in LIMITS.items()}


def symbols(quick, repeat):
    """Work of each symbol beside its decomposition, of each frequency of a supremum, and of each tap there."""
    rng = np.random.default_rng(0)
    count = 200 if quick else 4000
    amounts, seconds, summed, sums = [], [], [], []
    for channels in (1, 2, 4) if quick else (1, 2, 4, 8, 16):
        matrices = rng.standard_normal((count, channels, channels)) + 0j
        amounts.append([count, count * channels**3])
        seconds.append(seconds_of(lambda m=matrices: np.linalg.svd(m, compute_uv=False), repeat))
    symbol, work = fit_sum(amounts, seconds)
    for taps in (9, 81) if quick else (9, 81, 625):
        kernel, angles = rng.standard_normal((taps, 1)), rng.standard_normal((count, taps))
        summed.append([count, count * taps])
        sums.append(seconds_of(lambda k=kernel, a=angles: np.exp(1j * a) @ k, repeat))
    frequency, tap = fit_sum(summed, sums)
    work = max(work, 1e-15)
    return {
        "SYMBOL_WORK": symbol / work,
        "SUPREMUM_FREQUENCY_WORK": (symbol + frequency) / work,
        "SUPREMUM_TAP_WORK": tap / work,
    }


def band_determinants(quick, repeat):
    """Work of a sparse LU, rows times bandwidth squared, that is done in 3 seconds."""
    n, taps = (200, 9) if quick else (3000, 41)
    matrix = plain_map((n,), taps).to_sparse().tocsc()
    seconds = seconds_of(lambda: scipy.sparse.linalg.splu(matrix), repeat)
    return {"SPARSE_LU_WORK": 3.0 * n * float(taps) ** 2 / seconds}


GROUPS = {
    "engines": [engine_kinds],
    "solves": [
        sparse_products, applied_maps, lsmr_steps, dense_matrices, small_matrices, band_factors, sparse_factors,
        sparse_kinds, substitutions,
    ],
    "spectra": [decompositions, symbols, band_determinants],
}  # fmt: skip


def written(value):
    """Python of a constant, with two digits."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {written(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(written(entry) for entry in value) + ")"
    return f"{value:.1e}" if value is not None else "not there"


def print_constant(name, value):
    """Print a constant to paste, beside the present one; a table has a line for each key."""
    present = getattr(costs, name)
    if not isinstance(value, dict):
        print(f"{name} = {written(value)}  # {written(present)}")
        return
    print(f"{name} = {{")
    for key, entry in value.items():
        print(f"    {key!r}: {written(entry)},".replace("'", '"') + f"  # {written(present[key])}")
    print("}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", choices=(*GROUPS, "all"), default="all")
    parser.add_argument("--repeat", type=int, help="5, and 1 if quick")
    parser.add_argument("--quick", action="store_true", help="few and small cases")
    options = parser.parse_args()
    repeat = options.repeat or (1 if options.quick else 5)
    for group, functions in GROUPS.items():
        if options.group in (group, "all"):
            print(f"\n# {group}: fitted, and the present constant behind it")
            for function in functions:
                print(f"# {function.__doc__}", flush=True)
                for name, value in function(options.quick, repeat).items():
                    print_constant(name, value)


if __name__ == "__main__":
    main()
