"""The run folder: all that a training leaves behind, and all that every later command needs.

config.yaml        the resolved config            environment.json   versions, commit, machine, command, data digests
tokenizer/         the vocabularies               metrics.jsonl      one line a report (metrics.py)
shortlist.safetensors   which target tokens a source token may need; made when it is first asked for
store/             the training text as token ids (text/store.py); training makes it, and again where it is deleted
checkpoints/step-000500/{model.safetensors, training.pt, manifest.json}   (checkpoints.py)
best, last         one-line text files that name a checkpoint
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from seq2seq.config import Config, load_config, resolve_paths
from seq2seq.data.dataset import open_store, shortlist_of
from seq2seq.errors import UserError, resume_command
from seq2seq.fast.shortlist import Shortlist
from seq2seq.files import locked, open_to_readers, publish, put_back, read_json, replace_text
from seq2seq.model.build import build_model
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.checkpoints import Checkpoint, Checkpoints
from seq2seq.runs.environment import environment
from seq2seq.runs.metrics import Metrics
from seq2seq.text.tokenizer import Tokenizers, load_tokenizers

log = logging.getLogger("seq2seq")

Digests = dict[str, dict[str, str]]  # SHA-256 of the files of each split, by name


@dataclass(frozen=True)
class Run:
    """A run folder on disk; holds nothing in memory but its path."""

    path: Path

    @property
    def checkpoints(self) -> Checkpoints:
        """What a training goes on from, and what translates."""
        return Checkpoints(self.path)

    @property
    def metrics(self) -> Metrics:
        """How the training went."""
        return Metrics(self.path / "metrics.jsonl")

    @classmethod
    def create(cls, path: Path, config: Config, data: Digests) -> "Run":
        """Begin a run: the folder with `config.yaml` and `environment.json`.

        Args:
            path: the folder, made if need be.
            config: of the run.
            data: digests of the config's data.

        Raises:
            UserError: the folder already holds a run, or cannot be written.
        """
        run = cls(path)
        run.must_be_new()
        try:
            path.mkdir(parents=True, exist_ok=True)
            replace_text(path / "environment.json", json.dumps(environment(config, data), indent=2) + "\n")
            run.save_config(config)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}; choose another with --run DIR") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """A run that is there.

        Raises:
            UserError: the folder holds no run.
        """
        run = cls(Path(path))
        if not run.exists():
            raise UserError(
                f"{path}: not a run folder (no config.yaml in it); `seq2seq train CONFIG --run {path}` makes one"
            )
        return run

    def must_be_new(self) -> None:
        """Raise UserError where the folder holds a run already."""
        if self.exists():
            raise UserError(
                f"{self.path} already holds a run: add --resume to go on with it, "
                "or --run DIR to train in another folder"
            )

    def exists(self) -> bool:
        """Whether the folder holds a run, be it one that has lost its config."""
        return (self.path / "config.yaml").is_file() or (self.path / "checkpoints").is_dir()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only process that trains in the folder, which is made if need be.

        Raises:
            UserError: another one does, or the folder cannot be written.
        """
        with locked(self.path):
            put_back(self.path / "checkpoints")
            yield

    def save_config(self, config: Config) -> None:
        """Keep a config, its paths made absolute."""
        replace_text(self.path / "config.yaml", resolve_paths(config).to_yaml())

    def config(self) -> Config:
        """The resolved config that the run was begun with.

        Raises:
            UserError: it cannot be read, or is not whole.
        """
        file = self.path / "config.yaml"
        config = load_config(file)
        if missing := Config.model_fields.keys() - config.model_fields_set:
            raise UserError(f"{file}: damaged, it has no {min(missing)}; put the old file back")
        return config

    def tokenizers(self) -> Tokenizers | None:
        """The vocabularies, or None where the run was stopped before it had them."""
        folder = self.path / "tokenizer"
        return load_tokenizers(folder) if folder.is_dir() else None

    def save_data_digests(self, config: Config, data: Digests) -> None:
        """Keep these digests of the data instead of those that there were, which may be damaged."""
        try:
            found = self.environment() | {"data": data}
        except UserError:
            found = environment(config, data)
        replace_text(self.path / "environment.json", json.dumps(found, indent=2) + "\n")

    def environment(self) -> dict[str, Any]:
        """What `create` wrote about versions, machine and data.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_json(self.path / "environment.json", ("data",), "train again in another folder with --run DIR")

    def save_tokenizers(self, tokenizers: Tokenizers) -> None:
        """Keep the vocabularies, unless they are there; they are there whole or not at all."""
        if (self.path / "tokenizer").is_dir():
            return
        unfinished = self.path / ".tokenizer"
        shutil.rmtree(unfinished, ignore_errors=True)
        tokenizers.save(unfinished)
        publish(unfinished, self.path / "tokenizer")

    def shortlist(self) -> Shortlist:
        """Return the shortlist. When it is first asked for, it is learned from the store, and kept.

        Raises:
            UserError: its file is damaged, or the run has no store to learn it from.
        """
        file = self.path / "shortlist.safetensors"
        if file.is_file():
            return Shortlist.load(file)

        # learn it
        tokenizers = self.tokenizers()
        if tokenizers is None or not (self.path / "store").is_dir():
            raise UserError(
                f"{self.path} has no shortlist and no store/ to learn it from: `{resume_command(self.path)}` makes it;"
                " or search without, with --exact or search.shortlist: false"
            )
        log.info("learning the shortlist")
        shortlist = shortlist_of(open_store(self.path / "store", self.path / "tokenizer"), tokenizers)

        # keep it, if the folder can be written
        unfinished = self.path / f".shortlist-{os.getpid()}.safetensors"  # others may learn it at the same time
        try:
            shortlist.save(unfinished)
            open_to_readers(unfinished, self.path)
            publish(unfinished, file)
        except (OSError, SafetensorError) as error:
            log.warning("%s: cannot be written, the next search will learn it again: %s", file, error)
        return shortlist

    def load_model(
        self, checkpoint: Checkpoint | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Seq2Seq, Tokenizers]:
        """The trained model of a checkpoint, by default the best one, in eval mode, and its tokenizers.

        Raises:
            UserError: there is no checkpoint yet, or it is damaged.
        """
        weights = ("model.safetensors",)
        if checkpoint:
            checkpoint.verify(weights)
        checkpoint, tokenizers = checkpoint or self.checkpoints.whole("best", weights), self.tokenizers()
        if checkpoint is None or tokenizers is None:
            raise UserError(f"{self.path}: no checkpoint yet; go on training with `{resume_command(self.path)}`")
        if changed := checkpoint.changed_tokenizer(self.path / "tokenizer"):
            raise UserError(f"{changed}: not what {checkpoint.name} was trained with; put the old file back")
        model = build_model(self.config(), tokenizers)
        checkpoint.restore(model)
        return model.to(device).eval(), tokenizers
