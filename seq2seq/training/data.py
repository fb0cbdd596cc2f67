"""What a config says about data, made real: the corpora, the vocabularies, the batches."""

from typing import NamedTuple

from seq2seq.config import Config
from seq2seq.text.batches import Batches, EncodedPair
from seq2seq.text.corpus import Pair, read_pairs
from seq2seq.text.tokenizer import Tokenizers, train_tokenizers


class Corpora(NamedTuple):
    """The text of a training, read and checked before anything is written."""

    train: list[Pair]
    dev: list[Pair]
    test: list[Pair] | None

    @classmethod
    def read(cls, config: Config) -> "Corpora":
        """All splits of a config; UserError for the first file at fault."""
        data = config.data
        train, dev = read_pairs(data.train, data.src, data.tgt), read_pairs(data.dev, data.src, data.tgt)
        return cls(train, dev, read_pairs(data.test, data.src, data.tgt) if data.test else None)


def make_batches(config: Config, pairs: list[EncodedPair]) -> Batches:
    """The training batches of a config."""
    training = config.training
    size = training.batch_tokens if training.batch_type == "tokens" else training.batch_sentences
    return Batches(pairs, size, training.batch_type, config.seed)


def learn_tokenizers(config: Config, pairs: list[Pair]) -> Tokenizers:
    """Learn the vocabularies from the training pairs."""
    tokenizer = config.tokenizer
    return train_tokenizers(
        tokenizer.type,
        tokenizer.vocab_size,
        tokenizer.joint,
        tokenizer.lowercase,
        tokenizer.word_tokenizer,
        [pair.src for pair in pairs],
        [pair.tgt for pair in pairs],
    )
