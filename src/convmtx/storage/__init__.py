"""Files and stores: matrices and images that are written in jobs, and files that are not trusted."""

from convmtx.storage.formats.matlab import read_mat
from convmtx.storage.formats.npy import read_npy, read_npz
from convmtx.storage.load import READ_SUFFIXES, load, read_matrix
from convmtx.storage.run import run
from convmtx.storage.sandbox import Answer, allow_time, read_in_sandbox
from convmtx.storage.save import FORMS, check_matrix_target, save, write_matrix
from convmtx.storage.source import Source, find_source, locate

__all__ = [
    "FORMS",
    "READ_SUFFIXES",
    "Answer",
    "Source",
    "allow_time",
    "check_matrix_target",
    "find_source",
    "load",
    "locate",
    "read_in_sandbox",
    "read_mat",
    "read_matrix",
    "read_npy",
    "read_npz",
    "run",
    "save",
    "write_matrix",
]
