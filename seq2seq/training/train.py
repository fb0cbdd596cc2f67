"""The training loop, top to bottom.

A resumed training takes weights, optimizer, random states and data position from its last checkpoint. It ends with the
same bits as a training that was never stopped.
"""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from seq2seq.config import Config
from seq2seq.runs.run import Run
from seq2seq.training.calibration import calibrate
from seq2seq.training.ending import is_complete, log_advice
from seq2seq.training.keeping import Keeper
from seq2seq.training.processes import join_processes
from seq2seq.training.progress import Progress
from seq2seq.training.resume import restore_state
from seq2seq.training.schedule import learning_rate_at
from seq2seq.training.source import Source
from seq2seq.training.start import prepare
from seq2seq.training.stop import Stop, Stopped
from seq2seq.training.stopwatch import Stopwatch
from seq2seq.training.update import make_optimizer, update

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
        run, device, settings = start.run, start.device, start.settings

        # optimizer and progress; after a resume those of the last checkpoint
        optimizer = make_optimizer(settings, start.model)
        progress = Progress(validation=-1 if start.source else 0)  # the weights of a source are validated first
        if start.state:
            progress = restore_state(start.state, start.changes, optimizer, processes, device)
        is_new_yardstick = progress.yardstick not in ("", start.yardstick)  # not the one that found the best checkpoint
        pause = settings.max_updates if until is None else until
        if is_complete(start, progress, pause) and not is_new_yardstick:
            if progress.finished(settings):
                processes.on_first(lambda: calibrate(run, config, device, again=False))
            return run
        keeper = Keeper(start, progress, optimizer, stop)
        progress.metric, progress.yardstick = settings.early_stopping_metric, start.yardstick

        # train; on a terminal or in a notebook the first process shows a bar
        silent, length = True if processes.rank else None, settings.max_updates  # None: silent unless on a terminal
        bar = tqdm(total=length, initial=progress.update, unit="update", dynamic_ncols=True, disable=silent)
        with stop.deferred(), bar:
            if is_new_yardstick:  # another dev set or measure: compare the checkpoints again
                keeper.measure_again()
            try:
                run_updates(keeper, bar, pause)
            except Stopped as stopped:
                keeper.save()
                raise Stopped(stopped.signal, f"after update {progress.update:,}, which is saved") from None

        # at its end: advice, and what the finished model is unsure of
        if ended := progress.finished(settings):
            log.info("training ended: %s", ended)
            log_advice(run, progress, settings)
            if not stop.asked:
                processes.on_first(lambda: calibrate(run, config, device))
        if stop.asked:
            raise Stopped(stop.asked, "at its end")
    return run


def run_updates(keeper: Keeper, bar: "tqdm[Any]", pause: int) -> None:
    """Update the model, validate and save until the training is finished or pauses; raise `Stopped` after a signal."""
    start, progress, optimizer = keeper.start, keeper.progress, keeper.optimizer
    model, settings, processes = start.model, start.settings, start.processes
    batches = start.batches.stream(progress.position, processes.rank, processes.size)
    record: dict[str, Any] | None = None
    clock = Stopwatch()
    with clock.running():
        while True:
            # validate; after a stop before a validation, a resume begins here
            if progress.validation_is_due(settings):
                keeper.validate(record)
                record = None
            if progress.finished(settings) or progress.update >= pause:
                break

            # next batches
            began, micro_batches = clock.seconds(), []
            for _ in range(settings.accumulate):
                progress.position, batch = next(batches)
                micro_batches.append(batch.to(start.device))

            # learning rate
            learning_rate = learning_rate_at(progress.update + 1, progress.reductions, settings)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

            # forward and loss, backward, clip, step
            result = update(
                model.train(), optimizer, micro_batches, settings, precision=start.precision, processes=processes
            )
            if start.average:
                start.average.update_parameters(model)

            # count; the shortest time of all processes counts, since the others waited while one was paused
            shortest = -processes.max(-(clock.seconds() - began))
            progress.count_update(result, shortest, settings)
            bar.update()

            # log
            if progress.record_is_due(settings):
                record = {"update": progress.update, "epoch": progress.position.epoch, "split": "train"}
                record |= progress.close_window()
                record |= {"learning_rate": learning_rate, "skipped": progress.skipped}
                record |= {"gradient_norm": result.gradient_norm} if result.is_finite else {}
                bar.set_postfix_str(f"loss {record['cross_entropy']:.3f}")
                keeper.add(record)

            # save between validations
            if progress.save_is_due(settings):
                keeper.save()

            # stop when asked
            if asked := int(processes.max(keeper.stop.asked)):
                raise Stopped(asked)

    # end between two validations
    if progress.validation < progress.update:
        keeper.validate_at_the_end(record)
