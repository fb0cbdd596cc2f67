"""The progress of a training: the numbers that a checkpoint keeps, and the rules that use them."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seq2seq.config import TrainingConfig
from seq2seq.data.batches import Position
from seq2seq.errors import UserError
from seq2seq.evaluation.choice import LABELS, LOWER_IS_BETTER
from seq2seq.training.update import UpdateResult

log = logging.getLogger("seq2seq")

MAX_SKIPPED = 10  # updates in a row: an odd batch may explain one or two, but only bad weights explain ten
RECORDS = 10  # records in the metrics from one validation to the next


@dataclass
class Interval:
    """The updates since the last record in the metrics."""

    nats: float = 0.0  # the loss, summed over target tokens
    cross_entropy: float = 0.0  # the same without label smoothing and coverage loss
    tokens: float = 0.0
    seconds: float = 0.0


@dataclass
class Progress:
    """The progress of a training. A resume needs it, the weights, the optimizer and the random states."""

    update: int = 0
    seconds: float = 0.0  # training time, including the time before a resume
    position: Position = field(default_factory=Position)  # of the next batch
    window: Interval = field(default_factory=Interval)  # checkpoints have this name
    validation: int = 0  # the update of the last validation
    metric: str = ""  # the measure that decides which checkpoint is the best
    yardstick: str = ""  # the digest of dev set and measure with which the best checkpoint was found
    since: int = 0  # the update from which on that yardstick is used
    best: float | None = None  # the dev score of the best checkpoint
    best_ties: list[float] = field(default_factory=list)  # what decides between it and one of the same score
    best_update: int | None = None  # the update of the best checkpoint
    stale: int = 0  # validations since the best one
    since_reduction: int = 0  # validations since the best one or the last reduction of the learning rate
    reductions: int = 0  # how often the learning rate was reduced
    skipped: int = 0  # updates whose loss or gradient was not finite
    skipped_in_a_row: int = 0  # consecutive skipped updates so far

    def count_update(self, result: UpdateResult, seconds: float, training: TrainingConfig) -> None:
        """Count an update.

        Raises:
            UserError: the loss or the gradient was not finite in `MAX_SKIPPED` updates in a row.
        """
        # count it
        self.update += 1
        self.seconds += seconds
        if result.is_finite:
            self.window.nats += result.loss * result.tokens
            self.window.cross_entropy += result.cross_entropy * result.tokens
            self.window.tokens += result.tokens
            self.window.seconds += seconds
            self.skipped_in_a_row = 0
            return

        # the loss or the gradient was not finite, so the weights did not change
        self.skipped += 1
        self.skipped_in_a_row += 1
        what = f"the loss is {result.loss:g}, the gradient norm {result.gradient_norm:g}"
        if self.skipped_in_a_row == MAX_SKIPPED:
            raise UserError(
                f"updates {self.update - MAX_SKIPPED + 1:,} to {self.update:,} were skipped: {what}. The last "
                f"checkpoint is good: lower training.learning_rate ({training.learning_rate:g}) or set "
                f"training.clip_norm ({training.clip_norm:g}), and continue with --resume --allow-changes"
            )
        log.warning("update %s is skipped: %s", f"{self.update:,}", what)

    def count_validation(self, scores: Mapping[str, float], training: TrainingConfig) -> bool:
        """Count a validation; return whether its score is the best so far."""
        self.validation = self.update
        if self.count_candidate(self.update, scores, training.early_stopping_metric):
            self.stale = self.since_reduction = 0
            return True
        if self.has_been_zero(training):
            return False

        # no improvement: count it, and reduce the learning rate if the schedule is `plateau`
        self.stale += 1
        self.since_reduction += 1
        if training.schedule == "plateau" and self.since_reduction >= training.decay_patience:
            self.reductions, self.since_reduction = self.reductions + 1, 0
        return False

    def count_candidate(self, update: int, scores: Mapping[str, float], metric: str) -> bool:
        """Compare a checkpoint with the best one; return whether it is better, and now the best.

        Exact match breaks ties of chrF. The loss breaks ties of a score that is 0, and so says nothing yet.
        """
        score, sign = scores[metric], -1 if metric in LOWER_IS_BETTER else 1
        ties = [scores["exact_match"]] if metric == "chrf" else []
        if score == 0 and sign == 1:
            ties.append(-scores["loss"] if math.isfinite(scores["loss"]) else -math.inf)
        is_first = self.best is None or math.isnan(self.best)
        is_better = [sign * score, *ties] > [sign * (self.best or 0), *self.best_ties]  # never with a score that is nan
        if not is_first and not is_better:
            return False
        self.best, self.best_ties, self.best_update = score, ties, update
        return True

    def has_been_zero(self, training: TrainingConfig) -> bool:
        """Return whether the measure has been 0 in all validations, so that it says nothing yet."""
        return self.best == 0 and training.early_stopping_metric not in LOWER_IS_BETTER

    def begin_anew(self) -> None:
        """Forget the best score, the patience and the reductions: dev set or measure are others from here on."""
        self.since = self.update
        self.best, self.best_ties, self.best_update = None, [], None
        self.stale = self.since_reduction = self.reductions = 0

    def close_window(self) -> dict[str, float]:
        """Return the mean losses (nats a target token) and the speed since the last record, and begin a new window."""
        window, self.window = self.window, Interval()
        losses = {"loss": window.nats / window.tokens, "cross_entropy": window.cross_entropy / window.tokens}
        return losses | {"tokens_per_second": window.tokens / max(window.seconds, 1e-9)}

    def record_is_due(self, training: TrainingConfig) -> bool:
        """Say whether the metrics get a record now: ten from one validation to the next, and one at the end."""
        every = max(1, training.validate_every // RECORDS)
        due = self.update % every == 0 or self.update % training.validate_every == 0 or bool(self.finished(training))
        return due and self.window.tokens > 0

    def validation_is_due(self, training: TrainingConfig) -> bool:
        """Say whether a validation comes next."""
        return self.update > self.validation and self.update % training.validate_every == 0

    def save_is_due(self, training: TrainingConfig) -> bool:
        """Say whether to save now, between two validations; each validation saves by itself."""
        every = training.save_every
        return every is not None and self.update % every == 0 and not self.validation_is_due(training)

    def finished(self, training: TrainingConfig) -> str | None:
        """Say why the training is over; None if it is not."""
        if self.update >= training.max_updates:
            return f"training.max_updates ({training.max_updates:,}) reached"
        if training.max_minutes and self.seconds >= 60 * training.max_minutes:
            return f"training.max_minutes ({training.max_minutes:g}) reached"
        if training.patience and self.stale >= training.patience:
            return f"no better {LABELS[training.early_stopping_metric]} in {self.stale} validations"
        return None

    @classmethod
    def from_dict(cls, numbers: dict[str, Any]) -> "Progress":
        """Return the progress that `asdict` turned into numbers."""
        parts = {"position": Position(**numbers["position"]), "window": Interval(**numbers["window"])}
        return cls(**(numbers | parts))
