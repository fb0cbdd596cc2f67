"""The place of this process among those that torchrun has started, as the environment tells it."""

import os
from typing import NamedTuple

from seq2seq.errors import UserError

FIX = "start several processes with torchrun; to train in one, unset WORLD_SIZE"


class Launch(NamedTuple):
    """The number of this process, from 0, and the number of all processes."""

    rank: int = 0
    size: int = 1


def read_launch() -> Launch:
    """Read the environment. Unless WORLD_SIZE is above 1 there is one process, whatever RANK is left there.

    Raises:
        UserError: the environment promises several processes, but does not say how they find each other.
    """
    # one process
    size = _number("WORLD_SIZE", "1")
    if size == 1:
        return Launch()

    # several
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise UserError(f"the environment has WORLD_SIZE={size} but no {missing[0]}; {FIX}")
    rank = _number("RANK", "0")
    if rank >= size:
        raise UserError(f"the environment has RANK={rank}, but WORLD_SIZE={size}; {FIX}")
    return Launch(rank, size)


def _number(name: str, default: str) -> int:
    text = os.environ.get(name) or default
    if not (text.isascii() and text.isdecimal()) or (name == "WORLD_SIZE" and not int(text)):
        raise UserError(f"the environment has {name}={text:.40}, which is not a number of processes; {FIX}")
    return int(text)
