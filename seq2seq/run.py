"""The run folder: all that a training leaves behind, and all that every later command needs.

    config.yaml        the resolved config            environment.json   versions, commit, device, command, data digests
    tokenizer/         the vocabularies               metrics.jsonl      one line a report
    checkpoints/step-000500/{model.safetensors, training.pt, manifest.json}
    best, last         one-line text files that name a checkpoint

This module is also the only place where a config becomes modules.
"""

import hashlib
import json
import os
import pickle
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from seq2seq.config import Config, ModelConfig, load_config, resolve_paths
from seq2seq.errors import UserError
from seq2seq.model.attention import Attention, MultiHead, build_attention
from seq2seq.model.decoder import BahdanauDecoder, Decoder, LuongDecoder
from seq2seq.model.encoder import Encoder, SelfAttentionEncoder
from seq2seq.model.recurrent import Recurrent
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.model.transformer import DecoderLayer, EncoderLayer, TransformerDecoder
from seq2seq.text.tokenizer import PAD, Tokenizer, Tokenizers, load_tokenizers
from seq2seq.text.vectors import load_vectors

# ------------------------------------------------------------------------------------------- config -> modules


def build_model(config: Config, tokenizers: Tokenizers) -> Seq2Seq:
    """The untrained model of a config; its random numbers come from torch's global generator."""
    model = config.model
    tied_to_source = model.tie_embeddings == "all"
    src = _embedding(tokenizers.src, model.embedding_size)
    tgt = src if tied_to_source else _embedding(tokenizers.tgt, model.embedding_size)
    attentional_size = model.decoder.hidden_size if model.tie_embeddings == "none" else model.embedding_size
    W_y = nn.Linear(attentional_size, len(tokenizers.tgt))
    if model.tie_embeddings != "none":
        W_y.weight = tgt.weight
    encoder = _encoder(model, src)
    if model.decoder.type == "transformer":
        return Seq2Seq(encoder, _transformer_decoder(config, tgt, W_y))
    return Seq2Seq(encoder, _recurrent_decoder(config, tgt, W_y, encoder.summary_size))


def _encoder(model: ModelConfig, embedding: nn.Embedding) -> Encoder | SelfAttentionEncoder:
    encoder = model.encoder
    alone = encoder.type == "self_attention"
    below = None
    if not alone:
        read = Recurrent(
            encoder.cell,
            model.embedding_size,
            encoder.hidden_size,
            encoder.num_layers,
            bidirectional=encoder.bidirectional,
            dropout=model.dropout,
            residual=encoder.residual,
        )
        below = Encoder(embedding, read, model.dropout)
    layers = [
        EncoderLayer(encoder.hidden_size, encoder.num_heads, model.dropout)
        for _ in range(encoder.num_layers if alone else encoder.self_attention_layers)
    ]
    return below if below and not layers else SelfAttentionEncoder(embedding, layers, below, model.dropout)


def _recurrent_decoder(config: Config, embedding: nn.Embedding, W_y: nn.Linear, summary_size: int) -> Decoder:
    model, decoder = config.model, config.model.decoder
    attention = _attention(config)
    kind = {"rnn": LuongDecoder, "bahdanau": BahdanauDecoder}[decoder.type]
    write = Recurrent(
        decoder.cell,
        model.embedding_size
        + (W_y.in_features if decoder.input_feeding else 0)
        + (attention.context_size if decoder.type == "bahdanau" else 0),
        decoder.hidden_size,
        decoder.num_layers,
        dropout=model.dropout,
        residual=decoder.residual,
    )
    return kind(
        embedding,
        write,
        attention,
        W_y.in_features,
        W_y,
        summary_size=summary_size,
        dropout=model.dropout,
        input_feeding=decoder.input_feeding,
    )


