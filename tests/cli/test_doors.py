"""Where results go is looked at before the work: folders, names, and room on the disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TARGETS = {
    "matrix": ["matrix", "none.npy", "--input", "5,6", "-o", "TARGET.npz"],
    "matrix to a folder": ["matrix", "none.npy", "--input", "5,6", "-o", "TARGET.zarr"],
    "spectrum": ["spectrum", "none.npy", "--input", "5,6", "-o", "TARGET.npy"],
    "solve": ["solve", "none.npy", "seen.npy", "-o", "TARGET.png"],
    "plot": ["plot", "matrix", "none.npy", "--input", "5,6", "-o", "TARGET.svg"],
    "explore": ["explore", "none.npy", "--input", "5,6", "-o", "TARGET.html"],
    "kernel": ["recognize", "none.npy", "-o", "TARGET.npy"],
    "page": ["recognize", "none.npy", "--explore", "TARGET.html"],
    "demo": ["demo", "--picture", "TARGET.png"],
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_folder_in_which_no_file_can_be_made_is_refused_before_anything_is_read(here, refusal, monkeypatch, name):
    """Nor is the kernel missed. Root may write into every folder, so the system's refusal is made up here."""
    arguments = [each.replace("TARGET", f"{here}/locked/W") for each in TARGETS[name]]
    os.mkdir("locked")
    make = Path.open

    def refuse(path, mode="r", *rest, **settings):
        if path.parent.name == "locked" and mode == "xb":
            raise PermissionError(13, "Permission denied", str(path))
        return make(path, mode, *rest, **settings)

    monkeypatch.setattr(Path, "open", refuse)
    told = refusal(*arguments)
    assert "cannot be written. No file can be made in" in told
    assert "locked (Permission denied). Choose another name" in told
    assert os.listdir("locked") == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
def test_a_folder_that_the_system_keeps_to_itself(here, refusal):
    assert "/proc/W.npz cannot be written. No file can be made in /proc" in refusal(
        "matrix", "sobel", "--input", "5,6", "-o", "/proc/W.npz"
    )


def test_names_that_are_too_long(here, refusal):
    assert "cannot be written. File name too long" in refusal(
        "matrix", "sobel", "--input", "5,6", "-o", "W" * 300 + ".npz"
    )


@pytest.mark.parametrize("suffix", [".npy", ".mtx", ".h5"])
def test_a_disk_that_is_too_small_is_told_before_the_matrix_is_made(here, refusal, monkeypatch, suffix):
    real = shutil.disk_usage(".")
    monkeypatch.setattr("shutil.disk_usage", lambda _: real._replace(free=500))
    monkeypatch.setattr("convmtx.maps.convolution.ConvOperator.to_dense", None)
    monkeypatch.setattr("convmtx.maps.convolution.ConvOperator.to_sparse", None)
    assert "There is room for 500 B" in refusal("matrix", "sobel", "--input", "30,30", "-o", f"W{suffix}")


@pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")
def test_a_limit_of_files_is_told_before_the_matrix_is_made(here):
    command = f"ulimit -f 8; exec {sys.executable} -m convmtx matrix sobel --input 60,60 -o W.npy"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "made in" in done.stdout) == (2, False)
    assert "it takes at least 96.9 MB. There is room for 4.1 kB" in done.stderr


def test_complaints_are_no_longer_than_a_screen(here, refusal):
    assert len(refusal("info", "x" * 100_000, "--input", "5,6")) < 1100
