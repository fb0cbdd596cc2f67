"""Functions called in other Python processes: for their processors, and for memory that is given back with them.

multiprocessing would import the user's script once more in each process, so that a script without a `__main__` guard
trains in each of them, and would leave them behind where this one is killed. A worker knows nothing of the script, and
ends when its input does.
"""

import contextlib
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from subprocess import PIPE, Popen
from typing import Any, Self

from seq2seq.errors import UserError


class Worker:
    """A Python process that calls functions of modules, one after the other."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", "from seq2seq.data.worker import serve; serve()"]
        path = os.pathsep.join(filter(None, sys.path))  # it finds what this process finds
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, env={**os.environ, "PYTHONPATH": path})
        assert self._process.stdin
        assert self._process.stdout
        self._calls, self._results = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._calls, self._results):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a function called there. The result of the call before must have been taken."""
        with self._living():
            pickle.dump((function, arguments), self._calls)
            self._calls.flush()

    def result(self) -> Any:
        """What the function has returned; waits for it.

        Raises:
            UserError: raised by the function, or the process has died.
        """
        with self._living():
            result = pickle.load(self._results)
        if isinstance(result, UserError):
            raise result
        return result

    @contextlib.contextmanager
    def _living(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._process.wait()
            raise UserError(
                f"a process that reads the training corpus has died (exit code {code}): free some memory, "
                "or see what it wrote above"
            ) from None


def serve() -> None:
    """What a worker's process runs: calls from standard input, results to standard output, until there is no input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, and ends this one
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not fall among the results
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            function, arguments = pickle.load(sys.stdin.buffer)
            try:
                result = function(*arguments)
            except UserError as error:
                result = error
            pickle.dump(result, results)
            results.flush()


def in_order(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], processes: int) -> Iterator[Any]:
    """The results of a function's calls, in their order, from so many workers: one call each is under way at a time.

    Raises:
        UserError: as `Worker.result`.
    """
    with contextlib.ExitStack() as stack:
        idle: list[Worker] = []
        busy: deque[Worker] = deque()
        for arguments in calls:
            if not idle and not busy:
                idle = [stack.enter_context(Worker()) for _ in range(processes)]
            elif not idle:
                yield busy[0].result()
                idle.append(busy.popleft())
            busy.append(idle.pop())
            busy[-1].begin(function, *arguments)
        for worker in busy:
            yield worker.result()
