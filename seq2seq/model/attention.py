"""Attention: it compares a query with every encoder state, and returns the weighted sum of the states.

    e_ti = score(h_t, k_i)          how well position i of the source answers the query
    a_t  = softmax(e_t)             the attention distribution
    c_t  = sum_i a_ti v_i           the attention value (context)

`Attention` owns these three lines for every score: the mask, the softmax and the sum. Each class below it is a score:
it may project queries and encoder states, and gives the formula. Any score can be combined with a
window (`window.py`) and with a memory of the past (`past.py`). Self-attention is the same machine with the states of
one sequence as its queries (`transformer.py`). To add a score, add a class and a line in `SCORES`.

Shapes: batch sentences, head, tgt queries, src states. Keys, values and weights carry a head axis, which has size 1
except in `MultiHead`. The formulas use only the last two axes, so they read as in the papers.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seq2seq.model.past import PASTS, Past
from seq2seq.model.window import WINDOW_SIZE, WINDOWS, Window
from seq2seq.shapes import Bool, Float, Int, Shaped


class Sizes(NamedTuple):
    """The sizes of an attention. Every score gets all of them, and takes those that it needs."""

    query: int  # size of a query, the decoder's hidden state h_t
    state: int  # size of an encoder state, from which keys and values are computed
    num_heads: int = 4  # `multi_head` only; divides the query's size
    max_positions: int = 101  # `location` only: a source position beyond these gets no weight
    chunk_size: int = 0  # `concat` only: queries scored at a time; 0 is all


class Memory(NamedTuple):
    """The keys and values of a batch, computed once: one row per sentence, shared by all hypotheses of the sentence.

    The memory of a Transformer has a layer axis before the heads.
    """

    keys: Float[Tensor, "batch *layer head src key"]
    values: Float[Tensor, "batch *layer head src value"]
    mask: Bool[Tensor, "#batch 1 #tgt src"]  # True where a query may look: on real positions, not on padding

    def select(self, rows: Int[Tensor, " rows"]) -> "Memory":
        """Return the memory of the given sentences, in that order."""
        return Memory(*(part[rows] for part in self))

    def repeat(self, times: int) -> "Memory":
        """Return the memory with each sentence repeated, for hypotheses that cannot share it."""
        return Memory(*(part.repeat_interleave(times, dim=0) for part in self)) if times > 1 else self


class Attended(NamedTuple):
    """The result of attention: `rows` is `batch` in training and batch * beam in search."""

    context: Float[Tensor, "rows tgt context"]
    weights: Float[Tensor, "rows head tgt src"]
    past: Float[Tensor, "rows 1 src"] | None  # for the next call; None if the attention keeps no past


class Attention(nn.Module):
    """The part that all scores share: mask, softmax, sum. Each subclass adds a score.

    By default attention looks at the whole sentence, with temperature 1 and without a memory of the past;
    `build_attention` can change this. The projections W are identities unless the score has its own.
    """

    num_heads = 1

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.query_size, self.state_size = sizes.query, sizes.state
        self.key_size = self.context_size = sizes.state
        # each is a module of its own; the list around them gives them the type Module, so that a score may replace them
        self.W_q, self.W_k, self.W_v, self.W_o = nn.ModuleList(nn.Identity() for _ in range(4))
        self.window = Window(sizes.query)
        self.past: Past | None = None
        self.temperature = 1.0

    def memorize(self, states: Float[Tensor, "batch src hidden"], mask: Bool[Tensor, "batch src"]) -> Memory:
        """Compute keys and values, which depend only on the source: once per sentence, not in every step."""
        return Memory(self._heads(self.keys(states)), self._heads(self.W_v(states)), mask[:, None, None, :])

    def forward(
        self,
        query: Float[Tensor, "rows tgt hidden"],
        memory: Memory,
        position: Int[Tensor, " rows"] | None = None,
        past: Float[Tensor, "rows 1 src"] | None = None,
    ) -> Attended:
        """Return the context and the weights of each query h_t.

        In search the hypotheses of a sentence share its memory without copies (unless the attention keeps a past).

        Args:
            query: the queries of `tgt` positions; of one position if the attention keeps a past.
            memory: the result of `memorize`.
            position: the position t of the first query, counted from 0; None is 0.
            past: the past that the previous call, or `start`, returned; None if the attention keeps none.
        """
        rows, tgt, _ = query.shape
        assert (self.past is None) == (past is None), "pass the past that the previous call, or start(), returned"

        # add the past to the keys: each hypothesis then has its own keys
        if self.past is not None and past is not None:
            memory = memory.repeat(rows // memory.mask.size(0))
            memory = memory._replace(keys=memory.keys + self._heads(self.past(past)))  # k_i + W_f f_ti

        # put the hypotheses of a sentence side by side on the query axis, (batch, beam * tgt): they share its memory
        t = torch.arange(tgt, device=query.device) + (0 if position is None else position[:, None])
        t = _join_beams(t.expand(rows, tgt), memory.keys.size(0))
        query = _join_beams(query, memory.keys.size(0))
        inside, focus = self.window(query, t, memory.mask)

        # the three equations
        q = self._heads(self.query(query))
        e = self.score(q, memory.keys)  # e_ti = score(h_t, k_i)
        a = (e / self.temperature).masked_fill(~inside, -math.inf).softmax(-1) * focus  # a_t = softmax(e_t)
        c = self.merge(a @ memory.values)  # c_t = sum_i a_ti v_i

        # give each hypothesis a row again, and compute the past for the next call
        c, a = _part_beams(c, tgt), _part_beams(a, tgt)
        if self.past is not None and past is not None:
            past = self.past.next(past, a.mean(1))
        return Attended(c, a, past)

    def start(self, mask: Bool[Tensor, "batch src"]) -> Float[Tensor, "batch 1 src"] | None:
        """Return the past before the first query: all zero, or None if the attention keeps no past."""
        return None if self.past is None else self.past.W_f.weight.new_zeros(mask.size(0), 1, mask.size(1))

    def keys(self, states: Float[Tensor, "batch src hidden"]) -> Float[Tensor, "batch src key"]:
        """Return the keys W_k k_i, which are compared with the queries."""
        return self.W_k(states)

    def query(self, query: Float[Tensor, "batch tgt hidden"]) -> Float[Tensor, "batch tgt key"]:
        """Return the queries W_q h_t, which are compared with the keys."""
        return self.W_q(query)

    def score(
        self, q: Float[Tensor, "batch head tgt key"], k: Float[Tensor, "batch head src key2"]
    ) -> Float[Tensor, "batch head tgt src"]:
        """Return e_ti for every query t and key i, before mask and softmax."""
        raise NotImplementedError

    def merge(self, context: Float[Tensor, "batch head tgt value"]) -> Float[Tensor, "batch tgt context"]:
        """Return W_o [c_1; ...; c_n], where c_j is the context of head j."""
        return self.W_o(context.transpose(1, 2).flatten(2))

    def _heads(self, x: Float[Tensor, "batch time size"]) -> Float[Tensor, "batch head time part"]:
        """Cut each vector into one part per head."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _join_beams(x: Shaped[Tensor, "rows tgt *size"], sentences: int) -> Shaped[Tensor, "batch queries *size"]:
    """Put the hypotheses of each sentence one after the other on the query axis."""
    return x.reshape(sentences, -1, *x.shape[2:])


