"""The whole model, which encodes the source once and decodes any number of target positions."""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.model.attention import Memory, NoAttention
from seq2seq.model.decoder import Decoder, State
from seq2seq.model.encoder import Encoded, Encoder, SelfAttentionEncoder, real_positions
from seq2seq.model.transformer import Cache, TransformerDecoder
from seq2seq.shapes import Bool, Float, Int, Int64


class Decoding(NamedTuple):
    """The memory and the state of a batch, which search passes from step to step."""

    memory: Memory  # one row a sentence
    state: State | Cache  # one row a hypothesis

    def select(self, rows: Int[Tensor, " rows"], sentences: Int[Tensor, " sentences"] | None) -> "Decoding":
        """Return the given hypotheses, in that order; keep the memory of the given sentences (None: of all)."""
        memory = self.memory if sentences is None else self.memory.select(sentences)
        return Decoding(memory, self.state.select(rows))


Step = Callable[[Tensor, Decoding, Tensor], tuple[Tensor, Decoding]]  # the type of `Seq2Seq.step`


class Output(NamedTuple):
    """The result of the model for a given target."""

    attentional: Float[Tensor, "batch tgt attentional"]
    weights: Float[Tensor, "batch head tgt src"]
    encoder_weights: Float[Tensor, "batch head2 src src"]  # `Encoded.weights`


class Seq2Seq(nn.Module):
    """An encoder, and a decoder that looks at the encoder's states. Dropout is applied to the states in between."""

    def __init__(
        self, encoder: Encoder | SelfAttentionEncoder, decoder: Decoder | TransformerDecoder, dropout: float = 0.0
    ):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.dropout = nn.Dropout(dropout)

    @property
    def has_attention(self) -> bool:
        """Whether the decoder looks at the source."""
        return not (isinstance(self.decoder, Decoder) and isinstance(self.decoder.attention, NoAttention))

    def encode(self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"]) -> Decoding:
        """Return the memory that the decoder looks at, and its first state."""
        return self._start(self.encoder(src, lengths), real_positions(src, lengths))

    def forward(
        self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"], tgt: Int[Tensor, "batch tgt"]
    ) -> Output:
        """Return the attentional states and the attention weights for a given target, which starts with `<s>`."""
        encoded = self.encoder(src, lengths)
        attentional, weights, _ = self.decoder(tgt, *self._start(encoded, real_positions(src, lengths)))
        return Output(attentional, weights, encoded.weights)

    def logits(self, attentional: Float[Tensor, "*rows attentional"]) -> Float[Tensor, "*rows vocab"]:
        """Return W_y s_t + b_y, whose softmax is p(y_t)."""
        return self.decoder.W_y(self.decoder.dropout(attentional))

    def step(
        self,
        tokens: Int[Tensor, " rows"],
        decoding: Decoding,
        running: Int[Tensor, " running"],
        rows_of_W_y: tuple[Float[Tensor, "vocab attentional"], Float[Tensor, " vocab"]] | None = None,
    ) -> tuple[Float[Tensor, "running vocab"], Decoding]:
        """Return log p of the next token for each running hypothesis, and the decoding after `tokens`.

        Args:
            tokens: the last token of each hypothesis.
            decoding: the decoding before these tokens.
            running: the rows of the unfinished hypotheses; the vocabulary product is computed only for these.
            rows_of_W_y: the rows of W_y and of b_y for a restricted vocabulary; None: all.
        """
        W, b = rows_of_W_y or (self.decoder.W_y.weight, self.decoder.W_y.bias)
        s, _, state = self.decoder(tokens[:, None], *decoding)
        logits = F.linear(s[:, 0].index_select(0, running), W, b)
        return logits.float().log_softmax(-1), Decoding(decoding.memory, state)

    def step_within(self, ids: Int64[Tensor, " listed"]) -> Step:
        """Return a `step` over a restricted vocabulary; its tokens are indices into `ids`.

        Its p is the softmax over the listed logits: the p of `step`, divided by the total p of the listed tokens.
        """
        rows = self.decoder.W_y.weight[ids], self.decoder.W_y.bias[ids]
        return lambda tokens, decoding, running: self.step(ids[tokens], decoding, running, rows)

    def _start(self, encoded: Encoded, mask: Bool[Tensor, "batch src"]) -> Decoding:
        memory = self.decoder.memorize(self.dropout(encoded.states), mask)
        return Decoding(memory, self.decoder.start(encoded.summary, mask))
