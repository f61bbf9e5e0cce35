"""Reading in a child process: damaged files can crash C libraries, hang them, or make them print.

The parent writes one line of JSON to the child's stdin. The child answers on stdout with lines of JSON, and after the
last line with the bytes of its arrays. What libraries print is thrown away. The child's processor time and memory are
limited, and so is the time that the parent waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Event, Timer
from typing import IO, Any

import numpy as np

from convmtx import memory
from convmtx.errors import ArgumentError, ConvmtxError
from convmtx.storage.source import Source
from convmtx.typing import AnyArray

#: Facts that can be written as JSON, and arrays of numbers.
Answer = tuple[dict[str, Any], list[AnyArray]]

#: Limit of processor time, in seconds, before the size of the numbers is known.
_SECONDS = 5
#: Bytes of numbers for which the limit grows by a second: any library reads faster than this.
_BYTES_PER_SECOND = 20_000_000
#: Seconds of the clock that the parent waits for an answer. More than processor time: a busy machine is not a damaged
#: file.
_PATIENCE = 60

_PROGRAM = "import sys; sys.path[:] = {path}; from convmtx.storage.sandbox import serve; serve()"
#: Each thread of a BLAS library reserves memory, and reading needs none of them.
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}


def read_in_sandbox(source: Source, reader: Callable[..., Answer], *options: Any) -> Answer:
    """Return ``reader(source, *options)``, computed in a child process.

    ``reader`` is a function of a module, and ``options`` can be written as JSON. Its errors are raised here, with their
    messages.
    """
    request = {"module": reader.__module__, "function": reader.__qualname__, "options": options,
               "source": [str(source.path), source.member, source.role]}  # fmt: skip
    command = [sys.executable, "-c", _PROGRAM.format(path=[str(folder) for folder in sys.path])]
    pipe, environment = subprocess.PIPE, {**os.environ, **_ONE_THREAD}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment) as child:
        try:
            return _receive(source, child, json.dumps(request).encode())
        finally:
            child.kill()


def _receive(source: Source, child: subprocess.Popen[bytes], request: bytes) -> Answer:
    """Send the request and wait for the answer."""
    to_child, from_child = child.stdin, child.stdout
    assert to_child is not None
    assert from_child is not None
    with contextlib.suppress(BrokenPipeError):  # a child that has died sends no answer, which is handled below
        to_child.write(request)
        to_child.close()
    seconds = _PATIENCE
    while True:
        with _kill_after(child, seconds) as timed_out:
            line = from_child.readline()
        if not line:
            raise _no_answer(source, child.wait(), timed_out.is_set())
        message = json.loads(line)
        if "more_seconds" in message:
            seconds = _PATIENCE + message["more_seconds"] * _PATIENCE // _SECONDS
        elif "arrays" in message:
            arrays = [np.empty(shape, dtype) for dtype, shape in message["arrays"]]
            if not all(_fill(array, from_child) for array in arrays):
                raise _no_answer(source, child.wait(), timed_out=False)
            return message["facts"], arrays
        else:
            raise _error_from(message)


@contextlib.contextmanager
def _kill_after(child: subprocess.Popen[bytes], seconds: int) -> Iterator[Event]:
    """Kill the child after so many seconds, and set an event, unless the context ends before."""
    timed_out = Event()

    def give_up() -> None:
        timed_out.set()
        child.kill()

    timer = Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield timed_out
    finally:
        timer.cancel()


def _fill(array: AnyArray, file: IO[bytes]) -> bool:
    """Read the bytes of an array; return whether all of them came."""
    remaining = array.reshape(-1).view(np.uint8).data
    while len(remaining):
        count = file.readinto(remaining)  # type: ignore[attr-defined]
        if not count:
            return False
        remaining = remaining[count:]
    return True


def _no_answer(source: Source, code: int, timed_out: bool) -> ArgumentError:
    """Return the error for a child that ended without an answer."""
    if timed_out or code == -getattr(signal, "SIGXCPU", 0):
        return source.damaged(f"The library that reads it is not done after {_SECONDS} s of computing")
    return source.damaged("It crashes the library that reads it")


def _error_from(message: dict[str, Any]) -> Exception:
    """Return the error that `_describe` described."""
    kinds: dict[str, type[Exception]] = {"os": OSError, "refused": ArgumentError, "memory": MemoryError}
    return kinds.get(message["error"], ValueError)(*message["parts"])


# In the child process


def serve() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries that print to stdout must not print into the answer
    global _send
    _send = partial(_write, answer)
    reader: Callable[..., Answer] = getattr(import_module(request["module"]), request["function"])
    path, member, role = request["source"]
    _limit_memory()
    _limit_seconds(_SECONDS)
    try:
        facts, arrays = reader(Source(Path(path), member, role), *request["options"])
        arrays = [np.asarray(array, order="C") for array in arrays]
    except Exception as error:  # of any kind: readers fail in as many ways as files can be wrong
        _write(answer, _describe(error))
        return
    _write(answer, {"facts": facts, "arrays": [(array.dtype.str, array.shape) for array in arrays]})
    for array in arrays:
        answer.write(array.reshape(-1).view(np.uint8).data)
    answer.flush()


#: Sends a message to the parent; None in the parent itself, where a reader can be called directly.
_send: Callable[[dict[str, Any]], None] | None = None


def allow_time(size: int) -> None:
    """Raise the limits of time by as much as reading ``size`` bytes of numbers may take."""
    if _send is not None:
        seconds = size // _BYTES_PER_SECOND
        _send({"more_seconds": seconds})
        _limit_seconds(_SECONDS + seconds)


def _write(file: IO[bytes], message: dict[str, Any]) -> None:
    """Write a message as one line of JSON."""
    file.write(json.dumps(message).encode() + b"\n")
    file.flush()


def _describe(error: Exception) -> dict[str, Any]:
    """Return an error as a message: its kind, and the arguments to make it again."""
    if isinstance(error, OSError) and error.filename:
        return {"error": "os", "parts": [error.errno, error.strerror, str(error.filename)]}
    if isinstance(error, ConvmtxError):
        return {"error": "refused", "parts": error.args}
    kind = "memory" if isinstance(error, MemoryError) else "unreadable"
    return {"error": kind, "parts": [str(error) or type(error).__name__]}


def _limit_memory() -> None:
    """Limit memory to what is used now and what is available, and write no core files; Unix only."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used + memory.available(), hard))


def _limit_seconds(seconds: int) -> None:
    """Limit processor time to ``seconds`` from now; Unix only."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + seconds, hard))
