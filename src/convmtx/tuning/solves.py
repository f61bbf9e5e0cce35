"""Runs of every method of solves: building factors, a right-hand side, products and steps of LSMR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from convmtx import rates
from convmtx.construct import conv
from convmtx.costs import Work
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.rates import Rates
from convmtx.solves import pinv, solve
from convmtx.solves.problem import problem_of
from convmtx.solves.select import candidates
from convmtx.tuning.clock import least_seconds
from convmtx.tuning.fit import Timed

#: Numbers of steps of LSMR whose times are subtracted from each other.
FEW, MANY = 5, 25


def plain_map(sizes: tuple[int, ...], taps: int, channels: int = 1, **options: Any) -> ConvOperator:
    """Return a map with a random kernel of so many taps along each axis, outputs as inputs, far from singular."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((*(taps,) * len(sizes), channels, channels)) / (2 * taps ** len(sizes) * channels)
    kernel[(taps // 2,) * len(sizes)] += np.eye(channels)
    return conv(kernel, (*sizes, channels), **{"padding": "same", **options})


def causal_map(n: int, taps: int) -> ConvOperator:
    """Return a map of which every output reads itself and inputs before."""
    return conv(np.append(np.full(taps - 1, 0.1), 1.0), (n,), padding=[(taps - 1, 0)])


def solve_cases() -> list[Callable[[], list[Timed]]]:
    """Return functions that time one method each."""
    factors: list[tuple[Callable[[], LinearMap], str, float]] = []
    for damp in (0.0, 0.1):
        factors += [(partial(plain_map, (n,), 5), "dense", damp) for n in (100, 200, 400)]
        factors += [
            (partial(plain_map, (n,), 3, channels, boundary="wrap"), "blocks", damp)
            for n in (64, 1024) for channels in (1, 2, 4, 8)
        ]  # fmt: skip
        factors += [
            # Under the zero boundary the diagonals would be constant, and the band would not be written entry by entry.
            (partial(plain_map, (n,), taps, boundary="edge"), "band", damp)
            for n in (500, 4000) for taps in (3, 17, 129)
        ]  # fmt: skip
        factors += [(partial(plain_map, (n,), 3), "band", damp) for n in (16, 64)]
        sizes = ((300,), (2000,), (16, 16), (32, 32), (6, 6, 6), (8, 8, 8))
        factors += [(partial(plain_map, size, 3, channels), "sparse", damp) for size in sizes for channels in (1, 2)]
    factors += [(partial(causal_map, n, taps), "substitution", 0.0) for n, taps in ((1000, 3), (8000, 5))]
    factors += [(partial(_normal_map, n), "sparse", 0.0) for n in (300, 1000)]
    return [
        *(partial(_time_factors, *case) for case in factors),
        *(partial(_time_products, n) for n in (100, 1000, 10_000, 60_000)),
        *(partial(_time_applied, n) for n in (64, 512, 4096)),
        *(partial(_time_lsmr, n) for n in (100, 1000, 10_000)),
    ]


def _normal_map(n: int) -> LinearMap:
    op = plain_map((n,), 5)
    return op.H @ op


def _time_factors(build: Callable[[], LinearMap], method: Any, damp: float) -> list[Timed]:
    """Time building the factors of a method, and applying the pseudo-inverse that has them."""
    op = build()
    b = np.ones(op.out_shape)
    factorize: Any = partial(pinv, op, damp=damp, method=method)
    inverse = factorize()
    works = _works_of(op, method, damp)
    seconds = least_seconds([factorize, partial(inverse, b)])
    return [Timed(work, taken) for work, taken in zip(works, seconds, strict=True) if taken is not None and work]


def _works_of(op: LinearMap, method: str, damp: float) -> tuple[Work, Work]:
    """Return the work of building the factors of a method, and of a right-hand side.

    A price is a sum of rates times amounts. So a rate of 1 among rates of 0 makes the price the amount.
    """
    problem = problem_of(op, damp, None).prepare()
    build: dict[str, float] = {}
    per_rhs: dict[str, float] = {}
    for kind in rates.SOLVES:
        with rates.use(Rates(_Only(kind))):
            price = next(candidate.price for candidate in candidates(problem) if candidate.name == method)
        build |= {kind: price.build} if price.build else {}
        per_rhs |= {kind: price.per_rhs} if price.per_rhs else {}
    return build, per_rhs


class _Only(dict[str, float]):
    """Rates that are 1 for one kind of work, and 0 for all others."""

    def __init__(self, kind: str) -> None:
        super().__init__({kind: 1.0})

    def __missing__(self, _kind: str) -> float:
        return 0.0


def _time_products(n: int) -> list[Timed]:
    """Time a product with a sparse matrix."""
    matrix: Any = plain_map((n,), 7).to_sparse()
    (seconds,) = least_seconds([partial(matrix.dot, np.ones(n))])
    return [] if seconds is None else [Timed({"sparse product": 1, "sparse product entry": matrix.nnz}, seconds)]


def _time_applied(n: int) -> list[Timed]:
    """Time applying a convolution by its engine, and a product of maps."""
    op = plain_map((n,), 5)
    normal, x = op.H @ op, np.ones(op.in_shape)
    facts = op.explain()
    seconds, product = least_seconds([partial(op, x), partial(normal, x)])
    assert seconds is not None  # NumPy is there
    assert product is not None
    beside = seconds - facts.engines[facts.engine]["predicted"]
    runs = [Timed({"map number": float(sum(op.shape))}, product)]
    return [*runs, Timed({"applied": 1}, beside)] if beside > 0 else runs


def _time_lsmr(n: int) -> list[Timed]:
    """Time the steps of LSMR."""
    op = plain_map((n,), 5)
    b = np.random.default_rng(0).standard_normal(op.out_shape)
    run: Any = partial(solve, op, b, method="lsmr", rtol=1e-15)
    few, many = (partial(run, maxiter=limit) for limit in (FEW, MANY))
    steps = many().iterations - few().iterations
    less, more = least_seconds([few, many])
    assert less is not None
    assert more is not None
    if steps < 1 or more <= less:  # it converged before, or was disturbed
        return []
    work: Mapping[str, float] = {
        "LSMR step": steps, "LSMR number": steps * sum(op.shape), "sparse product": 2 * steps,
        "sparse product entry": 2 * steps * op.nnz,
    }  # fmt: skip
    return [Timed(work, more - less)]
