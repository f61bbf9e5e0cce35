"""Rates: the seconds that one unit of each kind of work takes on a machine.

`SHIPPED` has the rates of one machine. `convmtx.tune` fits the rates of another, and keeps them in a file that
`current` reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MappingProxyType

from convmtx import rate_file

#: Seconds for one unit of each kind of work of the engines, fitted to all engines together.
#: f4, f8, c8 and c16 are NumPy's names of the types that BLAS multiplies: float32, float64, complex64, complex128.
_ENGINES = {
    # A floating point operation of a matrix product, by type; without a type one that BLAS does not do.
    "flop f4": 1.3e-11,
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
    "tile": 3.0e-06,
    "call": 4.0e-06,
    # A position of a real transform, once for each doubling of its length: N log2 N for a length of N. By SciPy 1.17
    # and earlier (pocketfft); `_DUCC` has the seconds of later ones.
    "transform f4": 1.05e-10,
    "transform f8": 2.3e-10,
    # The same of a line that is transformed alone.
    "lone transform f4": 3.5e-10,
    "lone transform f8": 5.8e-10,
    # A multiply-add of two spectra, and a frequency that has a matrix product of its own.
    "product": 2.7e-09,
    "frequency": 1.2e-07,
    # An entry of a sparse matrix that is multiplied by a real number, and a call of SciPy's product.
    "sparse entry": 5.5e-10,
    "sparse call": 4.0e-06,
    # PyTorch: a floating point operation by type, one for filters that are missing, a byte of new memory, a call;
    # a call of one of our engines as an operation that PyTorch differentiates.
    "torch flop f4": 4.0e-12,
    "torch flop f8": 1.0e-11,
    "torch flop c8": 1.2e-10,
    "torch flop c16": 2.4e-10,
    "thin torch flop f4": 1.0e-11,
    "torch fresh byte": 2.0e-10,
    "torch call": 4.0e-05,
    "torch product call": 6.0e-05,
    # Loops that Numba compiles: a multiply-add times the bytes of its number, a block of outputs, a call.
    "compiled byte": 4.5e-12,
    "compiled block": 7.0e-07,
    "compiled call": 3.5e-05,
}

#: Engines in the operations of an array library (`convmtx.engines.traced`), by device. Those of the CPU were fitted to
#: JAX by eye. Those of GPUs are guesses: nobody measured them.
_TRACED = {
    # A multiply-add in a loop that the library compiles from several of them, a byte of the outputs that the loop
    # reads and writes once more in each turn around it, and a turn.
    "cpu term f4": 1.0e-10, "cpu term f8": 1.8e-10, "cpu passed byte": 1.5e-10, "cpu turn": 5.0e-06,
    # A position of a transform, once for each doubling of its length, and a product at a frequency.
    "cpu transform f4": 2.5e-10, "cpu transform f8": 4.5e-10, "cpu product": 1.5e-08,
    # The library's convolution: a multiply-add, one for few filters, an entry of a window, a window of a group.
    "cpu mult f4": 4.0e-11, "cpu mult f8": 9.0e-11, "cpu narrow mult f8": 6.0e-10,
    "cpu patch": 5.0e-10, "cpu window": 6.0e-08, "cpu call": 3.0e-05,
    "gpu term f4": 2.0e-12, "gpu term f8": 4.0e-12, "gpu passed byte": 1.0e-12, "gpu turn": 1.0e-05,
    "gpu transform f4": 2.0e-12, "gpu transform f8": 4.0e-12, "gpu product": 1.0e-11,
    "gpu mult f4": 2.0e-13, "gpu mult f8": 1.0e-12, "gpu narrow mult f8": 1.0e-12,
    "gpu patch": 1.0e-13, "gpu window": 1.0e-11, "gpu call": 3.0e-05,
}  # fmt: skip

#: Solves: seconds with BLAS held to a thread.
SOLVES = {
    # Building any factors, however small.
    "factors": 5.0e-4,
    # An operation in the decomposition of a large matrix, and of a small one. Operations are counted as rows times
    # columns times the smaller of both.
    "large matrix operation": 4.0e-11,
    "small matrix operation": 2.0e-10,
    # A small matrix beside its operations, a number in a transform, a number in vectors.
    "small matrix": 3.0e-6,
    "transformed number": 2.0e-9,
    "vector number": 5.0e-9,
    # Band LU, without and with the augmented system: a call, and unknowns times the powers 0, 1, 2 of half of the
    # bandwidth. Fitted, as is sparse LU, to maps onto outputs like the inputs, of 1 to 3 axes.
    "band LU": 4.0e-5,
    "band LU unknown": 1.4e-7,
    "band LU entry": 1.4e-8,
    "band LU operation": 9.0e-11,
    "augmented band LU": 8.0e-5,
    "augmented band LU unknown": 3.5e-7,
    "augmented band LU entry": 5.5e-8,
    "augmented band LU operation": 9.0e-11,
    # Solving with band factors: unknowns and right-hand sides, times the powers 0, 1 of half of the bandwidth.
    "band solve unknown": 2.0e-8,
    "band solve entry": 2.0e-9,
    # Sparse LU by number of axes, without and with the augmented system, in the units of `SPARSE_LU_POWERS`.
    "sparse LU 1": 2.0e-8,
    "augmented sparse LU 1": 2.0e-7,
    "sparse LU 2": 1.0e-8,
    "augmented sparse LU 2": 1.5e-7,
    "sparse LU 3": 1.4e-10,
    "augmented sparse LU 3": 1.6e-9,
    # Sparse LU of any map: unknowns squared, and unknowns times right-hand sides.
    "any sparse LU": 1.0e-8,
    "any sparse solve": 1.0e-7,
    # Substitution: an entry, and an entry for a right-hand side.
    "substitution": 2.0e-7,
    "substitution solve": 1.0e-8,
    # A product with a sparse matrix, and each entry of it.
    "sparse product": 1.0e-5,
    "sparse product entry": 5.5e-10,
    # Applying a convolution, beside the work of its engine; an input or output of a map that is not a convolution.
    "applied": 1.5e-5,
    "map number": 1.0e-7,
    # A step of LSMR beside applying the map and its adjoint, and each input and output in it.
    "LSMR step": 3.0e-5,
    "LSMR number": 4.0e-9,
}

#: Seconds of one unit of each kind of work that are shipped with convmtx.
SHIPPED: Mapping[str, float] = MappingProxyType({**_ENGINES, **_TRACED, **SOLVES})
#: Seconds of transforms by SciPy 1.18 and later (ducc). On the same machine they took 1 / 1.9 of those of 1.17 in
#: single precision and 1 / 1.15 in double precision, forth and back, real and complex.
_DUCC = {"transform f4": 5.5e-11, "transform f8": 2.0e-10}


@dataclass(frozen=True, eq=False)
class Rates:
    """Seconds of one unit of each kind of work on a machine, and where they come from."""

    seconds: Mapping[str, float]
    #: Words for `op.explain()`; empty for the rates that are shipped.
    source: str = ""


def shipped() -> Rates:
    """Return the rates that are shipped, for the transforms of the SciPy that is installed."""
    from scipy import __version__  # here, because the command line starts without SciPy

    major, minor = (int(number) for number in re.findall(r"\d+", __version__)[:2])
    return Rates({**SHIPPED, **_DUCC} if (major, minor) >= (1, 18) else SHIPPED)


#: Rates of this process, once a choice needed them; rates of a context, which `use` puts before them.
_rates: Rates | None = None
_rates_here: ContextVar[Rates | None] = ContextVar("rates", default=None)


def current() -> Rates:
    """Return the rates that choices use: those kept in a file for this machine, or else those that are shipped."""
    global _rates
    here = _rates_here.get()
    if here is not None:
        return here
    if _rates is None:
        kept = rate_file.read_rates(SHIPPED)
        _rates = replace(shipped(), source=kept.note) if kept.seconds is None else Rates(kept.seconds, kept.note)
    return _rates


def replace_current(new: Rates | None) -> None:
    """Let all choices from now on use other rates; with None, read the file again at the next choice."""
    global _rates
    _rates = new


@contextmanager
def use(here: Rates) -> Iterator[None]:
    """Use other rates in this context alone: other threads do not see them."""
    token = _rates_here.set(here)
    try:
        yield
    finally:
        _rates_here.reset(token)


def rate(kind: str) -> float:
    """Return the seconds of one unit of a kind of work."""
    return current().seconds[kind]
