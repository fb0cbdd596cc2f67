"""Subword sampling: a sentence is cut into tokens anew whenever it is read, so that a model learns several ways.

unigram    P(tokens | text) ~ prod_i p(token_i)^alpha over all segmentations (Kudo 2018, "Subword regularization")
bpe        each merge is left out with probability alpha (Provilkov et al. 2020, "BPE-dropout")

Sentencepiece draws. A store holds the most likely tokens of a text; they are joined and cut anew, byte for byte.
"""

from collections.abc import Sequence

import numpy as np

from seq2seq.data.corpus import EncodedPair
from seq2seq.text.tokenizer import EOS, SubwordTokenizer, Tokenizers


def draw_subwords(
    tokenizers: Tokenizers, alpha: float, pairs: Sequence[EncodedPair], seed: Sequence[int]
) -> list[EncodedPair]:
    """Draw other tokens for both sides of pairs, EOS at their ends; the same for the same seed."""
    sides = []
    seeds = (np.random.SeedSequence(seed).generate_state(2) >> 1).tolist()  # 31 bits for sentencepiece
    for side, tokenizer in enumerate((tokenizers.src, tokenizers.tgt)):
        assert isinstance(tokenizer, SubwordTokenizer), tokenizer  # the config says so
        drawn = tokenizer.sample([pair[side][:-1] for pair in pairs], alpha, seeds[side])
        sides.append([[*ids, EOS] for ids in drawn])
    return list(zip(sides[0], sides[1], strict=True))
