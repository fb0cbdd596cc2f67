"""The run folder, which a training writes and all later commands read.

config.yaml             the resolved config
environment.json        versions, commit, machine, command, digests of the data (environment.py)
tokenizer/              the vocabularies
metrics.jsonl           losses and scores (metrics.py)
attention.jsonl         the attention of one sentence while it is learned (training/watch.py)
checkpoints/            weights and training states; `best` and `last` name two of them (checkpoints.py)
test.hyp, test.json     the translations of the test set and their scores; dev.hyp, dev.json
evaluations/            the same of files of the user (evaluation/evaluate.py)
store/                  the training text as token ids (data/store.py); made again if it is deleted
sentences.json          how texts are split into sentences (text/sentences.py)
confidence.json         what marks a translation as unsure (decoding/confidence.py)
shortlist.safetensors   the target tokens that a source token may need; made when first asked for (fast/shortlist.py)

An exported file (exporting.py) is read like such a folder, and never changed. It holds what a translator needs.
"""

import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError

from seq2seq.archives import is_archive, unpack
from seq2seq.build import build_model
from seq2seq.config import Config, load_config, resolve_paths
from seq2seq.errors import UserError, resume_command
from seq2seq.fast.precision import FP32, Precision
from seq2seq.fast.shortlist import Shortlist
from seq2seq.files import (
    is_file,
    is_folder,
    locked,
    must_write,
    open_to_readers,
    read_json,
    recover,
    replace_text,
    replacing,
    replacing_folder,
    status,
    write_json,
)
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.checkpoints import PAUSE, TRIES, WEIGHTS, Checkpoint, Checkpoints
from seq2seq.runs.environment import describe_environment
from seq2seq.runs.fitting import must_fit
from seq2seq.runs.metrics import Metrics
from seq2seq.text.sentences import Sentences
from seq2seq.text.tokenizer import Tokenizers
from seq2seq.text.vocabularies import load_tokenizers, save_tokenizers

log = logging.getLogger("seq2seq")

AFTER_CONFIG = (  # what a run writes into its folder when that has a config.yaml
    *("tokenizer", "metrics.jsonl", "attention.jsonl", "best", "last", "store", "sentences.json", "confidence.json"),
    *("test.hyp", "test.json", "dev.hyp", "dev.json", "evaluations", "shortlist.safetensors"),
)
TRAIN_FROM_IT = "a training needs a folder; start one from it with --from FILE --run DIR"

Digests = dict[str, dict[str, str]]  # SHA-256 of the data files: split, file name, digest


class DataDigests(BaseModel, strict=True):
    """The digests of the data of a run; only those of train and dev are needed."""

    train: dict[str, str]
    dev: dict[str, str]
    test: dict[str, str] | None = None


class Environment(BaseModel, strict=True, extra="allow"):
    """The content of `environment.json`: all but the digests is for people."""

    data: DataDigests
    languages: list[str] | None = None  # source and target; older runs lack them


