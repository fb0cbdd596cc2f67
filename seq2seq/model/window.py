"""Windows: which source positions a query may look at, around a center p_t (Luong et al. 2015, section 3.2).

Shapes: batch sentences, tgt queries (of all hypotheses of a sentence), src states. S is a sentence's own length.
"""

import torch
from torch import Tensor, nn

from seq2seq.shapes import Bool, Float, Int, Shaped

WINDOW_SIZE = 10  # D in Luong et al. 2015

Mask = Bool[Tensor, "#batch 1 #tgt src"]  # True where a query may look
Focus = Float[Tensor, "*#weights"]  # multiplies the weights after the softmax; broadcasts to their shape


class Window(nn.Module):
    """The `global` window, the whole sentence; also the base class of the local windows, which have a size D."""

    def __init__(self, query_size: int, D: int = WINDOW_SIZE):
        super().__init__()
        self.D = D

    def forward(
        self, query: Float[Tensor, "batch tgt hidden"], t: Int[Tensor, "batch tgt"], mask: Mask
    ) -> tuple[Mask, Focus]:
        """Return the positions that enter the softmax of each query h_t, and a factor for the weights after it.

        Positions t count from 0. The weights are not renormalized after the multiplication by this factor.
        """
        return mask, query.new_ones(())  # a factor of 1


class LocalM(Window):
    """The `local_m` window, monotonic: [p_t - D, p_t + D] around p_t = min(t, S - 1)."""

    def center(self, query: Tensor, t: Tensor, mask: Tensor) -> Tensor:
        S = mask.sum(-1).squeeze(-1)  # (batch, 1)
        return torch.minimum(t, S - 1)  # p_t = min(t, S - 1)

    def forward(self, query: Tensor, t: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        p = self.center(query, t, mask)
        return mask & (_distance(p, mask).abs() <= self.D), query.new_ones(())


class LocalP(Window):
    """The `local_p` window, predictive: [p_t - D, p_t + D] around p_t = S sigmoid(v_p^T tanh(W_p h_t)).

    The weights fall off from the center: they are multiplied by exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D / 2.
    """

    def __init__(self, query_size: int, D: int = WINDOW_SIZE):
        super().__init__(query_size, D)
        self.W_p = nn.Linear(query_size, query_size, bias=False)
        self.v_p = nn.Linear(query_size, 1, bias=False)

    def center(self, query: Tensor, t: Tensor, mask: Tensor) -> Tensor:
        S = mask.sum(-1).squeeze(-1)  # (batch, 1)
        with torch.autocast(query.device.type, enabled=False):  # half precision cannot tell far positions apart
            query = query.to(self.W_p.weight.dtype)
            return S * torch.sigmoid(self.v_p(torch.tanh(self.W_p(query)))).squeeze(-1)  # p_t

    def forward(self, query: Tensor, t: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        distance = _distance(self.center(query, t, mask), mask)
        sigma = self.D / 2
        return mask & (distance.abs() <= self.D), torch.exp(-(distance**2) / (2 * sigma**2))


WINDOWS: dict[str, type[Window]] = {"global": Window, "local_m": LocalM, "local_p": LocalP}


def _distance(p: Shaped[Tensor, "batch tgt"], mask: Bool[Tensor, "batch 1 1 src"]) -> Shaped[Tensor, "batch 1 tgt src"]:
    """Return s - p_t for each source position s."""
    return torch.arange(mask.size(-1), device=p.device) - p[:, None, :, None]
