"""The export of a run to one file, with all that a translator needs: no optimizer, no text, no path of this machine.

config.yaml, best, tokenizer/, sentences.json, confidence.json, shortlist.safetensors: as in the run folder (run.py)
checkpoints/step-000500/   model.safetensors and manifest.json of the best checkpoint
card.json                  what the model is: languages, sizes, scores, versions, license
LICENSE                    the license, if one was given
SHA256SUMS                 the digests (archives.py)
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from seq2seq import __version__, archives
from seq2seq.config import without_paths
from seq2seq.errors import UserError, resume_command
from seq2seq.files import is_file, must_write, read_json, read_small, replacing, status
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.checkpoints import WEIGHTS, Checkpoint
from seq2seq.runs.fitting import count_parameters
from seq2seq.runs.run import Run
from seq2seq.text.tokenizer import Tokenizers

FIX = "export the run again"


class Score(BaseModel, strict=True):
    """A score in percent, sacrebleu's signature or words that say how it was computed, and the interval of chance."""

    score: float
    signature: str
    interval: list[float] | None = None


class Scores(BaseModel, strict=True):
    """The scores of a test set, as `evaluate` keeps them."""

    sentences: int
    beam: int
    length_penalty: float
    bleu: Score
    chrf: Score
    ter: Score
    checkpoint: str | None = None


class Card(BaseModel, strict=True):
    """The content of `card.json`."""

    format: int = 1
    source: str
    target: str
    parameters: int
    vocabulary: dict[str, int]  # sizes
    update: int  # of the checkpoint
    scores: dict[str, Scores]  # of the dev set and the test set, as far as they were measured
    license: str | None
    version: str  # of this package, which has exported it


def export_run(run: Run, file: Path, license: str | None = None) -> Card:
    """Write the best checkpoint of a run and all that a translator needs into one file, and return its card.

    The same run gives the same bytes. `license` is the text of the card's license; None: that of the exported file, if
    the run is one.

    Raises:
        UserError: the file exists, or cannot be written; the run has no checkpoint, or is damaged.
    """
    if status(file) or file.is_symlink():
        raise UserError(f"{file}: exists, and nothing is overwritten; give another name, or delete it")

    best, _, _, card = describe_model(run, license)
    config, manifest = run.config(), best.manifest()
    manifest.files = {name: manifest.files[name] for name in WEIGHTS}

    # the members
    folder = f"checkpoints/{best.name}"
    content = {
        "card.json": _json(card.model_dump()),
        "config.yaml": without_paths(config).to_yaml().encode(),
        "best": f"{best.name}\n".encode(),
        f"{folder}/manifest.json": _json(manifest.model_dump()),
        **{f"{folder}/{name}": read_small(best.path / name, record.bytes) for name, record in manifest.files.items()},
        "sentences.json": _json(run.sentences().model_dump()),
    }
    content |= {f"tokenizer/{name}": read_small(run.folder / "tokenizer" / name) for name in manifest.tokenizer}
    if is_file(run.folder / "confidence.json"):
        content["confidence.json"] = read_small(run.folder / "confidence.json")
    if is_file(run.folder / "shortlist.safetensors"):
        run.shortlist()  # learns it again if it is of another training text
        content["shortlist.safetensors"] = read_small(run.folder / "shortlist.safetensors")
    if card.license:
        content["LICENSE"] = f"{card.license}\n".encode()

    with must_write(file, "give another name, or make room"), replacing(file) as new:
        archives.write(new, content)
    return card


class Described(NamedTuple):
    """The best model of a run, and its card."""

    checkpoint: Checkpoint
    model: Seq2Seq
    tokenizers: Tokenizers
    card: Card


def describe_model(run: Run, license: str | None) -> Described:
    """Load the best checkpoint of a run, so that its weights fit the config and are finite, and describe it.

    Raises:
        UserError: the run has no checkpoint, or is damaged.
    """
    best = run.checkpoints.find("best", WEIGHTS)
    if best is None:
        raise UserError(f"{run.path}: no checkpoint yet; continue training with `{resume_command(run.path)}`")
    model, tokenizers = run.load_model(best)
    data = run.config().data
    old = read_json(run.folder / "card.json", Card, FIX) if run.is_exported else None
    card = Card(
        source=data.src,
        target=data.tgt,
        parameters=count_parameters(model),
        vocabulary={"source": len(tokenizers.src), "target": len(tokenizers.tgt)},
        update=best.update,
        scores=old.scores if old else {name: found for name in ("dev", "test") if (found := _scores(run, name))},
        license=license or (old.license if old else None),
        version=__version__,
    )
    return Described(best, model, tokenizers, card)


def _scores(run: Run, split: str) -> Scores | None:
    """Read the scores that were kept for the best checkpoint; None if there are none, or those of another one."""
    file, best = run.folder / f"{split}.json", run.checkpoints.named("best")
    if not is_file(file):
        return None
    scores = read_json(file, Scores, "delete it, and measure again with `seq2seq evaluate`")
    return scores if best and scores.checkpoint in (None, best.name) else None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
