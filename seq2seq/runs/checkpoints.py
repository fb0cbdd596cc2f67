"""The checkpoints of a run. A kill never loses the last good one, and each is verified before it is used.

checkpoints/step-000500/   model.safetensors   the weights
                           training.pt         optimizer, random states, progress: all that resuming needs
                           manifest.json       size and SHA-256 of these files; SHA-256 of the tokenizer's files
best, last                 one-line text files beside `checkpoints`; each names a checkpoint
"""

import errno
import logging
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, NonNegativeInt
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from seq2seq.errors import UserError, unwritten
from seq2seq.files import (
    LINK,
    fingerprint,
    is_folder,
    open_to_readers,
    read_json,
    read_small,
    remove,
    replace_text,
    replacing_folder,
    sync,
    undo,
    write_json,
)
from seq2seq.text.vocabularies import vocabulary_digests

log = logging.getLogger("seq2seq")

DISK_IS_FULL = 2**20  # with fewer free bytes the reason of a failed save is "no space left", whatever torch says

WEIGHTS = ("model.safetensors",)  # all that a translator needs of a checkpoint
_FILES = (*WEIGHTS, "training.pt")
_NAME = re.compile("step-[0-9]+")
TRIES, PAUSE = 10, 0.1  # a training may delete the checkpoint that another process reads: try so often, after so many s


class FileRecord(BaseModel, strict=True):
    """The size of a file in bytes and its SHA-256."""

    bytes: NonNegativeInt
    sha256: str


