"""Self-attention, in which every position of a sequence looks at all positions; and the layers of a Transformer.

    Q = X W_Q,  K = X W_K,  V = X W_V          queries, keys and values of the same vectors
    Z = softmax(Q K^T / sqrt(d_k)) V           `attention.MultiHead`, with the sequence as its own memory

A layer adds the output of each of its parts to the input of that part. It normalizes before the part, not after the sum
(Xiong et al. 2020). So it learns without a warm-up, which the order of Vaswani et al. 2017 needs.

    x = x + attention(norm(x));  x = x + W_2 relu(W_1 norm(x) + b_1) + b_2

W_o and W_2 start at zero, so an untrained layer returns its input.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.model.attention import Attention, Memory, MultiHead, Sizes
from seq2seq.model.decoder import Decoded
from seq2seq.shapes import Bool, Float, Int

EXPANSION = 4  # hidden size of a feed-forward part / size of a state, as in the paper


def add_positions(
    x: Float[Tensor, "batch time size"], first: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch time size"]:
    """Return sqrt(d) x + P: embeddings x of norm about 1, plus their positions (Vaswani et al. 2017, section 3.5).

    P_t,2i = sin(t / 10000^(2i/d)), P_t,2i+1 = cos(t / 10000^(2i/d)). Positions count from `first`, or from 0.
    """
    size = x.size(-1)
    t = torch.arange(x.size(1), device=x.device) + (0 if first is None else first[:, None])
    frequency = torch.exp(torch.arange(0, size, 2, device=x.device) * (-math.log(10_000) / size))  # 1 / 10000^(2i/d)
    angle = t[..., None] * frequency
    return math.sqrt(size) * x + torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2).to(x.dtype)


def start_at_zero(layer: nn.Module) -> nn.Module:
    """Set all weights of a layer to zero and return it."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


