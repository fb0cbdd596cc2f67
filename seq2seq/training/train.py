"""The training loop, top to bottom: data, vocabularies, model, updates, validations, checkpoints.

A run that is resumed goes on with the weights, the optimizer, the random numbers and the data position of its last
checkpoint.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from seq2seq.config import Config, TrainingConfig, resolve_paths
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.run import Run, build_model, choose_device, start_from_vectors
from seq2seq.text.batches import Batches
from seq2seq.text.corpus import encode_corpus
from seq2seq.training.data import Corpora, learn_tokenizers, make_batches
from seq2seq.training.progress import Progress, Window
from seq2seq.training.schedule import rate
from seq2seq.training.tensorboard import scalars
from seq2seq.training.update import make_optimizer, update
from seq2seq.training.validation import Validation, headline

log = logging.getLogger("seq2seq")

FREE_TO_CHANGE = (
    "training.max_updates",
    "training.patience",
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
    # 1. The data, checked before anything is written
    corpora = Corpora.read(config)
    device = choose_device(config.training.device)

    # 2. The run folder and its vocabularies
    run = _reopened(path, config) if resume and Run(path).exists() else Run.create(path, config)
    tokenizers = run.tokenizers()
    if tokenizers is None:
        tokenizers = learn_tokenizers(config, corpora.train)
        run.save_tokenizers(tokenizers)
    pairs, report = encode_corpus(corpora.train, tokenizers.src, tokenizers.tgt, config.data.max_length)
    log.info("training pairs: %s", report)

    # 3. The model, the optimizer, and where they stand
    torch.manual_seed(config.seed)
    model = build_model(config, tokenizers)
    for line in start_from_vectors(model, config, tokenizers):
        log.info(line)
    model.to(device)
    optimizer = make_optimizer(config.training, model)
    progress = Progress()
    if checkpoint := run.checkpoint("last"):
        run.restore(model, checkpoint)
        progress = _restored(run.training_state(checkpoint), optimizer)
        log.info("going on after update %s", f"{progress.update:,}")
    run.cut_metrics(progress.update)
    log.info("%s parameters, on %s", f"{sum(p.numel() for p in model.parameters()):,}", device)

    # 4. Updates and validations, until one of them is the last
    batches = make_batches(config, pairs)
    validation = Validation(corpora.dev, Translator(model, tokenizers, config.search))
    to_tensorboard = scalars(run.path / "tensorboard")
    for record in updates(config.training, model, optimizer, batches, progress, device):
        run.log(record)
        to_tensorboard(record)
        if not progress.update % config.training.validate_every or progress.finished(config.training):
            scores, sample = validation.run()
            best = progress.validated(scores[config.training.early_stopping_metric], config.training)
            dev = {"update": progress.update, "split": "dev", **scores}
            run.log(dev)
            to_tensorboard(dev)
            state = _state(progress, optimizer)
            run.save_checkpoint(progress.update, model, state, best=best, keep=config.training.keep)
            log.info(headline(progress.update, record, scores, best))
            log.info(sample)
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
    """Update the model until it is finished; a record of the updates since the last record, ten a validation."""
    every = max(1, training.validate_every // 10)
    stream = batches.stream(progress.position)
    window = Window()
    bar = tqdm(total=training.max_updates, initial=progress.update, unit="update", disable=None, dynamic_ncols=True)
    while not progress.finished(training):
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
        window.add(loss, sum(batch.tokens for batch in micro_batches))
        bar.update()
        if progress.update % every == 0 or progress.finished(training):
            lr = training.learning_rate * multiplier
            record = {"update": progress.update, "epoch": progress.position.epoch, "split": "train", **window.close()}
            bar.set_postfix_str(f"loss {record['loss']:.3f}")
            yield record | {"gradient_norm": norm, "learning_rate": lr}
            window = Window()
    bar.close()


# -------------------------------------------------------------------------------------------- stopping and resuming


def _state(progress: Progress, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All that a resumed training needs besides the weights."""
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    return {"progress": progress.as_dict(), "optimizer": optimizer.state_dict(), "random": random}


def _restored(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> Progress:
    """Put back what `_state` took."""
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"]["cpu"])
    if "cuda" in state["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random"]["cuda"])
    return Progress.from_dict(state["progress"])


def _reopened(path: Path, config: Config) -> Run:
    """The run in a folder, whose config is now `config`; only what does not touch the training so far may differ."""
    run = Run.open(path)
    before, now = (dict(_flat(c.model_dump())) for c in (run.config(), resolve_paths(config)))
    for key in now:
        if before.get(key) != now[key] and not key.startswith(FREE_TO_CHANGE):
            raise UserError(
                f"{path} was begun with {key} = {before.get(key)}, and the config now says {now[key]}: resume with "
                "what it was begun with, or train in another folder with --run DIR"
            )
    run.save_config(config)
    return run


def _flat(section: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested sections as `section.key`, with its value."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
