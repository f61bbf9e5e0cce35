"""Tune the choice of engines and methods to a machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from convmtx import __version__, rate_file, rates
from convmtx.arguments import flag, number
from convmtx.errors import ArgumentError, door
from convmtx.progress import show_progress
from convmtx.rates import Rates
from convmtx.tuning.clock import shuffled, until
from convmtx.tuning.compiled import compiled_cases
from convmtx.tuning.engines import CASES, time_case
from convmtx.tuning.fit import Timed, fit_rates
from convmtx.tuning.grid import GRID, Choice, compare_choices
from convmtx.tuning.solves import solve_cases

#: Ratio of the mean regret after tuning to that before, above which the new rates are not kept.
WORSE = 1.0
#: Fractions of the time in which engines are timed, engines that JAX compiles, methods of solves, and choices on the
#: grid.
ENGINES, COMPILED, SOLVES, CHOICES = 0.4, 0.2, 0.15, 0.25


@dataclass(frozen=True)
class Tuning:
    """Result of `tune`: the file, the rates in it, and what they change; it prints as a table.

    Attributes
    ----------
    path : str
        File that keeps the rates.
    source : str
        Where the rates before tuning came from; empty for those that are shipped with convmtx.
    seconds : mapping
        Fitted seconds of one unit of each kind of work.
    choices : tuple
        For each convolution of a grid that no rate is fitted to: the engines chosen ``before`` and ``after``, their
        predicted and measured seconds (``predicted_before``, ``measured_after`` and so on), the fastest engine, and
        the regrets ``regret_before`` and ``regret_after``.
    """

    path: str
    source: str
    seconds: Mapping[str, float]
    choices: tuple[Choice, ...]

    @property
    def is_kept(self) -> bool:
        """Whether the rates were written to the file; not if choices on the grid are worse with them than before.

        Then other programs disturbed the measurement, and everything stays as it was.
        """
        return self.regret_after[0] <= WORSE * self.regret_before[0]

    @property
    def regret_before(self) -> tuple[float, float]:
        """Geometric mean and largest of the regrets before tuning."""
        return _mean_and_worst([choice.regret_before for choice in self.choices])

    @property
    def regret_after(self) -> tuple[float, float]:
        """Geometric mean and largest of the regrets after tuning."""
        return _mean_and_worst([choice.regret_after for choice in self.choices])

    def __str__(self) -> str:
        width = max(len(choice.case) for choice in self.choices)
        columns = f"{'engine':<10} {'predicted':>9} {'measured':>9} {'regret':>6}"
        lines = [f"{'':<{width}}  {'before':<37}  after", f"{'convolution':<{width}}  {columns}  {columns}"]
        for c in self.choices:
            before = _cells(c.before, c.predicted_before, c.measured_before, c.regret_before)
            after = _cells(c.after, c.predicted_after, c.measured_after, c.regret_after)
            lines.append(f"{c.case:<{width}}  {before}  {after}")
        for when, (mean, worst) in (("before", self.regret_before), ("after", self.regret_after)):
            lines.append(f"regret {when}: {mean:.2f} in the geometric mean, {worst:.2f} at worst")
        busy = "rates not kept: choices were better before. Tune again when the machine has nothing else to do"
        return "\n".join([*lines, f"rates kept in {self.path}" if self.is_kept else busy])


def _cells(engine: str, predicted: float, measured: float, regret: float) -> str:
    return f"{engine:<10} {1e3 * predicted:>6.3g} ms {1e3 * measured:>6.3g} ms {regret:>6.2f}"


def _mean_and_worst(regrets: list[float]) -> tuple[float, float]:
    return statistics.geometric_mean(regrets), max(regrets)


@door("tune")
def tune(*, seconds: float = 40.0, progress: bool = False) -> Tuning:
    """Fit the cost model to this machine, and keep the rates for all later processes.

    Which engine applies a map, and which method solves, is chosen by predicted seconds: amounts of work times rates.
    The rates that are shipped were fitted to one machine. ``tune`` times every engine and every method of solves at
    many sizes, fits all rates together, and writes them to a file if choices are better with them. From then on
    choices use them, in this process and in later ones. Maps choose anew at their next call, so results may change by
    rounding. Nothing else is ever chosen by timing.

    The file is ``rates.json`` in the user's cache directory (extra ``tune``), or the one that the environment variable
    ``CONVMTX_RATES`` names. It is used only on the same processor, with as many cores, with the same versions of NumPy
    and SciPy, and with the same BLAS kernel. ``CONVMTX_RATES=0`` turns kept rates off. To undo tuning, remove the file.

    Parameters
    ----------
    seconds : float
        Time for measuring, in seconds. A short time leaves out some sizes, and a call that began is never broken off.
    progress : bool
        Show a bar (extra ``progress``).

    Returns
    -------
    Tuning
        The file, the rates, and the choices before and after on a grid of convolutions that no rate is fitted to, with
        the regret of each: the time of the chosen engine over that of the fastest one.

    Raises
    ------
    ArgumentError
        If ``seconds`` is not a positive number, if ``CONVMTX_RATES`` is 0, or if the file cannot be written. Nothing
        has been measured then.
    MissingExtraError
        If platformdirs, which knows the cache directory, is not installed and ``CONVMTX_RATES`` names no file, or if
        tqdm is not installed and ``progress`` is True.

    Notes
    -----
    Run it when the machine has nothing else to do. PyTorch is timed if it is installed, which imports it: from then on
    ``engine="auto"`` considers it in this process. JAX is timed on every kind of device that it has.

    Limits of work, such as the size up to which all singular values are computed, are equal on every machine: they
    decide what is answered, which should not depend on the machine.

    Examples
    --------
    >>> import convmtx as cm
    >>> print(cm.tune())  # doctest: +SKIP
                             before                                after
    convolution              engine  predicted  measured regret    engine  predicted  measured regret
    ...
    """
    seconds = number("seconds", seconds, "a positive number", "Pass seconds=40", fits=lambda value: value > 0)
    visible = flag("progress", progress)
    if rate_file.is_off():
        got = f"the environment variable {rate_file.VARIABLE} is 0"
        raise ArgumentError(got, "Kept rates are turned off by it", "Unset it, or set it to the path of a file")
    target = rate_file.require_target()
    before, shipped = rates.current(), rates.shipped()
    compiled, solves = compiled_cases(), solve_cases()
    with show_progress(visible, "tune", len(CASES) + len(compiled) + len(solves) + len(GRID)) as bar:
        step = partial(bar.update, 1) if bar is not None else _nothing
        with rates.use(shipped):
            runs = _timed([partial(time_case, case) for case in CASES], ENGINES * seconds, step)
            runs += _timed(compiled, COMPILED * seconds, step) if compiled else []
            runs += _timed(solves, SOLVES * seconds, step)
        fitted = fit_rates(runs, shipped.seconds)
        comparisons = [partial(compare_choices, case, before, Rates(fitted)) for case in GRID]
        choices = tuple(compare() for compare in until(comparisons, CHOICES * seconds, step))
    tuning = Tuning(str(target), before.source, MappingProxyType(fitted), choices)
    if tuning.is_kept:
        rate_file.write_rates(target, fitted, __version__)
        rates.replace_current(None)  # the next choice reads the file, as every later process does
    return tuning


def _timed(cases: list[Callable[[], list[Timed]]], seconds: float, step: Callable[[], Any]) -> list[Timed]:
    """Return the runs of all cases that are timed within some seconds."""
    return [run for case in until(shuffled(cases), seconds, step) for run in case()]


def _nothing() -> None:
    """Do what a bar does that is not visible."""
