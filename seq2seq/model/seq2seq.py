"""The whole model: encode the source once, decode over any number of target positions."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor, nn

from seq2seq.fast.loss import Vocabulary
from seq2seq.model.attention import Memory
from seq2seq.model.decoder import Decoder, State
from seq2seq.model.encoder import Encoded, Encoder, SelfAttentionEncoder, real_positions
from seq2seq.model.transformer import Cache, LayerMemory, TransformerDecoder


class Decoding(NamedTuple):
    """A batch of sentences in the course of decoding: what search carries from step to step."""

    memory: Memory | LayerMemory  # one row a sentence
    state: State | Cache  # one row a hypothesis

    def select(self, rows: Int[Tensor, " rows"], sentences: Int[Tensor, " sentences"] | None) -> "Decoding":
        """The given hypotheses in that order; the given sentences, or all of them."""
        memory = self.memory if sentences is None else self.memory.select(sentences)
        return Decoding(memory, self.state.select(rows))


Step = Callable[[Tensor, Decoding, Tensor], tuple[Tensor, Decoding]]  # what `Seq2Seq.step` is


class Seq2Seq(nn.Module):
    """An encoder and a decoder that looks at its states."""

    def __init__(self, encoder: Encoder | SelfAttentionEncoder, decoder: Decoder | TransformerDecoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"]) -> Decoding:
        """The memory that the decoder looks at, and its first state."""
        return self._start(self.encoder(src, lengths), real_positions(src, lengths))

    def forward(
        self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"], tgt: Int[Tensor, "batch tgt"]
    ) -> tuple[Float[Tensor, "batch tgt attentional"], Float[Tensor, "batch head tgt src"]]:
        """The attentional states and the attention weights under a given target (which starts with `<s>`)."""
        attentional, weights, _ = self.decoder(tgt, *self.encode(src, lengths))
        return attentional, weights

    def look(
        self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"], tgt: Int[Tensor, "batch tgt"]
    ) -> tuple[Float[Tensor, "batch head tgt src"], Float[Tensor, "batch head2 src src"]]:
        """The weights under a given target: from it to the source, and of the source on itself (`Encoded.weights`)."""
        encoded = self.encoder(src, lengths)
        _, weights, _ = self.decoder(tgt, *self._start(encoded, real_positions(src, lengths)))
        return weights, encoded.weights

    def logits(self, attentional: Float[Tensor, "*rows attentional"]) -> Float[Tensor, "*rows vocab"]:
        """W_y s_t + b_y."""
        return self.decoder.logits(attentional)

    def step(
        self, tokens: Int[Tensor, " rows"], decoding: Decoding, running: Int[Tensor, " running"]
    ) -> tuple[Float[Tensor, "running vocab"], Decoding]:
        """log p of the token after `tokens`, one row a hypothesis that runs, and where decoding then stands."""
        return self._step(tokens, decoding, running, self.decoder.W_y)

    def step_within(self, ids: Int64[Tensor, " listed"]) -> Step:
        """`step`, were these tokens all there are: it takes and gives their places in `ids`, not their ids.

        p is the softmax over their logits alone: that of `step`, over what the listed tokens together have of it.
        """
        W_y = self.decoder.W_y.only(ids)
        return lambda tokens, decoding, running: self._step(ids[tokens], decoding, running, W_y)

    def _step(
        self, tokens: Int[Tensor, " rows"], decoding: Decoding, running: Int[Tensor, " running"], W_y: Vocabulary
    ) -> tuple[Float[Tensor, "running vocab"], Decoding]:
        s, _, state = self.decoder(tokens[:, None], *decoding)
        return W_y.log_probs(s[:, 0].index_select(0, running)), Decoding(decoding.memory, state)

    def _start(self, encoded: Encoded, mask: Bool[Tensor, "batch src"]) -> Decoding:
        return Decoding(self.decoder.memorize(encoded.states, mask), self.decoder.start(encoded.summary, mask))
