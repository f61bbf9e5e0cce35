"""Signals that end a program: exit codes as shells have them, one line, and nothing left behind."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zarr

from convmtx.cli import main
from convmtx.cli.signals import Stoppable, Stopped

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")]


@pytest.fixture(autouse=True)
def handlers():
    """Python's own handlers, also where the tests were started so that signals are ignored, as by nohup.

    A test must leave them as they were.
    """
    outside = [signal.getsignal(number) for number, _, _ in SIGNALS]
    own = [signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL]
    for (number, _, _), handler in zip(SIGNALS, own, strict=True):
        signal.signal(number, handler)
    yield
    left = [signal.getsignal(number) for number, _, _ in SIGNALS]
    for (number, _, _), handler in zip(SIGNALS, outside, strict=True):
        signal.signal(number, handler)
    assert left == own


@pytest.mark.parametrize(("number", "code", "words"), SIGNALS)
@pytest.mark.parametrize(
    ("suffix", "writer"),
    [(".npz", "scipy.sparse.save_npz"), (".npy", "numpy.save"), (".mtx", "convmtx.storage.slabs.Slabs.build"),
     (".mat", "scipy.io.savemat"), (".h5", "convmtx.storage.slabs.Slabs.build"), (".zarr", "zarr.Array.__setitem__")],
)  # fmt: skip
def test_a_signal_while_writing(here, capsys, monkeypatch, number, code, words, suffix, writer):
    def stop(file, *_, **__):
        with contextlib.suppress(AttributeError, TypeError):
            file.write(b"half of it")
        os.kill(os.getpid(), number)
        time.sleep(0.05)

    monkeypatch.setattr(writer, stop)
    assert main(["matrix", "sobel", "--input", "5,6", "-o", f"W{suffix}"]) == code
    assert capsys.readouterr().err == f"convmtx: {words}\n"
    assert os.listdir() == []


@pytest.mark.parametrize("suffix", [".npz", ".zarr"])
@pytest.mark.parametrize("early", [True, False])
def test_a_signal_while_a_complete_file_gets_its_name_is_too_late(here, capsys, monkeypatch, suffix, early):
    """Else the exit code would say that nothing was written, and the file would be there."""
    give_name = pathlib.Path.replace

    def interrupted(path, target):
        steps = [lambda: os.kill(os.getpid(), signal.SIGINT), lambda: give_name(path, target)]
        if target.name != f"W{suffix}":  # a chunk of zarr
            steps = steps[1:]
        for step in steps if early else steps[::-1]:
            step()

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    assert main(["matrix", "sobel", "--input", "5,6", "-o", f"W{suffix}"]) == 0
    assert capsys.readouterr().err == ""
    assert os.listdir() == [f"W{suffix}"]


def test_an_interrupt_waits_for_the_threads_of_zarr(here, capsys, monkeypatch):
    """What is being written when the signal comes is written before its folder is removed, and nothing after."""
    written, put = [], zarr.Array.__setitem__

    def slow(array, key, values):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        put(array, key, values)
        written.append(key)

    monkeypatch.setattr(zarr.Array, "__setitem__", slow)
    np.save("k.npy", np.ones((40, 40)))
    assert main(["matrix", "k.npy", "--input", "90,90", "-o", "W.zarr"]) == 130
    done = len(written)
    assert done <= 4  # two jobs of two arrays
    time.sleep(0.5)
    assert (os.listdir(), len(written)) == (["k.npy"], done)
    assert capsys.readouterr().err == "convmtx: interrupted\n"


def test_signals_that_follow_do_not_interrupt_the_cleaning_up(here, capsys, monkeypatch):
    from pathlib import Path

    def stop(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)

    remove = Path.unlink

    def unlink(path, missing_ok=False):
        if os.path.lexists("started"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        remove(path, missing_ok)

    def save(*_, **__):
        os.mkdir("started")
        stop()

    monkeypatch.setattr("numpy.save", save)
    monkeypatch.setattr(Path, "unlink", unlink)
    assert main(["matrix", "sobel", "--input", "5,6", "-o", "W.npy"]) == 143
    assert os.listdir() == ["started"]
    assert capsys.readouterr().err == "convmtx: terminated\n"


def test_errors_of_what_a_signal_left_half_done_are_not_told(here, capsys, monkeypatch):
    """An archive that is closed while a member is open raises, and does so again when it is deleted."""
    closed = []

    def close(_):
        if not closed:
            closed.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("zipfile._ZipWriteFile.close", close)
    assert main(["matrix", "sobel", "--input", "5,6", "-o", "W.npz"]) == 143
    assert capsys.readouterr().err == "convmtx: terminated\n"
    assert os.listdir() == []


def test_a_signal_while_an_object_is_deleted_is_not_lost():
    class Deleted:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    def end():
        with Stoppable():
            held = Deleted()
            del held
            for _ in range(100):
                time.sleep(0.01)

    with pytest.raises(Stopped) as stop:
        end()
    assert stop.value.code == 143


def test_handlers_of_others_are_left_alone(here, monkeypatch):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        monkeypatch.setattr("numpy.save", lambda *_, **__: [os.kill(os.getpid(), n) for n in (15, 1)])
        assert main(["matrix", "sobel", "--input", "5,6", "-o", "W.npy"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, ignored)
    assert heard == [signal.SIGTERM]


def test_a_thread_changes_no_handlers(here):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["matrix", "sobel", "--input", "5,6", "-o", "W.npy"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(("number", "code", "words"), SIGNALS)
def test_the_program_ends_in_one_line(here, number, code, words):
    arguments = ["-m", "convmtx", "plot", "spectrum", "box:3", "--input", "60,60", "--padding", "1", "-o", "W.png"]
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline()  # the kernel is told: the command runs
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (code, f"convmtx: {words}\n".encode())
    assert os.listdir() == []
