"""Sizes and indices of a convolution: integers only, without kernel values."""

from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry, Layout
from convmtx.geometry.meetings import Meetings, meetings
from convmtx.geometry.reader_runs import most_reader_runs, reader_runs
from convmtx.geometry.reads import Lists, Sums, read_entries, readers, reads
from convmtx.geometry.run import Run
from convmtx.geometry.runs import met, most_runs, runs, sums
from convmtx.geometry.windows import count_own, count_reads, count_taps, join_places

__all__ = [
    "Axis",
    "Geometry",
    "Layout",
    "Lists",
    "Meetings",
    "Run",
    "Sums",
    "count_own",
    "count_reads",
    "count_taps",
    "join_places",
    "meetings",
    "met",
    "most_reader_runs",
    "most_runs",
    "read_entries",
    "reader_runs",
    "readers",
    "reads",
    "runs",
    "sums",
]
