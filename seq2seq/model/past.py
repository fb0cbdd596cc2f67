"""Memory of the past: a feature f of the attention weights of earlier steps enters the score: score(q, k + W_f f).

For `concat` this is the formula of the papers, v_a tanh(W_q q + W_k k + W_f f). All heads share f: that of their mean.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.shapes import Float


class Past(nn.Module):
    """The part that all memories of the past share: W_f f. A subclass defines f, and what it is computed from."""

    features = 1  # numbers of f at a source position

    def __init__(self, key_size: int):
        super().__init__()
        self.W_f = nn.Linear(self.features, key_size, bias=False)

    def forward(self, past: Float[Tensor, "rows 1 src"]) -> Float[Tensor, "rows src key"]:
        """Return W_f f, which is added to the keys."""
        return self.W_f(self.feature(past))

    def feature(self, past: Float[Tensor, "rows 1 src"]) -> Float[Tensor, "rows src feature"]:
        """Return f at every source position."""
        raise NotImplementedError

    def next(
        self, past: Float[Tensor, "rows 1 src"], weights: Float[Tensor, "rows 1 src"]
    ) -> Float[Tensor, "rows 1 src"]:
        """Return the past after a step with these weights."""
        raise NotImplementedError


class Coverage(Past):
    """Coverage f_ti = sum of a_t'i over t' < t: how much position i has been looked at (Tu 2016, See 2017)."""

    def feature(self, past: Tensor) -> Tensor:
        return past.mT

    def next(self, past: Tensor, weights: Tensor) -> Tensor:
        return past + weights


class Convolution(Past):
    """Location features f_t = F * a_{t-1}: ten filters over the weights of the last step (Chorowski et al. 2015).

    The filters see five positions on either side. In text, attention moves by a word or two per step.
    """

    features = 10

    def __init__(self, key_size: int):
        super().__init__(key_size)
        self.F = nn.Conv1d(1, self.features, kernel_size=11, padding=5, bias=False)

    def feature(self, past: Tensor) -> Tensor:
        return self.F(past).mT

    def next(self, past: Tensor, weights: Tensor) -> Tensor:
        return weights  # older ones are forgotten


PASTS: dict[str, type[Past] | None] = {"none": None, "coverage": Coverage, "convolution": Convolution}


def coverage_loss(weights: Float[Tensor, "batch tgt src"]) -> Float[Tensor, "batch tgt"]:
    """Return sum_i min(a_ti, sum of a_t'i over t' < t): a penalty on looking at a place again (See 2017, eq. 12)."""
    before = F.pad(weights.cumsum(1)[:, :-1], (0, 0, 1, 0))  # the running sum, one step later: over t' < t
    return weights.minimum(before).sum(-1)
