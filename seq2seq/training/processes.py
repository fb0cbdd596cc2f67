"""Several processes that do one training together, as torchrun starts them; one alone is the same with a size of 1.

Each reads its own batches of an update. Losses and gradients are summed over all of them, so that an update is what
one process would do with all the batches: the mean is over the target tokens of all processes.

The gradients travel as one vector, in one fixed order, when all are there. DistributedDataParallel sends them in parts
while the others are still computed, but orders its parts anew after its first update: sums would be rounded otherwise
after a resumption than without one.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # it keeps the group that there is when it is imported: better none
from torch import nn

from seq2seq.devices import choose_device
from seq2seq.errors import UserError
from seq2seq.training.stop import Stopped

T = TypeVar("T")

# The others wait while the first one reads a corpus or validates. A process that dies is noticed at once all the same.
PATIENCE = timedelta(days=1)


class Processes:
    """One of the processes of a training.

    Args:
        rank: its number, from 0; the first one alone writes and prints.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    def device(self, name: str) -> torch.device:
        """The device of a config's name; of several GPUs each process of a host takes its own.

        Raises:
            UserError: a device that is not there.
        """
        device = choose_device(name)
        if device.type == "cuda" and self.size > 1:
            device = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
            torch.cuda.set_device(device)
        return device

    def sum(self, value: float) -> float:
        """The sum of a number over all processes."""
        return self._reduced([value], dist.ReduceOp.SUM)[0] if self.size > 1 else value

    def most(self, *values: float) -> list[float]:
        """The largest of each number over all processes."""
        return self._reduced(values, dist.ReduceOp.MAX) if self.size > 1 else list(values)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give each parameter the sum of its gradients in all processes; one without a gradient adds none."""
        if self.size > 1:
            learned = [parameter for parameter in parameters if parameter.requires_grad]
            for parameter in learned:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            vector = torch.cat([parameter.grad.flatten() for parameter in learned if parameter.grad is not None])
            dist.all_reduce(vector)
            parts = vector.split([parameter.numel() for parameter in learned])
            for parameter, part in zip(learned, parts, strict=True):
                parameter.grad = part.view_as(parameter)

    def gather(self, value: T) -> list[T]:
        """The value of each process, by rank."""
        values: list[T] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def first(self, function: Callable[[], T]) -> T:
        """What a function returns, or raises, in the first process; the others wait and get the same."""
        if self.size == 1:
            return function()
        if self.rank > 0:
            told: T = self._told()
            return told
        try:
            result = function()
        except (UserError, Stopped) as error:
            self._tell(error)
            raise
        self._tell(result)
        return result

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """A block that the first process goes through alone, and then the others; not if it raises there."""
        if self.rank > 0:
            self._told()
        try:
            yield
        except (UserError, Stopped) as error:
            if self.rank == 0:
                self._tell(error)
            raise
        if self.rank == 0:
            self._tell(None)

    def _tell(self, value: object) -> None:
        if self.size > 1:
            dist.broadcast_object_list([value])

    def _told(self) -> Any:
        told: list[Any] = [None]
        dist.broadcast_object_list(told)
        if isinstance(told[0], BaseException):
            raise told[0]
        return told[0]

    def _reduced(self, values: Sequence[float], operation: "dist.ReduceOp.RedOpType") -> list[float]:
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, operation)
        return numbers.tolist()


ALONE = Processes()


def rank() -> int:
    """The number that torchrun gave this process; 0 without torchrun."""
    return int(os.environ.get("RANK", 0))


@contextmanager
def joined() -> Iterator[Processes]:
    """This process as one of those that torchrun has started, or alone; all but the first keep silent."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ALONE
        return
    log = logging.getLogger("seq2seq")
    log.disabled = rank() > 0
    store, _, _ = next(dist.rendezvous("env://", timeout=PATIENCE))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    unused = dist.PrefixStore(_agreed_name(store, rank(), size), store)
    dist.init_process_group(backend, store=unused, rank=rank(), world_size=size, timeout=PATIENCE)
    try:
        yield Processes(rank(), size)
    finally:
        dist.destroy_process_group()
        log.disabled = False


def _agreed_name(store: dist.Store, rank: int, size: int) -> str:
    """A name that all processes agree on and that no others had before.

    torchrun has one store for all its restarts, in which the addresses of processes that have died still stand: a new
    process that reads them before they are overwritten calls the dead (pytorch/pytorch#135712). So the first process
    draws a name and tells it to each that asks now, until each has confirmed it.
    """
    drawn = uuid4().hex
    if rank > 0:
        store.set(f"asks/{rank}", drawn)
        name = store.get(f"answer/{drawn}").decode()
        store.set(f"confirms/{name}/{rank}", "")
        return name
    missing = set(range(1, size))
    while missing:
        for other in [other for other in missing if store.check([f"asks/{other}"])]:
            store.set(f"answer/{store.get(f'asks/{other}').decode()}", drawn)
            if store.check([f"confirms/{drawn}/{other}"]):
                missing.remove(other)
        time.sleep(0.01)
    return drawn
