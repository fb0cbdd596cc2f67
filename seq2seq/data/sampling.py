"""Subword sampling: a sentence is cut into pieces anew whenever it is read, so that models learn more than one way.

unigram    P(pieces | text) ~ prod_i p(piece_i)^alpha over all segmentations (Kudo 2018, "Subword regularization")
bpe        each merge is left out with probability alpha (Provilkov et al. 2020, "BPE-dropout")

Sentencepiece draws. A store holds the likeliest pieces of a text; what they spell, byte for byte, is what is cut anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seq2seq.data.store import EncodedPair
from seq2seq.text.tokenizer import EOS, SubwordTokenizer, Tokenizers


@dataclass(frozen=True)
class SubwordSampling:
    """How batches are cut into pieces anew.

    Args:
        tokenizers: of subwords.
        alpha: see above; over 0.
    """

    tokenizers: Tokenizers
    alpha: float

    def __call__(self, pairs: Sequence[EncodedPair], seed: Sequence[int]) -> list[EncodedPair]:
        """Other pieces of both sides of pairs, EOS at their ends; the same for the same seed (any natural numbers)."""
        seeds = (np.random.SeedSequence(seed).generate_state(2) >> 1).tolist()  # sentencepiece ignores the largest
        tokenizers, sides = (self.tokenizers.src, self.tokenizers.tgt), []
        for tokenizer, rows, drawn in zip(tokenizers, zip(*pairs, strict=True), seeds, strict=True):
            assert isinstance(tokenizer, SubwordTokenizer), tokenizer  # the config says so
            sides.append([[*ids, EOS] for ids in tokenizer.sample([row[:-1] for row in rows], self.alpha, drawn)])
        return list(zip(*sides, strict=True))
