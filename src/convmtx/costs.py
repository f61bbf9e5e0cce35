"""Predicted seconds: how much there is to do of each kind of work, times the seconds that one unit of it takes.

``benchmarks/calibrate.py`` fits the rates, most of which are seconds for one unit, to measured times, and prints them
anew for another machine. It does not fit counts of operations, such as those of a decomposition, nor sizes from which
a choice pays: these were found by timing a few sizes. Choices compare predictions with each other, so only the ratios
of rates matter. Limits of seconds and of work are decisions: how long one may wait for an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Engines: a batch of inputs applied by one of `convmtx.engines`.

#: Amount of work of each kind. The kinds are the keys of `SECONDS`.
Work = Mapping[str, float]

#: Seconds for one unit of each kind of work, fitted to all engines together by least squares of relative errors.
#: f4, f8, c8 and c16 are NumPy's names of the types that BLAS multiplies: float32, float64, complex64, complex128.
SECONDS = {
    # A floating point operation of a matrix product, by type; without a type one that BLAS does not do.
    "flop f4": 1.1e-11,
    "flop f8": 2.2e-11,
    "flop c8": 3.3e-11,
    "flop c16": 7.6e-11,
    "flop": 5.0e-10,
    # The flops of a matrix product over its rows, plus its flops over its columns: what a thin product takes longer.
    "thin flop f4": 1.6e-11,
    "thin flop f8": 1.8e-11,
    "thin flop c8": 2.2e-10,
    "thin flop c16": 2.8e-10,
    # A floating point operation of `numpy.correlate`.
    "slid": 1.0e-10,
    # A byte that is copied, and a run of neighbouring entries that are copied together.
    "byte": 5.2e-11,
    "run": 4.8e-09,
    # A matrix product, a product of matrix and vector, a tile of outputs, a call of an engine that is repeated.
    "gemm": 1.6e-07,
    "gemv": 4.6e-08,
    "tile": 6.0e-06,
    "call": 6.0e-06,
    # A position of a real transform, once for each doubling of its length: N log2 N for a length of N.
    "transform f4": 1.5e-10,
    "transform f8": 3.1e-10,
    # A multiply-add of two spectra, and a frequency that has a matrix product of its own.
    "product": 2.7e-09,
    "frequency": 1.2e-07,
    # An entry of a sparse matrix that is multiplied by a real number, and a call of SciPy's product.
    "sparse entry": 4.4e-10,
    "sparse call": 6.0e-06,
    # PyTorch: a floating point operation, the same over groups times filters, a call.
    "torch flop f4": 1.3e-12,
    "thin torch flop f4": 2.4e-10,
    "torch call": 3.3e-04,
    # Loops that Numba compiles: a multiply-add times the bytes of its number, a block of outputs, a call.
    "compiled byte": 9.0e-12,
    "compiled block": 7.0e-07,
    "compiled call": 2.5e-05,
}

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

#: Real floating point operations in one unit of a kind. "flop", "flop f4" and "flop f8" have one; the rest have none.
_FLOPS = {
    "flop": 1.0,
    "flop f4": 1.0,
    "flop f8": 1.0,
    "torch flop f4": 1.0,
    "slid": 1.0,
    "sparse entry": 2.0,
    "transform f4": 2.5,
    "transform f8": 2.5,
    "product": 8.0,
    "flop c8": 4.0,
    "flop c16": 4.0,
}


def seconds(work: Work) -> float:
    """Predict the seconds that work takes."""
    return sum(SECONDS[kind] * amount for kind, amount in work.items())


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


# Solves: limits, and rates with BLAS held to a thread.

#: Seconds below which a direct method is taken without predicting what iterations would take.
QUICK_SOLVE = 2e-3
#: Seconds that a direct method may take after quicker ones found the map singular.
LONGEST_SOLVE = 10.0
#: Seconds that a decomposition may take whose singular values `choose_damp` needs.
LONGEST_SPECTRUM = 60.0
#: Seconds of steps that have to be left before a preconditioner is built: it takes about as long itself.
PRECONDITIONER_SETUP = 2e-2

#: Seconds of building any factors, however small.
FACTORS_CALL = 5e-4
#: Complex arithmetic takes so many times longer than real: in matrix products, and in sparse and band factors.
COMPLEX_PRODUCT, COMPLEX_LU = 4.0, 3

#: Seconds of an operation in the decomposition of a large matrix, and of a small one. Operations are counted as rows
#: times columns times the smaller of both.
LARGE_MATRIX_OPERATION, SMALL_MATRIX_OPERATION = 4e-11, 2e-10
#: Operations of a decomposition from which a matrix counts as large.
LARGE_MATRIX = 1e6
#: Operations of a singular value decomposition: of many small matrices, of one dense matrix, and of an axis' factor.
SVD_SMALL, SVD_DENSE, SVD_AXIS = 12, 15, 8
#: Operations of inverting one dense matrix.
INVERSE_DENSE = 3
#: Seconds of each small matrix beside its operations, of each number in a transform, and of each number in vectors.
SMALL_MATRIX, TRANSFORM_NUMBER, VECTOR_NUMBER = 3e-6, 2e-9, 5e-9

#: Band LU, without and with the augmented system: seconds of a call, and seconds per unknown times the powers 0, 1, 2
#: of half of the bandwidth. Fitted, as is ``SPARSE_LU``, to maps onto outputs like the inputs, of 1 to 3 axes.
BAND_LU = {False: (4e-5, 1.4e-7, 1.4e-8, 9e-11), True: (8e-5, 3.5e-7, 5.5e-8, 9e-11)}
#: Solving with band factors: seconds per unknown and right-hand side, times the powers 0, 1 of half of the bandwidth.
BAND_LU_PER_RHS = 2e-8, 2e-9
#: Sparse LU by number of axes, without and with the augmented system: seconds, and the exponents with which the numbers
#: of positions, of taps and of channels multiply them.
SPARSE_LU = {
    (1, False): (2.0e-8, 1.18, 1.17, 1.84),
    (1, True): (2.0e-7, 1.09, 1.13, 1.68),
    (2, False): (1.0e-8, 1.44, 1.17, 1.60),
    (2, True): (1.5e-7, 1.33, 1.01, 1.69),
    (3, False): (1.4e-10, 2.16, 0.97, 2.53),
    (3, True): (1.6e-9, 2.09, 0.92, 2.26),
}
#: Fraction of the seconds of building sparse factors that a right-hand side takes.
SPARSE_LU_PER_RHS = 0.03
#: Largest number of bytes of factors that SuperLU writes in a second.
SPARSE_LU_WRITTEN = 5e8
#: Sparse LU of any map: seconds per unknown squared, seconds per unknown and right-hand side, bytes per unknown.
ANY_SPARSE_LU = 1e-8, 1e-7, 1e3
#: Substitution: seconds and seconds per right-hand side, and bytes, of each entry.
SUBSTITUTION = 2e-7, 1e-8, 64.0

#: Product with a sparse matrix: seconds of a call, and of each entry.
SPARSE_PRODUCT_CALL, SPARSE_PRODUCT_ENTRY = 1e-5, 5.5e-10
#: Seconds of applying a convolution by its engine, beside the seconds that are predicted for the engine.
ENGINE_CALL = 5e-5
#: Seconds per input and output of applying a map that is not a convolution.
ANY_MAP_NUMBER = 1e-7
#: Ratio of the seconds of a step with a preconditioner to those of one without.
PRECONDITIONED_STEP = 2.0
#: Step of LSMR beside applying the map and its adjoint: seconds, and seconds per input and output.
LSMR_STEP, LSMR_STEP_NUMBER = 5e-5, 5e-9


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
    return SPARSE_PRODUCT_CALL + SPARSE_PRODUCT_ENTRY * entries


def lsmr_step_seconds(size: int, seconds: float) -> float:
    """Return the seconds of a step of LSMR with a map of ``size`` inputs and outputs that takes ``seconds``."""
    return LSMR_STEP + LSMR_STEP_NUMBER * size + 2 * seconds


def price_of_dense(rows: int, columns: int, dtype: np.dtype[Any], *, inverted: bool) -> Price:
    """Price of the singular values of a dense matrix, or of its inverse."""
    kind = COMPLEX_PRODUCT if dtype.kind == "c" else 1
    work = float(rows) * columns * min(rows, columns)
    build = FACTORS_CALL / 2 + kind * LARGE_MATRIX_OPERATION * work * (INVERSE_DENSE if inverted else SVD_DENSE)
    return Price(build, kind * LARGE_MATRIX_OPERATION * 2 * rows * columns, 16.0 * kind * rows * columns)


def price_of_substitution(entries: float) -> Price:
    """Price of solving a triangular matrix."""
    build, per_rhs, size = SUBSTITUTION
    return Price(build * entries, per_rhs * entries, size * entries)


def price_of_any_sparse_lu(unknowns: float) -> Price:
    """Price of sparse LU of a map of which nothing but its size is known."""
    build, per_rhs, size = ANY_SPARSE_LU
    return Price(build * unknowns**2, per_rhs * unknowns, size * unknowns)


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

# Structure: in the same unit of work.

#: Work of one eigenvalue of a band matrix, over its size: for every row, and for every diagonal beside the main one.
BAND_ROW_WORK, BAND_DIAGONAL_WORK = 90, 8
#: Work of many small matrices together from which several threads decompose them faster than one.
PARALLEL_WORK = 2e4
#: Size of an array, in numbers, from which several threads transform it faster than one.
PARALLEL_TRANSFORM = 1 << 16
#: Positions along an axis from which several threads decompose its matrix faster than one.
PARALLEL_AXIS = 600


def symbol_norms_work(count: int, rows: int, columns: int) -> float:
    """Return the work of the largest singular values of so many symbols."""
    side = min(rows, columns)
    return float(count) * side * (SYMBOL_OPERATION_WORK * rows * columns + SYMBOL_SIDE_WORK)


def lanczos_step_work(entries: int, size: int) -> float:
    """Return the work of a Lanczos step with a map of ``size`` inputs and outputs."""
    return LANCZOS_STEP_WORK + LANCZOS_NUMBER_WORK * size + LANCZOS_ENTRY_WORK * entries
