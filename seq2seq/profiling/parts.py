"""The time of an update by part of the model, from the events of torch.profiler.

In the forward pass, a part is a range around the forward methods of its modules. In the backward pass, each event has
the sequence number of the forward operation whose gradient it computes, and belongs to the part of that operation.
After the model, forward operations belong to the vocabulary and the loss; after the backward pass, all operations
belong to clipping and the optimizer.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, record_function
from torch.profiler import profile as torch_profiler

from seq2seq.fast.cells import OneAtATime
from seq2seq.model.seq2seq import Seq2Seq

DECODER_PARTS = {
    "recurrent": "recurrence",
    "upper": "recurrence",
    "self_attention": "self_attention",
    "attention": "attention",
}
WITHOUT_DIRECTION = ("data", "vocabulary", "optimizer")  # the CPU's loss computes its gradient in the forward pass
BACKWARD = "autograd::engine::evaluate_function"  # how the name of every event of the backward pass begins
RANGE = "seq2seq: "  # how the names of our ranges begin

Seconds = dict[tuple[str, str], float]
"""By part and direction: `forward`, `backward`, or `both` where the two cannot be told apart."""


def profile_updates(model: Seq2Seq, updates: Iterable[object], device: torch.device) -> Seconds:
    """Run updates under the profiler and return the seconds of each part, and of what belongs to none ("other").

    On a CUDA device the seconds of a part are those of its kernels; elsewhere those of the processor. Each step of
    `updates` does an update, and opens `data_range` around the making of its batches.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would announce its start and its end
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with _ranges(model), torch_profiler(activities=activities) as profiler:
        start = synchronized_time(device)
        for _ in updates:
            pass
        whole = synchronized_time(device) - start
    seconds = seconds_by_part(profiler.events(), of_kernels=device.type == "cuda")
    return {**seconds, ("other", "both"): max(0.0, whole - sum(seconds.values()))}


def synchronized_time(device: torch.device) -> float:
    """Return the time in seconds, after the GPU has finished all its work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def data_range() -> record_function:
    """Return the range in which batches are made."""
    return record_function(f"{RANGE}data")


@contextmanager
def _ranges(model: Seq2Seq) -> Iterator[None]:
    """Open a range of the profiler around each forward pass of a part."""
    parts = [(module, "forward", part) for name, module in model.named_modules() if (part := part_of(name))]
    cells = [(OneAtATime, name, "recurrence") for name in ("__init__", "__call__")]  # those of a loop are no module
    with ExitStack() as stack:
        for owner, method, part in [*parts, *cells]:
            in_range = record_function(f"{RANGE}{part}")(getattr(owner, method))
            stack.enter_context(patch.object(owner, method, in_range))
        yield


def part_of(module: str) -> str | None:
    """Return the part that begins with a module of this name; None where the part around it goes on.

    The whole model is "rest", the time that is in no other part. Modules inside the attention are parts too, since
    `attention.memorize` calls them before the decoder runs.
    """
    if module in ("", "encoder"):
        return module or "rest"
    side, *path = module.split(".")
    return next((DECODER_PARTS[name] for name in path if name in DECODER_PARTS), None) if side == "decoder" else None


def seconds_by_part(events: Iterable[FunctionEvent], *, of_kernels: bool) -> Seconds:
    """Sum the time of the profiler's events by part; an event's own time is the time outside its children."""
    seconds: Seconds = defaultdict(float)
    parts: dict[int, str] = {}  # of forward operations, by sequence number

    def add(event: FunctionEvent, part: str, direction: str) -> None:
        if event.name.startswith(RANGE):
            part = event.name.removeprefix(RANGE)
        if direction == "forward" and event.sequence_nr >= 0:
            parts[event.sequence_nr] = part
        own = event.self_device_time_total if of_kernels else event.self_cpu_time_total
        seconds[part, "both" if part in WITHOUT_DIRECTION else direction] += own / 1e6  # microseconds
        for child in event.cpu_children:
            add(child, part, direction)

    # the events of all threads one after another: while the backward pass runs, the main thread waits
    outermost = [event for event in events if event.cpu_parent is None and event.device_type == DeviceType.CPU]
    part, between = "optimizer", "optimizer"
    for event in sorted(outermost, key=lambda event: event.time_range.start):
        if event.name.startswith(BACKWARD):
            part = parts.get(event.sequence_nr, part)  # adding up a weight's gradient has no number: same part
            add(event, part, "backward")
            between = "optimizer"
        else:
            add(event, between, "forward")
            between = "vocabulary" if event.name == f"{RANGE}rest" else between
    return dict(seconds)
