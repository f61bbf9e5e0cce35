"""Sizes and indices of a convolution: integers only, without kernel values."""

from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry, Layout
from convmtx.geometry.meetings import Meetings, meetings
from convmtx.geometry.reader_runs import most_reader_runs, reader_runs
from convmtx.geometry.reads import Lists, Sums, readers, reads
from convmtx.geometry.run import Run
from convmtx.geometry.runs import met, most_runs, runs, sums

__all__ = [
    "Axis",
    "Geometry",
    "Layout",
    "Lists",
    "Meetings",
    "Run",
    "Sums",
    "meetings",
    "met",
    "most_reader_runs",
    "most_runs",
    "reader_runs",
    "readers",
    "reads",
    "runs",
    "sums",
]
