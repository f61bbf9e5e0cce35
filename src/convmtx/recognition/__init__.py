"""From a matrix or a function back to the convolution that it is."""

from convmtx.recognition.nearest import nearest

__all__ = ["nearest"]
