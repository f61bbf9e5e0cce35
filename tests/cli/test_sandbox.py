"""Reading in a process of its own: whatever happens there is one sentence here, and in time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from convmtx.cli import main
from convmtx.errors import ArgumentError
from convmtx.storage import sandbox
from convmtx.storage.sandbox import allow_time, read_in_sandbox
from convmtx.storage.source import Source

posix = pytest.mark.skipif(os.name != "posix", reason="limits and signals as POSIX has them")


# Readers, called in the new process


def numbers(source, factor):
    print("lines of a library")
    os.write(2, b"HDF5-DIAG: and of one in C\n")
    arrays = [np.arange(6.0).reshape(2, 3).T * factor, np.zeros((0, 2), "i4"), np.array(3 + 1j)]
    return {"path": str(source.path), "member": source.member}, arrays


def loops(_source):
    while True:
        pass


def crashes(_source):
    os.kill(os.getpid(), signal.SIGSEGV)


def ends(_source):
    os._exit(0)


def allocates(_source):
    return {}, [np.ones(1 << 50)]


def refuses(source):
    raise source.not_numbers("words")


def fails(_source):
    raise ZeroDivisionError


def cannot_open(source):
    with open(source.path):
        return {}, []


def takes_long(_source):
    sandbox._limit_seconds(0)  # the shortest there is, of one to two seconds
    allow_time(10**9)
    end = time.process_time() + 2.2
    while time.process_time() < end:
        pass
    return {}, []


SOURCE = Source(Path("k.h5"), "K")


def test_arrays_come_back_as_they_are_and_nothing_is_printed(here, capfd):
    facts, (array, empty, scalar) = read_in_sandbox(SOURCE, numbers, 2)
    assert facts == {"path": "k.h5", "member": "K"}
    assert array.tolist() == [[0, 6], [2, 8], [4, 10]]
    assert (empty.shape, empty.dtype, scalar.shape, scalar[()]) == ((0, 2), np.int32, (), 3 + 1j)
    assert capfd.readouterr() == ("", "")


@posix
@pytest.mark.parametrize(
    ("reader", "words"),
    [(loops, "not done after 5 s of computing"), (crashes, "crashes the library"), (ends, "crashes the library")],
)
def test_a_library_that_hangs_or_crashes_is_a_damaged_file(here, reader, words):
    with pytest.raises(ArgumentError, match=rf"k.h5 is damaged. .*{words}"):
        read_in_sandbox(SOURCE, reader)


@posix
def test_large_arrays_are_given_more_time(here):
    assert read_in_sandbox(SOURCE, takes_long) == ({}, [])


@pytest.mark.parametrize(
    ("reader", "error", "words"),
    [
        (refuses, ArgumentError, "k.h5 contains words"),
        (fails, ValueError, "ZeroDivisionError"),
        (allocates, MemoryError, "allocate"),
        (cannot_open, OSError, "No such file"),
    ],
)
def test_errors_are_raised_here(here, reader, error, words):
    with pytest.raises(error, match=words):
        read_in_sandbox(SOURCE, reader)


@posix
def test_memory_is_limited(here):
    """A picture of many pixels beyond the limit of this process is refused by it, and not by the system."""
    Image.fromarray(np.zeros((9000, 9000), bool)).save("k.png")
    assert "takes 3.89 GB" in _limited("info k.png --input 9000,9000", kilobytes=3_000_000)


def _limited(arguments, kilobytes):
    command = f"ulimit -v {kilobytes}; exec {sys.executable} -m convmtx {arguments}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    return done.stderr


def test_numbers_of_hdf5_that_were_never_written(here, refusal):
    """A file of a few kilobytes may tell of gigabytes, which HDF5 would fill with zeros."""
    with h5py.File("k.mat", "w") as file:
        file.create_dataset("K", (1 << 14, 1 << 14), "f8", chunks=(64, 64), compression="gzip")
    assert "k.mat is damaged. It has" in refusal("info", "k.mat", "--input", "5,6")


def test_numbers_of_hdf5_that_are_packed_well(here, facts):
    with h5py.File("k.mat", "w") as file:
        file.create_dataset("K", data=np.ones((1000, 1000)), chunks=(1000, 1000), compression="gzip")
    assert os.path.getsize("k.mat") < 20_000
    assert facts("info", "k.mat", "--input", "1000,1000")["nnz"] == 10**6


def test_lines_of_libraries_in_c_are_not_heard(here, capfd):
    """Libtiff writes on stderr what it thinks of a file, whatever Python does."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    Image.fromarray(pixels).save("k.tif", compression="tiff_lzw")
    content = bytearray(Path("k.tif").read_bytes())
    content[300:310] = b"\xff" * 10
    Path("k.tif").write_bytes(content)
    with pytest.raises(OSError, match="decoder error"), Image.open("k.tif") as image:
        image.load()
    assert "tempfile.tif" in capfd.readouterr().err
    assert main(["info", "k.tif", "--input", "40,40"]) == 2
    told = capfd.readouterr().err
    assert "k.tif cannot be read as .tif (decoder error -2)" in told
    assert told.count("\n") == 1