@dataclass(frozen=True)
class Run:
    """A run folder on disk, or an exported file. Only its path is in memory."""

    path: Path

    def __post_init__(self) -> None:
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in str(self.path)):  # safetensors can open no such path
            raise UserError(f"{self.path}: the name of a run folder must be UTF-8; give it another")

    @property
    def folder(self) -> Path:
        """The folder to read from: that of the run, or a temporary one with what an exported file holds."""
        return unpack(self.path) if self.is_exported else self.path

    @property
    def checkpoints(self) -> Checkpoints:
        """The saved weights and training states."""
        return Checkpoints(self.folder)

    @property
    def metrics(self) -> Metrics:
        """The losses and scores so far."""
        return Metrics(self.folder / "metrics.jsonl")

    @property
    def is_exported(self) -> bool:
        """Whether this is an exported file, which nothing can be written into."""
        return is_archive(self.path)

    def must_be_a_folder(self, what: str) -> None:
        """Raise UserError if this is an exported file; `what` says what needs the folder."""
        if self.is_exported:
            raise UserError(f"{self.path} is an exported file: {what}")

    # ------------------------------------------------------------------------------------------ making and opening

    @classmethod
    def create(
        cls,
        path: Path,
        config: Config,
        data: Digests,
        precision: Precision = FP32,
        source: dict[str, str] | None = None,
    ) -> "Run":
        """Create a run folder with `config.yaml` and `environment.json`.

        Args:
            path: the folder; created if it does not exist.
            config: of the run.
            data: the digests of the config's data.
            precision: of the training.
            source: the checkpoint that the run starts from, if it does.

        Raises:
            UserError: the folder already holds a run, or cannot be written.
        """
        run = cls(path)
        run.must_be_new()

        # the config comes last: a folder with it is a run
        with must_write(path, "choose another with --run DIR"):
            path.mkdir(parents=True, exist_ok=True)
            described = describe_environment(config, data, precision) | ({"from": source} if source else {})
            write_json(path / "environment.json", described)
            run.save_config(config)
        return run

    @staticmethod
    def default_path(config: Path) -> Path:
        """Return the folder of the run of a config file: `runs/` and the file's name.

        Raises:
            UserError: the config is that of a run, or the folder of one.
        """
        run = config if config.is_dir() else config.parent
        if (config.is_dir() or config.name == "config.yaml") and Run(run).exists():
            fix = f"`{resume_command(run)}` continues it; --run DIR trains another one with its config"
            raise UserError(f"{config} is {'' if config.is_dir() else 'the config of '}a run; {fix}")
        return Path("runs") / config.stem

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Return an existing run: its folder, or the file that it was exported to.

        Raises:
            UserError: the folder holds no run, or the file is damaged.
        """
        if not str(path):
            raise UserError("the name of the run is empty; give its folder")
        run = cls(Path(path))
        if run.is_exported:
            unpack(run.path)
        elif run.path.is_file():
            if run.path.suffix == ".s2s":
                raise UserError(f"{path}: damaged, or no file that `seq2seq export` made; copy or export it again")
            fix = f"runs/{run.path.stem} if `seq2seq train {path}` made it"
            raise UserError(f"{path}: a file; give the folder of a run, {fix}; or a file that `seq2seq export` made")
        if run.path.parent.name == "checkpoints" and cls(run.path.parents[1]).exists():
            whole = run.path.parents[1]
            raise UserError(f"{path}: a checkpoint; give its run, {whole}, of which the best checkpoint is taken")
        if not run.exists():
            raise UserError(f"{path}: not a run folder, {_why_not(str(path))}")
        return run

    def exists(self) -> bool:
        """Return whether the folder holds a run, even without its config."""
        return status(self.folder / "config.yaml") is not None or is_folder(self.folder / "checkpoints")

    def must_be_new(self) -> None:
        """Raise UserError if the folder already holds a run, or something else that has the name of a run's file."""
        self.must_be_a_folder(TRAIN_FROM_IT)
        if self.exists():
            raise UserError(
                f"{self.path} already holds a run: add --resume (in Python resume=True) to continue it, or name another"
                " folder with --run DIR (run=DIR)"
            )
        if others := [name for name in AFTER_CONFIG if os.path.lexists(self.path / name)]:
            raise UserError(f"{self.path} is no run, but has {', '.join(others)}, as a run would: name another folder")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the folder for a training, and clean up after a killed training. The folder is created if it is missing.

        Raises:
            UserError: another process trains in it, or it cannot be written.
        """
        self.must_be_a_folder(TRAIN_FROM_IT)
        with locked(self.path):
            recover(self.path)
            recover(self.path / "checkpoints")
            recover(self.path / "evaluations")
            yield

    # ------------------------------------------------------------------------------------------------ what it holds

    def save_config(self, config: Config) -> None:
        """Write `config.yaml`, with absolute paths; raise UserError if it cannot be written."""
        file = self.path / "config.yaml"
        with must_write(file, self.how_to_go_on()):
            replace_text(file, resolve_paths(config).to_yaml())

    def how_to_go_on(self) -> str:
        """Return the fix of an error of a training that cannot write into the folder."""
        return f"mend that, and go on with `{resume_command(self.path)}`"

    def config(self) -> Config:
        """Read `config.yaml`.

        Raises:
            UserError: it cannot be read, or a part is missing.
        """
        file = self.folder / "config.yaml"
        if status(file) is None:
            raise UserError(f"{file}: missing, though the folder holds a run; put it back, or copy the whole run again")
        config = load_config(file)
        if missing := Config.model_fields.keys() - config.model_fields_set - {"evaluation"}:  # older runs lack that
            raise UserError(f"{file}: damaged, the section {min(missing)} is missing; put the old file back")
        return config

    def save_data_digests(self, config: Config, data: Digests, precision: Precision = FP32) -> None:
        """Replace the digests of the data in `environment.json` if they differ, or all of a damaged one."""
        file = self.path / "environment.json"
        try:
            before = self.environment()
            described = before | {"data": data}
            if described == before:
                return
        except UserError:
            described = describe_environment(config, data, precision)
        with must_write(file, self.how_to_go_on()):
            write_json(file, described)

    def add_to_environment(self, facts: dict[str, Any]) -> None:
        """Add facts to `environment.json`, or replace them."""
        file, before = self.path / "environment.json", self.environment()
        if before != before | facts:
            with must_write(file, self.how_to_go_on()):
                write_json(file, before | facts)

    def environment(self) -> dict[str, Any]:
        """Read `environment.json`.

        Raises:
            UserError: it is missing or damaged.
        """
        file = self.folder / "environment.json"
        fix = f"put the old file back, or write it anew with `{resume_command(self.path)} --allow-changes`"
        return read_json(file, Environment, fix).model_dump(exclude_none=True)

    def _must_not_be_turned(self, config: Config) -> None:
        """Raise UserError if the config exchanges source and target: no weight or vocabulary would show it."""
        try:
            languages = self.environment().get("languages")
        except UserError:
            return
        data, file = config.data, self.folder / "config.yaml"
        if languages == [data.tgt, data.src] != [data.src, data.tgt]:
            begun = f"but the run was begun with {data.tgt} as the source"
            raise UserError(f"{file}: data.src is {data.src} and data.tgt {data.tgt}, {begun}; put the old config back")

    def save_tokenizers(self, tokenizers: Tokenizers) -> None:
        """Write the vocabularies, unless they are there already; raise UserError if they cannot be written."""
        folder = self.path / "tokenizer"
        if not is_folder(folder):
            with must_write(folder, self.how_to_go_on()), replacing_folder(folder) as new:
                save_tokenizers(tokenizers, new)

    def tokenizers(self) -> Tokenizers | None:
        """Read the vocabularies; None if the training was stopped before it had learned them."""
        folder = self.folder / "tokenizer"
        return load_tokenizers(folder) if is_folder(folder) else None

    def save_sentences(self, sentences: Sentences) -> None:
        """Write the rules by which texts are split; raise UserError if they cannot be written."""
        file = self.path / "sentences.json"
        with must_write(file, self.how_to_go_on()):
            replace_text(file, sentences.model_dump_json(indent=2) + "\n")

    def sentences(self) -> Sentences:
        """Read the rules by which texts are split; without them, as in old runs, lines stay whole.

        Raises:
            UserError: their file is damaged.
        """
        file = self.folder / "sentences.json"
        if not is_file(file):
            return Sentences.of_language(self.config().data.src)
        return read_json(file, Sentences, f"delete it, and `{resume_command(self.path)}` makes it again")

    def shortlist(self) -> Shortlist:
        """Return the shortlist. The first call learns it from the store and keeps it in the run folder.

        Raises:
            UserError: its file is damaged, or the run has no store to learn it from, or that of another run.
        """
        from seq2seq.data.dataset import describe_corpus, shortlist_of
        from seq2seq.data.store import Store, store_inputs

        # that of an exported file
        file, folder = self.folder / "shortlist.safetensors", self.path / "store"
        if self.is_exported:
            if not is_file(file):
                self.must_be_a_folder(
                    "it has no shortlist; search without, with --exact, or export one: docs/export.md"
                )
            return Shortlist.load(file)[0]

        # the store that it must be learned from
        tokenizers = self.tokenizers()
        if tokenizers is None:
            raise UserError(f"{self.path}: no checkpoint yet; continue training with `{resume_command(self.path)}`")
        config = self.config()
        corpus = describe_corpus(config, self.environment()["data"]["train"])
        inputs = store_inputs(self.path / "tokenizer", tokenizers, config.data.max_length, corpus)

        # the one that is kept, if it was learned from that
        if is_file(file):
            shortlist, origin = Shortlist.load(file)
            if origin == inputs.digest():
                return shortlist
            log.warning("%s: not learned from the training text of this run", file)

        # learn it
        if not is_folder(folder):
            raise UserError(
                f"{self.path} has no shortlist and no store/ to learn it from: `{resume_command(self.path)}` makes it;"
                " or search without, with --exact or search.shortlist: false"
            )
        store = Store(folder)
        if store.inputs.digest() != inputs.digest():
            raise UserError(f"{folder}: not made from the training text of this run; delete it, and --resume makes it")
        log.warning("learning the shortlist from the training text, once")
        shortlist = shortlist_of(store, tokenizers)

        # keep it, if the folder is writable
        try:
            with replacing(file) as new:
                shortlist.save(new, inputs.digest())
                open_to_readers(new, self.path)
        except (OSError, SafetensorError) as error:
            log.warning("%s: cannot be written, the next search will learn it again: %s", file, error)
        return shortlist

    def best_scores(self) -> dict[str, Any] | None:
        """Return the validation of the best checkpoint, with its scores; None if there is none.

        Raises:
            UserError: the file of the metrics is damaged.
        """
        best = self.checkpoints.named("best")
        scores = [each for each in self.metrics.records() if best and each["update"] == best.update and "bleu" in each]
        return scores[-1] if scores else None

    def load_model(
        self, checkpoint: Checkpoint | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Seq2Seq, Tokenizers]:
        """Load a model in eval mode, and its tokenizers.

        Args:
            checkpoint: the checkpoint whose weights to load; by default the best one. If a training deletes that while
                it is read, the newer one is taken.
            device: where to put the model.

        Raises:
            UserError: there is no checkpoint yet, or it is damaged.
        """
        for _ in range(TRIES):
            found = checkpoint or self.checkpoints.find("best", WEIGHTS)
            if found is None:
                break
            try:
                # check the files that are needed before they are parsed
                found.verify(WEIGHTS)
                if changed := found.changed_tokenizer(self.folder / "tokenizer"):
                    raise UserError(f"{changed}: differs from the file that {found.name} was trained with; put it back")
                tokenizers = self.tokenizers()
                if tokenizers is None:
                    break

                # build the model and fill it
                config = self.config()
                self._must_not_be_turned(config)
                must_fit(config, tokenizers, torch.device(device), training=False)
                model = build_model(config, tokenizers)
                found.load_weights(model)
                return model.to(device).eval(), tokenizers
            except UserError:
                if checkpoint or is_folder(found.path):
                    raise
                time.sleep(PAUSE)
        raise UserError(f"{self.path}: no checkpoint yet; continue training with `{resume_command(self.path)}`")


def must_not_be_of_a_run(path: Path) -> None:
    """Raise UserError if a file that is to be written belongs to a run, or is an exported one."""
    whole = Path(os.path.abspath(path))
    own = {*AFTER_CONFIG, "config.yaml", "environment.json", "checkpoints"}
    for folder in whole.parents:
        is_own = whole.relative_to(folder).parts[0] in own
        if is_own and is_file(folder / "config.yaml") and is_folder(folder / "checkpoints"):
            raise UserError(f"{path}: this file belongs to the run {folder}; give another name")
    if is_archive(path):
        raise UserError(f"{path}: this is an exported run; give another name")


def _why_not(name: str) -> str:
    """Say why a name is none of a run, and what to give instead."""
    made = f"`seq2seq train CONFIG --run {shlex.quote(name)}` makes one"
    if is_folder(Path(name)):
        inside = sorted(file.parent for file in Path(name).glob("*/config.yaml"))
        return f"but a folder of runs; name one, such as {inside[0]}" if inside else f"it has no config.yaml; {made}"
    if "://" in name:
        return "but an address; download the file first"
    if name.startswith("~"):
        return "since ~ stands for nothing here; write the whole path"
    if len(name.split()) > 1:
        return "nothing of this name exists; a text to translate comes from standard input, or from a file with --input"
    return f"there is no such folder; {made}"
