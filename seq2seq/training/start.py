"""The start of a training: check for mistakes, build the model, and open the run folder."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch

from seq2seq.build import build_model, count_parameters
from seq2seq.config import Config, TrainingConfig
from seq2seq.data.batches import Batches
from seq2seq.data.dataset import (
    data_digests,
    learn_sentences,
    learn_tokenizers,
    make_batches,
    must_keep_a_pair,
    prepare_store,
    read_dev,
)
from seq2seq.decoding.translator import Translator
from seq2seq.devices import autocast
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.run import Run
from seq2seq.text.vectors import start_from_vectors
from seq2seq.training.processes import Processes
from seq2seq.training.resume import Change, TrainingState, describe_processes, find_changes, refuse_changes
from seq2seq.training.validation import Validation

log = logging.getLogger("seq2seq")


class Start(NamedTuple):
    """Everything that the training loop needs to begin or to resume."""

    run: Run
    settings: TrainingConfig
    device: torch.device
    model: Seq2Seq
    validation: Validation
    batches: Batches
    checkpoint: Checkpoint | None  # the checkpoint to resume from; its weights are already in the model
    state: TrainingState | None  # the training state of that checkpoint
    changes: list[Change]  # the changes since that checkpoint


def prepare(
    config: Config, path: Path, resume: bool, allow_changes: bool, processes: Processes, until_the_end: ExitStack
) -> Start:
    """Prepare a training. Rank 0 goes first and writes the run folder; the other processes read it.

    Args:
        config: what to train.
        path: the run folder; created if it does not exist.
        resume: resume the run in the folder, if there is one.
        allow_changes: resume even if config, data or vocabularies have changed.
        processes: the processes that train together.
        until_the_end: the exit stack that keeps the folder locked until the training ends.

    Raises:
        UserError: a mistake that would stop the training before its first update; a new run then leaves no files.
    """
    with processes.first_then_others():
        # check: the folder, the device, what has changed, the data
        run, first = Run(path), processes.rank == 0
        is_new = not run.exists()
        if first and not is_new:
            if not resume:
                run.must_be_new()
            until_the_end.enter_context(run.writing())
        device = processes.device(config.training.device)
        autocast(device, config.training.precision)  # raises an error if the device lacks the precision
        checkpoint = run.checkpoints.find("last")
        state = checkpoint.training_state() if checkpoint else None
        digests = data_digests(config) if first else run.environment()["data"]
        changes = []
        if first and not is_new:
            changes = find_changes(run, config, digests, checkpoint, state, processes)
            if not allow_changes:
                refuse_changes(run, changes)
        dev = read_dev(config)
        tokenizers = run.tokenizers() or learn_tokenizers(config, digests["train"])
        must_keep_a_pair(config, tokenizers)

        # build: the model, with random weights, pretrained vectors or the weights of the checkpoint
        torch.manual_seed(config.seed)
        model = build_model(config, tokenizers)
        vectors = []
        if checkpoint:
            checkpoint.load_weights(model)
        else:
            vectors = start_from_vectors(model, tokenizers, dict(config.model.pretrained_embeddings or {}))
        if not first:
            torch.manual_seed(config.seed + processes.rank)  # so that dropout differs between processes
        validation = Validation(dev, Translator(model.to(device), tokenizers, config.search))

        # open the run folder: config, environment, vocabularies, token ids
        if first and is_new:
            until_the_end.enter_context(run.writing())
            Run.create(path, config, digests)
        if first:
            run.save_config(config)
            run.save_tokenizers(tokenizers)
            if any(change.key.startswith("data.") for change in changes):
                run.save_data_digests(config, digests)
        store = prepare_store(config, run.path / "store", run.path / "tokenizer", digests["train"])
        batches = make_batches(config, store, tokenizers)
        if first:
            run.save_sentences(learn_sentences(store, tokenizers, config.data.src))

    # log a summary
    for line in (f"training pairs: {store.report}", *vectors, f"{count_parameters(model):,} parameters, on {device}"):
        log.info(line)
    changes = processes.on_first(lambda: changes)
    for change in changes:
        log.warning("%s: going on all the same", change.text)
    if state and (difference := describe_processes(state, processes, config.training.accumulate)):
        log.warning(difference)
    return Start(run, config.training, device, model, validation, batches, checkpoint, state, changes)
