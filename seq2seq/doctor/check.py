"""`seq2seq check`: show what a training would read and build, and what looks wrong in the data; write nothing."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from seq2seq.config import Config
from seq2seq.data.dataset import Corpora, learn_tokenizers, make_batches, prepare_store, training_text
from seq2seq.data.formats import corpus_files, stream_pairs
from seq2seq.data.store import Store
from seq2seq.decoding.translator import Translator
from seq2seq.devices import autocast, choose_device
from seq2seq.doctor.findings import (
    Diagnosis,
    Finding,
    Split,
    by_gravity,
    count_tokens,
    diagnose,
    long_lines,
    report,
    unknown_lines,
    unknown_rates,
)
from seq2seq.model.build import build_model, count_parameters
from seq2seq.text.tokenizer import Tokenizers
from seq2seq.text.vectors import start_from_vectors
from seq2seq.text.vocabularies import save_tokenizers
from seq2seq.training.update import loss_sum
from seq2seq.training.validation import Validation


class Fact(NamedTuple):
    """One thing that `check` reports.

    Attributes:
        name: the key in the JSON object.
        lines: the fact in words, for a terminal.
        data: the fact in numbers, for JSON.
    """

    name: str
    lines: list[str]
    data: Any


def check(config: Config) -> Iterator[str]:
    """Yield the lines of `facts`, each as soon as it is known."""
    for fact in facts(config):
        yield from fact.lines


def facts(config: Config) -> Iterator[Fact]:
    """Yield facts about the data, the vocabularies, the model and one forward step; last, what looks wrong in the data.

    Raises:
        UserError: whatever would stop a training before its first update.
    """
    # the text
    corpora = Corpora.read(config)
    device = choose_device(config.training.device)
    autocast(device, config.training.precision)  # raises where the device cannot compute in this precision
    splits = _splits(config)
    diagnosis = diagnose(splits)
    for name, counts in diagnosis.counts.items():
        yield Fact(name, [_line(name, _counted(counts))], counts)
    yield _characters(config, diagnosis)

    # the vocabularies
    tokenizers = learn_tokenizers(config)
    sizes = {config.data.src: len(tokenizers.src), config.data.tgt: len(tokenizers.tgt)}
    shown = f"{len(tokenizers.src):,} tokens, joint" if tokenizers.joint else _listed(sizes)
    yield Fact("vocabulary", [_line("vocabulary", f"{shown} ({config.tokenizer.type})")], sizes)

    # the token ids and the batches
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        save_tokenizers(tokenizers, Path(folder) / "tokenizer")
        store = prepare_store(config, Path(folder) / "store", Path(folder) / "tokenizer", digests={})
        batches = make_batches(config, store, tokenizers)
        yield Fact("training", [_line("training", str(store.report))], asdict(store.report))
        lengths = {language: _lengths(store, side) for side, language in enumerate(sizes)}
        yield Fact("lengths", [_line(f"length {name}", _spread(numbers)) for name, numbers in lengths.items()], lengths)
        count, padding = batches.len_of_epoch(0), batches.padding_share()
        shown = f"{count:,} an epoch, {padding:.1%} of their positions are padding"
        yield Fact("batches", [_line("batches", shown)], {"an_epoch": count, "padding": padding})
        batch = next(batches.iterate(epoch=0)).to(device)

    # the model
    torch.manual_seed(config.seed)
    model = build_model(config, tokenizers)
    if vectors := start_from_vectors(model, tokenizers, dict(config.model.pretrained_embeddings or {})):
        yield Fact("vectors", [_line("vectors", line) for line in vectors], vectors)
    Validation(corpora.dev, Translator(model, tokenizers, config.search))  # raises where dev cannot be validated on
    parts = {"encoder": 0, "attention": 0, "decoder": 0}
    for name, parameter in model.named_parameters():
        parts["attention" if ".attention." in name else name.split(".")[0]] += parameter.numel()
    total = count_parameters(model)
    yield Fact("parameters", [_line("parameters", f"{total:,} in all; {_listed(parts)}")], {"all": total, **parts})

    # one forward step
    with torch.no_grad():
        loss = loss_sum(model.to(device), batch).item() / batch.tokens
    uniform = float(np.log(len(tokenizers.tgt)))
    shown = f"on {device}: loss {loss:.2f} nats a token; a uniform guess has {uniform:.2f}"
    yield Fact("one_step", [_line("one step", shown)], {"device": str(device), "loss": loss, "uniform": uniform})

    # what looks wrong
    yield from _findings(config, splits, tokenizers, diagnosis.findings)


def _splits(config: Config) -> list[Split]:
    """Return the splits of a config, `train` first."""
    data = config.data
    splits = [Split("train", _files(data.train, data.src, data.tgt), partial(training_text, config))]
    for name, prefix in (("dev", data.dev), ("test", data.test)):
        if prefix:
            rows = partial(stream_pairs, prefix, data.src, data.tgt)
            splits.append(Split(name, _files(prefix, data.src, data.tgt), rows))
    return splits


def _files(prefix: str, src: str, tgt: str) -> dict[str, str]:
    """Return the name of the file of each language; in a table both languages have the same file."""
    files = [Path(file).name.removesuffix(".gz") for file in corpus_files(prefix, src, tgt)]
    return dict(zip((src, tgt), files * 2, strict=False))


def _characters(config: Config, diagnosis: Diagnosis) -> Fact:
    """Report how long a translation is relative to its source, and in which scripts both are written."""
    lines = [_line("ratio", f"{diagnosis.ratio:.2f} characters of {config.data.tgt} for one of {config.data.src}")]
    for language, scripts in diagnosis.scripts.items():
        shown = [f"{name} {share:.1%}" for name, share in scripts.items() if share >= 0.0005]
        lines.append(_line(f"script {language}", ", ".join(shown) or "the lines are too short to tell"))
    return Fact("characters", lines, {"ratio": diagnosis.ratio, "scripts": diagnosis.scripts})


def _findings(config: Config, splits: list[Split], tokenizers: Tokenizers, findings: list[Finding]) -> Iterator[Fact]:
    """Report the rates of unknown tokens, if words are the tokens, and all findings, those about tokens added."""
    # findings about tokens; pairs that are too long for training were counted when they were dropped
    words = config.tokenizer.type == "word"
    rates = {}
    for split in splits if words else splits[1:]:
        tokens = count_tokens(split, tokenizers)
        if split.name != "train":
            findings = [*findings, *long_lines(split, tokens, config.data.max_length)]
        rates[split.name] = unknown_rates(split, tokens)
        findings = [*findings, *unknown_lines(split, tokens)]

    # in words
    if words:
        shown = "; ".join(
            f"{name} " + ", ".join(f"{language} {rate:.1%}" for language, rate in both.items())
            for name, both in rates.items()
        )
        yield Fact("unknown", [_line("unknown", shown)], rates)
    findings = by_gravity(findings)
    lines = [_line(label, text) for label, text in report(findings, splits)]
    yield Fact("findings", lines, [finding.as_dict() for finding in findings])


def _line(label: str, text: str) -> str:
    return f"{label:<11} {text}"


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _counted(counts: dict[str, int]) -> str:
    pairs, blank, different, sources = (counts[name] for name in ("pairs", "blank", "different", "sources"))
    shown = f"{pairs:,} sentence pairs" + f", {blank:,} of them blank" * bool(blank)
    shown += f", {different:,} different ones" * (different < pairs)
    return shown + f", with {sources:,} different sources" * (sources < different)


def _lengths(store: Store, side: int) -> dict[str, float]:
    lengths = np.concatenate([store.lengths(chunk)[:, side] - 1 for chunk in range(len(store.begins))])
    median, long, longest = (int(n) for n in np.percentile(lengths, [50, 95, 100], method="higher"))
    return {"mean": float(lengths.mean()), "median": median, "percentile_95": long, "longest": longest}


def _spread(lengths: dict[str, float]) -> str:
    mean, median, long, longest = lengths.values()
    return f"mean {mean:.1f} tokens, median {median}, 95 % have at most {long}, longest {longest}"
