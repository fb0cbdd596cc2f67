"""A function of batches, for items in any order: of like size in a batch, and on a CPU several batches at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Lock
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_cores = Lock()  # how many threads torch has is, in part, of the whole process
WORKERS = 4
"""Batches at a time, at most. The operations of one are too small to keep several cores busy; but between operations
Python runs, in one thread at a time, so that more workers would wait for each other."""


def in_batches(
    function: Callable[[list[Item]], Sequence[Result]],
    items: Sequence[Item],
    size: Callable[[Item], int],
    batch_size: int,
    *,
    in_turn: bool = False,
) -> list[Result]:
    """What a function of a batch says of each item, in inference mode; what it raises is raised here.

    Args:
        function: a result for each item of a batch; called in other threads, each of which has its share of torch's.
        items: in any order.
        size: of an item; a batch has those of like size, so that little is padded.
        batch_size: items of a batch.
        in_turn: one batch after the other, in this thread, as on a GPU; so it is as well while another thread of the
            program has its batches side by side.
    """
    order = sorted(range(len(items)), key=lambda i: -size(items[i]))  # long ones first: short ones fill up the end
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    @torch.inference_mode()
    def results(batch: list[int]) -> Sequence[Result]:
        return function([items[i] for i in batch])

    workers = 1 if in_turn else min(WORKERS, torch.get_num_threads(), len(batches))
    if workers > 1 and _cores.acquire(blocking=False):
        try:
            each = _side_by_side(results, batches, workers)
        finally:
            _cores.release()
    else:
        each = [results(batch) for batch in batches]
    found = dict(zip(chain.from_iterable(batches), chain.from_iterable(each), strict=True))
    return [found[i] for i in range(len(items))]


def _side_by_side(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> list[Result]:
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)
