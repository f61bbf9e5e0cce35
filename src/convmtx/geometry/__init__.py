"""Sizes and indices of a convolution: integers only, no kernel values."""

from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry, Layout
from convmtx.geometry.runs import Run, runs, sums

__all__ = ["Axis", "Geometry", "Layout", "Run", "runs", "sums"]
