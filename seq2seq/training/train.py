"""The training loop, top to bottom: what there is to begin with, updates, validations, checkpoints.

A run that is resumed goes on with the weights, the optimizer, the random numbers and the data position of its last
checkpoint, and ends with the same bits as one that was never stopped.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from seq2seq.config import Config, TrainingConfig
from seq2seq.data.batches import Batch, Batches, Position
from seq2seq.errors import UserError
from seq2seq.evaluation.health import warnings
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.run import Run
from seq2seq.training.processes import ALONE, Processes, joined
from seq2seq.training.progress import Progress, Window
from seq2seq.training.resume import difference_of_processes, restored, taken
from seq2seq.training.schedule import rate
from seq2seq.training.start import Prepared, prepare
from seq2seq.training.stop import Stop, Stopped
from seq2seq.training.tensorboard import scalars
from seq2seq.training.update import Updated, make_optimizer, update
from seq2seq.training.validation import headline

log = logging.getLogger("seq2seq")

MOST_SKIPPED = 10  # updates in a row: one or two are some batch's fault, ten are the weights'


def train(config: Config, path: Path, *, resume: bool = False, allow_changes: bool = False) -> Run:
    """Train a model into a run folder; the best checkpoint is the one with the best dev score.

    Args:
        config: what to train.
        path: the run folder, made if need be.
        resume: go on with the run in the folder, if there is one.
        allow_changes: go on though config, data or vocabularies are not what they were.

    Raises:
        UserError: bad data; a folder that holds a run while `resume` is false, or that another training writes into;
            changes that are not allowed; losses that stay not finite; a disk that is full.
        Stopped: a signal has asked for it; what was done until then is saved.
    """
    with joined() as processes, Stop(patient=processes.size > 1) as stop, ExitStack() as until_the_end:
        # 1. Data, vocabularies, the model, the run folder
        prepared = prepare(config, path, resume, allow_changes, processes, until_the_end)

        # 2. Where the training stands
        training = Training(config.training, prepared, processes, stop)
        if training.is_over():
            return prepared.run
        training.rewind()

        # 3. Updates and validations, until one of them is the last
        with stop.held(), training.saved_when_stopped():
            training.validate_if_due()
            for record in training.updates(prepared.batches):
                training.log(record)
                training.validate_if_due()
                training.save_if_due()
                training.stop_if_asked()
            training.validate_at_the_end()
        if stop.asked:
            raise Stopped(stop.asked, "at its end")
    return prepared.run


class Training:
    """A training under way: what changes with each update, and what becomes of it in the run folder.

    In each of several processes there is one, and all take the same steps; the first alone validates and writes.

    Args:
        settings: how the network learns.
        prepared: what there is to begin with, or to go on with.
        processes: that train together.
        stop: asks the training to stop.
    """

    def __init__(self, settings: TrainingConfig, prepared: Prepared, processes: Processes, stop: Stop):
        self.settings, self.processes, self.stop = settings, processes, stop
        self.run, self.device, self.model, self.validation = prepared[:4]
        self.optimizer = make_optimizer(settings, self.model)
        self.progress = Progress()
        self._checkpoint, self._state = prepared.checkpoint, prepared.state
        if self._state:
            self.progress = restored(self._state, prepared.changed, self.optimizer, processes, self.device)
            if difference := difference_of_processes(self._state, processes, settings.accumulate):
                log.warning(difference)
        self._record: dict[str, Any] = {"loss": math.nan, "tokens_per_second": 0.0}  # the last one of updates
        if processes.rank == 0:
            self._to_tensorboard = scalars(self.run.path / "tensorboard", self.progress.update)

    def is_over(self) -> bool:
        """Whether there is nothing left to do, not even to validate."""
        measured = any(r["update"] == self.progress.update and r["split"] == "dev" for r in self.run.metrics.records())
        over = bool(self.progress.finished(self.settings)) and measured
        if self._checkpoint:
            log.info("%s after update %s", "finished" if over else "going on", f"{self.progress.update:,}")
        return over

    def rewind(self) -> None:
        """Make the run folder what it was at the checkpoint to go on from."""
        if self.processes.rank == 0:
            size = (self._state or {}).get("metrics_bytes")  # a checkpoint of before this was kept lacks it
            self.run.checkpoints.rewind(self._checkpoint, self.progress.best_update)
            self.run.metrics.cut(self._checkpoint.update if self._checkpoint else 0, size)

    def updates(self, batches: Batches) -> Iterator[dict[str, Any] | None]:
        """The function `updates`, on the batches that are this process' own."""
        stream = batches.stream(self.progress.position, self.processes.rank, self.processes.size)
        return updates(self.settings, self.model, self.optimizer, stream, self.progress, self.device, self.processes)

    def log(self, record: dict[str, Any] | None) -> None:
        """Add a record of updates to the metrics, where there is one."""
        if record:
            self._record = record
            self._keep(record)

    def validate_if_due(self) -> None:
        """Validate and save, every so many updates."""
        if self.progress.validation_is_due(self.settings):
            best = self._validate()
            self.save(best=best)

    def validate_at_the_end(self) -> None:
        """Validate where a training has ended between two validations.

        One that is made longer and goes on knows nothing of it: its checkpoint is from before.
        """
        if self.progress.validation < self.progress.update:
            self.save()
            if self._validate() and self.processes.rank == 0:
                self.run.checkpoints.point("best", self.progress.update)
        log.info("training ended: %s", self.progress.finished(self.settings))

    def save_if_due(self) -> None:
        """Save between validations, where the config asks for it."""
        every, update = self.settings.save_every, self.progress.update
        if every and not update % every and update != self.progress.validation:
            self.save()

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint, which is the best one so far or not."""
        state = taken(self.progress, self.optimizer, self.processes, self.device)
        state["metrics_bytes"] = self.run.metrics.size()
        update, keep = self.progress.update, self.settings.keep
        self.processes.first(lambda: self.run.checkpoints.save(update, self.model, state, best=best, keep=keep))

    def stop_if_asked(self) -> None:
        """Raise `Stopped` where any of the processes has been asked to stop."""
        if asked := self.processes.most(self.stop.asked)[0]:
            raise Stopped(int(asked))

    @contextmanager
    def saved_when_stopped(self) -> Iterator[None]:
        """Save what is done when the training is stopped."""
        try:
            yield
        except Stopped as stopped:
            self.save()
            raise Stopped(stopped.signal, f"after update {self.progress.update:,}, which is saved") from None

    def _validate(self) -> bool:
        """Measure the model on the dev set and say so; whether it is the best so far. May be stopped at any point."""

        def measured() -> tuple[dict[str, Any], str]:
            with self.stop.released():
                return self.validation.run()

        scores, sample = self.processes.first(measured)
        metric = self.settings.early_stopping_metric
        best = self.progress.validated(scores[metric], self.settings)
        self._keep({"update": self.progress.update, "split": "dev", **scores})
        log.info(headline(self.progress.update, self._record, scores, metric, best))
        log.info(sample)
        for line in warnings(self.progress.update, scores, self.model.decoder.W_y.out_features):
            log.warning(line)
        return best

    def _keep(self, record: dict[str, Any]) -> None:
        if self.processes.rank == 0:
            self.run.metrics.add(record)
            self._to_tensorboard(record)


# ------------------------------------------------------------------------------------------------------------ updates


def updates(
    training: TrainingConfig,
    model: Seq2Seq,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Position, Batch]],
    progress: Progress,
    device: torch.device,
    processes: Processes = ALONE,
) -> Iterator[dict[str, Any] | None]:
    """Update the model until it is finished. After each update, a record of the updates since the last record, ten a
    validation and one before it; None where it is not time for one.

    Raises:
        UserError: `MOST_SKIPPED` updates in a row had a loss or a gradient that was not finite.
    """
    every = max(1, training.validate_every // 10)
    silent = True if processes.rank else None  # None: where standard error is no terminal
    bar = tqdm(total=training.max_updates, initial=progress.update, unit="update", disable=silent, dynamic_ncols=True)
    while not progress.finished(training):
        start = time.perf_counter()
        micro_batches = []
        for _ in range(training.accumulate):
            progress.position, batch = next(batches)
            micro_batches.append(batch.to(device))
        learning_rate = training.learning_rate * _multiplier(training, progress)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        updated = update(model.train(), optimizer, micro_batches, training, processes)
        (seconds,) = processes.most(time.perf_counter() - start)
        _count(updated, seconds, progress, training)
        bar.update()
        due = not (progress.update % every and progress.update % training.validate_every)
        if progress.window.tokens and (due or progress.finished(training)):
            record = {"update": progress.update, "epoch": progress.position.epoch, "split": "train"}
            record |= progress.window.close() | {"learning_rate": learning_rate, "skipped": progress.skipped}
            bar.set_postfix_str(f"loss {record['loss']:.3f}")
            progress.window = Window()
            yield record | ({"gradient_norm": updated.norm} if updated.finite else {})
        else:
            yield None
    bar.close()


def _multiplier(training: TrainingConfig, progress: Progress) -> float:
    return rate(
        training.schedule,
        progress.update + 1,
        warmup=training.warmup_updates,
        total=training.max_updates,
        reductions=progress.reductions,
        factor=training.decay_factor,
    )


def _count(updated: Updated, seconds: float, progress: Progress, training: TrainingConfig) -> None:
    """Count an update, which was skipped where its loss or gradient is not finite."""
    progress.update += 1
    progress.seconds += seconds
    if updated.finite:
        progress.window.add(updated.loss, updated.tokens, seconds)
        progress.skipped_in_a_row = 0
        return
    progress.skipped += 1
    progress.skipped_in_a_row += 1
    what = f"the loss is {updated.loss:g}, the norm of its gradient {updated.norm:g}"
    if progress.skipped_in_a_row == MOST_SKIPPED:
        raise UserError(
            f"updates {progress.update - MOST_SKIPPED + 1:,} to {progress.update:,} were skipped, {what}; the weights "
            "have not moved since, and the last checkpoint is whole. Lower training.learning_rate "
            f"({training.learning_rate:g}) or set training.clip_norm ({training.clip_norm:g}), and go on from it with "
            "--resume --allow-changes"
        )
    log.warning("update %s is skipped: %s", f"{progress.update:,}", what)
