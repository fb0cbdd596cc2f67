"""The run folder: all that a training leaves behind, and all that every later command needs.

config.yaml        the resolved config            environment.json   versions, commit, machine, command, data digests
tokenizer/         the vocabularies               metrics.jsonl      one line a report
shortlist.safetensors   which target tokens a source token may need
store/             the training text as token ids (text/store.py); training makes it, and again where it is deleted
checkpoints/step-000500/{model.safetensors, training.pt, manifest.json}
best, last         one-line text files that name a checkpoint
"""

import json
import logging
import os
import pickle
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from seq2seq.build import build_model
from seq2seq.config import Config, load_config, resolve_paths
from seq2seq.environment import environment
from seq2seq.errors import UserError
from seq2seq.files import fingerprint, json_object, locked, publish, put_back, read_json, replace_text, sync, write_json
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.text.shortlist import Shortlist
from seq2seq.text.tokenizer import Tokenizers, load_tokenizers

log = logging.getLogger("seq2seq")

ALMOST_NOTHING = 2**20  # bytes that are free: what torch says of a full disk nobody understands

_FILES = ("model.safetensors", "training.pt")  # of a checkpoint
_STEP = re.compile("step-[0-9]+")

Digests = dict[str, dict[str, str]]  # SHA-256 of the files of each split, by name