class Manifest(BaseModel, strict=True):
    """The content of `manifest.json`."""

    update: NonNegativeInt
    files: dict[str, FileRecord]
    tokenizer: dict[str, str]  # SHA-256 of the files of the vocabularies


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, as `best` and `last` give it."""
        return self.path.name

    @property
    def update(self) -> int:
        """The number of the update after which it was saved."""
        return int(self.name.removeprefix("step-"))

    def verify(self, files: Sequence[str] = _FILES) -> None:
        """Compare the size and digest of some of its files with the manifest.

        Raises:
            UserError: a file is missing or damaged.
        """
        manifest = self.manifest()
        try:
            for name in files:
                file, known = self.path / name, manifest.files.get(name)
                is_same = known and fingerprint(file, known.bytes) == known.model_dump()
                if not is_same or manifest.update != self.update:
                    raise UserError(f"{file}: damaged, its content is not what was saved; use another checkpoint")
        except OSError as error:
            raise UserError(f"{self.path}: incomplete checkpoint ({error}); use another one") from None

    def manifest(self) -> Manifest:
        """Read the manifest; raise UserError if it is missing or damaged."""
        return read_json(self.path / "manifest.json", Manifest, "use another checkpoint")

    def changed_tokenizer(self, folder: Path) -> Path | None:
        """Return a tokenizer file in `folder` that differs from those of the training; None if all are the same."""
        known, found = self.manifest().tokenizer, vocabulary_digests(folder)
        different = [name for name in known or found if known.get(name) != found.get(name)]
        return folder / different[0] if different else None

    def load_weights(self, model: nn.Module) -> None:
        """Read the weights into a model.

        Raises:
            UserError: the weights belong to another model, or are not finite.
        """
        try:
            load_model(model, str(self.path / WEIGHTS[0]))
        except OSError as error:
            raise UserError(f"{self.path}: incomplete checkpoint ({error}); use another one") from None
        except (RuntimeError, SafetensorError) as error:
            reason = _misfit(str(error))
            raise UserError(
                f"{self.path}: these weights do not fit this run's config: {reason}; put the old config back, or train "
                "in another folder with --run DIR"
            ) from None
        if bad := [name for name, weight in model.named_parameters() if not weight.isfinite().all()]:
            raise UserError(f"{self.path}: the weights {bad[0]} are not finite numbers; use another checkpoint")

    def training_state(self) -> dict[str, Any]:
        """Read the training state that `Checkpoints.save` wrote.

        It holds only tensors, numbers and strings, so reading it never runs code.

        Raises:
            UserError: the file holds anything else.
        """
        file = self.path / "training.pt"
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # torch raises many kinds
            raise UserError(
                f"{file}: refused, it holds more than tensors, numbers and strings; use another checkpoint"
            ) from None
        return state


@dataclass(frozen=True)
class Checkpoints:
    """All checkpoints of a run folder, and the pointers `best` and `last`."""

    run: Path

    def named(self, pointer: str) -> Checkpoint | None:
        """Return the checkpoint that `best` or `last` names; None if there is no such file, or it is damaged."""
        try:
            return self._read(pointer)
        except UserError:
            return None

    def _read(self, pointer: str) -> Checkpoint:
        """Return the checkpoint that `best` or `last` names; raise UserError if it names none."""
        file = self.run / pointer
        try:
            if file.is_symlink():
                raise OSError(errno.ELOOP, LINK)
            name = read_small(file, 100).decode("utf-8", "replace").removesuffix("\n")
        except FileNotFoundError:
            raise UserError(f"{file}: there is none") from None
        except OSError as error:
            raise UserError(f"{file}: damaged, {error.strerror}") from None
        if not _NAME.fullmatch(name):
            raise UserError(f"{file}: damaged, {name[:40]!r} is not the name of a checkpoint")
        return Checkpoint(self.run / "checkpoints" / name)

    def all(self) -> list[Checkpoint]:
        """List the checkpoints, oldest first; what is no folder is none."""
        found = [path for path in (self.run / "checkpoints").glob("step-*") if _NAME.fullmatch(path.name)]
        return sorted(map(Checkpoint, filter(is_folder, found)), key=lambda checkpoint: checkpoint.update)

    def find(self, pointer: str, files: Sequence[str] = _FILES) -> Checkpoint | None:
        """Return the checkpoint that `best` or `last` names; if it is damaged, warn and return the newest good one.

        Args:
            pointer: `best` or `last`.
            files: the files that must not be damaged.

        Returns:
            None before the first checkpoint.

        Raises:
            UserError: all checkpoints are damaged.
        """
        # the one that is named; if it is not there, a training may just have replaced it
        for _ in range(TRIES):
            named = self.named(pointer)
            if named is None or is_folder(named.path):
                break
            time.sleep(PAUSE)

        # then the others from the newest on
        damage, others = None, [*reversed(self.all())]
        try:
            others = [self._read(pointer), *others]
        except UserError as error:
            damage = error if others or (self.run / pointer).exists() else None
        for checkpoint in others:
            try:
                checkpoint.verify(files)
            except UserError as error:
                if not is_folder(checkpoint.path) and self.named(pointer) not in (None, checkpoint):
                    return self.find(pointer, files)  # a training has deleted it meanwhile
                damage = damage or error
            else:
                if damage:
                    log.warning("%s; going on with %s instead", damage, checkpoint.path)
                return checkpoint
        if damage:
            fix = "train again in another folder with --run DIR; if the weights are whole, start from them with --from"
            raise UserError(f"{damage}. No other checkpoint is undamaged: {fix}")
        return None

    def save(self, update: int, model: nn.Module, training: dict[str, Any], *, best: bool, keep: int) -> None:
        """Save a checkpoint, point `last` (and `best`) at it, and delete all but the `keep` newest and the best.

        Args:
            update: the number of updates so far.
            model: the model whose weights are saved.
            training: the training state, which a resume needs too: tensors, numbers and strings.
            best: whether it is the best checkpoint so far.
            keep: the number of newest checkpoints to keep.

        Raises:
            UserError: it cannot be written, for instance on a full disk; older checkpoints are untouched.
        """
        saved = self._of(update)
        try:
            # write the files in a hidden folder, which gets its name when the metrics up to here are on disk
            with replacing_folder(saved.path) as new:
                save_model(model, str(new / WEIGHTS[0]))
                open_to_readers(new / WEIGHTS[0], self.run)
                torch.save(training, new / "training.pt")
                files = {file.name: fingerprint(file) for file in sorted(new.iterdir())}
                manifest = {"update": update, "files": files, "tokenizer": vocabulary_digests(self.run / "tokenizer")}
                write_json(new / "manifest.json", manifest)
                if (metrics := self.run / "metrics.jsonl").is_file():
                    sync(metrics)

            # move the pointers, `last` at the end: a kill in between then only repeats the validation
            for pointer in ["best"] * best + ["last"]:
                self.point(pointer, update)
        except (OSError, SafetensorError, RuntimeError) as error:
            full = shutil.disk_usage(self.run).free < DISK_IS_FULL
            reason = "No space left on device" if full else " ".join(str(error).split())
            raise unwritten(saved.path, reason, self.run) from None

        # delete older ones
        for old in set(self.all()[:-keep]) - {saved, self.named("best")}:
            remove(old.path)

    def point(self, pointer: str, update: int) -> None:
        """Point `best` or `last` at the checkpoint of an update; raise UserError if that cannot be written."""
        file = self.run / pointer
        try:
            replace_text(file, self._of(update).name + "\n")
        except OSError as error:
            raise unwritten(file, str(error.strerror), self.run) from None

    def rewind(self, checkpoint: Checkpoint | None, best: int | None) -> None:
        """Restore the state that the folder had when a checkpoint was saved.

        Args:
            checkpoint: where the training resumes; None for the beginning. Newer checkpoints, perhaps damaged, are set
                aside until the training has saved them again.
            best: the update of the best checkpoint at that time, if there was one.
        """
        if checkpoint:
            kept = self.all()
            for newer in kept[kept.index(checkpoint) + 1 :]:
                undo(newer.path)
            self.point("last", checkpoint.update)
        if best is not None:
            self.point("best", best)

    def _of(self, update: int) -> Checkpoint:
        return Checkpoint(self.run / "checkpoints" / f"step-{update:06d}")


def _misfit(message: str) -> str:
    """Return the first weight of another size that an error of torch names, or the beginning of the error."""
    text = " ".join(message.split())
    sizes = r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)"
    if found := re.search(sizes, text):
        return f"{found[1]} has the size {found[2]}, and the config makes it {found[3]}"
    return text[:200]
