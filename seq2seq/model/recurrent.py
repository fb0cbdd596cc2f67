"""A stack of recurrent layers, which the encoder and the decoder both use."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seq2seq.fast.precision import run_recurrent
from seq2seq.shapes import Float

LAYERS: dict[str, type[nn.RNN | nn.GRU | nn.LSTM]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}

Steps = Tensor | PackedSequence  # the vectors of all positions
RecurrentState = Float[Tensor, "batch layer part hidden"]
"""The last state of every layer: part 0 is h; part 1, of an LSTM, is c. Two directions lie side by side in hidden."""


class Recurrent(nn.Module):
    """Layers of tanh RNN, GRU or LSTM with dropout between them.

    `hidden_size` is the size of an output vector; each of two directions makes half. With `residual`, the input of a
    layer is added to its output, from the second layer on (the first changes the size).
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
    ):
        super().__init__()
        self.parts = 2 if cell == "lstm" else 1
        self.hidden_size, self.residual = hidden_size, residual
        size = hidden_size // 2 if bidirectional else hidden_size
        self.layers = nn.ModuleList(
            LAYERS[cell](hidden_size if i else input_size, size, batch_first=True, bidirectional=bidirectional)
            for i in range(num_layers)
        )
        self.dropout = nn.Dropout(dropout)

        # start with open forget gates, near sigmoid(1) instead of 1/2, so that c keeps its content (Jozefowicz 2015)
        for name, bias in self.layers.named_parameters():
            if cell == "lstm" and "bias_ih" in name:
                nn.init.ones_(bias.detach().chunk(4)[1])  # the gates in torch's order: input, forget, cell, output

    def forward(self, x: Steps, state: RecurrentState | None = None) -> tuple[Steps, RecurrentState]:
        """Return the outputs of the top layer, and the last state of every layer.

        Args:
            x: the inputs, (batch, time, input) or packed; the outputs come in the same form.
            state: the first state; None means zero; two directions always start from zero.
        """
        last = []
        for i, layer in enumerate(self.layers):
            # torch's state of a layer is (direction, batch, hidden / directions), contiguous, in an LSTM a pair (h, c)
            below = x if i == 0 else _each(self.dropout, x)
            before = None if state is None else tuple(part[None].contiguous() for part in state[:, i].unbind(1))
            x, after = run_recurrent(layer, below, before)
            last.append(torch.stack([part.transpose(0, 1).flatten(1) for part in after], dim=1))
            if self.residual and i > 0:
                x = _each(torch.add, x, below)
        return x, torch.stack(last, dim=1)


def _each(function: Callable[..., Tensor], x: Steps, *others: Steps) -> Steps:
    """Apply an elementwise function to tensors or to packed sequences."""
    if isinstance(x, PackedSequence):
        return x._replace(data=function(x.data, *(other.data for other in others)))
    return function(x, *others)
