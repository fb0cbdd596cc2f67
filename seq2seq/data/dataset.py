"""The data of a config: the corpora, the vocabularies, the token ids, the batches."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from math import floor
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from seq2seq.config import Config
from seq2seq.config.keys import DataConfig
from seq2seq.data.batches import Batches, Chunks
from seq2seq.data.corpus import EncodedPair, Pair, encode_pairs, is_too_long, read_pairs
from seq2seq.data.formats import corpus_files, explain_first_row, stream_pairs
from seq2seq.data.report import Report
from seq2seq.data.sampling import draw_subwords
from seq2seq.data.store import Store, open_or_build
from seq2seq.data.tables import Form, Row
from seq2seq.errors import UserError
from seq2seq.fast.shortlist import Shortlist, Sides, learn_shortlist
from seq2seq.files import fingerprint, must_read
from seq2seq.text.own_models import import_tokenizers
from seq2seq.text.sentences import Sentences
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizers, train_tokenizers

MAX_TRAINING_LINES = 1_000_000  # most lines that a vocabulary is learned from; more would not improve it
SHORTLIST_CHUNKS = 16  # most chunks that a shortlist is learned from, and whose tokens are counted
MAX_SENTENCE_LINES = 10_000  # most lines that the rules about sentences are learned from

T = TypeVar("T")


def form_of(config: Config) -> Form:
    """Return how a config reads its corpora."""
    data = config.data
    return Form(data.src, data.tgt, data.columns, data.header)


def read_dev(config: Config) -> list[Pair]:
    """Return the dev pairs of a config; raise UserError for the first fault in its dev and test sets."""
    data, form = config.data, form_of(config)
    sets = [read_pairs(prefix, *form) for prefix in (data.dev, data.test) if prefix]
    return sets[0]


def describe_headers(config: Config) -> list[str]:
    """Say which lines of the data are headers of tables, or could be; raise UserError where a table cannot be read."""
    data, form = config.data, form_of(config)
    prefixes = (*(corpus.path for corpus in data.corpora), data.dev, data.test)
    described = [explain_first_row(prefix, form) for prefix in prefixes if prefix]
    return [line for line in described if line]


def training_text(config: Config, digests: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Yield the training pairs one by one, not normalized. On a terminal a bar shows the progress if this takes long.

    `digests` are the earlier digests of the files; they are compared after the last pair has been read.

    Raises UserError: a line is at fault, or a file has changed while it was read.
    """
    try:
        yield from with_bar(_weighted_pairs(config))
    except UserError:
        _must_be_unchanged(config, digests)  # if a file has changed, this is the better explanation
        raise
    _must_be_unchanged(config, digests)


def _weighted_pairs(config: Config) -> Iterator[Row]:
    """Yield the pairs of all corpora; of pair i, counted from 0, floor((i + 1) weight) - floor(i weight) copies."""
    for corpus in config.data.corpora:
        count = 0
        for count, row in enumerate(stream_pairs(corpus.path, *form_of(config)), start=1):
            yield from repeat(row, floor(count * corpus.weight) - floor((count - 1) * corpus.weight))
        if floor(count * corpus.weight) == 0:
            least = f"give a weight of at least {1 / count:.2g}, or leave the corpus out"
            raise UserError(
                f"data.train: weight {corpus.weight} takes no pair of the {count:,} of {corpus.path}; {least}"
            )


def each_once(config: Config) -> Iterator[Row]:
    """Yield the training pairs, each corpus once, whatever its weight, with the bar of `training_text`."""
    yield from with_bar(row for corpus in config.data.corpora for row in stream_pairs(corpus.path, *form_of(config)))


