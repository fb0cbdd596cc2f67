"""How far a training has come, and what it says on the way."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from seq2seq.config import TrainingConfig
from seq2seq.data.batches import Position

LOWER_IS_BETTER = ("loss", "cer")
LABELS = {"loss": "loss", "bleu": "BLEU", "chrf": "chrF", "exact_match": "exact match", "cer": "CER"}


@dataclass
class Window:
    """The updates since the last record of the metrics."""

    nats: float = 0.0  # the loss, summed over target tokens
    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, loss: float, tokens: float, seconds: float) -> None:
        """Count an update: its loss in nats a target token, its real target tokens, and its time."""
        self.nats += loss * tokens
        self.tokens += tokens
        self.seconds += seconds

    def close(self) -> dict[str, float]:
        """The mean loss in nats a target token, and the rate."""
        return {"loss": self.nats / self.tokens, "tokens_per_second": self.tokens / self.seconds}


@dataclass
class Progress:
    """How far a training has come; with weights, optimizer and random numbers all that a resumed one needs."""

    update: int = 0
    seconds: float = 0.0  # spent on updates, over all resumptions; a checkpoint of before this was counted lacks it
    position: Position = field(default_factory=Position)
    window: Window = field(default_factory=Window)
    validation: int = 0  # the update of the last one that counts for `best`, `stale` and the learning rate
    best: float | None = None  # dev score of the best checkpoint
    best_update: int | None = None  # its update
    stale: int = 0  # validations since then
    since_reduction: int = 0  # validations since then, or since the last reduction of the learning rate
    reductions: int = 0
    skipped: int = 0  # updates whose loss or gradient was not finite
    skipped_in_a_row: int = 0  # of them those since the last that was

    def validation_is_due(self, training: TrainingConfig) -> bool:
        """Whether the next thing to do is to validate."""
        return self.update > self.validation and not self.update % training.validate_every

    def validated(self, score: float, training: TrainingConfig) -> bool:
        """Count a validation; whether it is the best so far."""
        self.validation = self.update
        sign = -1 if training.early_stopping_metric in LOWER_IS_BETTER else 1
        if self.best is None or sign * score > sign * self.best or math.isnan(self.best):
            self.best, self.best_update, self.stale, self.since_reduction = score, self.update, 0, 0
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
        """What `as_dict` gave; a checkpoint of before some of them were counted was saved right after a validation."""
        parts = {"position": Position(**numbers["position"]), "window": Window(**numbers.get("window", {}))}
        return cls(**({"validation": numbers["update"]} | numbers | parts))
