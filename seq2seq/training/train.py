"""The training loop, top to bottom: data, vocabularies, model, updates, validations, checkpoints.

A run that is resumed goes on with the weights, the optimizer, the random numbers and the data position of its last
checkpoint.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from seq2seq.build import build_model, choose_device, count_parameters, start_from_vectors
from seq2seq.config import Config, TrainingConfig, resolve_paths
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.run import Run, data_digests
from seq2seq.text.batches import Batches
from seq2seq.text.shortlist import learn_shortlist
from seq2seq.training.data import Corpora, learn_tokenizers, make_batches, must_keep_a_pair, prepare_store
from seq2seq.training.health import warnings
from seq2seq.training.progress import Progress, Window
from seq2seq.training.schedule import rate
from seq2seq.training.tensorboard import scalars
from seq2seq.training.update import autocast, make_optimizer, update
from seq2seq.training.validation import Validation, headline

log = logging.getLogger("seq2seq")

FREE_TO_CHANGE = (
    "training.patience",
    "training.max_minutes",
    "training.keep",
    "training.device",
    "data.test",
    "search.",
)


def train(config: Config, path: Path, *, resume: bool = False) -> Run:
    """Train a model into a run folder; the best checkpoint is the one with the best dev score.

    Args:
        config: what to train.
        path: the run folder, made if need be.
        resume: go on with the run in the folder, if there is one.

    Raises:
        UserError: bad data, a folder that holds a run while `resume` is false, or one begun with another config.
    """
    # 1. All that a mistake could stop, before anything is written
    run = Run(path)
    if run.exists():
        _check_resumable(run, config, resume)
    device = choose_device(config.training.device)
    autocast(device, config.training.precision)
    corpora = Corpora.read(config)
    tokenizers = run.tokenizers() or learn_tokenizers(config)
    must_keep_a_pair(config, tokenizers)
    torch.manual_seed(config.seed)
    model = build_model(config, tokenizers)
    checkpoint = run.checkpoint("last")
    vectors = start_from_vectors(model, config, tokenizers) if checkpoint is None else []
    validation = Validation(corpora.dev, Translator(model.to(device), tokenizers, config.search))

    # 2. The run folder
    run = run if run.exists() else Run.create(path, config)
    run.save_config(config)
    run.save_tokenizers(tokenizers)
    digests = run.environment()["data"]["train"]
    store = prepare_store(config, run.path / "store", run.path / "tokenizer", digests)
    if run.shortlist() is None:
        run.save_shortlist(learn_shortlist(store, tokenizers))
    for line in (f"training pairs: {store.report}", *vectors, f"{count_parameters(model):,} parameters, on {device}"):
        log.info(line)

    # 3. Where the training stands
    optimizer = make_optimizer(config.training, model)
    progress = Progress()
    if checkpoint:
        run.restore(model, checkpoint)
        progress = _restored(run.training_state(checkpoint), optimizer, device)
        log.info(
            "%s after update %s", "finished" if progress.finished(config.training) else "going on", progress.update
        )
    run.cut_metrics(progress.update)

    # 4. Updates and validations, until one of them is the last
    batches = make_batches(config, store)
    to_tensorboard = scalars(run.path / "tensorboard")
    for record in updates(config.training, model, optimizer, batches, progress, device):
        run.log(record)
        to_tensorboard(record)
        if not progress.update % config.training.validate_every or progress.finished(config.training):
            scores, sample = validation.run()
            metric = config.training.early_stopping_metric
            best = progress.validated(scores[metric], config.training)
            dev = {"update": progress.update, "split": "dev", **scores}
            run.log(dev)
            to_tensorboard(dev)
            state = _state(progress, optimizer, device)
            run.save_checkpoint(progress.update, model, state, best=best, keep=config.training.keep)
            log.info(headline(progress.update, record, scores, metric, best))
            log.info(sample)
            for line in warnings(progress.update, scores):
                log.warning(line)
    log.info("training ended: %s", progress.finished(config.training))
    return run


# ------------------------------------------------------------------------------------------------------ updates


def updates(
    training: TrainingConfig,
    model: Seq2Seq,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    progress: Progress,
    device: torch.device,
) -> Iterator[dict[str, Any]]:
    """Update the model until it is finished; a record of the updates since the last record, ten a validation
    and one before it."""
    every = max(1, training.validate_every // 10)
    stream = batches.stream(progress.position)
    window = Window()
    bar = tqdm(total=training.max_updates, initial=progress.update, unit="update", disable=None, dynamic_ncols=True)
    while not progress.finished(training):
        start = time.perf_counter()
        micro_batches = []
        for _ in range(training.accumulate):
            progress.position, batch = next(stream)
            micro_batches.append(batch.to(device))
        multiplier = rate(
            training.schedule,
            progress.update + 1,
            warmup=training.warmup_updates,
            total=training.max_updates,
            reductions=progress.reductions,
            factor=training.decay_factor,
        )
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * multiplier
        loss, norm = update(model.train(), optimizer, micro_batches, training)
        progress.update += 1
        progress.seconds += time.perf_counter() - start
        window.add(loss, sum(batch.tokens for batch in micro_batches))
        bar.update()
        if not (progress.update % every and progress.update % training.validate_every) or progress.finished(training):
            lr = training.learning_rate * multiplier
            record = {"update": progress.update, "epoch": progress.position.epoch, "split": "train", **window.close()}
            bar.set_postfix_str(f"loss {record['loss']:.3f}")
            yield record | {"gradient_norm": norm, "learning_rate": lr}
            window = Window()
    bar.close()


# -------------------------------------------------------------------------------------------- stopping and resuming


def _state(progress: Progress, optimizer: torch.optim.Optimizer, device: torch.device) -> dict[str, Any]:
    """All that a resumed training needs besides the weights."""
    random = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(device)
    return {"progress": progress.as_dict(), "optimizer": optimizer.state_dict(), "random": random}


def _restored(state: dict[str, Any], optimizer: torch.optim.Optimizer, device: torch.device) -> Progress:
    """Put back what `_state` took."""
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"]["cpu"])
    if "cuda" in state["random"] and device.type == "cuda":
        torch.cuda.set_rng_state(state["random"]["cuda"], device)
    return Progress.from_dict(state["progress"])


def _check_resumable(run: Run, config: Config, resume: bool) -> None:
    """Refuse a folder that holds a run, but to go on with it: same data, same config in all that has had an effect."""
    if not resume:
        run.must_be_new()
    free = [*FREE_TO_CHANGE]
    if config.training.schedule not in ("cosine", "one_cycle"):
        free.append("training.max_updates")
    before, now = (dict(flat(c.model_dump())) for c in (run.config(), resolve_paths(config)))
    for key in now:
        if before.get(key) != now[key] and not key.startswith(tuple(free)):
            raise UserError(
                f"{run.path} was begun with {key} = {before.get(key)}, and the config now says {now[key]}: "
                f"resume with `{run.resume_command}`, or train in another folder with --run DIR"
            )
    known, found = run.environment()["data"], data_digests(config)
    for split in ("train", "dev"):
        for name in known[split]:
            if found[split].get(name) != known[split][name]:
                raise UserError(
                    f"{name} of data.{split} has changed since {run.path} was begun: put the old one back, "
                    "or train in another folder with --run DIR"
                )


def flat(section: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested sections as `section.key`, with its value."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
