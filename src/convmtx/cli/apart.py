"""Reading in a process of its own: damaged files can crash the C libraries beneath, hang them, or make them talk.

The process is asked by a line of JSON on stdin and answers on stdout: lines of JSON, and after the last the numbers of
its arrays. What libraries print is thrown away. Its processor time, memory and patience are limited.
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
from convmtx.cli.report import CommandError
from convmtx.cli.source import Source
from convmtx.errors import MissingExtraError
from convmtx.typing import AnyArray

#: Facts that JSON has, and arrays of numbers.
Answer = tuple[dict[str, Any], list[AnyArray]]

#: Seconds of processor time for a file, and bytes of its numbers for which there is one more: slow for any library.
_SECONDS, _PACE = 5, 20_000_000
#: Seconds of the clock after which a process that does not answer is given up: a busy machine is not a damaged file.
_PATIENCE = 60

_PROGRAM = "import sys; sys.path[:] = {path}; from convmtx.cli.apart import serve; serve()"
#: Threads, of which each reserves memory, are of no use here.
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}


def read_apart(source: Source, reader: Callable[..., Answer], *options: Any) -> Answer:
    """Return what a function of a module makes of a source, called in a new process.

    ``options`` are what JSON has. Errors of the function are raised here, in its words.
    """
    request = {"module": reader.__module__, "function": reader.__qualname__, "options": options,
               "source": [str(source.path), source.member, source.what]}  # fmt: skip
    command = [sys.executable, "-c", _PROGRAM.format(path=[str(folder) for folder in sys.path])]
    pipe, environment = subprocess.PIPE, {**os.environ, **_ONE_THREAD}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment) as child:
        try:
            return _answer(source, child, json.dumps(request).encode())
        finally:
            child.kill()


def _answer(source: Source, child: subprocess.Popen[bytes], request: bytes) -> Answer:
    asking, answering = child.stdin, child.stdout
    assert asking is not None
    assert answering is not None
    with contextlib.suppress(BrokenPipeError):  # it has died, which its silence says as well
        asking.write(request)
        asking.close()
    seconds = _PATIENCE
    while True:
        with _patience(child, seconds) as over:
            line = answering.readline()
        if not line:
            raise _silence(source, child.wait(), over.is_set())
        message = json.loads(line)
        if "more" in message:
            seconds = _PATIENCE + message["more"] * _PATIENCE // _SECONDS
        elif "arrays" in message:
            arrays = [np.empty(shape, dtype) for dtype, shape in message["arrays"]]
            if not all(_fill(array, answering) for array in arrays):
                raise _silence(source, child.wait(), slow=False)
            return message["facts"], arrays
        else:
            raise _error(message)


@contextlib.contextmanager
def _patience(child: subprocess.Popen[bytes], seconds: int) -> Iterator[Event]:
    """Kill a process after a while, and set an event."""
    over = Event()

    def end() -> None:
        over.set()
        child.kill()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()


def _fill(array: AnyArray, file: IO[bytes]) -> bool:
    """Read the numbers of an array; whether all came."""
    left = array.reshape(-1).view(np.uint8).data
    while len(left):
        count = file.readinto(left)  # type: ignore[attr-defined]
        if not count:
            return False
        left = left[count:]
    return True


def _silence(source: Source, code: int, slow: bool) -> CommandError:
    """The process has ended without an answer."""
    if slow or code == -getattr(signal, "SIGXCPU", 0):
        return source.damaged(f"The library that reads it is not done after {_SECONDS} s of computing")
    return source.damaged("It crashes the library that reads it")


def _error(message: dict[str, Any]) -> Exception:
    kinds: dict[str, type[Exception]] = {"os": OSError, "refused": CommandError, "memory": MemoryError}
    return kinds.get(message["error"], ValueError)(*message["parts"])


# In the new process


def serve() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for libraries that print
    global _announce
    _announce = partial(_write, answer)
    reader: Callable[..., Answer] = getattr(import_module(request["module"]), request["function"])
    path, member, what = request["source"]
    _limit_memory()
    _limit_seconds(_SECONDS)
    try:
        facts, arrays = reader(Source(Path(path), member, what), *request["options"])
        arrays = [np.asarray(array, order="C") for array in arrays]
    except Exception as error:  # in as many ways as files can be wrong
        _write(answer, _described(error))
        return
    _write(answer, {"facts": facts, "arrays": [(array.dtype.str, array.shape) for array in arrays]})
    for array in arrays:
        answer.write(array.reshape(-1).view(np.uint8).data)
    answer.flush()


#: Sends a message to the process that waits; None where a reader is called directly.
_announce: Callable[[dict[str, Any]], None] | None = None


def allow_time(size: int) -> None:
    """Let reading so many bytes of numbers take the time that it may need."""
    if _announce is not None:
        seconds = size // _PACE
        _announce({"more": seconds})
        _limit_seconds(_SECONDS + seconds)


def _write(file: IO[bytes], message: dict[str, Any]) -> None:
    file.write(json.dumps(message).encode() + b"\n")
    file.flush()


def _described(error: Exception) -> dict[str, Any]:
    if isinstance(error, OSError) and error.filename:
        return {"error": "os", "parts": [error.errno, error.strerror, str(error.filename)]}
    if isinstance(error, CommandError | MissingExtraError):
        return {"error": "refused", "parts": error.args}
    kind = "memory" if isinstance(error, MemoryError) else "unreadable"
    return {"error": kind, "parts": [str(error) or type(error).__name__]}


def _limit_memory() -> None:
    """Limit memory to as much more as is available now, and write no core files; Unix only."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used + memory.available(), hard))


def _limit_seconds(seconds: int) -> None:
    """Limit processor time to ``seconds`` more; Unix only."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + seconds, hard))
