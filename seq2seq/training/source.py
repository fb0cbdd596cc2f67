"""The run or the checkpoint whose weights and vocabularies a new run starts from: `--from RUN`."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

from seq2seq.config import NOT_HERE, Config, flatten_keys, resolve_paths
from seq2seq.errors import UserError
from seq2seq.files import fingerprint, is_folder
from seq2seq.runs.checkpoints import WEIGHTS, Checkpoint
from seq2seq.runs.run import Run

log = logging.getLogger("seq2seq")

# keys that do not say what the weights mean
MAY_DIFFER = ("model.dropout", "model.word_dropout", "model.encoder.dropout", "model.attention.chunk_size")


class Source(NamedTuple):
    """A checkpoint to start from."""

    run: Run
    checkpoint: Checkpoint
    sha256: str  # of the weights

    def as_dict(self) -> dict[str, str]:
        """Return what `environment.json` keeps of it."""
        return {"run": str(self.run.path), "checkpoint": self.checkpoint.name, "sha256": self.sha256}


def open_source(path: str | Path) -> Source:
    """Find the checkpoint that a path names: its folder, or a run (a folder or an exported file), whose best one it is.

    Raises:
        UserError: there is none, or it is damaged.
    """
    folder = Path(os.path.abspath(path))
    if folder.parent.name == "checkpoints" and is_folder(folder):
        run, checkpoint = Run.open(folder.parent.parent), Checkpoint(folder)
        checkpoint.verify(WEIGHTS)
    else:
        run = Run.open(folder)
        best = run.checkpoints.find("best", WEIGHTS)
        if best is None:
            raise UserError(f"{path}: no checkpoint yet, so that no run can start from it; train it first")
        checkpoint = best
    if changed := checkpoint.changed_tokenizer(run.folder / "tokenizer"):
        raise UserError(f"{changed}: differs from the file that {checkpoint.name} was trained with; put it back")
    return Source(run, checkpoint, fingerprint(checkpoint.path / WEIGHTS[0])["sha256"])


def find_source(run: Run, given: Source | None) -> Source | None:
    """Return the source that a run without a checkpoint was begun from; None if there is none.

    Raises:
        UserError: it is not the `given` one, is gone, or has changed.
    """
    recorded = run.environment().get("from")
    if given and (recorded is None or recorded["sha256"] != given.sha256):
        begun = (
            f"was begun from {recorded['run']}, {recorded['checkpoint']}" if recorded else "was begun without --from"
        )
        raise UserError(f"{run.path} {begun}: leave out --from, or train in another folder with --run DIR")
    if recorded is None:
        return None
    source = open_source(Path(recorded["run"]) / "checkpoints" / recorded["checkpoint"])
    if source.sha256 != recorded["sha256"]:
        raise UserError(
            f"{source.checkpoint.path} has changed since {run.path} was begun from it; train in another folder with "
            "--run DIR"
        )
    return source


def take_over(config: Config, source: Source) -> Config:
    """Return a config with the tokenizers of a source, whose model must be that of the source.

    Raises:
        UserError: a key of the model differs, or the config names no text.
    """
    # the text, which an exported file does not hold
    for name in ("train", "dev"):
        if getattr(config.data, name) == NOT_HERE:
            raise UserError(f"data.{name} is missing: {source.run.path} holds no text; add data.{name}=FILE")

    # the model
    theirs = resolve_paths(source.run.config())
    before, now = (dict(flatten_keys(c.model_dump())) for c in (theirs, resolve_paths(config)))
    fixed = ["model.", *(["data.max_length"] if config.model.attention.score == "location" else [])]
    for key in before | now:
        if key.startswith(tuple(fixed)) and key not in MAY_DIFFER and before.get(key) != now.get(key):
            raise UserError(
                f"{key} is {now.get(key)}, but {source.run.path} was trained with {before.get(key)}: --from takes the "
                "model as it is, so leave the key out; or train without --from"
            )

    # the direction
    if (config.data.src, config.data.tgt) == (theirs.data.tgt, theirs.data.src) != (theirs.data.src, theirs.data.tgt):
        text = "data.src is %s and data.tgt %s: %s was trained the other way round, so that this is another task"
        log.warning(text, config.data.src, config.data.tgt, source.run.path)

    # the tokenizers; how subwords are drawn may change
    for key in before | now:
        if key.startswith("tokenizer.") and key != "tokenizer.sampling" and before[key] != now[key]:
            text = "%s: %s is ignored, because --from takes over the vocabularies of %s (%s)"
            log.warning(text, key, now[key], source.run.path, before[key])
    taken = theirs.tokenizer.model_copy(update={"sampling": config.tokenizer.sampling})
    return Config.model_validate(config.model_dump() | {"tokenizer": taken.model_dump()})
