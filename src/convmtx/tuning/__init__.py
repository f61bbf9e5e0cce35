"""Fit the rates of the cost model to a machine: what is timed, how rates follow from it, and what they change."""

from convmtx.tuning.grid import Choice as Choice
from convmtx.tuning.tune import Tuning as Tuning
from convmtx.tuning.tune import tune as tune