def _part_beams(x: Float[Tensor, "batch *head queries size"], tgt: int) -> Float[Tensor, "rows *head tgt size"]:
    """Give each hypothesis a row of its own again: (batch, head, beam * tgt) becomes (batch * beam, head, tgt)."""
    return x.unflatten(-2, (-1, tgt)).movedim(-3, 1).flatten(0, 1)


class NoAttention(Attention):
    """The encoder-decoder without attention: the context is always zero (Sutskever et al. 2014)."""

    def forward(
        self, query: Tensor, memory: Memory, position: Tensor | None = None, past: Tensor | None = None
    ) -> Attended:
        rows, tgt, _ = query.shape
        context = query.new_zeros(rows, tgt, self.context_size)
        return Attended(context, query.new_zeros(rows, 1, tgt, memory.mask.size(-1)), past)


class Dot(Attention):
    """e_ti = h_t . k_i (Luong et al. 2015). Query and key have the same size."""

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT


class ScaledDot(Attention):
    """e_ti = h_t . k_i / sqrt(d_k) (Vaswani et al. 2017): scores keep unit variance when queries and keys have it."""

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT / math.sqrt(k.size(-1))


class Cosine(Attention):
    """e_ti = beta cos(h_t, k_i), where beta is learned (Graves et al. 2014).

    beta starts at sqrt(d). For vectors of norm sqrt(d) (unit variance) the score then equals the scaled dot product.
    """

    def __init__(self, sizes: Sizes):
        super().__init__(sizes)
        self.beta = nn.Parameter(torch.tensor(math.sqrt(sizes.state)))

    def keys(self, states: Tensor) -> Tensor:
        return F.normalize(states, dim=-1)

    def query(self, query: Tensor) -> Tensor:
        return F.normalize(query, dim=-1)

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        return self.beta * (q @ k.mT)


