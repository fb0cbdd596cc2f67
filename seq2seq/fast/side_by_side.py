"""Parallel batches: on a CPU, a function runs on several batches at the same time.

The operations of one batch are too small to keep several cores busy. The plain twin runs one after the other.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Lock
from typing import TypeVar

import torch

from seq2seq import fast

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = 4  # most batches at once: with more threads, the Python code between operations would make them wait
_cores = Lock()  # one caller at a time: torch's number of threads is, in part, a setting of the whole process


def in_batches(
    function: Callable[[list[Item]], Sequence[Result]],
    items: Sequence[Item],
    size: Callable[[Item], int],
    batch_size: int,
    *,
    in_turn: bool = False,
) -> list[Result]:
    """Run a function of batches over items, in inference mode, and return the result of each item, in their order.

    The function may be called in several threads at once. The items of a batch have similar sizes, to save padding.
    With `in_turn`, which a GPU and random numbers need, one batch runs after the other in this thread. The same happens
    while another thread of the program runs its batches in parallel.
    """
    # batches of similar size, the largest first: small ones fill up the time at the end
    order = sorted(range(len(items)), key=lambda i: -size(items[i]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    @torch.inference_mode()
    def run(batch: list[int]) -> Sequence[Result]:
        return function([items[i] for i in batch])

    # run them
    workers = 1 if in_turn or not fast.ON else min(WORKERS, torch.get_num_threads(), len(batches))
    if workers > 1 and _cores.acquire(blocking=False):
        try:
            results = side_by_side(run, batches, workers)
        finally:
            _cores.release()
    else:
        results = [run(batch) for batch in batches]

    # back to the order of the items
    found = dict(zip(chain.from_iterable(batches), chain.from_iterable(results), strict=True))
    return [found[i] for i in range(len(items))]


def side_by_side(function: Callable[[Item], Result], batches: Sequence[Item], workers: int) -> list[Result]:
    """Return the function's result for each batch; several run at once, each on its share of torch's threads."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(function, batches))
    finally:
        torch.set_num_threads(threads)
