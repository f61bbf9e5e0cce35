"""Backwards: from a matrix or a function to the convolution that it is."""

from convmtx.recognition.comparison import Comparison, compare, compared_dtype, entries_differ
from convmtx.recognition.explanations import Diagnosis, diagnose
from convmtx.recognition.nearest import nearest
from convmtx.recognition.probe import probe
from convmtx.recognition.recognition import Recognition
from convmtx.recognition.recognize import recognize

__all__ = [
    "Comparison",
    "Diagnosis",
    "Recognition",
    "compare",
    "compared_dtype",
    "diagnose",
    "entries_differ",
    "nearest",
    "probe",
    "recognize",
]
