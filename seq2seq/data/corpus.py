"""Sentence pairs: their normalized text, the token ids of the pairs that are kept, and a report of the others."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from seq2seq.data.formats import stream_pairs
from seq2seq.data.report import Report
from seq2seq.data.tables import Columns, Header, Row
from seq2seq.text.normalize import is_broken, normalize
from seq2seq.text.tokenizer import EOS, Tokenizer

# characters per allowed token: a line with more characters is dropped before it is tokenized (the pieces of
# sentencepiece have at most 16)
LONGEST_TOKEN = 64

EncodedPair = tuple[list[int], list[int]]  # token ids of source and target; both end in EOS


class Pair(NamedTuple):
    """A sentence and its translation, normalized text."""

    src: str
    tgt: str

    @classmethod
    def normalized(cls, src: str, tgt: str) -> Self:
        """Make a pair from two lines of a file."""
        return cls(normalize(src), normalize(tgt))


def read_pairs(
    prefix: str | Path, src: str, tgt: str, columns: Columns | None = None, header: Header = "auto"
) -> list[Pair]:
    """Return the pairs of `stream_pairs`, blank ones included, normalized."""
    return [Pair.normalized(*row) for row in stream_pairs(prefix, src, tgt, columns, header)]


def encode_pairs(
    rows: Iterable[Row], tokenizer_src: Tokenizer, tokenizer_tgt: Tokenizer, max_length: int
) -> tuple[list[EncodedPair], Report]:
    """Normalize and tokenize pairs, and return the token ids of those that are kept, with a report.

    A pair is dropped if a side has no token (blank) or more than `max_length` tokens, EOS not counted.
    """
    # normalize, and drop pairs that are too long before they are tokenized
    read, cleaned, pairs = 0, 0, []
    for row in rows:
        read += 1
        cleaned += is_broken(row[0]) or is_broken(row[1])
        pair = Pair.normalized(*row)
        if not is_too_long(pair, max_length):
            pairs.append(pair)

    # tokenize
    src_ids = tokenizer_src.encode_lines([pair.src for pair in pairs])
    tgt_ids = tokenizer_tgt.encode_lines([pair.tgt for pair in pairs])

    # drop and count
    kept, blank = [], 0
    for src, tgt in zip(src_ids, tgt_ids, strict=True):
        if not src or not tgt:
            blank += 1
        elif max(len(src), len(tgt)) <= max_length:
            kept.append(([*src, EOS], [*tgt, EOS]))
    too_long = read - blank - len(kept)
    return kept, Report(len(kept), blank, too_long, max_length, cleaned)


def is_too_long(row: Row, max_length: int) -> bool:
    """Say whether a side has more characters than `max_length` tokens can have."""
    return max(len(row[0]), len(row[1])) > LONGEST_TOKEN * max_length
