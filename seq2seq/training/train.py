"""The training loop, top to bottom.

A resumed training takes weights, optimizer, random states and data position from its last checkpoint. It ends with the
same bits as a training that was never stopped.
"""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from seq2seq.config import Config, TrainingConfig
from seq2seq.errors import UserError
from seq2seq.evaluation.health import warnings
from seq2seq.runs.metrics import Metrics
from seq2seq.runs.run import Run
from seq2seq.training.calibration import calibrate
from seq2seq.training.ending import advise
from seq2seq.training.processes import Processes, join_processes
from seq2seq.training.progress import Progress
from seq2seq.training.resume import collect_state, is_another_race, restore_state
from seq2seq.training.schedule import learning_rate_at
from seq2seq.training.source import Source
from seq2seq.training.start import Start, prepare
from seq2seq.training.stop import Stop, Stopped
from seq2seq.training.stopwatch import Stopwatch
from seq2seq.training.update import make_optimizer, update
from seq2seq.training.validation import ValidationResult, headline

log = logging.getLogger("seq2seq")


def train(
    config: Config,
    path: Path,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    source: Source | None = None,
    until: int | None = None,
) -> Run:
    """Train a model into a run folder; the best checkpoint is the one with the best dev score.

    With `resume`, a run that is already in the folder continues; with `allow_changes`, even if config, data or
    vocabularies have changed. With a `source`, a new run starts from its weights and has its vocabularies. The training
    pauses after update `until`, saved and validated: a resume ends with the same bits as a training without the pause.

    Raises:
        UserError: bad data; a folder that already holds a run (without `resume`) or that another training uses; changes
            that are not allowed; losses that are again and again not finite; a full disk.
        Stopped: a signal stopped the training; all updates so far are saved.
    """
    with join_processes() as processes, Stop(ignore_second=processes.size > 1) as stop, ExitStack() as until_the_end:
        # data, vocabularies, model, run folder
        start = prepare(config, path, resume, allow_changes, source, processes, until_the_end)
        run, model, device, settings = start.run, start.model, start.device, start.settings
        optimizer = make_optimizer(settings, model)
        progress = Progress(validation=-1 if start.source else 0)  # the weights of a source are validated first
        clock = Stopwatch()
        until_the_end.enter_context(clock.running())

        # resume: go back to the last checkpoint
        if start.state:
            progress = restore_state(start.state, start.changes, optimizer, processes, device)
        another_race = start.state is not None and is_another_race(progress, start.yardstick, start.changes)
        pause = settings.max_updates if until is None else until
        if is_complete(start, progress, settings, pause) and not another_race:
            if progress.finished(settings):
                processes.on_first(lambda: calibrate(run, config, device, again=False))
            return run
        if processes.rank == 0:
            run.checkpoints.rewind(start.checkpoint, progress.best_update)
            run.metrics.cut(progress.update, start.state["metrics_bytes"] if start.state else 0)
            start.watch.begin(progress.update, progress.validation)
        progress.metric, progress.yardstick = settings.early_stopping_metric, start.yardstick
        metrics = run.metrics.with_tensorboard(progress.update) if processes.rank == 0 else None
        batches = start.batches.stream(progress.position, processes.rank, processes.size)
        record: dict[str, Any] | None = None

        def save(best: bool = False) -> None:
            state = collect_state(progress, optimizer, run.metrics.size(), processes, device, start.precision)
            state |= {"weights": model.state_dict()} if start.average else {}
            number, keep = progress.update, settings.keep
            processes.on_first(lambda: run.checkpoints.save(number, start.shown, state, best=best, keep=keep))

        with stop.deferred(), progress_bar(settings, progress, processes) as bar:
            # another dev set or measure: compare the checkpoints again
            if another_race:
                measure_again(start, progress, metrics, processes, stop)
                save()

            try:
                while True:
                    # validate, save, and only then report; after a stop before a validation, a resume begins here
                    if progress.validation_is_due(settings):
                        validated = validate(start, progress, metrics, processes, stop)
                        save(best=validated.is_best)
                        report(validated, record, start, progress)
                        record = None
                    if progress.finished(settings) or progress.update >= pause:
                        break

                    # next batches
                    began, micro_batches = clock.seconds(), []
                    for _ in range(settings.accumulate):
                        progress.position, batch = next(batches)
                        micro_batches.append(batch.to(device))

                    # learning rate
                    learning_rate = learning_rate_at(progress.update + 1, progress.reductions, settings)
                    for group in optimizer.param_groups:
                        group["lr"] = learning_rate

                    # forward and loss, backward, clip, step
                    result = update(
                        model.train(),
                        optimizer,
                        micro_batches,
                        settings,
                        precision=start.precision,
                        processes=processes,
                    )
                    if start.average:
                        start.average.update_parameters(model)

                    # count; of several processes, the one that was paused knows how long the update took
                    seconds = -processes.max(began - clock.seconds())
                    progress.count_update(result, seconds, settings)
                    bar.update()

                    # log
                    if progress.record_is_due(settings):
                        record = {"update": progress.update, "epoch": progress.position.epoch, "split": "train"}
                        record |= progress.close_window()
                        record |= {"learning_rate": learning_rate, "skipped": progress.skipped}
                        record |= {"gradient_norm": result.gradient_norm} if result.is_finite else {}
                        bar.set_postfix_str(f"loss {record['cross_entropy']:.3f}")
                        if metrics:
                            metrics.add(record)

                    # save between validations
                    if progress.save_is_due(settings):
                        save()

                    # stop when asked
                    if asked := int(processes.max(stop.asked)):
                        raise Stopped(asked)

                # end between two validations: save, then validate once more. The checkpoint does not include this
                # validation, so a run that is made longer later equals one that was longer from the start
                if progress.validation < progress.update:
                    save()
                    validated = validate(start, progress, metrics, processes, stop)
                    if validated.is_best and processes.rank == 0:
                        run.checkpoints.point("best", progress.update)
                    report(validated, record, start, progress)
                if ended := progress.finished(settings):
                    log.info("training ended: %s", ended)
                    source_run = run.environment().get("from", {}).get("run")
                    for line in advise(run.metrics.records(), progress, settings, run.path, source_run):
                        log.info(line)
            except Stopped as stopped:
                save()
                raise Stopped(stopped.signal, f"after update {progress.update:,}, which is saved") from None

        # learn what the finished model is unsure of
        if progress.finished(settings) and not stop.asked:
            processes.on_first(lambda: calibrate(run, config, device))
        if stop.asked:
            raise Stopped(stop.asked, "at its end")
    return run


