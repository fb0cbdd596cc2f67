"""The device of the computation."""

import logging
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

import torch

from seq2seq.errors import UserError

log = logging.getLogger("seq2seq")


def choose_device(name: str) -> torch.device:
    """Return the device of a name in a config; `auto` is the first of cuda, mps and cpu that the machine has."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {name}; write auto, cpu, cuda, cuda:1 or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"the device is to be {name}, which this machine does not have; write auto or cpu")
    return device


def free_memory(device: torch.device) -> int:
    """Return how many bytes of memory this process can still get on a device.

    On a CPU it is the least of what the machine has, what its container may have, and what `ulimit -v` leaves.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if not hasattr(os, "sysconf"):  # on Windows nothing is known
        return sys.maxsize
    page = os.sysconf("SC_PAGE_SIZE")
    free = [page * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, ("/proc/meminfo", "/sys/fs/cgroup/memory.max")):  # of Linux
        if found := file.is_file() and re.search(r"MemAvailable: +(\d+) kB|^(\d+)$", file.read_text()):
            free.append(int(found[1]) * 1024 if found[1] else int(found[2]))
    with suppress(ImportError):
        import resource

        limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], Path("/proc/self/statm")
        if limit != resource.RLIM_INFINITY:
            free.append(limit - (page * int(used.read_text().split()[0]) if used.is_file() else 0))
    return max(0, min(free))


def device_to_open_on(name: str) -> torch.device:
    """Return the device of a run's config to use its model on: the CPU, with a warning, if this machine lacks it."""
    try:
        return choose_device(name)
    except UserError:
        log.warning("the model was trained on %s, which this machine does not have: going on, on the CPU", name)
        return torch.device("cpu")
