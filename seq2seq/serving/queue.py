"""The queue of a server: one thread runs the model, and takes the sentences of several requests together.

Short requests come before long ones, which are cut into pieces, so that somebody who types does not wait for somebody
who translates a book. Nothing here knows of models or of HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

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
    answer: "asyncio.Future[list[Any]]"  # done as soon as nobody waits for it any more
    results: list[Any] = field(default_factory=list)  # of the first items

    @property
    def rest(self) -> Sequence[Any]:
        """The items that have no result yet."""
        return self.items[len(self.results) :]


class Queue:
    """A queue of jobs, and the thread that does them. It belongs to the event loop that it is made in.

    Args:
        work: returns the result of each item, in order; it gets the key of the jobs and items of one or several.
    """

    def __init__(self, work: Callable[[Any, list[Any]], Sequence[Any]]):
        self.work = work
        self._jobs: list[Job] = []
        self._changed = asyncio.Event()
        self._is_closed = self._long_turn = False
        self._pace = PIECE_SECONDS / SHORT  # seconds an item of a long request takes
        self._running = asyncio.create_task(self._run())

    async def ask(self, key: Hashable, items: Sequence[Any], owner: Hashable = None) -> list[Any]:
        """Return the result of each item. To cancel this call takes its items out of the queue.

        Raises:
            Superseded: the same owner has asked again before this was done.
            Full: too many items wait, or the queue is closed.
            Exception: what `work` has raised.
        """
        if not items:
            return []
        waiting = [job for job in self._jobs if not job.answer.done()]
        if self._is_closed or sum(len(job.rest) for job in waiting) + len(items) > ROOM:
            raise Full
        for older in waiting:
            if owner is not None and older.owner == owner:
                older.answer.set_exception(Superseded())
        job = Job(key, items, owner, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._changed.set()
        return await job.answer

    async def close(self) -> None:
        """End the thread when all jobs are done."""
        self._is_closed = True
        self._changed.set()
        await self._running

    async def _run(self) -> None:
        """Do jobs until the queue is closed and empty."""
        with ThreadPoolExecutor(1, "model") as thread:
            while True:
                # wait for a job
                self._changed.clear()
                self._jobs = [job for job in self._jobs if not job.answer.done()]
                if not self._jobs:
                    if self._is_closed:
                        return
                    await self._changed.wait()
                    continue

                # do some of its items, and others with them
                batch, is_long = self._take()
                items = [item for _, part in batch for item in part]
                began, key = time.perf_counter(), batch[0][0].key
                try:
                    results = iter(await asyncio.get_running_loop().run_in_executor(thread, self.work, key, items))
                except Exception as error:
                    for job, _ in batch:
                        if not job.answer.done():
                            job.answer.set_exception(error)
                    continue
                if is_long:
                    self._pace = (self._pace + (time.perf_counter() - began) / len(items)) / 2

                # hand the results to their jobs
                for job, part in batch:
                    job.results += islice(results, len(part))
                    if not (job.rest or job.answer.done()):
                        job.answer.set_result(job.results)

    def _take(self) -> tuple[list[tuple[Job, Sequence[Any]]], bool]:
        """Choose the items of the next call, and say whether they are of long requests: these take turns with short."""
        # whose turn it is
        short = [job for job in self._jobs if len(job.rest) <= SHORT]
        is_long = len(short) < len(self._jobs) and (not short or self._long_turn)
        self._long_turn = not is_long and len(short) < len(self._jobs)

        # a piece of the long request that was served longest ago
        if is_long:
            first = next(job for job in self._jobs if job not in short)
            self._jobs.remove(first)
            self._jobs.append(first)
            return [(first, first.rest[: max(1, min(MOST, int(PIECE_SECONDS / self._pace)))])], True

        # or short requests of the same key, whole, the oldest first
        batch: list[tuple[Job, Sequence[Any]]] = []
        room = MOST
        for job in short:
            if job.key == short[0].key and len(job.rest) <= room:
                batch.append((job, job.rest))
                room -= len(job.rest)
        return batch, False
