"""The run folder: all that a training leaves behind, and all that every later command needs.

config.yaml        the resolved config            environment.json   versions, commit, machine, command, data digests
tokenizer/         the vocabularies               metrics.jsonl      one line a report
shortlist.safetensors   which target tokens a source token may need
store/             the training text as token ids (text/store.py); training makes it, and again where it is deleted
checkpoints/step-000500/{model.safetensors, training.pt, manifest.json}
best, last         one-line text files that name a checkpoint
"""

import hashlib
import json
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from seq2seq.build import build_model, choose_device
from seq2seq.config import Config, load_config, resolve_paths
from seq2seq.errors import UserError
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.text.shortlist import Shortlist
from seq2seq.text.tokenizer import Tokenizers, load_tokenizers


@dataclass(frozen=True)
class Run:
    """A run folder on disk; holds nothing in memory but its path."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config) -> "Run":
        """Begin a run: the folder with `config.yaml` and `environment.json`.

        Raises:
            UserError: the folder already holds a run, or cannot be written.
        """
        run = cls(path)
        run.must_be_new()
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write_json(path / "environment.json", _environment(config))
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
        """Whether the folder holds a run."""
        return (self.path / "config.yaml").is_file()

    def save_config(self, config: Config) -> None:
        """Keep a config, its paths made absolute."""
        replace_text(self.path / "config.yaml", resolve_paths(config).to_yaml())

    def config(self) -> Config:
        """The resolved config that the run was begun with."""
        return load_config(self.path / "config.yaml")

    def tokenizers(self) -> Tokenizers | None:
        """The vocabularies, or None where the run was stopped before it had them."""
        folder = self.path / "tokenizer"
        return load_tokenizers(folder) if folder.is_dir() else None

    @property
    def resume_command(self) -> str:
        """What goes on with the training of this run."""
        return f"seq2seq train {self.path / 'config.yaml'} --run {self.path} --resume"

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
        unfinished.rename(self.path / "tokenizer")

    def shortlist(self) -> Shortlist | None:
        """The shortlist, or None where the run was begun before there were any, or stopped before it had one."""
        file = self.path / "shortlist.safetensors"
        return Shortlist.load(file) if file.is_file() else None

    def save_shortlist(self, shortlist: Shortlist) -> None:
        """Keep the shortlist; it is there whole or not at all."""
        unfinished = self.path / ".shortlist.safetensors"
        shortlist.save(unfinished)
        self._open_to_readers(unfinished)
        _sync(unfinished)
        unfinished.rename(self.path / "shortlist.safetensors")

    # -- metrics

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last one that was cut short by a kill does not count.

        Raises:
            UserError: another line is damaged.
        """
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        return [
            _json_object(line, ("update", "split"), f"{path}, line {number}", "delete the line")
            for number, line in enumerate(lines, 1)
        ]

    def cut_metrics(self, update: int) -> None:
        """Forget what was logged after an update: a resumed run logs it again."""
        kept = [record for record in self.metrics() if record["update"] <= update]
        replace_text(self.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))

    # -- checkpoints

    def save_checkpoint(
        self, update: int, model: nn.Module, training: dict[str, Any], *, best: bool, keep: int
    ) -> None:
        """Write a checkpoint, let `last` (and `best`) name it, and delete all but the `keep` newest and the best.

        The files are written in a folder beside, which gets its name when all of it is on disk.
        """
        folder = self.path / "checkpoints" / f"step-{update:06d}"
        unfinished = folder.with_name(f".{folder.name}")
        for leftover in (unfinished, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_model(model, str(unfinished / "model.safetensors"))
        self._open_to_readers(unfinished / "model.safetensors")
        torch.save(training, unfinished / "training.pt")
        files = {file.name: _fingerprint(file) for file in sorted(unfinished.iterdir())}
        _write_json(unfinished / "manifest.json", {"update": update, "files": files})
        for file in unfinished.iterdir():
            _sync(file)
        _sync(unfinished)
        unfinished.rename(folder)
        _sync(folder.parent)
        for pointer in ["best"] * best + ["last"]:  # `last` last: a kill in between only repeats a validation
            replace_text(self.path / pointer, folder.name + "\n")
        for old in set(self.checkpoints()[:-keep]) - {folder, self.checkpoint("best")}:
            shutil.rmtree(old)

    def _open_to_readers(self, file: Path) -> None:
        """Let those read a file who can read the run folder; safetensors writes for its owner alone."""
        file.chmod(self.path.stat().st_mode & 0o666)

    def checkpoint(self, pointer: str) -> Path | None:
        """The checkpoint folder that `best` or `last` names; None before the first one."""
        file = self.path / pointer
        return self.path / "checkpoints" / file.read_text(encoding="utf-8").strip() if file.is_file() else None

    def checkpoints(self) -> list[Path]:
        """The checkpoint folders that are kept, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))

    def load_model(
        self, checkpoint: Path | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Seq2Seq, Tokenizers]:
        """The trained model of a checkpoint, by default the best one, in eval mode, and its tokenizers.

        Raises:
            UserError: there is no checkpoint yet, or it is damaged.
        """
        checkpoint, tokenizers = checkpoint or self.checkpoint("best"), self.tokenizers()
        if checkpoint is None or tokenizers is None:
            raise UserError(f"{self.path}: no checkpoint yet; go on training with `{self.resume_command}`")
        model = build_model(self.config(), tokenizers)
        self.restore(model, checkpoint)
        return model.to(device).eval(), tokenizers

    def restore(self, model: nn.Module, checkpoint: Path) -> None:
        """Read a checkpoint's weights into a model.

        Raises:
            UserError: a file that is missing or is not what the manifest says, or weights of another model.
        """
        self.verify(checkpoint)
        try:
            load_model(model, str(checkpoint / "model.safetensors"))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{checkpoint}: not the weights of this run's config: {reason}; train again") from None

    def training_state(self, checkpoint: Path) -> dict[str, Any]:
        """What `save_checkpoint` was given as `training`. Only tensors, numbers and strings are read: no code runs.

        Raises:
            UserError: a damaged checkpoint, or one with anything else in it.
        """
        self.verify(checkpoint)
        file = checkpoint / "training.pt"
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise UserError(f"{file}: refused, it holds more than tensors, numbers and strings") from None
        return state

    def verify(self, checkpoint: Path) -> None:
        """Compare a checkpoint's files with the sizes and digests in its manifest.

        Raises:
            UserError: a file that is missing or damaged.
        """
        manifest = read_json(checkpoint / "manifest.json", ("files",), "use another checkpoint")
        try:
            for name, fingerprint in manifest["files"].items():
                if _fingerprint(checkpoint / name) != fingerprint:
                    raise UserError(f"{checkpoint / name}: damaged, it is not what was written; use another checkpoint")
        except OSError as error:
            raise UserError(f"{checkpoint}: not a whole checkpoint ({error}); use another one") from None


def _environment(config: Config) -> dict[str, Any]:
    """Where and from what a run is made."""
    packages = ("seq2seq", "torch", "torchtext", "sentencepiece", "sacrebleu", "numpy")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(choose_device(config.training.device)),
        "packages": {name: _version(name) for name in packages},
        "commit": _commit(),
        "data": data_digests(config),
    }


def data_digests(config: Config) -> dict[str, dict[str, str]]:
    """SHA-256 of the files of each split, by name: those that begin with its prefix and a dot, or the prefix itself."""
    found = {}
    for split in ("train", "dev", "test"):
        if prefix := getattr(config.data, split):
            path = Path(prefix)
            files = [path] if path.is_file() else sorted(path.parent.glob(f"{path.name}.*"))
            found[split] = {file.name: _fingerprint(file)["sha256"] for file in files if file.is_file()}
    return found


def _processor() -> str:
    """The processor's model where Linux names it; elsewhere what Python knows, often no more than its kind."""
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        described = ""
    model = re.search(r"^model name\s*:\s*(\S.*)$", described, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The git commit of this package's own checkout, marked where it has changes; None where it is installed alone."""
    if not (Path(__file__).parents[1] / ".git").exists():
        return None
    describe = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_json(path: Path, keys: Iterable[str], fix: str) -> dict[str, Any]:
    """A JSON object that this package has written.

    Args:
        path: the file.
        keys: what must be in it.
        fix: what to do where it is missing or damaged; the end of the error.

    Raises:
        UserError: the file cannot be read, is not a JSON object, or lacks a key.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {fix}") from None
    return _json_object(text, keys, str(path), fix)


def _json_object(text: bytes, keys: Iterable[str], place: str, fix: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"{place}: damaged, not JSON ({error}); {fix}") from None
    if not isinstance(found, dict):
        raise UserError(f"{place}: damaged, {str(found)[:40]!r} where a JSON object should be; {fix}")
    if missing := [key for key in keys if key not in found]:
        raise UserError(f"{place}: damaged, it has no {missing[0]!r}; {fix}")
    return found


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Give a file new content in one rename: a reader sees the old or the new, never half of it."""
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(text, encoding="utf-8")
    _sync(unfinished)
    unfinished.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
