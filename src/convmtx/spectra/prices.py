"""Limits of work: when spectra decompose, when they bound or iterate instead, and when they refuse.

Work has the unit of a dense decomposition, ``rows * columns * min(rows, columns)``. Some 5e9 of it are a second.
"""

from __future__ import annotations

#: Work of a decomposition up to which all singular values are computed although few are wanted: half a second, about as
#: long as iterations would take.
SMALL_WORK = 2e9
#: Work of a decomposition up to which it is computed for questions that only all singular values answer: some 6 s.
PATIENT_WORK = 3e10
#: Work of about an hour. All singular values are refused above it, for a decomposition cannot be interrupted.
HOUR_OF_WORK = 2e13

#: Work of a bound up to which it is computed beside the Lanczos process, for a closer upper end: some 0.2 s.
BESIDE_WORK = 1e9
#: Work of the bound ``theta`` up to which `norm_bound` takes it for its best, and ``sup`` above: some seconds.
THETA_WORK = 30 * BESIDE_WORK
#: Work that each symbol takes besides that of its decomposition: the calls and the sums over taps.
SYMBOL_WORK = 300

#: Unknowns, and entries of a convolution, up to which inverse iteration factorizes the sparse augmented matrix for the
#: smallest singular value: some seconds, and some 100 MB of factors.
FACTORIZED_UNKNOWNS, FACTORIZED_ENTRIES = 60_000, 500_000
#: Work of a sparse LU factorization, rows times bandwidth squared, up to which it is computed for a determinant.
SPARSE_LU_WORK = 3e10

#: Work of all symbols up to which the supremum of a symbol's norm is bracketed more closely: half a second.
SUPREMUM_WORK = 2e9
#: Work that each frequency of the supremum takes besides that of its decomposition, and each tap there.
FREQUENCY_WORK, TAP_WORK = 4e3, 4
#: Taps times frequencies that are summed on the first grid of the supremum; above it one transform takes over, which
#: needs more memory. Some seconds.
SUMMED_WORK = 1e10
