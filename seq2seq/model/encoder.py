"""The encoder: source tokens become states, one a token."""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.model.recurrent import Recurrent, RecurrentState


class Encoder(nn.Module):
    """k_1 ... k_S = RNN(x_1 ... x_S), by default read from both ends (Bahdanau et al. 2014).

    The sequences are packed, so that padding enters neither the states nor the last state.

    Args:
        embedding: the source embedding.
        recurrent: the layers; their input size is the embedding's.
        dropout: probability with which a number of an embedding is zeroed.
    """

    def __init__(self, embedding: nn.Embedding, recurrent: Recurrent, dropout: float = 0.0):
        super().__init__()
        self.embedding, self.recurrent = embedding, recurrent
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch src hidden"], RecurrentState]:
        """The states, zero on padding, and the last state of every layer (with two directions: of both)."""
        x = self.dropout(self.embedding(src))
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        packed, last = self.recurrent(packed)
        states, _ = pad_packed_sequence(packed, batch_first=True, total_length=src.size(1))
        return states, last
