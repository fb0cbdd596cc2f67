"""The processes that torchrun starts for one training. Without torchrun there is one process: size 1.

Each process reads its own batches of an update. Losses and gradients are summed over all processes, so that the update
equals the update of a single process with all these batches: the mean is over the target tokens of all batches.

The gradients are sent as one vector in a fixed order, after the backward pass. DistributedDataParallel sends during the
backward pass, but reorders its buckets after the first update, so a resumed training would round sums differently.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # imported before a process group exists, which this import would keep alive
from torch import nn

from seq2seq.devices import choose_device
from seq2seq.errors import UserError
from seq2seq.training.launch import FIX, read_launch
from seq2seq.training.stop import Stopped, ended_by_signals

T = TypeVar("T")

# longest time that the others wait while rank 0 reads a corpus or validates; if rank 0 dies, they notice at once
TIMEOUT = timedelta(days=1)


class Processes:
    """The processes of a training, seen from one of them.

    Args:
        rank: the number of this process, from 0; rank 0 alone validates, writes and prints.
        size: the number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    def device(self, name: str) -> torch.device:
        """Return the device that a config names; each process of a host takes a GPU of its own.

        Raises:
            UserError: this machine has no such device.
        """
        device = choose_device(name)
        if device.type == "cuda" and self.size > 1:
            device = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
            torch.cuda.set_device(device)
        return device

    def sum(self, value: float) -> float:
        """Return the sum of a number over all processes."""
        return self._reduce(value, dist.ReduceOp.SUM)

    def max(self, value: float) -> float:
        """Return the largest value of a number over all processes."""
        return self._reduce(value, dist.ReduceOp.MAX)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes; a missing gradient counts as zero."""
        if self.size == 1:
            return
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
        vector = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(vector)
        for parameter, part in zip(learned, vector.split([p.numel() for p in learned]), strict=True):
            parameter.grad = part.view_as(parameter)

    def gather(self, value: T) -> list[T]:
        """Return the value of each process, in the order of their ranks."""
        values: list[T] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def on_first(self, function: Callable[[], T]) -> T:
        """Call a function on rank 0 and return its result, or raise its UserError or `Stopped`, on every rank."""
        if self.size == 1:
            return function()
        outcome: Any = None
        if self.rank == 0:
            try:
                outcome = function()
            except (UserError, Stopped) as error:
                outcome = error
        outcome = self._broadcast(outcome)
        if isinstance(outcome, Exception | KeyboardInterrupt):
            raise outcome
        return outcome

    @contextmanager
    def first_then_others(self) -> Iterator[None]:
        """Let rank 0 run a block alone, then the others; a UserError or `Stopped` on rank 0 is raised on all."""
        if self.rank > 0 and (error := self._broadcast(None)):
            raise error
        try:
            yield
        except (UserError, Stopped) as error:
            if self.rank == 0:
                self._broadcast(error)
            raise
        if self.rank == 0:
            self._broadcast(None)

    def _broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def _reduce(self, value: float, operation: "dist.ReduceOp.RedOpType") -> float:
        if self.size == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(number, operation)
        return number.item()


ALONE = Processes()

_one_training = Lock()


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Connect this process with the others that torchrun started, if any. All but rank 0 keep silent.

    A process trains one model at a time, because its threads share torch's random numbers.

    Raises:
        UserError: another thread trains, or the environment promises others that cannot be found.
    """
    rank, size = read_launch()
    if not _one_training.acquire(blocking=False):
        raise UserError("another thread of this process trains; wait for it, or train in another process")
    try:
        with nullcontext(ALONE) if size == 1 else _joined(rank, size) as processes:
            yield processes
    finally:
        _one_training.release()


@contextmanager
def _joined(rank: int, size: int) -> Iterator[Processes]:
    # find the others
    log, address = logging.getLogger("seq2seq"), f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        log.warning("waiting at %s for the other processes, because the environment has WORLD_SIZE=%d", address, size)
    log.disabled = rank > 0
    try:
        with ended_by_signals():
            store, _, _ = next(dist.rendezvous("env://", timeout=TIMEOUT))
    except (dist.DistError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"the other processes cannot be reached at {address}: {reason}; {FIX}") from None

    # connect
    fresh = dist.PrefixStore(_agree_on_name(store, rank, size), store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield Processes(rank, size)
    finally:
        dist.destroy_process_group()
        log.disabled = False


def _agree_on_name(store: dist.Store, rank: int, size: int) -> str:
    """Agree with the other processes on a name that no earlier group of processes had.

    torchrun keeps one store over all its restarts, so the addresses of dead processes are still in it, and a new
    process that reads one of these waits for the dead (pytorch/pytorch#135712). On one host the number of restarts
    could be the name, but several hosts may count differently. So rank 0 draws a name, and the other ranks ask for it.
    """
    drawn = uuid4().hex
    if rank > 0:
        # ask with a random number, so that the answer cannot be for an earlier process of this rank
        store.set(f"asks/{rank}", drawn)
        name = store.get(f"answer/{drawn}").decode()
        store.set(f"confirms/{name}/{rank}", "")
        return name

    # answer until every other rank has confirmed; the first question may be from an earlier process
    missing = set(range(1, size))
    while missing:
        for other in [other for other in missing if store.check([f"asks/{other}"])]:
            store.set(f"answer/{store.get(f'asks/{other}').decode()}", drawn)
            if store.check([f"confirms/{drawn}/{other}"]):
                missing.remove(other)
        time.sleep(0.01)
    return drawn
