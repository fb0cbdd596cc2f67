"""Self-attention: every position of a sequence looks at every other; and the layers of a Transformer.

    Q = X W_Q,  K = X W_K,  V = X W_V          the same vectors asked, compared with, and summed
    Z = softmax(Q K^T / sqrt(d_k)) V           `attention.MultiHead`, with the sequence as its own memory

A layer adds what a part makes of its input to that input, and normalizes before the part rather than after the sum
(Xiong et al. 2020): so it learns at a constant rate, without the warmup that the order of Vaswani et al. 2017 needs.

    x = x + attention(norm(x));  x = x + W_2 relu(W_1 norm(x) + b_1) + b_2

What is added starts at zero (W_o and W_2 do): an untrained layer hands on what it is given.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seq2seq.fast.loss import Vocabulary
from seq2seq.model.attention import Memory, MultiHead, Sizes

EXPANSION = 4  # the inner size of a feed-forward part over the outer one, as in the paper


def positioned(
    x: Float[Tensor, "batch time size"], first: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch time size"]:
    """sqrt(d) x + P: embeddings with their positions (Vaswani et al. 2017, section 3.5).

    P_t,2i = sin(t / 10000^(2i/d)), P_t,2i+1 = cos(t / 10000^(2i/d)).

    Args:
        x: embeddings of about norm 1.
        first: the position of the first, counted from 0; 0 if None.
    """
    size = x.size(-1)
    t = torch.arange(x.size(1), device=x.device) + (0 if first is None else first[:, None])
    frequency = torch.exp(torch.arange(0, size, 2, device=x.device) * (-math.log(10_000) / size))
    angle = t[..., None] * frequency
    return math.sqrt(size) * x + torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2).to(x.dtype)


def zero(layer: nn.Linear) -> nn.Linear:
    """The same layer, giving zero until it has learned."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class FeedForward(nn.Module):
    """W_2 relu(W_1 x + b_1) + b_2, position by position."""

    def __init__(self, size: int, dropout: float):
        super().__init__()
        self.W_1 = nn.Linear(size, EXPANSION * size)
        self.W_2 = zero(nn.Linear(EXPANSION * size, size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch time size"]) -> Float[Tensor, "batch time size"]:
        """Each position on its own."""
        return self.W_2(self.dropout(torch.relu(self.W_1(x))))


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward part, each around a residual connection.

    Equals `torch.nn.TransformerEncoderLayer(size, num_heads, 4 * size, norm_first=True)` with the same weights.

    Args:
        size: of a state.
        num_heads: divides the size.
        dropout: probability with which a number of what is added is zeroed.
    """

    def __init__(self, size: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        self.self_attention = MultiHead(Sizes(size, size, num_heads))
        self.feed_forward = FeedForward(size, dropout)
        self.norm_1, self.norm_2 = nn.LayerNorm(size), nn.LayerNorm(size)
        zero(self.self_attention.W_o)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch src size"], mask: Bool[Tensor, "batch src"]
    ) -> tuple[Float[Tensor, "batch src size"], Float[Tensor, "batch head src src"]]:
        """The states of the layer, and its attention weights."""
        X = self.norm_1(x)
        Z, a, _ = self.self_attention(X, self.self_attention.memorize(X, mask))
        x = x + self.dropout(Z)
        return x + self.dropout(self.feed_forward(self.norm_2(x))), a


class LayerMemory(NamedTuple):
    """The memory of every layer: layers lie in front of the heads."""

    keys: Float[Tensor, "batch layer head src key"]
    values: Float[Tensor, "batch layer head src value"]
    mask: Bool[Tensor, "batch 1 1 src"]

    def select(self, rows: Int[Tensor, " rows"]) -> "LayerMemory":
        """The memory of the given sentences only, in that order."""
        return LayerMemory(*(part[rows] for part in self))

    def layer(self, i: int) -> Memory:
        """The memory of one layer."""
        return Memory(self.keys[:, i], self.values[:, i], self.mask)


class Cache(NamedTuple):
    """What one position hands to the next: keys and values of all positions before it, and their number."""

    keys: Float[Tensor, "batch layer head before key"]
    values: Float[Tensor, "batch layer head before value"]
    position: Int[Tensor, " batch"]

    def select(self, rows: Int[Tensor, " rows"]) -> "Cache":
        """The cache of the given rows only, in that order."""
        return Cache(*(part[rows] for part in self))


class DecoderLayer(nn.Module):
    """Self-attention over what is written, attention over the source, a feed-forward part; residuals around each.

    Equals `torch.nn.TransformerDecoderLayer(size, num_heads, 4 * size, norm_first=True)` with the same weights.

    Args:
        size: of a state.
        num_heads: of the self-attention; divides the size.
        attention: looks at the encoder states, with heads of its own.
        dropout: probability with which a number of what is added is zeroed.
    """

    def __init__(self, size: int, num_heads: int, attention: MultiHead, dropout: float = 0.0):
        super().__init__()
        self.self_attention = MultiHead(Sizes(size, size, num_heads))
        self.attention = attention
        self.feed_forward = FeedForward(size, dropout)
        self.norm_1, self.norm_2, self.norm_3 = nn.LayerNorm(size), nn.LayerNorm(size), nn.LayerNorm(size)
        zero(self.self_attention.W_o)
        zero(self.attention.W_o)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch tgt size"],
        memory: Memory,
        before: tuple[Float[Tensor, "batch head before key"], Float[Tensor, "batch head before value"]],
        position: Int[Tensor, " batch"],
    ) -> tuple[
        Float[Tensor, "batch tgt size"],
        Float[Tensor, "batch head tgt src"],
        tuple[Float[Tensor, "batch head now key"], Float[Tensor, "batch head now value"]],
    ]:
        """The states of the layer, its weights on the source, and keys and values with those of these positions.

        Args:
            x: the states of the layer below.
            memory: of the source.
            before: keys and values of the positions before x.
            position: of the first of x.
        """
        X = self.norm_1(x)
        tgt = X.size(1)
        new = self.self_attention.memorize(X, X.new_ones(X.shape[:2], dtype=torch.bool))
        keys, values = torch.cat([before[0], new.keys], dim=2), torch.cat([before[1], new.values], dim=2)
        past_and_present = X.new_ones(tgt, keys.size(2), dtype=torch.bool).tril(keys.size(2) - tgt)
        Z, _, _ = self.self_attention(X, Memory(keys, values, past_and_present[None, None]))
        x = x + self.dropout(Z)
        c, a, _ = self.attention(self.norm_2(x), memory, position)
        x = x + self.dropout(c)
        return x + self.dropout(self.feed_forward(self.norm_3(x))), a, (keys, values)


class TransformerDecoder(nn.Module):
    """The decoder of Vaswani et al. 2017: no recurrence; a position looks at all that is written before it.

    Args:
        embedding: the target embedding, of the layers' size.
        layers: at least one.
        vocabulary: W_y, b_y.
        dropout: probability with which a number of an embedding with its position, or of s_t before W_y, is zeroed.
    """

    def __init__(
        self, embedding: nn.Embedding, layers: list[DecoderLayer], vocabulary: Vocabulary, *, dropout: float = 0.0
    ):
        super().__init__()
        self.embedding, self.W_y = embedding, vocabulary
        self.layers: Sequence[DecoderLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(embedding.embedding_dim)
        self.dropout = nn.Dropout(dropout)

    def memorize(self, states: Float[Tensor, "batch src hidden"], mask: Bool[Tensor, "batch src"]) -> LayerMemory:
        """What the decoder may look at, made of the encoder states once a sentence, for every layer."""
        keys, values, masks = zip(*(layer.attention.memorize(states, mask) for layer in self.layers), strict=True)
        return LayerMemory(torch.stack(keys, dim=1), torch.stack(values, dim=1), masks[0])

    def start(self, summary: Float[Tensor, "batch summary"], mask: Bool[Tensor, "batch src"]) -> Cache:
        """Nothing is written yet. The encoder's summary is not needed: every layer looks at the states."""
        heads = self.layers[0].self_attention.num_heads
        empty = summary.new_zeros(summary.size(0), len(self.layers), heads, 0, self.embedding.embedding_dim // heads)
        return Cache(empty, empty, summary.new_zeros(summary.size(0), dtype=torch.long))

    def forward(
        self, tgt: Int[Tensor, "batch tgt"], memory: LayerMemory, state: Cache
    ) -> tuple[Float[Tensor, "batch tgt attentional"], Float[Tensor, "batch head tgt src"], Cache]:
        """s_t for every position of `tgt`, the weights on the source of all heads of all layers, and the state after.

        The whole target at once in training, its last token in search: the same function.
        """
        x = self.dropout(positioned(self.embedding(tgt), state.position))
        weights, keys, values = [], [], []
        for i, layer in enumerate(self.layers):
            before = state.keys[:, i], state.values[:, i]
            x, a, (k, v) = layer(x, memory.layer(i), before, state.position)
            weights.append(a)
            keys.append(k)
            values.append(v)
        cache = Cache(torch.stack(keys, dim=1), torch.stack(values, dim=1), state.position + tgt.size(1))
        return self.norm(x), torch.cat(weights, dim=1), cache

    def logits(self, s: Float[Tensor, "*rows attentional"]) -> Float[Tensor, "*rows vocab"]:
        """W_y s_t + b_y, whose softmax is p(y_t)."""
        return self.W_y(self.dropout(s))
