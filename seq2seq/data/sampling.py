"""Subword sampling: a sentence is cut into tokens anew whenever it is read, so that a model learns several ways.

unigram    P(tokens | text) ~ prod_i p(token_i)^alpha over all segmentations (Kudo 2018, "Subword regularization")
bpe        each merge is left out with probability alpha (Provilkov et al. 2020, "BPE-dropout")

Sentencepiece draws. A store holds the most likely tokens of a text; they are joined and cut anew, byte for byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seq2seq.data.corpus import EncodedPair
from seq2seq.text.tokenizer import EOS, SubwordTokenizer, Tokenizer, Tokenizers


@dataclass(frozen=True)
class SubwordSampling:
    """A function that draws other tokens for the texts of a batch."""

    tokenizers: Tokenizers  # of subwords
    alpha: float  # of the formulas above; over 0

    def __call__(self, pairs: Sequence[EncodedPair], seed: Sequence[int]) -> list[EncodedPair]:
        """Draw other tokens for both sides of pairs, EOS at their ends; the same for the same seed."""
        src_seed, tgt_seed = (np.random.SeedSequence(seed).generate_state(2) >> 1).tolist()  # 31 bits for sentencepiece
        src = self._draw(self.tokenizers.src, [src for src, _ in pairs], src_seed)
        tgt = self._draw(self.tokenizers.tgt, [tgt for _, tgt in pairs], tgt_seed)
        return list(zip(src, tgt, strict=True))

    def _draw(self, tokenizer: Tokenizer, rows: list[list[int]], seed: int) -> list[list[int]]:
        assert isinstance(tokenizer, SubwordTokenizer), tokenizer  # the config says so
        return [[*ids, EOS] for ids in tokenizer.sample([row[:-1] for row in rows], self.alpha, seed)]
