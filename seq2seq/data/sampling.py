"""Subword sampling: a sentence is cut into new random tokens in every epoch, so a model sees several segmentations.

unigram    P(tokens | text) ~ prod_i p(token_i)^alpha over all segmentations (Kudo 2018, "Subword regularization")
bpe        each merge is left out with probability alpha (Provilkov et al. 2020, "BPE-dropout")

sentencepiece can sample too, but since version 0.2.2 a seed gives other tokens in every process. A training could then
not be resumed to the same bits. No piece goes beyond a word, so each word is drawn by itself.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from random import Random
from typing import NamedTuple

import numpy as np

from seq2seq.data.corpus import EncodedPair
from seq2seq.text.tokenizer import EOS, SPECIALS, SubwordTokenizer, Tokenizer, Tokenizers


class Scored(NamedTuple):
    """A piece of a sentencepiece vocabulary."""

    id: int
    score: float  # unigram: its log-probability; bpe: the higher, the earlier it is merged


@dataclass(frozen=True, eq=False)
class Pieces:
    """The tokens of a vocabulary."""

    unbroken: frozenset[int]  # those that are never cut in another way: symbols, bytes, `<unk>`
    scored: dict[str, Scored]  # those that a text can be cut into in several ways


@cache
def pieces_of(tokenizer: SubwordTokenizer) -> Pieces:
    """Return the tokens of a vocabulary; they are computed once."""
    processor = tokenizer.processor
    unbroken = tokenizer.missing | {*map(processor.piece_to_id, tokenizer.folding.symbols)}
    ids = [i for i in range(len(SPECIALS), len(tokenizer)) if i not in unbroken]
    return Pieces(unbroken, {processor.id_to_piece(i): Scored(i, processor.get_score(i)) for i in ids})


WORD = re.compile("▁?[^▁]+|▁")  # sentencepiece writes ▁ for a space
WORDS_KEPT = 50_000  # of which the segmentations are remembered


def draw_subwords(
    tokenizers: Tokenizers, alpha: float, pairs: Sequence[EncodedPair], seed: Sequence[int]
) -> list[EncodedPair]:
    """Draw new tokens for both sides of pairs, with EOS at their ends; the same seed draws the same tokens."""
    seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
    src = draw(tokenizers.src, tokenizers.types[0], alpha, [src[:-1] for src, _ in pairs], seeds[0])
    tgt = draw(tokenizers.tgt, tokenizers.types[1], alpha, [tgt[:-1] for _, tgt in pairs], seeds[1])
    return [([*s, EOS], [*t, EOS]) for s, t in zip(src, tgt, strict=True)]


def draw(tokenizer: Tokenizer, type: str, alpha: float, rows: list[list[int]], seed: int) -> list[list[int]]:
    """Draw new tokens for one side, without EOS."""
    assert isinstance(tokenizer, SubwordTokenizer), tokenizer  # the config says so
    pieces = pieces_of(tokenizer)
    draw_word, random = {"unigram": draw_unigram, "bpe": draw_bpe}[type], Random(seed)
    drawn = []
    for row in rows:
        ids: list[int] = []
        for is_unbroken, run in groupby(row, pieces.unbroken.__contains__):
            if is_unbroken:
                ids += run
                continue
            for word in WORD.findall("".join(tokenizer.pieces(run))):
                ids += draw_word(word, pieces, alpha, random)
        drawn.append(ids)
    return drawn


def draw_unigram(word: str, pieces: Pieces, alpha: float, random: Random) -> list[int]:
    """Draw the ids of a word by forward filtering and backward sampling."""
    ids, end, ends = [], len(word), last_pieces(word, pieces, alpha)
    while end:
        choices, weights = ends[end - 1]
        ((end, id),) = random.choices(choices, weights)
        ids.append(id)
    return ids[::-1]


@lru_cache(maxsize=WORDS_KEPT)
def last_pieces(word: str, pieces: Pieces, alpha: float) -> list[tuple[list[tuple[int, int]], list[float]]]:
    """Return what each beginning of a word may end with: (where the piece begins, its id), and their probabilities."""
    totals, ends = [0.0], []  # the log of the summed weights of all segmentations of word[:end]
    for end in range(1, len(word) + 1):
        found = [(begin, *pieces.scored[word[begin:end]]) for begin in range(end) if word[begin:end] in pieces.scored]
        weights = [totals[begin] + alpha * score for begin, _, score in found]
        largest = max(weights, default=-math.inf)
        total = sum(math.exp(weight - largest) for weight in weights if weight > -math.inf)
        totals.append(largest + math.log(total) if total else -math.inf)
        probabilities = [math.exp(weight - totals[end]) if total else 0.0 for weight in weights]
        ends.append(([(begin, id) for begin, id, _ in found], probabilities))
    return ends


def draw_bpe(word: str, pieces: Pieces, alpha: float, random: Random) -> list[int]:
    """Merge the letters of a word, the best pair first, and leave out each merge with probability alpha."""
    parts, left_out, scored = [*word], set(), pieces.scored
    while True:
        # find the pairs that form a piece; the position of its middle identifies a pair
        pairs, middle = [], 0
        for i in range(1, len(parts)):
            middle += len(parts[i - 1])
            merged = parts[i - 1] + parts[i]
            if merged in scored and (middle, merged) not in left_out:
                pairs.append((-scored[merged].score, middle, merged, i))
        if not pairs:
            return [scored[part].id for part in parts]

        # merge the best, or leave it out
        _, middle, merged, i = min(pairs)
        if random.random() < alpha:
            left_out.add((middle, merged))
        else:
            parts[i - 1 : i + 1] = [merged]
