"""Backwards: from a matrix or a function to the convolution that it is."""

from convmtx.recognition.nearest import nearest
from convmtx.recognition.probe import probe
from convmtx.recognition.recognition import Recognition
from convmtx.recognition.recognize import recognize

__all__ = ["Recognition", "nearest", "probe", "recognize"]
