"""Results with what is certain of them: bounds, a kind, and how they were computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal, NoReturn

import numpy as np

from convmtx.arguments import one_of
from convmtx.errors import ImmutableError, door
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

Kind = Literal["exact", "upper", "lower", "interval", "estimate"]
KINDS: tuple[str, ...] = Kind.__args__  # type: ignore[attr-defined]
#: Distance of the ends of a number over its magnitude up to which they agree in 8 digits, half of a float's 16.
HALF = EPS**0.5


@dataclass(frozen=True, eq=False, repr=False)
class _Facts:
    """Fields of a result, with the defaults of `Certified`: ends that are left out are the value."""

    value: Any
    kind: Kind = None  # type: ignore[assignment]  # refused below
    method: str = ""
    lower: Any = None
    upper: Any = None
    iterations: int = 0
    converged: bool = True

    def __post_init__(self) -> None:
        with door("Certified"):
            one_of("kind", self.kind, KINDS)
        for name in ("lower", "upper"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.value)
        for array in (self.value, self.lower, self.upper):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)


class Certified(_Facts, np.lib.mixins.NDArrayOperatorsMixin):
    """A number or an array of numbers, with bounds and a statement of how certain it is.

    It computes like its value: ``float(r)``, ``int(r)``, ``2 * r``, ``r < 1``, ``np.asarray(r)``, ``r[0]``.

    Attributes
    ----------
    value : float, ndarray, or a scalar of the kernel's library
        The best value that is known. With a kernel of PyTorch or JAX, you can differentiate it with respect to the
        kernel if the documentation of the function says so.
    lower, upper : float or ndarray
        Bounds of the true value, entry by entry; for complex numbers, of real and imaginary parts. The true value is
        that of the map whose entries are the exact sums of kernel values. Bounds that come from a random start are
        wrong with a probability of at most 1e-10; the documentation of the function says so.
    kind : {"exact", "upper", "lower", "interval", "estimate"}
        ``exact``: the value is exact up to rounding. ``lower`` and ``upper`` show how far rounding may have moved it.
        For singular values, this is a small multiple of eps times the norm. They equal the value if nothing was
        rounded. ``upper``, ``lower``: the value is a bound. ``interval``: the value lies between lower and upper.
        ``estimate``: the value is not guaranteed; the documentation of the function says what its bounds mean.
    method : str
        Words that say how the value was computed.
    iterations : int
        Number of steps; 0 if nothing was iterated.
    converged : bool
        Whether iterations met their tolerance. If not, ``method`` says what stopped them.

    Examples
    --------
    >>> import convmtx as cm
    >>> r = cm.norm(cm.conv([1.0, 2.0, 1.0], 8, padding="same", boundary="wrap"))
    >>> float(r), r.kind, bool(r.lower <= 4 <= r.upper), bool(r.upper - r.lower < 1e-13)
    (4.0, 'exact', True, True)
    """

    @door("Certified")
    def __setattr__(self, name: str, _value: object) -> NoReturn:
        got = f"result.{name} was assigned"
        raise ImmutableError(got, "Results cannot be changed", "Use numpy.array(r)")

    def __repr__(self) -> str:
        if self.shape:
            ends = f"{self.shape[0]} values"
        elif self.kind == "exact":
            ends = f"{np.asarray(self)[()]:.8g}"
        else:
            ends = f"{float(self):.8g} in [{float(self.lower):.8g}, {float(self.upper):.8g}]"
        return f"Certified({ends}, {self.kind}: {self.method})"

    def __float__(self) -> float:
        return float(np.asarray(self))

    def __int__(self) -> int:
        return int(np.asarray(self))

    def __complex__(self) -> complex:
        return complex(np.asarray(self))

    def __bool__(self) -> bool:
        return bool(np.asarray(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(np.asarray(self)[()].item(), digits)

    def __format__(self, spec: str) -> str:
        return format(np.asarray(self)[()], spec) if spec else repr(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        value = self.value.detach() if hasattr(self.value, "detach") else self.value
        return np.array(value, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = (np.asarray(x) if isinstance(x, Certified) else x for x in inputs)
        return getattr(ufunc, method)(*plain, **options)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(np.shape(self.value))

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, at: Any) -> Any:
        return self.value[at]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    __hash__ = object.__hash__


def rounded(values: Any, slack: Any, method: str, least: float | None = None) -> Certified:
    """Return values that are exact to rounding, which moved each by at most ``slack``; none is below ``least``."""
    around = slack * (1 + 1j) if np.iscomplexobj(values) else slack
    lower = values - around
    return Certified(values, "exact", method, lower if least is None else np.maximum(lower, least), values + around)


def enclosed(value: float, lower: float, upper: float, method: str, unit: float = 0.0) -> Certified:
    """Return a number between its ends: ``exact`` if these agree in 8 digits of it or of the unit."""
    value = min(max(value, lower), upper)
    close = lower == upper or upper - lower <= HALF * max(abs(value), unit) < np.inf
    return Certified(value, "exact" if close else "interval", method, lower, upper)


def combined(
    results: Sequence[Certified], number_of: Callable[[Sequence[float]], float], name: str, terms: float = 8
) -> Certified:
    """Return a number of numbers >= 0, between the numbers of their ends; it increases with each.

    ``terms`` is how many roundings may have moved the number.
    """
    value, lower, upper = (number_of([getattr(r, end) for r in results]) for end in ("value", "lower", "upper"))
    is_exact = all(result.kind == "exact" for result in results)
    methods = ", ".join(dict.fromkeys(result.method for result in results))
    slack = 4 * EPS * terms
    return Certified(
        value, "exact" if is_exact else "interval", f"{name}: {methods}", lower * (1 - slack), upper * (1 + slack),
        sum(result.iterations for result in results), all(result.converged for result in results),
    )  # fmt: skip


def times(result: Certified, scale: float) -> Certified:
    """Return the result for the map times a power of two; ends that leave the range of floats are rounded outward.

    An exact value that is too large for a float becomes an interval up to infinity.
    """
    with np.errstate(over="ignore"):
        lower, upper = (_product(end, scale, up) for end, up in ((result.lower, False), (result.upper, True)))
        value = upper if result.value is result.upper and result.kind == "upper" else result.value * scale
    kind = "interval" if result.kind == "exact" and not np.isfinite(value).all() else result.kind
    return replace(result, value=value, kind=kind, lower=lower, upper=upper)


class Stop(StrEnum):
    """Reason why an iteration ended before its tolerance was met; the value is the word that results print."""

    MAXITER = "maxiter"
    #: The vectors of further steps do not fit in memory.
    MEMORY = "memory"
    #: The vectors span everything.
    ROUNDING = "rounding"
    #: Inverse iteration made as many steps as it may.
    STEPS = "30 steps"


def unmet(stopped: Stop | None, rtol: float) -> str:
    """Return words to add to a method whose iterations stopped before they met the tolerance; else nothing."""
    return f"; stopped by {stopped} before rtol={rtol:g} was met" if stopped is not None else ""


def _product(end: Any, scale: float, up: bool) -> Any:
    """Return the product with a power of two, rounded up or down if it is not exact."""
    if np.iscomplexobj(end):
        parts = np.stack([_product(np.real(end), scale, up), _product(np.imag(end), scale, up)], axis=-1)
        return parts.view(complex)[..., 0]
    product = end * scale
    exact = product / scale == end
    towards = np.inf if up else np.where(end < 0, -np.inf, 0.0)
    return product if np.all(exact) else np.where(exact, product, np.nextafter(product, towards))[()]


def outward(upper: float, terms: float, size: float = 0.0) -> float:
    """Return an upper bound raised by more than rounding in sums of so many terms can have lowered it.

    ``size`` is the bound of the map of magnitudes, in which nothing cancels.
    """
    return upper + max(size, upper) * 4 * EPS * (terms + 8)


def outward_to(dtype: Any, lower: float, upper: float) -> tuple[float, float]:
    """Return ends rounded outward to a type of fewer digits: a value that is rounded to it lies between them."""
    with np.errstate(over="ignore"):
        low, high = np.asarray(lower).astype(dtype), np.asarray(upper).astype(dtype)
    low = np.nextafter(low, dtype.type(0)) if float(low) > lower else low
    high = np.nextafter(high, dtype.type(np.inf)) if float(high) < upper else high
    return float(low), float(high)
