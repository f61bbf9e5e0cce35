"""Sizes and indices of a convolution: integers only, without kernel values."""

from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry, Layout
from convmtx.geometry.lookup import Lists, Sums, list_readers, list_reads, read_entries
from convmtx.geometry.meetings import Meetings, meetings
from convmtx.geometry.reader_runs import most_reader_runs, reader_runs
from convmtx.geometry.reads import Copy, Window, copies, halo, halved, halved_back, pieces, window
from convmtx.geometry.run import Run
from convmtx.geometry.runs import met, most_runs, runs, sums
from convmtx.geometry.windows import count_own, count_reads, count_taps, join_places

__all__ = [
    "Axis",
    "Copy",
    "Geometry",
    "Layout",
    "Lists",
    "Meetings",
    "Run",
    "Sums",
    "Window",
    "copies",
    "count_own",
    "count_reads",
    "count_taps",
    "halo",
    "halved",
    "halved_back",
    "join_places",
    "list_readers",
    "list_reads",
    "meetings",
    "met",
    "most_reader_runs",
    "most_runs",
    "pieces",
    "read_entries",
    "reader_runs",
    "runs",
    "sums",
    "window",
]
