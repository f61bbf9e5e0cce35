"""Results that say how they know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NoReturn

import numpy as np

from convmtx.errors import ImmutableError, sentence
from convmtx.typing import AnyArray, Array

Kind = Literal["exact", "upper", "lower", "interval", "estimate"]
EPS = float(np.finfo(np.float64).eps)


class Certified(np.lib.mixins.NDArrayOperatorsMixin):
    """A number, or an array of numbers, with what is known of it.

    It computes like its value: ``float(r)``, ``int(r)``, ``2 * r``, ``r < 1``, ``np.asarray(r)``, ``r[0]``.

    Attributes
    ----------
    value : float, ndarray, or a scalar of the kernel's library
        The best that is known; of tensors and JAX arrays it is differentiable in the kernel.
    lower, upper : float or ndarray
        The true value lies between them (entry by entry). Equal to the value where it is exact.
    kind : {"exact", "upper", "lower", "interval", "estimate"}
        ``exact``: to rounding. ``upper``, ``lower``: the value is a bound. ``interval``: lower and upper are bounds and
        the value is in between. ``estimate``: nobody guarantees the value; lower and upper still hold.
    method : str
        How it was found, in words.
    converged : bool
        Whether iterations met their tolerance; if they did not, ``method`` says what stopped them.

    Examples
    --------
    >>> import convmtx as cm
    >>> r = cm.norm(cm.conv([1.0, 2.0, 1.0], 8, padding="same", boundary="wrap"))
    >>> float(r), r.kind, r.lower == r.upper
    (4.0, 'exact', True)
    """

    def __init__(
        self,
        value: Array,
        kind: Kind,
        method: str,
        lower: Any = None,
        upper: Any = None,
        iterations: int = 0,
        converged: bool = True,
    ) -> None:
        lower, upper = value if lower is None else lower, value if upper is None else upper
        vars(self).update(value=value, kind=kind, method=method, lower=lower, upper=upper)
        vars(self).update(iterations=iterations, converged=converged)
        for array in (self.value, self.lower, self.upper):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    value: Any
    kind: Kind
    method: str
    lower: Any
    upper: Any
    iterations: int
    converged: bool

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        got = f"result.{name} = ..."
        raise ImmutableError(sentence("Certified", got, "Results cannot be changed", "Use numpy.array(r)"))

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
        """Of the value."""
        return tuple(np.shape(self.value))

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, at: Any) -> Any:
        return self.value[at]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    __hash__ = object.__hash__


def times(found: Certified, scale: float) -> Certified:
    """The same of the map multiplied by a power of two; ends that leave the range of floats are rounded outward.

    What was exact and is too large to be told is an interval up to infinity; complex numbers have no ends.
    """
    with np.errstate(over="ignore"):
        value = found.value * scale
        if found.kind == "exact" and (np.iscomplexobj(value) or np.isfinite(value).all()):
            return Certified(value, found.kind, found.method)
        lower = _product(found.lower, scale, np.where(found.lower < 0, -np.inf, 0.0))
        upper = _product(found.upper, scale, np.inf)
    if found.kind == "exact":
        return Certified(value, "interval", found.method, lower, upper)
    value = upper if found.value is found.upper else value
    return Certified(value, found.kind, found.method, lower, upper, found.iterations, found.converged)


def unmet(stopped: str, rtol: float) -> str:
    """Return what to add to a method whose iterations something stopped before they met the tolerance."""
    return f"; stopped by {stopped} before rtol={rtol:g} was met" if stopped else ""


def _product(end: Any, scale: float, towards: Any) -> Any:
    """The product with a power of two, rounded in that direction where it is not exact."""
    product = end * scale
    exact = product / scale == end
    return product if np.all(exact) else np.where(exact, product, np.nextafter(product, towards))[()]


def outward(upper: float, terms: int) -> float:
    """An upper bound that rounding in sums of so many terms cannot have made too small."""
    return upper * (1 + 4 * EPS * (terms + 8))
