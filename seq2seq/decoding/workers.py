"""Batches side by side: the operations of a batch are too small to keep several cores busy, several batches are not."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

MOST = 4  # batches at a time: Python runs between the operations, and it runs in one thread at a time

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


def side_by_side(function: Callable[[I], R], items: Sequence[I], device: torch.device) -> list[R]:
    """`[function(item) for item in items]`, in threads on a CPU that has more than one: each thread of ours has its
    share of those that torch would have used for one operation after another. What fails raises here."""
    threads = torch.get_num_threads()
    workers = min(MOST, threads, len(items)) if device.type == "cpu" else 1
    if workers < 2:
        return [function(item) for item in items]
    share = threads // workers
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # a worker's share holds for part of the process
