"""The recurrent decoders: one step of each paper, defined for any number of positions."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seq2seq.fast.cells import Loop
from seq2seq.fast.loss import Vocabulary, plain_cpu
from seq2seq.model.attention import Attention, Memory
from seq2seq.model.recurrent import Recurrent, RecurrentState


class State(NamedTuple):
    """What one position hands to the next. A value: passed in and returned, never kept by a module."""

    rnn: RecurrentState
    attentional: Float[Tensor, "batch 1 attentional"]  # s_{t-1}, which input feeding reads
    position: Int[Tensor, " batch"]  # t: how many positions there were before
    past: Float[Tensor, "batch 1 src"] | None  # what the attention keeps of earlier weights

    def select(self, rows: Int[Tensor, " rows"]) -> "State":
        """The state of the given rows only, in that order."""
        rnn, attentional, position = (part.index_select(0, rows) for part in self[:3])
        return State(rnn, attentional, position, None if self.past is None else self.past.index_select(0, rows))


class Decoder(nn.Module):
    """The shared half of the recurrent decoders: the first state, the loop, the vocabulary. A subclass is a step.

    Args:
        embedding: the target embedding.
        recurrent: the layers; their input size is the embedding's and that of what the step feeds beside it.
        attention: looks at the encoder states; its query_size is the layers' hidden size.
        attentional_size: size of s_t; the embedding's where W_y is tied to it.
        vocabulary: W_y, b_y.
        summary_size: numbers of the encoder's summary, from which the bridge makes the first state.
        dropout: probability with which a number of an embedding, or of s_t before W_y, is zeroed.
        input_feeding: hand s_{t-1} to the next step: y_{t-1} becomes [y_{t-1}; s_{t-1}].
    """

    stepwise = False  # whether a step takes one position, as it needs the results of the step before

    def __init__(
        self,
        embedding: nn.Embedding,
        recurrent: Recurrent,
        attention: Attention,
        attentional_size: int,
        vocabulary: Vocabulary,
        *,
        summary_size: int,
        dropout: float = 0.0,
        input_feeding: bool = False,
    ):
        super().__init__()
        self.embedding, self.recurrent, self.attention, self.W_y = embedding, recurrent, attention, vocabulary
        self.W_c = nn.Linear(attention.context_size + recurrent.hidden_size, attentional_size)
        self.bridge = nn.Linear(summary_size, len(recurrent.layers) * recurrent.parts * recurrent.hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.input_feeding = input_feeding

    def memorize(self, states: Float[Tensor, "batch src hidden"], mask: Bool[Tensor, "batch src"]) -> Memory:
        """What the decoder may look at, made of the encoder states once a sentence."""
        return self.attention.memorize(states, mask)

    def start(self, summary: Float[Tensor, "batch summary"], mask: Bool[Tensor, "batch src"]) -> State:
        """The state before the first position: every layer from the encoder's summary, through the bridge."""
        rnn = self.bridge(summary).unflatten(
            -1, (len(self.recurrent.layers), self.recurrent.parts, self.recurrent.hidden_size)
        )
        attentional = rnn.new_zeros(rnn.size(0), 1, self.W_c.out_features)
        return State(rnn, attentional, rnn.new_zeros(rnn.size(0), dtype=torch.long), self.attention.start(mask))

    def forward(
        self, tgt: Int[Tensor, "batch tgt"], memory: Memory, state: State
    ) -> tuple[Float[Tensor, "batch tgt attentional"], Float[Tensor, "batch head tgt src"], State]:
        """s_t and a_t for every position of `tgt`, and the state after the last one.

        The whole target at once in training, its last token in search: the same function. A step that needs the one
        before it (input feeding, Bahdanau's, a memory of the past) goes through the target one position at a time.
        """
        stepwise = self.stepwise or self.input_feeding or self.attention.past is not None
        embedded = self.dropout(self.embedding(tgt))
        one_by_one = stepwise or tgt.size(1) == 1
        loop = Loop() if one_by_one and plain_cpu(embedded) else None  # elsewhere it was not measured
        attentional, weights = [], []
        for y in embedded.split(1 if stepwise else tgt.size(1), dim=1):
            if self.input_feeding:
                y = torch.cat([y, state.attentional], dim=-1)
            s, a, state = self.advance(y, memory, state, loop)
            attentional.append(s)
            weights.append(a)
        return torch.cat(attentional, dim=1), torch.cat(weights, dim=2), state

    def advance(
        self, y: Float[Tensor, "batch tgt input"], memory: Memory, state: State, loop: Loop | None
    ) -> tuple[Float[Tensor, "batch tgt attentional"], Float[Tensor, "batch head tgt src"], State]:
        """The equations, for however many positions y holds; one is a step of a loop."""
        raise NotImplementedError

    def logits(self, s: Float[Tensor, "*rows attentional"]) -> Float[Tensor, "*rows vocab"]:
        """W_y s_t + b_y, whose softmax is p(y_t)."""
        return self.W_y(self.dropout(s))


class LuongDecoder(Decoder):
    """The decoder of Luong et al. 2015: it reads on, then looks.

    h_t = RNN(y_{t-1}, h_{t-1})            the query
    c_t = sum_i a_ti v_i                   the attention value, for the query h_t
    s_t = tanh(W_c [c_t; h_t] + b_c)       the attentional hidden state
    p(y_t) = softmax(W_y s_t + b_y)        `logits`, outside: once, over real tokens only
    """

    def advance(self, y: Tensor, memory: Memory, state: State, loop: Loop | None) -> tuple[Tensor, Tensor, State]:
        """The equations, for however many positions y holds."""
        h, rnn = self.recurrent(y, state.rnn, loop)  # h_t = RNN(y_{t-1}, h_{t-1})
        c, a, past = self.attention(h, memory, state.position, state.past)  # c_t = sum_i a_ti v_i
        s = torch.tanh(self.W_c(torch.cat([c, h], dim=-1)))  # s_t = tanh(W_c [c_t; h_t] + b_c)
        return s, a, State(rnn, s[:, -1:], state.position + y.size(1), past)


class BahdanauDecoder(Decoder):
    """The decoder of Bahdanau et al. 2014: it looks, then reads on with what it saw.

    c_t = sum_i a_ti v_i                   the attention value, for the query h_{t-1}
    h_t = RNN([y_{t-1}; c_t], h_{t-1})
    s_t = tanh(W_c [c_t; h_t] + b_c)       as Luong's, where the paper has a maxout layer
    """

    stepwise = True

    def advance(self, y: Tensor, memory: Memory, state: State, loop: Loop | None) -> tuple[Tensor, Tensor, State]:
        """The equations, for one position."""
        query = state.rnn[:, -1, 0, None]  # h_{t-1} of the top layer
        c, a, past = self.attention(query, memory, state.position, state.past)  # c_t = sum_i a_ti v_i
        h, rnn = self.recurrent(torch.cat([y, c], dim=-1), state.rnn, loop)  # h_t = RNN([y_{t-1}; c_t], h_{t-1})
        s = torch.tanh(self.W_c(torch.cat([c, h], dim=-1)))  # s_t = tanh(W_c [c_t; h_t] + b_c)
        return s, a, State(rnn, s, state.position + 1, past)
