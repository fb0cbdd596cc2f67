"""The clock of a training."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY, LONGEST = 0.5, 2.0  # seconds between two looks at the time, and the most that counts from one look to the next


class Stopwatch:
    """A clock that stands still while the process is paused, by Ctrl-Z or SIGSTOP.

    Inside `running`, a thread looks at the time every half second. If more has passed, nobody could look: the process
    was paused. The clock then goes on by `LONGEST`.
    """

    def __init__(self) -> None:
        self._seconds, self._last = 0.0, time.perf_counter()
        self._lock = threading.Lock()

    def seconds(self) -> float:
        """Look at the time: return the seconds since the start, without pauses."""
        with self._lock:
            now = time.perf_counter()
            self._seconds += min(now - self._last, LONGEST)
            self._last = now
            return self._seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let a thread look at the time as long as this block runs."""
        end = threading.Event()

        def watch() -> None:
            while not end.wait(EVERY):
                self.seconds()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
