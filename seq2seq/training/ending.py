"""The end of a training: whether it is reached, and in a line or two what was seen: whether to go on, and how."""

import logging
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2seq.config import TrainingConfig
from seq2seq.errors import resume_command
from seq2seq.evaluation.choice import LABELS
from seq2seq.runs.metrics import weakness
from seq2seq.runs.run import Run
from seq2seq.training.progress import Progress
from seq2seq.training.start import Start

log = logging.getLogger("seq2seq")

RISEN = 1.01  # times the lowest dev loss: a smaller rise may be noise
FIXED_LENGTH = ("cosine", "one_cycle")  # schedules whose learning rate is 0 at the end


def is_complete(start: Start, progress: Progress, pause: int) -> bool:
    """Return whether a resumed run has nothing left to train or to validate before its pause, and log where it is."""
    records = start.run.metrics.records()
    validated = any(r["update"] == progress.update and r["split"] == "dev" for r in records)
    complete = validated and (progress.finished(start.settings) is not None or progress.update >= pause)
    if start.checkpoint:
        most = start.settings.max_updates
        beyond = f", beyond training.max_updates ({most:,}): nothing is trained" if progress.update > most else ""
        log.info("%s after update %s%s", "finished" if complete else "going on", f"{progress.update:,}", beyond)
    return complete


def log_advice(run: Run, progress: Progress, training: TrainingConfig) -> None:
    """Log the advice about a finished training; a weak model is a warning."""
    source, records = run.environment().get("from", {}).get("run"), run.metrics.records()
    for line in advise(records, progress, training, run.path, source):
        log.info(line)
    best = [record for record in records if record["split"] == "dev" and record["update"] == progress.best_update]
    if best and (weak := weakness(best[-1])):
        log.warning("%s; more pairs or more updates may help", weak)


def advise(
    records: Sequence[dict[str, Any]],
    progress: Progress,
    training: TrainingConfig,
    run: Path,
    source: str | None = None,
) -> list[str]:
    """Return what the validations of a finished training show, and what to do next.

    `records` are the metrics of the run, and `source` is the run that it was begun from, if it was.
    """
    # the validations by the present dev set and measure; of a repeated one the last counts
    metric = training.early_stopping_metric
    seen = {r["update"]: r for r in records if r["split"] == "dev" and r["update"] >= progress.since}
    dev = [seen[update] for update in sorted(seen) if math.isfinite(seen[update]["loss"])]
    if len(dev) < 2:
        return []
    last, lowest = dev[-1], min(dev, key=lambda r: r["loss"])
    has_risen = last["loss"] > RISEN * lowest["loss"]
    rise = (
        f"dev loss has risen since update {lowest['update']:,} ({lowest['loss']:.3f} to {last['loss']:.3f} nats/token)"
    )

    # still improving: the last validation is the best one
    best = progress.best_update == last["update"] and not progress.has_been_zero(training)
    if best or last is lowest:
        score = f"{LABELS[metric]} {last[metric]:.{3 if metric == 'loss' else 1}f} is the best"
        what = score if best else f"dev loss {last['loss']:.3f} nats/token is the lowest"
        though = f", though {rise}" if has_risen else ""
        return [f"still improving: at the end {what} so far{though}; {_go_on(progress, training, run, source)}"]

    # past its best
    if has_risen:
        advice = "in a next training use more model.dropout, fewer updates, a smaller model or more data"
        return [f"{rise}; the best checkpoint is that of update {progress.best_update:,}; {advice}"]
    return []


def _go_on(progress: Progress, training: TrainingConfig, run: Path, source: str | None) -> str:
    """Return the key to raise, and the command that goes on with it."""
    resume = resume_command(run)
    if training.patience and progress.stale >= training.patience:
        return f"raise training.patience and --resume: {resume} training.patience={2 * training.patience}"
    if training.max_minutes and progress.update < training.max_updates:
        return f"raise training.max_minutes and --resume: {resume} training.max_minutes={2 * training.max_minutes:g}"
    longer = f"training.max_updates={2 * progress.update}"
    if training.schedule in FIXED_LENGTH:
        begin = ["--from", source] if source else []
        anew = shlex.join(["seq2seq", "train", str(run / "config.yaml"), *begin, "--run", f"{run}-longer", longer])
        return f"raise training.max_updates and train anew, since the {training.schedule} schedule has ended: {anew}"
    return f"raise training.max_updates and --resume: {resume} {longer}"
