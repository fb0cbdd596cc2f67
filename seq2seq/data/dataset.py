"""What a config says about data, made real: the corpora, the vocabularies, the token ids, the batches."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from seq2seq.config import Config
from seq2seq.data.batches import Batches, Chunks
from seq2seq.data.corpus import Pair, Report, corpus_files, encode_pairs, is_too_long, read_pairs, stream_pairs
from seq2seq.data.sampling import SubwordSampling
from seq2seq.data.store import CHUNK, FEW, EncodedPair, Encoding, Row, Store, prepare, remove
from seq2seq.data.worker import Worker
from seq2seq.errors import UserError
from seq2seq.fast.shortlist import Shortlist, Sides, learn_shortlist
from seq2seq.files import fingerprint, read_json
from seq2seq.text.tokenizer import (
    BOS,
    EOS,
    MAX_TRAINING_LINES,
    PAD,
    UNK,
    Tokenizers,
    load_tokenizers,
    sample,
    train_tokenizers,
)

log = logging.getLogger("seq2seq")

NOBODY_LOOKS: Mapping[str, str] = {}


class Corpora(NamedTuple):
    """The text that is held in memory; that of training, which may be large, only passes by: `training_text`."""

    dev: list[Pair]
    test: list[Pair] | None

    @classmethod
    def read(cls, config: Config) -> "Corpora":
        """The splits of a config; UserError for the first file at fault."""
        data = config.data
        dev = read_pairs(data.dev, data.src, data.tgt)
        return cls(dev, read_pairs(data.test, data.src, data.tgt) if data.test else None)


def training_text(config: Config) -> Iterator[Row]:
    """The training pairs as they stand, one by one; on a terminal a bar shows how many, if they take long.

    Raises:
        UserError: at the first line at fault.
    """
    rows = stream_pairs(config.data.train, config.data.src, config.data.tgt)
    yield from tqdm(rows, "reading", unit=" pairs", unit_scale=True, delay=2, leave=False, disable=None)


def learn_tokenizers(config: Config, digests: Mapping[str, str] = NOBODY_LOOKS) -> Tokenizers:
    """Learn the vocabularies from the training pairs, all of which are read and so checked.

    A large corpus is read in a process of its own: the sample that it holds would stay in the memory of this one.

    Args:
        config: whose training pairs.
        digests: of their files before; none, and nobody looks whether they change.

    Raises:
        UserError: a line at fault, a vocabulary that cannot be learned, or a file that has changed meanwhile.
    """
    with _watched(config, digests):
        if next(islice(training_text(config), FEW * CHUNK, None), None) is None:
            return _learn(config)
        log.info("learning the vocabulary")
        with tempfile.TemporaryDirectory() as folder, Worker() as worker:
            worker.begin(_learn_into, Path(folder), config)
            worker.result()
            return load_tokenizers(Path(folder))


def _learn(config: Config) -> Tokenizers:
    tokenizer = config.tokenizer
    short = (row for row in training_text(config) if not is_too_long(row, config.data.max_length))
    rows = sample(short, MAX_TRAINING_LINES // (2 if tokenizer.joint else 1))
    pairs = [Pair.normalized(*row) for row in rows]
    return train_tokenizers(
        tokenizer.type,
        tokenizer.vocab_size,
        tokenizer.joint,
        tokenizer.lowercase,
        tokenizer.word_tokenizer,
        [pair.src for pair in pairs],
        [pair.tgt for pair in pairs],
    )


def _learn_into(folder: Path, config: Config) -> None:
    _learn(config).save(folder)


def must_keep_a_pair(config: Config, tokenizers: Tokenizers) -> None:
    """Raise UserError where no training pair is left to train on; reads as far as to the first that is."""
    max_length = config.data.max_length
    report = Report(0, 0, 0, max_length)
    for row in training_text(config):
        report += encode_pairs([row], tokenizers.src, tokenizers.tgt, max_length)[1]
        if report.kept:
            break
    report.must_keep_a_pair()


def prepare_store(config: Config, folder: Path, tokenizers: Path, digests: Mapping[str, str]) -> Store:
    """The token ids of the training pairs, in a folder.

    Args:
        config: whose training pairs.
        folder: of the store, which is made unless it is there.
        tokenizers: folder of the vocabularies.
        digests: of their files when the run was begun; none, and nobody looks whether they change.

    Raises:
        UserError: as `prepare`; or a file has changed since the run was begun, and no store is left.
    """

    def rows() -> Iterator[Row]:  # drawn only where a store is to be made
        with _watched(config, digests, folder):
            yield from training_text(config)

    return prepare(folder, rows(), tokenizers, config.data.max_length, digests)


@contextmanager
def _watched(config: Config, digests: Mapping[str, str], store: Path | None = None) -> Iterator[None]:
    """Raise UserError where a file of the training pairs is not what it was, now that it has been read.

    That comes before what else was wrong, such as a line that was half written; and a store made of it is removed.
    """
    fault = None
    try:
        yield
    except UserError as error:
        fault = error
    try:
        found = data_digests(config)["train"] if digests else {}
    except UserError:  # one is gone
        found = {}
    if changed := [name for name, digest in digests.items() if found.get(name) != digest]:
        if store:
            remove(store)
        raise UserError(
            f"{Path(config.data.train).parent / changed[0]}: has changed while it was read; when nothing writes into "
            "it any more, train in another folder with --run DIR, or put the old file back and go on with --resume"
        )
    if fault:
        raise fault


def make_batches(config: Config, pairs: Sequence[EncodedPair] | Chunks, tokenizers: Tokenizers) -> Batches:
    """The training batches of a config."""
    training, alpha = config.training, config.tokenizer.sampling
    size = training.batch_tokens if training.batch_type == "tokens" else training.batch_sentences
    return Batches(pairs, size, training.batch_type, config.seed, SubwordSampling(tokenizers, alpha) if alpha else None)


def data_digests(config: Config) -> dict[str, dict[str, str]]:
    """SHA-256 of the files of each split, by name.

    Raises:
        UserError: a file that cannot be found or read.
    """
    data, found = config.data, {}
    for split in ("train", "dev", "test"):
        if prefix := getattr(data, split):
            files = map(Path, corpus_files(prefix, data.src, data.tgt))
            found[split] = {file.name: _digest(file) for file in files}
    return found


def _digest(file: Path) -> str:
    try:
        digest: str = fingerprint(file)["sha256"]
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}; give a file that can be") from None
    return digest


SHORTLIST_CHUNKS = 16  # chunks that a shortlist is learned from, at most


def open_store(folder: Path, tokenizers: Path) -> Store:
    """Open a store that is there.

    Raises:
        UserError: it is missing or damaged.
    """
    fix = "go on training with --resume, which makes it"
    made_from = read_json(folder / "store.json", ("max_length", "dtype"), fix)
    return Store(folder, Encoding(tokenizers, made_from["max_length"], np.dtype(made_from["dtype"])))


def shortlist_of(store: Chunks, tokenizers: Tokenizers) -> Shortlist:
    """Learn the shortlist of a store, from evenly spaced chunks of it.

    Raises:
        UserError: a chunk is damaged.
    """
    pairs: list[Sides] = []
    count = len(store.begins)
    for chunk in range(0, count, -(-count // SHORTLIST_CHUNKS)):
        lengths, begin = store.lengths(chunk), store.begins[chunk]
        sides = np.split(store.tokens[begin : begin + lengths.sum()], np.cumsum(lengths)[:-1])
        pairs += zip(sides[::2], sides[1::2], strict=True)
    special = [PAD, UNK, BOS, EOS]
    src, tgt, joint = tokenizers.src, tokenizers.tgt, tokenizers.joint
    return learn_shortlist(pairs, len(src), len(tgt), special=special, copy_source=joint)
