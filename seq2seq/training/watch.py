"""How a model learns to look: `attention.jsonl` in the run folder, the attention of one sentence of dev over time.

The first line of the file holds the sentence, its translation in dev, and the tokens of both. Each later line holds the
weights at one time: before the first update, and at every validation. The decoder reads the translation of dev, as in
training, so that rows and columns stay the same.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, FiniteFloat, NonNegativeInt

from seq2seq.data.corpus import Pair
from seq2seq.decoding.attention_map import AttentionMap
from seq2seq.decoding.forced import look_at_pairs
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.files import is_file, must_read, parse_json, read_small, replace_text
from seq2seq.text.tokenizer import EOS, Tokenizers

log = logging.getLogger("seq2seq")

PAIRS = 1000  # of dev, from its first line on, one of which is chosen
TOKENS = 100  # of a side at most, for a picture that can be read
TOGETHER = 3  # tokens that fewer pairs share may have met by chance


class Sentence(BaseModel, strict=True):
    """The first line of the file."""

    line: int  # of dev, counted from 1
    src: str
    tgt: str
    rows: list[str]  # the tokens of the translation
    columns: list[str]  # the tokens of the source
    row_words: list[int]  # the number of the word that each token belongs to
    column_words: list[int]

    @property
    def pair(self) -> Pair:
        """The sentence and its translation."""
        return Pair(self.src, self.tgt)


class Moment(BaseModel, strict=True):
    """Another line of the file."""

    update: NonNegativeInt
    weights: list[list[FiniteFloat]]  # a row per token of the translation, a column per source token; mean of all heads


class Watched(NamedTuple):
    """The content of the file."""

    sentence: Sentence
    moments: list[Moment]  # in the order of the updates

    def maps(self) -> dict[int, AttentionMap]:
        """Return the weights after each number of updates."""
        maps, of = {}, self.sentence
        for update, weights in ((moment.update, np.array([moment.weights], float)) for moment in self.moments):
            maps[update] = AttentionMap(of.rows, of.columns, ["attention"], weights, of.row_words, of.column_words)
        return maps


class Watch:
    """The sentence of dev that a training watches, and its weights so far. A model without attention has neither.

    If the file cannot be written, a warning says so, and the training goes on.
    """

    def __init__(self, file: Path, dev: Sequence[Pair], translator: Translator):
        self._file, self._dev, self._translator = file, dev, translator
        self._sentence: Sentence | None = None
        self._moments: list[Moment] = []

    def begin(self, update: int, validation: int) -> None:
        """Choose a sentence, or go on with that of a resumed run and forget its weights after the last validation.

        If no update has been made, the weights of the untrained model are kept.
        """
        if not self._translator.decoder_heads:
            return

        # the sentence of the run; there is none in a new run, and another vocabulary has other tokens
        tokenizers, known = self._translator.tokenizers, None
        try:
            known = read_watched(self._file) if is_file(self._file) else None
        except UserError as error:
            log.warning("%s", error)
        if known and known.sentence == describe(known.sentence.line, known.sentence.pair, tokenizers):
            self._sentence = known.sentence
            self._moments = [moment for moment in known.moments if moment.update <= validation]
        else:
            self._sentence = choose(self._dev, tokenizers)

        # the untrained model
        if update == 0:
            self.keep(update)

    def keep(self, update: int) -> None:
        """Look at the sentence with the model as it is now, and write the file."""
        if not self._sentence:
            return
        self._translator.model.eval()
        try:
            (look,) = look_at_pairs(self._translator, [self._sentence.src], [self._sentence.tgt])
        except UserError:  # the model's numbers are not finite: the training tells of that itself
            return
        assert look.decoder
        weights = look.decoder.mean().weights[0].round(3).tolist()
        self._moments = [moment for moment in self._moments if moment.update < update]
        self._moments.append(Moment(update=update, weights=weights))
        try:
            parts = (self._sentence, *self._moments)
            replace_text(self._file, "".join(f"{part.model_dump_json()}\n" for part in parts))
        except OSError as error:
            log.warning("%s: cannot be written: %s; training without it", self._file, error.strerror)


def choose(dev: Sequence[Pair], tokenizers: Tokenizers) -> Sentence | None:
    """Choose the pair of middle length whose tokens change their order most; None if all are blank or too long.

    Two tokens are linked if each is the best partner of the other by the Dice coefficient 2 c(x, y) / (c(x) + c(y)),
    where c counts the pairs with a token, or with both. The order changes where two links cross.
    """
    # tokens, and the middle third of the pairs by length
    dev = dev[:PAIRS]
    sources = tokenizers.src.encode_lines([pair.src for pair in dev])
    targets = tokenizers.tgt.encode_lines([pair.tgt for pair in dev])
    pairs = [(i, x, y) for i, (x, y) in enumerate(zip(sources, targets, strict=True)) if x and y]
    pairs = sorted((p for p in pairs if max(len(p[1]), len(p[2])) <= TOKENS), key=lambda p: max(len(p[1]), len(p[2])))
    middle = pairs[len(pairs) // 3 : len(pairs) - len(pairs) // 3]
    if not middle:
        return None

    # how many pairs have a token, or two of them
    src, tgt, both = Counter[int](), Counter[int](), Counter[tuple[int, int]]()
    for _, x, y in pairs:
        src.update({*x})
        tgt.update({*y})
        both.update(product({*x}, {*y}))

    def dice(i: int, j: int) -> float:
        return 2 * both[i, j] / (src[i] + tgt[j]) if both[i, j] >= TOGETHER else 0

    def crossings(pair: tuple[int, list[int], list[int]]) -> int:
        """Count the links that cross, between tokens that the pair has once."""
        x, y = ([i for i in side if side.count(i) == 1] for side in pair[1:])
        to_y = [max(range(len(y)), key=lambda b: dice(i, y[b])) for i in x if y]
        to_x = [max(range(len(x)), key=lambda a: dice(x[a], j)) for j in y if x]
        links = [(a, b) for a, b in enumerate(to_y) if to_x[b] == a and dice(x[a], y[b])]
        return sum(b > d for (_, b), (_, d) in combinations(links, 2))

    number = max(middle, key=crossings)[0]
    return describe(number + 1, dev[number], tokenizers)


def describe(line: int, pair: Pair, tokenizers: Tokenizers) -> Sentence:
    """Return a pair of dev with its tokens; `line` counts from 1."""
    src, tgt = [*tokenizers.src.encode(pair.src), EOS], [*tokenizers.tgt.encode(pair.tgt), EOS]
    return Sentence(
        line=line,
        src=pair.src,
        tgt=pair.tgt,
        rows=tokenizers.tgt.pieces(tgt),
        columns=tokenizers.src.pieces(src),
        row_words=tokenizers.tgt.word_numbers(tgt),
        column_words=tokenizers.src.word_numbers(src),
    )


def read_watched(file: Path) -> Watched:
    """Read the file; raise UserError if it cannot be read, or is damaged."""
    fix = "delete it: a training that goes on begins it anew"
    with must_read(file, fix):
        lines = read_small(file).splitlines() or [b""]
    sentence = parse_json(lines[0], Sentence, f"{file}, line 1", fix)
    moments = [parse_json(line, Moment, f"{file}, line {n}", fix) for n, line in enumerate(lines[1:], 2)]
    shape = (len(sentence.row_words), len(sentence.column_words))
    for number, moment in enumerate(moments, 2):
        if {*map(len, moment.weights)} != {shape[1]} or len(moment.weights) != shape[0]:
            raise UserError(f"{file}, line {number}: damaged, not {shape[0]} rows of {shape[1]} weights; {fix}")
    return Watched(sentence, moments)
