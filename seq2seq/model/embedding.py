"""The embedding of tokens, with word dropout."""

import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.shapes import Float, Int


class Embedding(nn.Embedding):
    """A vector for each token. In training a token is dropped with a probability: its vector is then zero.

    The vectors that are kept are divided by 1 - p, as in all dropout. So a model learns to read what is missing from
    the words around it (Gal and Ghahramani 2016, Sennrich et al. 2016).
    """

    def __init__(self, vocab: int, size: int, padding: int, word_dropout: float = 0.0):
        super().__init__(vocab, size, padding_idx=padding)
        self.word_dropout = word_dropout

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time size"]:
        # dropout1d drops a whole row of the last axis at a time, which here is the vector of a token
        return F.dropout1d(super().forward(tokens), self.word_dropout, self.training)