class FeedForward(nn.Module):
    """The feed-forward part W_2 relu(W_1 x + b_1) + b_2, applied to each position separately."""

    def __init__(self, size: int, dropout: float):
        super().__init__()
        self.W_1 = nn.Linear(size, EXPANSION * size)
        self.W_2 = start_at_zero(nn.Linear(EXPANSION * size, size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch time size"]) -> Float[Tensor, "batch time size"]:
        return self.W_2(self.dropout(torch.relu(self.W_1(x))))


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward part, each with a residual connection and with dropout on its output.

    With the same weights it equals `torch.nn.TransformerEncoderLayer(size, num_heads, 4 * size, norm_first=True)`.
    """

    def __init__(self, size: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        self.self_attention = MultiHead(Sizes(size, size, num_heads))
        self.feed_forward = FeedForward(size, dropout)
        self.norm_1, self.norm_2 = nn.LayerNorm(size), nn.LayerNorm(size)
        start_at_zero(self.self_attention.W_o)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch src size"], mask: Bool[Tensor, "batch src"]
    ) -> tuple[Float[Tensor, "batch src size"], Float[Tensor, "batch head src src"]]:
        """Return the states of the layer, and its attention weights."""
        # self-attention: x looks at x
        X = self.norm_1(x)
        Z, a, _ = self.self_attention(X, self.self_attention.memorize(X, mask))
        x = x + self.dropout(Z)

        # feed-forward
        return x + self.dropout(self.feed_forward(self.norm_2(x))), a


class Cache(NamedTuple):
    """The state of a Transformer decoder: keys and values of all positions so far, and the number of positions.

    The cache of one layer has no layer axis.
    """

    keys: Float[Tensor, "batch *layer head before key"]
    values: Float[Tensor, "batch *layer head before value"]
    position: Int[Tensor, " batch"]

    def select(self, rows: Int[Tensor, " rows"]) -> "Cache":
        """Return the cache of the given rows, in that order."""
        return Cache(*(part[rows] for part in self))


class LayerOutput(NamedTuple):
    """The result of a decoder layer."""

    states: Float[Tensor, "batch tgt size"]
    weights: Float[Tensor, "batch head tgt src"]  # on the source
    cache: Cache  # of all target positions so far, and those of x


class DecoderLayer(nn.Module):
    """Self-attention to the target so far, attention to the source, a feed-forward part; each with a residual.

    With the same weights it equals `torch.nn.TransformerDecoderLayer(size, num_heads, 4 * size, norm_first=True)`. The
    self-attention has as many heads as the attention to the source.
    """

    def __init__(self, size: int, attention: Attention, dropout: float = 0.0):
        super().__init__()
        self.self_attention = MultiHead(Sizes(size, size, attention.num_heads))
        self.attention = attention
        self.feed_forward = FeedForward(size, dropout)
        self.norm_1, self.norm_2, self.norm_3 = nn.LayerNorm(size), nn.LayerNorm(size), nn.LayerNorm(size)
        start_at_zero(self.self_attention.W_o)
        start_at_zero(self.attention.W_o)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch tgt size"], memory: Memory, cache: Cache) -> LayerOutput:
        """Return states, weights on the source, and the cache with x appended; x are the states of the layer below."""
        # self-attention: each position of x looks at those before x, at those of x before it, and at itself
        X = self.norm_1(x)
        tgt = X.size(1)
        new = self.self_attention.memorize(X, X.new_ones(X.shape[:2], dtype=torch.bool))
        keys, values = torch.cat([cache.keys, new.keys], dim=2), torch.cat([cache.values, new.values], dim=2)
        past_and_present = X.new_ones(tgt, keys.size(2), dtype=torch.bool).tril(keys.size(2) - tgt)
        Z, _, _ = self.self_attention(X, Memory(keys, values, past_and_present[None, None]))
        x = x + self.dropout(Z)

        # attention to the source
        c, a, _ = self.attention(self.norm_2(x), memory, cache.position)
        x = x + self.dropout(c)

        # feed-forward
        x = x + self.dropout(self.feed_forward(self.norm_3(x)))
        return LayerOutput(x, a, Cache(keys, values, cache.position + tgt))


class TransformerDecoder(nn.Module):
    """The decoder of Vaswani et al. 2017, without recurrence: a position looks at all target positions up to itself.

    The target embedding has the layers' size. Dropout is applied to embeddings with positions, and to s_t before W_y.
    """

    def __init__(self, embedding: nn.Embedding, layers: list[DecoderLayer], W_y: nn.Linear, *, dropout: float = 0.0):
        super().__init__()
        self.embedding, self.W_y = embedding, W_y
        self.layers: Sequence[DecoderLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(embedding.embedding_dim)
        self.dropout = nn.Dropout(dropout)

    def memorize(self, states: Float[Tensor, "batch src hidden"], mask: Bool[Tensor, "batch src"]) -> Memory:
        """Compute the memory of every layer of the decoder, once per sentence."""
        keys, values, masks = zip(*(layer.attention.memorize(states, mask) for layer in self.layers), strict=True)
        return Memory(torch.stack(keys, dim=1), torch.stack(values, dim=1), masks[0])

    def start(self, summary: Float[Tensor, "batch summary"], mask: Bool[Tensor, "batch src"]) -> Cache:
        """Return an empty cache. The content of the summary is not used, because every layer looks at the states."""
        heads = self.layers[0].self_attention.num_heads
        empty = summary.new_zeros(summary.size(0), len(self.layers), heads, 0, self.embedding.embedding_dim // heads)
        return Cache(empty, empty, summary.new_zeros(summary.size(0), dtype=torch.long))

    def forward(self, tgt: Int[Tensor, "batch tgt"], memory: Memory, state: Cache) -> Decoded:
        """Return s_t for each position of `tgt`, the weights on the source (all heads of all layers), and the cache."""
        # layer by layer
        x = self.dropout(add_positions(self.embedding(tgt), state.position))
        weights, caches = [], []
        for i, layer in enumerate(self.layers):
            source = Memory(memory.keys[:, i], memory.values[:, i], memory.mask)
            x, a, cache = layer(x, source, Cache(state.keys[:, i], state.values[:, i], state.position))
            weights.append(a)
            caches.append(cache)

        # the keys and values of all positions, for the next call
        keys, values, positions = zip(*caches, strict=True)
        state = Cache(torch.stack(keys, dim=1), torch.stack(values, dim=1), positions[0])
        return Decoded(self.norm(x), torch.cat(weights, dim=1), state)