def _transformer_decoder(config: Config, embedding: nn.Embedding, W_y: nn.Linear) -> TransformerDecoder:
    model, decoder = config.model, config.model.decoder
    layers = []
    for _ in range(decoder.num_layers):
        attention = _attention(config)
        assert isinstance(attention, MultiHead)  # a rule of the config
        layers.append(DecoderLayer(decoder.hidden_size, attention.num_heads, attention, model.dropout))
    return TransformerDecoder(embedding, layers, W_y, dropout=model.dropout)


def _attention(config: Config) -> Attention:
    attention = config.model.attention
    return build_attention(
        attention.score,
        config.model.decoder.hidden_size,
        config.model.encoder.hidden_size,
        num_heads=attention.num_heads,
        chunk_size=attention.chunk_size,
        max_positions=config.data.max_length + 1,  # and </s>
        window=attention.window,
        window_size=attention.window_size,
        past=attention.past,
        temperature=attention.temperature,
    )


def _embedding(tokenizer: Tokenizer, size: int) -> nn.Embedding:
    """Embeddings of norm about 1, so that tied output weights give logits of unit scale; zero for padding."""
    embedding = nn.Embedding(len(tokenizer), size, padding_idx=PAD)
    nn.init.normal_(embedding.weight, std=size**-0.5)
    with torch.no_grad():
        embedding.weight[PAD].zero_()
    return embedding


def start_from_vectors(model: Seq2Seq, config: Config, tokenizers: Tokenizers) -> list[str]:
    """Copy `model.pretrained_embeddings` into the model; one line a side that says how many tokens had a vector.

    Raises:
        UserError: a file that is no file of vectors, or vectors of another size than the embeddings.
    """
    wanted = config.model.pretrained_embeddings
    report = []
    for side, tokenizer, embedding in (
        ("src", tokenizers.src, model.encoder.embedding),
        ("tgt", tokenizers.tgt, model.decoder.embedding),
    ):
        path = getattr(wanted, side, None)
        if path is None:
            continue
        vectors, found = load_vectors(path, tokenizer)
        if vectors.size(1) != config.model.embedding_size:
            raise UserError(
                f"model.pretrained_embeddings.{side} is {path}, with vectors of {vectors.size(1)} numbers; "
                f"set model.embedding_size to {vectors.size(1)} (it is {config.model.embedding_size})"
            )
        with torch.no_grad():
            embedding.weight[found] = vectors[found].to(embedding.weight)
        report.append(f"{side}: {int(found.sum()):,} of {len(tokenizer):,} tokens start from {path}")
    return report


def count_parameters(model: nn.Module) -> int:
    """How many numbers a model learns; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def choose_device(name: str) -> torch.device:
    """The device of a config's name; `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        UserError: a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {name}; write auto, cpu, cuda, cuda:1 or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"the device is to be {name}, which this machine does not have; write auto or cpu")
    return device


# ----------------------------------------------------------------------------------------------- the folder


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
        """What `create` wrote about versions, machine and data."""
        found: dict[str, Any] = json.loads((self.path / "environment.json").read_text(encoding="utf-8"))
        return found

    def save_tokenizers(self, tokenizers: Tokenizers) -> None:
        """Keep the vocabularies, unless they are there; they are there whole or not at all."""
        if (self.path / "tokenizer").is_dir():
            return
        unfinished = self.path / ".tokenizer"
        shutil.rmtree(unfinished, ignore_errors=True)
        tokenizers.save(unfinished)
        unfinished.rename(self.path / "tokenizer")

    # -- metrics

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last one that was cut short by a kill does not count."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
        return [json.loads(line) for line in lines]

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
        try:
            manifest = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
            for name, fingerprint in manifest["files"].items():
                if _fingerprint(checkpoint / name) != fingerprint:
                    raise UserError(f"{checkpoint / name}: damaged, it is not what was written; use another checkpoint")
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{checkpoint}: not a whole checkpoint ({error}); use another one") from None


def _environment(config: Config) -> dict[str, Any]:
    """Where and from what a run is made."""
    packages = ("seq2seq", "torch", "torchtext", "sentencepiece", "sacrebleu", "numpy")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
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
