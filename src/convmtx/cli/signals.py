"""Signals that end a program, while a command runs: what was begun is removed, and one line says so."""

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

#: Signals by name, for not every system has all, and what they are called.
_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
#: Seconds after a signal in which others are not heard, for they would interrupt the cleaning up.
_GRACE = 5.0
#: Seconds until a signal whose exception was lost comes again.
_SOON = 0.02


class Stopped(KeyboardInterrupt):
    """A signal that ends the program came."""

    def __init__(self, number: int, words: str) -> None:
        super().__init__(words)
        self.number = number

    @property
    def code(self) -> int:
        """Exit code, as shells have it."""
        return 128 + self.number


class Stoppable:
    """A context in which SIGINT, SIGTERM and SIGHUP raise `Stopped`, in the main thread.

    Signals that somebody handles or ignores already, such as SIGHUP under nohup, are left to them. Those after the
    first are not heard for a while.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._words: dict[int, str] = {}
        self._heard = -_GRACE
        self._over = False
        #: The first signal that came.
        self.stopped: Stopped | None = None

    def __enter__(self) -> Stoppable:
        if threading.current_thread() is threading.main_thread():
            for name, words in _WORDS.items():
                number = getattr(signal, name, None)
                if number is None or signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
                    continue
                self._words[number] = words
                self._before[number] = signal.signal(number, self._stop)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        sys.unraisablehook = self._hook
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._over or time.monotonic() - self._heard < _GRACE:
            return
        self._heard = time.monotonic()
        self.stopped = self.stopped or Stopped(number, self._words[number])
        raise self.stopped

    def _unraisable(self, lost: Any) -> None:
        """Let a signal come again that came while an object was being deleted, for its exception is lost."""
        if isinstance(lost.exc_value, Stopped):
            self._heard = -_GRACE
            threading.Timer(_SOON, _thread.interrupt_main, [lost.exc_value.number]).start()
        elif self.stopped is None:  # what is left half done by a signal has its complaints
            self._hook(lost)


def release(error: BaseException) -> None:
    """Delete now, while complaints are not heard, what an error and those before it hold."""
    before: BaseException | None = error
    while before is not None:
        traceback.clear_frames(before.__traceback__)
        before.__traceback__ = None
        before = before.__context__
    gc.collect()


def deafen() -> None:
    """Ignore those signals from now on, and say no more: Python would show tracebacks of a program that is done."""
    sys.unraisablehook = lambda _: None
    if threading.current_thread() is threading.main_thread():
        for name in _WORDS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
