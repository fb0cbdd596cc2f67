"""Ctrl-C, SIGTERM and a closed terminal: after the first signal a training saves and ends; a second ends it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP"):  # not on Windows
    SIGNALS.append(signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The exception of a training that was asked to stop.

    Attributes:
        signal: the number of the signal.
        where: a text for the user: how far the training came, and what is saved.
    """

    def __init__(self, number: int, where: str = "before another update; what was saved is intact"):
        super().__init__(number, where)
        self.signal, self.where = number, where

    @property
    def exit_code(self) -> int:
        """The exit code that shells expect after a signal: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signal


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let signals end the process at once: torch's search for other processes, in C++, would go on for a day."""
    is_main = threading.current_thread() is threading.main_thread()
    handled = [number for number in SIGNALS if is_main and callable(signal.getsignal(number))]
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in handled}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Stop:
    """The signal handler inside a `with` block: the first signal raises `Stopped`, unless signals are deferred.

    SIGHUP is ignored after the first signal: a terminal that closes may send it twice. Signals that the process was
    started to ignore (nohup, a shell's `&`) stay ignored. Outside the main thread, where Python handles no signals,
    the block has no effect.

    Args:
        ignore_second: ignore a second signal instead of ending the process: torchrun forwards signals that its
            processes may already have received.

    Attributes:
        asked: the number of the first signal; 0 if there was none.
    """

    def __init__(self, *, ignore_second: bool = False) -> None:
        self.asked = 0
        self._deferred = False
        self._second = signal.SIG_IGN if ignore_second else signal.SIG_DFL
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        # under torchrun a stopped process ignores signals from here on: torchrun sends SIGTERM to all when the first of
        # them ends, but this process must still report what was saved
        if kind is Stopped and self._second == signal.SIG_IGN:
            return
        for number, before in self._before.items():
            signal.signal(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        for each in self._before:
            signal.signal(each, signal.SIG_IGN if each.name == "SIGHUP" else self._second)
        if not self._deferred:
            raise Stopped(number)
        if self._second == signal.SIG_DFL:
            with contextlib.suppress(OSError):  # the terminal may be closed
                os.write(2, b"\nstopping after this update; a second signal stops at once and saves nothing\n")

    @contextlib.contextmanager
    def deferred(self, on: bool = True) -> Iterator[None]:
        """Defer signals in a block: they only set `asked`. With `on=False`, inside such a block, they raise `Stopped`.

        Args:
            on: if False, a signal raises `Stopped`, and an earlier signal raises it at the beginning of the block.
        """
        before, self._deferred = self._deferred, on
        try:
            if self.asked and not on:
                raise Stopped(self.asked)
            yield
        finally:
            self._deferred = before
