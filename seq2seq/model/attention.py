"""Attention: a query looks at every encoder state and takes away a weighted sum.

    e_ti = score(h_t, k_i)          how well position i of the source answers the query
    a_t  = softmax(e_t)             the attention distribution
    c_t  = sum_i a_ti v_i           the attention value (context)

`Attention` owns these three lines, once, for every score: the mask, the softmax and the sum. Each class below it is a
score: what it makes of the encoder states once a sentence (`keys`, `values`), and its formula (`score`). Any of them
can look through a window (`window.py`) and remember where it has looked (`past.py`). Self-attention is the same machine
with the states of one sequence as its queries (`transformer.py`).

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

from seq2seq.model.past import Convolution, Coverage, Past
from seq2seq.model.window import Window, build_window


class Memory(NamedTuple):
    """What the decoder may look at, made once a sentence: one row a sentence, shared by all its hypotheses."""

    keys: Float[Tensor, "batch head src key"]
    values: Float[Tensor, "batch head src value"]
    mask: Bool[Tensor, "#batch 1 #tgt src"]  # True where a query may look: on real positions, not on padding

    def select(self, rows: Int[Tensor, " rows"]) -> "Memory":
        """The memory of the given sentences only, in that order."""
        return Memory(*(part[rows] for part in self))

    def repeat(self, times: int) -> "Memory":
        """The memory of each sentence so many times in a row, for hypotheses that cannot share it."""
        return Memory(*(part.repeat_interleave(times, dim=0) for part in self)) if times > 1 else self


class Attention(nn.Module):
    """The shared half of every attention: mask, softmax, sum. A subclass is a score.

    It looks everywhere, evenly sharp, and remembers nothing, unless `build_attention` says otherwise.

    Args:
        query_size: size of a query, the decoder's hidden state h_t.
        state_size: size of an encoder state, which keys and values are made of.
    """

    num_heads = 1

    def __init__(self, query_size: int, state_size: int):
        super().__init__()
        self.query_size, self.state_size = query_size, state_size
        self.key_size = self.context_size = state_size
        self.window = Window()
        self.past: Past | None = None
        self.temperature = 1.0

    def memorize(self, states: Float[Tensor, "batch src hidden"], mask: Bool[Tensor, "batch src"]) -> Memory:
        """Everything that depends on the source alone, computed once a sentence and never in a step."""
        return Memory(self._heads(self.keys(states)), self._heads(self.values(states)), mask[:, None, None, :])

    def forward(
        self,
        query: Float[Tensor, "rows tgt hidden"],
        memory: Memory,
        position: Int[Tensor, " rows"] | None = None,
        past: Float[Tensor, "rows 1 src"] | None = None,
    ) -> tuple[
        Float[Tensor, "rows tgt context"], Float[Tensor, "rows head tgt src"], Float[Tensor, "rows 1 src"] | None
    ]:
        """The context and the weights for each query, and what the next call is to know of these weights.

        `rows` is `batch` in training. In search it is batch * beam: the hypotheses of a sentence are then laid along
        the query axis, so that they share the sentence's memory and nothing is copied (but with a past of their own).

        Args:
            query: h_t, for `tgt` positions; for one where the past matters.
            memory: what `memorize` made of the source.
            position: the first query's t, counted from 0; zero if None.
            past: what the call before gave, or `start`; None where there is no memory of the past.
        """
        rows, tgt, _ = query.shape
        assert (self.past is None) == (past is None), "what `start` gave must be handed on"
        if self.past is not None and past is not None:
            memory = memory.repeat(rows // memory.mask.size(0))
            memory = memory._replace(keys=memory.keys + self._heads(self.past(past)))  # k_i + W_f f_ti
        q = query.reshape(memory.keys.size(0), -1, self.query_size)
        inside, focus = self.window(q, self._positions(position, q, tgt), memory.mask)
        e = self.score(self._heads(self.query(q)), memory.keys)  # e_ti = score(h_t, k_i)
        a = (e / self.temperature).masked_fill(~inside, -math.inf).softmax(-1) * focus  # a_t = softmax(e_t)
        c = self.merge(a @ memory.values)  # c_t = sum_i a_ti v_i
        a = a.unflatten(2, (-1, tgt)).transpose(1, 2).flatten(0, 1)
        if self.past is not None and past is not None:
            past = self.past.next(past, a.mean(1))
        return c.reshape(rows, tgt, -1), a, past

    def start(self, mask: Bool[Tensor, "batch src"]) -> Float[Tensor, "batch 1 src"] | None:
        """The past before the first query: nothing has been looked at; None where no past is kept."""
        return None if self.past is None else self.past.W_f.weight.new_zeros(mask.size(0), 1, mask.size(1))

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

    def _positions(
        self, first: Int[Tensor, " rows"] | None, q: Float[Tensor, "batch queries hidden"], tgt: int
    ) -> Int[Tensor, "batch queries"]:
        """t of every query; the queries of a row follow each other."""
        t = torch.arange(tgt, device=q.device)
        if first is not None:
            t = first[:, None] + t
        return t.expand(q.size(0) * q.size(1) // tgt, tgt).reshape(q.shape[:2])

    def _heads(self, x: Float[Tensor, "batch time size"]) -> Float[Tensor, "batch head time part"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class NoAttention(Attention):
    """The plain encoder-decoder: the context is zero, whatever the source (Sutskever et al. 2014)."""

    def forward(
        self, query: Tensor, memory: Memory, position: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Zeros: nothing is looked at."""
        rows, tgt, _ = query.shape
        return query.new_zeros(rows, tgt, self.context_size), query.new_zeros(rows, 1, tgt, memory.mask.size(-1)), past


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
        self.key_size = query_size
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
        self.key_size = query_size
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
        self.num_heads = num_heads
        self.key_size = self.context_size = query_size
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
PASTS = {"none": None, "coverage": Coverage, "convolution": Convolution}


def build_attention(
    score: str,
    query_size: int,
    state_size: int,
    *,
    num_heads: int = 4,
    chunk_size: int = 0,
    max_positions: int = 101,
    window: str = "global",
    window_size: int = 10,
    past: str = "none",
    temperature: float = 1.0,
) -> Attention:
    """The attention named `score`, of `SCORES`.

    Args:
        score: its name.
        query_size: as in `Attention`.
        state_size: as in `Attention`.
        num_heads: of `multi_head`.
        chunk_size: of `concat`.
        max_positions: of `location`.
        window: of `window.WINDOWS`.
        window_size: D of the local windows: positions on either side of the center.
        past: of `PASTS`: what of earlier weights enters the score.
        temperature: divides the scores; below 1 sharpens the weights, above 1 flattens them.
    """
    attention = _score(score, query_size, state_size, num_heads, chunk_size, max_positions)
    attention.window = build_window(window, query_size, window_size)
    attention.past = None if (kind := PASTS[past]) is None else kind(attention.key_size)
    attention.temperature = temperature
    return attention


def _score(
    score: str, query_size: int, state_size: int, num_heads: int, chunk_size: int, max_positions: int
) -> Attention:
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
