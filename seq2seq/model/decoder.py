"""The recurrent decoders: the step of each paper, written for any number of positions."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seq2seq import fast
from seq2seq.fast.cells import OneAtATime
from seq2seq.model.attention import Attention, Memory
from seq2seq.model.recurrent import Recurrent, RecurrentState
from seq2seq.shapes import Bool, Float, Int

Layers = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # recurrent layers: (inputs, state) to (outputs, state)


class Decoded(NamedTuple):
    """The result of any decoder for some target positions."""

    attentional: Float[Tensor, "batch tgt attentional"]  # s_t
    weights: Float[Tensor, "batch head tgt src"]  # a_t
    state: Any  # the state after the last position: a `State`, or the `Cache` of a Transformer


class State(NamedTuple):
    """The state that one position hands to the next. It is passed in and returned, never kept by a module."""

    rnn: RecurrentState
    attentional: Float[Tensor, "batch 1 attentional"]  # s_{t-1}, which input feeding reads
    position: Int[Tensor, " batch"]  # t, the number of earlier positions
    past: Float[Tensor, "batch 1 src"] | None  # the past of the attention; None if it keeps none

    def select(self, rows: Int[Tensor, " rows"]) -> "State":
        """Return the state of the given rows, in that order."""
        past = None if self.past is None else self.past.index_select(0, rows)
        return State(self.rnn.index_select(0, rows), self.attentional.index_select(0, rows), self.position[rows], past)


class Decoder(nn.Module):
    """The part that the recurrent decoders share: first state and loop. Each subclass adds a step.

    Args:
        embedding: the target embedding.
        recurrent: the layers; their input is an embedding, joined with what the step appends to it.
        attention: its query has the hidden size of the layers.
        W_y: the output layer, from s_t to the vocabulary; with tied weights s_t has the size of an embedding.
        summary_size: size of the encoder's summary, from which the bridge makes the first state.
        dropout: probability of zeroing a number of an embedding, or of s_t before W_y.
        input_feeding: hand s_{t-1} to the next step: y_{t-1} becomes [y_{t-1}; s_{t-1}].
        upper: layers above the attention, which read the query and the context; only for `GnmtDecoder`.
    """

    stepwise = False  # True if a step needs the result of the previous step, and so takes one position at a time
    query_name = "h_t"  # in the equations

    def __init__(
        self,
        embedding: nn.Embedding,
        recurrent: Recurrent,
        attention: Attention,
        W_y: nn.Linear,
        summary_size: int,
        dropout: float = 0.0,
        input_feeding: bool = False,
        upper: Recurrent | None = None,
    ):
        super().__init__()
        self.embedding, self.recurrent, self.attention, self.W_y = embedding, recurrent, attention, W_y
        self.upper = upper
        self.stacks = [recurrent] if upper is None else [recurrent, upper]  # a plain list: both are registered above
        self.state_shape = (sum(len(each.layers) for each in self.stacks), recurrent.parts, recurrent.hidden_size)
        self.W_c = nn.Linear(attention.context_size + recurrent.hidden_size, W_y.in_features)
        self.bridge = nn.Linear(summary_size, math.prod(self.state_shape))
        self.dropout = nn.Dropout(dropout)
        self.input_feeding = input_feeding

    def memorize(self, states: Float[Tensor, "batch src hidden"], mask: Bool[Tensor, "batch src"]) -> Memory:
        """Compute the memory that the decoder looks at, once per sentence."""
        return self.attention.memorize(states, mask)

    def start(self, summary: Float[Tensor, "batch summary"], mask: Bool[Tensor, "batch src"]) -> State:
        """Return the state before the first position, where h_0 (in an LSTM with c_0) = W summary + b, the bridge."""
        rnn = self.bridge(summary).unflatten(-1, self.state_shape)
        attentional = rnn.new_zeros(rnn.size(0), 1, self.W_c.out_features)
        return State(rnn, attentional, rnn.new_zeros(rnn.size(0), dtype=torch.long), self.attention.start(mask))

    def forward(self, tgt: Int[Tensor, "batch tgt"], memory: Memory, state: State) -> Decoded:
        """Return s_t and a_t for every position of `tgt`, and the state after the last one.

        Training passes the whole target; search passes the last token. If a step needs the result of the previous step
        (input feeding, Bahdanau's decoder, a memory of the past), the target is read one position at a time.
        """
        # a step takes one position or all; for one position `OneAtATime` computes the same numbers faster
        embedded = self.dropout(self.embedding(tgt))
        one_by_one = self.stepwise or self.input_feeding or self.attention.past is not None
        chunk = 1 if one_by_one else tgt.size(1)
        quick = chunk == 1 and fast.is_on_for(embedded)
        rows, steps = tgt.shape
        stacks = [OneAtATime(stack, rows, steps) if quick else stack for stack in self.stacks]

        # step after step
        attentional, weights = [], []
        for y in embedded.split(chunk, dim=1):
            if self.input_feeding:
                y = torch.cat([y, state.attentional], dim=-1)
            s, a, state = self.advance(y, memory, state, stacks)
            attentional.append(s)
            weights.append(a)
        return Decoded(torch.cat(attentional, dim=1), torch.cat(weights, dim=2), state)

    def advance(
        self, y: Float[Tensor, "batch tgt input"], memory: Memory, state: State, stacks: Sequence[Layers]
    ) -> Decoded:
        """Compute the equations of a step, for all positions of y; `stacks` are the recurrent layers, lower first."""
        raise NotImplementedError


class LuongDecoder(Decoder):
    """The decoder of Luong et al. 2015: it reads a token, then looks at the source.

    h_t = RNN(y_{t-1}, h_{t-1})            the query
    c_t = sum_i a_ti v_i                   the attention value, for the query h_t
    s_t = tanh(W_c [c_t; h_t] + b_c)       the attentional hidden state
    p(y_t) = softmax(W_y s_t + b_y)        computed outside the loop, once, for real tokens only
    """

    def advance(self, y: Tensor, memory: Memory, state: State, stacks: Sequence[Layers]) -> Decoded:
        (recurrent,) = stacks
        h, rnn = recurrent(y, state.rnn)  # h_t = RNN(y_{t-1}, h_{t-1})
        c, a, past = self.attention(h, memory, state.position, state.past)  # c_t = sum_i a_ti v_i
        s = torch.tanh(self.W_c(torch.cat([c, h], dim=-1)))  # s_t = tanh(W_c [c_t; h_t] + b_c)
        return Decoded(s, a, State(rnn, s[:, -1:], state.position + y.size(1), past))


class BahdanauDecoder(Decoder):
    """The decoder of Bahdanau et al. 2014: it looks at the source, then reads a token together with the context.

    c_t = sum_i a_ti v_i                   the attention value, for the query h_{t-1}
    h_t = RNN([y_{t-1}; c_t], h_{t-1})
    s_t = tanh(W_c [c_t; h_t] + b_c)       as in Luong's decoder, where the paper has a maxout layer
    """

    stepwise = True
    query_name = "h_{t-1}"

    def advance(self, y: Tensor, memory: Memory, state: State, stacks: Sequence[Layers]) -> Decoded:
        (recurrent,) = stacks
        query = state.rnn[:, -1, 0, None]  # h_{t-1} of the top layer, with a time axis
        c, a, past = self.attention(query, memory, state.position, state.past)  # c_t = sum_i a_ti v_i
        h, rnn = recurrent(torch.cat([y, c], dim=-1), state.rnn)  # h_t = RNN([y_{t-1}; c_t], h_{t-1})
        s = torch.tanh(self.W_c(torch.cat([c, h], dim=-1)))  # s_t = tanh(W_c [c_t; h_t] + b_c)
        return Decoded(s, a, State(rnn, s, state.position + 1, past))


class GnmtDecoder(Decoder):
    """The decoder of Wu et al. 2016: the lowest layer looks at the source, the layers above read what it found.

    h'_t = RNN_1(y_{t-1}, h'_{t-1})        the lowest layer, whose state is the query
    c_t = sum_i a_ti v_i                   the attention value, for the query h'_t
    h_t = RNN_2([h'_t; c_t], h_{t-1})      the layers above; they know what was looked at before
    s_t = tanh(W_c [c_t; h_t] + b_c)       as in Luong's decoder, where the paper has h_t alone
    """

    query_name = "h'_t"

    def advance(self, y: Tensor, memory: Memory, state: State, stacks: Sequence[Layers]) -> Decoded:
        lowest, upper = stacks
        query, below = lowest(y, state.rnn[:, :1])  # h'_t = RNN_1(y_{t-1}, h'_{t-1})
        c, a, past = self.attention(query, memory, state.position, state.past)  # c_t = sum_i a_ti v_i
        found = self.dropout(torch.cat([query, c], dim=-1))
        h, above = upper(found, state.rnn[:, 1:])  # h_t = RNN_2([h'_t; c_t], h_{t-1})
        s = torch.tanh(self.W_c(torch.cat([c, h], dim=-1)))  # s_t = tanh(W_c [c_t; h_t] + b_c)
        return Decoded(s, a, State(torch.cat([below, above], dim=1), s[:, -1:], state.position + y.size(1), past))
