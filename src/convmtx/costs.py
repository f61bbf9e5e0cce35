"""Predicted seconds: how much there is to do of each kind of work, times the seconds that one unit of it takes.

Those seconds, the rates, are in `rates`. Here are the sums, the prices of methods, and the sizes from which a choice
pays. Choices compare predictions with each other, so only the ratios of rates matter. Limits of seconds and of work are
decisions: how long one may wait for an answer. They are equal on every machine, because they decide what is answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from convmtx.rates import SHIPPED, current, rate

# Engines: a batch of inputs applied by one of `convmtx.engines`.

#: Amount of work of each kind. The kinds are the keys of `rates.SHIPPED`.
Work = Mapping[str, float]

#: Multiply-adds of one matrix product up to which BLAS keeps to one thread, so that every core may have its own.
ONE_THREAD = 900_000
#: Predicted seconds of an engine from which other threads help it.
#: Shorter calls lose more by waking them than they win.
WORTH_THREADS = 6e-4
#: Predicted seconds of a tile that a thread takes at a time: short, so that one that loses its core holds up little.
SHARE = 2e-4
#: Pairs of channel and filter in a group up to which a kernel is applied by the factors of outer products. Each pair
#: has an array as large as the input, so with many pairs a matrix product over channels is faster.
SEPARABLE_PAIRS = 64
#: Input channels of a group up to which a block of compiled loops stays near the processor, and how many times as long
#: a multiply-add takes with more channels: two to three times in what was measured.
NEAR_CHANNELS, FAR_CHANNELS = 16, 2

#: Real floating point operations in one unit of a kind. "flop", "flop f4" and "flop f8" have one; the rest have none.
_FLOPS = {
    "flop": 1.0,
    "flop f4": 1.0,
    "flop f8": 1.0,
    "torch flop f4": 1.0,
    "torch flop f8": 1.0,
    "torch flop c8": 4.0,
    "torch flop c16": 4.0,
    "slid": 1.0,
    "sparse entry": 2.0,
    "transform f4": 2.5,
    "transform f8": 2.5,
    "lone transform f4": 2.5,
    "lone transform f8": 2.5,
    "product": 8.0,
    "flop c8": 4.0,
    "flop c16": 4.0,
}


def seconds(work: Work) -> float:
    """Predict the seconds that work takes."""
    rate_of = current().seconds
    return sum(rate_of[kind] * amount for kind, amount in work.items())


def of_channels(channels: int) -> int:
    """Return how many times as long a multiply-add of compiled loops takes with so many input channels of a group."""
    return FAR_CHANNELS if channels > NEAR_CHANNELS else 1


def flops(work: Work) -> float:
    """Count floating point operations of real numbers: 2.5 N log2 N for a real transform of length N."""
    return sum(operations * work.get(kind, 0.0) for kind, operations in _FLOPS.items())


def total(works: Iterable[Work]) -> Work:
    """Add amounts of work, kind by kind."""
    amounts: Counter[str] = Counter()
    for work in works:
        amounts.update(work)
    return dict(amounts)


def blas_type(dtype: np.dtype[Any]) -> str:
    """Return the short name of a type that BLAS multiplies, such as "f8"; empty for other types."""
    name = f"{dtype.kind}{dtype.itemsize}"
    return name if name in ("f4", "f8", "c8", "c16") else ""


# Solves: limits, and prices with BLAS held to a thread.

#: Seconds below which a direct method is taken without predicting what iterations would take.
QUICK_SOLVE = 2e-3
#: Seconds that a direct method may take after quicker ones found the map singular.
LONGEST_SOLVE = 10.0
#: Seconds that a decomposition may take whose singular values `choose_damp` needs: more than an estimate mostly takes.
LONGEST_SPECTRUM = 2.0
#: Predicted seconds of steps after which `choose_damp` ends an estimate that has not settled.
LONGEST_CURVE = 30.0
#: Seconds between checkpoints of a solve on chunks, at least: what a run that is killed may lose.
CHECKPOINT_SECONDS = 60.0
#: Seconds of steps that have to be left before a preconditioner is built: it takes about as long itself.
PRECONDITIONER_SETUP = 2e-2

#: Complex arithmetic takes so many times longer than real: in matrix products, and in sparse and band factors.
COMPLEX_PRODUCT, COMPLEX_LU = 4.0, 3
#: Operations of a decomposition from which a matrix counts as large.
LARGE_MATRIX = 1e6
#: Operations of a singular value decomposition: of many small matrices, of one dense matrix, and of an axis' factor.
SVD_SMALL, SVD_DENSE, SVD_AXIS = 12, 15, 8
#: Operations of inverting one dense matrix.
INVERSE_DENSE = 3

#: Transforms of a solution that is corrected twice, operations of Levinson's recursion for each pair of unknowns.
CORRECTED, RECURSION = 16, 8

#: Work of sparse LU by number of axes, without and with the augmented system: the exponents with which the numbers of
#: positions, of taps and of channels multiply each other. They belong to the algorithm, not to the machine.
SPARSE_LU_POWERS = {
    (1, False): (1.18, 1.17, 1.84),
    (1, True): (1.09, 1.13, 1.68),
    (2, False): (1.44, 1.17, 1.60),
    (2, True): (1.33, 1.01, 1.69),
    (3, False): (2.16, 0.97, 2.53),
    (3, True): (2.09, 0.92, 2.26),
}
#: Fraction of the seconds of building sparse factors that a right-hand side takes.
SPARSE_LU_PER_RHS = 0.03
#: Bytes of factors that SuperLU writes in a second of the shipped rates, at most.
SPARSE_LU_WRITTEN = 5e8
#: Bytes of sparse LU of any map for each unknown, and of substitution for each entry.
ANY_SPARSE_LU_BYTES, SUBSTITUTION_BYTES = 1e3, 64.0
#: Ratio of the seconds of a step with a preconditioner to those of one without.
PRECONDITIONED_STEP = 2.0


@dataclass(frozen=True)
class Price:
    """Predicted cost of a direct method."""

    #: Seconds of building the factors, and of each right-hand side.
    build: float
    per_rhs: float
    bytes: float

    def seconds(self, n_rhs: int) -> float:
        """Return the seconds for so many right-hand sides."""
        return self.build + n_rhs * self.per_rhs


def sparse_product_seconds(entries: int) -> float:
    """Return the seconds of a product with a sparse matrix."""
    return rate("sparse product") + rate("sparse product entry") * entries


def lsmr_step_seconds(size: int, seconds: float) -> float:
    """Return the seconds of a step of LSMR with a map of ``size`` inputs and outputs that takes ``seconds``."""
    return rate("LSMR step") + rate("LSMR number") * size + 2 * seconds


def price_of_dense(rows: int, columns: int, dtype: np.dtype[Any], *, inverted: bool) -> Price:
    """Price of the singular values of a dense matrix, or of its inverse."""
    kind = COMPLEX_PRODUCT if dtype.kind == "c" else 1
    operation = kind * rate("large matrix operation")
    work = float(rows) * columns * min(rows, columns) * (INVERSE_DENSE if inverted else SVD_DENSE)
    return Price(rate("factors") / 2 + operation * work, operation * 2 * rows * columns, 16.0 * kind * rows * columns)


def price_of_sparse_lu(
    axes: int, sizes: tuple[float, float, float], groups: int, dtype: np.dtype[Any], *, augmented: bool
) -> Price:
    """Price of sparse LU of a convolution of so many axes: ``sizes`` are positions, taps and channels of a group."""
    name = f"{'augmented ' * augmented}sparse LU {axes}"
    units = float(np.prod(np.power(sizes, SPARSE_LU_POWERS[axes, augmented])))
    units *= groups * (COMPLEX_LU if dtype.kind == "c" else 1)
    build = rate(name) * units
    per_rhs = (1 + augmented) * SPARSE_LU_PER_RHS * build
    return Price(rate("factors") + build, per_rhs, SPARSE_LU_WRITTEN * SHIPPED[name] * units)


def price_of_band_lu(unknowns: int, half: float, n_bytes: float, dtype: np.dtype[Any], *, augmented: bool) -> Price:
    """Price of band LU: ``half`` is half of the bandwidth."""
    name, passes, kind = f"{'augmented ' * augmented}band LU", 1 + augmented, COMPLEX_LU if dtype.kind == "c" else 1
    row = rate(f"{name} unknown") + rate(f"{name} entry") * half + rate(f"{name} operation") * half**2
    per_rhs = kind * passes * unknowns * (rate("band solve unknown") + rate("band solve entry") * half)
    return Price(rate("factors") + kind * (rate(name) + unknowns * row), per_rhs, n_bytes)


def price_of_line(size: int, half: float, n_bytes: float, dtype: np.dtype[Any], *, is_definite: bool) -> Price:
    """Price of factors of constant diagonals: those of a band that is written at once; Cholesky factors take half."""
    kind = COMPLEX_LU if dtype.kind == "c" else 1
    row = rate("band LU entry") * half + rate("band LU operation") * half**2
    build = kind * (rate("band LU") + size * row) / (1 + is_definite)
    per_rhs = kind * size * (rate("band solve unknown") + rate("band solve entry") * half)
    return Price(rate("factors") / 2 + build, per_rhs, n_bytes)


def price_of_recursion(size: int, taps: int, dtype: np.dtype[Any]) -> Price:
    """Price of a triangle of constant diagonals that is solved by a filter; to look at its condition is a solve."""
    kind = COMPLEX_LU if dtype.kind == "c" else 1
    solve = kind * rate("band solve entry") * size * taps
    return Price(rate("factors") / 2 + solve, solve, float(taps * dtype.itemsize))


def price_of_parts(parts: Iterable[tuple[Price, int]]) -> Price:
    """Price of factors of all parts of a map, each with its number of right-hand sides for one of the map."""
    prices = list(parts)
    build, n_bytes = (sum(getattr(price, name) for price, _ in prices) for name in ("build", "bytes"))
    return Price(build, sum(price.per_rhs * n_rhs for price, n_rhs in prices), n_bytes)


def price_of_entries(count: int) -> Price:
    """Price of dividing by so many numbers."""
    return Price(rate("factors") / 2 + rate("vector number") * count, rate("vector number") * count, 32.0 * count)


def price_of_substitution(entries: float) -> Price:
    """Price of solving a triangular matrix."""
    return Price(rate("substitution") * entries, rate("substitution solve") * entries, SUBSTITUTION_BYTES * entries)


def price_of_any_sparse_lu(unknowns: float) -> Price:
    """Price of sparse LU of a map of which nothing but its size is known."""
    build, per_rhs = rate("any sparse LU") * unknowns**2, rate("any sparse solve") * unknowns
    return Price(build, per_rhs, ANY_SPARSE_LU_BYTES * unknowns)


def gram_work(rows: int, columns: int, groups: int) -> Work:
    """Return the work of ``W^H W`` from all windows W."""
    return {"flop f8": float(groups) * rows * columns**2, "byte": 16.0 * groups * rows * columns}


def gram_by_step_work(rows: int, columns: int, groups: int, transformed: float) -> Work:
    """Return the work of ``W^H W`` from its first rows, by transforms, and from windows where it changes."""
    products = {"flop f8": 2.0 * groups * rows * columns**2, "byte": 48.0 * groups * float(columns) ** 2}
    return {**products, "transform f8": groups * transformed * float(np.log2(max(transformed, 2)))}


def price_of_windows(
    rows: int, columns: int, groups: int, joined: int, dtype: np.dtype[Any], *, toeplitz: bool
) -> Price:
    """Price of factors of ``W^H W`` for windows W, with taps of so many filters joined.

    A Toeplitz matrix takes no longer than its transforms and a recursion of O(n^2).
    """
    kind, unknowns = COMPLEX_PRODUCT if dtype.kind == "c" else 1.0, float(columns * joined)
    length = float(rows + columns)
    transforms = kind * groups * rate("transform f8") * length * float(np.log2(length + 1))
    operation = kind * groups * rate("large matrix operation")
    if toeplitz:
        build, n_bytes = 4 * transforms + operation * RECURSION * unknowns**2, 64.0 * groups * length
    else:
        products = seconds({"flop f8": kind * float(rows) * columns**2})
        build, n_bytes = groups * products + operation * unknowns**3, 32.0 * kind * groups * unknowns**2
    per_rhs = joined * CORRECTED * transforms + operation * 4 * unknowns**2
    return Price(rate("factors") + build, per_rhs, n_bytes + 64.0 * kind * groups * length)


# Spectra: limits of work, which say when to decompose, when to bound or iterate instead, and when to refuse.
# Work has the unit of a dense decomposition, ``rows * columns * min(rows, columns)``. One core does some 3e9 a second.

#: Work of a decomposition up to which all singular values are computed although few are expected: less than a second.
#: Exact values are worth that, even if a few of them could be iterated sooner.
SMALL_SPECTRUM_WORK = 2e9
#: Work of a decomposition up to which it is computed for questions that only all singular values answer: some 10 s.
PATIENT_WORK = 3e10
#: Work of about one hour. A request for all singular values that takes longer is refused, because a decomposition
#: cannot be interrupted.
HOUR_OF_WORK = 2e13

#: Work of a bound up to which it is computed beside the Lanczos process, for a closer upper end: some 0.3 s.
BESIDE_LANCZOS_WORK = 1e9
#: Work of the largest singular value of a symbol by its smaller Gram matrix: for each operation, as those of a
#: decomposition are counted, and for each number of the smaller side. Measured with 1 to 64 channels.
SYMBOL_OPERATION_WORK, SYMBOL_SIDE_WORK = 6, 4500
#: Work of a Lanczos step: the step itself, each input and output, and each entry of the map.
LANCZOS_STEP_WORK, LANCZOS_NUMBER_WORK, LANCZOS_ENTRY_WORK = 3e5, 60, 1
#: Work of all expected Lanczos steps above which bounds without iterations are taken for a norm: about a minute.
LANCZOS_WORK = 1e11
#: Lanczos steps before the bound ``theta`` is computed, over those that take as long, if it is not likely to be enough.
THETA_PATIENCE = 5
#: Work of the bound ``theta`` up to which `norm_bound` takes it for its best, and ``sup`` above: some 10 s.
THETA_WORK = 30 * BESIDE_LANCZOS_WORK
#: Work that a symbol takes besides that of its decomposition: the calls and the sums over taps.
SYMBOL_WORK = 300

#: Unknowns (rows and columns), and entries of a convolution, up to which inverse iteration factorizes the augmented
#: matrix for the smallest singular value. Measured for 3 x 3 taps on 170 x 170, which is 57,800 unknowns and 258,064
#: entries: 2.8 s, and 200 MB of factors.
FACTORIZED_UNKNOWNS, FACTORIZED_ENTRIES = 60_000, 500_000
#: Work of a sparse LU factorization, rows times bandwidth squared, up to which it is computed for a determinant.
SPARSE_LU_WORK = 3e10

#: Work of all symbols after which the bracket of a symbol's supremum is returned as it is: less than a second.
SUPREMUM_WORK = 2e9
#: Work that a frequency of the supremum takes besides that of its decomposition, and work of a tap there.
SUPREMUM_FREQUENCY_WORK, SUPREMUM_TAP_WORK = 4e3, 4
#: Taps times frequencies that are summed on the first grid of the supremum: some seconds. Above it one transform takes
#: over, which needs more memory.
SUPREMUM_SUMMED_WORK = 1e10

#: Entries of a matrix that are summed in the time that a tap of a run of outputs takes: some 10 microseconds.
RUN_TAP = 2000

# Structure: in the same unit of work.

#: Work of one eigenvalue of a band matrix, over its size: for every row, and for every diagonal beside the main one.
BAND_ROW_WORK, BAND_DIAGONAL_WORK = 90, 8
#: Work of many small matrices together from which several threads decompose them faster than one.
PARALLEL_WORK = 2e4
#: Size of an array, in numbers, from which several threads transform it faster than one.
PARALLEL_TRANSFORM = 1 << 16
#: Positions along an axis from which several threads decompose its matrix faster than one.
PARALLEL_AXIS = 600

#: Taps of an axis, and taps times frequencies, from which a transform sums over taps faster than a table.
LONG_KERNEL, LONG_TABLE = 48, 1 << 14

# Tuning: how `convmtx.tune` times.

#: Seconds for which calls of a short run follow each other, as in a solver; before, threads of BLAS stop waiting.
TIMED_BURST, TIMED_PAUSE = 2e-3, 2e-3
#: Seconds of all runs of one case after which they are not repeated: on a busy machine a round takes seconds.
TIMED_CASE = 0.5


def symbol_norms_work(count: int, rows: int, columns: int) -> float:
    """Return the work of the largest singular values of so many symbols."""
    side = min(rows, columns)
    return float(count) * side * (SYMBOL_OPERATION_WORK * rows * columns + SYMBOL_SIDE_WORK)


def lanczos_step_work(entries: int, size: int) -> float:
    """Return the work of a Lanczos step with a map of ``size`` inputs and outputs."""
    return LANCZOS_STEP_WORK + LANCZOS_NUMBER_WORK * size + LANCZOS_ENTRY_WORK * entries
