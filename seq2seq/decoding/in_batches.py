"""A function of batches, for items in any order: of like size in a batch, and on a CPU several batches at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import torch

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

WORKERS = 4
"""Batches at a time, at most. The operations of one are too small to keep several cores busy; but between operations
Python runs, in one thread at a time, so that more workers would wait for each other."""


def in_batches(
    function: Callable[[list[I]], Sequence[R]],
    items: Sequence[I],
    size: Callable[[I], int],
    batch_size: int,
    device: torch.device,
    *,
    in_turn: bool = False,
) -> list[R]:
    """What a function of a batch says of each item, in inference mode; what it raises is raised here.

    Args:
        function: a result for each item of a batch; called in other threads, each of which has its share of torch's.
        items: in any order.
        size: of an item; a batch has those of like size, so that little is padded.
        batch_size: items of a batch.
        device: that the function computes on.
        in_turn: one batch after the other, in this thread.
    """
    order = sorted(range(len(items)), key=lambda i: -size(items[i]))  # long ones first: short ones fill up the end
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    @torch.inference_mode()
    def results(batch: list[int]) -> Sequence[R]:
        return function([items[i] for i in batch])

    workers = min(WORKERS, torch.get_num_threads(), len(batches))
    if in_turn or device.type != "cpu" or workers < 2:
        each = [results(batch) for batch in batches]
    else:
        each = _side_by_side(results, batches, workers)
    found = dict(zip(chain.from_iterable(batches), chain.from_iterable(each), strict=True))
    return [found[i] for i in range(len(items))]


def _side_by_side(function: Callable[[I], R], items: Sequence[I], workers: int) -> list[R]:
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # a part of what a worker sets is the whole process's