@dataclass(frozen=True)
class Run:
    """A run folder on disk; holds nothing in memory but its path."""

    path: Path

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
            for replaced in (self.path / "checkpoints").glob(".replaced-*"):
                put_back(replaced.with_name(replaced.name.removeprefix(".replaced-")))
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

    @property
    def resume_command(self) -> str:
        """What goes on with the training of this run."""
        return shlex.join(["seq2seq", "train", str(self.path / "config.yaml"), "--run", str(self.path), "--resume"])

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

    def shortlist(self) -> Shortlist | None:
        """The shortlist, or None where the run was begun before there were any, or stopped before it had one."""
        file = self.path / "shortlist.safetensors"
        return Shortlist.load(file) if file.is_file() else None

    def has_shortlist(self) -> bool:
        """Whether there is a shortlist that is whole."""
        try:
            return self.shortlist() is not None
        except UserError:
            return False

    def save_shortlist(self, shortlist: Shortlist) -> None:
        """Keep the shortlist; it is there whole or not at all."""
        unfinished = self.path / ".shortlist.safetensors"
        shortlist.save(unfinished)
        self._open_to_readers(unfinished)
        publish(unfinished, self.path / "shortlist.safetensors")

    # -- metrics

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`.

        Raises:
            UserError: it cannot be written, as on a full disk.
        """
        path = self.path / "metrics.jsonl"
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise self._unwritten(path, str(error.strerror)) from None

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last one that was cut short by a kill does not count.

        Raises:
            UserError: another line is damaged.
        """
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        return [
            json_object(line, ("update", "split"), f"{path}, line {number}", "delete the line")
            for number, line in enumerate(lines, 1)
        ]

    # -- checkpoints

    def save_checkpoint(
        self, update: int, model: nn.Module, training: dict[str, Any], *, best: bool, keep: int
    ) -> None:
        """Write a checkpoint, let `last` (and `best`) name it, and delete all but the `keep` newest and the best.

        The files are written in a folder beside, which gets its name when all of it, and the metrics up to here, are on
        disk. Only then older ones are deleted.

        Raises:
            UserError: it cannot be written, as on a full disk; the older ones are as they were.
        """
        folder = self._folder(update)
        unfinished = folder.with_name(f".{folder.name}")
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            save_model(model, str(unfinished / "model.safetensors"))
            self._open_to_readers(unfinished / "model.safetensors")
            torch.save(training, unfinished / "training.pt")
            files = {file.name: fingerprint(file) for file in sorted(unfinished.iterdir())}
            manifest = {"update": update, "files": files, "tokenizer": self._tokenizer_digests()}
            write_json(unfinished / "manifest.json", manifest)
            if (metrics := self.path / "metrics.jsonl").is_file():
                sync(metrics)
            publish(unfinished, folder)
            for pointer in ["best"] * best + ["last"]:  # `last` last: a kill in between only repeats a validation
                self.point(pointer, update)
            shutil.rmtree(_aside(folder), ignore_errors=True)
        except (OSError, SafetensorError, RuntimeError) as error:
            full = shutil.disk_usage(self.path).free < ALMOST_NOTHING
            shutil.rmtree(unfinished, ignore_errors=True)
            reason = "No space left on device" if full else " ".join(str(error).split())
            raise self._unwritten(folder, reason) from None
        for old in set(self.checkpoints()[:-keep]) - {folder, self.checkpoint("best")}:
            leftover = old.with_name(f".{old.name}")
            shutil.rmtree(leftover, ignore_errors=True)
            old.rename(leftover)  # half of it must not be found under its name
            shutil.rmtree(leftover)

    def point(self, pointer: str, update: int | None) -> None:
        """Let `best` or `last` name the checkpoint of an update, or none."""
        if update is None:
            (self.path / pointer).unlink(missing_ok=True)
        else:
            replace_text(self.path / pointer, self._folder(update).name + "\n")

    def _folder(self, update: int) -> Path:
        return self.path / "checkpoints" / f"step-{update:06d}"

    def checkpoint(self, pointer: str) -> Path | None:
        """The checkpoint folder that `best` or `last` names; None before the first one."""
        file = self.path / pointer
        name = file.read_text("utf-8", "replace").strip() if file.is_file() else ""
        return self.path / "checkpoints" / name if _STEP.fullmatch(name) else None

    def checkpoints(self) -> list[Path]:
        """The checkpoint folders that are kept, oldest first."""
        found = [path for path in (self.path / "checkpoints").glob("step-*") if _STEP.fullmatch(path.name)]
        return sorted(found, key=_update)

    def whole_checkpoint(self, pointer: str, files: Sequence[str] = _FILES) -> Path | None:
        """The checkpoint that `best` or `last` names or, with a warning, the newest one that is not damaged.

        None before the first one.

        Args:
            pointer: `best` or `last`.
            files: that must not be damaged.

        Raises:
            UserError: there are checkpoints, and all are damaged.
        """
        named, newest_first = self.checkpoint(pointer), self.checkpoints()[::-1]
        damage = None
        for checkpoint in [named, *newest_first] if named else newest_first:
            try:
                self.verify(checkpoint, files)
            except UserError as error:
                damage = damage or error
            else:
                if damage:
                    log.warning("%s; going on with %s instead", damage, checkpoint)
                return checkpoint
        if damage:
            raise UserError(f"{damage}. There is no whole one: train again in another folder with --run DIR")
        return None

    def rewind(self, checkpoint: Path | None, best: int | None, metrics_bytes: int | None) -> None:
        """Make the folder what it was when a checkpoint was saved: a resumed training does again what came after.

        Args:
            checkpoint: to go on from; newer ones, damaged perhaps, are moved aside until they have been made again.
                None: from the beginning.
            best: the update of the best checkpoint then; None: as it is now.
            metrics_bytes: the size of the metrics then; None: of those up to the checkpoint's update.
        """
        for leftover in (self.path / "checkpoints").glob(".step-*"):
            shutil.rmtree(leftover)
        if checkpoint:
            kept = self.checkpoints()
            for other in kept[kept.index(checkpoint) + 1 :]:
                shutil.rmtree(_aside(other), ignore_errors=True)
                other.rename(_aside(other))
            self.point("last", _update(checkpoint))
        if best is not None:
            self.point("best", best)
        self.cut_metrics(_update(checkpoint) if checkpoint else 0, metrics_bytes)

    def cut_metrics(self, update: int, size: int | None = None) -> None:
        """Forget what was logged after an update, and what stands after the first so many bytes."""
        file = self.path / "metrics.jsonl"
        if size is not None and self.metrics_bytes() < size:
            log.warning("%s lacks lines from before the checkpoint; they are not made again", file)
        if file.is_file():
            lines = zip(file.read_bytes().splitlines(keepends=True), self.metrics(), strict=False)
            until = sum(len(line) for line, record in lines if record["update"] <= update)
            os.truncate(file, until if size is None else min(size, until))

    def metrics_bytes(self) -> int:
        """The size of the metrics."""
        file = self.path / "metrics.jsonl"
        return file.stat().st_size if file.is_file() else 0

    def load_model(
        self, checkpoint: Path | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Seq2Seq, Tokenizers]:
        """The trained model of a checkpoint, by default the best one, in eval mode, and its tokenizers.

        Raises:
            UserError: there is no checkpoint yet, or it is damaged.
        """
        weights = ("model.safetensors",)
        if checkpoint:
            self.verify(checkpoint, weights)
        checkpoint, tokenizers = checkpoint or self.whole_checkpoint("best", weights), self.tokenizers()
        if checkpoint is None or tokenizers is None:
            raise UserError(f"{self.path}: no checkpoint yet; go on training with `{self.resume_command}`")
        if changed := self.changed_tokenizer(checkpoint):
            raise UserError(f"{changed}: not what {checkpoint.name} was trained with; put the old file back")
        model = build_model(self.config(), tokenizers)
        self.restore(model, checkpoint)
        return model.to(device).eval(), tokenizers

    def restore(self, model: nn.Module, checkpoint: Path) -> None:
        """Read the weights of a checkpoint that is whole into a model.

        Raises:
            UserError: weights of another model.
        """
        try:
            load_model(model, str(checkpoint / "model.safetensors"))
        except (RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{checkpoint}: not the weights of this run's config: {reason}; put the old config back, or train in "
                "another folder with --run DIR"
            ) from None

    def training_state(self, checkpoint: Path) -> dict[str, Any]:
        """What `save_checkpoint` was given as `training`, of a checkpoint that is whole.

        Only tensors, numbers and strings are read: no code runs.

        Raises:
            UserError: there is anything else in it.
        """
        file = checkpoint / "training.pt"
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise UserError(
                f"{file}: refused, it holds more than tensors, numbers and strings; use another checkpoint"
            ) from None
        return state

    def verify(self, checkpoint: Path, files: Sequence[str] = _FILES) -> None:
        """Compare files of a checkpoint, by default all, with the sizes and digests in its manifest.

        Raises:
            UserError: a file that is missing or damaged.
        """
        known = self._manifest(checkpoint)["files"]
        try:
            for name in files:
                if not isinstance(known, dict) or fingerprint(checkpoint / name) != known.get(name):
                    raise UserError(f"{checkpoint / name}: damaged, it is not what was written; use another checkpoint")
        except OSError as error:
            raise UserError(f"{checkpoint}: not a whole checkpoint ({error}); use another one") from None

    def changed_tokenizer(self, checkpoint: Path) -> Path | None:
        """A file of the vocabularies that is not what a checkpoint was trained with; None where all are, or where the
        checkpoint is of before that was kept."""
        known, found = self._manifest(checkpoint).get("tokenizer"), self._tokenizer_digests()
        different = [name for name in {**found, **(known or found)} if (known or found).get(name) != found.get(name)]
        return self.path / "tokenizer" / different[0] if different else None

    def _unwritten(self, path: Path, reason: str) -> UserError:
        fix = f"what was saved before is whole: mend that, and go on with `{self.resume_command}`"
        return UserError(f"{path}: cannot be written: {reason}; {fix}")

    def _manifest(self, checkpoint: Path) -> dict[str, Any]:
        return read_json(checkpoint / "manifest.json", ("files",), "use another checkpoint")

    def _tokenizer_digests(self) -> dict[str, str]:
        folder = self.path / "tokenizer"
        return {file.name: fingerprint(file)["sha256"] for file in sorted(folder.iterdir())} if folder.is_dir() else {}

    def _open_to_readers(self, file: Path) -> None:
        """Let those read a file who can read the run folder; safetensors writes for its owner alone."""
        file.chmod(self.path.stat().st_mode & 0o666)


def _update(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _aside(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"aside-{checkpoint.name}")
