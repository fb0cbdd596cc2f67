"""The run folder, which a training writes and all later commands read.

config.yaml             the resolved config
environment.json        versions, commit, machine, command, digests of the data (environment.py)
tokenizer/              the vocabularies
metrics.jsonl           losses and scores (metrics.py)
checkpoints/            weights and training states; `best` and `last` name two of them (checkpoints.py)
store/                  the training text as token ids (data/store.py); made again if it is deleted
sentences.json          how texts are split into sentences (text/sentences.py)
confidence.json         what marks a translation as unsure (decoding/confidence.py)
shortlist.safetensors   the target tokens that a source token may need; made when first asked for (fast/shortlist.py)
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from seq2seq.build import build_model
from seq2seq.config import Config, load_config, resolve_paths
from seq2seq.data.dataset import shortlist_of
from seq2seq.data.store import Store
from seq2seq.errors import UserError, resume_command
from seq2seq.fast.shortlist import Shortlist
from seq2seq.files import locked, open_to_readers, publish, read_json, read_record, recover, replace_text, unfinished
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.checkpoints import Checkpoint, Checkpoints
from seq2seq.runs.environment import describe_environment
from seq2seq.runs.metrics import Metrics
from seq2seq.text.sentences import Sentences
from seq2seq.text.tokenizer import Tokenizers
from seq2seq.text.vocabularies import load_tokenizers, save_tokenizers

log = logging.getLogger("seq2seq")

Digests = dict[str, dict[str, str]]  # SHA-256 of the data files: split, file name, digest


@dataclass(frozen=True)
class Run:
    """A run folder on disk. Only its path is in memory."""

    path: Path

    @property
    def checkpoints(self) -> Checkpoints:
        """The saved weights and training states."""
        return Checkpoints(self.path)

    @property
    def metrics(self) -> Metrics:
        """The losses and scores so far."""
        return Metrics(self.path / "metrics.jsonl")

    # ------------------------------------------------------------------------------------------ making and opening

    @classmethod
    def create(cls, path: Path, config: Config, data: Digests) -> "Run":
        """Create a run folder with `config.yaml` and `environment.json`.

        Args:
            path: the folder; created if it does not exist.
            config: of the run.
            data: the digests of the config's data.

        Raises:
            UserError: the folder already holds a run, or cannot be written.
        """
        run = cls(path)
        run.must_be_new()
        try:
            path.mkdir(parents=True, exist_ok=True)
            run._write_environment(describe_environment(config, data))
            run.save_config(config)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}; choose another with --run DIR") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Return an existing run.

        Raises:
            UserError: the folder holds no run.
        """
        run = cls(Path(path))
        if not run.exists():
            raise UserError(
                f"{path}: not a run folder, it has no config.yaml; `seq2seq train CONFIG --run {path}` makes one"
            )
        return run

    def exists(self) -> bool:
        """Return whether the folder holds a run, even without its config."""
        return (self.path / "config.yaml").is_file() or (self.path / "checkpoints").is_dir()

    def must_be_new(self) -> None:
        """Raise UserError if the folder already holds a run."""
        if self.exists():
            raise UserError(
                f"{self.path} already holds a run: add --resume to continue it, or --run DIR to train in another folder"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the folder for a training, and clean up after a killed training. The folder is created if it is missing.

        Raises:
            UserError: another process trains in it, or it cannot be written.
        """
        with locked(self.path):
            recover(self.path)
            recover(self.path / "checkpoints")
            yield

    # ------------------------------------------------------------------------------------------------ what it holds

    def save_config(self, config: Config) -> None:
        """Write `config.yaml`, with absolute paths."""
        replace_text(self.path / "config.yaml", resolve_paths(config).to_yaml())

    def config(self) -> Config:
        """Read `config.yaml`.

        Raises:
            UserError: it cannot be read, or a part is missing.
        """
        file = self.path / "config.yaml"
        config = load_config(file)
        if missing := Config.model_fields.keys() - config.model_fields_set:
            raise UserError(f"{file}: damaged, the section {min(missing)} is missing; put the old file back")
        return config

    def save_data_digests(self, config: Config, data: Digests) -> None:
        """Replace the digests of the data in `environment.json`, or all of a damaged one; delete the old shortlist."""
        (self.path / "shortlist.safetensors").unlink(missing_ok=True)
        try:
            described = self.environment() | {"data": data}
        except UserError:
            described = describe_environment(config, data)
        self._write_environment(described)

    def _write_environment(self, described: dict[str, Any]) -> None:
        replace_text(self.path / "environment.json", json.dumps(described, indent=2) + "\n")

    def environment(self) -> dict[str, Any]:
        """Read `environment.json`.

        Raises:
            UserError: it is missing or damaged.
        """
        file, fix = self.path / "environment.json", "train again in another folder with --run DIR"
        found = read_json(file, ("data",), fix)
        data = found["data"]
        if not isinstance(data, dict) or not all(isinstance(data.get(split), dict) for split in ("train", "dev")):
            raise UserError(f"{file}: damaged, 'data' does not hold the digests of train and dev; {fix}")
        return found

    def save_tokenizers(self, tokenizers: Tokenizers) -> None:
        """Write the vocabularies, unless they are there already."""
        folder = self.path / "tokenizer"
        if not folder.is_dir():
            save_tokenizers(tokenizers, unfinished(folder))
            publish(unfinished(folder), folder)

    def tokenizers(self) -> Tokenizers | None:
        """Read the vocabularies; None if the training was stopped before it had learned them."""
        folder = self.path / "tokenizer"
        return load_tokenizers(folder) if folder.is_dir() else None

    def save_sentences(self, sentences: Sentences) -> None:
        """Write the rules by which texts are split."""
        replace_text(self.path / "sentences.json", sentences.model_dump_json(indent=2) + "\n")

    def sentences(self) -> Sentences:
        """Read the rules by which texts are split; without them, as in old runs, lines stay whole.

        Raises:
            UserError: their file is damaged.
        """
        file = self.path / "sentences.json"
        if not file.exists():
            return Sentences.of_language(self.config().data.src)
        return read_record(file, Sentences, f"delete it, and `{resume_command(self.path)}` makes it again")

    def shortlist(self) -> Shortlist:
        """Return the shortlist. The first call learns it from the store and keeps it in the run folder.

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
        log.warning("learning the shortlist from the training text, once")
        shortlist = shortlist_of(Store(self.path / "store"), tokenizers)

        # keep it, if the folder is writable
        new = unfinished(self.path / f"shortlist-{os.getpid()}.safetensors")  # others may learn it at the same time
        try:
            shortlist.save(new)
            open_to_readers(new, self.path)
            publish(new, file)
        except (OSError, SafetensorError) as error:
            new.unlink(missing_ok=True)
            log.warning("%s: cannot be written, the next search will learn it again: %s", file, error)
        return shortlist

    def load_model(
        self, checkpoint: Checkpoint | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Seq2Seq, Tokenizers]:
        """Load a model in eval mode, and its tokenizers.

        Args:
            checkpoint: the checkpoint whose weights to load; by default the best one.
            device: where to put the model.

        Raises:
            UserError: there is no checkpoint yet, or it is damaged.
        """
        # find the checkpoint; only its weights must be undamaged
        weights = ("model.safetensors",)
        if checkpoint:
            checkpoint.verify(weights)
        else:
            checkpoint = self.checkpoints.find("best", weights)
        tokenizers = self.tokenizers()
        if checkpoint is None or tokenizers is None:
            raise UserError(f"{self.path}: no checkpoint yet; continue training with `{resume_command(self.path)}`")
        if changed := checkpoint.changed_tokenizer(self.path / "tokenizer"):
            raise UserError(f"{changed}: differs from the file that {checkpoint.name} was trained with; put it back")

        # build the model and fill it
        model = build_model(self.config(), tokenizers)
        checkpoint.load_weights(model)
        return model.to(device).eval(), tokenizers
