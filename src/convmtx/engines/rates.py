"""How long work takes: seconds for each unit of it. Only the ratios matter.

Medians measured by ``benchmarks/calibrate.py`` on two cores with AVX-512, NumPy 2.4 and its OpenBLAS 0.3.31,
SciPy 1.17; the script prints this table for the machine it runs on.
"""

#: A floating point operation of a wide GEMM, by type; types that are not here have no BLAS.
FLOP = {"f4": 7.0e-12, "f8": 1.4e-11, "c8": 1.0e-11, "c16": 2.0e-11}
#: A GEMM of m rows takes ``1 + THIN/m`` times the operations' time.
THIN = 6
#: A multiply-add where there is no BLAS.
PLAIN = 1.0e-9
#: A byte copied into place, a run of neighbouring entries copied.
BYTE, RUN = 3.0e-11, 6.0e-9
#: Starting a GEMM, a tile, an engine.
GEMM, TILE, CALL = 4.0e-7, 1.5e-5, 2.0e-5
#: A position of a real transform for each doubling of its length, by bytes of its type.
TRANSFORM = {4: 0.35e-9, 8: 0.5e-9}
#: A complex multiply-add of spectra.
PRODUCT = 1.0e-9