class General(Dot):
    """e_ti = h_t^T W_a k_i (Luong et al. 2015): the dot product with W_a k_i."""

    def __init__(self, sizes: Sizes):
        super().__init__(sizes)
        self.key_size = sizes.query
        self.W_a = nn.Linear(sizes.state, sizes.query, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        return self.W_a(states)


class Concat(Attention):
    """e_ti = v_a^T tanh(W_a [h_t; k_i]) = v_a^T tanh(W_q h_t + W_k k_i) (Bahdanau et al. 2014, Luong et al. 2015).

    W_a is stored as two halves, so that W_k k_i is computed once per sentence. The tanh has (batch, tgt, src, hidden)
    numbers. With chunks it has (batch, chunk, src, hidden) at a time, and is computed again for the gradient: this
    takes less memory and more time, and gives the same values.
    """

    def __init__(self, sizes: Sizes):
        super().__init__(sizes)
        self.key_size = sizes.query
        self.W_q = nn.Linear(sizes.query, sizes.query, bias=False)
        self.W_k = nn.Linear(sizes.state, sizes.query, bias=False)
        self.v_a = nn.Linear(sizes.query, 1, bias=False)
        self.chunk_size = sizes.chunk_size

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        if not 0 < self.chunk_size < q.size(-2):
            return self._formula(q, k)
        chunks = q.split(self.chunk_size, dim=-2)
        return torch.cat([checkpoint(self._formula, chunk, k, use_reentrant=False) for chunk in chunks], dim=-2)

    def _formula(self, q: Tensor, k: Tensor) -> Tensor:
        return self.v_a(torch.tanh(q.unsqueeze(-2) + k.unsqueeze(-3))).squeeze(-1)


class Location(Attention):
    """e_t = W_a h_t: the score of a position depends on the query alone (Luong et al. 2015).

    W_a has a row for each source position; positions beyond its last row get no weight.
    """

    def __init__(self, sizes: Sizes):
        super().__init__(sizes)
        self.W_a = nn.Linear(sizes.query, sizes.max_positions, bias=False)

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        """Return W_a Q. Only the number of keys matters, not their content."""
        beyond = k.size(-2) - self.W_a.out_features  # if negative, W_a has rows to spare, which `pad` cuts off
        return F.pad(self.W_a(q), (0, beyond), value=-math.inf)


class MultiHead(ScaledDot):
    """e_ti = q_t . k_i / sqrt(d_k): n heads, each with projections W_q, W_k, W_v; then W_o (Vaswani et al. 2017).

    Z_j = softmax(Q_j K_j^T / sqrt(d_k)) V_j             head j: its part of W_q h_t + b_q, W_k k_i + b_k, W_v k_i + b_v
    c_t = W_o [Z_1; ...; Z_n] + b_o

    With the same weights it equals `torch.nn.MultiheadAttention(query, n, kdim=state, vdim=state)`.
    """

    def __init__(self, sizes: Sizes):
        super().__init__(sizes)
        self.num_heads = sizes.num_heads
        self.key_size = self.context_size = sizes.query
        self.W_q = nn.Linear(sizes.query, sizes.query)
        self.W_k = nn.Linear(sizes.state, sizes.query)
        self.W_v = nn.Linear(sizes.state, sizes.query)
        self.W_o = nn.Linear(sizes.query, sizes.query)


SCORES: dict[str, type[Attention]] = {
    "none": NoAttention,
    "dot": Dot,
    "scaled_dot": ScaledDot,
    "cosine": Cosine,
    "general": General,
    "concat": Concat,
    "location": Location,
    "multi_head": MultiHead,
}


def build_attention(
    score: str,
    sizes: Sizes,
    window: str = "global",
    window_size: int = WINDOW_SIZE,
    past: str = "none",
    temperature: float = 1.0,
) -> Attention:
    """Build an attention from the name of its score (in `SCORES`), of its window (`WINDOWS`) and of its past (`PASTS`).

    `window_size` is the D of the local windows. `temperature` divides the scores: below 1 it sharpens the weights.
    """
    attention = SCORES[score](sizes)
    attention.window = WINDOWS[window](sizes.query, window_size)
    attention.past = None if (kind := PASTS[past]) is None else kind(attention.key_size)
    attention.temperature = temperature
    return attention