def with_bar(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield pairs; on a terminal a bar shows the progress if this takes long."""
    yield from tqdm(rows, "reading", unit=" pairs", unit_scale=True, delay=2, leave=False, disable=None)


def _must_be_unchanged(config: Config, digests: Mapping[str, str] | None) -> None:
    for name, digest in (digests or {}).items():
        corpora = config.data.corpora
        number, plain = name.split(": ", 1) if len(corpora) > 1 else ("1", name)
        file = Path(corpora[int(number) - 1].path).parent / plain
        if not file.is_file() or _digest(file) != digest.partition(" ")[0]:
            raise UserError(
                f"{file}: has changed while it was read; when nothing writes into it any more, train in another "
                "folder with --run DIR, or put the old file back and go on with --resume"
            )


def learn_tokenizers(config: Config, digests: Mapping[str, str] | None = None) -> Tokenizers:
    """Learn the vocabularies from `training_text`, which is read to its end; a sample of it is held in memory.

    Where `tokenizer.model` names the user's own, they are those.
    """
    tokenizer = config.tokenizer
    if tokenizer.model:
        own = import_tokenizers(tokenizer.models, tokenizer.lowercase, tokenizer.decompose, tokenizer.symbols)
        if tokenizer.sampling and "char" in own.types:
            of = f"{', '.join(tokenizer.models)} of type {', '.join(own.types)}"
            raise UserError(f"tokenizer.sampling is {tokenizer.sampling}; it cannot cut with {of}, so set it to 0")
        return own

    # read all, keep a sample
    rows = (row for row in training_text(config, digests) if not is_too_long(row, config.data.max_length))
    most = MAX_TRAINING_LINES // (2 if tokenizer.joint else 1)
    pairs = [Pair.normalized(*row) for row in evenly_spaced(rows, most)]

    # learn
    src, tgt = [pair.src for pair in pairs], [pair.tgt for pair in pairs]
    kind = tokenizer.types, tokenizer.vocab_size, tokenizer.joint, tokenizer.lowercase, tokenizer.word_tokenizer
    return train_tokenizers(*kind, src, tgt, decompose=tokenizer.decompose, symbols=tokenizer.symbols)


def evenly_spaced(items: Iterable[T], most: int) -> list[T]:
    """Return every k-th item, where k is the smallest power of two that gives at most `most` items."""
    kept: list[T] = []
    step = 1
    for number, item in enumerate(items):
        if number % step == 0:
            kept.append(item)
        if len(kept) > most:  # keep every second from here on
            kept, step = kept[::2], 2 * step
    return kept


def must_keep_a_pair(config: Config, tokenizers: Tokenizers) -> None:
    """Raise UserError if no training pair is kept; stop reading at the first pair that is."""
    report = Report(0, 0, 0, config.data.max_length)
    for row in training_text(config):
        report += encode_pairs([row], tokenizers.src, tokenizers.tgt, config.data.max_length)[1]
        if report.kept:
            break
    report.must_keep_a_pair()


def prepare_store(config: Config, folder: Path, tokenizers: Path, digests: Mapping[str, str]) -> Store:
    """Open the store of the training pairs in `folder`, or build it there with the vocabularies in `tokenizers`.

    `digests` are those of the files when the run was begun. If one has changed since, no store is made of it.
    """
    corpus = describe_corpus(config, digests)
    return open_or_build(folder, training_text(config, digests), tokenizers, config.data.max_length, corpus)


def describe_corpus(config: Config, digests: Mapping[str, str]) -> dict[str, str]:
    """Return what the rows of a training text depend on: the digests of its files, and how they are read."""
    return {**digests, "read as": str(tuple(form_of(config)))}


def make_batches(config: Config, pairs: Sequence[EncodedPair] | Chunks, tokenizers: Tokenizers) -> Batches:
    """Make the training batches of a config."""
    training, alpha = config.training, config.tokenizer.sampling
    sampling = partial(draw_subwords, tokenizers, alpha) if alpha else None
    size = training.batch_tokens if training.batch_type == "tokens" else training.batch_sentences
    return Batches(pairs, size, training.batch_type, config.seed, sampling)


def padding_share(batches: Batches) -> float:
    """Return the share of padding among the positions of the first epoch, both sides together, from 0 to 1."""
    real = padded = 0
    for plan in batches.plans(epoch=0):
        real += int(plan.lengths.sum())
        padded += sum(len(rows) * int(plan.lengths[rows].max(axis=0).sum()) for rows in plan.batches)
    return 1 - real / padded


def data_digests(config: Config) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of the files of each split, by name; raise UserError if one cannot be found or read.

    The names of several training corpora have a number, as in `2: x.en`, and a weight that is not 1 follows the digest.
    """
    data, digests = config.data, {}
    several = len(data.corpora) > 1
    for number, corpus in enumerate(data.corpora, 1):
        for name, digest in _digests(corpus.path, data).items():
            weight = "" if corpus.weight == 1 else f" weight {corpus.weight!r}"
            digests[f"{number}: {name}" if several else name] = digest + weight
    others = {"dev": data.dev, "test": data.test}
    return {"train": digests} | {split: _digests(prefix, data) for split, prefix in others.items() if prefix}


def _digests(prefix: str, data: DataConfig) -> dict[str, str]:
    return {Path(file).name: _digest(Path(file)) for file in corpus_files(prefix, data.src, data.tgt)}


def own_model_digests(config: Config) -> dict[str, str]:
    """Return the SHA-256 of the user's own sentencepiece models, by path; none where the vocabulary is learned."""
    return {os.path.abspath(path): _digest(Path(path)) for path in config.tokenizer.models}


def _digest(file: Path) -> str:
    with must_read(file, "give a file that can be read"):
        return str(fingerprint(file)["sha256"])


def sample_pairs(store: Chunks) -> Iterator[Sides]:
    """Yield the token ids of the pairs in evenly spaced chunks of a store; raise UserError if one is damaged."""
    step = -(-len(store.begins) // SHORTLIST_CHUNKS)
    for chunk in range(0, len(store.begins), step):
        lengths, begin = store.lengths(chunk), store.begins[chunk]
        sides = np.split(store.tokens[begin : begin + lengths.sum()], np.cumsum(lengths)[:-1])
        yield from zip(sides[::2], sides[1::2], strict=True)


def learn_sentences(store: Chunks, tokenizers: Tokenizers, src: str) -> Sentences:
    """Learn how texts are split into sentences from a sample of a store; `src` is the code of the source language."""
    pairs = evenly_spaced(sample_pairs(store), MAX_SENTENCE_LINES)
    sources = [tokenizers.src.decode(source.tolist()) for source, _ in pairs]
    targets = [tokenizers.tgt.decode(target.tolist()) for _, target in pairs]
    return Sentences.learn(src, sources, targets, tokenizers.src.folding.symbols)


def count_sources(store: Chunks, tokenizers: Tokenizers) -> list[int]:
    """Count each source token in a sample of a store. `<unk>`, which stands for words never seen, counts as none."""
    sources = np.concatenate([source for source, _ in sample_pairs(store)])
    counts = np.bincount(sources, minlength=len(tokenizers.src))
    counts[UNK] = 0
    return counts.tolist()


def count_neighbors(store: Chunks, tokenizers: Tokenizers, most: int) -> tuple[list[int], list[int]]:
    """Count the pairs of neighboring source tokens in a sample of a store; the first token follows `</s>`.

    Returns:
        The `most` most frequent pairs, in ascending order, each as the number `first * tokens of the vocabulary +
        second`; and how often each occurs.
        `<unk>` has no pairs.
    """
    size = len(tokenizers.src)
    second = np.concatenate([source for source, _ in sample_pairs(store)]).astype(np.int64)
    first = np.append(EOS, second[:-1])  # a source ends with `</s>`
    is_known = (first != UNK) & (second != UNK)
    pairs, counts = np.unique((first * size + second)[is_known], return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:most])
    return pairs[kept].tolist(), counts[kept].tolist()


def missing_shares(store: Chunks, tokenizers: Tokenizers) -> tuple[float, float]:
    """Return the share of tokens that spell what the vocabulary lacks, of a sample of each side: `<unk>` and bytes."""
    shares = []
    for tokenizer, side in zip((tokenizers.src, tokenizers.tgt), zip(*sample_pairs(store), strict=True), strict=True):
        ids = np.concatenate(side)
        shares.append(float(np.isin(ids, [*tokenizer.missing]).mean()))
    return shares[0], shares[1]


def shortlist_of(store: Chunks, tokenizers: Tokenizers) -> Shortlist:
    """Learn the shortlist of a store, from evenly spaced chunks of it; raise UserError if one is damaged."""
    pairs = list(sample_pairs(store))
    sizes, special = (len(tokenizers.src), len(tokenizers.tgt)), [PAD, UNK, BOS, EOS]
    return learn_shortlist(pairs, *sizes, special=special, copy_source=tokenizers.joint)
