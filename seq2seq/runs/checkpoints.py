"""The checkpoints of a run: how one is saved, found whole again, and read."""

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
from seq2seq.files import fingerprint, open_to_readers, publish, read_json, replace_text, sync, write_json

log = logging.getLogger("seq2seq")

ALMOST_NOTHING = 2**20  # bytes that are free: what torch says of a full disk nobody understands

_FILES = ("model.safetensors", "training.pt")
_NAME = re.compile("step-[0-9]+")


@dataclass(frozen=True)
class Checkpoint:
    """A folder with the weights, the rest that a training goes on from, and a manifest of what was written."""

    path: Path

    @property
    def name(self) -> str:
        """As `best` and `last` say it."""
        return self.path.name

    @property
    def update(self) -> int:
        """The number of the update after which it was saved."""
        return int(self.name.removeprefix("step-"))

    def verify(self, files: Sequence[str] = _FILES) -> None:
        """Compare files, by default all, with the sizes and digests in the manifest.

        Raises:
            UserError: a file that is missing or damaged.
        """
        known = self._manifest()["files"]
        try:
            for name in files:
                file = self.path / name
                if not isinstance(known, dict) or fingerprint(file) != known.get(name):
                    raise UserError(f"{file}: damaged, it is not what was written; use another checkpoint")
        except OSError as error:
            raise UserError(f"{self.path}: not a whole checkpoint ({error}); use another one") from None

    def changed_tokenizer(self, folder: Path) -> Path | None:
        """A file of the vocabularies in a folder that is not what the checkpoint was trained with; None where all are,
        or where it is of before that was kept."""
        known, found = self._manifest().get("tokenizer"), _digests(folder)
        different = [name for name in {**found, **(known or found)} if (known or found).get(name) != found.get(name)]
        return folder / different[0] if different else None

    def restore(self, model: nn.Module) -> None:
        """Read the weights, which are whole, into a model.

        Raises:
            UserError: weights of another model.
        """
        try:
            load_model(model, str(self.path / "model.safetensors"))
        except (RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.path}: not the weights of this run's config: {reason}; put the old config back, or train in "
                "another folder with --run DIR"
            ) from None

    def training_state(self) -> dict[str, Any]:
        """What `Checkpoints.save` was given as `training`, where it is whole.

        Only tensors, numbers and strings are read: no code runs.

        Raises:
            UserError: there is anything else in it.
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
        return read_json(self.path / "manifest.json", ("files",), "use another checkpoint")


@dataclass(frozen=True)
class Checkpoints:
    """All checkpoints in a run folder, and the pointers `best` and `last`."""

    run: Path

    def named(self, pointer: str) -> Checkpoint | None:
        """The one that `best` or `last` names; None before the first one."""
        file = self.run / pointer
        name = file.read_text("utf-8", "replace").strip() if file.is_file() else ""
        return Checkpoint(self.run / "checkpoints" / name) if _NAME.fullmatch(name) else None

    def all(self) -> list[Checkpoint]:
        """Those that are kept, oldest first."""
        found = [Checkpoint(path) for path in (self.run / "checkpoints").glob("step-*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda checkpoint: checkpoint.update)

    def whole(self, pointer: str, files: Sequence[str] = _FILES) -> Checkpoint | None:
        """The one that `best` or `last` names or, with a warning, the newest one that is not damaged.

        None before the first one.

        Args:
            pointer: `best` or `last`.
            files: that must not be damaged.

        Raises:
            UserError: there are checkpoints, and all are damaged.
        """
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
            raise UserError(f"{damage}. There is no whole one: train again in another folder with --run DIR")
        return None

    def save(self, update: int, model: nn.Module, training: dict[str, Any], *, best: bool, keep: int) -> None:
        """Write a checkpoint, let `last` (and `best`) name it, and delete all but the `keep` newest and the best.

        The files are written in a folder beside, which gets its name when all of it, and the metrics up to here, are on
        disk. Only then older ones are deleted.

        Raises:
            UserError: it cannot be written, as on a full disk; the older ones are as they were.
        """
        saved = self._of(update)
        unfinished = _beside(saved, ".")
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            save_model(model, str(unfinished / "model.safetensors"))
            open_to_readers(unfinished / "model.safetensors", self.run)
            torch.save(training, unfinished / "training.pt")
            files = {file.name: fingerprint(file) for file in sorted(unfinished.iterdir())}
            manifest = {"update": update, "files": files, "tokenizer": _digests(self.run / "tokenizer")}
            write_json(unfinished / "manifest.json", manifest)
            if (metrics := self.run / "metrics.jsonl").is_file():
                sync(metrics)
            publish(unfinished, saved.path)
            for pointer in ["best"] * best + ["last"]:  # `last` last: a kill in between only repeats a validation
                self.point(pointer, update)
            shutil.rmtree(_beside(saved, "aside-"), ignore_errors=True)
        except (OSError, SafetensorError, RuntimeError) as error:
            full = shutil.disk_usage(self.run).free < ALMOST_NOTHING
            shutil.rmtree(unfinished, ignore_errors=True)
            reason = "No space left on device" if full else " ".join(str(error).split())
            raise unwritten(saved.path, reason, self.run) from None
        for old in set(self.all()[:-keep]) - {saved, self.named("best")}:
            leftover = _beside(old, ".")
            shutil.rmtree(leftover, ignore_errors=True)
            old.path.rename(leftover)  # half of it must not be found under its name
            shutil.rmtree(leftover)

    def point(self, pointer: str, update: int) -> None:
        """Let `best` or `last` name the checkpoint of an update."""
        replace_text(self.run / pointer, self._of(update).name + "\n")

    def rewind(self, checkpoint: Checkpoint | None, best: int | None) -> None:
        """Make them what they were when one was saved: a resumed training makes again what came after.

        Args:
            checkpoint: to go on from; newer ones, damaged perhaps, are moved aside until they have been made again.
                None: from the beginning.
            best: the update of the best checkpoint then; None: as it is now.
        """
        for leftover in (self.run / "checkpoints").glob(".step-*"):
            shutil.rmtree(leftover)
        if checkpoint:
            kept = self.all()
            for other in kept[kept.index(checkpoint) + 1 :]:
                shutil.rmtree(_beside(other, "aside-"), ignore_errors=True)
                other.path.rename(_beside(other, "aside-"))
            self.point("last", checkpoint.update)
        if best is not None:
            self.point("best", best)

    def _of(self, update: int) -> Checkpoint:
        return Checkpoint(self.run / "checkpoints" / f"step-{update:06d}")


def _beside(checkpoint: Checkpoint, prefix: str) -> Path:
    """Where nobody takes it for a checkpoint: `.` while it is written or deleted, `aside-` until it is made again."""
    return checkpoint.path.with_name(prefix + checkpoint.name)


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: fingerprint(file)["sha256"] for file in sorted(folder.iterdir())} if folder.is_dir() else {}
