"""The time of an update by part: a clock that is read wherever one part ends and another begins.

Forward, these boundaries are hooks on modules. Autograd numbers on the way what it will run backward, so that each
gradient belongs to the part in which its operation ran. What lies between the end of the model and its first gradient
is the vocabulary and the loss, whose two directions are one.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from seq2seq.data.batches import Batch, Batches, Position
from seq2seq.model import decoder
from seq2seq.model.seq2seq import Seq2Seq

DECODER_PARTS = {"recurrent": "recurrence", "self_attention": "self_attention", "attention": "attention"}


class Clock:
    """Seconds by part and direction (`forward`, `backward`, or `both`): all that passes belongs to one of them.

    Args:
        read: gives the time.
    """

    def __init__(self, read: Callable[[], float]):
        self._read = read
        self.now = ("other", "both")
        self.restart()

    def restart(self) -> None:
        """Forget what was measured."""
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._since = self._read()

    def enter(self, part: str, direction: str = "both") -> None:
        """A boundary: what has passed since the last one belongs to the part that ends here."""
        time = self._read()
        self.seconds[self.now] += time - self._since
        self.now, self._since = (part, direction), time


class TimedBatches:
    """The batches of a training, kept as they pass; the clock is told when one is being made."""

    def __init__(self, batches: Batches, clock: Clock):
        self._batches, self._clock = batches, clock
        self.seen: list[Batch] = []

    def stream(self, position: Position) -> Iterator[tuple[Position, Batch]]:
        """What the batches give."""
        stream = self._batches.stream(position)
        while True:
            self._clock.enter("data")
            position, batch = next(stream)
            self._clock.enter("other")
            self.seen.append(batch)
            yield position, batch


@contextmanager
def watched(model: Seq2Seq, optimizer: torch.optim.Optimizer, clock: Clock) -> Iterator[None]:
    """Have the clock read at the boundaries of the parts of every update."""
    begun: list[tuple[int, str]] = []  # autograd's number where a part begins
    outer: list[tuple[str, str]] = []

    def begin(part: str, direction: str = "forward") -> None:
        begun.append((torch.autograd._get_sequence_nr(), part))
        clock.enter(part, direction)

    def into(part: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            outer.append(clock.now)
            begin(part)

        return hook

    def out_of(*_: Any) -> None:
        begin(*outer.pop())

    def back_into(part: str) -> Callable[..., None]:
        return lambda _: None if clock.now == (part, "backward") else clock.enter(part, "backward")

    def start(*_: Any) -> None:
        begun.clear()
        outer.clear()
        begin("rest")

    def end(module: nn.Module, inputs: Any, outputs: tuple[Tensor, ...]) -> None:
        clock.enter("other")
        for node in _graph(outputs):
            part = begun[bisect_right(begun, node._sequence_nr(), key=itemgetter(0)) - 1][1]
            node.register_prehook(back_into(part))
        clock.enter("vocabulary")

    handles: list[Any] = [
        model.register_forward_pre_hook(start),
        model.register_forward_hook(end),
        model.encoder.embedding.weight.register_post_accumulate_grad_hook(lambda _: clock.enter("optimizer")),
        optimizer.register_step_post_hook(lambda *_: clock.enter("other")),
    ]
    for name, module in model.named_modules():
        if part := _part(name):
            handles += [module.register_forward_pre_hook(into(part)), module.register_forward_hook(out_of)]
    one_at_a_time = decoder.OneAtATime  # no module, so that hooks do not see it

    class Timed(one_at_a_time):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any) -> None:
            into("recurrence")()
            super().__init__(*args)
            out_of()

        def __call__(self, *args: Any) -> Any:
            into("recurrence")()
            result = super().__call__(*args)
            out_of()
            return result

    decoder.OneAtATime = Timed  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        decoder.OneAtATime = one_at_a_time  # type: ignore[misc]
        for handle in handles:
            handle.remove()


def _part(module: str) -> str | None:
    """The part that a module is, or is inside of; None where that is not told by its name."""
    side, *path = module.split(".")
    if side == "encoder":
        return None if path else side
    return next((DECODER_PARTS[name] for name in path if name in DECODER_PARTS), None)


def _graph(outputs: tuple[Tensor, ...]) -> set[Node]:
    """The nodes of the graph below tensors, but for the parameters."""
    found: set[Node] = set()
    stack = [tensor.grad_fn for tensor in outputs]
    while stack:
        node = stack.pop()
        if node and node.next_functions and node not in found:
            found.add(node)
            stack.extend(below for below, _ in node.next_functions)
    return found
