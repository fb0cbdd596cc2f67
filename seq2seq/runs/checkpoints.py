"""The checkpoints of a run. A kill never loses the last good one, and each is verified before it is used.

checkpoints/step-000500/   model.safetensors   the weights
                           training.pt         optimizer, random states, progress: all that resuming needs
                           manifest.json       size and SHA-256 of these files; SHA-256 of the tokenizer's files
best, last                 one-line text files beside `checkpoints`; each names a checkpoint
"""

import logging
import pickle
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from seq2seq.errors import UserError, unwritten
from seq2seq.files import (
    fingerprint,
    open_to_readers,
    publish,
    read_json,
    remove,
    replace_text,
    sync,
    undo,
    unfinished,
    write_json,
)

log = logging.getLogger("seq2seq")

DISK_IS_FULL = 2**20  # with fewer free bytes the reason of a failed save is "no space left", whatever torch says

_FILES = ("model.safetensors", "training.pt")
_NAME = re.compile("step-[0-9]+")


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
        known = self._manifest()["files"]
        try:
            for name in files:
                file = self.path / name
                if fingerprint(file) != known.get(name):
                    raise UserError(f"{file}: damaged, its content is not what was saved; use another checkpoint")
        except OSError as error:
            raise UserError(f"{self.path}: incomplete checkpoint ({error}); use another one") from None

    def changed_tokenizer(self, folder: Path) -> Path | None:
        """Return a tokenizer file in `folder` that differs from those of the training; None if all are the same."""
        known, found = self._manifest()["tokenizer"], _digests(folder)
        different = [name for name in {**known, **found} if known.get(name) != found.get(name)]
        return folder / different[0] if different else None

    def load_weights(self, model: nn.Module) -> None:
        """Read the weights into a model.

        Raises:
            UserError: the weights belong to another model, or are not finite.
        """
        try:
            load_model(model, str(self.path / "model.safetensors"))
        except (RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
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
        except pickle.UnpicklingError:
            raise UserError(
                f"{file}: refused, it holds more than tensors, numbers and strings; use another checkpoint"
            ) from None
        return state

    def _manifest(self) -> dict[str, Any]:
        file, fix = self.path / "manifest.json", "use another checkpoint"
        found = read_json(file, ("files", "tokenizer"), fix)
        for key in ("files", "tokenizer"):
            if not isinstance(found[key], dict):
                raise UserError(f"{file}: damaged, {key!r} is {str(found[key])[:40]!r}, not an object; {fix}")
        return found


@dataclass(frozen=True)
class Checkpoints:
    """All checkpoints of a run folder, and the pointers `best` and `last`."""

    run: Path

    def named(self, pointer: str) -> Checkpoint | None:
        """Return the checkpoint that `best` or `last` names; None before the first one."""
        file = self.run / pointer
        name = file.read_text("utf-8", "replace").strip() if file.is_file() else ""
        return Checkpoint(self.run / "checkpoints" / name) if _NAME.fullmatch(name) else None

    def all(self) -> list[Checkpoint]:
        """List the checkpoints, oldest first."""
        found = [Checkpoint(path) for path in (self.run / "checkpoints").glob("step-*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda checkpoint: checkpoint.update)

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
        # the one that is named, then the others from the newest on
        damage = None
        for checkpoint in filter(None, [self.named(pointer), *reversed(self.all())]):
            try:
                checkpoint.verify(files)
            except UserError as error:
                damage = damage or error
            else:
                if damage:
                    log.warning("%s; going on with %s instead", damage, checkpoint.path)
                return checkpoint
        if damage:
            raise UserError(f"{damage}. No other checkpoint is undamaged: train again in another folder with --run DIR")
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
        new = unfinished(saved.path)
        try:
            # write the files in a hidden folder
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            save_model(model, str(new / "model.safetensors"))
            open_to_readers(new / "model.safetensors", self.run)
            torch.save(training, new / "training.pt")
            files = {file.name: fingerprint(file) for file in sorted(new.iterdir())}
            manifest = {"update": update, "files": files, "tokenizer": _digests(self.run / "tokenizer")}
            write_json(new / "manifest.json", manifest)

            # give the folder its name; the metrics up to here must be on disk before
            if (metrics := self.run / "metrics.jsonl").is_file():
                sync(metrics)
            publish(new, saved.path)

            # move the pointers, `last` at the end: a kill in between then only repeats the validation
            for pointer in ["best"] * best + ["last"]:
                self.point(pointer, update)
        except (OSError, SafetensorError, RuntimeError) as error:
            full = shutil.disk_usage(self.run).free < DISK_IS_FULL
            shutil.rmtree(new, ignore_errors=True)
            reason = "No space left on device" if full else " ".join(str(error).split())
            raise unwritten(saved.path, reason, self.run) from None

        # delete older ones
        for old in set(self.all()[:-keep]) - {saved, self.named("best")}:
            remove(old.path)

    def point(self, pointer: str, update: int) -> None:
        """Point `best` or `last` at the checkpoint of an update."""
        replace_text(self.run / pointer, self._of(update).name + "\n")

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


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: fingerprint(file)["sha256"] for file in sorted(folder.iterdir())} if folder.is_dir() else {}
