"""Attention: a query looks at every encoder state and takes away a weighted sum.

    e_ti = score(h_t, k_i)          how well position i of the source answers the query
    a_t  = softmax(e_t)             the attention distribution
    c_t  = sum_i a_ti v_i           the attention value (context)

`Attention` owns these three lines, once, for every score: the mask, the softmax and the sum. Each class below it is a
score: what it makes of the encoder states once a sentence (`keys`, `values`), and its formula (`score`).

Shapes: batch sentences, head, tgt queries, src states. Keys, values and weights carry a head axis, of size 1 but for
`MultiHead`; the formulas only use the last two axes and so read as in the papers.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Memory(NamedTuple):
    """What the decoder may look at, made once a sentence: one row a sentence, shared by all its hypotheses."""

    keys: Float[Tensor, "batch head src key"]
    values: Float[Tensor, "batch head src value"]
    mask: Bool[Tensor, "batch 1 1 src"]  # True on real positions, False on padding

    def select(self, rows: Int[Tensor, " rows"]) -> "Memory":
        """The memory of the given sentences only, in that order."""
        return Memory(*(part[rows] for part in self))


class Attention(nn.Module):
    """The shared half of every attention: mask, softmax, sum. A subclass is a score.

    Args:
        query_size: size of a query, the decoder's hidden state h_t.
        state_size: size of a key and a value, an encoder state.
    """

    num_heads = 1

    def __init__(self, query_size: int, state_size: int):
        super().__init__()
        self.query_size, self.state_size = query_size, state_size
        self.context_size = state_size

    def memorize(self, states: Float[Tensor, "batch src hidden"], mask: Bool[Tensor, "batch src"]) -> Memory:
        """Everything that depends on the source alone, computed once a sentence and never in a step."""
        return Memory(self._heads(self.keys(states)), self._heads(self.values(states)), mask[:, None, None, :])

    def forward(
        self, query: Float[Tensor, "rows tgt hidden"], memory: Memory
    ) -> tuple[Float[Tensor, "rows tgt context"], Float[Tensor, "rows head tgt src"]]:
        """The context and the weights for each query.

        `rows` is `batch` in training. In search it is batch * beam: the hypotheses of a sentence are then laid along
        the query axis, so that they share the sentence's memory and nothing is copied.
        """
        rows, tgt, _ = query.shape
        q = self._heads(self.query(query.reshape(memory.mask.size(0), -1, self.query_size)))
        e = self.score(q, memory.keys)  # e_ti = score(h_t, k_i)
        a = e.masked_fill(~memory.mask, -math.inf).softmax(-1)  # a_t = softmax(e_t)
        c = self.merge(a @ memory.values)  # c_t = sum_i a_ti v_i
        return c.reshape(rows, tgt, -1), a.unflatten(2, (-1, tgt)).transpose(1, 2).flatten(0, 1)

    def keys(self, states: Float[Tensor, "batch src hidden"]) -> Float[Tensor, "batch src key"]:
        """What a query is compared with; the states themselves unless the score projects them."""
        return states

    def values(self, states: Float[Tensor, "batch src hidden"]) -> Float[Tensor, "batch src value"]:
        """What is summed; the states themselves unless the score projects them."""
        return states

    def query(self, query: Float[Tensor, "batch tgt hidden"]) -> Float[Tensor, "batch tgt key"]:
        """What is compared with the keys; the decoder state itself unless the score projects it."""
        return query

    def score(
        self, q: Float[Tensor, "batch head tgt key"], k: Float[Tensor, "batch head src key2"]
    ) -> Float[Tensor, "batch head tgt src"]:
        """e_ti for every query t and key i, before mask and softmax."""
        raise NotImplementedError

    def merge(self, context: Float[Tensor, "batch head tgt value"]) -> Float[Tensor, "batch tgt context"]:
        """The heads' contexts side by side."""
        return context.transpose(1, 2).flatten(2)

    def _heads(self, x: Float[Tensor, "batch time size"]) -> Float[Tensor, "batch head time part"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class NoAttention(Attention):
    """The plain encoder-decoder: the context is zero, whatever the source (Sutskever et al. 2014)."""

    def forward(
        self, query: Float[Tensor, "rows tgt hidden"], memory: Memory
    ) -> tuple[Float[Tensor, "rows tgt context"], Float[Tensor, "rows head tgt src"]]:
        """Zeros: nothing is looked at."""
        rows, tgt, _ = query.shape
        return query.new_zeros(rows, tgt, self.context_size), query.new_zeros(rows, 1, tgt, memory.mask.size(-1))


class Dot(Attention):
    """e_ti = h_t . k_i (Luong et al. 2015). Query and key have the same size."""

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        """Q K^T."""
        return q @ k.mT


class ScaledDot(Attention):
    """e_ti = h_t . k_i / sqrt(d_k) (Vaswani et al. 2017): scores keep unit variance when queries and keys have it."""

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        """Q K^T / sqrt(d_k)."""
        return q @ k.mT / math.sqrt(k.size(-1))


class Cosine(Attention):
    """e_ti = beta cos(h_t, k_i), beta learned (Graves et al. 2014).

    beta starts at sqrt(d): for vectors of unit variance, whose norm is sqrt(d), that equals the scaled dot product.
    """

    def __init__(self, query_size: int, state_size: int):
        super().__init__(query_size, state_size)
        self.beta = nn.Parameter(torch.tensor(math.sqrt(state_size)))

    def keys(self, states: Tensor) -> Tensor:
        """k_i / |k_i|, once a sentence."""
        return F.normalize(states, dim=-1)

    def query(self, query: Tensor) -> Tensor:
        """h_t / |h_t|."""
        return F.normalize(query, dim=-1)

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        """Beta Q K^T, of vectors of length 1."""
        return self.beta * (q @ k.mT)


class General(Attention):
    """e_ti = h_t^T W_a k_i (Luong et al. 2015)."""

    def __init__(self, query_size: int, state_size: int):
        super().__init__(query_size, state_size)
        self.W_a = nn.Linear(state_size, query_size, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """W_a k_i, once a sentence."""
        return self.W_a(states)

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        """Q K^T."""
        return q @ k.mT


class Concat(Attention):
    """e_ti = v_a^T tanh(W_a [h_t; k_i]) = v_a^T tanh(W_q h_t + W_k k_i) (Bahdanau et al. 2014, Luong et al. 2015).

    W_a is kept as its two halves, so that W_k k_i is computed once a sentence.

    Args:
        query_size: as in `Attention`.
        state_size: as in `Attention`.
        chunk_size: queries scored at a time; 0 is all. The tanh holds (batch, tgt, src, hidden) numbers; with chunks
            only (batch, chunk, src, hidden) at once, recomputed for the gradient: less memory, more time, same values.
    """

    def __init__(self, query_size: int, state_size: int, chunk_size: int = 0):
        super().__init__(query_size, state_size)
        self.W_q = nn.Linear(query_size, query_size, bias=False)
        self.W_k = nn.Linear(state_size, query_size, bias=False)
        self.v_a = nn.Linear(query_size, 1, bias=False)
        self.chunk_size = chunk_size

    def keys(self, states: Tensor) -> Tensor:
        """W_k k_i, once a sentence."""
        return self.W_k(states)

    def query(self, query: Tensor) -> Tensor:
        """W_q h_t."""
        return self.W_q(query)

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        """v_a^T tanh(Q + K), every query with every key."""
        if not 0 < self.chunk_size < q.size(-2):
            return self._formula(q, k)
        chunks = q.split(self.chunk_size, dim=-2)
        return torch.cat([checkpoint(self._formula, chunk, k, use_reentrant=False) for chunk in chunks], dim=-2)

    def _formula(self, q: Tensor, k: Tensor) -> Tensor:
        return self.v_a(torch.tanh(q.unsqueeze(-2) + k.unsqueeze(-3))).squeeze(-1)


class Location(Attention):
    """e_t = W_a h_t: the score of a position depends on the query alone (Luong et al. 2015).

    Args:
        query_size: as in `Attention`.
        state_size: as in `Attention`.
        max_positions: rows of W_a. A source position beyond them gets no weight.
    """

    def __init__(self, query_size: int, state_size: int, max_positions: int):
        super().__init__(query_size, state_size)
        self.W_a = nn.Linear(query_size, max_positions, bias=False)

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        """W_a Q; the keys only say how many positions there are."""
        beyond = k.size(-2) - self.W_a.out_features  # negative: the table is longer and is cut
        return F.pad(self.W_a(q), (0, beyond), value=-math.inf)


class MultiHead(ScaledDot):
    """Scaled dot products of n projections side by side, then W_o (Vaswani et al. 2017).

    Equals `torch.nn.MultiheadAttention(query_size, n, kdim=state_size, vdim=state_size)` with the same weights.

    Args:
        query_size: as in `Attention`; n divides it. The context has this size too.
        state_size: as in `Attention`.
        num_heads: n.
    """

    def __init__(self, query_size: int, state_size: int, num_heads: int):
        super().__init__(query_size, state_size)
        self.num_heads, self.context_size = num_heads, query_size
        self.W_q = nn.Linear(query_size, query_size)
        self.W_k = nn.Linear(state_size, query_size)
        self.W_v = nn.Linear(state_size, query_size)
        self.W_o = nn.Linear(query_size, query_size)

    def keys(self, states: Tensor) -> Tensor:
        """W_k k_i, once a sentence."""
        return self.W_k(states)

    def values(self, states: Tensor) -> Tensor:
        """W_v v_i, once a sentence."""
        return self.W_v(states)

    def query(self, query: Tensor) -> Tensor:
        """W_q h_t."""
        return self.W_q(query)

    def merge(self, context: Tensor) -> Tensor:
        """W_o [c_1; ...; c_n]."""
        return self.W_o(super().merge(context))


SCORES = ("none", "dot", "scaled_dot", "cosine", "general", "concat", "location", "multi_head")


def build_attention(
    score: str, query_size: int, state_size: int, *, num_heads: int = 4, chunk_size: int = 0, max_positions: int = 101
) -> Attention:
    """The attention named `score` (one of `SCORES`). Of the last three arguments each score takes its own alone."""
    match score:
        case "none":
            return NoAttention(query_size, state_size)
        case "dot":
            return Dot(query_size, state_size)
        case "scaled_dot":
            return ScaledDot(query_size, state_size)
        case "cosine":
            return Cosine(query_size, state_size)
        case "general":
            return General(query_size, state_size)
        case "concat":
            return Concat(query_size, state_size, chunk_size)
        case "location":
            return Location(query_size, state_size, max_positions)
        case "multi_head":
            return MultiHead(query_size, state_size, num_heads)
    raise ValueError(f"unknown attention score {score!r}; one of {', '.join(SCORES)}")