class Validated(NamedTuple):
    """A validation, and whether its score is the best so far."""

    result: ValidationResult
    is_best: bool


def validate(start: Start, progress: Progress, metrics: Metrics | None, processes: Processes, stop: Stop) -> Validated:
    """Measure the model on the dev set, count it, and add it to the metrics. A signal interrupts it."""

    def measure() -> ValidationResult:
        with stop.deferred(on=False):
            return start.validation.run()

    result = processes.on_first(measure)
    is_best = progress.count_validation(result.scores, start.settings)
    if metrics:
        start.watch.keep(progress.update)
        metrics.add({"update": progress.update, "split": "dev", **result.scores})
    return Validated(result, is_best)


def measure_again(start: Start, progress: Progress, metrics: Metrics | None, processes: Processes, stop: Stop) -> None:
    """Measure the kept checkpoints with the new dev set or measure, the old best one among them, and find the best.

    Patience and the reductions of the learning rate begin anew. At the end the model has its present weights again.
    """
    log.info(
        "data.dev or its measure has changed: best, patience and plateau begin anew. The kept checkpoints now have:"
    )
    run, metric = start.run, start.settings.early_stopping_metric
    progress.begin_anew()

    def measure() -> list[tuple[int, dict[str, Any]]]:
        measured = []
        for checkpoint in run.checkpoints.all():
            try:
                checkpoint.verify()
            except UserError as error:
                log.warning("%s", error)
                continue
            checkpoint.load_weights(start.shown)
            with stop.deferred(on=False):
                measured.append((checkpoint.update, start.validation.run().scores))
        assert start.checkpoint
        start.checkpoint.load_weights(start.shown)
        return measured

    # compare them, and point at the best
    for number, scores in processes.on_first(measure):
        is_best = progress.count_candidate(number, scores, metric)
        log.info(headline(number, None, scores, metric, is_best))
        if metrics:
            metrics.add({"update": number, "split": "dev", **scores})
    if processes.rank == 0:
        assert progress.best_update is not None
        run.checkpoints.point("best", progress.best_update)


def report(validated: Validated, record: dict[str, Any] | None, start: Start, progress: Progress) -> None:
    """Log a validation; `record` is the last record of the training, None right after a resume."""
    (scores, example), metric = validated.result, start.settings.early_stopping_metric
    log.info(headline(progress.update, record, scores, metric, validated.is_best))
    log.info(example)
    for line in warnings(progress.update, scores, start.model.decoder.W_y.out_features):
        log.warning(line)


def is_complete(start: Start, progress: Progress, settings: TrainingConfig, pause: int) -> bool:
    """Return whether a resumed run has nothing left to train or to validate before its pause, and log where it is."""
    records = start.run.metrics.records()
    validated = any(r["update"] == progress.update and r["split"] == "dev" for r in records)
    complete = validated and (progress.finished(settings) is not None or progress.update >= pause)
    if start.checkpoint:
        log.info("%s after update %s", "finished" if complete else "going on", f"{progress.update:,}")
    return complete


def progress_bar(settings: TrainingConfig, progress: Progress, processes: Processes) -> "tqdm[Any]":
    """Return a progress bar, in a notebook or on a terminal; otherwise, and on other ranks, it is silent."""
    return tqdm(
        total=settings.max_updates,
        initial=progress.update,
        unit="update",
        disable=True if processes.rank else None,
        dynamic_ncols=True,
    )
