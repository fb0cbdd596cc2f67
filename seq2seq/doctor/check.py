"""`seq2seq check`: show what a training would read and build, and which lines of the data look wrong; write nothing."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from seq2seq.build import build_model
from seq2seq.config import Config
from seq2seq.config.sizes import too_few
from seq2seq.data import dataset
from seq2seq.data.batches import Batch, Batches
from seq2seq.data.corpus import Pair
from seq2seq.data.formats import corpus_files, first_line, stream_pairs
from seq2seq.data.store import Store
from seq2seq.data.tables import Form
from seq2seq.decoding.translator import Translator
from seq2seq.devices import choose_device
from seq2seq.doctor.findings import ADVICE, Diagnosis, Part, Split, diagnose, diagnose_tokens, report
from seq2seq.evaluation.choice import choose_metric
from seq2seq.fast.precision import choose_precision
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.runs.fitting import count_parameters, must_fit
from seq2seq.scratch import temporary_folder
from seq2seq.text.vectors import start_from_vectors
from seq2seq.text.vocabularies import save_tokenizers
from seq2seq.training.update import losses
from seq2seq.training.validation import Validation

SAMPLE = 1000  # training pairs in which the hint looks for Hangul
HANGUL = re.compile("[\uac00-\ud7a3]")  # syllables


class Fact(NamedTuple):
    """One thing that `check` reports."""

    name: str  # the key in the JSON object
    lines: list[tuple[str, str]]  # for a terminal: in words, each line with its label
    data: Any  # for JSON: in numbers


def check(config: Config) -> Iterator[Fact]:
    """Yield facts about the data, the vocabularies, the model and one forward step; last, what looks wrong in the data.

    Raises:
        UserError: a mistake that would stop a training before its first update.
    """
    # the text
    dev = dataset.read_dev(config)
    device = choose_device(config.training.device)
    choose_precision(device, config.training.precision)  # raises where the device cannot compute in this precision
    choose_precision(device, config.search.precision, "search.precision")
    splits = _splits(config)
    if headers := dataset.describe_headers(config):
        yield Fact("headers", [("header", line) for line in headers], headers)
    diagnosis = diagnose(splits, config.tokenizer.lowercase, config.tokenizer.decompose)
    yield from _describe_text(config, diagnosis)

    # the vocabularies
    tokenizers = dataset.learn_tokenizers(config)
    sizes = {config.data.src: len(tokenizers.src), config.data.tgt: len(tokenizers.tgt)}
    shown = f"{len(tokenizers.src):,} tokens, joint" if tokenizers.joint else _listed(sizes)
    yield Fact("vocabulary", [("vocabulary", f"{shown} ({config.tokenizer.type_name})")], sizes)
    if hint := _hint_at_jamo(config):
        yield Fact("spelling", [("spelling", hint)], hint)

    # the token ids and the batches
    with temporary_folder("seq2seq-check-") as folder:
        save_tokenizers(tokenizers, folder / "tokenizer")
        store = dataset.prepare_store(config, folder / "store", folder / "tokenizer", digests={})
        batches = dataset.make_batches(config, store, tokenizers)
        yield from _describe_batches(store, batches, list(sizes))
        batch = next(batches.iterate(epoch=0)).to(device)

    # the model
    must_fit(config, tokenizers, device, training=True)
    torch.manual_seed(config.seed)
    model = build_model(config, tokenizers)
    if vectors := start_from_vectors(model, tokenizers, dict(config.model.pretrained_embeddings or {})):
        yield Fact("vectors", [("vectors", line) for line in vectors], vectors)
    tokenize = config.evaluation.bleu_tokenize
    Validation(dev, Translator(model, tokenizers, config.search), tokenize)  # raises where dev cannot be validated on
    choice = choose_metric(config.training.early_stopping_metric, [pair.tgt for pair in dev], tokenize)
    yield Fact("measure", [("measure", choice.reason)], {"metric": choice.metric, "reason": choice.reason})
    yield from _describe_model(model, batch, device)

    # unknown words; only a vocabulary of words leaves some in the training text
    findings, rates = diagnosis.findings, {}
    words = "word" in config.tokenizer.types
    for split in splits if words else splits[1:]:
        rates[split.name], found = diagnose_tokens(split, tokenizers, config.data.max_length)
        findings += found
    if words:
        of_each = [f"{name} {language} {rate:.1%}" for name, both in rates.items() for language, rate in both.items()]
        yield Fact("unknown", [("unknown", ", ".join(of_each))], rates)

    # the findings, the most serious first
    findings.sort(key=lambda finding: list(ADVICE).index(finding.kind))
    named = {split.name: split for split in splits}
    yield Fact("findings", list(report(findings, splits)), [each.as_dict(named[each.split]) for each in findings])


def _describe_text(config: Config, diagnosis: Diagnosis) -> Iterator[Fact]:
    for name, counts in diagnosis.counts.items():
        shown = "{pairs:,} sentence pairs, {different:,} different, {sources:,} different sources, {blank:,} blank"
        yield Fact(name, [(name, shown.format(**counts))], counts)
    ratio = diagnosis.ratio
    lines = [("ratio", f"{ratio:.2f} characters of {config.data.tgt} for one of {config.data.src}")]
    for language, scripts in diagnosis.scripts.items():
        shown = ", ".join(f"{name} {share:.1%}" for name, share in scripts.items() if share >= 0.0005)
        lines.append((f"script {language}", shown or "the lines are too short to tell"))
    yield Fact("characters", lines, {"ratio": ratio, "scripts": diagnosis.scripts})


def _describe_batches(store: Store, batches: Batches, languages: list[str]) -> Iterator[Fact]:
    lines = [("training", text) for text in (str(store.report), too_few(store.report.kept)) if text]
    yield Fact("training", lines, asdict(store.report))
    lengths = {language: _lengths(store, side) for side, language in enumerate(languages)}
    shown = "mean {mean:.1f} tokens, median {median}, 95 % have at most {percentile_95}, longest {longest}"
    lines = [(f"length {name}", shown.format(**numbers)) for name, numbers in lengths.items()]
    yield Fact("lengths", lines, lengths)
    count, padding = sum(len(plan.batches) for plan in batches.plans(epoch=0)), dataset.padding_share(batches)
    shown = f"{count:,} an epoch, {padding:.1%} of their positions are padding"
    yield Fact("batches", [("batches", shown)], {"an_epoch": count, "padding": padding})


def _describe_model(model: Seq2Seq, batch: Batch, device: torch.device) -> Iterator[Fact]:
    # its parameters
    parts = {"encoder": 0, "attention": 0, "decoder": 0}
    for name, parameter in model.named_parameters():
        parts["attention" if ".attention." in name else name.split(".")[0]] += parameter.numel()
    total = count_parameters(model)
    yield Fact("parameters", [("parameters", f"{total:,} in all; {_listed(parts)}")], {"all": total, **parts})

    # one forward step
    with torch.no_grad():
        loss = losses(model.to(device), batch).loss.item() / batch.tokens
    uniform = float(np.log(model.decoder.W_y.out_features))
    shown = f"on {device}: loss {loss:.2f} nats a token; a uniform guess has {uniform:.2f}"
    yield Fact("one_step", [("one step", shown)], {"device": str(device), "loss": loss, "uniform": uniform})


def _hint_at_jamo(config: Config) -> str | None:
    """Say how to cut Hangul syllables apart, if the sources are words of them and the targets are in another script."""
    some = [Pair.normalized(*row) for row in islice(dataset.training_text(config), SAMPLE)]
    letters, signs = ("".join(side).replace(" ", "") for side in zip(*some, strict=True))
    syllables = len(HANGUL.findall(letters))
    is_spelled = sum(" " in pair.src for pair in some) < len(some) / 10
    if config.tokenizer.decompose or not is_spelled or 2 * syllables < len(letters) or HANGUL.search(signs):
        return None
    return (
        "the sources are words in Hangul syllables, of which many are rare: tokenizer.decompose: true cuts them into "
        "jamo, the letters that their pronunciation follows"
    )


def _splits(config: Config) -> list[Split]:
    """Return the splits of a config, `train` first; of training corpora each pair once, whatever their weights."""
    data, form = config.data, dataset.form_of(config)
    paths = [corpus.path for corpus in data.corpora]
    splits = [Split("train", [_part(path, form, len(paths) > 1) for path in paths], partial(dataset.each_once, config))]
    for name, prefix in (("dev", data.dev), ("test", data.test)):
        if prefix:
            splits.append(Split(name, [_part(prefix, form)], partial(stream_pairs, prefix, *form)))
    return splits


def _part(prefix: str, form: Form, count: bool = False) -> Part:
    """Return the files of a corpus, and with `count` the number of its pairs; in a table both sides have one file."""
    files = [Path(file).name.removesuffix(".gz") for file in corpus_files(prefix, form.src, form.tgt)]
    pairs = sum(1 for _ in stream_pairs(prefix, *form)) if count else 0
    return Part({form.src: files[0], form.tgt: files[-1]}, first_line(prefix, form), pairs)


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _lengths(store: Store, side: int) -> dict[str, float]:
    lengths = np.concatenate([store.lengths(chunk)[:, side] - 1 for chunk in range(len(store.begins))])
    median, long, longest = (int(n) for n in np.percentile(lengths, [50, 95, 100], method="higher"))
    return {"mean": float(lengths.mean()), "median": median, "percentile_95": long, "longest": longest}
