"""Limits of work: when spectra decompose, when they bound or iterate instead, and when they refuse.

Work has the unit of a dense decomposition, ``rows * columns * min(rows, columns)``. One core does some 3e9 of it a
second.
"""

from __future__ import annotations

#: Work of a decomposition up to which all singular values are computed although few are wanted: less than a second.
#: Exact values are worth that, even if a few of them could be iterated sooner.
SMALL_WORK = 2e9
#: Work of a decomposition up to which it is computed for questions that only all singular values answer: some 10 s.
PATIENT_WORK = 3e10
#: Work of about one hour. A request for all singular values that takes longer is refused, because a decomposition
#: cannot be interrupted.
HOUR_OF_WORK = 2e13

#: Work of a bound up to which it is computed beside the Lanczos process, for a closer upper end: some 0.3 s.
BESIDE_WORK = 1e9
#: Work of the bound ``theta`` up to which `norm_bound` takes it for its best, and ``sup`` above: some 10 s.
THETA_WORK = 30 * BESIDE_WORK
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
#: Work that a frequency of the supremum takes besides that of its decomposition, and a tap there.
FREQUENCY_WORK, TAP_WORK = 4e3, 4
#: Taps times frequencies that are summed on the first grid of the supremum: some seconds. Above it one transform takes
#: over, which needs more memory.
SUMMED_WORK = 1e10
