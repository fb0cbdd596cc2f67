"""Memory of the past: a feature f of the weights of earlier steps enters the score, as score(q, k + W_f f).

For `concat`, v_a tanh(W_q q + W_k k + W_f f), that is the papers' formula. With heads, f is made from their mean.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Past(nn.Module):
    """The shared half: W_f f. A subclass says what f is, and what of the weights is kept for it.

    Args:
        key_size: size of a key.
        features: numbers of f at a source position.
    """

    def __init__(self, key_size: int, features: int):
        super().__init__()
        self.W_f = nn.Linear(features, key_size, bias=False)

    def forward(self, past: Float[Tensor, "rows 1 src"]) -> Float[Tensor, "rows src key"]:
        """W_f f, which is added to the keys."""
        return self.W_f(self.feature(past))

    def feature(self, past: Float[Tensor, "rows 1 src"]) -> Float[Tensor, "rows src feature"]:
        """f at every source position, from what is kept."""
        raise NotImplementedError

    def next(
        self, past: Float[Tensor, "rows 1 src"], weights: Float[Tensor, "rows 1 src"]
    ) -> Float[Tensor, "rows 1 src"]:
        """What is kept after a step with these weights."""
        raise NotImplementedError


class Coverage(Past):
    """f_ti = sum of a_t'i over all t' < t: how much position i has been looked at (Tu et al. 2016, See et al. 2017)."""

    def __init__(self, key_size: int):
        super().__init__(key_size, features=1)

    def feature(self, past: Tensor) -> Tensor:
        """The sum itself."""
        return past.mT

    def next(self, past: Tensor, weights: Tensor) -> Tensor:
        """The sum with one more step."""
        return past + weights


class Convolution(Past):
    """f_t = F * a_{t-1}: ten filters slid over the weights of the last step (Chorowski et al. 2015).

    They see five positions on either side: text moves by a word or two a step, where speech moves by frames.
    """

    def __init__(self, key_size: int, filters: int = 10, width: int = 11):
        super().__init__(key_size, filters)
        self.F = nn.Conv1d(1, filters, width, padding=width // 2, bias=False)

    def feature(self, past: Tensor) -> Tensor:
        """F * a_{t-1}; zero beyond both ends."""
        return self.F(past).mT

    def next(self, past: Tensor, weights: Tensor) -> Tensor:
        """The last weights alone."""
        return weights


def coverage_loss(weights: Float[Tensor, "batch tgt src"]) -> Float[Tensor, "batch tgt"]:
    """sum_i min(a_ti, sum of a_t'i over t' < t): what is looked at again costs (See et al. 2017, eq. 12)."""
    before = F.pad(weights.cumsum(1)[:, :-1], (0, 0, 1, 0))
    return weights.minimum(before).sum(-1)
