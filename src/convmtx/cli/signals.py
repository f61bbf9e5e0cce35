"""Signals that end a program: while a command runs they raise an exception, so that it can clean up."""

from __future__ import annotations

import _thread
import gc
import signal
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any

from convmtx import files

#: Signals by name (not every system has all of them), and the line that the user reads.
_MESSAGES = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
#: Seconds after a signal in which further ones are ignored, so that they do not interrupt the cleaning up.
_GRACE = 5.0
#: Seconds until a signal whose exception was lost is raised again.
_SOON = 0.02


class Stopped(KeyboardInterrupt):
    """A signal that ends the program."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number

    @property
    def code(self) -> int:
        """Exit code that shells expect."""
        return 128 + self.number


class Stoppable:
    """A context in which SIGINT, SIGTERM and SIGHUP raise `Stopped`, in the main thread.

    Signals that are already handled or ignored, such as SIGHUP under nohup, stay as they are. After the first signal,
    others are ignored for a few seconds. A signal that comes when a complete file gets its name is too late: the
    command ends as if it had not come.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._messages: dict[int, str] = {}
        self._last_time = -_GRACE
        self._ended = False
        #: The first signal, or None.
        self.stopped: Stopped | None = None

    def __enter__(self) -> Stoppable:
        if threading.current_thread() is threading.main_thread():
            for name, message in _MESSAGES.items():
                number = getattr(signal, name, None)
                if number is None or signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
                    continue
                self._messages[number] = message
                self._handlers[number] = signal.signal(number, self._stop)
        files.listeners.append(self._end)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        files.listeners.remove(self._end)
        sys.unraisablehook = self._hook
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _end(self) -> None:
        """Ignore signals from now on. They are handled in the main thread, so files of other threads do not count."""
        self._ended = self._ended or threading.current_thread() is threading.main_thread()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Raise the first signal, unless one came just before."""
        if self._ended or time.monotonic() - self._last_time < _GRACE:
            return
        self._last_time = time.monotonic()
        self.stopped = self.stopped or Stopped(number, self._messages[number])
        raise self.stopped

    def _unraisable(self, lost: Any) -> None:
        """Raise a signal again that came while an object was being deleted: Python drops such exceptions."""
        if isinstance(lost.exc_value, Stopped):
            self._last_time = -_GRACE
            threading.Timer(_SOON, _thread.interrupt_main, [lost.exc_value.number]).start()
        elif self.stopped is None:  # after a signal, objects that are half built complain when they are deleted
            self._hook(lost)


def release_frames(error: BaseException) -> None:
    """Delete what the frames of an error and of those before it hold, now, while complaints are dropped."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link.__traceback__ = None
        link = link.__context__
    gc.collect()


def ignore_signals() -> None:
    """Ignore those signals from now on: during Python's exit they would only print tracebacks."""
    sys.unraisablehook = lambda _: None
    if threading.current_thread() is threading.main_thread():
        for name in _MESSAGES:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
