"""The start of a training: check for mistakes, build the model, and open the run folder."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch.optim.swa_utils import AveragedModel

from seq2seq.build import build_model
from seq2seq.config import Config, TrainingConfig
from seq2seq.config.sizes import too_few
from seq2seq.data import dataset
from seq2seq.data.batches import Batches
from seq2seq.data.formats import corpus_files
from seq2seq.data.store import Store
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError, resume_command
from seq2seq.evaluation.choice import Choice, choose_metric
from seq2seq.fast.precision import Precision, choose_precision
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.checkpoints import Checkpoint
from seq2seq.runs.fitting import count_parameters, must_fit
from seq2seq.runs.run import Run
from seq2seq.text.tokenizer import Tokenizers
from seq2seq.text.vectors import start_from_vectors
from seq2seq.training.ema import make_average
from seq2seq.training.processes import Processes
from seq2seq.training.resume import Change, TrainingState, describe_differences, find_changes, yardstick_of
from seq2seq.training.source import Source, find_source, take_over
from seq2seq.training.validation import Validation
from seq2seq.training.watch import Watch

log = logging.getLogger("seq2seq")

MISSING = 0.05  # share of the tokens: above this, a vocabulary does not fit the text


class Start(NamedTuple):
    """Everything that the training loop needs to begin or to resume."""

    run: Run
    settings: TrainingConfig  # with the measure that `auto` has chosen
    yardstick: str  # the digest of dev set and measure
    processes: Processes
    device: torch.device
    precision: Precision
    model: Seq2Seq  # the model that is trained
    average: AveragedModel | None  # with `training.ema`, the average of its weights
    validation: Validation
    watch: Watch
    batches: Batches
    changes: list[Change]  # the changes since the checkpoint
    checkpoint: Checkpoint | None  # the checkpoint to resume from; its weights are already in the model
    state: TrainingState | None  # the training state of that checkpoint
    source: Source | None  # where the weights come from, if no update has been made yet

    @property
    def shown(self) -> Seq2Seq:
        """The model that is validated and saved: with `training.ema` the average, otherwise the one that is trained."""
        return cast(Seq2Seq, self.average.module) if self.average else self.model


def prepare(
    config: Config,
    path: Path,
    resume: bool,
    allow_changes: bool,
    source: Source | None,
    processes: Processes,
    until_the_end: ExitStack,
) -> Start:
    """Prepare a training. Rank 0 goes first and writes the run folder; the other processes read it.

    The first arguments are those of `train`; the exit stack keeps the folder locked until the training ends.

    Raises:
        UserError: a mistake that would stop the training before its first update; a new run then leaves no files.
    """
    with processes.first_then_others():
        # the run folder, the checkpoint to resume from, the run that this one starts from
        run, first = Run(path), processes.rank == 0
        is_new = not run.exists()
        if first and (is_new or not resume):
            run.must_be_new()
        if first and is_new and resume:
            log.info(f"{path} holds no run yet: a new one begins")
        if first and not is_new:
            until_the_end.enter_context(run.writing())
        device = processes.device(config.training.device)
        config = take_over(config, source) if source else config
        origin = _find_origin(run, source, is_new)
        checkpoint, state, source = origin

        # the data, and what has changed since the run was begun
        digests, dev = dataset.data_digests(config) if first else run.environment()["data"], dataset.read_dev(config)
        wanted, tokenize = config.training.early_stopping_metric, config.evaluation.bleu_tokenize
        choice = choose_metric(wanted, [pair.tgt for pair in dev], tokenize)
        changes = []
        if first and not is_new:
            changes = find_changes(run, config, choice.metric, digests, checkpoint, state, processes)
        if changes and not allow_changes:
            raise UserError(
                f"{'; '.join(change.text for change in changes)}. {_old_ones(run, changes)}; "
                "--allow-changes resumes with the changes; --run DIR trains in another folder"
            )

        # the vocabularies, the model and its translator
        known = (state or {}).get("machine", {}).get("products") if first else run.environment()["products"]
        precision = choose_precision(device, config.training.precision, products=known)
        learned = source.run.tokenizers() if source else None
        tokenizers = run.tokenizers() or learned or dataset.learn_tokenizers(config, digests["train"])
        dataset.must_keep_a_pair(config, tokenizers)
        model, average, vectors = _make_model(config, tokenizers, device, origin, processes.rank)
        shown = cast(Seq2Seq, average.module) if average else model
        translator = Translator(shown, tokenizers, config.search, products=precision.products)
        validation = Validation(dev, translator, tokenize)

        # the run folder
        if first and is_new:
            until_the_end.enter_context(run.writing())
            Run.create(path, config, digests, precision, source.as_dict() if source else None)
        if first:
            run.save_config(config)
            run.save_tokenizers(tokenizers)
            run.save_data_digests(config, digests, precision)
            facts: dict[str, Any] = {"early_stopping_metric": choice.metric, "products": precision.products}
            if is_new and config.tokenizer.models and not source:
                facts["tokenizer_models"] = dataset.own_model_digests(config)
            run.add_to_environment(facts)
        store = dataset.prepare_store(config, run.path / "store", run.path / "tokenizer", digests["train"])
        if first:
            run.save_sentences(dataset.learn_sentences(store, tokenizers, config.data.src))

    changes = processes.on_first(lambda: changes)
    settings = config.training.model_copy(update={"early_stopping_metric": choice.metric})
    batches = dataset.make_batches(config, store, tokenizers)
    watch = Watch(run.path / "attention.jsonl", dev, translator)
    trained = run, settings, yardstick_of(config, choice.metric, dev), processes, device, precision, model, average
    start = Start(*trained, validation, watch, batches, changes, *origin)
    _describe(start, config, store, tokenizers, vectors, choice)
    return start


class Origin(NamedTuple):
    """Where the weights come from: the last checkpoint of the run, with its training state, else that of a source."""

    checkpoint: Checkpoint | None
    state: TrainingState | None
    source: Source | None


def _find_origin(run: Run, source: Source | None, is_new: bool) -> Origin:
    """Find the last checkpoint of a run; without one, the source that the run was begun from or begins from."""
    checkpoint = run.checkpoints.find("last")
    state = checkpoint.training_state() if checkpoint else None
    if state == {}:
        fix = f"train a new run from it, with --from {run.path}"
        raise UserError(f"{run.path}: the mean of checkpoints, which has no training to go on with; {fix}")
    if not is_new and (source or not checkpoint):
        source = find_source(run, source)
    return Origin(checkpoint, state, None if checkpoint else source)


class Made(NamedTuple):
    """A model, made for a training."""

    model: Seq2Seq
    average: AveragedModel | None
    vectors: list[str]  # for the log: the pretrained vectors that it starts from


def _make_model(config: Config, tokenizers: Tokenizers, device: torch.device, origin: Origin, rank: int) -> Made:
    """Make the model, with the weights of a checkpoint, else with pretrained vectors or random weights."""
    checkpoint, state, source = origin
    must_fit(config, tokenizers, device, training=True)
    torch.manual_seed(config.seed)
    model, vectors = build_model(config, tokenizers), []
    if weights := checkpoint or (source and source.checkpoint):
        weights.load_weights(model)
    else:
        vectors = start_from_vectors(model, tokenizers, dict(config.model.pretrained_embeddings or {}))
    if rank > 0:
        torch.manual_seed(config.seed + rank)  # so that dropout differs between processes

    # the average of the weights, which a checkpoint holds; the training goes on with those in its training state
    model, ema = model.to(device), config.training.ema
    average = make_average(model, ema, state["progress"]["update"] if state else 0) if ema else None
    if state and "weights" in state:
        model.load_state_dict(state["weights"])
    return Made(model, average, vectors)


def _old_ones(run: Run, changes: Sequence[Change]) -> str:
    """Say how to resume without the changes."""
    files = "Put the old files back" if any(change.is_file for change in changes) else ""
    keys = (
        "" if all(change.is_file for change in changes) else f"`{resume_command(run.path)}` resumes with the old config"
    )
    return ", and ".join(filter(None, (files, keys)))


def _describe(
    start: Start, config: Config, store: Store, tokenizers: Tokenizers, vectors: list[str], choice: Choice
) -> None:
    """Log what is trained, and warn of what does not fit or has changed."""
    # the text
    data, source = config.data, start.source
    for header in dataset.describe_headers(config):
        log.info(header)
    for corpus in data.corpora:
        weight = "" if corpus.weight == 1 else f", weight {corpus.weight:g}"
        log.info(f"reading {' and '.join(corpus_files(corpus.path, data.src, data.tgt))}{weight}")
    log.info(f"training pairs: {store.report}")
    if few := too_few(store.report.kept):
        log.warning(few)

    # the vocabularies and the model
    shares = dataset.missing_shares(store, tokenizers) if source or config.tokenizer.models else ()
    for code, share in zip((data.src, data.tgt), shares, strict=False):
        if share > MISSING:
            fix = "train without --from" if source else "give another tokenizer.model"
            text = "%.0f%% of the tokens of %s are bytes or unknown, because the vocabulary lacks these characters; %s"
            log.warning(text, 100 * share, code, fix)
    if source:
        log.info(f"weights and vocabularies are those of {source.checkpoint.path}")
    parameters = f"{count_parameters(start.model):,} parameters, on {start.device} in {start.precision}"
    for line in (*vectors, parameters):
        log.info(line)

    # the measure, and what has changed
    log.log(logging.WARNING if choice.is_blind else logging.INFO, choice.reason)
    for change in start.changes:
        log.warning("%s: going on all the same", change.text)
    for difference in describe_differences(start.state, start.processes, config.training.accumulate, start.precision):
        log.warning(difference)
