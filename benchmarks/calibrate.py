"""Fit the constants of ``src/convmtx/costs.py`` to this machine: the rates that are shipped, and limits of work.

    python benchmarks/calibrate.py [--group rates|spectra|all] [--seconds 40] [--repeat 5] [--quick]

Rates are fitted by `convmtx.tune`, into a file that is thrown away. Limits of work are equal on every machine, so
`tune` does not touch them: here they are fitted to the seconds that they are meant to take. The script prints the
constants ready to paste, each beside the present one. ``--quick`` takes few and small sizes: it shows that the script
runs, not how fast the machine is. Constants that are decisions, such as the seconds that one may wait for, are not
fitted.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import scipy.optimize
import scipy.sparse.linalg
from measuring import medians

import convmtx as cm
from convmtx import costs, rates

#: Seconds after which one way is not timed again.
BUDGET = 0.5


def fit_sum(amounts, seconds):
    """Seconds of one unit of each amount (columns), by non-negative least squares of relative errors."""
    matrix = np.array(amounts, float) / np.array(seconds)[:, None]
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-300)
    values, _ = scipy.optimize.nnls(matrix / scale, np.ones(len(matrix)))
    return tuple(float(value) for value in values / scale)


def fit_rate(amounts, seconds):
    """Seconds of one unit: the geometric mean of all cases."""
    return statistics.geometric_mean(s / a for s, a in zip(seconds, amounts, strict=True))


def seconds_of(call, repeat):
    """Median seconds of one call."""
    return medians({"call": call}, repeat, BUDGET)[0]["call"]


def print_rates(seconds):
    """Print the rates of this machine, each beside the one that is shipped, and what they change."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CONVMTX_RATES"] = str(Path(folder) / "rates.json")
        tuning = cm.tune(seconds=seconds)
    shipped = rates.shipped().seconds
    for kind, rate in tuning.seconds.items():
        print(f'    "{kind}": {rate:.1e},  # {shipped[kind]:.1e}')
    print("\n".join(f"# {line}" for line in str(tuning).splitlines()[:-1]))


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
    kernel = np.full(taps, 1 / (2 * taps))
    kernel[taps // 2] += 1
    matrix = cm.conv(kernel, n, padding="same").to_sparse().tocsc()
    seconds = seconds_of(lambda: scipy.sparse.linalg.splu(matrix), repeat)
    return {"SPARSE_LU_WORK": 3.0 * n * float(taps) ** 2 / seconds}


SPECTRA = [decompositions, symbols, band_determinants]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", choices=("rates", "spectra", "all"), default="all")
    parser.add_argument("--seconds", type=float, help="for rates: 40, and 2 if quick")
    parser.add_argument("--repeat", type=int, help="for spectra: 5, and 1 if quick")
    parser.add_argument("--quick", action="store_true", help="few and small cases")
    options = parser.parse_args()
    if options.group in ("rates", "all"):
        print("# rates: fitted, and the one that is shipped behind it", flush=True)
        print_rates(options.seconds or (2 if options.quick else 40))
    if options.group in ("spectra", "all"):
        print("# spectra: fitted, and the present constant behind it")
        for function in SPECTRA:
            print(f"# {function.__doc__}", flush=True)
            for name, value in function(options.quick, options.repeat or (1 if options.quick else 5)).items():
                print(f"{name} = {value:.1e}  # {getattr(costs, name):.1e}")


if __name__ == "__main__":
    main()
