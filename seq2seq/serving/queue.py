"""The queue of a server: one thread runs the model, and takes the sentences of several requests together.

Short requests come before long ones, which are cut into pieces, so that somebody who types does not wait for somebody
who translates a book. Nothing here knows of models or of HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

log = logging.getLogger("seq2seq")

MOST = 64  # items of one call at most
SHORT = 8  # items of a short request at most
ROOM = 20_000  # items that may wait
PIECE_SECONDS = 0.05  # about as long takes a piece of a long request: the longest wait of a short one


class Superseded(Exception):  # noqa: N818
    """The end of a request whose client has sent a newer one."""


class Full(Exception):  # noqa: N818
    """The refusal of a request for which the queue has no room, or that comes after its end."""


@dataclass(eq=False)
class Job:
    """A request in the queue."""

    key: Hashable  # the jobs of one call have the same
    items: Sequence[Any]
    owner: Hashable  # who sent it; None: nobody in particular
    answer: "asyncio.Future[list[Any]]"
    results: list[Any] = field(default_factory=list)  # of the first items

    @property
    def rest(self) -> Sequence[Any]:
        """The items that have no result yet."""
        return self.items[len(self.results) :]


class Queue:
    """A queue of jobs, and the thread that does them.

    Args:
        work: returns the result of each item, in order; it gets the key of the jobs and items of one or several.
    """

    def __init__(self, work: Callable[[Any, list[Any]], Sequence[Any]]):
        self.work = work
        self._jobs: list[Job] = []
        self._changed = Condition()
        self._is_closed = self._long_turn = False
        self._pace = PIECE_SECONDS / SHORT  # seconds an item of a long request takes
        self._thread = Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    async def ask(self, key: Hashable, items: Sequence[Any], owner: Hashable = None) -> list[Any]:
        """Return the result of each item. To cancel this call takes its items out of the queue.

        Raises:
            Superseded: the same owner has asked again before this was done.
            Full: too many items wait, or the queue is closed.
            Exception: what `work` has raised.
        """
        if not items:
            return []
        job = Job(key, items, owner, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._is_closed or sum(len(other.rest) for other in self._jobs) + len(items) > ROOM:
                raise Full
            for older in [other for other in self._jobs if owner is not None and other.owner == owner]:
                self._finish(older, Superseded())
            self._jobs.append(job)
            self._changed.notify()
        try:
            return await job.answer
        finally:
            with self._changed:
                self._jobs = [other for other in self._jobs if other is not job]

    def close(self) -> None:
        """End the thread when all jobs are done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        """Do jobs until the queue is closed and empty."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._is_closed)
                if not self._jobs:
                    return
                batch, is_long = self._take()
            began = time.perf_counter()
            results: Sequence[Any] | Exception
            try:
                items = [item for _, part in batch for item in part]
                results = self.work(batch[0][0].key, items)
            except Exception as error:
                results = error
            if is_long:
                self._pace = (self._pace + (time.perf_counter() - began) / len(items)) / 2
            with self._changed:
                self._give(batch, results)

    def _take(self) -> tuple[list[tuple[Job, Sequence[Any]]], bool]:
        """Choose the items of the next call, and say whether they are of long requests: these take turns with short."""
        # whose turn it is
        short = [job for job in self._jobs if len(job.rest) <= SHORT]
        is_long = len(short) < len(self._jobs) and (not short or self._long_turn)
        self._long_turn = not is_long
        jobs = [job for job in self._jobs if job not in short] if is_long else short

        # a piece of the long request that was served longest ago
        if is_long:
            first = jobs[0]
            self._jobs = [*(job for job in self._jobs if job is not first), first]
            return [(first, first.rest[: max(1, min(MOST, int(PIECE_SECONDS / self._pace)))])], True

        # or short requests of the same key, whole, the oldest first
        batch: list[tuple[Job, Sequence[Any]]] = []
        room = MOST
        for job in jobs:
            if job.key == jobs[0].key and len(job.rest) <= room:
                batch.append((job, job.rest))
                room -= len(job.rest)
        return batch, False

    def _give(self, batch: list[tuple[Job, Sequence[Any]]], results: "Sequence[Any] | Exception") -> None:
        """Hand the results to their jobs; an error ends them."""
        start = 0
        for job, part in batch:
            if isinstance(results, Exception):
                self._finish(job, results)
                continue
            job.results += results[start : start + len(part)]
            start += len(part)
            if not job.rest:
                self._finish(job, job.results)

    def _finish(self, job: Job, answer: "list[Any] | Exception") -> None:
        """Take a job out of the queue and give its answer to whoever waits for it, in that one's thread."""
        self._jobs = [other for other in self._jobs if other is not job]

        def tell() -> None:
            if not job.answer.done():  # nobody waits any more
                job.answer.set_exception(answer) if isinstance(answer, Exception) else job.answer.set_result(answer)

        job.answer.get_loop().call_soon_threadsafe(tell)
