"""From a config to a run folder that holds all that a training needs, and to what the training holds in memory."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch

from seq2seq.config import Config
from seq2seq.data.batches import Batches
from seq2seq.data.dataset import Corpora, data_digests, learn_tokenizers, make_batches, must_keep_a_pair, prepare_store
from seq2seq.decoding.translator import Translator
from seq2seq.devices import autocast
from seq2seq.model.build import build_model, count_parameters, start_from_vectors
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.run import Run
from seq2seq.training.processes import Processes
from seq2seq.training.resume import Change, State, changes, must_be_allowed
from seq2seq.training.validation import Validation

log = logging.getLogger("seq2seq")


class Prepared(NamedTuple):
    """What a training begins with, or goes on with."""

    run: Run
    device: torch.device
    model: Seq2Seq
    validation: Validation
    batches: Batches
    checkpoint: Checkpoint | None  # to go on from; its weights are in the model
    state: State | None  # of that checkpoint
    changed: list[Change]  # since then


def prepare(
    config: Config, path: Path, resume: bool, allow_changes: bool, processes: Processes, until_the_end: ExitStack
) -> Prepared:
    """Everything up to the first update. The first process makes the folder, the others find all in it.

    Args:
        config: what to train.
        path: the run folder, made if need be.
        resume: go on with the run in the folder, if there is one.
        allow_changes: go on though config, data or vocabularies are not what they were.
        processes: that train together.
        until_the_end: keeps the folder from other trainings.

    Raises:
        UserError: whatever a training cannot begin with; a new run leaves nothing behind then.
    """
    with processes.in_turn():
        # 1. All that a mistake could stop, before anything is written
        run, first = Run(path), processes.rank == 0
        is_new = not run.exists()
        if first and not is_new:
            if not resume:
                run.must_be_new()
            until_the_end.enter_context(run.writing())
        device = processes.device(config.training.device)
        autocast(device, config.training.precision)
        checkpoint = run.checkpoints.whole("last")
        state = checkpoint.training_state() if checkpoint else None
        digests = data_digests(config) if first else run.environment()["data"]
        changed = changes(run, config, digests, checkpoint, state, processes.size) if first and not is_new else []
        if not allow_changes:
            must_be_allowed(run, changed)
        corpora = Corpora.read(config)
        tokenizers = run.tokenizers() or learn_tokenizers(config, digests["train"])
        must_keep_a_pair(config, tokenizers)
        torch.manual_seed(config.seed)
        model = build_model(config, tokenizers)
        vectors = []
        if checkpoint:
            checkpoint.restore(model)
        else:
            vectors = start_from_vectors(model, config, tokenizers)
        if processes.rank:
            torch.manual_seed(config.seed + processes.rank)  # each process drops out its own numbers
        validation = Validation(corpora.dev, Translator(model.to(device), tokenizers, config.search))

        # 2. The run folder
        if first and is_new:
            until_the_end.enter_context(run.writing())
            Run.create(path, config, digests)
        if first:
            run.save_config(config)
            run.save_tokenizers(tokenizers)
            if any(change.key.startswith("data.") for change in changed):
                run.save_data_digests(config, digests)
        store = prepare_store(config, run.path / "store", run.path / "tokenizer", digests["train"])
    batches = make_batches(config, store, tokenizers)
    for line in (f"training pairs: {store.report}", *vectors, f"{count_parameters(model):,} parameters, on {device}"):
        log.info(line)
    changed = processes.first(lambda: changed)
    for change in changed:
        log.warning("%s: going on all the same", change.text)
    return Prepared(run, device, model, validation, batches, checkpoint, state, changed)
