"""What a config says about data, made real: the corpora, the vocabularies, the token ids, the batches."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from seq2seq.config import Config
from seq2seq.text.batches import Batches, Chunks
from seq2seq.text.corpus import Pair, Report, encode_pairs, read_pairs, stream_pairs
from seq2seq.text.store import CHUNK, FEW, EncodedPair, Row, Store, prepare
from seq2seq.text.tokenizer import MAX_TRAINING_LINES, Tokenizers, load_tokenizers, sample, train_tokenizers
from seq2seq.text.worker import Worker

log = logging.getLogger("seq2seq")


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


def learn_tokenizers(config: Config) -> Tokenizers:
    """Learn the vocabularies from the training pairs, all of which are read and so checked.

    A large corpus is read in a process of its own: the sample that it holds would stay in the memory of this one.

    Raises:
        UserError: a line at fault, or a vocabulary that cannot be learned.
    """
    if next(islice(training_text(config), FEW * CHUNK, None), None) is None:
        return _learn(config)
    log.info("learning the vocabulary")
    with tempfile.TemporaryDirectory() as folder, Worker() as worker:
        worker.begin(_learn_into, Path(folder), config)
        worker.result()
        return load_tokenizers(Path(folder))


def _learn(config: Config) -> Tokenizers:
    tokenizer = config.tokenizer
    rows = sample(training_text(config), MAX_TRAINING_LINES // (2 if tokenizer.joint else 1))
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
        report += encode_pairs([Pair.normalized(*row)], tokenizers.src, tokenizers.tgt, max_length)[1]
        if report.kept:
            break
    report.must_keep_a_pair()


def prepare_store(config: Config, folder: Path, tokenizers: Path, digests: Mapping[str, str]) -> Store:
    """The token ids of the training pairs, in a folder.

    Args:
        config: whose training pairs.
        folder: of the store, which is made unless it is there.
        tokenizers: folder of the vocabularies.
        digests: of the files of the training pairs.
    """
    return prepare(folder, training_text(config), tokenizers, config.data.max_length, digests)


def make_batches(config: Config, pairs: Sequence[EncodedPair] | Chunks) -> Batches:
    """The training batches of a config."""
    training = config.training
    size = training.batch_tokens if training.batch_type == "tokens" else training.batch_sentences
    return Batches(pairs, size, training.batch_type, config.seed)
