"""Sizes and indices of a convolution: integers only, no kernel values."""

from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry, Layout
from convmtx.geometry.reads import Lists, Sums, readers, reads
from convmtx.geometry.runs import Run, met, runs, sums

__all__ = ["Axis", "Geometry", "Layout", "Lists", "Run", "Sums", "met", "readers", "reads", "runs", "sums"]
