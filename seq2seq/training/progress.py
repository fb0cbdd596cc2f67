"""How far a training has come, and what it says on the way."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from seq2seq.config import TrainingConfig
from seq2seq.text.batches import Position

LOWER_IS_BETTER = ("loss", "cer")
LABELS = {"loss": "loss", "bleu": "BLEU", "chrf": "chrF", "exact_match": "exact match", "cer": "CER"}


@dataclass
class Progress:
    """How far a training has come; with weights, optimizer and random numbers all that a resumed one needs."""

    update: int = 0
    seconds: float = 0.0  # spent on updates, over all resumptions; a checkpoint of before this was counted lacks it
    position: Position = field(default_factory=Position)
    best: float | None = None  # dev score of the best checkpoint
    stale: int = 0  # validations since then
    since_reduction: int = 0  # validations since then, or since the last reduction of the learning rate
    reductions: int = 0

    def validated(self, score: float, training: TrainingConfig) -> bool:
        """Count a validation; whether it is the best so far."""
        sign = -1 if training.early_stopping_metric in LOWER_IS_BETTER else 1
        if self.best is None or sign * score > sign * self.best:
            self.best, self.stale, self.since_reduction = score, 0, 0
            return True
        self.stale += 1
        self.since_reduction += 1
        if training.schedule == "plateau" and self.since_reduction >= training.decay_patience:
            self.reductions, self.since_reduction = self.reductions + 1, 0
        return False

    def finished(self, training: TrainingConfig) -> str | None:
        """Why there is nothing left to train; None if there is."""
        if self.update >= training.max_updates:
            return f"training.max_updates ({training.max_updates:,}) reached"
        if training.max_minutes and self.seconds >= 60 * training.max_minutes:
            return f"training.max_minutes ({training.max_minutes:g}) reached"
        if training.patience and self.stale >= training.patience:
            return f"no better {LABELS[training.early_stopping_metric]} in {self.stale} validations"
        return None

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: dict[str, Any]) -> "Progress":
        """What `as_dict` gave."""
        return cls(**(numbers | {"position": Position(**numbers["position"])}))


class Window:
    """The updates since the last record: loss a token, and target tokens a second."""

    def __init__(self) -> None:
        self._nats, self._tokens, self._start = 0.0, 0, time.perf_counter()

    def add(self, loss: float, tokens: int) -> None:
        """Count an update: its loss in nats a target token, and its real target tokens."""
        self._nats += loss * tokens
        self._tokens += tokens

    def close(self) -> dict[str, float]:
        """The mean loss in nats a target token, and the rate."""
        seconds = time.perf_counter() - self._start
        return {"loss": self._nats / self._tokens, "tokens_per_second": self._tokens / seconds}
