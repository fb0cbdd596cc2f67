"""The sizes of a model and a training that fit the number of sentence pairs: the config that `seq2seq split` writes."""

from typing import Any, NamedTuple

import yaml

from seq2seq.config.dialect import Dumper
from seq2seq.config.reading import parse_config


class Size(NamedTuple):
    """The sizes for fewer than `pairs` training pairs."""

    pairs: float
    vocabulary: int
    hidden: int
    dropout: float
    batch_tokens: int
    updates: int
    encoder_dropout: float = 0.0
    word_dropout: float = 0.0
    score: str = "general"


# small batches make more updates of little text; word dropout helps sentences and harms words: configs/README.md has
# the measurements of both first rows, docs/quality.md that of 22,470 sentences
SENTENCES = (
    Size(5_000, 1000, 256, 0.4, batch_tokens=512, updates=3000, encoder_dropout=0.3, word_dropout=0.1, score="dot"),
    Size(15_000, 2000, 256, 0.3, batch_tokens=1024, updates=3000, encoder_dropout=0.2, word_dropout=0.05, score="dot"),
    Size(60_000, 4000, 256, 0.3, batch_tokens=2048, updates=6000, encoder_dropout=0.2, word_dropout=0.05, score="dot"),
    Size(float("inf"), vocabulary=8000, hidden=512, dropout=0.2, batch_tokens=4096, updates=20_000),
)
WORDS = (  # which are read letter by letter; their vocabulary is the letters
    Size(5_000, vocabulary=0, hidden=256, dropout=0.4, batch_tokens=256, updates=1500),
    Size(15_000, vocabulary=0, hidden=256, dropout=0.3, batch_tokens=512, updates=3000),
    Size(60_000, vocabulary=0, hidden=256, dropout=0.3, batch_tokens=1024, updates=4000),
    Size(float("inf"), vocabulary=0, hidden=512, dropout=0.2, batch_tokens=4096, updates=20_000),
)
VALIDATIONS = 15
FEW = 100  # training pairs: with fewer a model learns nothing but these
SPECIAL = 4 + 256 + 1  # special tokens, bytes and the space, which a vocabulary has besides the characters


def fitting_config(data: dict[str, Any], pairs: int, tokens: int, joint: bool, types: tuple[str, str] | None) -> str:
    """Return the YAML of a config with the section `data`, for so many training pairs.

    Args:
        data: the section.
        pairs: for training.
        tokens: the number of different characters or signs, for which a vocabulary must have room.
        joint: whether both sides share a vocabulary.
        types: of the tokenizers of source and target, where lines are words; None: they are sentences.
    """
    # the sizes
    size = next(size for size in (WORDS if types else SENTENCES) if pairs < size.pairs)
    needed = SPECIAL + tokens
    vocabulary = -(-max(size.vocabulary, needed + size.vocabulary // 2) // 100) * 100

    # the tokenizer
    src, tgt = types or ("unigram", "unigram")
    tokenizer: dict[str, Any] = {"type": src if src == tgt else [src, tgt], "vocab_size": vocabulary}
    if src != tgt or not joint:
        tokenizer["joint"] = False

    # the config
    states = {"cell": "lstm", "hidden_size": size.hidden}
    words = {"word_dropout": size.word_dropout} if size.word_dropout else {}
    looks = {"dropout": size.encoder_dropout} if size.encoder_dropout else {}
    config: dict[str, Any] = {
        "data": data,
        "tokenizer": tokenizer,
        "model": {
            "embedding_size": 256,
            "dropout": size.dropout,
            **words,
            "encoder": {**states, **looks},
            "attention": {"score": size.score},
            "decoder": dict(states),
        },
        "training": {
            "batch_tokens": size.batch_tokens,
            "max_updates": size.updates,
            "learning_rate": 2.0e-3,
            "schedule": "plateau",
            "warmup_updates": 100,
            "validate_every": size.updates // VALIDATIONS,
            "patience": 0,
        },
    }
    if types:
        config["training"]["early_stopping_metric"] = "chrf"

    # as YAML, when it is valid
    parse_config(config, "--src and --tgt")
    return yaml.dump(config, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def too_few(pairs: int) -> str | None:
    """Say that so few training pairs teach a model nothing, and how many would; None if there are enough."""
    if pairs >= FEW:
        return None
    useful = "useful are about 500 words for spelling or pronunciation, and some thousands of sentences for translation"
    return f"only {pairs:,} training pair{'s' * (pairs != 1)}: a model cannot learn from so few; {useful}"
