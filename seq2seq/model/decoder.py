"""The decoder: one step of the paper, defined for any number of positions."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq.model.attention import Attention, Memory
from seq2seq.model.recurrent import Recurrent, RecurrentState


class State(NamedTuple):
    """What one position hands to the next. A value: passed in and returned, never kept by a module."""

    rnn: RecurrentState
    attentional: Float[Tensor, "batch 1 attentional"]  # s_{t-1}, which input feeding reads

    def select(self, rows: Int[Tensor, " rows"]) -> "State":
        """The state of the given rows only, in that order."""
        return State(*(part[rows] for part in self))


class Decoder(nn.Module):
    """The decoder of Luong et al. 2015.

        h_t = RNN(y_{t-1}, h_{t-1})            the query; with input feeding y_{t-1} becomes [y_{t-1}; s_{t-1}]
        c_t = sum_i a_ti v_i                   the attention value
        s_t = tanh(W_c [c_t; h_t] + b_c)       the attentional hidden state
        p(y_t) = softmax(W_y s_t + b_y)        `vocabulary`, outside: once, over real tokens only

    Args:
        embedding: the target embedding.
        recurrent: the layers; their input size is the embedding's, plus attentional_size with input feeding.
        attention: looks at the encoder states; its query_size is the layers' hidden size.
        attentional_size: size of s_t; the embedding's where W_y is tied to it.
        vocabulary: W_y, b_y.
        encoder_last_size: numbers in the encoder's last top-layer state, from which the bridge makes the first state.
        dropout: probability with which a number of an embedding, or of s_t before W_y, is zeroed.
        input_feeding: hand s_{t-1} to the next step's input.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        recurrent: Recurrent,
        attention: Attention,
        attentional_size: int,
        vocabulary: nn.Linear,
        *,
        encoder_last_size: int,
        dropout: float = 0.0,
        input_feeding: bool = False,
    ):
        super().__init__()
        self.embedding, self.recurrent, self.attention, self.W_y = embedding, recurrent, attention, vocabulary
        self.W_c = nn.Linear(attention.context_size + recurrent.hidden_size, attentional_size)
        self.bridge = nn.Linear(encoder_last_size, len(recurrent.layers) * recurrent.parts * recurrent.hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.input_feeding = input_feeding

    def start(self, last: RecurrentState) -> State:
        """The state before the first position: every layer from the encoder's top layer, through the bridge."""
        rnn = self.bridge(last[:, -1].flatten(1)).unflatten(
            -1, (len(self.recurrent.layers), self.recurrent.parts, self.recurrent.hidden_size)
        )
        return State(rnn, rnn.new_zeros(rnn.size(0), 1, self.W_c.out_features))

    def forward(
        self, tgt: Int[Tensor, "batch tgt"], memory: Memory, state: State
    ) -> tuple[Float[Tensor, "batch tgt attentional"], Float[Tensor, "batch head tgt src"], State]:
        """s_t and a_t for every position of `tgt`, and the state after the last one.

        The whole target at once in training, its last token in search: the same function. Input feeding needs s_{t-1}
        before h_t, and so goes through the target in chunks of one position.
        """
        chunk = 1 if self.input_feeding else tgt.size(1)
        attentional, weights = [], []
        for y in self.dropout(self.embedding(tgt)).split(chunk, dim=1):
            s, a, state = self.advance(y, memory, state)
            attentional.append(s)
            weights.append(a)
        return torch.cat(attentional, dim=1), torch.cat(weights, dim=2), state

    def advance(
        self, y: Float[Tensor, "batch tgt embed"], memory: Memory, state: State
    ) -> tuple[Float[Tensor, "batch tgt attentional"], Float[Tensor, "batch head tgt src"], State]:
        """The equations, for however many positions y holds."""
        if self.input_feeding:
            y = torch.cat([y, state.attentional], dim=-1)
        h, rnn = self.recurrent(y, state.rnn)  # h_t = RNN(y_{t-1}, h_{t-1})
        c, a = self.attention(h, memory)  # c_t = sum_i a_ti v_i
        s = torch.tanh(self.W_c(torch.cat([c, h], dim=-1)))  # s_t = tanh(W_c [c_t; h_t] + b_c)
        return s, a, State(rnn, s[:, -1:])

    def logits(self, s: Float[Tensor, "*rows attentional"]) -> Float[Tensor, "*rows vocab"]:
        """W_y s_t + b_y, whose softmax is p(y_t)."""
        return self.W_y(self.dropout(s))
