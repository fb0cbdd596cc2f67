"""Windows: which source positions may be looked at, around a center p_t (Luong et al. 2015, section 3.2).

Shapes: batch sentences, tgt queries (of all hypotheses of a sentence), src states. S is a sentence's own length.
"""

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

WINDOWS = ("global", "local_m", "local_p")

Inside = Bool[Tensor, "#batch 1 #tgt src"]  # True where the softmax is taken
Focus = Float[Tensor, "*#weights"]  # what multiplies the weights after the softmax


class Window(nn.Module):
    """`global`: every position of the sentence."""

    def forward(
        self,
        query: Float[Tensor, "batch tgt hidden"],
        t: Int[Tensor, "batch tgt"],
        mask: Bool[Tensor, "#batch 1 #tgt src"],
    ) -> tuple[Inside, Focus]:
        """Where the softmax of each query is taken, and what multiplies the weights after it (not renormalized).

        Args:
            query: h_t.
            t: the target position of each query, from 0 on.
            mask: True on real source positions.
        """
        return mask, query.new_ones(())


class LocalM(Window):
    """`local_m`, monotonic: [p_t - D, p_t + D] around p_t = min(t, S - 1).

    Args:
        D: positions on either side of the center.
    """

    def __init__(self, D: int):
        super().__init__()
        self.D = D

    def forward(self, query: Tensor, t: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As in `Window`."""
        S = mask.sum(-1).squeeze(-1)
        p = torch.minimum(t, S - 1)  # p_t = min(t, S - 1)
        return mask & (_distance(p, mask).abs() <= self.D), query.new_ones(())


class LocalP(Window):
    """`local_p`, predictive: the same window around p_t = S sigmoid(v_p^T tanh(W_p h_t)), and weights that fall off
    from its center, times exp(-(s - p_t)^2 / (2 sigma^2)) with sigma = D / 2.

    Args:
        query_size: size of h_t.
        D: positions on either side of the center.
    """

    def __init__(self, query_size: int, D: int):
        super().__init__()
        self.W_p = nn.Linear(query_size, query_size, bias=False)
        self.v_p = nn.Linear(query_size, 1, bias=False)
        self.D = D

    def forward(self, query: Tensor, t: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As in `Window`."""
        S = mask.sum(-1).squeeze(-1)
        with torch.autocast(query.device.type, enabled=False):  # half precision cannot tell far positions apart
            query = query.to(self.W_p.weight.dtype)
            p = S * torch.sigmoid(self.v_p(torch.tanh(self.W_p(query)))).squeeze(-1)  # p_t
        distance = _distance(p, mask)
        sigma = self.D / 2
        return mask & (distance.abs() <= self.D), torch.exp(-(distance**2) / (2 * sigma**2))


def _distance(p: Shaped[Tensor, "batch tgt"], mask: Bool[Tensor, "batch 1 1 src"]) -> Shaped[Tensor, "batch 1 tgt src"]:
    """s - p_t for each source position s."""
    return torch.arange(mask.size(-1), device=p.device) - p[:, None, :, None]


def build_window(window: str, query_size: int, D: int) -> Window:
    """The window of a name (one of `WINDOWS`)."""
    match window:
        case "global":
            return Window()
        case "local_m":
            return LocalM(D)
        case "local_p":
            return LocalP(query_size, D)
    raise ValueError(f"unknown window {window!r}; one of {', '.join(WINDOWS)}")
