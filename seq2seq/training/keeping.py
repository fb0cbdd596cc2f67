"""What a training keeps as it goes on: checkpoints, scores and metrics."""

import logging
from typing import Any

import torch

from seq2seq.errors import UserError
from seq2seq.evaluation.choice import LABELS
from seq2seq.evaluation.health import warnings
from seq2seq.training.progress import Progress
from seq2seq.training.resume import collect_state
from seq2seq.training.start import Start
from seq2seq.training.stop import Stop
from seq2seq.training.validation import ValidationResult

log = logging.getLogger("seq2seq")


class Keeper:
    """The keeper of a training's progress, checkpoints and scores. Each process has one, and that of rank 0 writes.

    At first it deletes what the run folder has beyond the checkpoint of `start`.
    """

    def __init__(self, start: Start, progress: Progress, optimizer: torch.optim.Optimizer, stop: Stop):
        self.start, self.progress, self.optimizer, self.stop = start, progress, optimizer, stop
        self._metrics = None
        if start.processes.rank == 0:
            start.run.checkpoints.rewind(start.checkpoint, progress.best_update)
            start.run.metrics.cut(progress.update, start.state["metrics_bytes"] if start.state else 0)
            start.watch.begin(progress.update, progress.validation)
            self._metrics = start.run.metrics.with_tensorboard(progress.update)

    def add(self, record: dict[str, Any]) -> None:
        """Add a record to the metrics."""
        if self._metrics:
            self._metrics.add(record)

    def save(self, best: bool = False) -> None:
        """Save a checkpoint."""
        start, number = self.start, self.progress.update
        state = collect_state(
            self.progress, self.optimizer, start.run.metrics.size(), start.processes, start.device, start.precision
        )
        state |= {"weights": start.model.state_dict()} if start.average else {}
        write, keep = start.run.checkpoints.save, start.settings.keep
        start.processes.on_first(lambda: write(number, start.shown, state, best=best, keep=keep))

    def validate(self, record: dict[str, Any] | None) -> None:
        """Validate, save, and only then report; `record` is the last one of the training, None right after a resume."""
        result, is_best = self._measure()
        self.save(best=is_best)
        self._report(result, is_best, record)

    def validate_at_the_end(self, record: dict[str, Any] | None) -> None:
        """Save, then validate between two ordinary validations.

        The checkpoint does not include this validation, so a run that is made longer later equals one that was longer
        from the start.
        """
        self.save()
        result, is_best = self._measure()
        if is_best and self._metrics:
            self.start.run.checkpoints.point("best", self.progress.update)
        self._report(result, is_best, record)

    def measure_again(self) -> None:
        """Measure the kept checkpoints with a new dev set or measure, the old best one among them, and find the best.

        Patience and the reductions of the learning rate begin anew. At the end the model has its present weights again.
        """
        log.info(
            "data.dev or its measure has changed: best, patience and plateau begin anew. The kept checkpoints now have:"
        )
        start, metric = self.start, self.start.settings.early_stopping_metric
        self.progress.begin_anew()

        def measure() -> list[tuple[int, dict[str, Any]]]:
            measured = []
            for checkpoint in start.run.checkpoints.all():
                try:
                    checkpoint.verify()
                except UserError as error:
                    log.warning("%s", error)
                    continue
                checkpoint.load_weights(start.shown)
                with self.stop.deferred(on=False):
                    measured.append((checkpoint.update, start.validation.run().scores))
            assert start.checkpoint
            start.checkpoint.load_weights(start.shown)
            return measured

        # compare them, point at the best, and save
        for number, scores in start.processes.on_first(measure):
            is_best = self.progress.count_candidate(number, scores, metric)
            log.info(headline(number, None, scores, metric, is_best))
            self.add({"update": number, "split": "dev", **scores})
        if self._metrics:
            assert self.progress.best_update is not None
            start.run.checkpoints.point("best", self.progress.best_update)
        self.save()

    def _measure(self) -> tuple[ValidationResult, bool]:
        """Measure the model on the dev set; return the result, and whether it is the best so far."""

        def measure() -> ValidationResult:
            with self.stop.deferred(on=False):
                return self.start.validation.run()

        result = self.start.processes.on_first(measure)
        is_best = self.progress.count_validation(result.scores, self.start.settings)
        if self._metrics:
            self.start.watch.keep(self.progress.update)
            self._metrics.add({"update": self.progress.update, "split": "dev", **result.scores})
        return result, is_best

    def _report(self, result: ValidationResult, is_best: bool, record: dict[str, Any] | None) -> None:
        update, metric = self.progress.update, self.start.settings.early_stopping_metric
        log.info(headline(update, record, result.scores, metric, is_best))
        log.info(result.example)
        for line in warnings(update, result.scores, self.start.model.decoder.W_y.out_features):
            log.warning(line)


def headline(update: int, record: dict[str, Any] | None, scores: dict[str, Any], metric: str, best: bool) -> str:
    """Return the log line of a validation; `record` is the last record of the training, None after a resume."""
    shown = ["bleu", "chrf"] if metric in ("bleu", "chrf", "loss") else ["bleu", "chrf", metric]
    parts = [
        f"update {update:6,}",
        *([f"train loss {record['cross_entropy']:.3f}"] if record else []),
        f"dev loss {scores['loss']:.3f} nats/token",
        f"perplexity {scores['perplexity']:.2f}",
        *(f"{LABELS[name]} {scores[name]:.1f}" for name in shown),
        *([f"{record['tokens_per_second']:,.0f} tokens/s"] if record else []),
        *(["best"] if best else []),
    ]
    return "  ".join(parts)
