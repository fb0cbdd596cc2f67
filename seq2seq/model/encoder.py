"""The encoders, which turn source tokens into states: one state per token."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.model.recurrent import Recurrent
from seq2seq.model.transformer import EncoderLayer, add_positions
from seq2seq.shapes import Bool, Float, Int


class Encoded(NamedTuple):
    """The result of an encoder for a batch of sentences."""

    states: Float[Tensor, "batch src hidden"]
    summary: Float[Tensor, "batch summary"]  # of the whole sentence; the decoder computes its first state from it
    weights: Float[Tensor, "batch head src src"]  # of self-attention: all heads of all layers; without it no head


def real_positions(src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"]) -> Bool[Tensor, "batch src"]:
    """Return True on tokens, False on padding."""
    return torch.arange(src.size(1), device=src.device) < lengths[:, None]


class Encoder(nn.Module):
    """The recurrent encoder k_1 ... k_S = RNN(x_1 ... x_S), by default in two directions (Bahdanau et al. 2014).

    The batch is packed, so that padding does not enter any state. Dropout is applied to the embeddings.
    """

    def __init__(self, embedding: nn.Embedding, recurrent: Recurrent, dropout: float = 0.0):
        super().__init__()
        self.embedding, self.recurrent = embedding, recurrent
        self.dropout = nn.Dropout(dropout)
        self.summary_size = recurrent.parts * recurrent.hidden_size

    def forward(self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"]) -> Encoded:
        """Return the states, zero on padding. The summary is the last state of the top layer, of both directions."""
        x = self.dropout(self.embedding(src))
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        packed, last = self.recurrent(packed)
        states, _ = pad_packed_sequence(packed, batch_first=True, total_length=src.size(1))
        summary = last[:, -1].flatten(1)  # of the top layer: h, and of an LSTM c
        no_weights = states.new_zeros(states.size(0), 0, src.size(1), src.size(1))
        return Encoded(states, summary, no_weights)


class SelfAttentionEncoder(nn.Module):
    """Layers of self-attention (Vaswani et al. 2017) over embeddings with positions, or on top of a recurrent encoder.

    The input of the layers must have about unit variance, or what the layers add outweighs it. Embeddings with
    positions have it; recurrent states are small at first and so are normalized. Dropout is applied to embeddings.
    """

    def __init__(
        self, embedding: nn.Embedding, layers: list[EncoderLayer], below: Encoder | None = None, dropout: float = 0.0
    ):
        super().__init__()
        self.embedding, self.below, self.layers = embedding, below, nn.ModuleList(layers)
        self.summary_size = layers[0].self_attention.query_size
        self.norm_below = nn.LayerNorm(self.summary_size) if below else None
        self.norm = nn.LayerNorm(self.summary_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"]) -> Encoded:
        """Return the states, zero on padding. The summary is their mean."""
        # the input of the layers
        mask = real_positions(src, lengths)
        if self.below and self.norm_below:
            x = self.norm_below(self.below(src, lengths).states)
        else:
            x = self.dropout(add_positions(self.embedding(src)))

        # layer by layer
        weights = []
        for layer in self.layers:
            x, a = layer(x, mask)
            weights.append(a)

        # states and their mean
        states = self.norm(x) * mask[:, :, None]
        return Encoded(states, states.sum(1) / lengths[:, None], torch.cat(weights, dim=1))
