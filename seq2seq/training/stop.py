"""Ctrl-C, SIGTERM, and a terminal that closes: the first one ends a training in good order, a second one at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A training was asked to stop, and did.

    Attributes:
        signal: the number of the signal that asked.
        where: what was done and saved, for a person.
    """

    def __init__(self, number: int, where: str = "before another update; what was saved is whole"):
        super().__init__(number, where)
        self.signal, self.where = number, where

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal has ended: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signal


class Stop:
    """Takes the signals while it is entered: the first raises `Stopped`, or waits where that is held.

    Args:
        patient: take no notice of a second one, where the same wish may arrive twice: torchrun hands on what its
            processes may have been sent themselves, and kills those that take too long.

    Signals that the process was started to ignore (nohup, a shell's `&`) stay ignored. Outside the main thread, where
    Python takes no signals, it does nothing.

    Attributes:
        asked: the number of the first signal, 0 before it.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.asked = 0
        self._second = signal.SIG_IGN if patient else signal.SIG_DFL  # SIG_DFL ends the process, whatever that is at
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._take)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        for each in self._before:
            signal.signal(each, self._second)
        if not self._held:
            raise Stopped(number)
        if self._second == signal.SIG_DFL:
            os.write(2, b"\nstopping after this update; once more stops at once and saves nothing\n")

    @contextmanager
    def held(self) -> Iterator[None]:
        """A part that must not be cut in two: a signal only sets `asked`."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    @contextmanager
    def released(self) -> Iterator[None]:
        """A part of a held part that may be cut: a signal raises `Stopped`, one from before at once."""
        before, self._held = self._held, False
        try:
            if self.asked:
                raise Stopped(self.asked)
            yield
        finally:
            self._held = before
